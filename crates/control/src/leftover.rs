//! Directories beside the store whose content is in the making or in use: machines, and images on
//! their way into the store. Whoever works with one holds a lock on it; without its lock it is
//! what a killed instance left. Making one and locking it is one step for a sweep: the first holds
//! a shared lock on the parent, the second an exclusive one.
//!
//! Deliberately nothing about run directories: those hold processes too, and `hypervisor` sweeps
//! them.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How the directory of a machine that is being made is called, up to its id.
pub(crate) const UNFINISHED: &str = "unfinished-";

/// How the directory of images that are being stored is called, up to its run.
pub(crate) const EXPORT: &str = "export-";

/// A shared lock, held while a directory is in use. What was removed, or replaced, between opening
/// and locking is not there.
pub(crate) fn lock(directory: &Path) -> std::io::Result<File> {
    let lock = File::open(directory)?;
    flock(&lock, FlockOperation::NonBlockingLockShared)?;
    if lock.metadata()?.ino() == fs::metadata(directory)?.ino() {
        Ok(lock)
    } else {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// Makes a private directory and locks it, out of the reach of a sweep in between.
pub(crate) fn make(parent: &Path, name: &str) -> std::io::Result<(PathBuf, File)> {
    let making = File::open(parent)?;
    flock(&making, FlockOperation::LockShared)?;
    let directory = parent.join(name);
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let held = lock(&directory)?;
    Ok((directory, held))
}

/// Removes a directory unless somebody uses it.
pub(crate) fn remove_unused(directory: &Path) {
    if let Ok(lock) = File::open(directory)
        && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        && let Err(error) = fs::remove_dir_all(directory)
    {
        tracing::warn!(path = %directory.display(), %error, "a directory could not be removed");
    }
}

/// Removes what killed instances left beside the store.
pub(crate) fn sweep(store: &Path) {
    let cache = store.join("cache");
    for (directory, prefix) in [(cache.join("machines"), UNFINISHED), (cache, EXPORT)] {
        // Nobody makes one while we look; without the directory there is nothing to look at.
        let _sweeping = File::open(&directory)
            .and_then(|opened| Ok(flock(&opened, FlockOperation::LockExclusive).map(|()| opened)?));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                remove_unused(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_swept() {
        let store = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let path = store.path().join("cache").join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (kept, used) = (made("machines/0123"), made("machines/unfinished-1"));
        let (left, exported) = (made("machines/unfinished-2"), made("export-3"));
        let held = lock(&used).unwrap();
        sweep(store.path());
        assert!(kept.exists() && used.exists());
        assert!(!left.exists() && !exported.exists());
        drop(held);
        sweep(store.path());
        assert!(!used.exists());
    }

    #[test]
    fn a_store_without_anything_beside_it_is_left_alone() {
        let store = tempfile::tempdir().unwrap();
        sweep(store.path());
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
    }
}
