//! Change records: what happened to files, kept so that "what changed under this path since then" is
//! answered without reading a disk.
//!
//! ```text
//!  events of a changeset ──► run: sorted by volume and path, in blocks, with an index at its end
//!                              │
//!   runs  #1-#8 │ #9-#16 │ #17 │ #18      each of neighbouring changesets; small ones are merged
//!                              │
//!  question: path, from #m, to #n ──► of each run that holds some of them, the blocks of that path
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `record` | [`ChangeRecord`], and how it is written down |
//! | `block` | entries that share the beginnings of their keys |
//! | `run` | one run: written in one go, read block by block |
//! | `merge` | several runs as one, in order |
//! | `index` | [`Records`]: the runs of a history, what they lack, and questions |
//!
//! Invariants: records are derived from the history and never trusted over it. A run names the
//! changesets that it covers and the chain's id of the last of them: one that is not of this
//! history, or whose changesets were forgotten, is none. A run is put as a whole and never changed;
//! one that lies within another is superfluous. So whatever is killed at whatever moment, what is
//! found is right, and what is lacking is made again.

mod block;
mod index;
mod merge;
mod record;
mod run;

#[cfg(test)]
mod tests;

pub use index::{Answers, Question, Records};
pub use record::{ChangeKind, ChangeRecord, Explanation, Fields, FileState, RANGES_KEPT, Standing};

use crate::blobs::BlobError;
use thiserror::Error;

/// What all runs' names begin with.
pub const PREFIX: &str = "records/";

/// Why records cannot be used.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// A run cannot be put or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A run is not what it was: it is to be removed, and made again.
    #[error("{blob}: {what}")]
    Damaged {
        /// Its name.
        blob: String,
        /// What is wrong with it.
        what: &'static str,
    },
}
