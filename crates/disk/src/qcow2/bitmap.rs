//! Persistent bitmaps: which parts of the disk were written since a bitmap was made.
//!
//! ```text
//!  directory entry                       table: a word for each cluster of bits
//!   0  where its table lies                bits 9-55: where the bits lie
//!   8  entries of the table                0 there: bit 0 clear, all clear; set, all set
//!  12  flags: in use, auto
//!  16  type: 1                           bits: the lowest of a byte comes first; each stands for
//!  17  granularity, power of two         2^granularity bytes of the disk
//!  18  length of the name
//!  20  length of more data
//!  24  more data, name; next at a multiple of 8
//! ```

use std::ops::Range;

use crate::bytes::{Fields, power_of_two, saturate, text};
use crate::qcow2::error::{Qcow2Error, limited};
use crate::qcow2::header::Header;
use crate::qcow2::table::be_words;
use crate::read_at::{ReadAt, check_range, read_new};

/// QEMU's limit for the number of bitmaps.
const MAX_BITMAPS: u64 = 65_535;

/// What is read of the directory: 65,535 entries with names of some 200 bytes.
const MAX_DIRECTORY_BYTES: u64 = 16 << 20;

/// QEMU's limits for the granularity: 512 bytes to 2 GiB.
const GRANULARITY_BITS: std::ops::RangeInclusive<u8> = 9..=31;

/// QEMU's limit for a name.
const MAX_NAME_BYTES: u64 = 1023;

/// How much of a bitmap's table is read at once.
const TABLE_WINDOW_BYTES: u64 = 4096;

/// How many bits are read at once.
const BITS_WINDOW_BYTES: u64 = 64 << 10;

const FLAG_IN_USE: u32 = 1;
const FLAG_AUTO: u32 = 1 << 1;
const FLAG_EXTRA_COMPATIBLE: u32 = 1 << 2;
const FLAGS_KNOWN: u32 = 7;
const TYPE_DIRTY: u8 = 1;
const ENTRY_BYTES: usize = 24;
const TABLE_OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const TABLE_ALL_SET: u64 = 1;

/// A persistent bitmap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// Its name.
    pub name: String,
    /// How many bytes of the disk a bit stands for.
    pub granularity_bytes: u64,
    /// Whether a program had it open when the image was last written: its bits may miss writes.
    pub in_use: bool,
    /// Whether QEMU goes on recording in it when it opens the image.
    pub auto: bool,
    table_offset: u64,
    table_entries: u32,
}

/// Reads the directory of bitmaps.
pub(super) fn list(file: &dyn ReadAt, header: &Header) -> Result<Vec<Bitmap>, Qcow2Error> {
    let Some(directory) = header.bitmaps.filter(|_| header.bitmaps_are_current) else {
        return Ok(Vec::new());
    };
    limited("bitmaps", directory.count.into(), MAX_BITMAPS)?;
    let bytes = limited(
        "the directory of bitmaps in bytes",
        directory.bytes,
        MAX_DIRECTORY_BYTES,
    )?;
    let bytes = read_new(file, directory.offset, saturate(bytes))
        .map_err(Qcow2Error::read("the directory of bitmaps"))?;
    let mut rest = bytes.as_slice();
    let mut bitmaps = Vec::new();
    for _ in 0..directory.count {
        let (bitmap, length) = entry(rest)?;
        bitmaps.push(bitmap);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(bitmaps)
}

/// The entry that `bytes` start with, and its length.
fn entry(bytes: &[u8]) -> Result<(Bitmap, usize), Qcow2Error> {
    let cut = || Qcow2Error::short("an entry of the directory of bitmaps");
    let fields = Fields(bytes);
    let flags = fields.be32(12).map_err(cut())?;
    let kind = fields.byte(16).map_err(cut())?;
    let granularity_bits = fields.byte(17).map_err(cut())?;
    let name_bytes = fields.be16(18).map_err(cut())?;
    let extra_bytes = fields.be32(20).map_err(cut())?;
    limited(
        "a bitmap's name in bytes",
        name_bytes.into(),
        MAX_NAME_BYTES,
    )?;
    check_entry(flags, kind, granularity_bits, extra_bytes)?;
    let name_at = ENTRY_BYTES.saturating_add(saturate(extra_bytes.into()));
    let name = fields.part(name_at, name_bytes.into()).map_err(cut())?;
    let bitmap = Bitmap {
        name: text(name),
        granularity_bytes: power_of_two(granularity_bits.into()).unwrap_or(u64::MAX),
        in_use: flags & FLAG_IN_USE != 0,
        auto: flags & FLAG_AUTO != 0,
        table_offset: fields.be64(0).map_err(cut())?,
        table_entries: fields.be32(8).map_err(cut())?,
    };
    let length = name_at.saturating_add(name_bytes.into());
    Ok((bitmap, length.checked_next_multiple_of(8).unwrap_or(length)))
}

fn check_entry(flags: u32, kind: u8, granularity: u8, extra: u32) -> Result<(), Qcow2Error> {
    let field = |field, value, rule| Err(Qcow2Error::Field { field, value, rule });
    if flags & !FLAGS_KNOWN != 0 {
        return field("a bitmap's flags", flags.into(), "three bits are known");
    }
    if kind != TYPE_DIRTY {
        return field("a bitmap's type", kind.into(), "1 is known");
    }
    if !GRANULARITY_BITS.contains(&granularity) {
        let rule = "a bit stands for 2^9 to 2^31 bytes";
        return field("a bitmap's granularity", granularity.into(), rule);
    }
    if extra != 0 && flags & FLAG_EXTRA_COMPATIBLE == 0 {
        let rule = "none is known that a reader may not pass over";
        return field("a bitmap's more data in bytes", extra.into(), rule);
    }
    Ok(())
}

/// The ranges whose bits are set; see [`Qcow2::dirty_ranges`](super::Qcow2::dirty_ranges).
#[derive(Debug)]
pub struct DirtyRanges<'a> {
    file: &'a dyn ReadAt,
    bitmap: &'a Bitmap,
    size_bytes: u64,
    /// How many bytes of bits one entry of the table stands for: a cluster.
    cluster_bytes: u64,
    /// A part of the table, and the entry that it starts with.
    table: (u64, Vec<u64>),
    /// A part of the bits, and the byte of the bitmap that it starts with.
    bits: (u64, Vec<u8>),
    /// The bit to be looked at next.
    bit: u64,
    end: u64,
}

/// Bits that are told of at once.
struct Bits {
    count: u64,
    set: bool,
}

impl<'a> DirtyRanges<'a> {
    pub(super) fn new(
        file: &'a dyn ReadAt,
        header: &Header,
        bitmap: &'a Bitmap,
    ) -> Result<Self, Qcow2Error> {
        let end = header.size_bytes.div_ceil(bitmap.granularity_bytes.max(1));
        let cluster_bytes = header.cluster_bytes().max(1);
        let needed = end.div_ceil(8).div_ceil(cluster_bytes);
        if needed != u64::from(bitmap.table_entries) {
            return Err(Qcow2Error::Field {
                field: "the size of a bitmap's table",
                value: bitmap.table_entries.into(),
                rule: "it must have an entry for each cluster of bits of this disk",
            });
        }
        Ok(Self {
            file,
            bitmap,
            size_bytes: header.size_bytes,
            cluster_bytes,
            table: (0, Vec::new()),
            bits: (0, Vec::new()),
            bit: 0,
            end,
        })
    }

    fn read(&mut self) -> Result<Option<Range<u64>>, Qcow2Error> {
        let mut start = None;
        while self.bit < self.end {
            let bits = self.bits()?;
            if bits.set {
                start.get_or_insert(self.bit);
            } else if start.is_some() {
                break;
            }
            self.bit = self.bit.saturating_add(bits.count).min(self.end);
        }
        let Some(start) = start else {
            return Ok(None);
        };
        let place = |bit: u64| bit.saturating_mul(self.bitmap.granularity_bytes);
        Ok(Some(place(start)..place(self.bit).min(self.size_bytes)))
    }

    /// Equal bits from the next one on: all of its cluster where the table says so, those of its
    /// byte else.
    fn bits(&mut self) -> Result<Bits, Qcow2Error> {
        let byte = self.bit / 8;
        let within = byte & self.cluster_bytes.wrapping_sub(1);
        let entry = self.table_entry(byte.wrapping_shr(self.cluster_bytes.trailing_zeros()))?;
        let place = entry & TABLE_OFFSET_MASK;
        if place == 0 {
            let rest = self.cluster_bytes.saturating_sub(within).saturating_mul(8);
            return Ok(Bits {
                count: rest.saturating_sub(self.bit % 8),
                set: entry & TABLE_ALL_SET != 0,
            });
        }
        if entry & !TABLE_OFFSET_MASK != 0 {
            return Err(Qcow2Error::Entry {
                table: "bitmap",
                entry,
                offset: self.bit.saturating_mul(self.bitmap.granularity_bytes),
                rule: "reserved bits are set",
            });
        }
        let value = self.byte_of_bits(byte, within, place)?;
        Ok(equal_bits(value, self.bit % 8))
    }

    fn table_entry(&mut self, index: u64) -> Result<u64, Qcow2Error> {
        let in_window = |table: &(u64, Vec<u64>)| {
            let at = index.checked_sub(table.0)?;
            table.1.get(saturate(at)).copied()
        };
        if let Some(entry) = in_window(&self.table) {
            return Ok(entry);
        }
        let rest = u64::from(self.bitmap.table_entries).saturating_sub(index);
        let bytes = rest.saturating_mul(8).min(TABLE_WINDOW_BYTES);
        let place = self.bitmap.table_offset;
        let place = place.saturating_add(index.saturating_mul(8));
        let bytes = read_new(self.file, place, saturate(bytes))
            .map_err(Qcow2Error::read("a bitmap's table"))?;
        self.table = (index, be_words(&bytes).collect());
        Ok(in_window(&self.table).unwrap_or(0))
    }

    /// The byte of the bitmap with this number, which lies `within` bytes after `place`.
    fn byte_of_bits(&mut self, byte: u64, within: u64, place: u64) -> Result<u8, Qcow2Error> {
        let in_window = |bits: &(u64, Vec<u8>)| {
            let at = byte.checked_sub(bits.0)?;
            bits.1.get(saturate(at)).copied()
        };
        if let Some(value) = in_window(&self.bits) {
            return Ok(value);
        }
        let rest = self.cluster_bytes.saturating_sub(within);
        let bytes = rest.min(BITS_WINDOW_BYTES);
        let at = place.saturating_add(within);
        let cut = Qcow2Error::read("a bitmap's bits");
        let there = self.file.size_bytes().saturating_sub(at).min(bytes);
        // A cluster of bits ends with the bitmap: the file may end there too.
        let needed = self.end.div_ceil(8).saturating_sub(byte).min(bytes);
        check_range(self.file.size_bytes(), at, needed)
            .and_then(|()| read_new(self.file, at, saturate(there)))
            .map(|bits| self.bits = (byte, bits))
            .map_err(cut)?;
        Ok(in_window(&self.bits).unwrap_or(0))
    }
}

/// How many bits of a byte, from `first` on, are like that one.
fn equal_bits(value: u8, first: u64) -> Bits {
    let shifted = value.wrapping_shr(u32::try_from(first).unwrap_or(0));
    let set = shifted & 1 == 1;
    let equal = match set {
        true => shifted.trailing_ones(),
        false => shifted.trailing_zeros(),
    };
    Bits {
        count: u64::from(equal).min(8u64.saturating_sub(first)),
        set,
    }
}

impl Iterator for DirtyRanges<'_> {
    type Item = Result<Range<u64>, Qcow2Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read();
        if item.is_err() {
            self.bit = self.end;
        }
        item.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_byte_come_lowest_first() {
        let mut bit = 0;
        let mut seen = Vec::new();
        while bit < 8 {
            let bits = equal_bits(0b0011_1001, bit);
            seen.push((bit, bits.count, bits.set));
            bit += bits.count;
        }
        let expected = [(0, 1, true), (1, 2, false), (3, 3, true), (6, 2, false)];
        assert_eq!(seen, expected);
    }
}
