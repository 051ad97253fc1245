//! What guest memory means: which kernel symbol lives at an address, which process, which cache.
//!
//! | module | holds |
//! |---|---|
//! | `memory` | [`PhysicalMemory`]: captured memory, by pages |
//! | `paging` | [`AddressSpace`]: x86-64 page tables of four and five levels |
//! | `kallsyms` | [`find_kallsyms`]: the kernel's compressed symbol tables, found by their content |
//! | `btf` | [`Btf`]: the kernel's description of its own types |
//! | `layout` | where the members of the kernel's structures lie |
//! | `kernel` | [`GuestKernel`]: a kernel in memory, with all of the above |
//! | `process`, `mapping`, `file` | [`processes`], their threads, mappings and files |
//! | `frames`, `reverse` | what the kernel's records say of a page frame; from frames to addresses |
//! | `slab`, `cache_types` | caches of equal objects, which are free, and what they are |
//! | `typed` | the types of variables and objects, by pointers whose type is known |
//! | `explain` | [`Introspection`]: whom a guest-physical address belongs to, and what it is |
//! | `stable` | [`StableObjects`]: kernel memory by what is the same in every replica |
//! | `symbols` | [`SymbolTable`]: symbols by address, also out of the text of `/proc/kallsyms` |
//! | `sections` | the parts of the kernel's image that last: text, read-only data, data, bss |
//! | `kernel_map` | [`KernelMap`]: symbols of a kernel that lies where it was linked |
//!
//! Everything that is read here comes from a guest and is not trusted: each parser has limits, no
//! parser panics, lists that do not close give what was found and the reason, and names are reduced
//! to printable ASCII. Invariant: never wrong rather than complete. An address gets a symbol only
//! where it is certain; what the guest's memory does not tell stays unknown.

#![forbid(unsafe_code)]

mod btf;
mod cache_types;
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
mod references;
mod reverse;
mod sections;
mod slab;
mod stable;
mod symbols;
#[cfg(test)]
mod synthetic;
mod typed;

pub use btf::{Btf, BtfError, Field, FieldKind, MAX_BTF_BYTES, Member, Place, TypeId, Variable};
pub use explain::{BufferName, Introspection, KernelObject, Nowhere, Standing};
pub use kallsyms::{Kallsyms, KallsymsError, KernelSymbol, find as find_kallsyms};
pub use kernel::{GuestKernel, KernelError};
pub use kernel_map::KernelMap;
pub use mapping::Mapping;
pub use memory::{MemoryImage, Page, PhysicalMemory};
pub use paging::{AddressSpace, Half, MAX_TABLES, Translation, Visit, WalkError};
pub use process::{Found, Partial, Process, Thread, processes};
pub use sections::{MAPPING_BASE, Section, SectionKind};
pub use stable::{Identity, StableObjects, StablePiece};
pub use symbols::{MAX_NAME_BYTES, MAX_SYMBOLS, Resolved, SymbolError, SymbolTable};
