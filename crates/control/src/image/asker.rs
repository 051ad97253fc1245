//! Our side: a worker is started on open files, ordered, and served with blobs.

use super::error::ImageError;
use super::order::Order;
use super::wire::{self, MAX_MESSAGE_BYTES, Reply, Word};
use image::blobs::{BlobError, Blobs};
use sandbox::Limits;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// Memory of a worker: its program, packs and frames that it holds, and the trees of two versions
/// with some hundred thousand files each.
const MEMORY_BYTES: u64 = 2 << 30;

/// CPU time of a worker, besides what the disk's size takes.
const CPU_S: u64 = 60;

/// What a second of CPU time is enough for: a tenth of what compressing does.
const BYTES_PER_CPU_S: u64 = 16 << 20;

/// The longest that a worker may be silent: a disk that hangs is waited for, but not for ever.
const SILENCE: Duration = Duration::from_secs(300);

/// How workers are started: a program and its arguments, with which it calls
/// [`serve`](super::serve).
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: &'static [&'static str],
}

/// What hears of a worker's words.
pub(super) trait Hear {
    /// A part of the result.
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError>;

    /// Bytes of the result, from a place on.
    fn bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let _ = (at, bytes);
        Err(ImageError::Worker(
            "it tells bytes that nobody asked for".to_owned(),
        ))
    }

    /// How far it is.
    fn progress(&mut self, _done: u64, _all: u64) {}

    /// A blob is to be put.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let _ = bytes;
        Err(ImageError::Worker(format!("it wants to put {name}")))
    }
}

/// Parts of the result, of one type, in a list.
pub(super) struct Items<T>(pub(super) Vec<T>);

impl<T: DeserializeOwned> Hear for Items<T> {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        self.0.push(understand(json)?);
        Ok(())
    }
}

/// What an item says.
pub(super) fn understand<T: DeserializeOwned>(json: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(json)
        .map_err(|error| ImageError::Worker(format!("it tells what cannot be understood: {error}")))
}

impl WorkerProgram {
    /// Has an order carried out. `size_bytes` is how much there is to read, for the limits.
    pub(super) fn carry_out(
        &self,
        order: &Order,
        files: &[File],
        size_bytes: u64,
        blobs: Option<&dyn Blobs>,
        hear: &mut dyn Hear,
    ) -> Result<(), ImageError> {
        let limits = Limits {
            memory_bytes: MEMORY_BYTES,
            cpu_s: CPU_S + size_bytes / BYTES_PER_CPU_S,
            wall: SILENCE,
            answer_bytes: MAX_MESSAGE_BYTES,
        };
        sandbox::converse(&self.program, self.arguments, files, &limits, |message| {
            answer(message, order, blobs, hear)
        })
    }
}

fn answer(
    message: &[u8],
    order: &Order,
    blobs: Option<&dyn Blobs>,
    hear: &mut dyn Hear,
) -> Result<Option<Vec<u8>>, ImageError> {
    let unknown = || ImageError::Worker("it says what is no word".to_owned());
    let (word, bytes) = wire::read::<Word>(message).ok_or_else(unknown)?;
    let reply = match word {
        Word::Order => return with_bytes(order).map(Some),
        Word::Item => return hear.item(bytes).map(|()| None),
        Word::Bytes { at } => return hear.bytes(at, bytes).map(|()| None),
        Word::Progress { done, all } => {
            hear.progress(done, all);
            return Ok(None);
        }
        Word::Failed { why } => return Err(ImageError::Unreadable(why)),
        Word::Nothing { why } => return Err(ImageError::Nothing(why)),
        Word::Put { name } => {
            hear.put(&name, bytes)?;
            Reply::Done
        }
        Word::Length { name } => reply(blobs, |blobs| blobs.length(&name).map(Reply::Length)),
        Word::List { prefix } => reply(blobs, |blobs| blobs.list(&prefix).map(Reply::Names)),
        Word::Read { name, start, end } => {
            if end.saturating_sub(start) > MAX_MESSAGE_BYTES as u64 / 2 {
                return Err(ImageError::Worker("it wants to read too much".to_owned()));
            }
            let Some(blobs) = blobs else {
                return Ok(Some(wire::line(&Reply::Missing)));
            };
            match blobs.read(&name, start..end) {
                Ok(bytes) => {
                    let mut reply = wire::line(&Reply::Done);
                    reply.extend_from_slice(&bytes);
                    return Ok(Some(reply));
                }
                Err(error) => refused(error),
            }
        }
    };
    Ok(Some(wire::line(&reply)))
}

fn with_bytes<T: Serialize>(order: &T) -> Result<Vec<u8>, ImageError> {
    let bytes = serde_json::to_vec(order).map_err(|error| ImageError::Worker(error.to_string()))?;
    let mut reply = wire::line(&Reply::Done);
    reply.extend_from_slice(&bytes);
    Ok(reply)
}

fn reply(
    blobs: Option<&dyn Blobs>,
    ask: impl FnOnce(&dyn Blobs) -> Result<Reply, BlobError>,
) -> Reply {
    blobs.map_or(Reply::Missing, |blobs| ask(blobs).unwrap_or_else(refused))
}

fn refused(error: BlobError) -> Reply {
    match error {
        BlobError::Missing(_) => Reply::Missing,
        BlobError::Short { end, .. } => Reply::Short { end },
        BlobError::Failed { source, .. } => Reply::Failed(source.to_string()),
    }
}
