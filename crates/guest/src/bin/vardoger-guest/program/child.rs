//! The program's process: started, and traced so that it stands still at its start and its end.
//!
//! ```text
//!  fork ─► waits at the gate ─► seized ─► gate opened ─► descriptors, limits, user ─► exec
//!                                                             └─► fails: its number, exit
//! ```
#![expect(
    unsafe_code,
    reason = "fork, exec and ptrace, and the calls between fork and exec, have no safe form"
)]

use crate::error::GuestError;
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use std::ffi::{CString, c_char, c_int, c_long, c_ulong};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;

/// Processes and threads of the user: a fork bomb ends here, and a threaded program does not.
const MAX_PROCESSES: u64 = 128;
/// The longest file: beyond any directory's room, so that a full one is seen as full; it only
/// bounds files of holes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What a process is to become.
pub(super) struct Start {
    /// Executables, of which the first is run that is there.
    pub(super) executables: Vec<String>,
    /// Its arguments, with the zeroth.
    pub(super) arguments: Vec<String>,
    /// All that is in its environment.
    pub(super) environment: &'static [&'static str],
    /// Its standard input.
    pub(super) stdin: PathBuf,
    /// What it sees as the root of all files, where that is not ours.
    pub(super) root: Option<&'static str>,
    /// Its working directory.
    pub(super) directory: &'static str,
    /// Its user, who has limits and no way to privileges; root where absent.
    pub(super) user: Option<u32>,
}

/// The process, and our ends of its streams.
pub(super) struct Child {
    pub(super) pid: c_int,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    failure: OwnedFd,
}

/// What a process of ours did, out of waitpid(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is about to run a new executable.
    Exec,
    /// It is about to end; its memory is still there.
    Ending,
    /// It was stopped like any process, and is to stay so until a signal wakes it.
    Paused,
    /// It stands still until it is let go on, with this signal or none.
    Interrupted(c_int),
    /// It is gone, with this word of wait(2).
    Gone(c_int),
}

impl Child {
    /// Starts the process; it waits before its exec until [`Child::open_gate`].
    pub(super) fn start(start: &Start) -> Result<(Self, Gate), GuestError> {
        let (stdout, stdout_end) = pipe()?;
        let (stderr, stderr_end) = pipe()?;
        let (failure, failure_end) = pipe()?;
        let (gate_end, gate) = pipe()?;
        let stdin = open(
            &start.stdin,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let stdin = stdin.map_err(|error| process("open the input of")(error.into()))?;
        let plan = Plan {
            executables: words(start.executables.iter()),
            arguments: words(start.arguments.iter()),
            environment: words(start.environment.iter()),
            root: start.root.map(|root| c_string(root.as_bytes())),
            directory: c_string(start.directory.as_bytes()),
            user: start.user,
            streams: [&stdin, &stdout_end, &stderr_end].map(AsRawFd::as_raw_fd),
            gate: gate_end.as_raw_fd(),
            gate_of_parent: gate.as_raw_fd(),
            failure: failure_end.as_raw_fd(),
        };
        // SAFETY: this process has one thread, so the child is a whole copy of it; the child goes
        // on in `become_program` alone, which never returns.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(last("fork")),
            0 => plan.become_program(),
            pid => {
                let child = Self {
                    pid,
                    stdout,
                    stderr,
                    failure,
                };
                child.seize()?;
                Ok((child, Gate(gate)))
            }
        }
    }

    /// Traces the process from now on.
    fn seize(&self) -> Result<(), GuestError> {
        let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_TRACEEXIT | libc::PTRACE_O_EXITKILL;
        self.trace(libc::PTRACE_SEIZE, c_long::from(options))
            .map_err(process("trace"))
    }

    /// Lets the process go on, with a signal or none (0).
    pub(super) fn go_on(&self, signal: c_int) -> Result<(), GuestError> {
        self.go(libc::PTRACE_CONT, signal)
    }

    /// Leaves the process stopped until a signal wakes it.
    pub(super) fn leave_paused(&self) -> Result<(), GuestError> {
        self.go(libc::PTRACE_LISTEN, 0)
    }

    fn go(&self, request: libc::c_uint, signal: c_int) -> Result<(), GuestError> {
        match self.trace(request, c_long::from(signal)) {
            // It was killed in the meantime: its end is the next change.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            done => done.map_err(process("go on with")),
        }
    }

    /// How a process that is about to end will end, as a word of wait(2).
    pub(super) fn ending_status(&self) -> Result<c_int, GuestError> {
        let mut status: c_ulong = 0;
        // SAFETY: the call writes one word, to a place that is one.
        let done = unsafe {
            libc::ptrace(
                libc::PTRACE_GETEVENTMSG,
                self.pid,
                ptr::null_mut::<libc::c_void>(),
                &raw mut status,
            )
        };
        match done {
            -1 => Err(last("ask for the end of")),
            _ => Ok((status & 0xffff) as c_int),
        }
    }

    /// Why the exec failed, if it did; the process must have ended.
    pub(super) fn exec_error(&self) -> Option<io::Error> {
        let mut number = [0; 4];
        let failure = self.failure.try_clone().ok()?;
        let read = File::from(failure).read_exact(&mut number);
        read.ok()
            .map(|()| io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
    }

    /// A request of ptrace(2) that touches no memory of ours.
    fn trace(&self, request: libc::c_uint, data: c_long) -> io::Result<()> {
        // SAFETY: the requests made here take two numbers and write nowhere in this process.
        let done = unsafe {
            libc::ptrace(
                request,
                self.pid,
                ptr::null_mut::<libc::c_void>(),
                data as *mut libc::c_void,
            )
        };
        match done {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// Holds the process back until it is traced.
pub(super) struct Gate(OwnedFd);

impl Gate {
    /// Lets the process go to its exec.
    pub(super) fn open(self) {
        drop(self.0);
    }
}

/// The next change of a process of ours, if there is one.
pub(super) fn next_change() -> Option<(c_int, Change)> {
    let mut status = 0;
    // SAFETY: the call writes one word, to a place that is one.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) };
    (pid > 0).then(|| (pid, meaning(status)))
}

fn meaning(status: c_int) -> Change {
    if !libc::WIFSTOPPED(status) {
        return Change::Gone(status);
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        libc::PTRACE_EVENT_EXEC => Change::Exec,
        libc::PTRACE_EVENT_EXIT => Change::Ending,
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Change::Paused,
        0 => Change::Interrupted(signal),
        _ => Change::Interrupted(0),
    }
}

/// What the process needs between fork and exec.
struct Plan {
    executables: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    root: Option<CString>,
    directory: CString,
    user: Option<u32>,
    streams: [RawFd; 3],
    gate: RawFd,
    gate_of_parent: RawFd,
    failure: RawFd,
}

impl Plan {
    /// The child's life after the fork.
    fn become_program(&self) -> ! {
        let error = match self.prepare() {
            Ok(()) => self.exec(),
            Err(error) => error,
        };
        let number = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
        // SAFETY: the bytes are there; a failure that cannot be told is told by the exit.
        unsafe {
            libc::write(self.failure, number.as_ptr().cast(), number.len());
            libc::_exit(127)
        }
    }

    /// Waits at the gate, then takes on streams, limits and user. Nothing of the parent's stays:
    /// all its descriptors close at the exec, and so does its access to ports here.
    fn prepare(&self) -> io::Result<()> {
        let mut byte = [0_u8; 1];
        // SAFETY: each call takes numbers, or pointers to values that outlive it; this process has
        // one thread, so nobody sees it half changed.
        unsafe {
            libc::close(self.gate_of_parent);
            libc::read(self.gate, byte.as_mut_ptr().cast(), 1);
            check(libc::iopl(0))?;
            check(libc::setsid())?;
            for (number, descriptor) in (0..).zip(self.streams) {
                check(libc::dup2(descriptor, number))?;
            }
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
            check(libc::sigemptyset(none.as_mut_ptr()))?;
            check(libc::sigprocmask(
                libc::SIG_SETMASK,
                none.as_ptr(),
                ptr::null_mut(),
            ))?;
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            limit(libc::RLIMIT_CORE, 0)?;
            check(libc::setgroups(0, ptr::null()))?;
            if let Some(root) = &self.root {
                check(libc::chroot(root.as_ptr()))?;
            }
            if let Some(user) = self.user {
                limit(libc::RLIMIT_NPROC, MAX_PROCESSES)?;
                limit(libc::RLIMIT_FSIZE, MAX_FILE_BYTES)?;
                check(libc::setgid(user))?;
                check(libc::setuid(user))?;
                check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            }
            libc::umask(0o022);
            check(libc::chdir(self.directory.as_ptr()))
        }
    }

    /// Becomes the first executable that is there; returns why none could be run.
    fn exec(&self) -> io::Error {
        let pointers = |words: &[CString]| -> Vec<*const c_char> {
            let words = words.iter().map(|word| word.as_ptr());
            words.chain([ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let mut failed = io::Error::from_raw_os_error(libc::ENOENT);
        for executable in &self.executables {
            // SAFETY: both lists end with a null pointer, and their words outlive the call.
            unsafe {
                libc::execve(
                    executable.as_ptr(),
                    arguments.as_ptr(),
                    environment.as_ptr(),
                )
            };
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
                failed = error;
            }
        }
        failed
    }
}

fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: the pointer is to a value of the right type, which the call only reads.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

fn check(result: c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), GuestError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| process("make a pipe for")(error.into()))
}

fn words<T: AsRef<str>>(words: impl Iterator<Item = T>) -> Vec<CString> {
    words
        .map(|word| c_string(word.as_ref().as_bytes()))
        .collect()
}

/// Up to its first zero byte: the job was checked to hold none.
fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    CString::new(bytes).unwrap_or_default()
}

fn process(attempt: &'static str) -> impl FnOnce(io::Error) -> GuestError {
    move |source| GuestError::Process { attempt, source }
}

fn last(attempt: &'static str) -> GuestError {
    process(attempt)(io::Error::last_os_error())
}
