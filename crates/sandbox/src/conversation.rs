//! A worker that is spoken with: for work whose input or result is larger than what one wants to
//! hold at once, and for what the worker may have only through us.
//!
//! ```text
//!  worker ── message on standard output ──► converse ──► hear
//!  worker ◄── reply on standard input ────────┘◄───────── Some(reply)
//! ```
//!
//! A message is its length, as a little-endian 32-bit number, and that many bytes. The worker
//! speaks, we reply; we never speak first. So neither waits for the other in a circle.

use crate::Limits;
use crate::error::SandboxError;
use crate::process::Worker;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

/// Bytes that tell a message's length.
const LENGTH_BYTES: usize = 4;

/// Starts a worker on some files and hears it to its end. Of the limits, `answer_bytes` is the
/// length of one message, and `wall` the longest that the worker may be silent; what all messages
/// come to has no limit but what `hear` makes of them.
///
/// The calling thread is blocked until the worker has ended, and must not end before: the worker
/// would end with it.
///
/// # Errors
/// The worker cannot be started, reaches a limit, or ends without success; or `hear` fails, which
/// ends the worker.
pub fn converse<E: From<SandboxError>>(
    program: &Path,
    arguments: &[&str],
    files: &[File],
    limits: &Limits,
    mut hear: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), E> {
    let mut worker = Worker::start(program, arguments, files, limits)?;
    let mut said = Vec::new();
    loop {
        let deadline = Instant::now() + limits.wall;
        let Some(piece) = worker.hear(deadline)? else {
            break;
        };
        said.extend_from_slice(piece);
        let mut taken = 0;
        while let Some(message) = next_message(said.get(taken..).unwrap_or_default(), limits)? {
            taken += LENGTH_BYTES + message.len();
            if let Some(reply) = hear(message)? {
                worker.say(&framed(&[&reply])?)?;
            }
        }
        said.drain(..taken);
    }
    // What is left is a message that broke off; the worker's end says why.
    worker.end()?;
    if said.is_empty() {
        Ok(())
    } else {
        Err(SandboxError::BrokenOff.into())
    }
}

/// The first message of what was said; nothing where it is not whole yet.
fn next_message<'a>(said: &'a [u8], limits: &Limits) -> Result<Option<&'a [u8]>, SandboxError> {
    let Some((length, rest)) = said.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > limits.answer_bytes {
        return Err(SandboxError::AnswerTooLong {
            limit: limits.answer_bytes,
        });
    }
    Ok(rest.get(..length))
}

/// A message out of its parts.
fn framed(parts: &[&[u8]]) -> Result<Vec<u8>, SandboxError> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let told = u32::try_from(length).map_err(|_| SandboxError::AnswerTooLong {
        limit: u32::MAX as usize,
    })?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + length);
    bytes.extend_from_slice(&told.to_le_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// The worker's side, once it has [entered](crate::enter).
#[derive(Debug, Default)]
pub struct Conversation(());

impl Conversation {
    /// Takes standard input and output for it: nothing else may use them.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// Says something that has no reply. The message is its parts, one after the other.
    ///
    /// # Errors
    /// It is too long for a message, or nobody listens any more.
    pub fn tell(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let message = framed(parts).map_err(io::Error::other)?;
        Output.write_all(&message)
    }

    /// Says something and waits for the reply.
    ///
    /// # Errors
    /// As of [`tell`](Self::tell), or there is no reply.
    pub fn ask(&mut self, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        self.tell(parts)?;
        let mut length = [0; LENGTH_BYTES];
        let mut input = io::stdin().lock();
        input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        let mut reply = Vec::new();
        let count = input.by_ref().take(length.into()).read_to_end(&mut reply)?;
        if count as u64 == u64::from(length) {
            Ok(reply)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// Standard output as it is: the standard library's would look for lines.
struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits {
        memory_bytes: 0,
        cpu_s: 0,
        wall: Duration::ZERO,
        answer_bytes: 8,
    };

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let bytes = framed(&[b"ab", b"", b"cde"]).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(next_message(&bytes[..end], &LIMITS).unwrap(), None);
        }
        assert_eq!(next_message(&bytes, &LIMITS).unwrap(), Some(&b"abcde"[..]));
        let two = [&bytes[..], &bytes[..]].concat();
        assert_eq!(next_message(&two, &LIMITS).unwrap(), Some(&b"abcde"[..]));
    }

    #[test]
    fn a_message_that_would_be_too_long_is_not_waited_for() {
        let announced = 9_u32.to_le_bytes();
        assert!(matches!(
            next_message(&announced, &LIMITS),
            Err(SandboxError::AnswerTooLong { limit: 8 })
        ));
        assert!(next_message(&u32::MAX.to_le_bytes(), &LIMITS).is_err());
    }
}
