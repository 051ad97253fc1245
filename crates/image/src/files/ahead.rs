//! A disk that is read ahead of whom it is read for, on another thread.
//!
//! ```text
//!            room, given back
//!        ┌───────────────────────────┐
//!        ▼                           │
//!  reading: what comes next ──────► whom it is read for
//!            pieces, in order
//! ```
//!
//! There is room for a few pieces, and no more is ever read ahead. Who does not want the rest drops
//! what it has, and the reading ends by itself.

use crate::BLOCK_BYTES;
use crate::files::length;
use disk::{AlignedBuffer, Content, ReadAt as _, ReadError, Source};
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How much is read at once, and the places at which pieces with bytes begin: multiples of it.
pub(super) const PIECE_BYTES: u64 = 1 << 20;

/// How many pieces there is room for: one is looked at, one waits, one is read.
const PIECES: usize = 3;

/// Something to be done on another thread.
pub type Job = Box<dyn FnOnce() + Send>;

/// Does each job on a thread of its own, at once. Where that cannot be, the job is dropped: whoever
/// waits for it is told.
pub type Aside<'a> = &'a dyn Fn(Job);

/// Does a job on a new thread.
pub fn on_a_thread(job: Job) {
    // A job that is dropped is noticed by who waits for it.
    drop(std::thread::Builder::new().spawn(job));
}

/// Does one thing on another thread, and a second one meanwhile.
///
/// # Errors
/// The first was not done.
pub(super) fn both<T: Send + 'static, U>(
    aside: Aside<'_>,
    one: impl FnOnce() -> T + Send + 'static,
    other: impl FnOnce() -> U,
) -> Result<(T, U), ReadError> {
    let (done, first) = channel();
    aside(Box::new(move || {
        // Who has gone does not want it.
        done.send(one()).ok();
    }));
    let second = other();
    let first = first.recv().map_err(|_| ended(0))?;
    Ok((first, second))
}

fn ended(offset: u64) -> ReadError {
    ReadError::Io {
        offset,
        source: io::Error::other("the thread that reads has ended"),
    }
}

/// What comes next of a disk.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it ends. It begins where the one before it ended.
    pub(super) end: u64,
    /// What it holds; nothing where that is zeros.
    pub(super) room: Option<AlignedBuffer>,
}

/// The pieces of a disk, from its beginning on.
#[derive(Debug)]
pub(super) struct Ahead {
    pieces: Receiver<Result<Piece, ReadError>>,
    room: Sender<AlignedBuffer>,
    at: u64,
}

impl Ahead {
    /// Begins to read a disk up to a byte.
    pub(super) fn read(source: Source, end: u64, aside: Aside<'_>) -> Self {
        // There is never more on the way than there is room for, but for zeros.
        let (send, pieces) = sync_channel(PIECES);
        let (room, free) = channel();
        for _ in 0..PIECES {
            let buffer = AlignedBuffer::new(length(PIECE_BYTES));
            room.send(buffer).ok();
        }
        let mut reading = Reading {
            source,
            is_zero: false,
            known: 0,
        };
        aside(Box::new(move || {
            let failed = reading.all(end, &free, &send).err();
            if let Some(error) = failed {
                send.send(Err(error)).ok();
            }
        }));
        let at = 0;
        Self { pieces, room, at }
    }

    /// The next piece.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn next(&mut self) -> Result<Piece, ReadError> {
        let piece = self.pieces.recv().map_err(|_| ended(self.at))??;
        self.at = piece.end;
        Ok(piece)
    }

    /// Takes the room of a piece back.
    pub(super) fn give_back(&self, room: AlignedBuffer) {
        // A reading that has come to its end needs none.
        self.room.send(room).ok();
    }
}

/// A disk while it is read.
#[derive(Debug)]
struct Reading {
    source: Source,
    /// Whether what comes next is zeros that need not be read.
    is_zero: bool,
    /// How far that holds.
    known: u64,
}

impl Reading {
    fn all(
        &mut self,
        end: u64,
        free: &Receiver<AlignedBuffer>,
        ready: &SyncSender<Result<Piece, ReadError>>,
    ) -> Result<(), ReadError> {
        let mut at = 0;
        while at < end {
            self.look(at)?;
            let next = at.saturating_add(PIECE_BYTES).min(end);
            let piece = if self.is_zero && self.known >= next {
                let whole = self.known & !PIECE_BYTES.wrapping_sub(1);
                let end = if self.known >= end { end } else { whole };
                Piece { end, room: None }
            } else {
                let Ok(mut room) = free.recv() else {
                    return Ok(());
                };
                self.fill(at..next, &mut room)?;
                Piece {
                    end: next,
                    room: Some(room),
                }
            };
            at = piece.end;
            if ready.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Finds out how it goes on at a place.
    fn look(&mut self, at: u64) -> Result<(), ReadError> {
        if at >= self.known {
            let stretch = self.source.stretch_at(at)?;
            self.is_zero = stretch.content == Content::Zero;
            self.known = at.saturating_add(stretch.bytes.max(1));
        }
        Ok(())
    }

    /// Reads what is no zeros. A block in which zeros begin or end is read as a whole.
    fn fill(&mut self, part: Range<u64>, room: &mut AlignedBuffer) -> Result<(), ReadError> {
        let mut rest = room.first(length(part.end.saturating_sub(part.start)));
        // Always at the start of a block.
        let mut at = part.start;
        while at < part.end {
            self.look(at)?;
            let block_end = at.saturating_add(BLOCK_BYTES);
            let zeros = self.known & !BLOCK_BYTES.wrapping_sub(1);
            let is_zero = self.is_zero && (self.known >= part.end || zeros > at);
            let end = match (is_zero, self.is_zero) {
                (true, _) if self.known >= part.end => part.end,
                (true, _) => zeros,
                (false, true) => block_end,
                (false, false) => {
                    let whole = self.known.checked_next_multiple_of(BLOCK_BYTES);
                    whole.unwrap_or(u64::MAX)
                }
            };
            let end = end.min(part.end);
            let (now, later) = rest.split_at_mut(length(end.saturating_sub(at)).min(rest.len()));
            match is_zero {
                true => now.fill(0),
                false => self.source.read_exact_at(at, now)?,
            }
            (at, rest) = (end, later);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::ReadAt;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Broken;

    impl ReadAt for Broken {
        fn size_bytes(&self) -> u64 {
            8 << 20
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            if offset >= 0x0040_0000 {
                return Err(ReadError::Absent { offset });
            }
            buffer.fill(1);
            Ok(())
        }
    }

    #[test]
    fn an_error_comes_in_its_place() {
        let mut ahead = Ahead::read(Arc::new(Broken), 8 << 20, &on_a_thread);
        for piece in 1..=4 {
            let next = ahead.next().unwrap();
            assert_eq!(next.end, piece << 20);
            ahead.give_back(next.room.unwrap());
        }
        let failed = ahead.next();
        assert!(
            matches!(
                failed,
                Err(ReadError::Absent {
                    offset: 0x0040_0000
                })
            ),
            "{failed:?}"
        );
    }

    #[test]
    fn a_reading_that_nobody_does_is_an_error() {
        let mut ahead = Ahead::read(Arc::new(Broken), 8 << 20, &drop);
        assert!(ahead.next().is_err());
        assert!(both(&drop, || 1, || 2).is_err());
        assert_eq!(both(&on_a_thread, || 1, || 2).unwrap(), (1, 2));
    }

    #[test]
    fn who_does_not_want_the_rest_ends_the_reading() {
        let (done, ended) = channel();
        let aside = |job: Job| {
            let done = done.clone();
            on_a_thread(Box::new(move || {
                job();
                done.send(()).unwrap();
            }));
        };
        drop(Ahead::read(Arc::new(Broken), 4 << 20, &aside));
        ended.recv().unwrap();
    }
}
