//! Whom a byte of guest memory belongs to, and what it is there.
//!
//! | module | holds |
//! |---|---|
//! | this | the order of questions; the kernel's image and the CPUs' areas |
//! | `pages` | page tables, memory of processes, kernel stacks |
//! | `records` | what the record of the frame says: files, mapped areas, records themselves |
//! | `objects` | objects of caches: which, whether in use, of what type, whose |
//! | `confidence` | how likely each kind of answer is right |
//!
//! The first that holds is the owner: a symbol of the kernel's image; a CPU's area; a page table; a
//! page of a process; a kernel stack; then what the record of the frame says; then what the
//! kernel's tables and list of mapped areas say. Where a record says nothing, that is the answer.

mod confidence;
mod objects;
mod pages;
mod records;
mod standing;

pub use standing::{KernelObject, Nowhere, Standing};

use crate::btf::TypeId;
use crate::frames::{Frame, Frames, MAX_PIECE_FRAMES};
use crate::kernel::{GuestKernel, KernelError};
use crate::memory::{PAGE, PhysicalMemory};
use crate::process::{Found, Process, processes};
use crate::references::References;
use crate::reverse::Reverse;
use crate::sections::SectionKind;
use crate::slab::Caches;
use crate::typed::{CpuVariables, Typed, cpu_variables};
use model::{Basis, Explanation, GuestVirtualAddress, OwnerKind, ProcessName};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

/// The longest and the shortest text of the kernel that is told as one, in bytes. Shorter ones may be
/// numbers.
const MAX_TEXT_BYTES: u64 = 256;
const LEAST_TEXT_BYTES: usize = 5;

/// The most buffers that are named.
const MAX_BUFFERS: usize = 4096;

/// Memory of a process to which the program itself has given a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferName {
    /// The process.
    pub process: u32,
    /// The name.
    pub name: String,
    /// The address of its first byte there.
    pub address: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Captured memory that was understood: ready to explain addresses.
pub struct Introspection<'m> {
    kernel: GuestKernel<'m>,
    processes: Found<Process>,
    reverse: Reverse,
    references: References,
    frames: Option<Frames>,
    /// Per-CPU variables, by offset.
    per_cpu: Vec<(u64, Box<str>)>,
    cpu_variables: CpuVariables,
    caches: Caches,
    buffers: Vec<BufferName>,
    /// What is walked only where an answer needs it.
    typed: OnceLock<Typed>,
    /// Of structures that belong to a process its place in the list, by address.
    owned: OnceLock<HashMap<u64, usize>>,
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
            cpu_variables: cpu_variables(&kernel),
            caches: Caches::of(&kernel),
            buffers: Vec::new(),
            typed: OnceLock::new(),
            owned: OnceLock::new(),
            processes,
            kernel,
        })
    }

    /// Adds buffers by name, as the programs inside have told them: their bytes are explained by these
    /// names.
    #[must_use]
    pub fn with_buffers(mut self, mut buffers: Vec<BufferName>) -> Self {
        buffers.truncate(MAX_BUFFERS);
        self.buffers = buffers;
        self
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
        let mut found = self
            .image(physical)
            .or_else(|| self.cpu(number, into))
            .or_else(|| self.table(number, into))
            .or_else(|| self.user(number, into))
            .or_else(|| self.stack(number, into))
            .or_else(|| self.recorded(number, into))?;
        found.confidence = found.basis.and_then(confidence::of);
        Some(found)
    }

    /// Symbols of per-CPU variables by offset; the last one marks the end.
    pub(crate) fn cpu_symbols(&self) -> &[(u64, Box<str>)] {
        &self.per_cpu
    }

    pub(crate) const fn caches(&self) -> &Caches {
        &self.caches
    }

    pub(crate) const fn frames(&self) -> Option<Frames> {
        self.frames
    }

    pub(crate) const fn cpu_variables(&self) -> &CpuVariables {
        &self.cpu_variables
    }

    /// The types of variables and objects, walked when they are first asked for.
    pub(crate) fn typed(&self) -> &Typed {
        self.typed.get_or_init(|| match self.frames {
            Some(frames) => Typed::of(&self.kernel, frames, &self.caches, &self.cpu_variables),
            None => Typed::default(),
        })
    }

    /// The type of what begins `offset` bytes before an address, and the member there.
    fn describe_type(&self, found: &mut Explanation, type_id: TypeId, offset: u64) {
        let btf = self.kernel.btf();
        if let Some(place) = btf.place(type_id, offset) {
            found.type_name = Some(btf.structure_name(type_id));
            found.field = Some(place.path).filter(|path| !path.is_empty());
        }
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
        let mut found = Explanation {
            virtual_address: Some(GuestVirtualAddress(address)),
            ..Explanation::new(OwnerKind::KernelImage, section.to_owned())
        };
        if let Some((before, behind)) = self.padding(physical, address) {
            found.owner = format!("{section}, padding between {before} and {behind}");
            found.basis = Some(Basis::Padding);
        } else if let Some((table, into)) = self.kernel.kallsyms().table_at(physical) {
            found.symbol = Some(format!("{table}+{into:#x}"));
            found.basis = Some(Basis::Symbol);
        } else if let Some(symbol) = image.resolve(address) {
            found.symbol = Some(symbol.to_string());
            found.basis = Some(Basis::Symbol);
            let is_data = section != "kernel code";
            if let Some(reached) = is_data
                .then(|| self.typed().at(address - symbol.offset))
                .flatten()
            {
                self.describe_type(&mut found, reached.type_id, symbol.offset);
            }
        } else if section == "kernel constants"
            && let Some((text, into)) = self.text_around(address)
        {
            found.type_name = Some(format!("char[{}]", text.len() + 1));
            found.field = Some(format!("[{into}]"));
            found.owner = format!("{section}, text \"{text}\"");
            found.basis = Some(Basis::Text);
        }
        Some(found)
    }

    /// The text between zeros that a constant without a symbol is a letter of, and how far in it.
    fn text_around(&self, address: u64) -> Option<(String, u64)> {
        let from = address.saturating_sub(MAX_TEXT_BYTES);
        let mut before = vec![0; usize::try_from(address - from).ok()?];
        self.kernel.read(from, &mut before)?;
        let into = before.iter().rev().take_while(|byte| **byte != 0).count() as u64;
        let text = self.kernel.text(address - into, MAX_TEXT_BYTES as usize)?;
        let is_text = text.len() >= LEAST_TEXT_BYTES && !text.contains('?');
        (is_text && into <= text.len() as u64).then_some((text, into))
    }

    /// Between what an address of the image lies where nothing is: the whole page is one byte.
    fn padding(&self, physical: u64, address: u64) -> Option<(&str, &str)> {
        let between = self.kernel.image().padding(address)?;
        let page = self.kernel.memory().page(physical / PAGE)?;
        let first = page.first()?;
        page.iter().all(|byte| byte == first).then_some(between)
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
        let (what, basis) = match symbol {
            Some(_) => ("per-CPU variable", Basis::CpuVariable),
            None => ("per-CPU allocation", Basis::CpuAllocation),
        };
        let mut found = Explanation {
            symbol,
            virtual_address: at(frame.address, into),
            basis: Some(basis),
            ..Explanation::new(OwnerKind::PerCpu, format!("{what} of CPU {}", frame.cpu))
        };
        let variable = self.cpu_variables.range(..=offset).next_back();
        if let Some((start, (type_id, bytes))) = variable
            && offset - start < *bytes
        {
            self.describe_type(&mut found, *type_id, offset - start);
        }
        Some(found)
    }

    fn per_cpu_symbol(&self, offset: u64) -> Option<String> {
        let (end, _) = self.per_cpu.last().filter(|last| offset < last.0)?;
        let above = self.per_cpu.partition_point(|one| one.0 <= offset);
        let (start, name) = self.per_cpu.get(above.checked_sub(1)?)?;
        debug_assert!(offset < *end, "the last one marks the end");
        Some(format!("{name}+{:#x}", offset - start))
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

#[cfg(test)]
mod tests;
