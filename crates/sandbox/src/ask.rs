//! The asking side: start a worker, hand the files over, and listen, but not for ever.

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
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

/// What is read of an answer at a time: what a pipe holds.
const PIECE_BYTES: usize = 64 << 10;

/// Starts a worker on some files and gives its answer: what it wrote to its standard output.
///
/// The calling thread is blocked until the worker has ended, and must not end before: the worker
/// would end with it.
///
/// # Errors
/// The worker cannot be started, reaches a limit, or ends without success.
pub fn ask(
    program: &Path,
    arguments: &[&str],
    files: &[File],
    limits: &Limits,
) -> Result<Vec<u8>, SandboxError> {
    if files.len() > MAX_FILES {
        return Err(SandboxError::TooManyFiles {
            files: files.len(),
            limit: MAX_FILES,
        });
    }
    let failed = |doing| {
        move |source: std::io::Error| SandboxError::Worker {
            doing,
            program: program.to_path_buf(),
            source,
        }
    };
    let (ours, theirs) = pair().map_err(|error| failed("start")(error.into()))?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(theirs)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("start"))?;
    let mut worker = Worker(child);
    // A worker that is gone already says why by the way it ended.
    match order(&ours, files, limits) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => {}
        Err(error) => return Err(failed("order")(error.into())),
    }
    let answer = match worker.0.stdout.take() {
        Some(stdout) => listen(stdout, limits, &failed)?,
        None => Vec::new(),
    };
    let status = worker.0.wait().map_err(failed("wait for"))?;
    judge(status, limits).map(|()| answer)
}

/// A worker that ends when we stop caring.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for.
        drop(self.0.kill());
        drop(self.0.wait());
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

/// Reads to the end of the answer, within its limits.
fn listen<F: Fn(std::io::Error) -> SandboxError>(
    mut stdout: ChildStdout,
    limits: &Limits,
    failed: &impl Fn(&'static str) -> F,
) -> Result<Vec<u8>, SandboxError> {
    let deadline = Instant::now() + limits.wall;
    let mut answer = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(left)
            .map_err(|error| failed("listen to")(std::io::Error::other(error)))?;
        let mut ready = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) => return Err(SandboxError::Deadline { after: limits.wall }),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed("listen to")(error.into())),
        }
        let count = match stdout.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("listen to")(error)),
        };
        if answer.len() + count > limits.answer_bytes {
            return Err(SandboxError::AnswerTooLong {
                limit: limits.answer_bytes,
            });
        }
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
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
