//! A block of a run: entries in order, each with what its key has not in common with the last one's.
//!
//! ```text
//! for each entry, numbers as LEB128:
//!   bytes of the key shared with the one before · rest's bytes · rest · sequence · payload's bytes · payload
//! ```

use crate::codec::{Taker, put_number};

/// A block that is being written.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    bytes: Vec<u8>,
    last_key: Vec<u8>,
    first_key: Vec<u8>,
    sequences: Option<(u64, u64)>,
}

/// How many bytes two keys begin with that are the same.
pub(super) fn shared(one: &[u8], other: &[u8]) -> usize {
    let words = one.chunks_exact(8).zip(other.chunks_exact(8));
    let words = words.take_while(|(one, other)| one == other).count();
    let same = words.saturating_mul(8);
    let rest = |key: &'_ [u8]| key.len().saturating_sub(same);
    let count = rest(one).min(rest(other)).min(8);
    let both = one.iter().zip(other).skip(same).take(count);
    same.saturating_add(both.take_while(|(one, other)| one == other).count())
}

/// A block that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) first_key: Vec<u8>,
    /// The least and the greatest sequence in it.
    pub(super) sequences: (u64, u64),
}

impl BlockWriter {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, key: &[u8], sequence: u64, payload: &[u8]) {
        let shared = shared(&self.last_key, key);
        let rest = key.get(shared..).unwrap_or_default();
        put_number(&mut self.bytes, shared as u64);
        put_number(&mut self.bytes, rest.len() as u64);
        self.bytes.extend_from_slice(rest);
        put_number(&mut self.bytes, sequence);
        put_number(&mut self.bytes, payload.len() as u64);
        self.bytes.extend_from_slice(payload);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(rest);
        self.sequences = match self.sequences {
            None => {
                self.first_key.extend_from_slice(key);
                Some((sequence, sequence))
            }
            Some((least, greatest)) => Some((least.min(sequence), greatest.max(sequence))),
        };
    }

    /// What was written; nothing if nothing was.
    pub(super) fn take(&mut self) -> Option<Written> {
        let sequences = self.sequences.take()?;
        self.last_key.clear();
        Some(Written {
            bytes: std::mem::take(&mut self.bytes),
            first_key: std::mem::take(&mut self.first_key),
            sequences,
        })
    }
}

/// A block that is being read.
#[derive(Debug, Default)]
pub(super) struct BlockReader {
    bytes: Vec<u8>,
    at: usize,
    key: Vec<u8>,
    sequence: u64,
    payload: std::ops::Range<usize>,
}

impl BlockReader {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    /// The entry that was stepped to.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(self.payload.clone()).unwrap_or_default()
    }

    /// Steps to the next entry. Says whether there is one; nothing if it is damaged.
    pub(super) fn step(&mut self) -> Option<bool> {
        let left = self.bytes.get(self.at..)?;
        if left.is_empty() {
            return Some(false);
        }
        let mut taker = Taker::new(left);
        let shared = usize::try_from(taker.number()?).ok()?;
        let rest = usize::try_from(taker.number()?).ok()?;
        let rest = taker.bytes(rest)?;
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        self.sequence = taker.number()?;
        let count = usize::try_from(taker.number()?).ok()?;
        taker.bytes(count)?;
        let end = self.bytes.len().checked_sub(taker.left())?;
        self.payload = end.checked_sub(count)?..end;
        self.at = end;
        Some(true)
    }
}
