//! What guest memory means: for now, which kernel symbol lives at an address.
//!
//! | module | holds |
//! |---|---|
//! | `symbols` | [`SymbolTable`]: the guest's own `/proc/kallsyms`, parsed and looked up |
//! | `sections` | the parts of the kernel's image that last: text, read-only data, data, bss |
//! | `kernel_map` | [`KernelMap`]: guest-physical addresses of the kernel's image to symbols |
//!
//! Everything that is read here comes from a guest and is not trusted: each parser has limits, no
//! parser panics, and names are reduced to printable ASCII. Invariant: never wrong rather than
//! complete. An address gets a name only where the name is certain; allocated, per-CPU and freed
//! memory and modules get none.

mod btf;
mod explain;
mod file;
mod frames;
mod kallsyms;
mod kernel;
mod kernel_map;
mod layout;
mod mapping;
mod memory;
mod paging;
mod process;
mod reverse;
mod sections;
mod symbols;

pub use btf::{Btf, BtfError, MAX_BTF_BYTES, Member};
pub use explain::Introspection;
pub use kallsyms::{Kallsyms, KallsymsError, KernelSymbol, find as find_kallsyms};
pub use kernel::{GuestKernel, KernelError};
pub use kernel_map::{DIRECT_MAP_BASE, KernelMap};
pub use mapping::Mapping;
pub use memory::{MemoryImage, Page, PhysicalMemory};
pub use paging::{AddressSpace, Half, MAX_TABLES, Translation, Visit, WalkError};
pub use process::{Found, Partial, Process, Thread, processes};
pub use sections::{MAPPING_BASE, Section, SectionKind};
pub use symbols::{MAX_NAME_BYTES, MAX_SYMBOLS, Resolved, SymbolError, SymbolTable};
