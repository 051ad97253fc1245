//! Blobs that count what is put.

use image::blobs::{BlobError, Blobs};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blobs that count what is put.
pub(super) struct Counting<B> {
    blobs: B,
    put: AtomicU64,
}

impl<B> Counting<B> {
    pub(super) fn new(blobs: B) -> Self {
        Self {
            blobs,
            put: AtomicU64::new(0),
        }
    }

    pub(super) fn put_bytes(&self) -> u64 {
        self.put.load(Ordering::Relaxed)
    }
}

impl<B: Blobs> Blobs for Counting<B> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let length = bytes.len() as u64;
        self.put.fetch_add(length, Ordering::Relaxed);
        self.blobs.put(name, bytes)
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        self.blobs.length(name)
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        self.blobs.read(name, part)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        self.blobs.list(prefix)
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        self.blobs.remove(name)
    }
}
