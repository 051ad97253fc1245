//! Who writes, and whether that process still lives.
//!
//! A writer holds an exclusive `flock` on `writers/ID` from its first write until it ends; the
//! kernel lets go of the lock however it ends. Whoever asks takes the lock *shared* for an instant:
//! the two askers never disturb each other, and a writer that is asked about is not disturbed
//! either.
//!
//! ```text
//!  file made ──► locked ──► still at its path? ──yes──► the id may be named by rows
//!                                └──no (swept in between): once more, with a new id
//! ```
//!
//! Invariant: no row names a writer before its lock is held. So a file that is absent or unlocked
//! means: dead.
//!
//! A lock is shared with every child that its holder forks, until that child executes its own
//! program. So where a holder is killed just then, its lock lives on for as long as the child
//! waits for a CPU. Therefore the file says which process the writer is, and a lock that is held
//! for a process that has ended means: dead.

use crate::directory::{Directory, private_directory, private_file};
use crate::error::StoreError;
use crate::holder::Holder;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// How often a new writer may lose its lock file to a sweep before it gives up: each loss needs a
/// sweep in the microseconds between two system calls.
const REGISTER_ATTEMPTS_MAX: usize = 16;

/// A living writer. Dropping it lets go of the lock.
#[derive(Debug)]
pub(crate) struct Writer {
    id: Uuid,
    lock_path: PathBuf,
    staging: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl Writer {
    /// Registers this handle as a writer.
    pub(crate) fn register(directory: &Directory) -> Result<Self, StoreError> {
        for _ in 0..REGISTER_ATTEMPTS_MAX {
            if let Some(writer) = Self::try_register(directory)? {
                private_directory(&writer.staging)?;
                return Ok(writer);
            }
        }
        Err(StoreError::Busy {
            path: directory.root().to_owned(),
        })
    }

    fn try_register(directory: &Directory) -> Result<Option<Self>, StoreError> {
        let id = Uuid::now_v7();
        let lock_path = directory.writers().join(id.to_string());
        let lock = private_file(&lock_path)?;
        lock.lock()
            .map_err(|e| StoreError::io("lock", &lock_path, e))?;
        // On a full disk the lock alone has to do.
        Holder::this_process().write(&lock).ok();
        let held = lock.metadata().map(|metadata| metadata.ino());
        let held = held.map_err(|e| StoreError::io("examine", &lock_path, e))?;
        let there = fs::metadata(&lock_path).is_ok_and(|there| there.ino() == held);
        Ok(there.then(|| Self {
            id,
            staging: directory.staging().join(id.to_string()),
            lock_path,
            _lock: lock,
        }))
    }

    /// Its id.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }
}

impl Drop for Writer {
    /// Tidies up; what cannot be removed here, the next sweep removes.
    fn drop(&mut self) {
        if fs::remove_dir(&self.staging).is_ok() {
            fs::remove_file(&self.lock_path).ok();
        }
    }
}

/// Whether the writer with this id still lives.
pub(crate) fn is_alive(directory: &Directory, id: &str) -> Result<bool, StoreError> {
    let state = probe(&directory.writers().join(id))?;
    Ok(matches!(state, Probe::Alive))
}

/// What a lock file says of its writer.
#[derive(Debug)]
enum Probe {
    /// There is no such file.
    Absent,
    /// The writer holds its lock.
    Alive,
    /// The writer has ended, and no other ever takes its id. Where the lock is free, it is taken
    /// for as long as this handle is open.
    Dead(File),
}

fn probe(path: &Path) -> Result<Probe, StoreError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Probe::Absent),
        other => other.map_err(|e| StoreError::io("open", path, e))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Probe::Dead(file)),
        Err(TryLockError::WouldBlock) => {
            let ended = Holder::read(&file).is_some_and(|holder| holder.has_ended());
            Ok(if ended {
                Probe::Dead(file)
            } else {
                Probe::Alive
            })
        }
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", path, e)),
    }
}

/// Removes the lock files and staged content of dead writers. Nothing in the database may name
/// their staged content any more.
pub(crate) fn remove_dead(directory: &Directory) -> Result<(), StoreError> {
    for id in names_in(&directory.staging())? {
        if !is_alive(directory, &id)? {
            let staged = directory.staging().join(&id);
            ignore_absent(fs::remove_dir_all(&staged))
                .map_err(|e| StoreError::io("remove", &staged, e))?;
        }
    }
    for id in names_in(&directory.writers())? {
        let lock = directory.writers().join(&id);
        // Held while the file goes, so that a writer about to lock it sees that it is gone.
        if let Probe::Dead(_held) = probe(&lock)? {
            ignore_absent(fs::remove_file(&lock))
                .map_err(|e| StoreError::io("remove", &lock, e))?;
        }
    }
    Ok(())
}

fn names_in(path: &Path) -> Result<Vec<String>, StoreError> {
    let entries = fs::read_dir(path).map_err(|e| StoreError::io("list", path, e))?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(|e| StoreError::io("list", path, e))
}

fn ignore_absent(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_lives_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let writer = Writer::register(&directory).unwrap();
        let id = writer.id().to_string();
        assert!(is_alive(&directory, &id).unwrap());
        drop(writer);
        assert!(!is_alive(&directory, &id).unwrap());
        assert_eq!(
            names_in(&directory.writers()).unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_lock_that_outlives_its_writer_keeps_nobody_alive() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let writer = Writer::register(&directory).unwrap();
        let id = writer.id().to_string();
        let lock = File::open(directory.writers().join(&id)).unwrap();
        let said = Holder::read(&lock).unwrap();
        assert!(is_alive(&directory, &id).unwrap());
        // As a fork of a killed writer leaves it: the lock is held, the process is gone.
        let dead = Holder {
            pid: 1 << 30,
            ..said
        };
        dead.write(&writer._lock).unwrap();
        assert!(!is_alive(&directory, &id).unwrap());
        remove_dead(&directory).unwrap();
        assert_eq!(
            names_in(&directory.writers()).unwrap(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn only_the_dead_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::open(place.path()).unwrap();
        let living = Writer::register(&directory).unwrap();
        let dead = Uuid::now_v7().to_string();
        fs::write(directory.writers().join(&dead), "").unwrap();
        fs::create_dir(directory.staging().join(&dead)).unwrap();
        fs::write(directory.staging().join(&dead).join("0#1"), "half").unwrap();
        remove_dead(&directory).unwrap();
        let left = vec![living.id().to_string()];
        assert_eq!(names_in(&directory.writers()).unwrap(), left);
        assert_eq!(names_in(&directory.staging()).unwrap(), left);
    }
}
