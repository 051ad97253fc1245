//! The worker's side: take the order, then give up everything that the work does not need.

use crate::confinement::{Confinement, confine};
use crate::error::SandboxError;
use crate::hands::Hands;
use crate::{MAX_FILES, ORDER_BYTES};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;

/// Takes the files that are to be worked on, and confines this process for good. To be called by a
/// worker first of all: before other threads are started, and before anything of the input is read.
///
/// # Errors
/// Standard input is no socket with an order, or a limit cannot be set.
pub fn enter() -> Result<Entered, SandboxError> {
    Ok(enter_with(0)?.0)
}

/// Likewise, with threads beside this one, which are confined as it is: later none can be started.
///
/// # Errors
/// As of [`enter`].
pub fn enter_with(threads: usize) -> Result<(Entered, Hands), SandboxError> {
    let (memory_bytes, cpu_s, files) = receive()?;
    let (confinement, hands) = confine(memory_bytes, cpu_s, threads)?;
    Ok((Entered { files, confinement }, hands))
}

/// What a worker has once it is confined.
#[derive(Debug)]
pub struct Entered {
    /// The files that it is to work on, in their order.
    pub files: Vec<File>,
    /// How far it is confined.
    pub confinement: Confinement,
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
