//! Data that journald has packed with LZ4, as systemd did before it took zstd (of version 246).
//!
//! ```text
//! 0 bytes that come out u64 · then sequences:
//!   token: 4 bits literals, 4 bits match   15: bytes follow that are added, up to one that is not 255
//!   literals · 2 bytes how far back, from 1 · so many bytes of what has come out, and 4 more
//! the last sequence ends after its literals
//! ```
//!
//! Source: the description of LZ4's block format. No more comes out than is asked for, whatever the data
//! say.

/// A length that goes on in further bytes.
const LONG: usize = 15;

/// The shortest match.
const MATCH_BYTES_MIN: usize = 4;

/// The first bytes that come out, at most so many; none if the data are damaged before that.
pub(super) fn unpack(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (size, packed) = packed.split_first_chunk::<8>()?;
    let size = usize::try_from(u64::from_le_bytes(*size)).unwrap_or(usize::MAX);
    let limit = limit.min(size);
    let mut packed = Packed(packed);
    let mut out = Vec::new();
    while out.len() < limit {
        let token = usize::from(packed.byte()?);
        let count = packed.length(token >> 4)?;
        let literals = packed.take(count)?;
        let room = limit.checked_sub(out.len())?;
        out.extend_from_slice(literals.get(..room).unwrap_or(literals));
        if out.len() >= limit {
            break;
        }
        let back = usize::from(u16::from_le_bytes([packed.byte()?, packed.byte()?]));
        let length = packed.length(token & 0xf)?.checked_add(MATCH_BYTES_MIN)?;
        let from = out.len().checked_sub(back).filter(|_| back > 0)?;
        // A match may reach into what it makes itself.
        let room = limit.checked_sub(out.len())?;
        for place in (from..).take(length.min(room)) {
            let byte = *out.get(place)?;
            out.push(byte);
        }
    }
    Some(out)
}

struct Packed<'b>(&'b [u8]);

impl<'b> Packed<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn length(&mut self, stored: usize) -> Option<usize> {
        let mut length = stored;
        if stored < LONG {
            return Some(length);
        }
        loop {
            let more = self.byte()?;
            length = length.checked_add(more.into())?;
            if more != u8::MAX {
                return Some(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(size: u64, sequences: &[u8]) -> Vec<u8> {
        [&size.to_le_bytes()[..], sequences].concat()
    }

    #[test]
    fn literals_and_matches_come_out() {
        // "ab", then 8 bytes from two back; then 5 literals.
        let sequences = b"\x24ab\x02\x00\x50vwxyz";
        let all = packed(15, sequences);
        assert_eq!(
            unpack(&all, 99).unwrap(),
            b"ababababab"
                .iter()
                .chain(b"vwxyz")
                .copied()
                .collect::<Vec<_>>()
        );
        assert_eq!(unpack(&all, 5).unwrap(), b"ababa");
        assert_eq!(unpack(&all, 0).unwrap(), b"");
        // More than comes out, from before the start, and cut off.
        assert_eq!(unpack(&packed(16, sequences), 99), None);
        assert_eq!(unpack(&packed(15, b"\x24ab\x03\x00\x50vwxyz"), 99), None);
        assert_eq!(unpack(&packed(15, b"\x24ab\x00\x00\x50vwxyz"), 99), None);
        assert_eq!(unpack(&all[..12], 99), None);
        assert_eq!(unpack(b"short", 99), None);
    }

    #[test]
    fn lengths_go_on_in_further_bytes() {
        let literals = [b'x'; 15 + 255 + 3];
        let mut sequences = vec![0xff, 0xff, 3];
        sequences.extend(literals);
        // 4 and 15 and 10 from one back, then nothing more.
        sequences.extend([1, 0, 10, 0]);
        let found = unpack(&packed(273 + 29, &sequences), 1000).unwrap();
        assert_eq!(found, [b'x'; 302]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn nothing_makes_it_panic_or_grow(packed: Vec<u8>, limit in 0_usize..3000) {
            if let Some(found) = unpack(&packed, limit) {
                prop_assert!(found.len() <= limit);
            }
        }
    }
}
