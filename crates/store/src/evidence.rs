//! The evidence: blobs are put before the event that names them, and checked when they are read.

use crate::blobs::Staged;
use crate::error::StoreError;
use crate::key::BlobKey;
use crate::ledger::{self, BlobInfo};
use crate::store::Store;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Largest blob that is read into memory: a full image of a guest's memory is read by its path.
const READ_BYTES_MAX: u64 = 1 << 30;

impl Store {
    /// Puts `content` at `key`. When this returns, it is on stable storage and this handle may
    /// append an event that names it; until then a key of this handle may be put again.
    ///
    /// # Errors
    /// The text is no key, an event or another writer has it, or the disk is full.
    pub async fn put_blob(&self, key: &str, content: Vec<u8>) -> Result<BlobInfo, StoreError> {
        let key: BlobKey = key.parse()?;
        let staged = self.reserve(&key).await?;
        let outcome = self.shared.files.put(&key, &staged, content).await;
        self.complete(&staged, outcome).await
    }

    /// Puts the content of the file at `source` at `key`, as [`Store::put_blob`] does, without
    /// holding it in memory. Holes of a sparse file take no space in the store either.
    ///
    /// # Errors
    /// As for [`Store::put_blob`]; or `source` cannot be read.
    pub async fn put_blob_file(&self, key: &str, source: &Path) -> Result<BlobInfo, StoreError> {
        let key: BlobKey = key.parse()?;
        let staged = self.reserve(&key).await?;
        let outcome = self.shared.files.put_file(&key, &staged, source).await;
        self.complete(&staged, outcome).await
    }

    /// The content of a blob, checked against the digest of what was put.
    ///
    /// # Errors
    /// There is no such blob, it was pruned, was changed, or has over 1 GiB.
    pub async fn get_blob(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let info = self.blob_info(key).await?;
        if info.bytes > READ_BYTES_MAX {
            return Err(StoreError::BlobTooLarge {
                key: key.to_owned(),
                bytes: info.bytes,
                limit: READ_BYTES_MAX,
            });
        }
        let Some((content, digest)) = self.shared.files.get(&info.key).await? else {
            // Another process may have pruned it since: then this says so.
            self.blob_info(key).await?;
            return Err(StoreError::BlobMissing {
                key: key.to_owned(),
            });
        };
        if digest != info.digest {
            return Err(StoreError::BlobCorrupt {
                key: key.to_owned(),
                expected: info.digest,
                found: digest,
            });
        }
        Ok(content)
    }

    /// What is known of a blob that an event names, or that this handle has put.
    ///
    /// # Errors
    /// There is no such blob, or it was pruned.
    pub async fn blob_info(&self, key: &str) -> Result<BlobInfo, StoreError> {
        let key: BlobKey = key.parse()?;
        self.read(move |session, _| {
            let writer = session.writer_so_far();
            ledger::find_visible(&session.connection, key.as_str(), &writer)
        })
        .await
    }

    /// The file that holds a blob, for programs that read it themselves. Its content is not
    /// checked; it must not be written to.
    ///
    /// # Errors
    /// There is no such blob, or it was pruned.
    pub async fn blob_path(&self, key: &str) -> Result<PathBuf, StoreError> {
        let info = self.blob_info(key).await?;
        Ok(self.shared.files.path(&info.key))
    }

    /// Registers a blob that is about to be written.
    async fn reserve(&self, key: &BlobKey) -> Result<Staged, StoreError> {
        let key = key.clone();
        let number = self.shared.staged.fetch_add(1, Ordering::Relaxed);
        self.write(move |connection, writer| {
            ledger::reserve(connection, &key, writer)?;
            let writer = writer.to_owned();
            Ok(Staged { writer, number })
        })
        .await
    }

    /// Records what became of a blob that was being written.
    async fn complete(
        &self,
        staged: &Staged,
        outcome: Result<BlobInfo, StoreError>,
    ) -> Result<BlobInfo, StoreError> {
        let info = outcome.inspect_err(|_| self.shared.files.discard(staged))?;
        self.write(move |connection, writer| {
            ledger::complete(connection, &info, writer)?;
            Ok(info)
        })
        .await
    }
}
