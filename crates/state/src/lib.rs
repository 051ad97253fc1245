//! A machine's terminal state, its exact comparison with its doubles, and its file.
//!
//! | module | holds |
//! |---|---|
//! | [`memory`] | what a replica's memory holds: pages changed since a common snapshot, or a full image |
//! | [`terminal`] | the terminal state: memory, registers, log, files, metrics, outcome |
//! | [`consensus`] | the one rule by which replicas decide: a strict majority |
//! | [`compare`] | N states against each other, part by part |
//! | [`file`](mod@file) | the versioned file of one state |
//!
//! Invariants: comparison is exact and never samples; what no strict majority holds is undecided
//! and never guessed; equal input gives equal output, in ascending order of address, name or line.
//! It does not judge: verdict, score and severity belong to the engine that asks.

pub mod compare;
pub mod consensus;
pub mod file;
pub mod memory;
pub mod terminal;

pub use compare::{
    CompareError, FileComparison, FileDifference, Limits, MAX_REPLICAS, MemoryComparison, PageList,
    ReplicaFiles, ReplicaMemory, ReplicaTexts, TextComparison, TextDifference, UndecidedFile,
    UndecidedText, UndecidedWord, WordDifference, compare_files, compare_lines, compare_memory,
    compare_named, compare_values,
};
pub use consensus::majority;
pub use file::{Origin, StateFile, StateFileError, read_state, write_state};
pub use memory::{Base, ChangedPages, MAX_PAGE_NUMBERS, Memory, MemoryError, MemoryView, Page};
pub use terminal::{Registers, RegistersError, TerminalState, disk_block_name, disk_block_offset};
