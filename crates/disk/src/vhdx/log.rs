//! The log: what was written there and perhaps not yet in its place. It is replayed in memory.
//!
//! ```text
//!  a ring of sectors of 4 KiB; an entry begins at any of them
//!    0 "loge"   4 sum of all of it   8 length   12 where the oldest entry that counts begins
//!   16 number   24 descriptors   32 id, of the header   48 length of the file then   56 now
//!   64 descriptors of 32 bytes, up to the end of a sector:
//!        "desc"   4 last 4 bytes   8 first 8 bytes   16 place   24 number      its data follow
//!        "zero"                    8 length          16 place   24 number
//!      then for each "desc" a sector:  "data"   4 number, high   8 4,084 bytes   4092 number, low
//! ```
//!
//! Source: MS-VHDX, 2.3. Entries whose numbers follow each other are a sequence, which is whole if it
//! holds the entry that its last one calls the oldest. The one with the highest number counts, from
//! that entry on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bytes::{Fields, Short, saturate};
use crate::read_at::{Content, ReadAt, ReadError, Source, Stretch, check_range};
use crate::vhdx::{Id, VhdxError, has_sum, read};

const SECTOR_BYTES: u64 = 4096;

/// How long a log may be: others' programs make it 1 MiB.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// How much of a log is summed up, as a multiple of it: entries that count do not overlap, and what is
/// left of older ones is little. A hostile log could have one in another in another.
const MAX_SUMMED: u64 = 4;

/// How much longer than it is a file may say that it is: nothing is there, but places are added up.
const MAX_FILE_BYTES: u64 = 1 << 50;

const HEADER_BYTES: usize = 64;
const DESCRIPTOR_BYTES: usize = 32;

/// Where the log lies, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: Id,
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// An image as it is once its log is replayed.
#[derive(Debug)]
struct Replayed {
    source: Source,
    /// What lies over it, by its first byte; nothing overlaps.
    pieces: BTreeMap<u64, Piece>,
    size_bytes: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    end: u64,
    /// Its bytes, of which it begins with that one; none if it is zeros.
    bytes: Option<(Arc<[u8]>, usize)>,
}

/// An entry that is whole.
#[derive(Debug)]
struct Entry {
    place: u64,
    number: u64,
    oldest: u64,
    lengths: [u64; 2],
    bytes: Vec<u8>,
    descriptors: usize,
}

/// Replays a log.
///
/// # Errors
///
/// It is none, or the file ends before something that was made durable.
pub(super) fn replay(source: Source, place: Place) -> Result<Source, VhdxError> {
    let is_sound = place.bytes.is_multiple_of(SECTOR_BYTES)
        && place.start.is_multiple_of(SECTOR_BYTES)
        && (1..=MAX_LOG_BYTES).contains(&place.bytes);
    if !is_sound {
        return Err(VhdxError::Not(
            "its log has a place or a length that cannot be",
        ));
    }
    let bytes = read(&*source, place.start, saturate(place.bytes), "the log")?;
    let mut log = Log {
        bytes,
        id: place.id,
        left: place.bytes.saturating_mul(MAX_SUMMED),
    };
    let Some(active) = log.active()? else {
        return Err(VhdxError::Not(
            "it was not closed, and its log has no whole entry",
        ));
    };
    let [flushed, last] = active.last().map_or([0; 2], |entry| entry.lengths);
    if source.size_bytes() < flushed {
        return Err(VhdxError::Not(
            "it is shorter than its log says: it was cut off",
        ));
    }
    let mut replayed = Replayed {
        size_bytes: source.size_bytes().max(last.min(MAX_FILE_BYTES)),
        source,
        pieces: BTreeMap::new(),
    };
    for entry in &active {
        replayed.apply(entry)?;
    }
    Ok(Arc::new(replayed))
}

struct Log {
    bytes: Vec<u8>,
    id: Id,
    /// How much may still be summed up.
    left: u64,
}

impl Log {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes from a place on, around the end.
    fn part(&self, place: u64, bytes: u64) -> Vec<u8> {
        let (start, bytes) = (saturate(place), saturate(bytes));
        let until_end = self.bytes.get(start..).unwrap_or_default();
        let around = until_end.iter().chain(&self.bytes);
        around.take(bytes).copied().collect()
    }

    /// The entry that begins at a place, if it is whole.
    fn entry(&mut self, place: u64) -> Result<Option<Entry>, VhdxError> {
        let head = self.part(place, HEADER_BYTES as u64);
        let fields = Fields(&head);
        let length = u64::from(fields.le32(8)?);
        let is_one = fields.array(0)? == *b"loge"
            && fields.array::<16>(32)? == self.id
            && fields.le64(16)? != 0
            && length.is_multiple_of(SECTOR_BYTES)
            && (SECTOR_BYTES..=self.length()).contains(&length);
        if !is_one {
            return Ok(None);
        }
        let left = self.left.checked_sub(length);
        self.left = left.ok_or(VhdxError::Not("its log has entries within entries"))?;
        let bytes = self.part(place, length);
        let entry = Entry {
            place,
            number: fields.le64(16)?,
            oldest: fields.le32(12)?.into(),
            lengths: [fields.le64(48)?, fields.le64(56)?],
            descriptors: saturate(fields.le32(24)?.into()),
            bytes,
        };
        Ok(entry.is_whole().then_some(entry))
    }

    /// The entries that are to be replayed, in order.
    fn active(&mut self) -> Result<Option<Vec<Entry>>, VhdxError> {
        let mut best: Option<Vec<Entry>> = None;
        let mut start = 0u64;
        while start < self.length() {
            let mut sequence: Vec<Entry> = Vec::new();
            let (mut at, mut taken) = (start, 0u64);
            while let Some(entry) = self.entry(at)? {
                let follows = sequence
                    .last()
                    .is_none_or(|last| last.number.checked_add(1) == Some(entry.number));
                taken = taken.saturating_add(entry.bytes.len() as u64);
                if !follows || taken > self.length() {
                    break;
                }
                at = at.saturating_add(entry.bytes.len() as u64);
                at = at.checked_rem(self.length()).unwrap_or(0);
                sequence.push(entry);
            }
            let passed = sequence
                .iter()
                .map(|entry| entry.bytes.len() as u64)
                .sum::<u64>();
            start = start.saturating_add(passed.max(SECTOR_BYTES));
            let number = |entries: &[Entry]| entries.last().map(|entry| entry.number);
            let first = sequence
                .last()
                .and_then(|last| sequence.iter().position(|entry| entry.place == last.oldest));
            if let Some(first) = first
                && best
                    .as_ref()
                    .is_none_or(|best| number(best) < number(&sequence))
            {
                best = Some(sequence.split_off(first));
            }
        }
        Ok(best)
    }
}

impl Entry {
    /// Whether sums and numbers are those of one entry.
    fn is_whole(&self) -> bool {
        has_sum(&self.bytes) && self.changes().is_ok_and(|changes| changes.is_some())
    }

    /// What it writes: place, end, bytes or zeros. None if a number is not its own.
    fn changes(&self) -> Result<Option<Vec<(u64, Piece)>>, Short> {
        let fields = Fields(&self.bytes);
        let after = self.descriptors.saturating_mul(DESCRIPTOR_BYTES);
        let after = after.saturating_add(HEADER_BYTES);
        let mut sector = after.next_multiple_of(saturate(SECTOR_BYTES));
        let mut changes = Vec::new();
        for index in 0..self.descriptors {
            let at = index
                .saturating_mul(DESCRIPTOR_BYTES)
                .saturating_add(HEADER_BYTES);
            let descriptor = Fields(fields.part(at, DESCRIPTOR_BYTES)?);
            let (length, place) = (descriptor.le64(8)?, descriptor.le64(16)?);
            let kind = descriptor.array(0)?;
            let is_own = descriptor.le64(24)? == self.number && place.is_multiple_of(SECTOR_BYTES);
            if !is_own || !matches!(&kind, b"desc" | b"zero") {
                return Ok(None);
            }
            let piece = if kind == *b"zero" {
                Piece {
                    end: place.saturating_add(length),
                    bytes: None,
                }
            } else {
                let data = Fields(fields.part(sector, saturate(SECTOR_BYTES))?);
                sector = sector.saturating_add(saturate(SECTOR_BYTES));
                let number = u64::from(data.le32(4)?) << 32 | u64::from(data.le32(4092)?);
                if data.array(0)? != *b"data" || number != self.number {
                    return Ok(None);
                }
                let parts = [
                    descriptor.part(8, 8)?,
                    data.part(8, 4084)?,
                    descriptor.part(4, 4)?,
                ];
                Piece {
                    end: place.saturating_add(SECTOR_BYTES),
                    bytes: Some((Arc::from(parts.concat()), 0)),
                }
            };
            if piece.end > place && piece.end <= MAX_FILE_BYTES {
                changes.push((place, piece));
            }
        }
        Ok(Some(changes))
    }
}

impl Replayed {
    fn apply(&mut self, entry: &Entry) -> Result<(), VhdxError> {
        for (place, piece) in entry.changes()?.unwrap_or_default() {
            self.size_bytes = self.size_bytes.max(piece.end);
            self.put(place, piece);
        }
        Ok(())
    }

    /// Puts a piece over what lies there.
    fn put(&mut self, place: u64, piece: Piece) {
        let end = piece.end;
        let before = self.pieces.range(..place).next_back();
        let mut met: Vec<u64> = before.map(|(start, _)| *start).into_iter().collect();
        met.extend(self.pieces.range(place..end).map(|(start, _)| *start));
        for start in met {
            let Some(old) = self.pieces.remove(&start) else {
                continue;
            };
            if start < place {
                let end = old.end.min(place);
                let bytes = old.bytes.clone();
                self.pieces.insert(start, Piece { end, bytes });
            }
            if old.end > end {
                let skipped = saturate(end.saturating_sub(start));
                let bytes = old
                    .bytes
                    .map(|(bytes, at)| (bytes, at.saturating_add(skipped)));
                self.pieces.insert(
                    end,
                    Piece {
                        end: old.end,
                        bytes,
                    },
                );
            }
        }
        self.pieces.insert(place, piece);
    }

    /// The piece that holds a byte, and where it begins; or none, and where the next one begins.
    fn at(&self, offset: u64) -> Result<(u64, &Piece), u64> {
        let upto = self.pieces.range(..=offset).next_back();
        match upto.filter(|(_, piece)| piece.end > offset) {
            Some((start, piece)) => Ok((*start, piece)),
            None => Err(self
                .pieces
                .range(offset..)
                .next()
                .map_or(u64::MAX, |(start, _)| *start)),
        }
    }

    /// How much of the file is there behind a byte; what is not is zeros.
    fn there(&self, offset: u64) -> u64 {
        self.source.size_bytes().saturating_sub(offset)
    }
}

impl ReadAt for Replayed {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let found = self.at(at);
            let end = found.map_or_else(|next| next, |(_, piece)| piece.end);
            let count = saturate(end.saturating_sub(at)).min(rest.len());
            let (now, behind) = rest.split_at_mut(count);
            match found {
                Ok((
                    start,
                    Piece {
                        bytes: Some((bytes, from)),
                        ..
                    },
                )) => {
                    let from = from.saturating_add(saturate(at.saturating_sub(start)));
                    bytes[..].read_exact_at(from as u64, now)?;
                }
                Ok(_) => now.fill(0),
                Err(_) => {
                    let there = saturate(self.there(at)).min(now.len());
                    let (there, missing) = now.split_at_mut(there);
                    if !there.is_empty() {
                        self.source.read_exact_at(at, there)?;
                    }
                    missing.fill(0);
                }
            }
            at = at.saturating_add(count as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes, offset, 1)?;
        let left = self.size_bytes.saturating_sub(offset);
        Ok(match self.at(offset) {
            Ok((_, piece)) => Stretch {
                bytes: piece.end.saturating_sub(offset).min(left),
                content: match piece.bytes {
                    Some(_) => Content::Data,
                    None => Content::Zero,
                },
            },
            Err(next) => {
                let bytes = next.saturating_sub(offset).min(left);
                match self.there(offset) {
                    0 => Stretch {
                        bytes,
                        content: Content::Zero,
                    },
                    there => {
                        let stretch = self.source.stretch_at(offset)?;
                        Stretch {
                            bytes: stretch.bytes.min(bytes).min(there),
                            ..stretch
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The truth is kept byte by byte.
        #[test]
        fn pieces_lie_over_a_file(
            changes in proptest::collection::vec((0..200u64, 1..60usize, any::<Option<u8>>()), 0..20),
            offset in 0..250u64,
        ) {
            let file: Vec<u8> = (0..100).collect();
            let mut expected = file.clone();
            expected.resize(300, 0);
            let mut replayed = Replayed {
                source: Arc::new(file),
                pieces: BTreeMap::new(),
                size_bytes: 300,
            };
            for (place, length, byte) in changes {
                let end = place + length as u64;
                let mut bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
                bytes[0] = byte.unwrap_or(0);
                let piece = &mut expected[place as usize..end as usize];
                match byte {
                    Some(_) => piece.copy_from_slice(&bytes),
                    None => piece.fill(0),
                }
                let bytes = byte.map(|_| (Arc::from(bytes), 0));
                replayed.put(place, Piece { end, bytes });
            }
            let mut found = vec![0xee; 300 - offset as usize];
            replayed.read_exact_at(offset, &mut found).unwrap();
            prop_assert_eq!(&found, &expected[offset as usize..]);
            let mut at = 0;
            while at < 300 {
                let stretch = replayed.stretch_at(at).unwrap();
                prop_assert!(stretch.bytes > 0);
                let part = &expected[at as usize..][..stretch.bytes as usize];
                prop_assert!(stretch.content != Content::Zero || part.iter().all(|byte| *byte == 0));
                at += stretch.bytes;
            }
        }
    }
}
