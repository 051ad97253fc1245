//! What can be told to go wrong, and how a call that fails words it.

use crate::error::HypervisorError;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The guest that is booted goes wrong before it is ready: at its step 0.
    Boot(GuestTrouble),
    /// A replica's guest goes wrong before a step of its work. Replicas are counted in the order in
    /// which they are restored.
    Replica {
        /// Which replica.
        replica: u64,
        /// Before which step, counted from 0.
        step: u64,
        /// What it does.
        what: GuestTrouble,
    },
    /// A call of the traits fails, whichever it is.
    Call {
        /// Which call that can fail, counted from 1 over all domains.
        number: u64,
        /// How.
        how: CallTrouble,
    },
}

/// How a guest goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestTrouble {
    /// It runs on and gets nowhere.
    Hang,
    /// It shuts down; the text says how.
    Crash(String),
    /// It tells that it cannot go on.
    Fail(String),
    /// It signals without a word.
    Silence,
    /// It says a line of its own making, and goes on.
    Say(Vec<u8>),
    /// A bit of its memory is wrong from now on.
    Flip {
        /// The guest-physical address of the byte.
        address: u64,
        /// The bit of the byte.
        bit: u32,
    },
}

impl GuestTrouble {
    /// Whether the guest is lost by it: it never comes to its end.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::Hang | Self::Crash(_) | Self::Fail(_) | Self::Silence => true,
            Self::Say(_) | Self::Flip { .. } => false,
        }
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallTrouble {
    /// The emulator is gone: this call and all later ones of its domain fail.
    MonitorLost,
    /// A file operation fails.
    InputOutput,
    /// A file does not fit onto its disk.
    DiskFull,
    /// There is no answer within the deadline.
    Deadline,
    /// The guest's memory cannot be reached.
    MemoryUnreadable,
    /// What is answered makes no sense: a call that is asked for data gives data that cannot be
    /// true, another one is refused in words that nobody understands.
    Nonsense,
}

impl CallTrouble {
    /// The error of a call of this name.
    pub(super) fn error(self, name: &'static str) -> HypervisorError {
        /// How long a call is said to have taken.
        const PATIENCE: Duration = Duration::from_secs(30);
        let file = |code| HypervisorError::File {
            doing: name,
            path: PathBuf::from("sim"),
            source: std::io::Error::from_raw_os_error(code),
        };
        match self {
            Self::MonitorLost => gone(name),
            Self::InputOutput => file(libc::EIO),
            Self::DiskFull => file(libc::ENOSPC),
            Self::Deadline => HypervisorError::Deadline {
                what: format!("the answer to {name}"),
                after: PATIENCE,
            },
            Self::MemoryUnreadable => HypervisorError::Memory {
                pid: 0,
                detail: format!("{name} failed"),
            },
            Self::Nonsense => HypervisorError::Monitor {
                command: name.to_owned(),
                detail: "it answers nonsense".to_owned(),
            },
        }
    }
}

/// The error of every call to an emulator that was killed.
pub(super) fn gone(name: &'static str) -> HypervisorError {
    HypervisorError::Exited {
        doing: name.to_owned(),
        status: "signal: 9".to_owned(),
        detail: String::new(),
    }
}

/// A trouble that came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// Whose machine it was, in the order of restoring; none for the machine that was booted.
    pub replica: Option<u64>,
    /// What happened.
    pub what: Stroke,
}

/// What came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stroke {
    /// A guest went wrong.
    Guest(GuestTrouble),
    /// A call failed.
    Call {
        /// Its name, as its error words it.
        name: &'static str,
        /// How.
        how: CallTrouble,
    },
}

/// The trouble of one machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Whose machine it is, in the order of restoring; none for the machine that is booted.
    pub(super) replica: Option<u64>,
    /// What its guest does, by the step before which it does it.
    pub(super) by_step: BTreeMap<u64, GuestTrouble>,
}
