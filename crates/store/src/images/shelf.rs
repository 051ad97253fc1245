//! A shelf: the packs and changesets of one image, as files.
//!
//! ```text
//!  put: staging/N ──write, fsync──► GROUP/NAME ──fsync of the directory──► acknowledged
//! ```
//!
//! Where a step fails, nothing new is under the name. What a killed writer left in `staging`, the
//! next writer removes. Reading takes no lock: what is there is whole, and never changes but by
//! being replaced or removed.

use super::folder::Folder;
use super::lock::Held;
use super::record::{self, ImageRecord};
use crate::error::StoreError;
use crate::key::BlobKey;
use image::blobs::{BlobError, Blobs};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where content is written aside.
pub(super) const STAGING: &str = "staging";

/// The most parts of a blob's name.
const DEPTH_MAX: usize = 4;

/// The most names that are told.
const NAMES_MAX: usize = 1 << 20;

/// What is read at a time for a digest: it is hashed before it has left the CPU's cache.
const DIGEST_PIECE_BYTES: usize = 128 << 10;

/// The blobs of one image: of a reader, or of its one writer.
#[derive(Debug)]
pub struct Shelf {
    folder: Folder,
    record: Mutex<ImageRecord>,
    /// Where a writer writes aside, and its lock.
    writer: Option<Writer>,
}

/// What only a writer has.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) staging: Folder,
    /// How many contents were staged: the name of the next.
    pub(super) staged: AtomicU64,
    pub(super) _lock: Held,
}

impl Writer {
    /// With the lock of an image that is held: removes what a killed one left.
    pub(super) fn start(folder: &Folder, lock: Held) -> Result<Self, StoreError> {
        let staging = folder.make_folder(STAGING)?;
        for left in staging.entries()? {
            staging.remove(&left.name)?;
        }
        Ok(Self {
            staging,
            staged: AtomicU64::new(0),
            _lock: lock,
        })
    }
}

impl Shelf {
    pub(super) const fn new(folder: Folder, record: ImageRecord, writer: Option<Writer>) -> Self {
        Self {
            folder,
            record: Mutex::new(record),
            writer,
        }
    }

    /// What the image is.
    #[must_use]
    pub fn record(&self) -> ImageRecord {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.clone()
    }

    /// Replaces what the image is: afterwards the old or the new is there, whole.
    ///
    /// # Errors
    /// This is a reader's, the record is of another image, or it cannot be made durable.
    pub fn set_record(&self, new: &ImageRecord) -> Result<(), StoreError> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if (&record.id, &record.name) != (&new.id, &new.name) {
            return Err(StoreError::ImageDamaged {
                name: record.name.clone(),
                detail: "it was to get the record of another image".to_owned(),
            });
        }
        self.stage(&new.encode()?, &self.folder, record::FILE)?;
        *record = new.clone();
        Ok(())
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it can be written to.
    #[must_use]
    pub const fn is_writer(&self) -> bool {
        self.writer.is_some()
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(|| {
            let name = self.folder.path().file_name().unwrap_or_default();
            StoreError::ImageReadOnly {
                name: name.to_string_lossy().into_owned(),
            }
        })
    }

    /// Writes aside, then moves to a name of a directory.
    fn stage(&self, bytes: &[u8], to: &Folder, name: &str) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let number = writer.staged.fetch_add(1, Ordering::Relaxed).to_string();
        writer.staging.write_new(&number, bytes)?;
        let published = writer.staging.publish(&number, to, name);
        if published.is_err() {
            writer.staging.discard(&number);
        }
        published
    }

    fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.writer()?;
        let name = Name::parse(name)?;
        let mut to = None;
        for part in &name.folders {
            let folder = to.as_ref().unwrap_or(&self.folder);
            to = Some(match folder.folder(part)? {
                Some(folder) => folder,
                None => folder.make_folder(part)?,
            });
        }
        self.stage(bytes, to.as_ref().unwrap_or(&self.folder), &name.last)
    }

    fn remove_blob(&self, name: &str) -> Result<(), StoreError> {
        self.writer()?;
        let name = Name::parse(name)?;
        match self.folder_of(&name)? {
            Some(folder) => folder.remove(&name.last).map(drop),
            None => Ok(()),
        }
    }

    fn folder_of(&self, name: &Name) -> Result<Option<Folder>, StoreError> {
        let mut found = None;
        for part in &name.folders {
            let folder = found.as_ref().unwrap_or(&self.folder);
            match folder.folder(part)? {
                Some(folder) => found = Some(folder),
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    fn open_blob(&self, name: &str) -> Result<Option<File>, StoreError> {
        let name = Name::parse(name)?;
        match self.folder_of(&name)? {
            Some(folder) => folder.file(&name.last),
            None => Ok(None),
        }
    }

    /// An open blob and its length.
    fn open(&self, name: &str) -> Result<(File, u64), BlobError> {
        let file = self.open_blob(name).map_err(failed("open", name))?;
        let file = file.ok_or_else(|| BlobError::Missing(name.to_owned()))?;
        let length = file.metadata().map_err(failed("examine", name))?.len();
        Ok((file, length))
    }

    /// Adds the names below a directory, as deep as names go.
    fn names_below(
        &self,
        folder: &Folder,
        path: &str,
        prefix: &str,
        names: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        for entry in folder.entries()? {
            let name = format!("{path}{}", entry.name);
            if entry.is_folder {
                let below = format!("{name}/");
                let is_ours = path.is_empty() && entry.name == STAGING;
                let wanted = below.starts_with(prefix) || prefix.starts_with(&below);
                let deep = below.split('/').count() > DEPTH_MAX;
                if !is_ours
                    && wanted
                    && !deep
                    && let Some(folder) = folder.folder(&entry.name)?
                {
                    self.names_below(&folder, &below, prefix, names)?;
                }
            } else if name.starts_with(prefix) && Name::parse(&name).is_ok() {
                names.push(name);
            }
            if names.len() > NAMES_MAX {
                let what = std::io::Error::other("it holds too many blobs");
                return Err(StoreError::io("list", folder.path(), what));
            }
        }
        Ok(())
    }
}

fn failed<E>(doing: &'static str, name: &str) -> impl FnOnce(E) -> BlobError
where
    E: std::error::Error + Send + Sync + 'static,
{
    let name = name.to_owned();
    move |source| BlobError::Failed {
        doing,
        name,
        source: Box::new(source),
    }
}

impl Blobs for Shelf {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        self.put_blob(name, bytes).map_err(failed("put", name))
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        Ok(self.open(name)?.1)
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let (file, length) = self.open(name)?;
        // Held against the file before memory is taken.
        let bytes = part.end.checked_sub(part.start);
        let bytes = bytes.filter(|_| part.end <= length);
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| BlobError::Short {
            name: name.to_owned(),
            end: part.end,
        })?;
        let mut buffer = vec![0; bytes];
        file.read_exact_at(&mut buffer, part.start)
            .map_err(failed("read", name))?;
        Ok(buffer)
    }

    fn digest(&self, name: &str, bytes: u64) -> Result<[u8; 32], BlobError> {
        let (file, _) = self.open(name)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; DIGEST_PIECE_BYTES];
        let mut at = 0_u64;
        while at < bytes {
            let left = usize::try_from(bytes.saturating_sub(at)).unwrap_or(usize::MAX);
            let (piece, _) = buffer.split_at_mut(left.min(DIGEST_PIECE_BYTES));
            match file.read_exact_at(piece, at) {
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(BlobError::Short {
                        name: name.to_owned(),
                        end: bytes,
                    });
                }
                other => other.map_err(failed("read", name))?,
            }
            hasher.update(piece);
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        let mut names = Vec::new();
        self.names_below(&self.folder, "", prefix, &mut names)
            .map_err(failed("list", prefix))?;
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        self.remove_blob(name).map_err(failed("remove", name))
    }
}

/// A blob's name: directories, and a file in the last of them.
#[derive(Debug)]
struct Name {
    folders: Vec<String>,
    last: String,
}

impl Name {
    fn parse(name: &str) -> Result<Self, StoreError> {
        let key: BlobKey = name.parse()?;
        let mut folders: Vec<String> = key.as_str().split('/').map(str::to_owned).collect();
        let last = folders.pop().unwrap_or_default();
        // Files of the shelf itself lie beside the directories, and what is staged in one of them.
        let first = folders.first().map(String::as_str);
        if first.is_none_or(|first| first == STAGING) || folders.len() >= DEPTH_MAX {
            return Err(crate::key::KeyError::Part {
                part: first.unwrap_or(&last).to_owned(),
                key: name.to_owned(),
            }
            .into());
        }
        Ok(Self { folders, last })
    }
}
