//! The store's directory: made private before anything is made inside it.
//!
//! Modes are set explicitly after creation, so they do not depend on the process's umask. What is
//! created is made durable by an `fsync` of the directory that names it. A directory that holds
//! something else is never changed.

use crate::error::StoreError;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of every directory of the store.
const DIRECTORY_MODE: u32 = 0o700;

/// Mode of every file of the store.
const FILE_MODE: u32 = 0o600;

/// The file whose presence tells a store from any other directory.
const DATABASE: &str = "events.sqlite";

/// Space held back so that a full disk can still record what is pruned: one such commit writes
/// about 400 KiB.
const RESERVE_BYTES: u64 = 1 << 20;

/// What a directory may hold before it holds a store: what a freshly made file system holds, and
/// the machines that are kept ready beside the store.
const HARMLESS: [&str; 2] = ["lost+found", "cache"];

/// The paths of an open store. All of them exist, and only their owner can reach them.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Makes the directory and its parts where they are absent, and closes them to others.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path)?;
        let root = fs::canonicalize(path).map_err(|e| StoreError::io("resolve", path, e))?;
        refuse_foreign(&root)?;
        set_mode(&root, DIRECTORY_MODE)?;
        let directory = Self { root };
        // The database first: it is what marks the directory as a store.
        private_unopened_file(&directory.database())?;
        for part in [directory.blobs(), directory.staging(), directory.writers()] {
            private_directory(&part)?;
        }
        sync(&directory.root)?;
        directory.hold_reserve();
        Ok(directory)
    }

    /// Takes the reserve, where it is not held and there is room for it.
    pub(crate) fn hold_reserve(&self) {
        let Ok(file) = private_file(&self.reserve()) else {
            return;
        };
        if file
            .metadata()
            .is_ok_and(|held| held.len() >= RESERVE_BYTES)
        {
            return;
        }
        let none = rustix::fs::FallocateFlags::empty();
        if rustix::fs::fallocate(&file, none, 0, RESERVE_BYTES).is_err() {
            self.release_reserve();
        }
    }

    /// Gives the reserve back to the file system. Returns whether there was any.
    pub(crate) fn release_reserve(&self) -> bool {
        fs::remove_file(self.reserve()).is_ok()
    }

    fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The store's directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    /// Where blobs lie at their keys.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Where each writer has a directory for content that is not yet at its key.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Where each writer has a lock file.
    pub(crate) fn writers(&self) -> PathBuf {
        self.root.join("writers")
    }
}

/// Makes a directory for its owner alone; one that exists is closed to others.
pub(crate) fn private_directory(path: &Path) -> Result<(), StoreError> {
    create_private(path)?;
    set_mode(path, DIRECTORY_MODE)
}

/// Makes every directory between `root` and the parent of `path`, durably.
pub(crate) fn private_parents(root: &Path, path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent().filter(|parent| *parent != root) else {
        return Ok(());
    };
    if parent.is_dir() {
        return Ok(());
    }
    private_parents(root, parent)?;
    private_directory(parent)?;
    sync(parent.parent().unwrap_or(root))
}

/// Opens a file for its owner alone, made where it is absent, never through a symbolic link.
pub(crate) fn private_file(path: &Path) -> Result<File, StoreError> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(no_follow)
        .open(path)
        .map_err(|e| StoreError::io("open", path, e))?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))
        .map_err(|e| StoreError::io("restrict", path, e))?;
    Ok(file)
}

/// Makes a file for its owner alone, where it is absent, without ever opening it: the database
/// locks its file by process, and closing any other handle of ours would let go of those locks
/// (`fcntl_locking(2)`).
fn private_unopened_file(path: &Path) -> Result<(), StoreError> {
    let mode = Mode::from_raw_mode(FILE_MODE);
    match mknodat(CWD, path, FileType::RegularFile, mode, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(StoreError::io("make", path, e.into())),
    }
    let there = fs::symlink_metadata(path).map_err(|e| StoreError::io("examine", path, e))?;
    if !there.is_file() {
        let unexpected = io::Error::other("it is not a regular file");
        return Err(StoreError::io("use", path, unexpected));
    }
    set_mode(path, FILE_MODE)
}

/// Closes an existing file to others.
pub(crate) fn make_private(path: &Path) -> Result<(), StoreError> {
    set_mode(path, FILE_MODE)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| StoreError::io("sync", path, e))
}

/// Makes a directory, closed to others from its first instant; its ancestors get the usual modes.
fn create_private(path: &Path) -> Result<(), StoreError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent).map_err(|e| StoreError::io("make", parent, e))?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(|e| StoreError::io("make", path, e)),
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    let now = fs::metadata(path).map_err(|e| StoreError::io("examine", path, e))?;
    if now.mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|e| StoreError::io("restrict", path, e))
}

/// Refuses a directory of another user, and one that holds something else than a store.
fn refuse_foreign(root: &Path) -> Result<(), StoreError> {
    let path = root.to_owned();
    let metadata = fs::metadata(root).map_err(|e| StoreError::io("examine", root, e))?;
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(StoreError::ForeignOwner { path, owner, user });
    }
    if !root.join(DATABASE).exists() && holds_anything(root)? {
        return Err(StoreError::NotAStore { path });
    }
    Ok(())
}

fn holds_anything(root: &Path) -> Result<bool, StoreError> {
    let entries = fs::read_dir(root).map_err(|e| StoreError::io("list", root, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| StoreError::io("list", root, e))?;
        let name = entry.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            // Another process may be making the store at this moment: its database comes first.
            return Ok(!root.join(DATABASE).exists());
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_store_is_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("a/b/store");
        let directory = Directory::open(&root).unwrap();
        for path in [
            &root,
            &directory.blobs(),
            &directory.staging(),
            &directory.writers(),
        ] {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        assert_eq!(mode(&directory.database()), 0o600);
        assert_eq!(mode(&directory.reserve()), 0o600);
    }

    #[test]
    fn the_reserve_takes_its_space_once() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let allocated = || fs::metadata(directory.reserve()).map(|held| held.blocks() * 512);
        assert!(allocated().unwrap() >= RESERVE_BYTES);
        assert!(directory.release_reserve());
        assert!(!directory.release_reserve());
        directory.hold_reserve();
        assert!(allocated().unwrap() >= RESERVE_BYTES);
    }

    #[test]
    fn a_store_left_open_to_others_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(directory.database(), Permissions::from_mode(0o644)).unwrap();
        let directory = Directory::open(place.path()).unwrap();
        assert_eq!(mode(place.path()), 0o700);
        assert_eq!(mode(&directory.database()), 0o600);
    }

    #[test]
    fn a_directory_with_something_else_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("thesis.txt"), "important").unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let outcome = Directory::open(place.path());
        assert!(matches!(outcome, Err(StoreError::NotAStore { .. })));
        assert_eq!(mode(place.path()), 0o755);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn machines_kept_beside_the_store_may_be_there_first() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("cache")).unwrap();
        assert!(Directory::open(place.path()).is_ok());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "").unwrap();
        let message = Directory::open(&path).unwrap_err().to_string();
        assert!(message.contains("file"), "{message}");
    }

    #[test]
    fn a_link_in_place_of_the_database_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (root, target) = (place.path().join("store"), place.path().join("target"));
        fs::create_dir(&root).unwrap();
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, root.join(DATABASE)).unwrap();
        assert!(matches!(Directory::open(&root), Err(StoreError::Io { .. })));
    }

    /// How many locks the kernel holds on a file.
    fn locks_on(path: &Path) -> usize {
        let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|line| line.contains(&inode)).count()
    }

    #[test]
    fn a_second_opening_leaves_the_first_its_locks() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let _connection = crate::database::open(&directory.database()).unwrap();
        let held = locks_on(&directory.database());
        assert!(held > 0);
        Directory::open(place.path()).unwrap();
        assert_eq!(locks_on(&directory.database()), held);
    }
}
