//! The ring of records: where it begins and ends, and each record as it was before rounds replaced
//! words of it.

use std::ops::ControlFlow;

use crate::bytes::{Fields, saturate};
use crate::read_at::{ReadAt, read_new};
use crate::system::SystemError;
use crate::xfs::XFS;
use crate::xfs::device::SECTOR_BYTES;
use crate::xfs::superblock::Superblock;

const MAGIC: u32 = 0xfeed_babe;
const WHAT: &str = "the log";

/// What may be under way at once when a machine is cut off: eight records of 256 KiB.
const UNDER_WAY_SECTORS: u64 = 4096;

/// How long a record may be: the kernel's limit.
const MAX_RECORD_BYTES: u32 = 256 << 10;

/// How many replaced words a header has room for.
const WORDS: u64 = 64;

/// What of a header its sum covers: on machines of 64 bits, and on those of 32.
const SUMMED_BYTES: [usize; 2] = [328, 324];

/// And of a further header.
const MORE_SUMMED_BYTES: usize = 260;

const UNMOUNT: u8 = 0x20;

/// A record.
#[derive(Debug)]
pub(super) struct Record {
    /// Round and place: later ones are greater.
    pub(super) place: u64,
    oldest: u64,
    pub(super) operations: u32,
    pub(super) data: Vec<u8>,
    /// How many sectors it has.
    sectors: u64,
}

/// Records from the oldest that counts to behind the last, by their sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dirty {
    first: u64,
    end: u64,
}

#[derive(Debug)]
pub(super) struct Ring<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    sectors: u64,
    has_sums: bool,
}

/// Takes a record, and says whether to go on.
type TakeRecord<'a> = dyn FnMut(&Record) -> Result<ControlFlow<()>, SystemError> + 'a;

impl<'a> Ring<'a> {
    pub(super) fn new(
        superblock: &Superblock,
        source: &'a dyn ReadAt,
        start: u64,
        blocks: u64,
    ) -> Self {
        Self {
            source,
            start: start.saturating_mul(superblock.block_bytes),
            sectors: blocks.saturating_mul(superblock.block_bytes) / SECTOR_BYTES,
            has_sums: superblock.is_version_5(),
        }
    }

    /// Sectors from one on, which may go over the end to the start.
    fn read(&self, sector: u64, count: u64) -> Result<Vec<u8>, SystemError> {
        let first = count.min(self.sectors.saturating_sub(sector));
        let read = |sector: u64, count: u64| {
            let place = self
                .start
                .saturating_add(sector.saturating_mul(SECTOR_BYTES));
            let bytes = saturate(count.saturating_mul(SECTOR_BYTES));
            read_new(self.source, place, bytes).map_err(XFS.read(WHAT))
        };
        let mut bytes = read(sector, first)?;
        if first < count {
            bytes.extend(read(0, count.saturating_sub(first).min(self.sectors))?);
        }
        Ok(bytes)
    }

    /// The round of a sector.
    fn round(&self, sector: u64) -> Result<u32, SystemError> {
        Ok(round(&self.read(sector, 1)?))
    }

    /// Where the newest round ends.
    fn head(&self) -> Result<u64, SystemError> {
        let last = self.sectors.saturating_sub(1);
        let (newest, oldest) = (self.round(0)?, self.round(last)?);
        if newest == oldest {
            return Ok(self.sectors);
        }
        // Up to the head are sectors of the newest round, behind it older ones.
        let (mut low, mut high) = (0u64, last);
        while low.saturating_add(1) < high {
            let middle = low.midpoint(high);
            match self.round(middle)? == newest {
                true => low = middle,
                false => high = middle,
            }
        }
        // What was under way may have left gaps: the head is where the first of them is.
        let back = high.min(UNDER_WAY_SECTORS);
        let from = high.saturating_sub(back);
        let bytes = self.read(from, back)?;
        let sectors = bytes.chunks_exact(saturate(SECTOR_BYTES));
        let gap = (from..)
            .zip(sectors)
            .find(|(_, bytes)| round(bytes) != newest);
        Ok(gap.map_or(high, |(sector, _)| sector))
    }

    /// The records that are to be replayed; none if the last thing that was done was unmounting.
    pub(super) fn dirty(&self) -> Result<Option<Dirty>, SystemError> {
        let head = self.head()?;
        let none = || XFS.not("its log has no whole record");
        let (at, last) = self.last_record(head)?.ok_or_else(none)?;
        let operation = Fields(&last.data);
        if last.operations == 1 && operation.byte(9).is_ok_and(|flags| flags & UNMOUNT != 0) {
            return Ok(None);
        }
        let first = last.oldest & 0xffff_ffff;
        let end = at.saturating_add(last.sectors);
        match first < self.sectors {
            true => Ok(Some(Dirty {
                first,
                end: end.checked_rem(self.sectors).unwrap_or(0),
            })),
            false => Err(none()),
        }
    }

    /// The last whole record before the head, and where it begins.
    fn last_record(&self, head: u64) -> Result<Option<(u64, Record)>, SystemError> {
        let longest = u64::from(MAX_RECORD_BYTES) / SECTOR_BYTES;
        let back = UNDER_WAY_SECTORS.saturating_add(longest).min(self.sectors);
        for step in 1..=back {
            let sector = head.saturating_add(self.sectors).saturating_sub(step);
            let sector = sector.checked_rem(self.sectors).unwrap_or(0);
            let bytes = self.read(sector, 1)?;
            if Fields(&bytes).be32(0) != Ok(MAGIC) {
                continue;
            }
            if let Ok(record) = self.record(sector)
                && record.sectors <= step
            {
                return Ok(Some((sector, record)));
            }
        }
        Ok(None)
    }

    /// Gives `take` all records of a range.
    pub(super) fn each_record(
        &self,
        range: &Dirty,
        take: &mut TakeRecord<'_>,
    ) -> Result<(), SystemError> {
        let mut at = range.first;
        let mut left = self.sectors;
        let mut before = 0;
        while at != range.end || left == self.sectors {
            let record = self.record(at)?;
            if record.place <= before {
                return Err(XFS.place(WHAT, at, "its records are not in ascending order"));
            }
            before = record.place;
            let past = || XFS.place(WHAT, at, "its records go past its end");
            left = left.checked_sub(record.sectors).ok_or_else(past)?;
            if take(&record)?.is_break() {
                return Ok(());
            }
            at = at.saturating_add(record.sectors);
            at = at.checked_rem(self.sectors).unwrap_or(0);
        }
        Ok(())
    }

    fn record(&self, sector: u64) -> Result<Record, SystemError> {
        let short = XFS.short(WHAT);
        let wrong = |rule| XFS.place(WHAT, sector, rule);
        let header = self.read(sector, 1)?;
        let fields = Fields(&header);
        if fields.be32(0).map_err(&short)? != MAGIC {
            return Err(wrong("no record begins here"));
        }
        let length = fields.be32(12).map_err(&short)?;
        let room = fields.be32(320).map_err(&short)?;
        XFS.limited(
            "a record of the log in bytes",
            length.into(),
            MAX_RECORD_BYTES.into(),
        )?;
        XFS.limited(
            "a record of the log in bytes",
            room.into(),
            MAX_RECORD_BYTES.into(),
        )?;
        let is_2 = fields.be32(8).map_err(&short)? & 2 != 0;
        let headers = match is_2 {
            true => u64::from(room)
                .div_ceil(WORDS.saturating_mul(SECTOR_BYTES))
                .max(1),
            false => 1,
        };
        let sectors = u64::from(length).div_ceil(SECTOR_BYTES);
        let all = headers.saturating_add(sectors);
        if all > self.sectors {
            return Err(wrong("a record is longer than the log"));
        }
        let bytes = self.read(sector, all)?;
        let (heads, data) = bytes.split_at(saturate(headers.saturating_mul(SECTOR_BYTES)));
        if self.has_sums && !has_sum(heads, data, length) {
            return Err(wrong("a record has another sum"));
        }
        let mut data = data.to_vec();
        restore(heads, &mut data);
        data.truncate(saturate(length.into()));
        Ok(Record {
            place: fields.be64(16).map_err(&short)?,
            oldest: fields.be64(24).map_err(&short)?,
            operations: fields.be32(40).map_err(&short)?,
            data,
            sectors: all,
        })
    }
}

/// The round that a sector is of.
fn round(sector: &[u8]) -> u32 {
    let fields = Fields(sector);
    match fields.be32(0) {
        Ok(MAGIC) => fields.be32(4).unwrap_or(0),
        Ok(round) => round,
        Err(_) => 0,
    }
}

/// Puts back the words that rounds have replaced: 64 stand in each header.
fn restore(heads: &[u8], data: &mut [u8]) {
    let headers = heads.chunks_exact(saturate(SECTOR_BYTES)).enumerate();
    let words = headers.flat_map(|(index, header)| {
        let start = if index == 0 { 44 } else { 4 };
        let words = header.get(start..).unwrap_or_default().chunks_exact(4);
        words.take(saturate(WORDS))
    });
    for (sector, word) in data.chunks_mut(saturate(SECTOR_BYTES)).zip(words) {
        for (byte, word) in sector.iter_mut().zip(word) {
            *byte = *word;
        }
    }
}

/// Whether a record is as it was written. One without a sum is taken to be.
fn has_sum(heads: &[u8], data: &[u8], length: u32) -> bool {
    let stored = Fields(heads).le32(32).unwrap_or(0);
    let data = data.get(..saturate(length.into())).unwrap_or(data);
    // Of the further headers, those that the data need, and of each the words.
    let more_heads = || {
        let needed = u64::from(length).div_ceil(WORDS.saturating_mul(SECTOR_BYTES));
        let heads = heads.chunks_exact(saturate(SECTOR_BYTES));
        let heads = heads.take(saturate(needed)).skip(1);
        heads.filter_map(|head| head.get(..MORE_SUMMED_BYTES))
    };
    let matches = |summed: usize| {
        let before = heads.get(..32).unwrap_or_default();
        let after = heads.get(36..summed).unwrap_or_default();
        let mut sum = crc32c::crc32c(before);
        sum = crc32c::crc32c_append(sum, &[0; 4]);
        sum = crc32c::crc32c_append(sum, after);
        for more in more_heads() {
            sum = crc32c::crc32c_append(sum, more);
        }
        crc32c::crc32c_append(sum, data) == stored
    };
    stored == 0 || SUMMED_BYTES.into_iter().any(matches)
}
