//! The guest's file systems stand still for the moment of a capture, by its agent.
//!
//! A guest whose file systems stay frozen is a guest that hangs. So neither freezing nor thawing is
//! done by us but by a *guard*: a process of its own, in a session of its own, that holds the agent's
//! connection and thaws as soon as it is told to, or we are gone, or 2 s have passed.
//!
//! ```text
//!  us ──starts──► guard ──sync, freeze──► agent
//!  us ◄──frozen── guard ◄──so many─────── agent
//!  (the moment)
//!  us ──thaw, or the end of us──► guard ──thaw──► agent        at the latest after 2 s
//!  us ◄──thawed, or late───────── guard
//! ```
//!
//! The line between us and the guard is its standard input: a socket, for both directions.

mod agent;
mod guard;

pub use guard::thaw_guard_main;

use crate::error::HypervisorError;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long file systems are frozen at most.
pub const FROZEN_MAX: Duration = Duration::from_secs(2);

/// How long the guard may take for each of its answers: to freeze, [`FROZEN_MAX`] and the agent's own
/// slowness; to thaw, a guest that has much to do.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The longest line of the guard's.
const MAX_LINE_BYTES: u64 = 1024;

/// How the guest's file systems are to be frozen.
#[derive(Debug, Clone)]
pub struct FreezeRequest {
    /// The socket of the guest's agent.
    pub agent: PathBuf,
    /// The program that calls [`thaw_guard_main`]: our own.
    pub program: PathBuf,
    /// Its arguments; the agent's socket comes after them.
    pub arguments: Vec<OsString>,
}

/// Whether the guest's file systems stood still at the moment of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freeze {
    /// Nobody named an agent.
    NotAsked,
    /// They did.
    Frozen {
        /// How many.
        file_systems: u64,
    },
    /// They did at first, but the moment came so late that they may have been thawed before.
    Late,
    /// They could not be frozen.
    Refused(String),
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("file systems were not frozen: no guest agent was named"),
            Self::Frozen { file_systems } => write!(f, "{file_systems} file systems were frozen"),
            Self::Late => f.write_str("file systems were thawed before the moment was over"),
            Self::Refused(reason) => write!(f, "file systems were not frozen: {reason}"),
        }
    }
}

/// File systems that are frozen, or are not. When it is dropped, they are thawed.
pub(super) struct Freezer {
    state: Freeze,
    guard: Option<Guard>,
}

/// A guard at work.
struct Guard {
    child: Option<Child>,
    line: BufReader<UnixStream>,
}

impl Freezer {
    /// Freezes, where that is asked for. What cannot be frozen is told at the end.
    pub(super) async fn freeze(request: Option<&FreezeRequest>) -> Self {
        let Some(request) = request else {
            return Self {
                state: Freeze::NotAsked,
                guard: None,
            };
        };
        let begun = async {
            let mut guard = Guard::start(request).map_err(|error| error.to_string())?;
            let answer = guard.answer().await?;
            match answer.strip_prefix("frozen ").map(str::parse) {
                Some(Ok(file_systems)) => Ok((guard, file_systems)),
                _ => Err(answer),
            }
        };
        match begun.await {
            Ok((guard, file_systems)) => Self {
                state: Freeze::Frozen { file_systems },
                guard: Some(guard),
            },
            Err(reason) => Self {
                state: Freeze::Refused(reason),
                guard: None,
            },
        }
    }

    /// Thaws, and tells whether all that lay between was within the frozen time.
    pub(super) async fn thaw(mut self) -> Freeze {
        let Some(mut guard) = self.guard.take() else {
            return self.state;
        };
        // A guard that is gone has no answer either.
        drop(guard.line.get_mut().write_all(b"thaw\n").await);
        match guard.answer().await.as_deref() {
            Ok("thawed") => self.state,
            Ok("late") => Freeze::Late,
            Ok(reason) => Freeze::Refused(reason.to_owned()),
            Err(reason) => Freeze::Refused(reason.clone()),
        }
    }
}

impl Guard {
    fn start(request: &FreezeRequest) -> Result<Self, HypervisorError> {
        let failed = |source| HypervisorError::Spawn {
            program: request.program.clone(),
            source,
        };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let ours = UnixStream::from_std(ours).map_err(failed)?;
        let mut command = Command::new(&request.program);
        command
            .args(&request.arguments)
            .arg(&request.agent)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        outlive_us::prepare(&mut command);
        let child = command.spawn().map_err(failed)?;
        Ok(Self {
            child: Some(child),
            line: BufReader::new(ours),
        })
    }

    /// The guard's next line; an error says why there is none.
    async fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let mut limited = (&mut self.line).take(MAX_LINE_BYTES);
        let read = timeout(ANSWER_DEADLINE, limited.read_line(&mut line));
        match read.await {
            Ok(Ok(0)) => Err("the process that guards it has ended".to_owned()),
            Ok(Ok(_)) => Ok(line.trim_end().to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the process that guards it does not answer".to_owned()),
        }
    }
}

impl Drop for Guard {
    /// It thaws by itself when its line ends; it is not ended by us, only waited for, by somebody who
    /// has nothing else to do.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            std::thread::spawn(move || drop(child.wait()));
        }
    }
}

#[expect(
    unsafe_code,
    reason = "work between fork and exec has no safe interface; it makes only async-signal-safe calls"
)]
mod outlive_us {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// Arranges that neither our terminal's nor our manager's signals end the child: it has 2 s of
    /// work to do, and a guest hangs without it.
    pub(super) fn prepare(command: &mut Command) {
        // SAFETY: the closure allocates nothing, takes no lock and makes only system calls that are
        // allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                leave();
                Ok(())
            });
        }
    }

    fn leave() {
        // SAFETY: setsid takes nothing and touches no memory.
        unsafe { libc::setsid() };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            // SAFETY: to ignore a signal installs no handler, and touches no memory.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}
