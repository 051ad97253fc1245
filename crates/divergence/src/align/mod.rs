//! Alignment before comparison: machines of one snapshot that are not bit-exact hand out frames in
//! another order each, so that they are compared by what a word is, never by where its frame lies.
//!
//! ```text
//!  pages that any machine changed ─► where each stands ─► the same place in all machines ─► words
//!        named buffers, by name             user memory, by (process, virtual address)
//!        what lies beside them, by distance
//!        the kernel's image, by variable    CPUs' areas, by variable
//!        objects of the kernel, by type and whose they are
//!  what stands nowhere is counted, with the reason: free pages, page tables, stacks, other objects
//! ```
//!
//! Words of named buffers vote, and nothing in them is ever masked. Of the others the [`Mask`] says
//! which are noise; those that differ besides are *unexplained*.
//!
//! Guest memory is not trusted. What is walked was bounded by [`introspection`]; buffers are checked;
//! lists are bounded, and what is beyond them is counted.

mod buffer;
mod compare;
mod edge;
mod location;
mod places;

pub use buffer::{COMPUTATION_PROCESS, NamedRange};
pub use location::{AlignedWord, ContainerKind, Location, Mask, NoMask};
pub use places::Places;

use state::Registers;
use std::collections::BTreeMap;

/// Differing words that are listed, in buffers and elsewhere each: more is not read by anybody.
pub const MAX_LISTED_WORDS: usize = 65_536;

/// A machine to align.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// Its memory, understood.
    pub places: &'a dyn Places,
    /// The numbers of the pages that it changed since the common snapshot.
    pub changed: &'a [u64],
    /// The buffers that its guest claims.
    pub buffers: &'a [NamedRange],
    /// Its registers.
    pub registers: &'a Registers,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("changed", &self.changed.len())
            .field("buffers", &self.buffers)
            .finish_non_exhaustive()
    }
}

/// What machines hold at the same places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aligned {
    /// How many machines.
    pub machines: usize,
    /// Of each machine the names of its buffers, with their lengths or why they were refused.
    pub registered: Vec<BTreeMap<String, String>>,
    /// Words of buffers in which each machine differs from the majority.
    pub buffer_words: Vec<u64>,
    /// Words of buffers that no majority decides.
    pub buffer_undecided: u64,
    /// The first of both.
    pub in_buffers: Vec<AlignedWord>,
    /// Words elsewhere that differ and are known as noise.
    pub noise: Vec<AlignedWord>,
    /// Words elsewhere that differ and are not.
    pub unexplained: Vec<AlignedWord>,
    /// How many of those there are in all.
    pub unexplained_total: u64,
    /// Bytes that were compared, over all machines; those of the mask are not among them.
    pub bytes_compared: u64,
    /// Of them those of named buffers.
    pub buffer_bytes: u64,
    /// Bytes that the mask left out, over all machines.
    pub bytes_masked: u64,
    /// Bytes that were not compared, over all machines, by reason.
    pub not_compared: BTreeMap<String, u64>,
}

/// Compares machines place by place.
#[must_use]
pub fn align(machines: &[Machine<'_>], mask: &dyn Mask) -> Aligned {
    compare::Work::new(machines, mask).done()
}
