//! What the file system lies on, with what its log says of it.

use std::collections::BTreeMap;

use crate::bytes::saturate;
use crate::read_at::{ReadAt as _, ReadError, Source};

/// What the log counts in.
pub(super) const SECTOR_BYTES: u64 = 512;

/// Sectors as the log leaves them.
pub(super) type Sectors = BTreeMap<u64, Box<[u8]>>;

/// A source with sectors in whose place newer ones are read.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) source: Source,
    pub(super) replayed: Sectors,
}

impl Device {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            replayed: Sectors::new(),
        }
    }

    pub(super) fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(place, buffer)?;
        overlay(&self.replayed, place, buffer);
        Ok(())
    }
}

/// Puts newer sectors over bytes that were read at a place.
pub(super) fn overlay(sectors: &Sectors, place: u64, buffer: &mut [u8]) {
    let end = place.saturating_add(buffer.len() as u64);
    let touched = sectors.range(place / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    for (sector, newer) in touched {
        let start = sector.saturating_mul(SECTOR_BYTES);
        // Either the buffer begins within the sector, or the sector within the buffer.
        let skipped = saturate(place.saturating_sub(start));
        let at = saturate(start.saturating_sub(place));
        let newer = newer.get(skipped..).unwrap_or_default();
        let there = buffer.get_mut(at..).unwrap_or_default();
        let count = newer.len().min(there.len());
        let pairs = there.iter_mut().zip(newer).take(count);
        for (byte, newer) in pairs {
            *byte = *newer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn newer_sectors_are_read_in_their_place(
            newer in proptest::collection::btree_map(0..6u64, any::<u8>(), 0..4),
            start in 0..3000usize,
            bytes in 0..600usize,
        ) {
            let mut expected = vec![0u8; 4096];
            let mut sectors = Sectors::new();
            for (sector, value) in newer {
                let at = sector as usize * 512;
                expected[at..at + 512].fill(value);
                sectors.insert(sector, vec![value; 512].into());
            }
            let mut found = vec![0u8; bytes];
            overlay(&sectors, start as u64, &mut found);
            prop_assert_eq!(&found[..], &expected[start..start + bytes]);
        }
    }
}
