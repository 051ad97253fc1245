//! Saving a machine and loading it again.
//!
//! With the capability `x-ignore-shared` a migration holds vCPU and device state only (about
//! 330 KB); memory is the file that the machine runs on. Saving copies that file once, sparsely;
//! every replica maps the copy privately and shares all pages that it does not write.
//!
//! A machine that was restored itself has memory that is not shared, so QEMU puts its pages into the
//! device state as well. It can be saved and gone back to like any other, at the price of room and
//! time: this is for a checkpoint on the way, not for the machine that replicas are made of.
//!
//! `events` makes QEMU tell when a migration is over, so nobody polls.

use crate::error::HypervisorError;
use crate::host::need_space;
use crate::memory::{changed, sparse};
use crate::qemu::domain::QemuDomain;
use crate::qemu::ending::explain;
use crate::qemu::launch::lend;
use crate::traits::Snapshot;
use model::PAGE_BYTES;
use qapi::qmp::{MigrationCapability, MigrationCapabilityStatus};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// How long a save or a load of device state may take on a busy host.
pub(super) const MIGRATION_DEADLINE: Duration = Duration::from_secs(120);

/// Room for device state beside the memory file.
const DEVICE_SPACE_BYTES: u64 = 16 << 20;

impl QemuDomain {
    /// Saves this stopped machine into an empty directory.
    pub(super) async fn save(&mut self, directory: &Path) -> Result<Snapshot, HypervisorError> {
        let in_device = if self.restored { self.memory_bytes } else { 0 };
        let device_bytes = DEVICE_SPACE_BYTES.saturating_add(in_device);
        let needed = self.memory_bytes.saturating_add(device_bytes);
        need_space(directory, needed, "a snapshot")?;
        need_space(&self.directory, device_bytes, "a snapshot's device state")?;
        let snapshot = Snapshot::in_directory(directory);
        let written = self.directory.join("saved");
        self.monitor.execute(capabilities()).await?;
        let migrate = qapi::qmp::migrate {
            channels: None,
            detach: None,
            resume: None,
            uri: Some(format!("file:{}", written.display())),
        };
        self.monitor.execute(migrate).await?;
        self.wait_migrated("the snapshot").await?;
        sparse::copy(&written, &snapshot.device)?;
        sparse::copy(&self.memory_file, &snapshot.memory)?;
        if self.restored {
            self.write_changed(&snapshot.memory)?;
        }
        fs::remove_file(&written).map_err(HypervisorError::file("remove", &written))?;
        Ok(snapshot)
    }

    /// Writes the pages that changed since this machine's snapshot over a copy of its memory.
    fn write_changed(&self, copy: &Path) -> Result<(), HypervisorError> {
        let numbers = changed::list(&self.memory, self.page_list, &self.memory_file)?;
        let pages = changed::read_pages(&self.memory, numbers)?;
        let failed = || HypervisorError::file("write", copy);
        let file = OpenOptions::new()
            .write(true)
            .open(copy)
            .map_err(failed())?;
        for (number, content) in pages.numbers.iter().zip(pages.bytes.chunks(PAGE_BYTES)) {
            let offset = number.saturating_mul(PAGE_BYTES as u64);
            file.write_all_at(content, offset).map_err(failed())?;
        }
        Ok(())
    }

    /// Loads a snapshot's device state into this waiting machine.
    pub(super) async fn load(&mut self, snapshot: &Snapshot) -> Result<(), HypervisorError> {
        let staged = self.directory.join("device");
        fs::copy(&snapshot.device, &staged).map_err(HypervisorError::file("copy to", &staged))?;
        drop(lend(&staged, self.run.user())?);
        self.monitor.execute(capabilities()).await?;
        let incoming = qapi::qmp::migrate_incoming {
            channels: None,
            exit_on_error: None,
            uri: Some(format!("file:{}", staged.display())),
        };
        self.monitor.execute(incoming).await?;
        self.wait_migrated("the restore").await
    }

    async fn wait_migrated(&mut self, what: &str) -> Result<(), HypervisorError> {
        let outcome = timeout(MIGRATION_DEADLINE, self.migration_status()).await;
        match outcome {
            Ok(Some(status)) if status == "completed" => Ok(()),
            Ok(Some(status)) => Err(HypervisorError::Monitor {
                command: what.to_owned(),
                detail: format!("the migration {status}"),
            }),
            Ok(None) => {
                let closed = HypervisorError::Monitor {
                    command: what.to_owned(),
                    detail: "the connection was closed".to_owned(),
                };
                Err(explain(&mut self.child, &self.directory, closed).await)
            }
            Err(_) => Err(HypervisorError::Deadline {
                what: what.to_owned(),
                after: MIGRATION_DEADLINE,
            }),
        }
    }

    /// The last status of the migration that is under way.
    async fn migration_status(&mut self) -> Option<String> {
        loop {
            let event = self.monitor.next_event().await?;
            if event.name == "MIGRATION"
                && let Some(status) = event.data.get("status").and_then(|status| status.as_str())
                && ["completed", "failed", "cancelled"].contains(&status)
            {
                return Some(status.to_owned());
            }
        }
    }
}

pub(super) fn capabilities() -> qapi::qmp::migrate_set_capabilities {
    let on = |capability| MigrationCapabilityStatus {
        capability,
        state: true,
    };
    qapi::qmp::migrate_set_capabilities {
        capabilities: vec![
            on(MigrationCapability::x_ignore_shared),
            on(MigrationCapability::events),
        ],
    }
}
