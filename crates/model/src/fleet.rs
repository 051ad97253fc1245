//! The fleet: what a finding hangs on. Levels nest: *component* ⊂ *system* ⊂ *group*.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How large the thing is that a finding speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A part of a system: a core, a memory module, a disk, a process.
    Component,
    /// A virtual machine or a host.
    System,
    /// Systems that serve one purpose.
    Group,
}

/// A node of the fleet's graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRef {
    /// How large it is.
    pub level: Level,
    /// What it is called, unique within its level: for a replica `RUN/replica-K`.
    pub id: String,
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}
