//! The guest's processes, as the kernel's own lists hold them.
//!
//! ```text
//! init_task.tasks ⇄ task.tasks ⇄ …            one for each process (its first thread)
//!    task.signal ─► thread_head ⇄ thread_node  its threads
//!    task.mm ─► page tables, tree of mappings ─► file ─► dentry ─► name
//! ```
//!
//! A list that does not close, or that leads nowhere, gives what was found up to there, and the
//! reason why it is not whole.

use crate::kernel::{GuestKernel, MAX_LIST};
use crate::mapping::{Mapping, mappings};
use crate::memory::printable;
use crate::paging::AddressSpace;
use std::collections::HashSet;
use thiserror::Error;

/// The longest name of a process that is taken, in bytes: the kernel's own limit is 16.
const MAX_COMM_BYTES: u64 = 64;

/// Why a list is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Partial {
    /// The kernel does not describe what is needed.
    #[error("the kernel does not describe {what}")]
    NotDescribed {
        /// What.
        what: String,
    },
    /// A pointer leads nowhere.
    #[error("the pointer at {at:#x} leads nowhere")]
    BadPointer {
        /// Its kernel-virtual address.
        at: u64,
    },
    /// A list comes back to a place that is not its start.
    #[error("the list at {at:#x} runs in a circle")]
    Circle {
        /// The place, by kernel-virtual address.
        at: u64,
    },
    /// There is more than the limit.
    #[error("there are more than {MAX_LIST}")]
    TooMany,
}

/// Things that were found, and why that may not be all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What was found.
    pub found: Vec<T>,
    /// Why it is not whole; nothing where it is.
    pub partial: Option<Partial>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its `task_struct`, by kernel-virtual address.
    pub task: u64,
    /// The lowest address of its kernel stack.
    pub stack: u64,
}

/// A process, or a thread of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its name, in printable ASCII.
    pub name: String,
    /// Its threads, itself among them.
    pub threads: Found<Thread>,
    /// Its page tables; a thread of the kernel has none of its own.
    pub space: Option<AddressSpace>,
    /// Its mappings, by address.
    pub mappings: Found<Mapping>,
}

/// All processes; the first is the idle task, number 0.
#[must_use]
pub fn processes(kernel: &GuestKernel<'_>) -> Found<Process> {
    let nothing = |what: &str| Found {
        found: Vec::new(),
        partial: Some(Partial::NotDescribed {
            what: what.to_owned(),
        }),
    };
    let layout = match &kernel.layouts().task {
        Ok(layout) => *layout,
        Err(error) => return nothing(&error.to_string()),
    };
    let Some(init) = kernel.kallsyms().address_of("init_task") else {
        return nothing("init_task");
    };
    let mut partial = None;
    let links = follow(kernel, init.wrapping_add(layout.tasks), &mut partial);
    let tasks = links.iter().map(|link| link.wrapping_sub(layout.tasks));
    let found = std::iter::once(init)
        .chain(tasks)
        .filter_map(|task| process(kernel, task))
        .collect();
    Found { found, partial }
}

/// The links of a list behind its head.
pub(crate) fn follow(
    kernel: &GuestKernel<'_>,
    head: u64,
    partial: &mut Option<Partial>,
) -> Vec<u64> {
    let mut links = Vec::new();
    let mut seen = HashSet::new();
    let mut at = head;
    loop {
        let Some(next) = kernel.u64(at) else {
            *partial = Some(Partial::BadPointer { at });
            return links;
        };
        if next == head {
            return links;
        }
        if !seen.insert(next) {
            *partial = Some(Partial::Circle { at: next });
            return links;
        }
        if links.len() >= MAX_LIST {
            *partial = Some(Partial::TooMany);
            return links;
        }
        links.push(next);
        at = next;
    }
}

fn process(kernel: &GuestKernel<'_>, task: u64) -> Option<Process> {
    let layout = kernel.layouts().task.as_ref().ok()?;
    let first = thread(kernel, task)?;
    let mm = kernel.u64(task.wrapping_add(layout.mm))?;
    Some(Process {
        id: first.id,
        name: first.name.clone(),
        threads: threads(kernel, task, first),
        space: space(kernel, mm),
        mappings: match mm {
            0 => Found {
                found: Vec::new(),
                partial: None,
            },
            mm => mappings(kernel, mm),
        },
    })
}

fn thread(kernel: &GuestKernel<'_>, task: u64) -> Option<Thread> {
    let layout = kernel.layouts().task.as_ref().ok()?;
    let length = layout.comm_bytes.min(MAX_COMM_BYTES);
    let mut comm = vec![0; usize::try_from(length).ok()?];
    kernel.read(task.wrapping_add(layout.comm), &mut comm)?;
    Some(Thread {
        id: kernel.u32(task.wrapping_add(layout.pid))?,
        name: printable(&comm, comm.len()),
        task,
        stack: kernel.u64(task.wrapping_add(layout.stack))?,
    })
}

/// The threads of a process; itself alone where the list does not hold it.
fn threads(kernel: &GuestKernel<'_>, task: u64, first: Thread) -> Found<Thread> {
    let mut partial = None;
    let mut found = Vec::new();
    if let Ok(layout) = &kernel.layouts().task
        && let Some(signal) = kernel.u64(task.wrapping_add(layout.signal))
    {
        let head = signal.wrapping_add(layout.thread_head);
        let links = follow(kernel, head, &mut partial);
        let tasks = links
            .iter()
            .map(|link| link.wrapping_sub(layout.thread_node));
        found = tasks.filter_map(|task| thread(kernel, task)).collect();
    }
    if !found.contains(&first) {
        found.insert(0, first);
    }
    Found { found, partial }
}

fn space(kernel: &GuestKernel<'_>, mm: u64) -> Option<AddressSpace> {
    let layout = kernel.layouts().mapping.as_ref().ok()?;
    if mm == 0 {
        return None;
    }
    let root = kernel.physical(kernel.u64(mm.wrapping_add(layout.pgd))?)?;
    Some(kernel.space().with_root(root))
}
