//! A disk as its blocks that are not zeros: what a fuzzer changes is then a structure, not a void.
//!
//! ```text
//! 0  size in units of 4 KiB, u32   then records:  0 number of the block, u32   4 its 512 bytes
//! ```
//!
//! A last record that is short is filled with zeros; of two for one block the later one counts.

use disk::{ReadAt, ReadError};
use std::collections::BTreeMap;

const BLOCK_BYTES: usize = 512;
const UNIT_BYTES: u64 = 4096;

/// A size, or the number of a block.
const NUMBER_BYTES: usize = 4;

/// What comes before the records.
pub const HEADER_BYTES: usize = NUMBER_BYTES;

/// A record.
pub const RECORD_BYTES: usize = NUMBER_BYTES + BLOCK_BYTES;

/// A disk that is mostly zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sparse {
    size_bytes: u64,
    blocks: BTreeMap<u64, [u8; BLOCK_BYTES]>,
}

impl Sparse {
    /// The disk that some bytes stand for; all bytes stand for one.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Self {
        let (head, records) = bytes.split_at(bytes.len().min(HEADER_BYTES));
        let number = |bytes: &[u8]| {
            let byte = |at: usize| u64::from(bytes.get(at).copied().unwrap_or(0));
            byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
        };
        let blocks = records.chunks(RECORD_BYTES).map(|record| {
            let mut block = [0; BLOCK_BYTES];
            let stored = record.get(NUMBER_BYTES..).unwrap_or_default();
            block[..stored.len()].copy_from_slice(stored);
            (number(record), block)
        });
        Self {
            size_bytes: number(head) * UNIT_BYTES,
            blocks: blocks.collect(),
        }
    }

    /// The bytes that stand for a disk, whose size is rounded up.
    #[must_use]
    pub fn pack(disk: &[u8]) -> Vec<u8> {
        let units = u32::try_from((disk.len() as u64).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let mut packed = units.to_le_bytes().to_vec();
        for (number, block) in (0_u32..).zip(disk.chunks(BLOCK_BYTES)) {
            if block.iter().any(|byte| *byte != 0) {
                packed.extend(number.to_le_bytes());
                packed.extend(block);
                packed.resize(packed.len() + BLOCK_BYTES - block.len(), 0);
            }
        }
        packed
    }

    /// Writes into blocks; what lies behind the end is not seen.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (place, byte) in (offset..).zip(bytes) {
            let block = self.blocks.entry(place / BLOCK_BYTES as u64);
            let block = block.or_insert([0; BLOCK_BYTES]);
            block[place as usize % BLOCK_BYTES] = *byte;
        }
    }
}

impl ReadAt for Sparse {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let bytes = buffer.len() as u64;
        let end = offset
            .checked_add(bytes)
            .filter(|end| *end <= self.size_bytes);
        let end = end.ok_or(ReadError::PastEnd {
            offset,
            bytes,
            size_bytes: self.size_bytes,
        })?;
        buffer.fill(0);
        let block_bytes = BLOCK_BYTES as u64;
        for (number, block) in self
            .blocks
            .range(offset / block_bytes..end.div_ceil(block_bytes))
        {
            let start = number * block_bytes;
            let (from, to) = (start.max(offset), (start + block_bytes).min(end));
            let stored = &block[(from - start) as usize..(to - start) as usize];
            buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(stored);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_comes_back() {
        let mut disk = vec![0; 64 << 10];
        disk[700..800].fill(7);
        disk[65_000] = 1;
        let packed = Sparse::pack(&disk);
        assert_eq!(packed.len(), HEADER_BYTES + 2 * RECORD_BYTES);
        let sparse = Sparse::unpack(&packed);
        assert_eq!(sparse.size_bytes(), disk.len() as u64);
        for (start, bytes) in [(0, 65_536), (513, 200), (750, 300), (64_999, 2), (9, 0)] {
            let mut read = vec![9; bytes];
            sparse.read_exact_at(start as u64, &mut read).unwrap();
            assert_eq!(read, disk[start..start + bytes]);
        }
        let mut written = sparse.clone();
        written.write(1022, &[5, 6, 7, 8]);
        let mut read = [0; 6];
        written.read_exact_at(1021, &mut read).unwrap();
        assert_eq!(read, [0, 5, 6, 7, 8, 0]);
        assert!(sparse.read_exact_at(65_536, &mut [0]).is_err());
        assert!(sparse.read_exact_at(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn all_bytes_stand_for_a_disk() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x01\x00\0\0\x02",
            b"\x01\0\0\0\0\0\0\0abc",
        ] {
            let sparse = Sparse::unpack(bytes);
            let mut read = vec![0; sparse.size_bytes() as usize];
            sparse.read_exact_at(0, &mut read).unwrap();
        }
    }
}
