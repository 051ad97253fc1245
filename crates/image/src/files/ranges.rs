//! Parts of a disk, such as those that may differ between two times.

use crate::BLOCK_BYTES;
use crate::changeset::Changeset;
use disk::volume::Place;
use std::ops::Range;

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

    /// The same bytes by their places in a volume: `disk` gives those of each disk, by its number.
    #[must_use]
    pub fn in_volume<'a>(places: &[Place], disk: impl Fn(usize) -> Option<&'a Self>) -> Self {
        let mut found = Self::default();
        let mut offset = 0u64;
        for place in places {
            if let Some(disk) = disk(place.disk) {
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

    /// How many ranges there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What of them is not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut found = Self::default();
        for range in &self.0 {
            let mut at = range.start;
            for hole in other.within(range.clone()) {
                found.push(at..hole.start);
                at = hole.end;
            }
            found.push(at..range.end);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

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
            prop_assert_eq!(union.meets(part.clone()), !expected.is_empty());
            prop_assert_eq!(within, expected);
            let rest = union.without(&Ranges::new(vec![part.clone()]));
            let rest: Vec<u64> = rest.iter().flatten().collect();
            let expected: Vec<u64> = (0..80).filter(|byte| has(*byte) && !part.contains(byte)).collect();
            prop_assert_eq!(rest, expected);
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
        let found = Ranges::in_volume(&places, |disk| disks.get(disk));
        // 100..120 of disk 1; 10..15 and 29..30 of disk 0; 20..30 of disk 1.
        assert_eq!(found, Ranges::new(vec![0..20, 50..55, 69..70, 90..100]));
    }
}
