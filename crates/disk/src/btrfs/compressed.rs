//! Compressed extents: up to 128 KiB each, by zlib, LZO or zstd.
//!
//! ```text
//!  LZO     0 length of all   then parts: 0 length, 4 data, each a sector unpacked; no length goes
//!          over the end of a sector: what is left there is skipped
//!  stream  the first byte, from 18 on: so many less 17 as they are
//!          00-0f  as many as it says, or two from near, after bytes as they are
//!          10-1f  from 16 to 48 KiB back   20-3f up to 16 KiB   40-ff up to 2 KiB
//!          the last two bits of each: so many as they are follow
//! ```

use crate::btrfs::BTRFS;
use crate::bytes::{Fields, saturate};
use crate::qcow2::compressed::{Frames, decode, inflate};
use crate::system::SystemError;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER;

/// How long a compressed extent is at most, before and after.
pub(super) const MAX_UNIT_BYTES: u64 = 128 << 10;

/// How data are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    pub(super) fn of(stored: u8) -> Option<Self> {
        Some(match stored {
            0 => Self::None,
            1 => Self::Zlib,
            2 => Self::Lzo,
            3 => Self::Zstd,
            _ => return None,
        })
    }
}

/// A compressed extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) at: u64,
    pub(super) stored_bytes: u64,
    /// How long it becomes.
    pub(super) bytes: u64,
    pub(super) compression: Compression,
}

/// Unpacks an extent. Zeros follow where less comes out.
pub(super) fn unpack(packed: &[u8], unit: &Unit, sector: usize) -> Result<Vec<u8>, SystemError> {
    let mut unpacked = vec![0; saturate(unit.bytes)];
    let failed = |_| BTRFS.place("a compressed extent", unit.at, "it cannot be unpacked");
    match unit.compression {
        Compression::None => {}
        Compression::Zlib => {
            inflate(packed, &mut unpacked, TINFL_FLAG_PARSE_ZLIB_HEADER).map_err(failed)?;
        }
        Compression::Zstd => {
            // A frame ends with the file; zeros follow to the end of the sector.
            decode(packed, &mut unpacked, Frames::First).map_err(failed)?;
        }
        Compression::Lzo => {
            let parts = lzo(packed, unpacked.len(), sector);
            unpacked = parts.ok_or_else(|| failed(String::new()))?;
        }
    }
    Ok(unpacked)
}

/// Parts of LZO, each a sector.
fn lzo(packed: &[u8], bytes: usize, sector: usize) -> Option<Vec<u8>> {
    let length = saturate(Fields(packed).le32(0).ok()?.into());
    let packed = packed.get(..length).unwrap_or(packed);
    let mut unpacked = Vec::with_capacity(bytes);
    let mut at = 4usize;
    while unpacked.len() < bytes && at < packed.len() {
        let left = sector.checked_sub(at.checked_rem(sector)?)?;
        if left < 4 {
            at = at.checked_add(left)?;
        }
        let Ok(length) = Fields(packed).le32(at) else {
            break;
        };
        let start = at.checked_add(4)?;
        let end = start.checked_add(saturate(length.into()))?;
        let room = sector.min(bytes.checked_sub(unpacked.len())?);
        let part = lzo_part(packed.get(start..end)?, room)?;
        unpacked.extend_from_slice(&part);
        at = end;
    }
    unpacked.resize(bytes, 0);
    Some(unpacked)
}

/// A stream of LZO1X that becomes at most so many bytes; none if it is damaged.
fn lzo_part(packed: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut stream = Stream {
        packed: packed.iter(),
        unpacked: Vec::with_capacity(room),
        room,
    };
    // How many bytes as they are came before: 4 for a longer run.
    let mut state = match packed.first()? {
        first @ 18.. => {
            stream.byte()?;
            let count = usize::from(*first).checked_sub(17)?;
            stream.literals(count)?;
            count.min(4)
        }
        _ => 0,
    };
    loop {
        let head = stream.byte()?;
        let low = usize::from(head & 3);
        let (length, back) = match head {
            0..=15 if state == 0 => {
                let count = stream.length(usize::from(head), 15)?.checked_add(3)?;
                stream.literals(count)?;
                state = 4;
                continue;
            }
            0..=15 => {
                let far = usize::from(stream.byte()?) << 2;
                let near = far | usize::from(head >> 2);
                match state {
                    4 => (3, near.checked_add(2049)?),
                    _ => (2, near.checked_add(1)?),
                }
            }
            16..=31 => {
                let length = stream.length(usize::from(head & 7), 7)?.checked_add(2)?;
                let tail = stream.word()?;
                let back = usize::from(head & 8) << 11 | usize::from(tail >> 2);
                if back == 0 {
                    // The end.
                    return Some(stream.unpacked);
                }
                state = usize::from(tail & 3);
                stream.copy(length, back.checked_add(16_384)?)?;
                stream.literals(state)?;
                continue;
            }
            32..=63 => {
                let length = stream.length(usize::from(head & 31), 31)?.checked_add(2)?;
                let tail = stream.word()?;
                state = usize::from(tail & 3);
                stream.copy(length, usize::from(tail >> 2).checked_add(1)?)?;
                stream.literals(state)?;
                continue;
            }
            64.. => {
                let far = usize::from(stream.byte()?) << 3;
                let back = far | usize::from(head >> 2 & 7);
                let length = usize::from(head >> 5).checked_add(1)?;
                (length, back.checked_add(1)?)
            }
        };
        stream.copy(length, back)?;
        stream.literals(low)?;
        state = low;
    }
}

struct Stream<'a> {
    packed: std::slice::Iter<'a, u8>,
    unpacked: Vec<u8>,
    room: usize,
}

impl Stream<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.packed.next().copied()
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// A length: if it is 0, each byte of 0 that follows adds 255, and the next one ends it.
    fn length(&mut self, stored: usize, most: usize) -> Option<usize> {
        if stored != 0 {
            return Some(stored);
        }
        let mut length = most;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                last => return length.checked_add(last.into()),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            let byte = self.byte()?;
            self.push(byte)?;
        }
        Some(())
    }

    fn copy(&mut self, length: usize, back: usize) -> Option<()> {
        for _ in 0..length {
            let from = self.unpacked.len().checked_sub(back)?;
            let byte = *self.unpacked.get(from)?;
            self.push(byte)?;
        }
        Some(())
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        if self.unpacked.len() >= self.room {
            return None;
        }
        self.unpacked.push(byte);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_of_lzo_is_unpacked() {
        // "abcd" as it is, then eight bytes from four back, then the end.
        let packed = [21, b'a', b'b', b'c', b'd', 0x26, 0x0c, 0x00, 0x11, 0, 0];
        assert_eq!(lzo_part(&packed, 4096).unwrap(), b"abcdabcdabcd");
        assert_eq!(lzo_part(&packed, 8), None);
        assert_eq!(lzo_part(&packed[..8], 4096), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(packed: Vec<u8>) {
            let _bytes_or_none = lzo(&packed, 9000, 4096);
            if let Some(bytes) = lzo_part(&packed, 4096) {
                prop_assert!(bytes.len() <= 4096);
            }
        }
    }
}
