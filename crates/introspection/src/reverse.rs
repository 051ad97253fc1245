//! From frames back to addresses and owners: everything that one pass over the kernel's lists and
//! page tables tells.
//!
//! The passes have one budget of tables together, so that a guest cannot make them long. What was
//! left out is unknown, never wrong.

use crate::kernel::{GuestKernel, MAX_LIST};
use crate::memory::PAGE;
use crate::paging::{Half, MAX_TABLES, Translation, Visit};
use crate::process::{Found, Process, follow};
use crate::slab::cpu_bases;
use std::collections::HashMap;

/// Pages of a kernel stack on x86-64, without its guard page.
pub(crate) const STACK_PAGES: u64 = 4;

/// The direct map: 64 TiB with four levels of tables, 32 PiB with five.
const DIRECT_MAP_BYTES: [u64; 2] = [64 << 40, 32 << 50];

/// The largest area of a CPU.
const MAX_UNIT_BYTES: u64 = 16 << 20;

/// The most frames that all mappings together are noted for: those of a machine of 64 GiB.
const MAX_FRAMES: usize = 16 << 20;

/// The table in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableFrame {
    pub(crate) level: u8,
    /// The first virtual address that it maps; 0 for the topmost.
    pub(crate) address: u64,
    /// The process, by its place in the list; nothing for the kernel's own.
    pub(crate) process: Option<usize>,
}

/// A process's page in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserFrame {
    pub(crate) process: usize,
    pub(crate) address: u64,
}

/// A page of a kernel stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StackFrame {
    pub(crate) process: usize,
    pub(crate) thread: usize,
    /// The address of the page.
    pub(crate) address: u64,
}

/// A page of a CPU's area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuFrame {
    pub(crate) cpu: u64,
    /// Bytes from the start of the area.
    pub(crate) offset: u64,
    /// The address of the page.
    pub(crate) address: u64,
}

/// A stretch of kernel memory that is mapped page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// An address in the function that asked for it.
    pub(crate) caller: Option<u64>,
}

/// Owners by frame number.
#[derive(Debug, Default)]
pub(crate) struct Reverse {
    pub(crate) tables: HashMap<u64, TableFrame>,
    pub(crate) user: HashMap<u64, UserFrame>,
    pub(crate) stacks: HashMap<u64, StackFrame>,
    pub(crate) cpus: HashMap<u64, CpuFrame>,
    /// Where the area of each CPU begins, less the addresses of its variables.
    pub(crate) cpu_bases: Vec<u64>,
    /// Kernel-virtual addresses besides the direct map and the image.
    pub(crate) kernel: HashMap<u64, u64>,
    /// By address.
    pub(crate) areas: Vec<Area>,
}

impl Reverse {
    pub(crate) fn of(kernel: &GuestKernel<'_>, processes: &Found<Process>) -> Self {
        let mut reverse = Self::default();
        let mut budget = MAX_TABLES;
        reverse.note_kernel(kernel, &mut budget);
        for (index, process) in processes.found.iter().enumerate() {
            reverse.note_user(kernel, index, process, &mut budget);
            reverse.note_stacks(kernel, index, process);
        }
        reverse.note_cpus(kernel);
        reverse.areas = areas(kernel);
        reverse
    }

    /// The area that a kernel-virtual address lies in.
    pub(crate) fn area_at(&self, address: u64) -> Option<&Area> {
        let above = self.areas.partition_point(|area| area.start <= address);
        let area = self.areas.get(above.checked_sub(1)?)?;
        (address < area.end).then_some(area)
    }

    fn note_kernel(&mut self, kernel: &GuestKernel<'_>, budget: &mut usize) {
        let pages = kernel.memory().pages();
        let direct = kernel.variable("page_offset_base");
        let five = kernel.space().has_five_levels();
        let [short, long] = DIRECT_MAP_BYTES;
        let direct_bytes = if five { long } else { short };
        let in_direct_map = |address: u64| {
            let into = direct.and_then(|base| address.checked_sub(base));
            into.is_some_and(|into| into < direct_bytes)
        };
        let image = kernel.image_range();
        let visited =
            kernel.space().visit(
                kernel.memory(),
                Half::Kernel,
                *budget,
                &mut |visit| match visit {
                    Visit::Table {
                        physical,
                        level,
                        address,
                    } => {
                        let table = TableFrame {
                            level,
                            address,
                            process: None,
                        };
                        self.tables.entry(physical / PAGE).or_insert(table);
                    }
                    Visit::Leaf { address, .. }
                        if in_direct_map(address) || image.contains(&address) => {}
                    Visit::Leaf {
                        address,
                        translation,
                    } => {
                        for (frame, into) in frames(translation, pages) {
                            if self.kernel.len() < MAX_FRAMES {
                                let address = address.wrapping_add(into);
                                self.kernel.entry(frame).or_insert(address);
                            }
                        }
                    }
                },
            );
        *budget = budget.saturating_sub(visited);
    }

    fn note_user(
        &mut self,
        kernel: &GuestKernel<'_>,
        index: usize,
        process: &Process,
        budget: &mut usize,
    ) {
        let Some(space) = process.space else {
            return;
        };
        let pages = kernel.memory().pages();
        let visited = space.visit(
            kernel.memory(),
            Half::User,
            *budget,
            &mut |visit| match visit {
                Visit::Table {
                    physical,
                    level,
                    address,
                } => {
                    let table = TableFrame {
                        level,
                        address,
                        process: Some(index),
                    };
                    self.tables.entry(physical / PAGE).or_insert(table);
                }
                Visit::Leaf {
                    address,
                    translation,
                } => {
                    for (frame, into) in frames(translation, pages) {
                        if self.user.len() < MAX_FRAMES {
                            let user = UserFrame {
                                process: index,
                                address: address.wrapping_add(into),
                            };
                            self.user.entry(frame).or_insert(user);
                        }
                    }
                }
            },
        );
        *budget = budget.saturating_sub(visited);
    }

    fn note_stacks(&mut self, kernel: &GuestKernel<'_>, index: usize, process: &Process) {
        for (thread, one) in process.threads.found.iter().enumerate() {
            for page in 0..STACK_PAGES {
                let address = one.stack.wrapping_add(page * PAGE);
                if let Some(physical) = kernel.physical(address) {
                    let stack = StackFrame {
                        process: index,
                        thread,
                        address,
                    };
                    self.stacks.entry(physical / PAGE).or_insert(stack);
                }
            }
        }
    }

    fn note_cpus(&mut self, kernel: &GuestKernel<'_>) {
        let symbol = |name: &str| kernel.kallsyms().address_of(name);
        let number = |name: &str| symbol(name).and_then(|at| kernel.u32(at)).map(u64::from);
        let unit = number("pcpu_unit_size").or_else(|| symbol("__per_cpu_end"));
        let unit = first_chunk_bytes(kernel).or(unit);
        let unit = unit.unwrap_or(0).min(MAX_UNIT_BYTES);
        self.cpu_bases = cpu_bases(kernel);
        for (cpu, base) in (0..).zip(&self.cpu_bases) {
            for page in 0..unit.div_ceil(PAGE) {
                let address = base.wrapping_add(page * PAGE);
                if let Some(physical) = kernel.physical(address) {
                    let frame = CpuFrame {
                        cpu,
                        offset: page * PAGE,
                        address,
                    };
                    self.cpus.entry(physical / PAGE).or_insert(frame);
                }
            }
        }
    }
}

/// How much of a CPU's unit holds variables and the first allocations. What is behind that to the
/// unit's end was given back at boot, and is somebody else's (Linux, `pcpu_embed_first_chunk`).
fn first_chunk_bytes(kernel: &GuestKernel<'_>) -> Option<u64> {
    let of = |member| kernel.btf().offset_of("pcpu_chunk", member).ok();
    let chunk = kernel.variable("pcpu_first_chunk")?;
    let start = kernel.u64(chunk.checked_add(of("base_addr")?)?)?;
    let pages = kernel.u32(chunk.checked_add(of("nr_pages")?)?)?;
    let before = start.checked_sub(kernel.variable("pcpu_base_addr")?)?;
    before.checked_add(u64::from(pages).checked_mul(PAGE)?)
}

/// The frames that a page of any size takes of `pages` that there are, each with its offset in it.
fn frames(translation: Translation, pages: u64) -> impl Iterator<Item = (u64, u64)> {
    let (first, count) = (translation.physical / PAGE, translation.page_bytes / PAGE);
    let count = count.min(pages.saturating_sub(first));
    (0..count).map(move |into| (first + into, into * PAGE))
}

/// The areas of the kernel's list, by address.
fn areas(kernel: &GuestKernel<'_>) -> Vec<Area> {
    let (Ok(layout), Some(head)) = (
        &kernel.layouts().area,
        kernel.kallsyms().address_of("vmap_area_list"),
    ) else {
        return Vec::new();
    };
    let links = follow(kernel, head, &mut None);
    let area = |link: u64| {
        let area = link.wrapping_sub(layout.list);
        let of = |offset: u64| kernel.u64(area.wrapping_add(offset));
        let vm = of(layout.vm).filter(|vm| *vm != 0);
        Some(Area {
            start: of(layout.start)?,
            end: of(layout.end)?,
            caller: vm.and_then(|vm| kernel.u64(vm.wrapping_add(layout.caller))),
        })
    };
    let mut areas: Vec<Area> = links.into_iter().take(MAX_LIST).filter_map(area).collect();
    areas.sort_by_key(|area| area.start);
    areas
}
