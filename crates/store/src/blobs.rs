//! The files of the evidence: content goes to `staging/`, is made durable there, and is then moved
//! to its key, so that no key ever holds half of it.
//!
//! Both steps go through `object_store`'s local file system with `fsync` on: contents before the
//! move, directories after it. Files are copied by ourselves into staging, because holes in a
//! sparse file (an image of guest memory) must stay holes.

use crate::directory::{Directory, make_private, private_parents};
use crate::error::StoreError;
use crate::key::BlobKey;
use crate::ledger::BlobInfo;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{ObjectStoreExt, PutPayload};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Unit in which a file is copied and in which holes are found; a multiple of every block size.
const COPY_BYTES: usize = 64 * 1024;

/// The unit of a file's block count, whatever the file system's own blocks are (`stat(2)`).
const STAT_BLOCK_BYTES: u64 = 512;

/// The files of one store.
#[derive(Debug)]
pub(crate) struct BlobFiles {
    root: PathBuf,
    files: LocalFileSystem,
}

/// Where a writer's next content is staged.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// The writer's id.
    pub(crate) writer: String,
    /// The number of the content among this writer's.
    pub(crate) number: u64,
}

impl Staged {
    fn location(&self) -> Location {
        Location::from_iter(["staging", &self.writer, &self.number.to_string()])
    }
}

impl BlobFiles {
    /// The files of the store in `directory`.
    pub(crate) fn open(directory: &Directory) -> Result<Self, StoreError> {
        let root = directory.root().to_owned();
        let files = LocalFileSystem::new_with_prefix(&root)
            .map_err(|e| StoreError::blob(&root, "", e))?
            .with_automatic_cleanup(true)
            .with_fsync(true);
        Ok(Self { root, files })
    }

    /// The file of a blob.
    pub(crate) fn path(&self, key: &BlobKey) -> PathBuf {
        self.root.join("blobs").join(key.as_str())
    }

    /// Makes `content` durable at `key`.
    pub(crate) async fn put(
        &self,
        key: &BlobKey,
        staged: &Staged,
        content: Vec<u8>,
    ) -> Result<BlobInfo, StoreError> {
        let hash = move || (digest(&content), content);
        let (digest, content) = on_a_blocking_thread(hash).await?;
        let location = staged.location();
        self.files
            .put(&location, PutPayload::from(content))
            .await
            .map_err(|e| StoreError::blob(&self.root, key.as_str(), e))?;
        self.publish(key, staged, digest).await
    }

    /// Makes the content of the file at `source` durable at `key`; its holes stay holes.
    pub(crate) async fn put_file(
        &self,
        key: &BlobKey,
        staged: &Staged,
        source: &Path,
    ) -> Result<BlobInfo, StoreError> {
        let (source, target) = (source.to_owned(), self.staged_path(staged));
        let copy = move || copy_sparse(&source, &target);
        let digest = on_a_blocking_thread(copy).await??;
        self.publish(key, staged, digest).await
    }

    /// Moves staged, durable content to its key.
    async fn publish(
        &self,
        key: &BlobKey,
        staged: &Staged,
        digest: String,
    ) -> Result<BlobInfo, StoreError> {
        let (path, target) = (self.staged_path(staged), self.path(key));
        make_private(&path)?;
        let metadata = fs::metadata(&path).map_err(|e| StoreError::io("examine", &path, e))?;
        private_parents(&self.root, &target)?;
        self.files
            .rename(&staged.location(), &location(key))
            .await
            .map_err(|e| StoreError::blob(&self.root, key.as_str(), e))?;
        Ok(BlobInfo {
            key: key.clone(),
            bytes: metadata.len(),
            allocated_bytes: metadata.blocks().saturating_mul(STAT_BLOCK_BYTES),
            digest,
        })
    }

    /// Removes what a failed put left in staging. What cannot be removed now, a sweep removes.
    pub(crate) fn discard(&self, staged: &Staged) {
        fs::remove_file(self.staged_path(staged)).ok();
    }

    /// The content of a blob and its digest; nothing where there is no file.
    pub(crate) async fn get(&self, key: &BlobKey) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let failed = |e| StoreError::blob(&self.root, key.as_str(), e);
        let content = match self.files.get(&location(key)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(failed)?,
        };
        let content = content.bytes().await.map_err(failed)?;
        let hash = move || (digest(&content), content);
        let (digest, content) = on_a_blocking_thread(hash).await?;
        Ok(Some((content.into(), digest)))
    }

    /// Removes a blob's file, and the directories that it leaves empty.
    pub(crate) async fn remove(&self, key: &BlobKey) -> Result<(), StoreError> {
        match self.files.delete(&location(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(StoreError::blob(&self.root, key.as_str(), e)),
        }
    }

    fn staged_path(&self, staged: &Staged) -> PathBuf {
        self.root.join(staged.location().as_ref())
    }
}

/// Runs what takes longer than an asynchronous thread may be held.
async fn on_a_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| StoreError::BrokenOff)
}

fn digest(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

fn location(key: &BlobKey) -> Location {
    Location::from_iter(std::iter::once("blobs").chain(key.as_str().split('/')))
}

/// Copies a file, leaving out blocks of zeros, makes the copy durable and returns its digest.
fn copy_sparse(source: &Path, target: &Path) -> Result<String, StoreError> {
    let reading = |e| StoreError::io("read", source, e);
    let writing = |e| StoreError::io("write", target, e);
    let mut input = File::open(source).map_err(reading)?;
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)
        .map_err(writing)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut length = 0_u64;
    loop {
        let block = read_block(&mut input, &mut buffer).map_err(reading)?;
        if block.is_empty() {
            break;
        }
        hasher.update(block);
        length += block.len() as u64;
        write_block(&mut output, block).map_err(writing)?;
    }
    output.set_len(length).map_err(writing)?;
    output.sync_all().map_err(writing)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Fills the buffer as far as the file goes, so that blocks stay aligned.
fn read_block<'b>(input: &mut File, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

/// Writes a block, or steps over it where it holds only zeros.
fn write_block(output: &mut File, block: &[u8]) -> io::Result<()> {
    if block.iter().any(|&byte| byte != 0) {
        return output.write_all(block);
    }
    let length = i64::try_from(block.len()).expect("a block is small");
    output.seek(SeekFrom::Current(length)).map(drop)
}
