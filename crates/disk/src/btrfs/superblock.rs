//! The superblock, and the chunks: where addresses lie.
//!
//! ```text
//!  64 "_BHRfS_M"   80 root of roots   96 log      144 bytes of a sector  160 chunks' length
//!                  88 root of chunks 112 bytes    148 bytes of a node    188 features
//!  198 levels of both               136 devices   201 this device, its bytes   811 chunks
//!
//!  chunk  0 length  24 kind  44 stripes  48 each: device, place, id
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::btrfs::BTRFS;
use crate::btrfs::tree::{KEY_BYTES, Key, Root};
use crate::bytes::{Fields, Short, saturate};
use crate::read_at::{ReadAt, read_new};
use crate::system::SystemError;

/// Where the superblock and its copies lie.
pub(super) const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];

const BYTES: usize = 4096;

/// A chunk's item.
pub(super) const CHUNK: u8 = 228;

pub(super) const NOWHERE: &str = "its address lies in no chunk that is whole on this device";

/// Features of which a reader need not know more: all but a second kind of tree of extents, and
/// stripes that are told by a tree.
const KNOWN: u64 = 0x1_1fff;

/// Kinds of chunks whose stripes hold parts: RAID 0, 10, 5 and 6.
const IN_PARTS: u64 = 0x08 | 0x40 | 0x80 | 0x100;

/// How many chunks there may be: of a petabyte in chunks of a gigabyte.
const MAX_CHUNKS: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) root: Root,
    pub(super) chunk_root: Root,
    pub(super) log_root: u64,
    pub(super) devices: u64,
    pub(super) device: u64,
    pub(super) device_bytes: u64,
    pub(super) sector_bytes: u64,
    pub(super) node_bytes: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    bytes: u64,
    /// Where it lies on this device, as a whole each time.
    places: Vec<u64>,
    is_in_parts: bool,
}

/// Chunks by their addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks(BTreeMap<u64, Chunk>);

impl Superblock {
    pub(super) fn read(source: &dyn ReadAt) -> Result<(Self, Chunks), SystemError> {
        let [place, ..] = PLACES;
        let bytes = read_new(source, place, BYTES).map_err(BTRFS.read("the superblock"))?;
        let fields = Fields(&bytes);
        let superblock = parse(fields).map_err(BTRFS.short("the superblock"))??;
        if superblock.device_bytes > source.size_bytes() {
            return Err(BTRFS.not("it is longer than what it lies on"));
        }
        let chunks = Chunks::first(fields, superblock.device)?;
        Ok((superblock, chunks))
    }
}

fn parse(fields: Fields<'_>) -> Result<Result<Superblock, SystemError>, Short> {
    if fields.array(64)? != *b"_BHRfS_M" {
        return Ok(Err(BTRFS.not("it does not start with its magic")));
    }
    let unknown = fields.le64(188)? & !KNOWN;
    if unknown != 0 {
        return Ok(Err(BTRFS.features(format!("features {unknown:#x}"))));
    }
    let superblock = Superblock {
        root: Root {
            at: fields.le64(80)?,
            level: fields.byte(198)?,
        },
        chunk_root: Root {
            at: fields.le64(88)?,
            level: fields.byte(199)?,
        },
        log_root: fields.le64(96)?,
        devices: fields.le64(136)?,
        device: fields.le64(201)?,
        device_bytes: fields.le64(209)?,
        sector_bytes: fields.le32(144)?.into(),
        node_bytes: fields.le32(148)?.into(),
    };
    let is_size = |bytes: u64| bytes.is_power_of_two() && (4096..=65_536).contains(&bytes);
    let sizes = is_size(superblock.sector_bytes)
        && is_size(superblock.node_bytes)
        && superblock.sector_bytes <= superblock.node_bytes;
    Ok(match sizes {
        true => Ok(superblock),
        false => Err(BTRFS.not("sectors or nodes have a size that cannot be")),
    })
}

impl Chunks {
    /// The chunks that the superblock tells of.
    fn first(fields: Fields<'_>, device: u64) -> Result<Self, SystemError> {
        let short = BTRFS.short("the superblock's chunks");
        let mut chunks = Self::default();
        let length = saturate(fields.le32(160).map_err(&short)?.into());
        let list = fields.part(811, length.min(2048)).map_err(&short)?;
        let mut at = 0usize;
        while at < list.len() {
            let rest = list.get(at..).unwrap_or_default();
            let key = Key::parse(Fields(rest), 0).map_err(&short)?;
            let item = Fields(rest.get(KEY_BYTES..).unwrap_or_default());
            chunks.add(key.offset, item, device)?;
            let stripes = usize::from(item.le16(44).map_err(&short)?);
            let item_bytes = stripes.saturating_mul(32).saturating_add(48);
            at = at.saturating_add(KEY_BYTES).saturating_add(item_bytes);
        }
        Ok(chunks)
    }

    pub(super) fn add(
        &mut self,
        address: u64,
        item: Fields<'_>,
        device: u64,
    ) -> Result<(), SystemError> {
        let read = || -> Result<Chunk, Short> {
            let mut places = Vec::new();
            for stripe in 0..usize::from(item.le16(44)?) {
                let at = stripe.saturating_mul(32).saturating_add(48);
                if item.le64(at)? == device {
                    places.push(item.le64(at.saturating_add(8))?);
                }
            }
            Ok(Chunk {
                bytes: item.le64(0)?,
                is_in_parts: item.le64(24)? & IN_PARTS != 0,
                places,
            })
        };
        let chunk = read().map_err(BTRFS.short("a chunk"))?;
        let count = (self.0.len() as u64).saturating_add(1);
        BTRFS.limited("chunks", count, MAX_CHUNKS)?;
        self.0.insert(address, chunk);
        Ok(())
    }

    /// The chunk of an address, and how far it lies in it.
    fn find(&self, address: u64) -> Option<(&Chunk, u64)> {
        let (start, chunk) = self.0.range(..=address).next_back()?;
        let within = address.checked_sub(*start)?;
        (within < chunk.bytes && !chunk.is_in_parts).then_some((chunk, within))
    }

    /// Where bytes lie, if all of them are in one chunk.
    pub(super) fn place(&self, address: u64, bytes: u64) -> Option<u64> {
        let (chunk, within) = self.find(address)?;
        let end = within.checked_add(bytes)?;
        let place = chunk.places.first()?.checked_add(within)?;
        (end <= chunk.bytes).then_some(place)
    }

    /// Where an address lies, with all copies.
    pub(super) fn places(&self, address: u64) -> Vec<u64> {
        let Some((chunk, within)) = self.find(address) else {
            return Vec::new();
        };
        let each = chunk.places.iter();
        each.map(|place| place.saturating_add(within)).collect()
    }

    /// What of the chunks is not used: `used` are addresses and lengths, ascending.
    pub(super) fn gaps(&self, used: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        for (start, chunk) in self.0.iter().filter(|(_, chunk)| !chunk.is_in_parts) {
            let end = start.saturating_add(chunk.bytes);
            let first = used.partition_point(|(at, bytes)| at.saturating_add(*bytes) <= *start);
            let mut at = *start;
            let inside = used.get(first..).unwrap_or_default().iter();
            for (next, bytes) in inside.take_while(|(next, _)| *next < end) {
                if at < *next {
                    gaps.push((at, *next));
                }
                at = at.max(next.saturating_add(*bytes));
            }
            if at < end {
                gaps.push((at, end));
            }
        }
        gaps
    }

    /// What of the device lies in no chunk.
    pub(super) fn outside(&self, device_bytes: u64) -> Vec<(u64, u64)> {
        let mut inside: BTreeMap<u64, u64> = BTreeMap::new();
        for chunk in self.0.values() {
            for place in &chunk.places {
                inside.insert(*place, place.saturating_add(chunk.bytes));
            }
        }
        let mut found = Vec::new();
        let mut at = 0;
        for (start, end) in &inside {
            if at < *start {
                found.push((at, (*start).min(device_bytes)));
            }
            at = at.max(*end);
        }
        let bounds = (Bound::Included(device_bytes), Bound::Unbounded);
        if at < device_bytes && inside.range(bounds).next().is_none() {
            found.push((at, device_bytes));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_not_used() {
        let chunk = |bytes, places: &[u64]| Chunk {
            bytes,
            places: places.to_vec(),
            is_in_parts: false,
        };
        let mut chunks = Chunks::default();
        chunks.0.insert(100, chunk(50, &[1000, 2000]));
        chunks.0.insert(150, chunk(10, &[3000]));
        assert_eq!(chunks.place(110, 40), Some(1010));
        assert_eq!(chunks.place(110, 41), None);
        assert_eq!(chunks.places(149), [1049, 2049]);
        assert_eq!(chunks.place(160, 1), None);
        let used = [(100, 5), (120, 10), (130, 10), (155, 5)];
        let expected = [(105, 120), (140, 150), (150, 155)];
        assert_eq!(chunks.gaps(&used), expected);
        let expected = [(0, 1000), (1050, 2000), (2050, 3000), (3010, 9000)];
        assert_eq!(chunks.outside(9000), expected);
    }
}
