//! Runs: where the clusters of an attribute lie.
//!
//! ```text
//!  a byte: low half, how many bytes the length has; high half, how many the distance from the run
//!  before has, 0 for a hole; then both, the distance with a sign. A byte of 0 ends them.
//! ```

use crate::bytes::saturate;
use crate::ext::Extent;
use crate::ntfs::attribute::{Attribute, Value};
use crate::ntfs::compressed::Unit;
use crate::ntfs::{NTFS, Ntfs};
use crate::system::{MAX_EXTENTS, Run, SystemError};

/// A run as it is stored: clusters of the file, and where they lie if not in a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) logical: u64,
    pub(super) clusters: u64,
    pub(super) place: Option<u64>,
}

/// Reads runs; none if they are cut short or lead to before the start.
pub(super) fn parse(bytes: &[u8], first: u64) -> Option<Vec<Stored>> {
    let mut found = Vec::new();
    let (mut at, mut logical, mut place) = (0usize, first, 0i64);
    loop {
        let head = *bytes.get(at)?;
        if head == 0 {
            return Some(found);
        }
        let (length_bytes, place_bytes) = (usize::from(head & 0xf), usize::from(head >> 4));
        let length_at = at.checked_add(1)?;
        let place_at = length_at.checked_add(length_bytes)?;
        let end = place_at.checked_add(place_bytes)?;
        let clusters = u64::try_from(number(bytes.get(length_at..place_at)?)?).ok()?;
        if clusters == 0 {
            return None;
        }
        let run_place = match place_bytes {
            0 => None,
            _ => {
                place = place.checked_add(number(bytes.get(place_at..end)?)?)?;
                Some(u64::try_from(place).ok()?)
            }
        };
        found.push(Stored {
            logical,
            clusters,
            place: run_place,
        });
        logical = logical.checked_add(clusters)?;
        at = end;
    }
}

/// A number of up to eight bytes with a sign.
fn number(bytes: &[u8]) -> Option<i64> {
    let last = bytes.last().filter(|_| bytes.len() <= 8)?;
    let mut full = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
    full.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(full))
}

impl Ntfs {
    /// The extents of an attribute that may stand in several parts; of compressed data, those behind
    /// the end in which they are read.
    pub(super) fn runs_of(
        &self,
        number: u64,
        parts: &[Attribute],
    ) -> Result<Vec<Extent>, SystemError> {
        let wrong = |rule| NTFS.object(number, rule);
        let mut parts: Vec<&Attribute> = parts.iter().collect();
        parts.sort_by_key(|part| part.first());
        let mut stored: Vec<Stored> = Vec::new();
        let (mut unit_bits, mut written, mut size) = (0, u64::MAX, 0);
        for part in parts {
            let Value::Runs(runs) = &part.value else {
                return Ok(Vec::new());
            };
            let end = stored
                .last()
                .map_or(0, |last| last.logical.saturating_add(last.clusters));
            if runs.first != end {
                return Err(wrong("its runs do not follow each other"));
            }
            if end == 0 {
                let is_compressed = part.flags & super::attribute::COMPRESSED != 0;
                unit_bits = if is_compressed { runs.unit_bits } else { 0 };
                (written, size) = (runs.written_bytes, runs.size_bytes);
            }
            let more = parse(&runs.stored, runs.first);
            stored.extend(more.ok_or_else(|| wrong("its runs are cut short"))?);
            NTFS.limited("runs of a file", stored.len() as u64, MAX_EXTENTS)?;
        }
        let past = |run: &Stored| {
            let end = run.place.map(|place| place.checked_add(run.clusters));
            end.is_some_and(|end| end.is_none_or(|end| end > self.boot.clusters))
        };
        if stored.iter().any(past) {
            return Err(wrong("its runs lead past the end"));
        }
        match unit_bits {
            0 => Ok(self.plain(&stored, written, size)),
            1..=4 => self.packed_runs(number, &stored, unit_bits),
            _ => Err(wrong("it is compressed in units that are too large")),
        }
    }

    /// Extents of what is not compressed. What was not written yet is read as zeros.
    fn plain(&self, stored: &[Stored], written: u64, size: u64) -> Vec<Extent> {
        let cluster = self.boot.cluster_bytes.max(1);
        let written = match written < size {
            true => written.div_ceil(cluster),
            false => u64::MAX,
        };
        let mut extents = Vec::new();
        for run in stored {
            let Some(place) = run.place else {
                continue;
            };
            let before = written.saturating_sub(run.logical).min(run.clusters);
            push(&mut extents, run.logical, place, before, false);
            let after = run.clusters.saturating_sub(before);
            let (logical, place) = (
                run.logical.saturating_add(before),
                place.saturating_add(before),
            );
            push(&mut extents, logical, place, after, true);
        }
        extents
    }

    /// Extents of what is compressed: a unit with all of its clusters is not, one with none is a
    /// hole.
    fn packed_runs(
        &self,
        number: u64,
        stored: &[Stored],
        unit_bits: u8,
    ) -> Result<Vec<Extent>, SystemError> {
        let unit_clusters = 1u64.wrapping_shl(unit_bits.into());
        let mut extents = Vec::new();
        let mut unit: Vec<Run> = Vec::new();
        let (mut start, mut taken) = (0u64, 0u64);
        for run in stored {
            let mut within = 0;
            while within < run.clusters {
                let left = unit_clusters.saturating_sub(taken);
                let count = left.min(run.clusters.saturating_sub(within)).max(1);
                if let Some(place) = run.place {
                    unit.push(Run {
                        start: place.saturating_add(within),
                        blocks: count,
                    });
                }
                within = within.saturating_add(count);
                taken = taken.saturating_add(count);
                if taken < unit_clusters {
                    // A hole of many units is skipped at once below.
                    continue;
                }
                self.unit(
                    &mut extents,
                    start,
                    std::mem::take(&mut unit),
                    unit_clusters,
                )?;
                start = start.saturating_add(unit_clusters);
                taken = 0;
                if run.place.is_none() {
                    let left = run.clusters.saturating_sub(within);
                    let whole = left & !unit_clusters.wrapping_sub(1);
                    within = within.saturating_add(whole);
                    start = start.saturating_add(whole);
                }
                let count = extents.len() as u64;
                NTFS.limited("extents of a file", count, MAX_EXTENTS)?;
            }
        }
        // A file need not fill its last unit.
        let clusters: u64 = unit
            .iter()
            .fold(0, |sum, run| sum.saturating_add(run.blocks));
        if clusters > 0 {
            self.unit(&mut extents, start, unit, unit_clusters)?;
        }
        let last = extents.last().map_or(0, |last: &Extent| last.physical);
        match saturate(last) == usize::MAX {
            true => Err(NTFS.object(number, "its runs lead past the end")),
            false => Ok(extents),
        }
    }

    fn unit(
        &self,
        extents: &mut Vec<Extent>,
        start: u64,
        runs: Vec<Run>,
        unit_clusters: u64,
    ) -> Result<(), SystemError> {
        let clusters = runs
            .iter()
            .fold(0u64, |sum, run| sum.saturating_add(run.blocks));
        if clusters == 0 {
            return Ok(());
        }
        if clusters >= unit_clusters {
            let mut logical = start;
            for run in runs {
                push(extents, logical, run.start, run.blocks, false);
                logical = logical.saturating_add(run.blocks);
            }
            return Ok(());
        }
        let place = self.know(Unit {
            runs,
            clusters: unit_clusters,
        })?;
        push(extents, start, place, unit_clusters, false);
        Ok(())
    }
}

/// Adds an extent, in as many parts as it needs.
fn push(extents: &mut Vec<Extent>, logical: u64, physical: u64, clusters: u64, unwritten: bool) {
    let mut done = 0u64;
    while done < clusters {
        let left = clusters.saturating_sub(done).min(1 << 31);
        extents.push(Extent {
            logical: logical.saturating_add(done),
            physical: physical.saturating_add(done),
            blocks: u32::try_from(left).unwrap_or(0),
            unwritten,
        });
        done = done.saturating_add(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Stores runs as the driver of Windows does.
    fn store(runs: &[(u64, Option<u64>)]) -> Vec<u8> {
        let short = |number: i64| {
            let bytes = number.to_le_bytes();
            let fits = |count: usize| {
                let bits = count as u32 * 8 - 1;
                number >> bits == 0 || number >> bits == -1
            };
            let count = (1..8).find(|count| fits(*count)).unwrap_or(8);
            bytes[..count].to_vec()
        };
        let (mut bytes, mut before) = (Vec::new(), 0);
        for (clusters, place) in runs {
            let length = short(*clusters as i64);
            let distance = place
                .map(|place| short(place as i64 - before))
                .unwrap_or_default();
            bytes.push((distance.len() << 4 | length.len()) as u8);
            bytes.extend(length);
            bytes.extend(distance);
            before = place.map_or(before, |place| place as i64);
        }
        bytes.push(0);
        bytes
    }

    proptest! {
        #[test]
        fn runs_are_what_was_stored(
            runs in proptest::collection::vec((1..1u64 << 40, proptest::option::of(0..1u64 << 50)), 0..20),
        ) {
            let found = parse(&store(&runs), 0).unwrap();
            let told: Vec<_> = found.iter().map(|run| (run.clusters, run.place)).collect();
            prop_assert_eq!(told, runs);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _runs_or_none = parse(&bytes, 3);
        }
    }
}
