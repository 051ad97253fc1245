//! The file of one terminal state.
//!
//! ```text
//! offset  bytes
//! 0       8      magic "VDSTATE\0"
//! 8       2      kind, 1: a terminal state
//! 10      2      format version, 1
//! 12      8 + n  header: length, JSON (outcome, registers, metrics, names of files, origin)
//!         8 + n  log: length, lines in UTF-8, each ended by a line feed
//!         8 + n  files: length, contents one after the other in the order of the header
//!         8 + n  page numbers: length, 64-bit each, ascending; none for a full image
//!         8 + n  memory: length, 4096 bytes for each page
//!         32     BLAKE3 of everything before it
//! ```
//!
//! All numbers are little-endian. The header comes first, so that a reader knows what a file is
//! before it reads the memory; the digest comes last, so that a writer never seeks.
//!
//! A file is not trusted: each section has a limit, as have the lists within; no allocation is made
//! by a claimed length but only as bytes arrive; and what is cut, damaged or followed by anything is refused. A reader
//! takes this format version and refuses a newer one by name.

mod bounded;
mod error;
mod read;
mod write;

pub use error::StateFileError;
pub use read::read_state;
pub use write::write_state;

use crate::terminal::{Registers, TerminalState};
use model::{MetricSample, Outcome, Provenance};
use serde::{Deserialize, Serialize};

/// The format version that is written, and the newest that is read.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"VDSTATE\0";

/// The kind of file among those that begin alike.
const KIND_TERMINAL_STATE: u16 = 1;

const DIGEST_BYTES: usize = 32;

/// The longest header: 8,192 registers with values of 1 KiB, and as much again.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;

/// The longest log: twice what the result channel takes from a guest.
pub const MAX_LOG_BYTES: u64 = 16 << 20;

/// The longest content of all files together: four times what the result channel takes.
pub const MAX_FILES_BYTES: u64 = 64 << 20;

/// The most lines of a log: six times what is kept of a guest's, which is 10,000 and what steers.
pub const MAX_LOG_LINES: usize = 1 << 16;

/// The most metrics: four times the lines that a guest may steer with.
pub const MAX_METRICS: usize = 4096;

/// The most files: a guest may send 16.
pub const MAX_FILES: usize = 1024;

/// The most pages: 16 GiB of memory.
pub const MAX_PAGES: u64 = 1 << 22;

/// What made a state, and what its memory is relative to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What made it.
    pub provenance: Provenance,
    /// The digest of the common snapshot that its changed pages are relative to.
    pub base_digest: String,
}

/// What a state file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct StateFile {
    /// The state.
    pub state: TerminalState,
    /// Where it comes from.
    pub origin: Origin,
}

/// How the memory sections are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MemoryKind {
    Changed,
    Full,
}

/// The JSON header.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    origin: Origin,
    outcome: Outcome,
    result_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_status: Option<String>,
    registers: Registers,
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_METRICS>")]
    metrics: Vec<MetricSample>,
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_FILES>")]
    files: Vec<FileEntry>,
    memory: MemoryKind,
}

/// A file's name and length; its content lies in the files section.
#[derive(Debug, Serialize, Deserialize)]
struct FileEntry {
    name: String,
    bytes: u64,
}

/// The sections in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionName {
    /// The JSON header.
    Header,
    /// The log.
    Log,
    /// The contents of the files.
    Files,
    /// The page numbers.
    PageNumbers,
    /// The memory.
    Memory,
}

impl SectionName {
    /// The most bytes that the section may have.
    const fn limit(self) -> u64 {
        match self {
            Self::Header => MAX_HEADER_BYTES,
            Self::Log => MAX_LOG_BYTES,
            Self::Files => MAX_FILES_BYTES,
            Self::PageNumbers => MAX_PAGES * 8,
            Self::Memory => MAX_PAGES * model::PAGE_BYTES as u64,
        }
    }
}

impl std::fmt::Display for SectionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Log => "log",
            Self::Files => "files",
            Self::PageNumbers => "page numbers",
            Self::Memory => "memory",
        })
    }
}
