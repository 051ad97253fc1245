//! N states against each other, part by part, exactly.
//!
//! | part | unit that is voted on | where |
//! |---|---|---|
//! | memory | aligned 64-bit word | [`compare_memory`] |
//! | registers, exact metrics | value of one name | [`compare_named`] |
//! | log | line of one number | [`compare_lines`] |
//! | outcome, result digest | the value | [`compare_values`] |
//! | files | whole content of one name | [`compare_files`] |
//!
//! In every part a replica *differs* in a unit where a strict majority holds another value. Where
//! no value has a strict majority the unit is *undecided*, and no replica is said to differ in it.
//! With two replicas there is never a majority where they differ, so everything is undecided.
//!
//! Counts are always whole; lists hold the first [`Limits::listed`] differences of each replica.

mod files;
mod memory;
mod tally;
mod text;
mod words;

pub use files::{FileComparison, FileDifference, ReplicaFiles, UndecidedFile, compare_files};
pub use memory::compare_memory;
pub use text::{
    ReplicaTexts, TextComparison, TextDifference, UndecidedText, compare_lines, compare_named,
    compare_values,
};
pub use words::{
    MAX_LISTED_PAGES, MemoryComparison, PageList, ReplicaMemory, UndecidedWord, WordDifference,
};

use thiserror::Error;

/// The most replicas that are compared at once: every page of each is looked at together, and no
/// host runs as many at a time.
pub const MAX_REPLICAS: usize = 256;

/// How much is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most differences that are listed for each replica, and the most undecided units.
    pub listed: usize,
}

/// Why memory could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompareError {
    /// There are more replicas than [`MAX_REPLICAS`].
    #[error("compare memory: {replicas} replicas, at most {MAX_REPLICAS} are compared at once")]
    TooManyReplicas {
        /// How many there are.
        replicas: usize,
    },
    /// A full image is not as long as the memory.
    #[error("compare memory: the image of state {state} has {bytes} bytes, not {total_bytes}")]
    WrongImageLength {
        /// Which of the given states, counted from 0.
        state: usize,
        /// Bytes of its image.
        bytes: u64,
        /// Bytes of the memory.
        total_bytes: u64,
    },
    /// A changed page lies beyond the end of the memory.
    #[error("compare memory: page {number:#x} of state {state} lies beyond {total_pages} pages")]
    PageOutside {
        /// Which of the given states, counted from 0.
        state: usize,
        /// The page's number.
        number: u64,
        /// How many pages the memory has.
        total_pages: u64,
    },
}
