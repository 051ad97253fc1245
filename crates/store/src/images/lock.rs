//! Who may write: one process at a time, which the kernel lets go of however it ends.
//!
//! ```text
//!  guard (flock on the directory) ──► flock on `lock` ──free──────► ours, and its file says so
//!   held for an instant                    └─held──► by a process that has ended? ──yes─► another
//!                                                          └─no─► refused, with its pid    `lock`
//! ```
//!
//! A lock is shared with every child that its holder forks, until that child executes its own
//! program. So a lock may outlive its holder: its file says which process that was, and one that
//! has ended holds nobody up. Whoever lets go of a lock does so by name and not only by closing it,
//! so that a child in between does not keep it.

use super::folder::Folder;
use crate::error::StoreError;
use crate::holder::Holder;
use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// The file that is locked.
pub(super) const FILE: &str = "lock";

/// How long a guard is waited for: it is held for some system calls.
const GUARD_WAIT: Duration = Duration::from_secs(10);

/// How long between two looks at a guard.
const GUARD_PAUSE: Duration = Duration::from_millis(1);

/// What nobody else holds as long as this is there.
#[derive(Debug)]
pub(super) struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing it does as well, unless a child has it too.
        self.0.unlock().ok();
    }
}

/// Whether the writer's lock was to be had.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is ours.
    Ours(Held),
    /// Another has it: its pid, where that is known.
    Others(Option<i32>),
}

/// Keeps others from taking locks, making and removing in a directory for an instant.
pub(super) fn guard(folder: &Folder) -> Result<Held, StoreError> {
    let failed = |e| StoreError::io("lock", folder.path(), e);
    // A handle of its own: locks belong to the opening, not to the process.
    let handle = File::open(folder.path()).map_err(failed)?;
    let deadline = Instant::now() + GUARD_WAIT;
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(Held(handle)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(GUARD_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                let path = folder.path().to_owned();
                return Err(StoreError::Busy { path });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
    }
}

/// Takes the writer's lock of an image. Its directory is guarded by the caller.
pub(super) fn take(folder: &Folder) -> Result<Taken, StoreError> {
    if let Some(held) = try_take(folder)? {
        return Ok(Taken::Ours(held));
    }
    let said = folder.file(FILE)?.and_then(|file| Holder::read(&file));
    let pid = said.as_ref().map(|holder| holder.pid);
    if !said.is_some_and(|holder| holder.has_ended()) {
        return Ok(Taken::Others(pid));
    }
    // A child of the dead has its lock, on a file that nobody asks any more.
    folder.remove(FILE)?;
    Ok(try_take(folder)?.map_or(Taken::Others(pid), Taken::Ours))
}

fn try_take(folder: &Folder) -> Result<Option<Held>, StoreError> {
    let file = folder.own_file(FILE)?;
    match file.try_lock() {
        Ok(()) => {
            // On a full disk the lock alone has to do.
            Holder::this_process().write(&file).ok();
            Ok(Some(Held(file)))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", &folder.path().join(FILE), e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(place: &tempfile::TempDir) -> Folder {
        Folder::open(place.path()).unwrap()
    }

    fn is_ours(taken: &Taken) -> bool {
        matches!(taken, Taken::Ours(_))
    }

    #[test]
    fn one_at_a_time_has_it_and_is_named() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        let first = take(&folder).unwrap();
        assert!(is_ours(&first));
        let own = Holder::this_process().pid;
        assert!(matches!(take(&folder).unwrap(), Taken::Others(Some(pid)) if pid == own));
        drop(first);
        assert!(is_ours(&take(&folder).unwrap()));
    }

    #[test]
    fn a_lock_that_outlives_its_writer_holds_nobody_up() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        // As a fork of a killed writer leaves it: the lock is held, the process is gone.
        let _held = take(&folder).unwrap();
        let file = folder.own_file(FILE).unwrap();
        let dead = Holder {
            pid: 1 << 30,
            ..Holder::this_process()
        };
        dead.write(&file).unwrap();
        let next = take(&folder).unwrap();
        assert!(is_ours(&next));
        assert!(!is_ours(&take(&folder).unwrap()), "and the next one holds");
    }

    #[test]
    fn a_holder_that_says_nothing_is_believed_to_live() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        let _held = take(&folder).unwrap();
        folder.own_file(FILE).unwrap().set_len(0).unwrap();
        assert!(matches!(take(&folder).unwrap(), Taken::Others(None)));
    }

    #[test]
    fn a_guard_is_let_go_of() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        for _ in 0..3 {
            let held = guard(&folder).unwrap();
            assert!(File::open(place.path()).unwrap().try_lock().is_err());
            drop(held);
        }
    }
}
