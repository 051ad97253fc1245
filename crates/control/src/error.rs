//! What can go wrong in a use case, with a stable code and what the user can do about it.

use crate::command::CommandError;
use crate::image::ImageError;
use crate::injection::InjectionError;
use crate::program::ProgramError;
use hypervisor::HypervisorError;
use sandbox::SandboxError;
use std::path::PathBuf;
use store::StoreError;

/// A use case failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The hypervisor, or the machine that it needs, failed.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An injection was ordered that cannot be understood.
    #[error("--inject: {0}")]
    Injection(#[from] InjectionError),
    /// An injection fell on nothing.
    #[error("cannot inject {what}: {detail}")]
    InjectionFailed {
        /// What was ordered.
        what: String,
        /// Why it could not be done.
        detail: String,
    },
    /// A user's program, or what it is to be given, cannot be used.
    #[error("--program: {0}")]
    Program(#[from] ProgramError),
    /// A disk of the user's, or the command in it, cannot be used.
    #[error("the command's disk: {0}")]
    Command(#[from] CommandError),
    /// The library holds no such computation, or none that fits.
    #[error("{0}")]
    Computation(String),
    /// There is no guest kernel.
    #[error("no guest kernel at {path}")]
    NoKernel {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is no kernel that can be started.
    #[error("{path} is no Linux kernel for x86-64: {detail}")]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// This build holds no guest program.
    #[error("this build of vardoger holds no guest program")]
    NoGuestProgram,
    /// Machines cannot be made on KVM here.
    #[error("no machine on KVM: {detail}")]
    NoKvm {
        /// What is in the way.
        detail: String,
    },
    /// The number of replicas is out of range.
    #[error("{replicas} replicas: a run takes 1 to {most}")]
    Replicas {
        /// What was asked for.
        replicas: u32,
        /// The most.
        most: u32,
    },
    /// A budget, a deadline or a number of jobs is out of range.
    #[error("{0}")]
    OutOfRange(String),
    /// The guest did not reach the point from which replicas are made.
    #[error("the guest did not get ready: {detail}")]
    NotReady {
        /// What it did instead.
        detail: String,
    },
    /// The guest spoke another language than ours.
    #[error("the guest said what cannot be understood: {detail}")]
    Protocol {
        /// What it said.
        detail: String,
    },
    /// A file of ours could not be used.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A task of ours ended without an answer.
    #[error("a task that {doing} ended without an answer")]
    Task {
        /// What it did.
        doing: &'static str,
    },
    /// A saved state could not be read.
    #[error("the state {name} could not be read: {detail}")]
    State {
        /// How the user named it.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The process that reads saved states gave no answer.
    #[error("a state could not be read: {0}")]
    Worker(#[from] SandboxError),
    /// Something with a disk image failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The user names states that there are not, or not enough.
    #[error("{0}")]
    NoState(String),
    /// Guest memory was not understood, so that machines could not be aligned.
    #[error("the machines cannot be aligned: {detail}")]
    NotUnderstood {
        /// Why.
        detail: String,
    },
    /// The user said stop.
    #[error("interrupted; everything was cleaned up")]
    Interrupted,
    /// The terminal states could not be compared.
    #[error("the terminal states cannot be compared: {0}")]
    Compare(String),
}

impl ControlError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Hypervisor(HypervisorError::BinaryMissing { .. }) => "qemu-missing",
            Self::Hypervisor(HypervisorError::TooOld { .. }) => "qemu-too-old",
            Self::Hypervisor(HypervisorError::NoSpace { .. }) => "no-space",
            Self::Hypervisor(HypervisorError::Deadline { .. }) => "deadline",
            Self::Hypervisor(HypervisorError::UnknownRegister { .. }) => "unknown-register",
            Self::Hypervisor(HypervisorError::OutsideMemory { .. }) => "outside-memory",
            Self::Hypervisor(_) => "hypervisor",
            Self::Store(_) => "store",
            Self::Injection(_) => "bad-injection",
            Self::InjectionFailed { .. } => "injection-failed",
            Self::Program(_) => "bad-program",
            Self::Command(CommandError::NotRecorded(_)) => "not-recorded",
            Self::Command(_) => "bad-disk",
            Self::Computation(_) => "no-such-computation",
            Self::NoKernel { .. } => "kernel-missing",
            Self::NotAKernel { .. } => "not-a-kernel",
            Self::NoGuestProgram => "guest-program-missing",
            Self::NoKvm { .. } => "kvm-unusable",
            Self::Replicas { .. } | Self::OutOfRange(_) => "out-of-range",
            Self::NotReady { .. } => "guest-not-ready",
            Self::Protocol { .. } => "guest-protocol",
            Self::File { .. } => "file",
            Self::State { .. } | Self::Worker(_) => "state-unreadable",
            Self::Image(error) => error.code(),
            Self::NotUnderstood { .. } => "not-understood",
            Self::NoState(_) => "no-such-state",
            Self::Interrupted => "interrupted",
            Self::Task { .. } | Self::Compare(_) => "internal",
        }
    }

    /// Whether the command line is at fault, not the machine.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Image(error) => return error.is_usage(),
            Self::Command(CommandError::NotRecorded(_)) => return false,
            _ => {}
        }
        matches!(
            self,
            Self::Injection(_)
                | Self::Program(_)
                | Self::Command(_)
                | Self::Computation(_)
                | Self::Replicas { .. }
                | Self::OutOfRange(_)
                | Self::NoState(_)
                | Self::Hypervisor(
                    HypervisorError::UnknownRegister { .. } | HypervisorError::OutsideMemory { .. }
                )
        )
    }

    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Hypervisor(error) => error.remedy(),
            Self::Store(error) => store_remedy(error).map(str::to_owned),
            Self::Image(error) => error.remedy(),
            Self::Program(error) => error.remedy().map(str::to_owned),
            Self::Command(error) => error.remedy().map(str::to_owned),
            Self::Computation(_) => {
                Some("`vardoger computation ls` lists what there is".to_owned())
            }
            Self::NoKernel { .. } => Some(
                "scripts/demo fetches one; or set VARDOGER_KERNEL to a Linux kernel image"
                    .to_owned(),
            ),
            Self::NotAKernel { .. } => {
                Some("set VARDOGER_KERNEL to a bzImage or vmlinux for x86-64".to_owned())
            }
            Self::NoGuestProgram => {
                Some("run `cargo xtask guest`, then build vardoger again".to_owned())
            }
            Self::NotReady { .. } => Some(
                "try another kernel (VARDOGER_KERNEL); `vardoger doctor` boots one and says more"
                    .to_owned(),
            ),
            Self::NoKvm { .. } => Some(
                "--accelerator tcg needs no KVM; `vardoger doctor` says what KVM lacks here"
                    .to_owned(),
            ),
            Self::NoState(_) => Some(
                "a run keeps the states of replicas that differ, and all of them with --keep all"
                    .to_owned(),
            ),
            _ => None,
        }
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

fn store_remedy(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::NotAStore { .. } | StoreError::ForeignOwner { .. } | StoreError::Io { .. } => {
            "name a directory of yours with --store; an absent one is made"
        }
        StoreError::Full { .. } => "free some space there, or name another directory with --store",
        StoreError::NewerVersion { .. } => "use the vardoger that wrote it, or a newer one",
        StoreError::Busy { .. } => "wait until the other command has ended",
        StoreError::Damaged { .. } => "move it away; a new store is made in its place",
        _ => return None,
    })
}
