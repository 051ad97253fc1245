//! What guest memory means: whom a byte belongs to, as the guest's own kernel holds it.

use crate::address::GuestVirtualAddress;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of thing a page of guest memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerKind {
    /// Code or data of the kernel's image.
    KernelImage,
    /// A CPU's own area of the kernel.
    PerCpu,
    /// A page table.
    PageTable,
    /// The memory of a process.
    Process,
    /// The kernel's stack of a thread.
    KernelStack,
    /// An object of one of the kernel's caches.
    Slab,
    /// Kernel memory that is mapped page by page.
    Vmalloc,
    /// The kernel's records of page frames.
    MemoryMap,
    /// Content of a file.
    PageCache,
    /// A page that nobody uses.
    Free,
    /// Memory that was set aside when the kernel started.
    Reserved,
    /// A page that the kernel uses; for what, its records do not say.
    Kernel,
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KernelImage => "kernel-image",
            Self::PerCpu => "per-cpu",
            Self::PageTable => "page-table",
            Self::Process => "process",
            Self::KernelStack => "kernel-stack",
            Self::Slab => "slab",
            Self::Vmalloc => "vmalloc",
            Self::MemoryMap => "memory-map",
            Self::PageCache => "page-cache",
            Self::Free => "free",
            Self::Reserved => "reserved",
            Self::Kernel => "kernel",
        })
    }
}

/// A process of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessName {
    /// Its number in the guest.
    pub pid: u32,
    /// Its name: text of the guest, in printable ASCII.
    pub name: String,
}

/// A stretch of a process's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MappingName {
    /// Its first address.
    pub start: GuestVirtualAddress,
    /// The address behind it.
    pub end: GuestVirtualAddress,
    /// What may be done, as `/proc/PID/maps` shows it.
    pub permissions: String,
    /// The file, or `[heap]`, `[stack]`, `[vdso]`, `[anonymous]`: text of the guest.
    pub name: String,
}

/// Whom a byte of guest memory belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Explanation {
    /// What kind of thing it is.
    pub kind: OwnerKind,
    /// The same for people, with names and offsets.
    pub owner: String,
    /// The kernel's symbol and offset, where it has one.
    pub symbol: Option<String>,
    /// The process, where it is one's memory, page table or stack.
    pub process: Option<ProcessName>,
    /// The mapping of the process.
    pub mapping: Option<MappingName>,
    /// The address under which the owner knows it.
    pub virtual_address: Option<GuestVirtualAddress>,
}

impl Explanation {
    /// An owner of a kind, of which nothing more is known.
    #[must_use]
    pub const fn new(kind: OwnerKind, owner: String) -> Self {
        Self {
            kind,
            owner,
            symbol: None,
            process: None,
            mapping: None,
            virtual_address: None,
        }
    }
}
