//! Compressed data: units of up to sixteen clusters, each in chunks of 4 KiB.
//!
//! ```text
//!  chunk   0 length less 3, with 8000 if it is compressed; 0 ends the unit
//!  token   a byte of eight flags, then for each: a byte as it is, or 16 bits: how far back, how long;
//!          the further into the chunk, the more bits say how far
//! ```

use crate::system::Run;

/// How many clusters are compressed together at most.
pub(super) const MAX_UNIT_CLUSTERS: u64 = 16;

const CHUNK_BYTES: usize = 4096;

/// Clusters that are compressed together.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Where they lie.
    pub(super) runs: Vec<Run>,
    /// How many clusters they become.
    pub(super) clusters: u64,
}

impl Unit {
    pub(super) fn first(&self) -> Option<u64> {
        Some(self.runs.first()?.start)
    }
}

/// Unpacks a unit into so many bytes. What is damaged, and what is not there, is zeros, as the kernels
/// read it.
pub(super) fn unpack(packed: &[u8], bytes: usize) -> Vec<u8> {
    let mut unpacked = Vec::with_capacity(bytes);
    let mut rest = packed;
    while unpacked.len() < bytes {
        let Some(([low, high], after)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let head = u16::from_le_bytes([*low, *high]);
        if head == 0 {
            break;
        }
        let length = usize::from(head & 0xfff).saturating_add(1);
        let chunk = after.get(..length).unwrap_or(after);
        rest = after.get(length..).unwrap_or_default();
        let end = unpacked.len().saturating_add(CHUNK_BYTES);
        match head & 0x8000 {
            0 => unpacked.extend_from_slice(chunk),
            _ => unpack_chunk(chunk, &mut unpacked),
        }
        unpacked.resize(end, 0);
    }
    unpacked.resize(bytes, 0);
    unpacked
}

/// Adds a chunk, of which nothing refers to what comes before it.
fn unpack_chunk(chunk: &[u8], unpacked: &mut Vec<u8>) {
    let start = unpacked.len();
    let mut bytes = chunk.iter().copied();
    while let Some(flags) = bytes.next() {
        for bit in 0..8u32 {
            let Some(low) = bytes.next() else {
                return;
            };
            let done = unpacked.len().saturating_sub(start);
            if done >= CHUNK_BYTES {
                return;
            }
            if flags.wrapping_shr(bit) & 1 == 0 {
                unpacked.push(low);
                continue;
            }
            let Some(high) = bytes.next() else {
                return;
            };
            let token = u16::from_le_bytes([low, high]);
            let length_bits = length_bits(done);
            let back = usize::from(token.wrapping_shr(length_bits)).saturating_add(1);
            let mask = 1u16.wrapping_shl(length_bits).wrapping_sub(1);
            let length = usize::from(token & mask).saturating_add(3);
            let Some(from) = done.checked_sub(back) else {
                return;
            };
            let from = start.saturating_add(from);
            let length = length.min(CHUNK_BYTES.saturating_sub(done));
            for step in 0..length {
                let byte = unpacked.get(from.saturating_add(step)).copied();
                unpacked.push(byte.unwrap_or(0));
            }
        }
    }
}

/// How many bits of a token are its length, after so many bytes of a chunk.
fn length_bits(done: usize) -> u32 {
    let mut bits = 12;
    let mut left = done.saturating_sub(1);
    while left >= 0x10 {
        left >>= 1;
        bits = u32::saturating_sub(bits, 1);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of Microsoft's description of the algorithm, LZNT1.
    #[test]
    fn the_example_of_the_description_is_unpacked() {
        let packed = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2,
            0x47, 0x01, 0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58,
            0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        let expected = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D \
            E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D";
        let unpacked = unpack(&packed, 4096);
        assert_eq!(&unpacked[..expected.len()], expected);
        assert!(unpacked[expected.len()..].iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_has_its_length(packed: Vec<u8>, bytes in 0..20_000usize) {
            prop_assert_eq!(unpack(&packed, bytes).len(), bytes);
        }
    }
}
