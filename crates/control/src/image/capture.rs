//! A disk that is at rest, into its history.

use super::asker::{Hear, WorkerProgram};
use super::chain::Chain;
use super::error::ImageError;
use super::order::Order;
use image::blobs::Blobs;
use image::changeset::{self, Changeset};
use image::history::History;
use image::pack::PackId;
use image::writer::Written;
use model::Timestamp;

/// What a capture gave.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The changeset.
    pub written: Written,
    /// Bytes that were added to the store: packs and the changeset.
    pub stored_bytes: u64,
    /// Bytes of the disk that were read; nothing where that is not counted.
    pub read_bytes: Option<u64>,
    /// What to know besides.
    pub notes: Vec<String>,
}

/// Captures a disk at rest: whole where the history is empty, else what is not as it was. `progress`
/// hears how many bytes of how many were read.
///
/// # Errors
/// Somebody writes to the disk, it cannot be read, or what was captured cannot be kept.
pub fn capture(
    worker: &WorkerProgram,
    chain: &Chain,
    blobs: &dyn Blobs,
    taken: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Captured, ImageError> {
    chain.nobody_writes()?;
    let history = History::open(blobs)?;
    let mut keeper = Keeper {
        chain,
        blobs,
        history,
        taken,
        stored_bytes: 0,
        written: None,
        progress,
    };
    let order = Order::Capture {
        disk: chain.disk.clone(),
        taken,
        source: chain.source(),
    };
    // The disk is read once, and what is known of it is read from the history.
    let size_bytes = chain.disk_bytes.saturating_mul(2);
    worker.carry_out(&order, &chain.files, size_bytes, Some(blobs), &mut keeper)?;
    let stored_bytes = keeper.stored_bytes;
    let written = keeper
        .written
        .ok_or_else(|| ImageError::Worker("it ended without a changeset".to_owned()))?;
    Ok(Captured {
        written,
        stored_bytes,
        read_bytes: None,
        notes: Vec::new(),
    })
}

/// Keeps what a worker writes, if it is what it was to write.
struct Keeper<'a> {
    chain: &'a Chain,
    blobs: &'a dyn Blobs,
    history: History,
    taken: Timestamp,
    stored_bytes: u64,
    written: Option<Written>,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Hear for Keeper<'_> {
    fn item(&mut self, _json: &[u8]) -> Result<(), ImageError> {
        Err(ImageError::Worker(
            "it tells what nobody asked for".to_owned(),
        ))
    }

    fn progress(&mut self, done: u64, all: u64) {
        (self.progress)(done, all);
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        if self.written.is_some() {
            return Err(ImageError::Worker(
                "it goes on after the changeset".to_owned(),
            ));
        }
        if PackId::of_blob(name).is_some() {
            self.blobs.put(name, bytes)?;
            self.stored_bytes += bytes.len() as u64;
            return Ok(());
        }
        let written = self.next(name, bytes)?;
        // From the next line on the changeset is there. What was read must be what the disk was.
        self.chain.is_unchanged()?;
        self.blobs.put(name, bytes)?;
        self.stored_bytes += bytes.len() as u64;
        self.written = Some(written);
        Ok(())
    }
}

impl Keeper<'_> {
    /// The changeset that bytes are, if it is the next of this history and of this capture.
    fn next(&mut self, name: &str, bytes: &[u8]) -> Result<Written, ImageError> {
        let wrong = |what: &str| ImageError::Worker(format!("it wants to put {name}: {what}"));
        let (id, changeset) =
            changeset::decode(bytes).map_err(|error| wrong(&error.to_string()))?;
        if changeset::of_blob(name) != Some((changeset.sequence, id)) {
            return Err(wrong("the name is of another"));
        }
        if !self.is_ordered(&changeset) {
            return Err(wrong("it was captured from elsewhere, or at another time"));
        }
        let written = Written { id, changeset };
        self.history.add(written.clone()).map_err(wrong)?;
        Ok(written)
    }

    fn is_ordered(&self, changeset: &Changeset) -> bool {
        changeset.taken == self.taken
            && changeset.disk_bytes == self.chain.disk_bytes
            && changeset.source == self.chain.source()
    }
}
