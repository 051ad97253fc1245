//! What can go wrong between us and a hypervisor. Every variant says what was attempted and on
//! what; [`HypervisorError::remedy`] says what the user can do.

use std::path::PathBuf;
use std::time::Duration;

/// A failure of a hypervisor or of the machine that it needs.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// No emulator of that name on the search path.
    #[error("no {name} on the search path")]
    BinaryMissing {
        /// The program's name.
        name: String,
    },
    /// The emulator is older than we can drive.
    #[error("{path} is QEMU {found}, at least {needed} is needed")]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The least version that works.
        needed: &'static str,
    },
    /// The program is there but does not say that it is QEMU.
    #[error("{path} does not answer like QEMU: {detail}")]
    NotQemu {
        /// The program.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// A process could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The emulator ended although nobody had asked it to.
    #[error("qemu ended by itself while {doing} ({status}){detail}")]
    Exited {
        /// What we were doing.
        doing: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote to its error stream, led by `: `, or nothing.
        detail: String,
    },
    /// The monitor refused a command, or answered what cannot be understood.
    #[error("qemu's monitor failed at {command}: {detail}")]
    Monitor {
        /// The command.
        command: String,
        /// What it said.
        detail: String,
    },
    /// Nothing happened within the deadline.
    #[error("{what} did not happen within {} s", after.as_secs_f32())]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// The debugger stub answered what cannot be understood.
    #[error("qemu's debugger stub failed at {packet}: {detail}")]
    Debugger {
        /// The packet.
        packet: String,
        /// What it said.
        detail: String,
    },
    /// A file operation failed.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too little room before anything was started.
    #[error("{path} has {free_bytes} bytes free, {needed_bytes} are needed for {what}")]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// What is free there.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
        /// For what.
        what: &'static str,
    },
    /// The run directory is not ours alone.
    #[error("{path} cannot be used as run directory: {detail}")]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The guest has no such register, or it cannot be written.
    #[error("the guest has no register {name} that can be written; known: {known}")]
    UnknownRegister {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The address lies outside guest memory.
    #[error("guest-physical address {address:#x} lies outside the guest's {memory_bytes} bytes")]
    OutsideMemory {
        /// The address.
        address: u64,
        /// How much memory the guest has.
        memory_bytes: u64,
    },
    /// The guest's memory could not be found or read from outside.
    #[error("cannot reach the guest's memory in process {pid}: {detail}")]
    Memory {
        /// The emulator's process.
        pid: i32,
        /// Why.
        detail: String,
    },
    /// A recording cannot be followed.
    #[error(transparent)]
    Recording(#[from] crate::qemu::recording::log::LogError),
    /// A disk is larger than its overlay can be.
    #[error("the disk in {path} has {disk_bytes} bytes, and at most {most} are supported", most = crate::qemu::empty_image::MAX_DISK_BYTES)]
    DiskTooLarge {
        /// The image.
        path: PathBuf,
        /// The disk's size.
        disk_bytes: u64,
    },
    /// This hypervisor cannot do that.
    #[error("{hypervisor} cannot {what}")]
    Unsupported {
        /// The hypervisor.
        hypervisor: &'static str,
        /// What was asked.
        what: &'static str,
    },
}

impl HypervisorError {
    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::BinaryMissing { .. } | Self::TooOld { .. } => {
                "scripts/demo installs QEMU; on Debian 12 it is qemu-system-x86 from \
                 bookworm-backports"
                    .to_owned()
            }
            Self::NotQemu { .. } => {
                "put a genuine qemu-system-x86_64, version 9 or later, first on PATH".to_owned()
            }
            Self::NoSpace { path, .. } => format!("free some space in {}", path.display()),
            Self::UnsafeDirectory { path, .. } => {
                format!(
                    "remove {} or set VARDOGER_RUN_DIR to a directory of yours",
                    path.display()
                )
            }
            Self::Exited { .. } | Self::Monitor { .. } => {
                "run `vardoger doctor`; it tries emulator and guest kernel, and says what they lack"
                    .to_owned()
            }
            Self::Recording(crate::qemu::recording::log::LogError::TooShort { .. }) => {
                "the run directory is full, most likely: free some space there, or set \
                 VARDOGER_RUN_DIR to a directory with more"
                    .to_owned()
            }
            _ => return None,
        })
    }

    /// A failed file operation.
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }
}
