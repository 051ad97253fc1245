//! Which bytes of a file differ, by reading only what can.
//!
//! ```text
//!  before  ├─ 7..9 ─┤ hole │ 20 ├        both zeros             ──► the same
//!  after   ├─ 7..9 ─┤  31  │ 40 ├        same place             ──► what may differ of it is read
//!              │        │    └──────► moved ──► read            anything else ──► all of it is read
//!              └─ only where the disk may differ
//! ```

use crate::BLOCK_BYTES;
use crate::files::differences::{Differences, Known, hull};
use crate::files::event::{Change, MAX_RANGES_TOLD};
use crate::files::{Content, FilesError, length};
use disk::{AlignedBuffer, ReadAt, ReadError};
use std::ops::Range;

/// How much of a file is compared at once.
const PIECE_BYTES: u64 = 256 << 10;

/// Room for a piece of both files, and how much may still be compared.
#[derive(Debug)]
pub(super) struct Pieces {
    before: Piece,
    after: Piece,
    left: u64,
    most: u64,
}

impl Pieces {
    /// No block belongs to two files, so that no more is to be compared than both volumes have:
    /// `most` bytes. A hostile file system could have the same blocks in any number of files.
    pub(super) fn new(most: u64) -> Self {
        Self {
            before: Piece::new(),
            after: Piece::new(),
            left: most,
            most,
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), FilesError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(FilesError::Limit {
            what: "bytes of files that are to be compared",
            limit: self.most,
        })?;
        Ok(())
    }
}

#[derive(Debug)]
struct Piece(AlignedBuffer);

impl Piece {
    fn new() -> Self {
        Self(AlignedBuffer::new(length(PIECE_BYTES)))
    }

    fn read(&mut self, from: &Content<'_>, part: &Range<u64>) -> Result<&[u8], ReadError> {
        let bytes = length(part.end.saturating_sub(part.start));
        let piece = self.0.first(bytes);
        from.read_exact_at(part.start, piece)?;
        Ok(piece)
    }
}

/// What changed of a file's data, if anything. `dirty` are the parts of the volume that may differ.
///
/// # Errors
/// One of the files cannot be read.
pub(super) fn change(
    before: &Content<'_>,
    after: &Content<'_>,
    dirty: &Differences,
    pieces: &mut Pieces,
) -> Result<Option<Change>, FilesError> {
    before.check()?;
    after.check()?;
    let sizes = (before.size_bytes(), after.size_bytes());
    let mut told = Told::default();
    for candidate in candidates(before, after, dirty, sizes.0.min(sizes.1)) {
        match candidate {
            Known::Nothing(part) => compare(before, after, part, pieces, &mut told)?,
            Known::Hull(part) => told.push(part),
        }
    }
    Ok(outcome(told, sizes))
}

fn outcome(mut told: Told, (before, after): (u64, u64)) -> Option<Change> {
    let grown = before..after;
    if told.ranges.is_empty() && before < after {
        return Some(Change::Appended { range: grown });
    }
    if told.ranges.is_empty() && before == after {
        return None;
    }
    if before < after {
        told.push(grown);
    }
    Some(Change::Modified {
        ranges: told.ranges,
    })
}

/// The parts of both files that can differ, ascending.
fn candidates(
    before: &Content<'_>,
    after: &Content<'_>,
    dirty: &Differences,
    end: u64,
) -> Vec<Known> {
    if before.inline().is_some() || after.inline().is_some() {
        return match before.inline() == after.inline() {
            true => Vec::new(),
            false => vec![Known::Nothing(0..end)],
        };
    }
    let mut found = Vec::new();
    let mut at = 0u64;
    while at < end {
        let (one, one_bytes) = before.run_at(at);
        let (other, other_bytes) = after.run_at(at);
        let bytes = one_bytes
            .min(other_bytes)
            .min(end.saturating_sub(at))
            .max(1);
        match (one, other) {
            (None, None) => {}
            (Some(place), Some(same)) if place == same => {
                let to_file = |part: Range<u64>| {
                    let byte = |byte: u64| byte.saturating_sub(place).saturating_add(at);
                    byte(part.start)..byte(part.end)
                };
                // What is known of blocks of the disk says nothing of blocks of the file that lie
                // across two of them.
                let is_aligned = place.abs_diff(at).is_multiple_of(BLOCK_BYTES);
                dirty.within(place..place.saturating_add(bytes), |known| {
                    found.push(match known {
                        Known::Hull(part) if is_aligned => Known::Hull(to_file(part)),
                        Known::Hull(part) | Known::Nothing(part) => Known::Nothing(to_file(part)),
                    });
                });
            }
            _ => found.push(Known::Nothing(at..at.saturating_add(bytes))),
        }
        at = at.saturating_add(bytes);
    }
    found
}

fn compare(
    before: &Content<'_>,
    after: &Content<'_>,
    candidate: Range<u64>,
    pieces: &mut Pieces,
    told: &mut Told,
) -> Result<(), FilesError> {
    let mut at = candidate.start;
    while at < candidate.end {
        // Pieces end with a block of the file, so that what is told does not depend on them.
        let end = at.saturating_add(PIECE_BYTES) & !BLOCK_BYTES.wrapping_sub(1);
        let part = at..end.min(candidate.end);
        pieces.take(part.end.saturating_sub(part.start))?;
        let one = pieces.before.read(before, &part)?;
        let other = pieces.after.read(after, &part)?;
        if one != other {
            differences(part.start, one, other, told);
        }
        at = part.end;
    }
    Ok(())
}

/// Tells, for each block of the file, from the first to the last byte that differs.
fn differences(start: u64, before: &[u8], after: &[u8], told: &mut Told) {
    let mut at = start;
    let (mut before, mut after) = (before, after);
    while !before.is_empty() {
        let left = BLOCK_BYTES.saturating_sub(at & BLOCK_BYTES.wrapping_sub(1));
        let bytes = length(left).min(before.len()).min(after.len());
        if bytes == 0 {
            return;
        }
        let (one, one_rest) = before.split_at(bytes);
        let (other, other_rest) = after.split_at(bytes);
        if one != other
            && let Some(hull) = hull(one, other)
        {
            let byte = |within: usize| at.saturating_add(within as u64);
            told.push(byte(hull.start)..byte(hull.end));
        }
        at = at.saturating_add(bytes as u64);
        (before, after) = (one_rest, other_rest);
    }
}

/// Ranges that are told, of which there are not too many.
#[derive(Debug, Default)]
struct Told {
    ranges: Vec<Range<u64>>,
}

impl Told {
    fn push(&mut self, range: Range<u64>) {
        let is_full = self.ranges.len() >= MAX_RANGES_TOLD;
        match self.ranges.last_mut() {
            Some(last) if is_full || range.start <= last.end => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_go_from_the_first_to_the_last_byte_that_differs() {
        let before = vec![0u8; 20_000];
        let mut after = before.clone();
        for at in [5, 9, 4095, 4096, 8191, 8200, 19_999] {
            after[at] = 1;
        }
        let mut told = Told::default();
        // As if the file's piece started within a block.
        differences(100, &before[100..], &after[100..], &mut told);
        assert_eq!(told.ranges, [4095..8192, 8200..8201, 19_999..20_000]);
        let mut told = Told::default();
        differences(0, &before[..4096], &after[..4096], &mut told);
        let [only] = told.ranges.as_slice() else {
            panic!("{:?}", told.ranges);
        };
        assert_eq!(*only, 5..4096);
    }

    #[test]
    fn the_last_range_covers_what_is_too_much() {
        let mut told = Told::default();
        let count = MAX_RANGES_TOLD as u64 + 5;
        for index in 0..count {
            told.push(index * 10..index * 10 + 1);
        }
        assert_eq!(told.ranges.len(), MAX_RANGES_TOLD);
        let last = told.ranges.last().unwrap();
        assert_eq!(last.end, (count - 1) * 10 + 1);
    }

    #[test]
    fn sizes_tell_what_was_added_or_cut_off() {
        let told = |ranges: &[Range<u64>]| Told {
            ranges: ranges.to_vec(),
        };
        assert_eq!(outcome(told(&[]), (7, 7)), None);
        let appended = Change::Appended { range: 7..9 };
        assert_eq!(outcome(told(&[]), (7, 9)), Some(appended));
        let cut = Change::Modified { ranges: vec![] };
        assert_eq!(outcome(told(&[]), (9, 7)), Some(cut));
        let both = Change::Modified {
            ranges: vec![2..3, 7..9],
        };
        let within = std::slice::from_ref(&(2..3));
        assert_eq!(outcome(told(within), (7, 9)), Some(both));
    }
}
