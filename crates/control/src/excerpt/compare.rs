//! One replica beside what was expected of it.

use super::memory::MemoryExcerpt;
use super::text::{LogExcerpt, RegisterPair};
use model::ReplicaIndex;

/// Who holds what is shown as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The majority of the replicas.
    Majority,
    /// One replica, where there is no majority.
    By(ReplicaIndex),
}

/// One replica beside what was expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Excerpt {
    /// Who holds what was expected.
    pub expected: Held,
    /// Whose state was found.
    pub found: ReplicaIndex,
    /// Memory.
    pub memory: MemoryExcerpt,
    /// All registers, by name.
    pub registers: Vec<RegisterPair>,
    /// The log.
    pub log: LogExcerpt,
}
