//! One exact difference between a machine and its doubles.

use crate::address::GuestPhysicalAddress;
use crate::explanation::Explanation;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The part of a terminal state that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// How the replica ended.
    Outcome,
    /// Guest-physical memory.
    Memory,
    /// Registers of a vCPU.
    Register,
    /// Lines of the console log.
    Log,
    /// A file that the computation names.
    File,
    /// A disk of the machine.
    Disk,
    /// A metric: statistical, never exact.
    Metric,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outcome => "outcome",
            Self::Memory => "memory",
            Self::Register => "register",
            Self::Log => "log",
            Self::File => "file",
            Self::Disk => "disk",
            Self::Metric => "metric",
        })
    }
}

/// Where in its part a difference lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Locus {
    /// The guest-physical address of an aligned 64-bit word.
    Address(GuestPhysicalAddress),
    /// A register, a file or a metric; for a log `line N`, counted from 1.
    Name(String),
}

impl fmt::Display for Locus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One exact difference: what the majority holds and what this replica holds instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The part of the state.
    pub part: Part,
    /// Where in it.
    pub locus: Locus,
    /// What the majority holds: bytes in hexadecimal in memory order for memory, text else.
    /// Nothing where there is no majority.
    pub expected: Option<String>,
    /// What this replica holds, in the same form.
    pub found: String,
    /// The bits that differ, counted from bit 0 of the first byte; only where both sides are
    /// bytes of equal length.
    pub flipped_bits: Vec<u32>,
    /// What lives at the address: kernel symbol and offset.
    pub symbol: Option<String>,
    /// Whom the address belongs to, where the guest's memory says so.
    #[serde(default)]
    pub explanation: Option<Box<Explanation>>,
}
