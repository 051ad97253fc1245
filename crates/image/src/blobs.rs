//! Where packs and changesets are put.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Why a blob could not be put, read or removed.
#[derive(Debug, Error)]
pub enum BlobError {
    /// There is none of this name.
    #[error("there is no {0}")]
    Missing(String),
    /// It is shorter than what was asked for.
    #[error("{name} ends before byte {end}")]
    Short {
        /// Its name.
        name: String,
        /// The byte behind what was asked for.
        end: u64,
    },
    /// What lies behind failed.
    #[error("could not {doing} {name}: {source}")]
    Failed {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// Its name.
        name: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is read at a time for a digest.
const DIGEST_PIECE_BYTES: u64 = 1 << 20;

/// Blobs by name, such as `packs/…`. Names are relative paths of printable ASCII.
pub trait Blobs: Send + Sync {
    /// Puts a blob, whole and durably: when this returns it survives a loss of power, and at no time
    /// before is a part of it seen under its name. One of the same name is replaced.
    ///
    /// # Errors
    /// It could not be made durable; it may or may not be there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError>;

    /// The length of a blob.
    ///
    /// # Errors
    /// It is not there, or cannot be looked at.
    fn length(&self, name: &str) -> Result<u64, BlobError>;

    /// A part of a blob.
    ///
    /// # Errors
    /// It is not there, is shorter, or cannot be read.
    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError>;

    /// The BLAKE3 digest of a blob's first bytes.
    ///
    /// # Errors
    /// It is not there, is shorter, or cannot be read.
    fn digest(&self, name: &str, bytes: u64) -> Result<[u8; 32], BlobError> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0_u64;
        while at < bytes {
            let next = at.saturating_add(DIGEST_PIECE_BYTES).min(bytes);
            hasher.update(&self.read(name, at..next)?);
            at = next;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// The names that begin so, in order.
    ///
    /// # Errors
    /// They cannot be listed.
    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError>;

    /// Removes a blob; none of this name is no error.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, name: &str) -> Result<(), BlobError>;
}

impl<B: Blobs + ?Sized> Blobs for Arc<B> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        (**self).put(name, bytes)
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        (**self).length(name)
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        (**self).read(name, part)
    }

    fn digest(&self, name: &str, bytes: u64) -> Result<[u8; 32], BlobError> {
        (**self).digest(name, bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        (**self).list(prefix)
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        (**self).remove(name)
    }
}

/// Blobs in memory, for tests and for trying things out.
#[derive(Debug, Default)]
pub struct MemoryBlobs(Mutex<BTreeMap<String, Vec<u8>>>);

impl MemoryBlobs {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many bytes all of them have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.with(|blobs| blobs.values().map(|blob| blob.len() as u64).sum())
    }
}

impl Blobs for MemoryBlobs {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        self.with(|blobs| blobs.insert(name.to_owned(), bytes.to_vec()));
        Ok(())
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        let length = self.with(|blobs| blobs.get(name).map(|blob| blob.len() as u64));
        length.ok_or_else(|| BlobError::Missing(name.to_owned()))
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        self.with(|blobs| {
            let missing = || BlobError::Missing(name.to_owned());
            let blob = blobs.get(name).ok_or_else(missing)?;
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = blob.get(place(part.start)..place(part.end));
            bytes.map(<[u8]>::to_vec).ok_or_else(|| BlobError::Short {
                name: name.to_owned(),
                end: part.end,
            })
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        Ok(self.with(|blobs| {
            let names = blobs.keys().filter(|name| name.starts_with(prefix));
            names.cloned().collect()
        }))
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        self.with(|blobs| blobs.remove(name));
        Ok(())
    }
}
