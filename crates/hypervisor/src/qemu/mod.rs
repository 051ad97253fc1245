//! The QEMU driver.
//!
//! * [`command_line`]: a machine's description → arguments (pure)
//! * `launch`: an emulator process with its monitor, console and files
//! * `domain`: the life of one machine
//! * `snapshot`: saving and loading; `ending`: its unasked end
//! * [`recording`]: what happened to one machine, for others to do the same; `recorded`: machines
//!   that do either; `empty_image`: what their disks begin with
//! * [`qmp`], `debugger`, [`registers`]: what is said over which wire
//! * [`binary`]: which QEMU, and whether it is new enough

pub mod binary;
pub mod command_line;
mod console;
mod debugger;
mod domain;
pub(crate) mod empty_image;
mod ending;
mod launch;
pub mod qmp;
mod recorded;
pub mod recording;
pub mod registers;
mod snapshot;

use crate::error::HypervisorError;
use crate::host::need_space;
use crate::memory::changed::PageListMethod;
use crate::process::run_directory::RunDirectory;
use crate::traits::{
    Accelerator, Capabilities, Course, DiskImage, Domain, Hypervisor, MachineSpec, Snapshot,
};
use async_trait::async_trait;
use binary::QemuBinary;
use std::sync::Arc;

/// Room in the run directory beyond guest memory: kernel, initramfs, device state.
const RUN_SPACE_BYTES: u64 = 64 << 20;

/// Drives QEMU. All its domains live in one run directory and end with it.
#[derive(Debug)]
pub struct QemuHypervisor {
    binary: QemuBinary,
    version: String,
    run: Arc<RunDirectory>,
    page_list: PageListMethod,
}

impl QemuHypervisor {
    /// A driver of one QEMU within one run directory.
    #[must_use]
    pub fn new(binary: QemuBinary, run: Arc<RunDirectory>) -> Self {
        Self {
            version: format!("qemu {}", binary.version),
            binary,
            run,
            page_list: PageListMethod::best(),
        }
    }

    /// Lists changed pages another way than the quickest, to compare the ways.
    #[must_use]
    pub fn with_page_list(mut self, method: PageListMethod) -> Self {
        self.page_list = method;
        self
    }
}

#[async_trait]
impl Hypervisor for QemuHypervisor {
    fn version(&self) -> &str {
        &self.version
    }

    fn capabilities(&self, spec: &MachineSpec) -> Capabilities {
        Capabilities {
            deterministic: spec.deterministic && spec.accelerator == Accelerator::Tcg,
            memory_access: true,
            registers: true,
            changed_pages: Some(self.page_list),
            checkpoint: true,
            live_resources: false,
            disk_bitmaps: false,
        }
    }

    async fn boot(
        &self,
        spec: &MachineSpec,
        cpus: &[u32],
    ) -> Result<Box<dyn Domain>, HypervisorError> {
        let needed = spec.memory_bytes.saturating_add(RUN_SPACE_BYTES);
        need_space(self.run.path(), needed, "guest memory")?;
        let launched = launch::boot(&self.binary, &self.run, spec, cpus).await?;
        Ok(Box::new(launched.into_domain(self.page_list).await?))
    }

    async fn restore(
        &self,
        spec: &MachineSpec,
        snapshot: &Snapshot,
        cpus: &[u32],
    ) -> Result<Box<dyn Domain>, HypervisorError> {
        need_space(self.run.path(), RUN_SPACE_BYTES, "a replica's files")?;
        let launched = launch::restore(&self.binary, &self.run, spec, snapshot, cpus).await?;
        let mut domain = launched.into_domain(self.page_list).await?;
        domain.load(snapshot).await?;
        Ok(Box::new(domain))
    }

    async fn restore_with_disk(
        &self,
        spec: &MachineSpec,
        snapshot: &Snapshot,
        cpus: &[u32],
        (disk, course): (&DiskImage, Course<'_>),
    ) -> Result<Box<dyn Domain>, HypervisorError> {
        need_space(self.run.path(), RUN_SPACE_BYTES, "a replica's files")?;
        let place = (&self.binary, &self.run);
        let launched =
            launch::restore_with_disk(place, spec, snapshot, cpus, (disk, course)).await?;
        let mut domain = launched.into_domain(self.page_list).await?;
        domain.load_recorded().await?;
        Ok(Box::new(domain))
    }
}
