//! The worker as a process: started, ordered, listened to, judged by its end.

use crate::error::SandboxError;
use crate::{Limits, MAX_FILES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use rustix::process::Signal;
use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

/// What is read of a worker's words at a time: what a pipe holds.
const PIECE_BYTES: usize = 64 << 10;

/// A worker at work. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    program: PathBuf,
    limits: Limits,
    child: Child,
    /// Its standard input.
    ours: OwnedFd,
    /// Its standard output, until that ends.
    stdout: Option<ChildStdout>,
    piece: Vec<u8>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Worker {
    /// Starts one and hands it its files.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        files: &[File],
        limits: &Limits,
    ) -> Result<Self, SandboxError> {
        if files.len() > MAX_FILES {
            return Err(SandboxError::TooManyFiles {
                files: files.len(),
                limit: MAX_FILES,
            });
        }
        let failed = |doing| failed(program, doing);
        let (ours, theirs) = pair().map_err(|error| failed("start")(error.into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("start"))?;
        let stdout = child.stdout.take();
        let worker = Self {
            program: program.to_path_buf(),
            limits: *limits,
            child,
            ours,
            stdout,
            piece: vec![0; PIECE_BYTES],
        };
        // A worker that is gone already says why by the way it ended.
        match order(&worker.ours, files, limits) {
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(worker),
            Err(error) => Err(failed("order")(error.into())),
        }
    }

    /// The next words of the worker, as many as are there; nothing when it has said all.
    pub(crate) fn hear(&mut self, deadline: Instant) -> Result<Option<&[u8]>, SandboxError> {
        let failed = |error| failed(&self.program, "listen to")(error);
        let Some(stdout) = &mut self.stdout else {
            return Ok(None);
        };
        let count = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait =
                Timespec::try_from(left).map_err(|error| failed(std::io::Error::other(error)))?;
            let mut ready = [PollFd::new(&*stdout, PollFlags::IN)];
            match poll(&mut ready, Some(&wait)) {
                Ok(0) => {
                    return Err(SandboxError::Deadline {
                        after: self.limits.wall,
                    });
                }
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            match stdout.read(&mut self.piece) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.map_err(failed)?,
            }
        };
        if count == 0 {
            self.stdout = None;
            return Ok(None);
        }
        Ok(self.piece.get(..count))
    }

    /// Says something to the worker, which reads it from its standard input. One that has ended
    /// hears nothing; [`end`](Self::end) says why.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), SandboxError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(&self.ours, rest, SendFlags::NOSIGNAL) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(error) => return Err(failed(&self.program, "answer")(error.into())),
            }
        }
        Ok(())
    }

    /// Waits for it to end, and says whether it ended well.
    pub(crate) fn end(mut self) -> Result<(), SandboxError> {
        let status = self.child.wait();
        judge(
            status.map_err(failed(&self.program, "wait for"))?,
            &self.limits,
        )
    }
}

fn failed(program: &Path, doing: &'static str) -> impl Fn(std::io::Error) -> SandboxError {
    move |source| SandboxError::Worker {
        doing,
        program: program.to_path_buf(),
        source,
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

fn order(socket: &OwnedFd, files: &[File], limits: &Limits) -> Result<(), Errno> {
    let order = [limits.memory_bytes, limits.cpu_s].map(u64::to_le_bytes);
    let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !passed.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let bytes = IoSlice::new(order.as_flattened());
    sendmsg(socket, &[bytes], &mut passed, SendFlags::NOSIGNAL).map(drop)
}

fn judge(status: ExitStatus, limits: &Limits) -> Result<(), SandboxError> {
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        _ if status.success() => Ok(()),
        Some(Signal::XCPU | Signal::KILL) => Err(SandboxError::Cpu {
            limit_s: limits.cpu_s,
        }),
        Some(Signal::SYS) => Err(SandboxError::Forbidden),
        Some(Signal::ABORT) => Err(SandboxError::Memory {
            limit_bytes: limits.memory_bytes,
        }),
        _ => Err(SandboxError::Ended { status }),
    }
}
