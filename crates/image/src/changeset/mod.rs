//! Changesets: what one capture says of the disk, by blocks.
//!
//! ```text
//! "VDGRCHNG"  version u32  body's stored bytes u32, raw bytes u32      20 bytes
//! body        one zstd frame
//! digest      BLAKE3 of all before it, 32 bytes: the changeset's id
//! seal        where the history is sealed: see [`crate::seal`]
//! ```
//!
//! In the body all numbers are LEB128:
//!
//! ```text
//! kind  sequence  parent's id (32 bytes, zeros for none)  time in ns (8 bytes)  disk's bytes
//! source: length, UTF-8
//! packs: count, then the id of each, 32 bytes
//! runs:  count, then for each: blocks skipped since the last one's end, blocks,
//!        0 for zeros, or 1 + pack's place in the list, first unit, blocks of a unit
//! replaced: count, then for each: sequence, id (32 bytes)
//! ```
//!
//! What a base does not tell of is zeros; what a later one does not tell of is as before.

mod format;

pub use format::{ChangesetError, decode, encode, split};

use crate::pack::PackId;
use model::Timestamp;
use std::fmt;

/// The most changesets that a base says it stands for: an anchor that is older cannot be held
/// against the history any more. 65,536 are 2.5 MB, and six weeks of a capture a minute.
pub const MAX_REPLACED: usize = 1 << 16;

/// The most bytes of a source's description.
pub const MAX_SOURCE_BYTES: usize = 4096;

/// A changeset, by the digest of all that it says. As it says the id of the one before, it stands
/// for the whole history up to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangesetId(pub [u8; 32]);

impl fmt::Display for ChangesetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ChangesetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangesetId({self})")
    }
}

/// What a changeset is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing: it is the whole disk.
    Base,
    /// The one before it: what was told dirty since.
    Increment,
    /// The one before it: the whole disk was read and compared, since nobody could tell what is
    /// dirty.
    Resync,
}

impl Kind {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Increment => "increment",
            Self::Resync => "resync",
        }
    }
}

/// Where the content of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// It is zeros.
    Zero,
    /// It is units of a pack, one after the other.
    Units {
        /// The pack's place in the changeset's list.
        pack: u32,
        /// The first unit's number in the pack.
        first: u32,
        /// Blocks of each unit.
        unit_blocks: u32,
    },
}

/// Neighbouring blocks of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// The first of them.
    pub start: u64,
    /// How many there are; never 0. The last unit may hold more than belong to the disk.
    pub blocks: u64,
    /// What they hold.
    pub content: Content,
}

impl Run {
    /// The block behind its last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.blocks)
    }
}

/// What one capture says of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changeset {
    /// What it is relative to.
    pub kind: Kind,
    /// Its place in the history, from 0.
    pub sequence: u64,
    /// The one before it.
    pub parent: Option<ChangesetId>,
    /// The point in time at which the disk was like this.
    pub taken: Timestamp,
    /// The size of the disk.
    pub disk_bytes: u64,
    /// What it was captured from, for people and for the next capture.
    pub source: String,
    /// The packs that it names.
    pub packs: Vec<PackId>,
    /// What it tells of, ascending and apart.
    pub runs: Vec<Run>,
    /// Of a base: the changesets that it stands for, ascending. The last of them has its sequence.
    pub replaced: Vec<Replaced>,
}

/// A changeset that a base stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Replaced {
    /// Its place in the history.
    pub sequence: u64,
    /// Its id in the chain.
    pub id: ChangesetId,
}

impl Changeset {
    /// How much of the disk it tells of; of a base, what is not zeros.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        let blocks = self.runs.iter().map(|run| run.blocks);
        let blocks = blocks.fold(0_u64, u64::saturating_add);
        let bytes = blocks.saturating_mul(crate::BLOCK_BYTES);
        bytes.min(self.disk_bytes)
    }
}

/// What all changesets' names begin with.
pub const PREFIX: &str = "changesets/";

/// The name of a changeset's blob: by its place, so that names are in order.
#[must_use]
pub fn blob(sequence: u64, id: ChangesetId) -> String {
    format!("{PREFIX}{sequence:012}-{id}")
}

/// The place and id that a blob's name names.
#[must_use]
pub fn of_blob(name: &str) -> Option<(u64, ChangesetId)> {
    let (sequence, id) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let id = blake3::Hash::from_hex(id).ok()?;
    Some((sequence.parse().ok()?, ChangesetId(*id.as_bytes())))
}
