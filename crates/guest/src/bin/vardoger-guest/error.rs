//! Why the guest cannot go on. Each is told to the host, or to the kernel's console.

use computation::job::{JobError, ProtocolError};
use guest::boot::BootOptionError;
use rustix::io::Errno;
use std::io;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    /// A file system of the kernel could not be mounted.
    #[error("mount {target}: {source}")]
    Mount { target: &'static str, source: Errno },
    /// A file of the kernel could not be read.
    #[error("read {path}: {source}")]
    Read {
        path: &'static str,
        source: io::Error,
    },
    /// The kernel's command line names a link that there is not.
    #[error(transparent)]
    Link(#[from] BootOptionError),
    /// The kernel does not let this process use ports.
    #[error("get access to ports: {0}")]
    Ports(io::Error),
    /// The serial port could not be opened, set up or written.
    #[error("{attempt} the first serial port: {source}")]
    Serial {
        attempt: &'static str,
        source: Errno,
    },
    /// The machine has no pvpanic device on its PCI bus.
    #[error("no pvpanic device on the pci bus")]
    NoPanicDevice,
    /// The pvpanic device could not be enabled or mapped.
    #[error("{attempt} the pvpanic device: {source}")]
    PanicDevice {
        attempt: &'static str,
        source: io::Error,
    },
    /// Memory could not be had, or not be held.
    #[error("{attempt} {bytes} bytes of memory: {source}")]
    Memory {
        attempt: &'static str,
        bytes: usize,
        source: Errno,
    },
    /// The kernel does not tell where a page is.
    #[error("the kernel does not tell where page {0:#x} is in memory")]
    Unmapped(usize),
    /// A line could not be made.
    #[error("write a line: {0}")]
    Line(#[from] ProtocolError),
    /// The job could not be read.
    #[error("read the job: {0}")]
    Job(#[from] JobError),
    /// A directory or file of a program could not be made, read or written.
    #[error("{attempt} {path}: {source}")]
    File {
        attempt: &'static str,
        path: String,
        source: io::Error,
    },
    /// A system call for a program's process failed.
    #[error("{attempt} the program's process: {source}")]
    Process {
        attempt: &'static str,
        source: io::Error,
    },
    /// A module of the kernel could not be loaded.
    #[error("load the kernel's module {name}: {source}")]
    Module { name: String, source: io::Error },
    /// The disk holds no system that could be used.
    #[error("the disk holds no file system with a system in it: {0}")]
    NoSystem(String),
    /// What was written to the disk could not be brought there.
    #[error("flush the disk: {0}")]
    Flush(io::Error),
    /// The command is not on the disk, or not one that can be started.
    #[error("cannot start `{command}` on the disk: {source}")]
    Command { command: String, source: io::Error },
    /// The kernel does not start the program.
    #[error("the kernel does not start the program: {0}")]
    Exec(io::Error),
    /// The job names a computation that this program does not have.
    #[error("unknown computation `{0}`")]
    Computation(String),
}
