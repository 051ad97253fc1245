//! Packs: units of disks, each kept once, in compressed frames.
//!
//! ```text
//! "VDGRPACK"  version u32                                     12 bytes
//! frame …     each one zstd frame: whole units, one after the other
//! directory   one zstd frame:
//!                number of frames; for each: stored bytes, unit bytes, number of units
//!                then the digest of each unit, 16 bytes, frame by frame
//! footer      directory's stored bytes u32, raw bytes u32; BLAKE3 of all before it, 32 bytes
//! ```
//!
//! Numbers without a width are LEB128, the others little-endian. A pack's name is the digest in its
//! footer: that of all its bytes but those 32. The directory is read without the frames, so that
//! what an archive holds is known again by reading the ends of its packs.
//!
//! A *unit* is what is found again by its content: 16 KiB of a whole disk, a block of 4 KiB of a
//! change. A *frame* is what is compressed and decompressed at once: larger ones are smaller to
//! keep, smaller ones quicker to read one block from.

mod reader;
mod writer;

pub use reader::{Directory, Frame, PackError, PackReader, verify};
pub use writer::{FinishedPack, PackWriter};

use std::fmt;

const MAGIC: &[u8; 8] = b"VDGRPACK";

/// The version of the format.
pub const VERSION: u32 = 1;

const HEADER_BYTES: u64 = 12;
const FOOTER_BYTES: u64 = 8 + 32;

/// The most bytes of a unit, and the least: a block.
const UNIT_BYTES: std::ops::RangeInclusive<u64> = crate::BLOCK_BYTES..=1 << 20;

/// The most bytes of a frame before it is compressed: what reading one block costs at most.
pub const MAX_FRAME_BYTES: u64 = 8 << 20;

/// The most bytes of a pack's frames as they are stored: what a writer holds in memory.
pub const MAX_PACK_BYTES: u64 = 16 << 20;

/// The most bytes of a directory: units of one block, stored as almost nothing.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

/// The most units of a pack, so that what compresses to nothing does not make a pack without end.
pub const MAX_UNITS: u32 = 1 << 18;

/// The most frames of a pack.
const MAX_FRAMES: u64 = 1 << 16;

/// What a unit is found by: the first half of the BLAKE3 of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitDigest([u8; 16]);

impl UnitDigest {
    /// The digest of a content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let whole = blake3::hash(content);
        let mut half = [0; 16];
        half.copy_from_slice(whole.as_bytes().split_at(16).0);
        Self(half)
    }
}

/// A pack, by the digest of its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 32]);

impl PackId {
    /// The name of its blob.
    #[must_use]
    pub fn blob(&self) -> String {
        format!("{PREFIX}{self}")
    }

    /// The pack that a blob's name names.
    #[must_use]
    pub fn of_blob(name: &str) -> Option<Self> {
        let digest = blake3::Hash::from_hex(name.strip_prefix(PREFIX)?).ok()?;
        Some(Self(*digest.as_bytes()))
    }
}

/// What all packs' names begin with.
pub const PREFIX: &str = "packs/";

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackId({self})")
    }
}
