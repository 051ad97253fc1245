//! Ways out that a confined worker tries, to show that there is none.

use crate::error::SandboxError;
use crate::{Limits, ask, enter};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{getppid, test_kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// More than any host has.
const MUCH_MEMORY_BYTES: usize = 1 << 40;

/// What a worker needs that only tries one thing.
const LIMITS: Limits = Limits {
    memory_bytes: 256 << 20,
    cpu_s: 10,
    wall: Duration::from_secs(60),
    answer_bytes: 4096,
};

/// Something that a worker may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Open a file that everybody may read.
    Open,
    /// Make a file.
    Create,
    /// List a directory.
    List,
    /// Open a socket of the network.
    Network,
    /// Open a pair of local sockets.
    Local,
    /// Start a program.
    Execute,
    /// Start a thread.
    Thread,
    /// Ask for the process that started it, as for sending it a signal.
    Signal,
    /// Follow the process that started it.
    Trace,
    /// Take 1 TiB of memory.
    Memory,
    /// Take memory that code can be put into and run.
    Code,
    /// Enter namespaces of its own once more.
    Namespace,
}

impl Attempt {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Create,
        Self::List,
        Self::Network,
        Self::Local,
        Self::Execute,
        Self::Thread,
        Self::Signal,
        Self::Trace,
        Self::Memory,
        Self::Code,
        Self::Namespace,
    ];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::List => "list",
            Self::Network => "network",
            Self::Local => "local",
            Self::Execute => "execute",
            Self::Thread => "thread",
            Self::Signal => "signal",
            Self::Trace => "trace",
            Self::Memory => "memory",
            Self::Code => "code",
            Self::Namespace => "namespace",
        }
    }

    /// The attempt of a word.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// What is attempted, for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Open => "open /etc/passwd",
            Self::Create => "make a file in /tmp",
            Self::List => "list /",
            Self::Network => "open a network socket",
            Self::Local => "open local sockets",
            Self::Execute => "start a program",
            Self::Thread => "start a thread",
            Self::Signal => "reach its parent by a signal",
            Self::Trace => "trace its parent",
            Self::Memory => "take 1 TiB of memory",
            Self::Code => "take memory that is writable and executable",
            Self::Namespace => "enter namespaces",
        }
    }

    /// Tries it in this process.
    ///
    /// # Errors
    /// It is refused, in a way that the process outlives.
    pub fn perform(self) -> io::Result<()> {
        match self {
            Self::Open => File::open("/etc/passwd").map(drop),
            Self::Create => {
                let path = std::env::temp_dir().join("vardoger-was-not-confined");
                let mut open = OpenOptions::new();
                open.write(true).create_new(true).open(path).map(drop)
            }
            Self::List => fs::read_dir("/").map(drop),
            Self::Network => UdpSocket::bind(("127.0.0.1", 0)).map(drop),
            Self::Local => UnixStream::pair().map(drop),
            Self::Execute => Command::new("/bin/true").status().map(drop),
            Self::Thread => std::thread::Builder::new().spawn(|| {}).map(drop),
            Self::Signal => match getppid() {
                Some(parent) => Ok(test_kill_process(parent)?),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Self::Trace => trace(),
            Self::Memory => {
                let mut much: Vec<u8> = Vec::new();
                much.try_reserve_exact(MUCH_MEMORY_BYTES)
                    .map_err(io::Error::other)
            }
            Self::Code => executable(),
            Self::Namespace => enter_again(),
        }
    }
}

#[expect(unsafe_code, reason = "no safe library offers what must be refused")]
fn trace() -> io::Result<()> {
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    // SAFETY: following another process changes no memory of this one.
    let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0) };
    if traced == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(unsafe_code, reason = "no safe library offers what must be refused")]
fn executable() -> io::Result<()> {
    let rights = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: the kernel chooses the place, so no memory of ours is replaced; nothing is run there.
    unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, rights, MapFlags::PRIVATE) }?;
    Ok(())
}

#[expect(unsafe_code, reason = "no safe library offers what must be refused")]
fn enter_again() -> io::Result<()> {
    // SAFETY: the table of files stays shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }?;
    Ok(())
}

/// How an attempt was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The worker was ended.
    Ended,
    /// The kernel said no, and the worker lived on.
    Denied(String),
    /// It was not refused: the worker did it.
    NotRefused,
}

/// The worker's side: enters, tries, and says what came of it.
///
/// # Errors
/// It cannot be confined, or the answer cannot be written.
pub fn carry_out(attempt: Attempt, output: &mut impl Write) -> Result<(), SandboxError> {
    enter()?;
    let answer = match attempt.perform() {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("denied: {error}"),
    };
    output
        .write_all(answer.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|source| SandboxError::Confine {
            source: Box::new(source),
        })
}

/// The asking side: has a worker try it. `program` with `arguments` is to call [`carry_out`].
///
/// # Errors
/// The worker cannot be started, or ends in a way that says nothing.
pub fn attempt(program: &Path, arguments: &[&str]) -> Result<Refusal, SandboxError> {
    match ask(program, arguments, &[], &LIMITS) {
        Err(SandboxError::Forbidden) => Ok(Refusal::Ended),
        Ok(answer) => {
            let answer = String::from_utf8_lossy(&answer);
            Ok(match answer.split_once("denied: ") {
                Some((_, why)) => Refusal::Denied(why.lines().next().unwrap_or("").to_owned()),
                None => Refusal::NotRefused,
            })
        }
        Err(error) => Err(error),
    }
}
