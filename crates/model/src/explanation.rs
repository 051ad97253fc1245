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
    /// Of a disk: the content of a file.
    DiskFile,
    /// Of a disk: names, tables, maps, the journal of a file system, or a partition table.
    DiskMetadata,
    /// Of a disk: a block that nobody uses.
    DiskFree,
    /// Of a disk: what no file system that is read tells of.
    DiskUnknown,
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
            Self::DiskFile => "disk-file",
            Self::DiskMetadata => "disk-metadata",
            Self::DiskFree => "disk-free",
            Self::DiskUnknown => "disk-unknown",
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

/// How an explanation was reached: what its confidence is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// A symbol of the kernel's image, of a section that lasts.
    Symbol,
    /// A text among the kernel's constants, which have no symbols: by its content.
    Text,
    /// Room that the linker left between symbols of the image, and that holds nothing.
    Padding,
    /// A per-CPU variable.
    CpuVariable,
    /// What was handed out of a CPU's area, of which no variable tells.
    CpuAllocation,
    /// A page table, reached from its root.
    PageTable,
    /// A page that a process's page tables map.
    Mapping,
    /// A kernel stack, by its thread.
    Stack,
    /// An object in use of a cache that is made for one structure.
    TypedObject,
    /// An object in use whose structure pointers of known types tell.
    ReachedObject,
    /// An object in use of a cache of no structure, or of several.
    PlainObject,
    /// An object that is free.
    FreeObject,
    /// A slab whose lists of free objects are broken, or a byte between its objects.
    Slab,
    /// An area of the kernel's list of mapped areas.
    Area,
    /// The record of a page frame.
    FrameRecord,
    /// Content of a file, by the record of its frame.
    File,
    /// Pages at or behind which a variable points.
    Pointer,
    /// What the record of the frame alone says.
    Frame,
}

impl Basis {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Symbol,
        Self::Text,
        Self::Padding,
        Self::CpuVariable,
        Self::CpuAllocation,
        Self::PageTable,
        Self::Mapping,
        Self::Stack,
        Self::TypedObject,
        Self::ReachedObject,
        Self::PlainObject,
        Self::FreeObject,
        Self::Slab,
        Self::Area,
        Self::FrameRecord,
        Self::File,
        Self::Pointer,
        Self::Frame,
    ];
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Symbol => "symbol",
            Self::Text => "text",
            Self::Padding => "padding",
            Self::CpuVariable => "cpu-variable",
            Self::CpuAllocation => "cpu-allocation",
            Self::PageTable => "page-table",
            Self::Mapping => "mapping",
            Self::Stack => "stack",
            Self::TypedObject => "typed-object",
            Self::ReachedObject => "reached-object",
            Self::PlainObject => "plain-object",
            Self::FreeObject => "free-object",
            Self::Slab => "slab",
            Self::Area => "area",
            Self::FrameRecord => "frame-record",
            Self::File => "file",
            Self::Pointer => "pointer",
            Self::Frame => "frame",
        })
    }
}

/// An object of one of the kernel's caches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The cache's name: text of the guest.
    pub cache: String,
    /// Which object of its slab, counted from 0.
    pub index: u64,
    /// Where it begins.
    pub address: GuestVirtualAddress,
    /// Bytes from there.
    pub offset: u64,
    /// Whether it is handed out; nothing where the lists of free objects are not whole.
    pub in_use: Option<bool>,
}

/// A byte of a file's content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilePlace {
    /// The file's path on its own file system, or `inode N`: text of the guest.
    pub path: String,
    /// Bytes from the start of the file.
    pub offset: u64,
}

/// A byte of memory that a computation has given a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BufferPlace {
    /// The name.
    pub name: String,
    /// Bytes from the start of the buffer.
    pub offset: u64,
}

/// How likely an explanation is right, in thousandths: measured, by how it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confidence(u16);

impl Confidence {
    /// So many thousandths; more than 1000 are 1000.
    #[must_use]
    pub const fn per_mille(thousandths: u16) -> Self {
        Self(if thousandths > 1000 {
            1000
        } else {
            thousandths
        })
    }

    /// The probability, from 0 to 1.
    #[must_use]
    pub fn probability(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
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
    /// The type of the variable or object, as the kernel's own description names it.
    #[serde(default)]
    pub type_name: Option<String>,
    /// The member of that type, such as `se.vruntime`. `{a|b}` are members that share the byte, and
    /// `(padding)` is none.
    #[serde(default)]
    pub field: Option<String>,
    /// The object of a cache.
    #[serde(default)]
    pub object: Option<ObjectName>,
    /// The byte of a file that is cached or mapped there.
    #[serde(default)]
    pub file: Option<FilePlace>,
    /// The byte of a buffer that the computation has named.
    #[serde(default)]
    pub buffer: Option<BufferPlace>,
    /// How all this was reached.
    #[serde(default)]
    pub basis: Option<Basis>,
    /// How likely it is right.
    #[serde(default)]
    pub confidence: Option<Confidence>,
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
            type_name: None,
            field: None,
            object: None,
            file: None,
            buffer: None,
            basis: None,
            confidence: None,
        }
    }
}
