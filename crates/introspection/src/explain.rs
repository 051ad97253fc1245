//! Whom a byte of guest memory belongs to.
//!
//! The first that holds is the owner: a symbol of the kernel's image; a CPU's area; a page table; a
//! page of a process; a kernel stack; then what the record of the frame says; then what the
//! kernel's tables and list of mapped areas say. Where a record says nothing, that is the answer.

mod standing;

pub use standing::{KernelObject, Nowhere, Standing};

use crate::file::name_of_cached;
use crate::frames::{Frame, Frames, MAX_PIECE_FRAMES, SlabPage};
use crate::kernel::{GuestKernel, KernelError};
use crate::memory::{PAGE, PhysicalMemory};
use crate::process::{Found, Process, processes};
use crate::references::References;
use crate::reverse::{Reverse, TableFrame, UserFrame};
use crate::sections::SectionKind;
use model::{Explanation, GuestVirtualAddress, MappingName, OwnerKind, ProcessName};
use std::fmt;

/// A function further than this before an address did not call from there.
const MAX_FUNCTION_BYTES: u64 = 64 << 10;

/// Captured memory that was understood: ready to explain addresses.
pub struct Introspection<'m> {
    kernel: GuestKernel<'m>,
    processes: Found<Process>,
    reverse: Reverse,
    references: References,
    frames: Option<Frames>,
    /// Per-CPU variables, by offset.
    per_cpu: Vec<(u64, Box<str>)>,
}

impl fmt::Debug for Introspection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("kernel", &self.kernel)
            .field("processes", &self.processes.found.len())
            .finish_non_exhaustive()
    }
}

impl<'m> Introspection<'m> {
    /// Understands memory: finds the kernel, its processes, and who uses which frame.
    ///
    /// # Errors
    /// There is no Linux kernel in it that describes itself.
    pub fn of(memory: &'m dyn PhysicalMemory) -> Result<Self, KernelError> {
        let kernel = GuestKernel::find(memory)?;
        let processes = processes(&kernel);
        Ok(Self {
            reverse: Reverse::of(&kernel, &processes),
            references: References::of(&kernel),
            frames: Frames::of(&kernel),
            per_cpu: per_cpu(&kernel),
            processes,
            kernel,
        })
    }

    /// The kernel.
    #[must_use]
    pub const fn kernel(&self) -> &GuestKernel<'m> {
        &self.kernel
    }

    /// The processes.
    #[must_use]
    pub const fn processes(&self) -> &Found<Process> {
        &self.processes
    }

    /// Whom a guest-physical address belongs to; nothing where the guest's memory does not say.
    #[must_use]
    pub fn explain(&self, physical: u64) -> Option<Explanation> {
        let (number, into) = (physical / PAGE, physical % PAGE);
        self.kernel.memory().page(number)?;
        self.image(physical)
            .or_else(|| self.cpu(number, into))
            .or_else(|| self.table(number, into))
            .or_else(|| self.user(number, into))
            .or_else(|| self.stack(number, into))
            .or_else(|| self.recorded(number, into))
    }

    /// A section of the kernel's image, where the frame was not given back since.
    fn image(&self, physical: u64) -> Option<Explanation> {
        if self.was_given_back(physical / PAGE) {
            return None;
        }
        let address = self.kernel.image_address(physical);
        let image = self.kernel.image();
        let section = match image.section_of(address)?.kind {
            SectionKind::Text => "kernel code",
            SectionKind::ReadOnlyData => "kernel constants",
            SectionKind::Data => "kernel data",
            SectionKind::Bss => "kernel bss",
        };
        let symbol = image.resolve(address).map(|symbol| symbol.to_string());
        Some(Explanation {
            symbol,
            virtual_address: Some(GuestVirtualAddress(address)),
            ..Explanation::new(OwnerKind::KernelImage, section.to_owned())
        })
    }

    /// Whether a frame that was set aside at boot is not any more.
    fn was_given_back(&self, number: u64) -> bool {
        let frame = self
            .frames
            .and_then(|frames| frames.frame(&self.kernel, number));
        frame.is_some_and(|frame| frame != Frame::Reserved)
    }

    /// A CPU's area, where the frame was not given back since: what is left of the room that was set
    /// aside for it is.
    fn cpu(&self, number: u64, into: u64) -> Option<Explanation> {
        if self.was_given_back(number) {
            return None;
        }
        let frame = self.reverse.cpus.get(&number)?;
        let offset = frame.offset + into;
        let symbol = self.per_cpu_symbol(offset);
        let what = match symbol {
            Some(_) => "per-CPU variable",
            None => "per-CPU allocation",
        };
        Some(Explanation {
            symbol,
            virtual_address: at(frame.address, into),
            ..Explanation::new(OwnerKind::PerCpu, format!("{what} of CPU {}", frame.cpu))
        })
    }

    fn per_cpu_symbol(&self, offset: u64) -> Option<String> {
        let (end, _) = self.per_cpu.last().filter(|last| offset < last.0)?;
        let above = self.per_cpu.partition_point(|one| one.0 <= offset);
        let (start, name) = self.per_cpu.get(above.checked_sub(1)?)?;
        debug_assert!(offset < *end, "the last one marks the end");
        Some(format!("{name}+{:#x}", offset - start))
    }

    fn table(&self, number: u64, into: u64) -> Option<Explanation> {
        let TableFrame { level, process } = *self.reverse.tables.get(&number)?;
        let process = process.and_then(|index| self.name(index));
        let whose = match &process {
            Some(process) => describe(process),
            None => "the kernel".to_owned(),
        };
        let entry = into / 8;
        let owner = format!("page table of {whose}, level {level}, entry {entry}");
        Some(Explanation {
            process,
            ..Explanation::new(OwnerKind::PageTable, owner)
        })
    }

    fn user(&self, number: u64, into: u64) -> Option<Explanation> {
        let UserFrame { process, address } = *self.reverse.user.get(&number)?;
        let of_process = self.processes.found.get(process)?;
        let name = self.name(process)?;
        let mappings = of_process.mappings.found.iter();
        let mapping = mappings
            .filter(|mapping| (mapping.start..mapping.end).contains(&address))
            .map(|mapping| MappingName {
                start: GuestVirtualAddress(mapping.start),
                end: GuestVirtualAddress(mapping.end),
                permissions: mapping.permissions.clone(),
                name: mapping.name.clone(),
            })
            .next();
        let owner = match &mapping {
            Some(mapping) => format!("{} of {}", mapping.name, describe(&name)),
            None => format!("memory of {}", describe(&name)),
        };
        Some(Explanation {
            process: Some(name),
            mapping,
            virtual_address: at(address, into),
            ..Explanation::new(OwnerKind::Process, owner)
        })
    }

    fn stack(&self, number: u64, into: u64) -> Option<Explanation> {
        let frame = self.reverse.stacks.get(&number)?;
        let process = self.processes.found.get(frame.process)?;
        let thread = process.threads.found.get(frame.thread)?;
        let name = ProcessName {
            pid: thread.id,
            name: thread.name.clone(),
        };
        Some(Explanation {
            virtual_address: at(frame.address, into),
            process: Some(name.clone()),
            ..Explanation::new(
                OwnerKind::KernelStack,
                format!("kernel stack of {}", describe(&name)),
            )
        })
    }

    /// What the record of a frame says, and where it says little, the kernel's tables.
    fn recorded(&self, number: u64, into: u64) -> Option<Explanation> {
        let frame = self
            .frames
            .and_then(|frames| frames.frame(&self.kernel, number));
        let known = match frame {
            Some(Frame::Slab(slab)) => return Some(self.slab(&slab, into)),
            Some(Frame::Free(order)) => return Some(free(order)),
            Some(Frame::File {
                address_space,
                index,
            }) => self.cached(address_space, index, into),
            Some(Frame::Anonymous) => Some(Explanation::new(
                OwnerKind::Process,
                "memory of a process, not mapped now".to_owned(),
            )),
            _ => None,
        };
        known
            .or_else(|| self.mapped(number, into))
            .or_else(|| match frame? {
                Frame::Reserved => Some(self.reserved(number, into)),
                Frame::Kernel { into: pages } => Some(Explanation {
                    symbol: self.pointer(number, into),
                    ..Explanation::new(
                        OwnerKind::Kernel,
                        format!(
                            "pages that the kernel allocated + {:#x}",
                            pages * PAGE + into
                        ),
                    )
                }),
                _ => None,
            })
    }

    fn slab(&self, slab: &SlabPage, into: u64) -> Explanation {
        let offset = slab.into * PAGE + into;
        let owner = match (
            offset.checked_div(slab.object_bytes),
            offset.checked_rem(slab.object_bytes),
        ) {
            (Some(object), Some(within)) => {
                format!("slab {}, object {object} + {within:#x}", slab.cache)
            }
            _ => format!("slab {}", slab.cache),
        };
        Explanation::new(OwnerKind::Slab, owner)
    }

    fn cached(&self, address_space: u64, index: u64, into: u64) -> Option<Explanation> {
        let name = name_of_cached(&self.kernel, address_space)?;
        let offset = index.checked_mul(PAGE)?.checked_add(into)?;
        let owner = format!("cached content of {name} + {offset:#x}");
        Some(Explanation::new(OwnerKind::PageCache, owner))
    }

    /// Kernel memory with an address besides the direct map.
    fn mapped(&self, number: u64, into: u64) -> Option<Explanation> {
        let page = *self.reverse.kernel.get(&number)?;
        let address = page.checked_add(into)?;
        let virtual_address = Some(GuestVirtualAddress(address));
        if let Some(area) = self.reverse.area_at(address) {
            let caller = area.caller.and_then(|caller| self.function(caller));
            let whose = caller.map_or_else(String::new, |caller| format!(" of {caller}"));
            let owner = format!("mapped area{whose} + {:#x}", address - area.start);
            return Some(Explanation {
                virtual_address,
                ..Explanation::new(OwnerKind::Vmalloc, owner)
            });
        }
        let memory_bytes = self.kernel.memory().pages();
        let (frame, offset) = self.frames?.record_at(address)?;
        let is_record = frame < memory_bytes.next_multiple_of(1 << 15);
        is_record.then(|| Explanation {
            virtual_address,
            ..Explanation::new(
                OwnerKind::MemoryMap,
                format!("record of page frame {frame:#x} + {offset:#x}"),
            )
        })
    }

    /// Memory that was set aside at boot, with the place in the image where it lies in that.
    fn reserved(&self, number: u64, into: u64) -> Explanation {
        let address = self.kernel.image_address(number * PAGE + into);
        if self.kernel.image_range().contains(&address) {
            let before = self.kernel.image().nearest(address);
            let before = before.map_or_else(String::new, |before| format!(", behind {before}"));
            let owner = format!("kernel image{before}");
            return Explanation::new(OwnerKind::KernelImage, owner);
        }
        let owner = "memory that was set aside at boot".to_owned();
        Explanation {
            symbol: self.pointer(number, into),
            ..Explanation::new(OwnerKind::Reserved, owner)
        }
    }

    /// The variable that points to an address or before it, and how far before, as C would write
    /// it: `*dentry_hashtable+0x40`. All frames in between are of one kind.
    fn pointer(&self, number: u64, into: u64) -> Option<String> {
        let address = number * PAGE + into;
        let (to, variable) = self.references.before(address)?;
        let first = to / PAGE;
        let kind = |number| {
            let frame = self.frames?.frame(&self.kernel, number)?;
            Some(std::mem::discriminant(&frame))
        };
        let alike = number - first < MAX_PIECE_FRAMES
            && (first..number).all(|before| kind(before) == kind(number));
        alike.then(|| format!("*{variable}+{:#x}", address - to))
    }

    fn function(&self, address: u64) -> Option<&str> {
        let symbol = self.kernel.image().resolve(address)?;
        (symbol.offset < MAX_FUNCTION_BYTES).then_some(symbol.name)
    }

    fn name(&self, process: usize) -> Option<ProcessName> {
        let process = self.processes.found.get(process)?;
        Some(ProcessName {
            pid: process.id,
            name: process.name.clone(),
        })
    }
}

fn describe(process: &ProcessName) -> String {
    format!("{} (pid {})", process.name, process.pid)
}

fn at(page: u64, into: u64) -> Option<GuestVirtualAddress> {
    page.checked_add(into).map(GuestVirtualAddress)
}

fn free(order: Option<u64>) -> Explanation {
    let owner = match order {
        Some(order) => format!("free, first of 2^{order} pages"),
        None => "free".to_owned(),
    };
    Explanation::new(OwnerKind::Free, owner)
}

/// The per-CPU variables by offset; the last one marks the end.
fn per_cpu(kernel: &GuestKernel<'_>) -> Vec<(u64, Box<str>)> {
    let Some(end) = kernel.kallsyms().address_of("__per_cpu_end") else {
        return Vec::new();
    };
    let symbols = kernel.kallsyms().symbols.iter();
    let inside = symbols.filter(|symbol| symbol.address <= end);
    let mut found: Vec<(u64, Box<str>)> = inside
        .filter(|symbol| &*symbol.name != "__per_cpu_start")
        .map(|symbol| (symbol.address, symbol.name.clone()))
        .collect();
    found.sort_by_key(|one| one.0);
    found
}
