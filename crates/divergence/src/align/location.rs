//! Where a word stands, so that machines can be compared and noise be remembered.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of thing a word lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerKind {
    /// A buffer that the computation has named; nothing in it is ever noise.
    Buffer,
    /// A mapping of a process; offsets are virtual addresses.
    Mapping,
    /// A variable of the kernel's image.
    Variable,
    /// A variable of each CPU.
    PerCpu,
    /// An object of the kernel, by its type.
    Object,
    /// A register.
    Register,
}

/// A word, by the thing that it lies in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// What kind of thing.
    pub kind: ContainerKind,
    /// Its name.
    pub name: String,
    /// Bytes into it; of a mapping the virtual address.
    pub offset: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ContainerKind::Mapping => write!(f, "{} at {:#x}", self.name, self.offset),
            ContainerKind::Register => f.write_str(&self.name),
            _ => write!(f, "{}+{:#x}", self.name, self.offset),
        }
    }
}

/// A word in which machines differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlignedWord {
    /// Where it stands.
    pub location: Location,
    /// Which of several things of one name: a CPU, a thread; empty where there is one.
    pub instance: String,
    /// What each machine holds, in order.
    pub values: Vec<u64>,
    /// Where each machine holds it, in guest-physical memory; nothing for registers.
    pub addresses: Vec<Option<u64>>,
}

impl fmt::Display for AlignedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            location, instance, ..
        } = self;
        if instance.is_empty() {
            location.fmt(f)
        } else {
            write!(f, "{location} of {instance}")
        }
    }
}

/// What is known to be noise.
pub trait Mask {
    /// Whether a word is noise, of which of several things of that name it may be.
    fn covers(&self, kind: ContainerKind, name: &str, offset: u64, instance: &str) -> bool;
}

/// Nothing is noise.
#[derive(Debug, Clone, Copy)]
pub struct NoMask;

impl Mask for NoMask {
    fn covers(&self, _: ContainerKind, _: &str, _: u64, _: &str) -> bool {
        false
    }
}
