//! Why a state file was not written or not read.

use super::{FORMAT_VERSION, SectionName};
use crate::memory::MemoryError;
use thiserror::Error;

/// Why a state file was not written or not read.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// The bytes could not be written or read.
    #[error("{action} a state file: {source}")]
    Io {
        /// `write` or `read`.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not begin as a state file does.
    #[error("read a state file: it does not begin with `VDSTATE`")]
    NotAStateFile,
    /// It begins like a state file and holds something else.
    #[error("read a state file: its kind is {kind}, and a terminal state has kind 1")]
    OtherKind {
        /// The kind that it says.
        kind: u16,
    },
    /// A newer program wrote it.
    #[error(
        "read a state file: it has format version {version}, and this program reads version \
         {FORMAT_VERSION}"
    )]
    OtherVersion {
        /// The version that it says.
        version: u16,
    },
    /// It ends too early.
    #[error("read a state file: it is cut within its {within}")]
    Truncated {
        /// The place where it ends.
        within: String,
    },
    /// Something follows its end.
    #[error("read a state file: something follows its end")]
    Trailing,
    /// A section is longer than its limit.
    #[error("{action} a state file: its {section} have {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// `write` or `read`.
        action: &'static str,
        /// Which section.
        section: SectionName,
        /// Bytes that it has, or claims to have.
        bytes: u64,
        /// The most that it may have.
        limit: u64,
    },
    /// The header is not what this version's headers are.
    #[error("{action} a state file: its header is wrong: {source}")]
    Header {
        /// `write` or `read`.
        action: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The log is not lines of UTF-8, each with its end; or a line to be written holds one.
    #[error("{action} a state file: its log is not lines of UTF-8")]
    Log {
        /// `write` or `read`.
        action: &'static str,
    },
    /// There is more of something than its limit.
    #[error("{action} a state file: it has more than {limit} {what}")]
    TooMany {
        /// `write` or `read`.
        action: &'static str,
        /// Of what.
        what: &'static str,
        /// The most that there may be.
        limit: usize,
    },
    /// A metric is not a finite number, which JSON cannot hold.
    #[error("write a state file: metric `{name}` is not a finite number")]
    Metric {
        /// The metric's name.
        name: String,
    },
    /// The files that the header names are not those of the files section.
    #[error("read a state file: its files are not as long as its header says, or repeat a name")]
    Files,
    /// The memory sections do not fit each other.
    #[error("read a state file: {source}")]
    Memory {
        /// What is wrong with them.
        source: MemoryError,
    },
    /// The digest at the end is not that of the content: a byte changed since it was written.
    #[error("read a state file: its content is damaged, for its digest differs")]
    Damaged,
}
