//! What a worker gives up, layer by layer, each of which would be enough for most of it.
//!
//! | layer | what it takes | where it is missing |
//! |---|---|---|
//! | namespaces | network, mounts, host name, System V objects | the host does not let a user have them: said, and gone without |
//! | resource limits | opening, writing, starting anything; memory and CPU time without end | never |
//! | Landlock | every path and port | kernels before 5.13: said, and gone without |
//! | filter of system calls | everything that is not on its list | never |
//!
//! Threads that the work needs are started behind the layers that a new thread takes over from its
//! parent, and before the two that would keep it from being started: limits, which are the process's,
//! and the filter, which is laid on all threads at once.

use crate::error::SandboxError;
use crate::hands::Hands;
use crate::system_calls;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::{UnshareFlags, set_no_new_privs, unshare_unsafe};

/// How far the layers that a host can lack are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// The process has namespaces of its own.
    pub namespaces: bool,
    /// How much of what Landlock can take is taken.
    pub landlock: Layer,
}

/// How much of a layer is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// All of it.
    Whole,
    /// What this kernel knows of it.
    Part,
    /// Nothing: this kernel has no such thing.
    Absent,
}

/// Gives up everything that work on open files does not need, for good.
///
/// # Errors
/// A layer that every host has cannot be set up.
pub(crate) fn confine(
    memory_bytes: u64,
    cpu_s: u64,
    threads: usize,
) -> Result<(Confinement, Hands), SandboxError> {
    let limits = |source: Errno| SandboxError::Confine {
        source: Box::new(std::io::Error::from(source)),
    };
    let other = |source| SandboxError::Confine { source };
    set_no_new_privs(true).map_err(limits)?;
    let namespaces = own_namespaces();
    // Entering a namespace forgets it, so it comes after.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(limits)?;
    let landlock = give_up_paths().map_err(|error| other(Box::new(error)))?;
    let hands = Hands::start(threads).map_err(|error| other(Box::new(error)))?;
    limit_resources(memory_bytes, cpu_s).map_err(limits)?;
    system_calls::filter().map_err(other)?;
    let confinement = Confinement {
        namespaces,
        landlock,
    };
    Ok((confinement, hands))
}

#[expect(unsafe_code, reason = "entering namespaces has no other way")]
fn own_namespaces() -> bool {
    // One of process numbers would be for children, of which there are none, and forbid threads.
    let namespaces = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    // SAFETY: the table of files stays shared, which is what could make descriptors of this
    // process mean other files to a library that holds them.
    unsafe { unshare_unsafe(namespaces) }.is_ok()
}

fn give_up_paths() -> Result<Layer, landlock::RulesetError> {
    const NEWEST: ABI = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Layer::Whole,
        RulesetStatus::PartiallyEnforced => Layer::Part,
        RulesetStatus::NotEnforced => Layer::Absent,
    })
}

fn limit_resources(memory_bytes: u64, cpu_s: u64) -> Result<(), Errno> {
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::As, memory_bytes),
        // What is open stays open; nothing more can be opened.
        (Resource::Nofile, 0),
    ] {
        limit(resource, most, most)?;
    }
    // The first limit is told by a signal of its own, the second kills.
    limit(Resource::Cpu, cpu_s, cpu_s.saturating_add(1))
}

fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    setrlimit(
        resource,
        Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        },
    )
}
