//! What every computation is: a state machine that is stepped, and tells its digest at the end.
//!
//! ```text
//!   start(seed) ──► step ──► step ──► … ──► digest, metrics
//!                    └ stops lie between steps, never within one
//! ```
//!
//! Invariants: the working set is allocated before the first step and page-aligned; the state after
//! k steps depends on seed and k only; a wrong value found on the way is data, never a panic. A
//! computation whose subject is somebody's library (a database, a compressor) lets that library
//! allocate in a step, from an allocator that gives the same addresses for the same requests.

use crate::digest::DIGEST_BYTES;
use sha2::{Digest as _, Sha256};

/// Memory of a computation that holds what it works on, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedBuffer {
    /// Its name: the same in every run, wherever the memory lies.
    pub name: &'static str,
    /// The address of its first byte, in the process that runs the computation.
    pub address: u64,
    /// How long it is.
    pub bytes: u64,
}

impl NamedBuffer {
    /// The memory of some values.
    pub(crate) fn of<T>(name: &'static str, values: &[T]) -> Self {
        Self {
            name,
            address: values.as_ptr().addr() as u64,
            bytes: size_of_val(values) as u64,
        }
    }
}

/// A running computation.
pub trait Kernel {
    /// Does one step. Nothing is logged.
    fn step(&mut self);

    /// Steps done so far.
    fn steps_done(&self) -> u64;

    /// The digest of all state, working set included. Costly: taken once, at the end.
    fn digest(&self) -> [u8; DIGEST_BYTES];

    /// What the computation counted, as (name, value). Equal states have equal metrics.
    fn metrics(&self) -> Vec<(String, f64)>;

    /// The memory that it works on, where it lies at another place in each run. Every byte of it
    /// depends on seed and steps alone. What lies always at the same place need not be named.
    fn buffers(&self) -> Vec<NamedBuffer> {
        Vec::new()
    }
}

/// A value that begins on a page of its own: `Vec<PageAligned<T>>`, with `T` a page in size, is a
/// page-aligned buffer without unsafe code.
#[derive(Debug, Clone)]
#[repr(C, align(4096))]
pub(crate) struct PageAligned<T>(pub(crate) T);

/// A page of bytes.
pub(crate) type BytePage = PageAligned<[u8; model::PAGE_BYTES]>;

/// A hasher that has taken in what tells computations and their versions apart, so that no two of
/// them can have one digest.
pub(crate) fn hasher(name: &str, version: u32, steps_done: u64) -> Sha256 {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([0]);
    hasher.update(version.to_le_bytes());
    hasher.update(steps_done.to_le_bytes());
    hasher
}

/// The next state of a chain: the digest of the one before and of what came to it.
pub(crate) fn linked(state: &[u8; DIGEST_BYTES], bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let link = Sha256::new().chain_update(state);
    link.chain_update(bytes).finalize().into()
}

/// Takes a word into the fold. For a given word it is a bijection of the fold, and for a given fold
/// one of the word, so no single wrong word can cancel out.
pub(crate) const fn fold_in(fold: u64, word: u64) -> u64 {
    (fold ^ word)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}
