//! The worker's side: take the order, then give up everything that the work does not need.

use crate::error::SandboxError;
use crate::{MAX_FILES, ORDER_BYTES};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::set_no_new_privs;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;

/// Takes the files that are to be worked on, and confines this process for good. To be called by a
/// worker first of all: before other threads are started, and before anything of the input is read.
///
/// # Errors
/// Standard input is no socket with an order, or a limit cannot be set.
pub fn enter() -> Result<Vec<File>, SandboxError> {
    let (memory_bytes, cpu_s, files) = receive()?;
    confine(memory_bytes, cpu_s).map_err(|source| SandboxError::Confine {
        source: source.into(),
    })?;
    Ok(files)
}

fn receive() -> Result<(u64, u64, Vec<File>), SandboxError> {
    let mut order = [0; ORDER_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut passed = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        std::io::stdin(),
        &mut [IoSliceMut::new(&mut order)],
        &mut passed,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )
    .map_err(|_| SandboxError::NoOrder)?;
    if received.bytes != ORDER_BYTES || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(SandboxError::NoOrder);
    }
    let files = passed
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .map(File::from)
        .collect();
    let [memory_bytes, cpu_s] = order
        .as_chunks()
        .0
        .iter()
        .map(|number| u64::from_le_bytes(*number))
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| SandboxError::NoOrder)?;
    Ok((memory_bytes, cpu_s, files))
}

fn confine(memory_bytes: u64, cpu_s: u64) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
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
