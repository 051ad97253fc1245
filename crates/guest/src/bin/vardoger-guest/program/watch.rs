//! Watches a program: what it writes, and what becomes of its process.

use super::child::{self, Change, Child, Gate, Start};
use super::stream::Stream;
use crate::error::GuestError;
use crate::host::Host;
use computation::job::ExitStatus;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio, read};
use signals::Signals;
use std::fs;

/// Bytes that are read at once: what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// Pieces that are read of one stream before the other has its turn.
const PIECES: usize = 16;
/// Pieces that are read when nobody writes any more: more than any pipe holds.
pub(super) const ALL_PIECES: usize = 1024;
/// SIGKILL as a bit of a set of signals.
const KILL_BIT: u64 = 1 << (libc::SIGKILL - 1);

/// A program at work.
pub(super) struct Watch<'a> {
    host: &'a Host,
    child: Child,
    gate: Option<Gate>,
    ended: Signals,
    buffer: Vec<u8>,
    /// Whether somebody can still write to a stream.
    open: [bool; 2],
}

impl<'a> Watch<'a> {
    /// Starts the process; it stands before its exec.
    pub(super) fn begin(host: &'a Host, start: &Start) -> Result<Self, GuestError> {
        let ended = Signals::of_children().map_err(failed("hear of"))?;
        let (child, gate) = Child::start(start)?;
        for stream in [&child.stdout, &child.stderr] {
            ioctl_fionbio(stream, true).map_err(|error| failed("read from")(error.into()))?;
        }
        Ok(Self {
            host,
            child,
            gate: Some(gate),
            ended,
            buffer: vec![0; READ_BYTES],
            open: [true; 2],
        })
    }

    /// The process.
    pub(super) const fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Pages of memory that it holds, counted in its page tables: the kernel's running count lags
    /// behind. None once it has given them back.
    pub(super) fn resident_pages(&self) -> u64 {
        const KIB_PER_PAGE: u64 = model::PAGE_BYTES as u64 >> 10;
        let pid = self.child.pid;
        let sizes = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = sizes.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / KIB_PER_PAGE
    }

    /// Lets it exec; it stands before its first instruction when this returns.
    pub(super) fn until_started(&mut self) -> Result<(), GuestError> {
        if let Some(gate) = self.gate.take() {
            gate.open();
        }
        loop {
            match self.next_of_child() {
                Some(Change::Exec) => return Ok(()),
                Some(Change::Ending) => self.child.go_on(0)?,
                Some(Change::Gone(_)) => {
                    let unknown = || std::io::Error::other("it ended before its first instruction");
                    let error = self.child.exec_error().unwrap_or_else(unknown);
                    return Err(GuestError::Exec(error));
                }
                Some(change) => self.answer(change)?,
                None => self.wait(false)?,
            }
        }
    }

    /// Lets it run until it is about to end; its memory is there when this returns.
    pub(super) fn until_end(
        &mut self,
        streams: &mut [Stream; 2],
    ) -> Result<ExitStatus, GuestError> {
        self.child.go_on(0)?;
        loop {
            self.wait(true)?;
            self.drain(streams, PIECES)?;
            while let Some(change) = self.next_of_child() {
                match change {
                    Change::Ending if !self.has_live_threads() => {
                        return Ok(ExitStatus::from_wait(self.child.ending_status()?));
                    }
                    // Its main thread ends and others go on: the process ends with the last.
                    Change::Ending => self.child.go_on(0)?,
                    Change::Gone(status) => return Ok(ExitStatus::from_wait(status)),
                    change => self.answer(change)?,
                }
            }
        }
    }

    /// Reads what is waiting in its streams, in at most so many pieces of each.
    pub(super) fn drain(
        &mut self,
        streams: &mut [Stream; 2],
        pieces: usize,
    ) -> Result<(), GuestError> {
        let ends = [&self.child.stdout, &self.child.stderr];
        for ((stream, end), open) in streams.iter_mut().zip(ends).zip(&mut self.open) {
            for _ in 0..pieces {
                match read(end, &mut *self.buffer) {
                    Ok(0) => {
                        *open = false;
                        break;
                    }
                    Err(Errno::AGAIN) => break,
                    Ok(length) => {
                        let bytes = self.buffer.get(..length).unwrap_or_default();
                        stream.take(self.host, bytes)?;
                    }
                    Err(error) => return Err(failed("read from")(error.into())),
                }
            }
        }
        Ok(())
    }

    /// What a process that only stands still needs.
    fn answer(&self, change: Change) -> Result<(), GuestError> {
        match change {
            Change::Exec => self.child.go_on(0),
            Change::Interrupted(signal) => self.child.go_on(signal),
            Change::Paused => self.child.leave_paused(),
            Change::Ending | Change::Gone(_) => Ok(()),
        }
    }

    /// The next change of the program's process; others are only taken note of.
    fn next_of_child(&self) -> Option<Change> {
        loop {
            let (pid, change) = child::next_change()?;
            if pid == self.child.pid {
                return Some(change);
            }
        }
    }

    /// Whether it has threads besides its first that are not being killed.
    fn has_live_threads(&self) -> bool {
        let pid = self.child.pid;
        let entries = fs::read_dir(format!("/proc/{pid}/task"));
        let threads = entries.into_iter().flatten().flatten();
        threads
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .any(|thread| thread != pid && lives(pid, thread))
    }

    /// Waits until a process of ours has changed, or a stream can be read.
    fn wait(&self, for_streams: bool) -> Result<(), GuestError> {
        let ends = [&self.child.stdout, &self.child.stderr];
        let mut waited: Vec<PollFd<'_>> = ends
            .into_iter()
            .zip(self.open)
            .filter(|(_, open)| for_streams && *open)
            .map(|(end, _)| PollFd::new(end, PollFlags::IN))
            .chain([PollFd::new(self.ended.descriptor(), PollFlags::IN)])
            .collect();
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed("wait for")(error.into())),
        }
        self.ended.clear();
        Ok(())
    }
}

/// Whether a thread goes on: it has not ended, and no kill waits for it.
fn lives(pid: i32, thread: i32) -> bool {
    let path = format!("/proc/{pid}/task/{thread}/status");
    let status = fs::read_to_string(path).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()
    };
    let pending = field("SigPnd:").and_then(|set| u64::from_str_radix(set, 16).ok());
    let is_killed = pending.is_some_and(|set| set & KILL_BIT != 0);
    !is_killed && !matches!(field("State:"), Some("Z" | "X") | None)
}

fn failed(attempt: &'static str) -> impl FnOnce(std::io::Error) -> GuestError {
    move |source| GuestError::Process { attempt, source }
}

/// Signals that tell of children, as something to poll.
mod signals {
    #![expect(
        unsafe_code,
        reason = "signalfd and the mask it needs have no safe form"
    )]

    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::ptr;

    /// SIGCHLD, held back and queued at a descriptor.
    pub(super) struct Signals(OwnedFd);

    impl Signals {
        pub(super) fn of_children() -> io::Result<Self> {
            let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            // SAFETY: the set is made before it is read, and outlives the calls.
            let descriptor = unsafe {
                libc::sigemptyset(set.as_mut_ptr());
                libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
                libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
                libc::signalfd(-1, set.as_ptr(), flags)
            };
            match descriptor {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: the descriptor was just made, and nobody else has it.
                descriptor => Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) })),
            }
        }

        pub(super) const fn descriptor(&self) -> &OwnedFd {
            &self.0
        }

        /// Takes the signal that is queued, if any: standard signals are queued once.
        pub(super) fn clear(&self) {
            let mut information = [0; size_of::<libc::signalfd_siginfo>()];
            rustix::io::read(&self.0, &mut information).ok();
        }
    }
}
