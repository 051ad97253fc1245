//! What a case needs of an adapter: machines to make, and ways to look at one, and to end one, that
//! do not lead through the adapter. A new adapter adds an implementation here and a column in the
//! table.

use crate::support::{self, Workshop, boot_to_ready, simulated_machine, translated};
use anyhow::Context;
use computation::job::{Mark, Message};
use control::Silent;
use control::machine::{self, PreparedMachine};
use futures::future::BoxFuture;
use hypervisor::sim::SimHypervisor;
use hypervisor::{Channel, Domain, HostInfo, Hypervisor, MachineSpec, Signal, Stop, WaitLimits};
use model::GuestPhysicalAddress;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::PATIENCE;
use tokio::sync::OnceCell;

/// A register that every adapter has and that holds a number.
pub(crate) const REGISTER: &str = "rbx";

/// Steps of a job that takes a moment.
pub(crate) const FEW_STEPS: u64 = 8;

/// Steps of a job that no test waits for.
pub(crate) const ENDLESS_STEPS: u64 = 1 << 30;

/// Tells whether anything is left of a machine.
pub(crate) type Trace = Box<dyn Fn() -> bool + Send>;

/// An adapter to be tested, with a place of its own.
pub(crate) trait Provider: Send + Sync {
    /// What is tested.
    fn hypervisor(&self) -> &Arc<dyn Hypervisor>;

    /// The machine that cases are shown on.
    fn spec(&self) -> &MachineSpec;

    /// The machine of the cases, booted once and kept.
    fn machine(&self) -> BoxFuture<'_, anyhow::Result<Arc<PreparedMachine>>>;

    /// The host CPU for this case's machines.
    fn cpu(&self) -> u32;

    /// Eight bytes before the end of a page of main memory that no guest of ours writes.
    fn quiet(&self) -> GuestPhysicalAddress;

    /// A look at what a machine takes of the host.
    fn trace(&self, domain: &dyn Domain) -> Trace;

    /// Ends a machine's emulator from outside.
    fn kill(&self, domain: &dyn Domain);
}

impl dyn Provider + '_ {
    /// A replica of a machine: restored, stopped.
    pub(crate) async fn replica(
        &self,
        machine: &PreparedMachine,
    ) -> anyhow::Result<Box<dyn Domain>> {
        let PreparedMachine { spec, snapshot, .. } = machine;
        Ok(self
            .hypervisor()
            .restore(spec, snapshot, &[self.cpu()])
            .await?)
    }

    /// A machine, and a replica of it that waits for its job.
    pub(crate) async fn ready(&self) -> anyhow::Result<(Arc<PreparedMachine>, Box<dyn Domain>)> {
        let machine = self.machine().await?;
        let replica = self.replica(&machine).await?;
        Ok((machine, replica))
    }

    /// A machine that is booted now until its guest is ready.
    pub(crate) async fn booted(&self) -> anyhow::Result<Box<dyn Domain>> {
        boot_to_ready(self.hypervisor().as_ref(), self.spec(), self.cpu()).await
    }
}

/// QEMU, as a session opens it.
struct Qemu {
    workshop: Workshop,
    spec: MachineSpec,
    cpu: u32,
}

/// A case's own QEMU adapter. Cases take turns on the host's CPUs.
pub(crate) async fn qemu() -> anyhow::Result<Box<dyn Provider>> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let cpus = HostInfo::read().cpus;
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % cpus.len();
    Ok(Box::new(Qemu {
        workshop: Workshop::open().await?,
        spec: translated(Signal::Port, Channel::DebugConsole)?,
        cpu: cpus[turn],
    }))
}

impl Provider for Qemu {
    fn hypervisor(&self) -> &Arc<dyn Hypervisor> {
        &self.workshop.session.hypervisor
    }

    fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// All cases share one: reading and verifying it costs more than restoring it.
    fn machine(&self) -> BoxFuture<'_, anyhow::Result<Arc<PreparedMachine>>> {
        static MACHINE: OnceCell<Arc<PreparedMachine>> = OnceCell::const_new();
        let load = async || Ok(Arc::new(self.workshop.machine(self.spec.clone()).await?));
        Box::pin(async move { MACHINE.get_or_try_init(load).await.cloned() })
    }

    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn quiet(&self) -> GuestPhysicalAddress {
        GuestPhysicalAddress(0x600_0ff8)
    }

    /// Its process, and the directory that it works in.
    fn trace(&self, domain: &dyn Domain) -> Trace {
        let process = PathBuf::from(format!("/proc/{}", domain.pid()));
        let directory = std::fs::read_link(process.join("cwd"));
        let directory = directory.expect("a living emulator works in a directory");
        assert!(directory.is_dir());
        Box::new(move || process.exists() || directory.exists())
    }

    /// It has ended when this returns; its exit is left for the driver to find.
    fn kill(&self, domain: &dyn Domain) {
        use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
        let process = Pid::from_raw(domain.pid()).expect("a process has an id");
        kill_process(process, Signal::KILL).expect("the emulator is ours to end");
        let seen = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(process), seen).expect("the emulator is a child of ours");
    }
}

/// The fake.
struct Sim {
    sim: SimHypervisor,
    hypervisor: Arc<dyn Hypervisor>,
    spec: MachineSpec,
    place: tempfile::TempDir,
}

/// A case's own fake.
pub(crate) async fn sim() -> anyhow::Result<Box<dyn Provider>> {
    let place = tempfile::tempdir().context("cannot make a directory for machines")?;
    let sim = SimHypervisor::new();
    Ok(Box::new(Sim {
        hypervisor: Arc::new(sim.clone()),
        sim,
        spec: simulated_machine(place.path())?,
        place,
    }))
}

impl Provider for Sim {
    fn hypervisor(&self) -> &Arc<dyn Hypervisor> {
        &self.hypervisor
    }

    fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    fn machine(&self) -> BoxFuture<'_, anyhow::Result<Arc<PreparedMachine>>> {
        let (hypervisor, spec) = (&self.hypervisor, self.spec.clone());
        Box::pin(async move {
            let cache = self.place.path().join("machines");
            let machine =
                machine::prepare(hypervisor, &cache, spec, &[self.cpu()], &Silent).await?;
            Ok(Arc::new(machine))
        })
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn quiet(&self) -> GuestPhysicalAddress {
        GuestPhysicalAddress(0x3f_0ff8)
    }

    /// All that it has is counted, over all machines: a case with a trace has one.
    fn trace(&self, _domain: &dyn Domain) -> Trace {
        let sim = self.sim.clone();
        assert_eq!(sim.living(), 1);
        Box::new(move || sim.living() > 0)
    }

    fn kill(&self, _domain: &dyn Domain) {
        self.sim.kill_all();
    }
}

/// Whether the guest said that it reached its end.
pub(crate) fn ended(messages: &[Message]) -> bool {
    messages
        .iter()
        .any(|said| matches!(said, Message::Mark(mark) if mark.name == Mark::End))
}

/// The result that the guest told.
pub(crate) fn result(messages: &[Message]) -> anyhow::Result<String> {
    messages
        .iter()
        .find_map(|said| match said {
            Message::Result(result) => Some(result.digest.to_string()),
            _ => None,
        })
        .context("the guest told no result")
}

/// CPU time that takes a guest through all of a short job, if it works at all.
pub(crate) const AMPLE: Duration = Duration::from_millis(500);

/// CPU time that gets a guest somewhere.
pub(crate) const SOME: Duration = Duration::from_millis(100);

/// Waits for so much of the guest's CPU time at most.
pub(crate) async fn wait_for(domain: &mut dyn Domain, cpu: Duration) -> anyhow::Result<Stop> {
    let used = Duration::from_nanos(domain.usage().vcpu_cpu.ns());
    let limits = WaitLimits {
        cpu: used + cpu,
        wall: PATIENCE.wall,
    };
    Ok(domain.wait_stop(limits).await?)
}

/// The number that a register holds.
pub(crate) fn number(registers: &hypervisor::RegisterSet, name: &str) -> anyhow::Result<u64> {
    let value = registers.get(name).with_context(|| format!("no {name}"))?;
    Ok(u64::from_str_radix(value, 16)?)
}
