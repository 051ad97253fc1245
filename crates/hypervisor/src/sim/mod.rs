//! `sim`: a deterministic fake hypervisor, for tests of what stands above the traits. It keeps their
//! promises and speaks the guest's real protocol, needs no emulator and of the kernel nothing but its
//! file, and can be told to fail at any place: where a list of troubles says, or where
//! [`Trouble::draw`] puts them from a seed. No command of the product reaches it.
//!
//! ```text
//!  SimHypervisor ── boot, restore ──► SimDomain
//!     │ troubles, numbers of calls      ├─ memory   pages over a snapshot, copied on write
//!     │ native results                  ├─ registers
//!     └───────────────────────────────  └─ guest    hello ► ready ► steps, marks ► result ► end
//! ```
//!
//! What is real: protocol, mailbox, marks and waypoints, breakpoints, snapshots in two files, changed
//! pages, and the result, which the computation itself gives, run natively. What is modelled: a step
//! of the guest. It writes a few words into its memory, whose content is a function of seed and
//! steps; some pages gather all that was ever written to them, others are written anew. So a wrong
//! bit in a page of the first kind lives and reaches the result, and one in the second kind may be
//! gone before the end, as in a real guest. Time is counted in steps: nothing here waits.
//!
//! It is stricter than an emulator: what the traits allow for a stopped machine alone is refused
//! while one runs, and a machine that was saved does not go on.
//!
//! Deliberately absent: code. A patch of code is a patch of memory, and there are no symbols.

mod desk;
mod domain;
mod draw;
mod guest;
mod machine;
mod memory;
mod nonsense;
mod trouble;

pub use draw::Span;
pub use trouble::{CallTrouble, GuestTrouble, Stroke, Struck, Trouble};

use crate::error::HypervisorError;
use crate::memory::changed::PageListMethod;
use crate::traits::{Capabilities, Domain, Hypervisor, MachineSpec, Snapshot};
use async_trait::async_trait;
use desk::Desk;
use domain::SimDomain;
use machine::Machine;
use std::sync::Arc;

/// Guest memory that is enough for a simulated guest.
pub const MEMORY_BYTES: u64 = 4 << 20;

/// What a simulated host has room for: a machine with more guest memory is refused.
pub const ROOM_BYTES: u64 = 1 << 30;

/// The fake hypervisor.
#[derive(Debug, Clone, Default)]
pub struct SimHypervisor {
    desk: Arc<Desk>,
}

impl SimHypervisor {
    /// A hypervisor under which all goes well.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A hypervisor under which these things go wrong.
    #[must_use]
    pub fn with(troubles: Vec<Trouble>) -> Self {
        Self {
            desk: Arc::new(Desk::with(troubles)),
        }
    }

    /// How many calls of the traits were made so far that can fail: the numbers that
    /// [`Trouble::Call`] counts.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.desk.calls()
    }

    /// How many machines were made and have not ended: what processes, their directories and their
    /// memory are of a real hypervisor.
    #[must_use]
    pub fn living(&self) -> u64 {
        self.desk.living()
    }

    /// What went wrong so far, in order. A trouble that was ordered and did not come about, because
    /// no run came so far, is not here.
    #[must_use]
    pub fn struck(&self) -> Vec<Struck> {
        self.desk.struck()
    }

    /// Kills all emulators from outside: every later call fails.
    pub fn kill_all(&self) {
        self.desk.kill_all();
    }
}

#[async_trait]
impl Hypervisor for SimHypervisor {
    fn version(&self) -> &str {
        "sim 1"
    }

    fn capabilities(&self, spec: &MachineSpec) -> Capabilities {
        Capabilities {
            deterministic: spec.deterministic,
            memory_access: true,
            registers: true,
            changed_pages: Some(PageListMethod::Compare),
            checkpoint: true,
            live_resources: false,
            disk_bitmaps: false,
        }
    }

    async fn boot(
        &self,
        spec: &MachineSpec,
        _cpus: &[u32],
    ) -> Result<Box<dyn Domain>, HypervisorError> {
        self.desk.call(None, "boot")?;
        let path = &spec.kernel;
        std::fs::metadata(path).map_err(HypervisorError::file("open", path))?;
        let machine = Machine::cold(spec.memory_bytes, self.desk.boot_trouble())?;
        Ok(Box::new(SimDomain::new(machine, Arc::clone(&self.desk))))
    }

    async fn restore(
        &self,
        spec: &MachineSpec,
        snapshot: &Snapshot,
        _cpus: &[u32],
    ) -> Result<Box<dyn Domain>, HypervisorError> {
        let trouble = self.desk.next_replica();
        self.desk.call(trouble.replica, "restore")?;
        let machine = Machine::restored(spec.memory_bytes, snapshot, trouble)?;
        Ok(Box::new(SimDomain::new(machine, Arc::clone(&self.desk))))
    }
}
