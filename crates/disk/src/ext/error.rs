//! What can be wrong with an ext file system.

use crate::bytes::Short;
use crate::read_at::ReadError;

/// Why an ext file system, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExtError {
    /// What the file system lies on cannot be read there.
    #[error("cannot read {what} of the ext file system")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// The superblock is not that of ext2, ext3 or ext4.
    #[error("not an ext file system: its magic is {0:#06x} in place of 0xef53")]
    NotExt(u16),
    /// The file system needs features that this reader does not know.
    #[error("the ext file system needs features that are not known: {0}")]
    Features(String),
    /// It is the journal of another file system.
    #[error("this is the journal of another ext file system")]
    JournalDevice,
    /// Its journal lies on another device, and would have to be replayed.
    #[error("the journal of the ext file system lies on another device and was not replayed")]
    ExternalJournal,
    /// A structure ends too early.
    #[error("{what} of the ext file system is cut short")]
    Short {
        /// The structure.
        what: &'static str,
        /// Where.
        source: Short,
    },
    /// A field of the superblock has a value that it cannot have.
    #[error("{field} of the ext file system is {value}, which cannot be: {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it would have to be.
        rule: &'static str,
    },
    /// The file system is larger in some way than this reader allows.
    #[error("{what} of the ext file system: {value}, more than the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A block does not hold what it must.
    #[error("{what} in block {block} of the ext file system: {rule}")]
    Block {
        /// What it should hold.
        what: &'static str,
        /// Its number.
        block: u64,
        /// What is wrong.
        rule: &'static str,
    },
    /// An inode does not hold what it must.
    #[error("inode {inode} of the ext file system: {rule}")]
    Inode {
        /// Its number.
        inode: u32,
        /// What is wrong.
        rule: &'static str,
    },
    /// There is nothing of this name.
    #[error("the ext file system has no {0:?}")]
    NotFound(String),
}

impl ExtError {
    /// Says what was to be read, for a failed reading.
    pub(super) fn read(what: &'static str) -> impl FnOnce(ReadError) -> Self {
        move |source| Self::Read { what, source }
    }

    /// Says which structure is cut short.
    pub(super) fn short(what: &'static str) -> impl Fn(Short) -> Self {
        move |source| Self::Short { what, source }
    }
}

/// Holds a number to its limit.
pub(super) fn limited(what: &'static str, value: u64, limit: u64) -> Result<u64, ExtError> {
    if value > limit {
        return Err(ExtError::Limit { what, value, limit });
    }
    Ok(value)
}
