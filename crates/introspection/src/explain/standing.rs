//! Where a page stands, whichever frame holds it: what can be compared between machines that were made
//! of one snapshot and went on by themselves.
//!
//! Frames are handed out in another order in each machine. A page of a program is known by its process
//! and virtual address, one of the kernel's image by its address there, one of a CPU's area by its
//! place in that, an object of the kernel by whom it belongs to. All else is handed out anew in each
//! machine, or holds the numbers of frames, and stands nowhere: the reason says which.

use super::Introspection;
use crate::frames::Frame;
use crate::mapping::Mapping;
use crate::memory::PAGE;
use crate::paging::AddressSpace;
use crate::process::Process;
use std::fmt;

/// Where a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// A page of a process, by the process's number and the page's address.
    User {
        /// The process.
        process: u32,
        /// The page's first address.
        address: u64,
    },
    /// A page of the kernel's image, by its address there.
    Image {
        /// The page's first address.
        address: u64,
    },
    /// A page of a CPU's own area.
    Cpu {
        /// The CPU.
        cpu: u64,
        /// Bytes from the area's start.
        offset: u64,
    },
}

/// Why a page stands nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nowhere {
    /// Nobody uses the frame.
    Free,
    /// It is a page table: it holds numbers of frames.
    PageTable,
    /// It is a kernel stack: it holds what calls have left there.
    KernelStack,
    /// It holds small objects of the kernel, in the order in which they were asked for.
    Slab,
    /// It holds the kernel's records of frames.
    FrameRecords,
    /// It is content of a file.
    PageCache,
    /// It is memory that the kernel maps page by page.
    Mapped,
    /// It is the kernel's, and has no type.
    Kernel,
    /// Guest memory does not say whose it is.
    Unknown,
}

impl fmt::Display for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free pages",
            Self::PageTable => "page tables: they hold numbers of frames",
            Self::KernelStack => "kernel stacks: they hold what calls have left",
            Self::Slab => "objects of the kernel that no machine-independent name is known for",
            Self::FrameRecords => "the kernel's records of page frames",
            Self::PageCache => "cached content of files that no program has mapped",
            Self::Mapped => "memory that the kernel maps page by page",
            Self::Kernel => "pages of the kernel without a type",
            Self::Unknown => "pages whose owner guest memory does not tell",
        })
    }
}

/// An object of the kernel that is the same one in all machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelObject {
    /// Its type.
    pub kind: &'static str,
    /// Whose it is: the number of a thread or process.
    pub id: u32,
    /// Its kernel-virtual address.
    pub address: u64,
    /// How long it is.
    pub bytes: u64,
}

/// The longest object that is believed: a task with all vector registers has less than a third.
const MAX_OBJECT_BYTES: u64 = 32 << 10;

/// Variables that are stacks, or stacks side by side, from the start of a page on.
const STACKS: [&str; 4] = [
    "init_stack",
    "irq_stack_backing_store",
    "entry_stack_storage",
    "exception_stacks",
];

fn is_stack((name, _): (&str, u64)) -> bool {
    STACKS.contains(&name)
}

impl Introspection<'_> {
    /// Where the page in a frame stands.
    ///
    /// # Errors
    /// It stands nowhere.
    pub fn standing(&self, frame: u64) -> Result<Standing, Nowhere> {
        let address = self.kernel.image_address(frame.wrapping_mul(PAGE));
        let of_image = self.kernel.image_range().contains(&address);
        if of_image && !self.was_given_back(frame) {
            if self.image_variable(address).is_some_and(is_stack) {
                return Err(Nowhere::KernelStack);
            }
            return Ok(Standing::Image { address });
        }
        if let Some(found) = self.reverse.cpus.get(&frame)
            && !self.was_given_back(frame)
        {
            let (cpu, offset) = (found.cpu, found.offset);
            if self.cpu_variable(offset).is_some_and(is_stack) {
                return Err(Nowhere::KernelStack);
            }
            return Ok(Standing::Cpu { cpu, offset });
        }
        if self.reverse.tables.contains_key(&frame) {
            return Err(Nowhere::PageTable);
        }
        if let Some(found) = self.reverse.user.get(&frame) {
            let process = self.processes.found.get(found.process);
            let process = process.ok_or(Nowhere::Unknown)?.id;
            let address = found.address;
            return Ok(Standing::User { process, address });
        }
        if self.reverse.stacks.contains_key(&frame) {
            return Err(Nowhere::KernelStack);
        }
        Err(self.nowhere(frame))
    }

    /// What a frame is that stands nowhere.
    fn nowhere(&self, frame: u64) -> Nowhere {
        let Some(frames) = self.frames else {
            return Nowhere::Unknown;
        };
        match frames.frame(&self.kernel, frame) {
            Some(Frame::Free(_)) => return Nowhere::Free,
            Some(Frame::Slab(_)) => return Nowhere::Slab,
            Some(Frame::File { .. }) => return Nowhere::PageCache,
            _ => {}
        }
        match self.reverse.kernel.get(&frame) {
            Some(page) if self.reverse.area_at(*page).is_some() => Nowhere::Mapped,
            Some(page) if frames.record_at(*page).is_some() => Nowhere::FrameRecords,
            Some(_) => Nowhere::Mapped,
            None => Nowhere::Kernel,
        }
    }

    /// The frame that holds a page; nothing where no frame does.
    #[must_use]
    pub fn frame_of(&self, standing: Standing) -> Option<u64> {
        let physical = match standing {
            Standing::User { process, address } => {
                return self.user_frame(process, address);
            }
            Standing::Image { address } => self.kernel.physical(address)?,
            Standing::Cpu { cpu, offset } => {
                let base = self.reverse.cpu_bases.get(usize::try_from(cpu).ok()?)?;
                self.kernel.physical(base.wrapping_add(offset))?
            }
        };
        Some(physical / PAGE)
    }

    /// The frame of an address of a process.
    #[must_use]
    pub fn user_frame(&self, process: u32, address: u64) -> Option<u64> {
        let space = self.space_of(process)?;
        let found = space.translate(self.kernel.memory(), address).ok()?;
        found.user.then_some(found.physical / PAGE)
    }

    /// The page tables of a process; nothing where several have its number.
    fn space_of(&self, id: u32) -> Option<AddressSpace> {
        self.process_of(id)?.space
    }

    fn process_of(&self, id: u32) -> Option<&Process> {
        let mut found = self.processes.found.iter().filter(|one| one.id == id);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The name of a process.
    #[must_use]
    pub fn process_name(&self, id: u32) -> Option<&str> {
        self.process_of(id).map(|process| process.name.as_str())
    }

    /// The mapping of a process that an address lies in.
    #[must_use]
    pub fn mapping_at(&self, process: u32, address: u64) -> Option<&Mapping> {
        let mappings = &self.process_of(process)?.mappings.found;
        let above = mappings.partition_point(|mapping| mapping.start <= address);
        let mapping = mappings.get(above.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }

    /// The variable of the kernel's image at an address, and how far into it.
    #[must_use]
    pub fn image_variable(&self, address: u64) -> Option<(&str, u64)> {
        let found = self.kernel.image().resolve(address)?;
        Some((found.name, found.offset))
    }

    /// The variable of a CPU's own area at an offset, and how far into it.
    #[must_use]
    pub fn cpu_variable(&self, offset: u64) -> Option<(&str, u64)> {
        self.per_cpu.last().filter(|last| offset < last.0)?;
        let above = self.per_cpu.partition_point(|one| one.0 <= offset);
        let (start, name) = self.per_cpu.get(above.checked_sub(1)?)?;
        Some((name, offset - start))
    }

    /// Objects of the kernel that are the same ones in all machines: each thread's `task_struct`, and
    /// what hangs on it. A number that two threads claim names none.
    #[must_use]
    pub fn objects(&self) -> Vec<KernelObject> {
        let Ok(layout) = self.kernel.layouts().task.as_ref() else {
            return Vec::new();
        };
        let mut objects = Vec::new();
        for process in &self.processes.found {
            for thread in &process.threads.found {
                objects.push(KernelObject {
                    kind: "task_struct",
                    id: thread.id,
                    address: thread.task,
                    bytes: layout.bytes,
                });
            }
            let Some(first) = process.threads.found.first() else {
                continue;
            };
            let pointer = |offset: u64| self.kernel.u64(first.task.wrapping_add(offset));
            let mut hanging = vec![("signal_struct", pointer(layout.signal), layout.signal_bytes)];
            if let Ok(mapping) = &self.kernel.layouts().mapping {
                hanging.push(("mm_struct", pointer(layout.mm), mapping.mm_bytes));
            }
            for (kind, address, bytes) in hanging {
                if let Some(address) = address.filter(|address| *address != 0) {
                    let id = process.id;
                    objects.push(KernelObject {
                        kind,
                        id,
                        address,
                        bytes,
                    });
                }
            }
        }
        objects.retain(|object| (1..=MAX_OBJECT_BYTES).contains(&object.bytes));
        objects.sort_unstable();
        let mut claims: std::collections::HashMap<(&str, u32), u32> = Default::default();
        for object in &objects {
            *claims.entry((object.kind, object.id)).or_default() += 1;
        }
        objects.retain(|object| claims.get(&(object.kind, object.id)) == Some(&1));
        objects
    }

    /// The bytes of an object of the kernel.
    #[must_use]
    pub fn object_bytes(&self, object: &KernelObject) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(object.bytes).ok()?];
        self.kernel.read(object.address, &mut bytes)?;
        Some(bytes)
    }
}
