//! What a file system lies on, as it will be once its journal is replayed.

use std::collections::BTreeMap;

use crate::bytes::saturate;
use crate::read_at::{ReadAt, ReadError, Source};

/// The journal's magic: a block of data that starts with it is stored with zeros in its place.
pub(super) const JOURNAL_MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

/// A block whose newest contents are in the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replayed {
    /// The block of the journal that holds them.
    pub(super) block: u64,
    /// Whether its first four bytes have to be put back.
    pub(super) escaped: bool,
}

/// Blocks, some of which are read from the journal. Nothing is copied: only places are kept.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) source: Source,
    pub(super) block_bytes: u64,
    pub(super) replayed: BTreeMap<u64, Replayed>,
}

impl Device {
    /// Fills `buffer` with the bytes from `place` on.
    pub(super) fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.replayed.is_empty() {
            return self.source.read_exact_at(place, buffer);
        }
        let (mut at, mut rest) = (place, buffer);
        while !rest.is_empty() {
            let block = at.checked_div(self.block_bytes).unwrap_or(0);
            let within = at & self.block_bytes.wrapping_sub(1);
            // As far as the next block that the journal has, or to the end of this one of its.
            let next = match self.replayed.range(block..).next() {
                Some((next, _)) if *next == block => block.saturating_add(1),
                Some((next, _)) => *next,
                None => u64::MAX,
            };
            let end = next.saturating_mul(self.block_bytes);
            let bytes = saturate(end.saturating_sub(at)).min(rest.len());
            let (part, behind) = rest.split_at_mut(bytes);
            match self.replayed.get(&block) {
                Some(replayed) => self.read_replayed(*replayed, within, part)?,
                None => self.source.read_exact_at(at, part)?,
            }
            at = at.saturating_add(bytes as u64);
            rest = behind;
        }
        Ok(())
    }

    fn read_replayed(
        &self,
        replayed: Replayed,
        within: u64,
        part: &mut [u8],
    ) -> Result<(), ReadError> {
        let place = replayed.block.saturating_mul(self.block_bytes);
        self.source
            .read_exact_at(place.saturating_add(within), part)?;
        if replayed.escaped {
            let magic = JOURNAL_MAGIC.iter().skip(saturate(within));
            for (byte, original) in part.iter_mut().zip(magic) {
                *byte = *original;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn replayed_blocks_are_read_from_the_journal() {
        let blocks: Vec<u8> = (0..8u8).flat_map(|block| [block; 16]).collect();
        let mut device = Device {
            source: Arc::new(blocks.clone()),
            block_bytes: 16,
            replayed: BTreeMap::new(),
        };
        let replayed = [(1, 6, false), (2, 7, true), (4, 5, false)];
        for (to, block, escaped) in replayed {
            device.replayed.insert(to, Replayed { block, escaped });
        }
        let mut expected: Vec<u8> = [0, 6, 7, 3, 5, 5, 6, 7]
            .iter()
            .flat_map(|b| [*b; 16])
            .collect();
        expected[32..36].copy_from_slice(&JOURNAL_MAGIC);
        for start in 0..128 {
            for end in start..128 {
                let mut buffer = vec![0xee; end - start];
                device.read(start as u64, &mut buffer).unwrap();
                assert_eq!(buffer, expected[start..end]);
            }
        }
    }
}
