//! What can be wrong with a qcow2 image.

use crate::bytes::Short;
use crate::read_at::ReadError;

/// Why a qcow2 image, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The file behind the image cannot be read there.
    #[error("cannot read {what} of the qcow2 image")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// The first bytes are not those of a qcow2 image.
    #[error("not a qcow2 image: it starts with {found:02x?}")]
    NotQcow2 {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version that this reader does not know.
    #[error("qcow2 version {0} is not known; 2 and 3 are")]
    Version(u32),
    /// A structure ends too early.
    #[error("{what} of the qcow2 image is cut short")]
    Short {
        /// The structure.
        what: &'static str,
        /// Where.
        source: Short,
    },
    /// A field has a value that no image may have.
    #[error("{field} of the qcow2 image is {value}, which cannot be: {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it would have to be.
        rule: &'static str,
    },
    /// The image is larger in some way than this reader allows.
    #[error("{what} of the qcow2 image: {value}, more than the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// The contents are encrypted; only ciphertext could be read.
    #[error("the qcow2 image is encrypted with {0}")]
    Encrypted(&'static str),
    /// QEMU has marked the image as corrupt.
    #[error("the qcow2 image is marked as corrupt: qemu-img check -r all may repair it")]
    Corrupt,
    /// The image needs features that this reader does not know.
    #[error("the qcow2 image needs features that are not known: {0}")]
    Features(String),
    /// The image has a backing file that was not handed in.
    #[error("the qcow2 image stands on the backing file {0:?}, which was not given")]
    NoBacking(String),
    /// The image keeps its data in another file that was not handed in.
    #[error("the qcow2 image keeps its data in the file {0:?}, which was not given")]
    NoDataFile(String),
    /// An entry of a table that no image may have.
    #[error("{table} entry {entry:#018x} for byte {offset} of the disk: {rule}")]
    Entry {
        /// The table.
        table: &'static str,
        /// The entry.
        entry: u64,
        /// The place on the disk that it stands for.
        offset: u64,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// A compressed cluster does not decompress to a whole cluster.
    #[error("the compressed cluster at byte {host_offset} of the qcow2 image: {reason}")]
    Compressed {
        /// Where it lies.
        host_offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A place past the end of the disk.
    #[error("byte {offset} is past the end of the disk at byte {size_bytes}")]
    PastEnd {
        /// The place.
        offset: u64,
        /// Where the disk ends.
        size_bytes: u64,
    },
}

impl Qcow2Error {
    /// Says what was to be read, for a failed reading.
    pub(super) fn read(what: &'static str) -> impl FnOnce(ReadError) -> Self {
        move |source| Self::Read { what, source }
    }

    /// Says which structure is cut short.
    pub(super) fn short(what: &'static str) -> impl FnOnce(Short) -> Self {
        move |source| Self::Short { what, source }
    }
}

/// Holds a number to its limit.
pub(super) fn limited(what: &'static str, value: u64, limit: u64) -> Result<u64, Qcow2Error> {
    if value > limit {
        return Err(Qcow2Error::Limit { what, value, limit });
    }
    Ok(value)
}
