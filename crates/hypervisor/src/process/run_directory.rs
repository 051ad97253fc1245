//! The run directory: private to one instance of us, held by a lock, swept by the next.
//!
//! ```text
//! ROOT/                      0711 root (or 0700 of a plain user), in memory where there is /dev/shm
//!   cpu-3.lock               held while a timed replica runs on host CPU 3
//!   INSTANCE/                0700, or 0711 where emulators run as another user
//!     lock                   flock held for as long as the instance lives
//!     processes              one line `PID START` per child, appended before it runs a guest
//!     DOMAIN/                0700, the emulator's user: console, memory and device files
//! ```
//!
//! Lock and process list belong to us, never to the emulator's user: an emulator that a guest has
//! taken over must not be able to name processes for us to end.
//!
//! Invariants: a directory whose lock is held is never touched by anybody else; a process is
//! ended only when both its pid and its start time stand in a directory whose lock is free.

use crate::error::HypervisorError;
use crate::process::start_time;
use rustix::fs::{FlockOperation, Mode, flock};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names the root where the user wants another than the default.
pub const ROOT_VARIABLE: &str = "VARDOGER_RUN_DIR";

/// Lines that are read from a `processes` file: far more than one instance ever starts.
const MAX_PROCESS_LINES: usize = 100_000;

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Directories of instances that had ended.
    pub directories: usize,
    /// Processes that they had left.
    pub processes: usize,
}

/// The directory that holds all instances' run directories.
#[derive(Debug, Clone)]
pub struct RunRoot {
    path: PathBuf,
}

impl RunRoot {
    /// Opens the root, making it where it is absent.
    ///
    /// # Errors
    /// It cannot be made, or it is somebody else's, or others may write in it.
    pub fn open() -> Result<Self, HypervisorError> {
        Self::at(default_root())
    }

    /// Opens the root at a path of the caller's choice.
    ///
    /// # Errors
    /// As for [`RunRoot::open`].
    pub fn at(path: PathBuf) -> Result<Self, HypervisorError> {
        let mode = if rustix::process::geteuid().is_root() {
            0o711
        } else {
            0o700
        };
        match fs::create_dir(&path) {
            Ok(()) => fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(HypervisorError::file("set the mode of", &path))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(HypervisorError::file("make", &path)(error)),
        }
        check_private(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what ended instances left: their processes, then their directories. Instances at
    /// work are not touched.
    ///
    /// # Errors
    /// The root cannot be listed. A directory that cannot be removed is logged and left.
    pub fn sweep(&self) -> Result<Swept, HypervisorError> {
        let mut swept = Swept::default();
        let entries =
            fs::read_dir(&self.path).map_err(HypervisorError::file("list", &self.path))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_directory {
                continue;
            }
            let Some(lock) = free_lock(&path) else {
                continue;
            };
            swept.processes += end_processes(&path);
            match fs::remove_dir_all(&path) {
                Ok(()) => swept.directories += 1,
                Err(error) => tracing::warn!(
                    path = %path.display(), %error,
                    "a run directory of an ended instance could not be removed"
                ),
            }
            drop(lock);
        }
        Ok(swept)
    }

    /// Makes a run directory for this instance, whose emulators run as `user`.
    ///
    /// # Errors
    /// It cannot be made or locked.
    pub fn create(&self, user: Option<u32>) -> Result<RunDirectory, HypervisorError> {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let path = self.path.join(name);
        make_private(&path)?;
        if user.is_some() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o711))
                .map_err(HypervisorError::file("set the mode of", &path))?;
        }
        let lock_path = path.join("lock");
        let lock = create_private_file(&lock_path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| HypervisorError::file("lock", &lock_path)(error.into()))?;
        let processes_path = path.join("processes");
        let processes = create_private_file(&processes_path)?;
        Ok(RunDirectory {
            path,
            user,
            processes,
            _lock: lock,
        })
    }
}

/// One instance's run directory. Dropping it removes it.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    user: Option<u32>,
    processes: File,
    _lock: File,
}

impl RunDirectory {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user that emulators run as, where it is not ours.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// Makes the directory of one domain.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn domain_directory(&self, name: &str) -> Result<PathBuf, HypervisorError> {
        let path = self.path.join(name);
        make_private(&path)?;
        give_to(&path, self.user)?;
        Ok(path)
    }

    /// Records a child, so that a later sweep can end it should we be killed.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn record_process(&self, pid: i32) -> Result<(), HypervisorError> {
        let started = start_time(pid).unwrap_or(0);
        let mut processes = &self.processes;
        writeln!(processes, "{pid} {started}")
            .map_err(HypervisorError::file("write", self.path.join("processes")))
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the run directory could not be removed");
        }
    }
}

/// In memory where there is a shared-memory file system: guest memory is written there.
fn default_root() -> PathBuf {
    if let Some(root) = std::env::var_os(ROOT_VARIABLE) {
        return PathBuf::from(root);
    }
    let user = rustix::process::geteuid().as_raw();
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    };
    parent.join(format!("vardoger-{user}"))
}

fn check_private(path: &Path) -> Result<(), HypervisorError> {
    let metadata = fs::symlink_metadata(path).map_err(HypervisorError::file("look at", path))?;
    let refuse = |detail: &str| {
        Err(HypervisorError::UnsafeDirectory {
            path: path.to_path_buf(),
            detail: detail.to_owned(),
        })
    };
    if !metadata.is_dir() {
        return refuse("it is not a directory");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("others may write in it");
    }
    Ok(())
}

fn make_private(path: &Path) -> Result<(), HypervisorError> {
    rustix::fs::mkdir(path, Mode::RWXU)
        .map_err(|error| HypervisorError::file("make", path)(error.into()))
}

fn create_private_file(path: &Path) -> Result<File, HypervisorError> {
    OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(HypervisorError::file("make", path))
}

fn give_to(path: &Path, user: Option<u32>) -> Result<(), HypervisorError> {
    match user {
        Some(user) => std::os::unix::fs::chown(path, Some(user), Some(user))
            .map_err(HypervisorError::file("give away", path)),
        None => Ok(()),
    }
}

/// The lock of an instance that has ended; nothing while it lives.
fn free_lock(directory: &Path) -> Option<File> {
    let path = directory.join("lock");
    match File::open(&path) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .is_ok()
            .then_some(lock),
        // Between mkdir and lock an instance is a moment old; older ones were cut off there.
        Err(_) if is_stale(directory) => File::open(directory).ok(),
        Err(_) => None,
    }
}

/// Whether a directory without a lock is too old to be one that is being made.
fn is_stale(directory: &Path) -> bool {
    const BEING_MADE_S: u64 = 60;
    fs::metadata(directory)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|modified| modified.elapsed().ok())
        .is_some_and(|age| age.as_secs() > BEING_MADE_S)
}

/// Ends the processes that a directory names and that are still the same ones.
fn end_processes(directory: &Path) -> usize {
    let text = fs::read_to_string(directory.join("processes")).unwrap_or_default();
    text.lines()
        .take(MAX_PROCESS_LINES)
        .filter_map(parse_process)
        .filter(|&(pid, started)| end_process(pid, started))
        .count()
}

fn parse_process(line: &str) -> Option<(i32, u64)> {
    let (pid, started) = line.split_once(' ')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

/// Ends one process through its pidfd, after a second look at its start time: the number cannot
/// pass to somebody else between the look and the signal.
fn end_process(pid: i32, started: u64) -> bool {
    let Some(raw) = rustix::process::Pid::from_raw(pid) else {
        return false;
    };
    let Ok(held) = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) else {
        return false;
    };
    start_time(pid) == Some(started)
        && rustix::process::pidfd_send_signal(&held, rustix::process::Signal::KILL).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, RunRoot) {
        let parent = tempfile::tempdir().unwrap();
        let root = RunRoot::at(parent.path().join("run")).unwrap();
        (parent, root)
    }

    #[test]
    fn a_directory_is_private_and_goes_with_its_instance() {
        let (_parent, root) = root();
        let directory = root.create(None).unwrap();
        let path = directory.path().to_path_buf();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_sweep_spares_the_living_and_takes_the_dead() {
        let (_parent, root) = root();
        let living = root.create(None).unwrap();
        let dead = root.create(None).unwrap();
        let dead_path = dead.path().to_path_buf();
        // What a kill -9 leaves: the directory stays, the lock is released with the process.
        flock(&dead._lock, FlockOperation::Unlock).unwrap();
        let swept = root.sweep().unwrap();
        assert_eq!(swept.directories, 1);
        assert!(living.path().exists());
        assert!(!dead_path.exists());
        std::mem::forget(dead);
    }

    #[test]
    fn a_sweep_ends_only_the_process_that_was_recorded() {
        let (_parent, root) = root();
        let directory = root.create(None).unwrap();
        let mut ours = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mut strangers = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        directory.record_process(pid(&ours)).unwrap();
        let wrong_start = start_time(pid(&strangers)).unwrap() + 1;
        writeln!(&directory.processes, "{} {wrong_start}", pid(&strangers)).unwrap();
        flock(&directory._lock, FlockOperation::Unlock).unwrap();
        assert_eq!(root.sweep().unwrap().processes, 1);
        assert!(!ours.wait().unwrap().success());
        assert!(strangers.try_wait().unwrap().is_none());
        strangers.kill().unwrap();
        strangers.wait().unwrap();
        std::mem::forget(directory);
    }

    #[test]
    fn a_root_that_others_may_write_in_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = RunRoot::at(path).unwrap_err();
        assert!(matches!(error, HypervisorError::UnsafeDirectory { .. }));
    }
}
