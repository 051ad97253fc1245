//! Where two disks differ, and what is known of how.

use crate::BLOCK_BYTES;
use crate::files::ahead::{Ahead, Aside, PIECE_BYTES, Piece};
use crate::files::{Ranges, length};
use disk::volume::Place;
use disk::{ReadError, Source};
use std::ops::Range;
use std::sync::Arc;

/// For how many parts it is remembered which bytes of them differ: they take 8 MiB.
const MAX_HULLS: usize = 1 << 19;

/// What may differ between two times of a disk or volume. Of some of its blocks it may be known which
/// bytes do, so that they need not be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The parts that may differ; elsewhere both times hold the same.
    pub blocks: Ranges,
    /// Whole blocks of which it is known which bytes differ.
    known: Ranges,
    /// From the first to the last byte that differs, of each of these blocks that differs.
    hulls: Ranges,
}

impl From<Ranges> for Differences {
    /// Parts of which no more is known than that they may differ.
    fn from(blocks: Ranges) -> Self {
        Self {
            blocks,
            ..Self::default()
        }
    }
}

/// What is known of some bytes that may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// They must be read.
    Nothing(Range<u64>),
    /// From the first of them to the last differs, within each block.
    Hull(Range<u64>),
}

impl Differences {
    /// The same by its place in a volume.
    #[must_use]
    pub fn in_volume(places: &[Place], disks: &[Self]) -> Self {
        let of = |part: fn(&Self) -> &Ranges| {
            Ranges::in_volume(places, |disk| disks.get(disk).map(part))
        };
        let mut known = Ranges::default();
        let mut offset = 0u64;
        for place in places {
            let after = offset.saturating_add(place.bytes);
            // Blocks of the volume must be blocks of the disk.
            let is_aligned = place.start.abs_diff(offset).is_multiple_of(BLOCK_BYTES);
            if let Some(disk) = disks.get(place.disk).filter(|_| is_aligned) {
                for part in disk.known.within(place.start..place.end()) {
                    let to_volume =
                        |byte: u64| byte.saturating_sub(place.start).saturating_add(offset);
                    known.push(whole_blocks(to_volume(part.start)..to_volume(part.end)));
                }
            }
            offset = after;
        }
        Self {
            blocks: of(|disk| &disk.blocks),
            known,
            hulls: of(|disk| &disk.hulls),
        }
    }

    /// With parts that may differ though nothing is known of them.
    #[must_use]
    pub(super) fn with_unknown(&self, parts: Vec<Range<u64>>) -> Self {
        let parts = Ranges::new(parts);
        Self {
            known: self.known.without(&parts),
            hulls: self.hulls.clone(),
            blocks: Ranges::new(self.blocks.iter().chain(parts.iter()).collect()),
        }
    }

    /// What is known of the bytes of `part` that may differ, ascending.
    pub(super) fn within(&self, part: Range<u64>, mut tell: impl FnMut(Known)) {
        for part in self.blocks.within(part) {
            let mut at = part.start;
            // Of a block that lies in it by half, all is known if the bytes that differ do not.
            for known in self.known.within(around(&part)) {
                let end = known.end.min(part.end);
                if at < known.start {
                    tell(Known::Nothing(at..known.start.min(part.end)));
                }
                at = at.max(known.start);
                while at < end {
                    let whole = whole_blocks(at..end);
                    let next = match whole.start == at && !whole.is_empty() {
                        true => whole.end,
                        false => around(&(at..at.saturating_add(1))).end.min(end),
                    };
                    self.of_known(at..next, &mut tell);
                    at = next;
                }
            }
            if at < part.end {
                tell(Known::Nothing(at..part.end));
            }
        }
    }

    /// What is known of whole blocks, or of a part of one.
    fn of_known(&self, part: Range<u64>, tell: &mut impl FnMut(Known)) {
        let blocks = around(&part);
        let is_cut = |hull: &Range<u64>| {
            let cut = hull.start.max(part.start)..hull.end.min(part.end);
            !cut.is_empty() && cut != *hull
        };
        if blocks != part && self.hulls.within(blocks).any(|hull| is_cut(&hull)) {
            return tell(Known::Nothing(part));
        }
        for hull in self.hulls.within(part) {
            tell(Known::Hull(hull));
        }
    }
}

/// The blocks that a range touches.
fn around(range: &Range<u64>) -> Range<u64> {
    let start = range.start & !BLOCK_BYTES.wrapping_sub(1);
    let end = range.end.checked_next_multiple_of(BLOCK_BYTES);
    start..end.unwrap_or(u64::MAX)
}

/// The blocks that lie in a range as a whole.
fn whole_blocks(range: Range<u64>) -> Range<u64> {
    let end = range.end & !BLOCK_BYTES.wrapping_sub(1);
    let start = range.start.saturating_add(BLOCK_BYTES.wrapping_sub(1));
    let start = start & !BLOCK_BYTES.wrapping_sub(1);
    start..end.max(start)
}

/// From the first to the last byte that differs, if any does. Both are equally long.
pub(super) fn hull(before: &[u8], after: &[u8]) -> Option<Range<usize>> {
    let pairs = || before.iter().zip(after);
    let first = pairs().position(|(one, other)| one != other)?;
    let behind = pairs().rev().position(|(one, other)| one != other)?;
    let end = before.len().min(after.len()).saturating_sub(behind);
    Some(first..end)
}

/// The blocks of 4 KiB that differ between two disks. Each is read on a thread of its own, ahead of
/// the comparison. What both know to be zeros is not read. Where one is longer, its rest differs.
///
/// # Errors
/// A disk cannot be read.
pub fn differing(
    before: &Source,
    after: &Source,
    aside: Aside<'_>,
) -> Result<Differences, ReadError> {
    let (one, other) = (before.size_bytes(), after.size_bytes());
    let common = one.min(other);
    let mut found = Found::default();
    let mut sides = [before, after].map(|side| Side {
        ahead: Ahead::read(Arc::clone(side), common, aside),
        piece: None,
    });
    let zeros = vec![0; length(PIECE_BYTES)];
    let mut at = 0u64;
    while at < common {
        let [before, after] = &mut sides;
        let end = before.end(at)?.min(after.end(at)?).min(common);
        if before.has_bytes() || after.has_bytes() {
            let bytes = length(end.saturating_sub(at));
            found.compare(at, before.bytes(bytes, &zeros), after.bytes(bytes, &zeros));
        }
        before.pass(end);
        after.pass(end);
        at = end;
    }
    Ok(found.finish(common, one.max(other)))
}

/// One of two disks that are compared.
#[derive(Debug)]
struct Side {
    ahead: Ahead,
    /// What is at hand of it.
    piece: Option<Piece>,
}

impl Side {
    /// Where the piece at a place ends.
    fn end(&mut self, at: u64) -> Result<u64, ReadError> {
        let piece = match self.piece.take() {
            Some(piece) => piece,
            None => self.ahead.next()?,
        };
        let end = piece.end.max(at.saturating_add(1));
        self.piece = Some(piece);
        Ok(end)
    }

    fn has_bytes(&self) -> bool {
        self.piece
            .as_ref()
            .is_some_and(|piece| piece.room.is_some())
    }

    /// What the piece holds; if that is zeros, as many of `zeros`.
    fn bytes<'a>(&'a mut self, bytes: usize, zeros: &'a [u8]) -> &'a [u8] {
        let room = self.piece.as_mut().and_then(|piece| piece.room.as_mut());
        match room {
            Some(room) => room.first(bytes),
            None => zeros.get(..bytes).unwrap_or(zeros),
        }
    }

    /// What lies before a place is not needed any more.
    fn pass(&mut self, at: u64) {
        if let Some(piece) = self.piece.take_if(|piece| piece.end <= at)
            && let Some(room) = piece.room
        {
            self.ahead.give_back(room);
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    blocks: Ranges,
    hulls: Ranges,
    /// Where the first hull would have been one too many.
    forgotten: Option<u64>,
}

impl Found {
    /// Compares what two disks hold from a place on, the start of a block.
    fn compare(&mut self, start: u64, before: &[u8], after: &[u8]) {
        if before == after {
            return;
        }
        let bytes = length(BLOCK_BYTES);
        let blocks = before.chunks(bytes).zip(after.chunks(bytes));
        for (start, (before, after)) in (start..).step_by(bytes).zip(blocks) {
            self.compare_block(start, before, after);
        }
    }

    fn compare_block(&mut self, start: u64, before: &[u8], after: &[u8]) {
        if before == after {
            return;
        }
        let end = start.saturating_add(before.len() as u64);
        self.blocks.push(start..end);
        if self.forgotten.is_none() && self.hulls.count() >= MAX_HULLS {
            self.forgotten = Some(start);
        }
        if self.forgotten.is_none()
            && let Some(hull) = hull(before, after)
        {
            let byte = |within: usize| start.saturating_add(within as u64);
            self.hulls.push(byte(hull.start)..byte(hull.end));
        }
    }

    fn finish(mut self, common: u64, end: u64) -> Differences {
        self.blocks.push(common..end);
        let known = 0..self.forgotten.unwrap_or(common).min(common);
        Differences {
            blocks: self.blocks,
            known: Ranges::new(vec![whole_blocks(known)]),
            hulls: self.hulls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ahead::on_a_thread;
    use disk::{Content, ReadAt, Stretch};
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
            let (one, other) = (Arc::new(one), Arc::new(other));
            let sources = [Arc::clone(&one) as Source, Arc::clone(&other) as Source];
            let found = differing(&sources[0], &sources[1], &on_a_thread).unwrap();
            let size = bytes + more;
            let mut expected = Vec::new();
            for start in (0..size).step_by(4096) {
                let end = (start + 4096).min(bytes);
                if start < end && one.bytes[start..end] != other.bytes[start..end] {
                    expected.push(start as u64..end as u64);
                }
            }
            expected.push(bytes as u64..size as u64);
            prop_assert_eq!(&found.blocks, &Ranges::new(expected));
            // Of each block below the end of both, what is known is what differs.
            for start in (0..bytes / 4096 * 4096).step_by(4096) {
                let mut told = Vec::new();
                found.within(start as u64..start as u64 + 4096, |known| told.push(known));
                let differs = |at: &usize| one.bytes[*at] != other.bytes[*at];
                let first = (start..start + 4096).find(differs);
                let last = (start..start + 4096).rev().find(differs);
                let hull = first.zip(last).map(|(first, last)| {
                    Known::Hull(first as u64..last as u64 + 1)
                });
                prop_assert_eq!(told, hull.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_is_known_follows_into_a_volume_whose_blocks_are_the_disks() {
        let mut after = vec![0_u8; 5 * 4096];
        for at in [4100, 4200, 3 * 4096] {
            after[at] = 1;
        }
        let before: Source = Arc::new(vec![0_u8; 5 * 4096]);
        let after: Source = Arc::new(after);
        let found = differing(&before, &after, &on_a_thread).unwrap();
        let told = |start, part: Range<u64>| {
            let place = Place {
                disk: 0,
                start,
                bytes: 4 * 4096,
            };
            let volume = Differences::in_volume(&[place], std::slice::from_ref(&found));
            let mut told = Vec::new();
            volume.within(part, |known| told.push(known));
            told
        };
        let all = 0..u64::MAX;
        assert_eq!(
            told(4096, all.clone()),
            [Known::Hull(4..105), Known::Hull(8192..8193)]
        );
        // Half a block is known if what differs lies in one half; and none is in a volume that begins
        // within a block.
        assert_eq!(told(4096, 0..2048), [Known::Hull(4..105)]);
        assert_eq!(told(4096, 0..4), []);
        assert_eq!(told(4096, 105..4096), []);
        assert_eq!(told(4096, 0..80), [Known::Nothing(0..80)]);
        assert_eq!(told(4096, 50..4097), [Known::Nothing(50..4096)]);
        assert_eq!(
            told(4096, 2..8193),
            [Known::Hull(4..105), Known::Hull(8192..8193)]
        );
        let unknown = [3584..7680, 11776..15872].map(Known::Nothing);
        assert_eq!(told(512, all), unknown);
        let displaced = found.with_unknown(vec![4096..8192, 0..1]);
        let mut told = Vec::new();
        displaced.within(0..u64::MAX, |known| told.push(known));
        let expected = [
            Known::Nothing(0..1),
            Known::Nothing(4096..8192),
            Known::Hull(12288..12289),
        ];
        assert_eq!(told, expected);
    }
}
