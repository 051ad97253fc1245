//! Parts of a disk, such as those that may differ between two times.

use crate::BLOCK_BYTES;
use crate::changeset::Changeset;
use crate::files::length;
use disk::volume::Place;
use disk::{Content, ReadAt, ReadError};
use std::ops::Range;

/// How much is compared at once.
const PIECE_BYTES: u64 = 1 << 20;

/// What buffers begin at: reading past the page cache needs no copy then.
const ALIGNMENT: usize = 4096;

/// Parts of something, in bytes: ascending, apart, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// The union of ranges in any order.
    #[must_use]
    pub fn new(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        let mut union = Self::default();
        for range in ranges {
            union.push(range);
        }
        union
    }

    /// All of something that has so many bytes.
    #[must_use]
    pub fn all(bytes: u64) -> Self {
        let mut all = Self::default();
        all.push(0..bytes);
        all
    }

    /// What changesets tell of: what may differ between the version before the first of them and
    /// the last of them.
    #[must_use]
    pub fn of_changesets<'a>(changesets: impl IntoIterator<Item = &'a Changeset>) -> Self {
        let mut ranges = Vec::new();
        let mut sizes = None;
        for changeset in changesets {
            let bytes = |block: u64| block.saturating_mul(BLOCK_BYTES);
            let told = changeset.runs.iter();
            ranges.extend(told.map(|run| bytes(run.start)..bytes(run.end())));
            let (least, most) = sizes.unwrap_or((u64::MAX, 0u64));
            sizes = Some((
                changeset.disk_bytes.min(least),
                changeset.disk_bytes.max(most),
            ));
        }
        // What was cut off or added between them differs though no run tells of it.
        if let Some((least, most)) = sizes {
            ranges.push(least..most);
        }
        Self::new(ranges)
    }

    /// Adds a range that does not start before the last one.
    pub(super) fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes they have together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self
            .0
            .iter()
            .map(|range| range.end.saturating_sub(range.start));
        sizes.fold(0, u64::saturating_add)
    }

    /// What of them lies within `part`.
    pub fn within(&self, part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.0.partition_point(|range| range.end <= part.start);
        let rest = self.0.get(first..).unwrap_or_default().iter();
        let (start, end) = (part.start, part.end);
        rest.take_while(move |range| range.start < end)
            .map(move |range| range.start.max(start)..range.end.min(end))
            .filter(|range| !range.is_empty())
    }

    /// Whether any of them reaches into `part`.
    #[must_use]
    pub fn meets(&self, part: Range<u64>) -> bool {
        self.within(part).next().is_some()
    }

    /// The same bytes by their places in a volume: `disks` are those that may differ on each disk.
    #[must_use]
    pub fn in_volume(places: &[Place], disks: &[Self]) -> Self {
        let mut found = Self::default();
        let mut offset = 0u64;
        for place in places {
            if let Some(disk) = disks.get(place.disk) {
                for part in disk.within(place.start..place.end()) {
                    let to_volume =
                        |byte: u64| byte.saturating_sub(place.start).saturating_add(offset);
                    found.push(to_volume(part.start)..to_volume(part.end));
                }
            }
            offset = offset.saturating_add(place.bytes);
        }
        found
    }
}

/// The blocks of 4 KiB that differ between two disks, as ranges of bytes. What both know to be zeros
/// is not read. Where one is longer, its rest differs.
///
/// # Errors
/// A disk cannot be read.
pub fn differing(before: &dyn ReadAt, after: &dyn ReadAt) -> Result<Ranges, ReadError> {
    let (one, other) = (before.size_bytes(), after.size_bytes());
    let common = one.min(other);
    let mut found = Ranges::default();
    let mut sides = (Side::new(before), Side::new(after));
    // Always at the start of a block.
    let mut at = 0u64;
    while at < common {
        let ends = (sides.0.look(at)?, sides.1.look(at)?);
        let end = ends.0.min(ends.1).min(common);
        let is_zero = sides.0.is_zero && sides.1.is_zero;
        if is_zero && end == common {
            break;
        }
        let whole = end & !BLOCK_BYTES.wrapping_sub(1);
        if is_zero && whole > at {
            at = whole;
            continue;
        }
        // A block in which a hole begins is read as a whole, and so is the last one.
        let (end, known) = match whole > at {
            true => (whole.min(at.saturating_add(PIECE_BYTES)), true),
            false => (at.saturating_add(BLOCK_BYTES).min(common), false),
        };
        let part = at..end;
        let before = sides.0.read(part.clone(), known)?;
        let after = sides.1.read(part, known)?;
        if before != after {
            let blocks = before.chunks(ALIGNMENT).zip(after.chunks(ALIGNMENT));
            for (block, (before, after)) in (0u64..).zip(blocks) {
                if before != after {
                    let start = at.saturating_add(block.saturating_mul(BLOCK_BYTES));
                    found.push(start..start.saturating_add(before.len() as u64));
                }
            }
        }
        at = end;
    }
    found.push(common..one.max(other));
    Ok(found)
}

/// One of two disks that are compared, and room for a piece of it.
struct Side<'a> {
    source: &'a dyn ReadAt,
    memory: Vec<u8>,
    start: usize,
    /// Whether what comes next is zeros that need not be read.
    is_zero: bool,
    /// How far that holds.
    known: u64,
}

impl<'a> Side<'a> {
    fn new(source: &'a dyn ReadAt) -> Self {
        let memory = vec![0; length(PIECE_BYTES).saturating_add(ALIGNMENT)];
        Self {
            source,
            start: memory.as_ptr().align_offset(ALIGNMENT),
            memory,
            is_zero: false,
            known: 0,
        }
    }

    /// Says how far it goes on as it does at a place.
    fn look(&mut self, at: u64) -> Result<u64, ReadError> {
        if at >= self.known {
            let stretch = self.source.stretch_at(at)?;
            self.is_zero = stretch.content == Content::Zero;
            self.known = at.saturating_add(stretch.bytes.max(1));
        }
        Ok(self.known)
    }

    /// A part, which is zeros if that is `known` of all of it.
    fn read(&mut self, part: Range<u64>, known: bool) -> Result<&[u8], ReadError> {
        let bytes = length(part.end.saturating_sub(part.start));
        let end = self.start.saturating_add(bytes);
        let Some(piece) = self.memory.get_mut(self.start..end) else {
            return Ok(&[]);
        };
        match self.is_zero && known {
            true => piece.fill(0),
            false => self.source.read_exact_at(part.start, piece)?,
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::Stretch;
    use proptest::prelude::*;

    /// Bytes that know which of their zeros need not be read, and fail if those are.
    #[derive(Debug)]
    struct Holed {
        bytes: Vec<u8>,
        holes: Vec<Range<usize>>,
    }

    impl Holed {
        fn new(mut bytes: Vec<u8>, holes: Vec<Range<usize>>) -> Self {
            let holes: Vec<_> = Ranges::new(
                holes
                    .iter()
                    .map(|hole| hole.start as u64..hole.end.min(bytes.len()) as u64)
                    .collect(),
            )
            .iter()
            .map(|hole| hole.start as usize..hole.end as usize)
            .collect();
            for hole in &holes {
                bytes[hole.clone()].fill(0);
            }
            Self { bytes, holes }
        }
    }

    impl ReadAt for Holed {
        fn size_bytes(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.bytes.read_exact_at(offset, buffer)
        }

        fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
            let at = offset as usize;
            for hole in &self.holes {
                if hole.contains(&at) {
                    let bytes = (hole.end - at) as u64;
                    let content = Content::Zero;
                    return Ok(Stretch { bytes, content });
                }
                if hole.start > at {
                    let bytes = (hole.start - at) as u64;
                    let content = Content::Data;
                    return Ok(Stretch { bytes, content });
                }
            }
            let bytes = (self.bytes.len() - at) as u64;
            let content = Content::Data;
            Ok(Stretch { bytes, content })
        }
    }

    fn holes() -> impl Strategy<Value = Vec<Range<usize>>> {
        let hole = (0..40_000usize, 1..12_000usize).prop_map(|(start, bytes)| {
            let end = start + bytes;
            start..end
        });
        proptest::collection::vec(hole, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn exactly_the_blocks_that_differ_are_found(
            bytes in 0..40_000usize,
            more in 0..9_000usize,
            edits in proptest::collection::vec((0..40_000usize, any::<u8>()), 0..6),
            holes in (holes(), holes()),
        ) {
            let before = vec![7; bytes];
            let mut after = vec![7; bytes + more];
            for (at, value) in edits {
                if let Some(byte) = after.get_mut(at) {
                    *byte = value;
                }
            }
            let (one, other) = (Holed::new(before, holes.0), Holed::new(after, holes.1));
            let found = differing(&one, &other).unwrap();
            let size = bytes + more;
            let mut expected = Vec::new();
            for start in (0..size).step_by(4096) {
                let end = (start + 4096).min(bytes);
                if start < end && one.bytes[start..end] != other.bytes[start..end] {
                    expected.push(start as u64..end as u64);
                }
            }
            expected.push(bytes as u64..size as u64);
            prop_assert_eq!(found, Ranges::new(expected));
        }

        #[test]
        fn ranges_are_sets_of_bytes(
            ranges in proptest::collection::vec((0..60u64, 0..9u64), 0..8),
            part in (0..70u64, 0..20u64),
        ) {
            let list: Vec<_> = ranges.iter().map(|(start, bytes)| *start..start + bytes).collect();
            let has = |byte: u64| list.iter().any(|range| range.contains(&byte));
            let union = Ranges::new(list.clone());
            let in_union = |byte: u64| union.iter().any(|range| range.contains(&byte));
            for byte in 0..80 {
                prop_assert_eq!(in_union(byte), has(byte));
            }
            prop_assert_eq!(union.bytes(), (0..80).filter(|byte| has(*byte)).count() as u64);
            let part = part.0..part.0 + part.1;
            let within: Vec<u64> = union.within(part.clone()).flatten().collect();
            let expected: Vec<u64> = part.clone().filter(|byte| has(*byte)).collect();
            prop_assert_eq!(union.meets(part), !expected.is_empty());
            prop_assert_eq!(within, expected);
        }
    }

    #[test]
    fn places_of_disks_become_places_of_the_volume() {
        let place = |disk, start, bytes| Place { disk, start, bytes };
        let places = [place(1, 100, 50), place(0, 10, 20), place(1, 0, 30)];
        let disks = [
            Ranges::new(vec![0..15, 29..90]),
            Ranges::new(vec![20..110, 105..120]),
        ];
        let found = Ranges::in_volume(&places, &disks);
        // 100..120 of disk 1; 10..15 and 29..30 of disk 0; 20..30 of disk 1.
        assert_eq!(found, Ranges::new(vec![0..20, 50..55, 69..70, 90..100]));
    }
}
