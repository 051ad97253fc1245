//! A directory, by its descriptor: what is named below it stays below it, and no link is followed.
//!
//! Every step is one entry of one directory that is held open. So neither a name nor a link, nor
//! somebody who moves directories about meanwhile, leads to any other place.

use crate::error::StoreError;
use disk::AlignedBuffer;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The most entries of a directory that are told: more than an image of 16 TiB has packs.
const ENTRIES_MAX: usize = 1 << 20;

/// What a new directory may be: its owner's alone.
const DIRECTORY_MODE: Mode = Mode::RWXU;

/// What is written past the page cache at a time.
const DIRECT_BYTES: usize = 1 << 20;

/// Mode of every file.
const FILE_MODE: u32 = 0o600;

/// How a directory is opened.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: File,
    /// For messages only.
    path: PathBuf,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a directory, and not a link to one.
    pub(crate) is_folder: bool,
}

impl Folder {
    /// Opens the directory at a path.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = rustix::fs::open(path, DIRECTORY, Mode::empty());
        let handle = opened.map_err(|e| StoreError::io("open", path, e.into()))?;
        Ok(Self {
            handle: handle.into(),
            path: path.to_owned(),
        })
    }

    /// Its path, as it was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, attempt: &'static str, name: &str, source: impl Into<io::Error>) -> StoreError {
        StoreError::io(attempt, &self.path.join(name), source.into())
    }

    /// The directory of a name; nothing where there is none.
    pub(crate) fn folder(&self, name: &str) -> Result<Option<Self>, StoreError> {
        match rustix::fs::openat(&self.handle, name, DIRECTORY, Mode::empty()) {
            Ok(handle) => Ok(Some(Self {
                handle: handle.into(),
                path: self.path.join(name),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.error("open", name, e)),
        }
    }

    /// The directory of a name, made durably where there is none, for its owner alone.
    pub(crate) fn make_folder(&self, name: &str) -> Result<Self, StoreError> {
        match rustix::fs::mkdirat(&self.handle, name, DIRECTORY_MODE) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(self.error("make", name, e)),
        }
        let missing = || self.error("open", name, Errno::NOENT);
        let folder = self.folder(name)?.ok_or_else(missing)?;
        let private = Permissions::from_mode(DIRECTORY_MODE.bits());
        folder
            .handle
            .set_permissions(private)
            .map_err(|e| self.error("restrict", name, e))?;
        Ok(folder)
    }

    /// The regular file of a name, for reading; nothing where there is none.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>, StoreError> {
        // Not blocking: whoever put a pipe there does not hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.error("open", name, e)),
        };
        let metadata = file
            .metadata()
            .map_err(|e| self.error("examine", name, e))?;
        if !metadata.is_file() {
            let what = io::Error::other("it is not a regular file");
            return Err(self.error("read", name, what));
        }
        Ok(Some(file))
    }

    /// The file of a name for reading and writing, made where there is none, for its owner alone.
    pub(crate) fn own_file(&self, name: &str) -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FILE_MODE);
        let file = rustix::fs::openat(&self.handle, name, flags, mode);
        let file = File::from(file.map_err(|e| self.error("open", name, e))?);
        file.set_permissions(Permissions::from_mode(FILE_MODE))
            .map_err(|e| self.error("restrict", name, e))?;
        Ok(file)
    }

    /// A part of a file. Short files and what is longer than memory are for the caller to see.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.file(name)? else {
            return Ok(None);
        };
        let failed = |e| self.error("read", name, e);
        let length = file.metadata().map_err(failed)?.len();
        let fits = usize::try_from(length).ok().filter(|_| length <= limit);
        let length = fits.ok_or_else(|| failed(io::Error::other("it is too long")))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Writes a new file and makes its content durable; where that fails, none is left. Much is
    /// written past the page cache, where others' pages need not make way for what is not read soon.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FILE_MODE);
        let file = rustix::fs::openat(&self.handle, name, flags, mode);
        let mut file = File::from(file.map_err(|e| self.error("make", name, e))?);
        let written = file
            .set_permissions(Permissions::from_mode(FILE_MODE))
            .map_err(|e| self.error("restrict", name, e))
            .and_then(|()| {
                let written = write(&mut file, bytes);
                written.map_err(|e| self.error("write", name, e))
            })
            .and_then(|()| file.sync_all().map_err(|e| self.error("sync", name, e)));
        if written.is_err() {
            self.discard(name);
        }
        written
    }

    /// Moves an entry of this directory into another one, durably, over what has its name there.
    /// Where that fails, what was there is there, or, where nothing was, nothing is.
    pub(crate) fn publish(&self, name: &str, to: &Self, new: &str) -> Result<(), StoreError> {
        let fresh = match rustix::fs::renameat_with(
            &self.handle,
            name,
            &to.handle,
            new,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => true,
            // There is one, or the file system cannot tell.
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {
                let moved = rustix::fs::renameat(&self.handle, name, &to.handle, new);
                moved.map_err(|e| to.error("make", new, e))?;
                false
            }
            Err(e) => return Err(to.error("make", new, e)),
        };
        let synced = to.sync();
        if synced.is_err() && fresh {
            to.discard(new);
        }
        synced
    }

    /// Moves an entry of this directory to a name that must be free, durably. Says whether it was.
    pub(crate) fn rename_to_free(&self, name: &str, new: &str) -> Result<bool, StoreError> {
        let (handle, flags) = (&self.handle, RenameFlags::NOREPLACE);
        match rustix::fs::renameat_with(handle, name, handle, new, flags) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(self.error("make", new, e)),
        }
    }

    /// Removes a file durably. Says whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(self.error("remove", name, e)),
        }
    }

    /// Removes a file as far as that works.
    pub(crate) fn discard(&self, name: &str) {
        rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()).ok();
    }

    /// Makes its entries durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let synced = self.handle.sync_all();
        synced.map_err(|e| StoreError::io("sync", &self.path, e))
    }

    /// Whether this directory is still what its path names.
    pub(crate) fn is_at_its_path(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let held = self.handle.metadata().map(identity);
        let there = std::fs::symlink_metadata(&self.path).map(identity);
        matches!((held, there), (Ok(held), Ok(there)) if held == there)
    }

    /// Its entries in order; names that are no UTF-8 are none of ours, and left out.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let failed = |e: Errno| StoreError::io("list", &self.path, e.into());
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.handle).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => continue,
                Ok(name) => name.to_owned(),
            };
            let is_folder = match entry.file_type() {
                FileType::Unknown => self.is_folder(&name),
                kind => kind == FileType::Directory,
            };
            entries.push(Entry { name, is_folder });
            if entries.len() > ENTRIES_MAX {
                let what = io::Error::other("it has too many entries");
                return Err(StoreError::io("list", &self.path, what));
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn is_folder(&self, name: &str) -> bool {
        rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::Directory)
    }
}
/// Writes bytes to a file that is empty: as far as whole pieces go past the page cache, if its file
/// system can do that.
fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&*file)?;
    let mut rest = bytes;
    if bytes.len() >= DIRECT_BYTES
        && rustix::fs::fcntl_setfl(&*file, flags | OFlags::DIRECT).is_ok()
    {
        let mut buffer = AlignedBuffer::new(DIRECT_BYTES);
        while let Some((now, later)) = rest.split_at_checked(DIRECT_BYTES) {
            let piece = buffer.first(DIRECT_BYTES);
            piece.copy_from_slice(now);
            let written = file.write(piece)?;
            if written < now.len() {
                // The disk is full, or some limit is reached: which one is told by writing on.
                rest = rest.get(written..).unwrap_or_default();
                break;
            }
            rest = later;
        }
        rustix::fs::fcntl_setfl(&*file, flags)?;
    }
    file.write_all(rest)
}
