//! Why a running machine's disks cannot be captured.

use crate::error::HypervisorError;
use std::path::PathBuf;

/// A capture that could not be begun or ended.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// There is no socket at the path.
    #[error("there is no monitor socket at {0}")]
    SocketMissing(PathBuf),
    /// Nobody listens at the socket: the machine has ended.
    #[error("nobody listens at the monitor socket {0}: the machine is not running")]
    Refused(PathBuf),
    /// The socket is there and we may not use it.
    #[error("the monitor socket {0} may not be used: permission denied")]
    Denied(PathBuf),
    /// A monitor speaks with one client at a time, and has one.
    #[error("the monitor at {0} does not greet: another program is connected to it")]
    Taken(PathBuf),
    /// The caller's name for a disk is none of the machine's.
    #[error("the machine has no disk {name}; there are: {known}")]
    NoSuchDisk {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The disk cannot be captured.
    #[error("the disk {name} cannot be captured: {reason}")]
    Unsuitable {
        /// The disk.
        name: String,
        /// Why.
        reason: super::Skip,
    },
    /// No disk, or more than can be captured at once.
    #[error(
        "{count} disks at once cannot be captured, only 1 to {}",
        super::MAX_DISKS
    )]
    DiskCount {
        /// How many were asked for.
        count: usize,
    },
    /// A note stands for one capture only.
    #[error("the note {0} stands for an earlier capture already")]
    NoteUsed(super::Label),
    /// Another process of ours captures this machine.
    #[error("process {pid} captures this machine's disks at the moment")]
    CaptureRunning {
        /// The process.
        pid: i32,
    },
    /// A machine has one server for exports, and somebody else has started it.
    #[error("the machine's export server is in use by another program")]
    ServerTaken,
    /// What we put into the machine does not go away.
    #[error("{what} is still there {} s after it was told to go", super::GONE_DEADLINE.as_secs())]
    Stuck {
        /// What.
        what: String,
    },
    /// The monitor says something that cannot be understood.
    #[error("the machine's answer to {command} cannot be understood: {detail}")]
    Answer {
        /// The command.
        command: &'static str,
        /// What is missing.
        detail: String,
    },
    /// All else between us and the machine.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
}

impl LiveError {
    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Taken(_) => "give the machine a monitor of its own for this: \
                 -qmp unix:PATH,server=on,wait=off"
                .to_owned(),
            Self::Denied(_) => "run as the user who owns the socket, or as root".to_owned(),
            Self::ServerTaken => "wait until the other program's backup is over".to_owned(),
            Self::Hypervisor(HypervisorError::NoSpace { .. }) => {
                "free some space, or name another directory for what the guest overwrites \
                 while it is read"
                    .to_owned()
            }
            _ => return None,
        })
    }
}
