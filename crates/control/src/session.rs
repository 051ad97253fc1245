//! What every use case needs: the host, a hypervisor in a run directory of its own, the store.
//!
//! Opening a session first mends what killed instances left: their processes and directories,
//! files that they had not finished, and runs that began and will never end.

use crate::error::ControlError;
use crate::leftover;
use hypervisor::process::spawn::UNPRIVILEGED_USER;
use hypervisor::qemu::binary::QemuBinary;
use hypervisor::{HostInfo, Hypervisor, QemuHypervisor, RunRoot};
use model::{Event, FindingId, RunId, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Limits, Store, StoreError};

/// Where things are, and how much room they may take.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The store's directory.
    pub store: PathBuf,
    /// The most bytes of evidence in the store.
    pub max_bytes: u64,
}

/// What use cases work with.
pub struct Session {
    /// This host.
    pub host: HostInfo,
    /// The hypervisor.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// All instances' run directories.
    pub root: RunRoot,
    /// Events and evidence.
    pub store: Store,
    /// The store's directory.
    pub store_path: PathBuf,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("host", &self.host)
            .field("store", &self.store_path)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the store, sweeps, and finds the hypervisor.
    ///
    /// # Errors
    /// The store or the run directory cannot be opened, or there is no hypervisor.
    pub async fn open(config: SessionConfig) -> Result<Self, ControlError> {
        let store = open_store(&config).await?;
        let root = RunRoot::open()?;
        let run = Arc::new(root.create(emulator_user())?);
        let binary = QemuBinary::find().await?;
        Ok(Self {
            host: HostInfo::read(),
            hypervisor: Arc::new(QemuHypervisor::new(binary, run)),
            root,
            store,
            store_path: config.store,
        })
    }
}

/// Opens the store alone, for what only reads results. What killed instances left is removed
/// first, and their runs, which will never end, are recorded as failed.
///
/// # Errors
/// The store cannot be opened or written, or the run directory not be swept.
pub async fn open_store(config: &SessionConfig) -> Result<Store, ControlError> {
    let swept = RunRoot::open()?.sweep()?;
    if swept.directories > 0 {
        tracing::info!(
            directories = swept.directories,
            processes = swept.processes,
            "what an ended instance had left was removed"
        );
    }
    leftover::sweep(&config.store);
    let limits = Limits {
        max_bytes: config.max_bytes,
    };
    let store = Store::open(&config.store, limits).await?;
    for run in store.unfinished_runs().await? {
        let reason = "the process ended before the run did".to_owned();
        let failed = Event::RunFailed {
            run: run.id,
            reason,
        };
        match store.append(failed, now()).await {
            // Another command was quicker.
            Ok(_) | Err(StoreError::RunOver { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(store)
}

/// The user that emulators run as: ours, unless that is root.
fn emulator_user() -> Option<u32> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ours = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "vardoger").then(|| fields.nth(1)?.parse().ok())?
    });
    Some(ours.unwrap_or(UNPRIVILEGED_USER))
}

/// Where results go where the user says nothing: `/var/lib/vardoger` of root, else the user's
/// data directory (XDG Base Directory Specification).
#[must_use]
pub fn default_store() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/vardoger");
    }
    std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("vardoger")
}

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_ns(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A new run's id.
#[must_use]
pub fn new_run_id() -> RunId {
    RunId(uuid::Uuid::now_v7())
}

/// A new finding's id.
#[must_use]
pub fn new_finding_id() -> FindingId {
    FindingId(uuid::Uuid::now_v7())
}
