//! A worker that is asked one thing and gives one answer.

use crate::Limits;
use crate::error::SandboxError;
use crate::process::Worker;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

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
    let mut worker = Worker::start(program, arguments, files, limits)?;
    let deadline = Instant::now() + limits.wall;
    let mut answer = Vec::new();
    while let Some(piece) = worker.hear(deadline)? {
        if answer.len() + piece.len() > limits.answer_bytes {
            return Err(SandboxError::AnswerTooLong {
                limit: limits.answer_bytes,
            });
        }
        answer.extend_from_slice(piece);
    }
    worker.end().map(|()| answer)
}
