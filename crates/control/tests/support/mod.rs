//! Real machines for tests and benches: a session on a store of its own, machines that are kept
//! under cargo's directory for tests' files, and the words that are exchanged with a guest.

#![allow(
    dead_code,
    reason = "each test and each bench is a program of its own and uses a part of this"
)]

pub(crate) mod simulated;
pub(crate) mod told;

use anyhow::{Context, ensure};
use computation::job::{self, Job, LineReader, Mark, Message, StopBy};
use control::machine::{self, PreparedMachine};
use control::{Session, SessionConfig, Silent};
use hypervisor::{Accelerator, Channel, Domain, Hypervisor, MachineSpec, Signal, Stop, WaitLimits};
use model::{GuestPhysicalAddress, PAGE_BYTES};
use std::path::Path;
use std::time::Duration;

/// The host CPU that machines run on.
pub(crate) const CPU: u32 = 0;

/// Ample for a boot or a job of a few steps on a busy host; only a fault reaches it.
pub(crate) const PATIENCE: WaitLimits = WaitLimits {
    cpu: Duration::from_secs(120),
    wall: Duration::from_secs(300),
};

/// What is needed to make machines. Its store goes with it.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) session: Session,
    _store: tempfile::TempDir,
}

impl Workshop {
    /// Opens a session on an empty store.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let store = tempfile::tempdir().context("cannot make a directory for a store")?;
        let session = Session::open(SessionConfig {
            store: store.path().to_path_buf(),
            max_bytes: 1 << 30,
        })
        .await?;
        Ok(Self {
            session,
            _store: store,
        })
    }

    /// A machine that was booted once and is kept for later tests.
    pub(crate) async fn machine(&self, spec: MachineSpec) -> anyhow::Result<PreparedMachine> {
        let hypervisor = &self.session.hypervisor;
        Ok(machine::prepare(hypervisor, kept_machines(), spec, &[CPU], &Silent).await?)
    }

    /// A replica of a machine: restored, stopped.
    pub(crate) async fn replica(
        &self,
        machine: &PreparedMachine,
    ) -> anyhow::Result<Box<dyn Domain>> {
        let PreparedMachine { spec, snapshot, .. } = machine;
        Ok(self
            .session
            .hypervisor
            .restore(spec, snapshot, &[CPU])
            .await?)
    }
}

/// Where machines are kept that were booted once.
pub(crate) fn kept_machines() -> &'static Path {
    Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/machines"))
}

/// A machine for the fake hypervisor; the file that stands for its kernel lies in the directory.
pub(crate) fn simulated_machine(directory: &Path) -> anyhow::Result<MachineSpec> {
    let kernel = directory.join("kernel");
    std::fs::write(&kernel, b"none").context("cannot write a kernel")?;
    Ok(MachineSpec {
        memory_bytes: hypervisor::sim::MEMORY_BYTES,
        cpu_model: "sim".to_owned(),
        vcpus: 1,
        accelerator: Accelerator::Tcg,
        deterministic: true,
        recorded: false,
        kernel,
        initramfs: Vec::new(),
        kernel_arguments: String::new(),
        signal: Signal::Port,
        channel: Channel::DebugConsole,
    })
}

/// A machine under the translator, with the ways of signalling and speaking to choose.
pub(crate) fn translated(signal: Signal, channel: Channel) -> anyhow::Result<MachineSpec> {
    let kernel = machine::default_kernel();
    machine::check_kernel(&kernel)?;
    Ok(machine::spec(kernel, Accelerator::Tcg, signal, channel)?)
}

/// A job of the SHA-256 chain.
pub(crate) fn chain(steps: u64, stops: &[Mark]) -> Job {
    Job {
        protocol: job::PROTOCOL,
        computation: "sha256".to_owned(),
        seed: 7,
        steps,
        stops: stops.to_vec(),
        program: None,
        command: None,
        stop_by: StopBy::Waypoint,
    }
}

/// Writes a job into the mailbox of a guest that is ready.
pub(crate) fn order(
    domain: &mut dyn Domain,
    machine: &PreparedMachine,
    job: &Job,
) -> anyhow::Result<()> {
    let bytes = job::encode_job(job)?;
    for (page, part) in machine.hello.mailbox.iter().zip(bytes.chunks(PAGE_BYTES)) {
        domain.write_memory(GuestPhysicalAddress(page.0), part)?;
    }
    Ok(())
}

/// Waits until a running guest signals, and says what it said.
pub(crate) async fn until_signal(domain: &mut dyn Domain) -> anyhow::Result<Vec<Message>> {
    let stop = domain.wait_stop(PATIENCE).await?;
    let messages = LineReader::new().feed(&domain.take_console());
    ensure!(
        stop == Stop::Signal,
        "{stop:?} in place of a signal, after {messages:?}"
    );
    Ok(messages)
}

/// Runs a guest to its next signal.
pub(crate) async fn run_on(domain: &mut dyn Domain) -> anyhow::Result<Vec<Message>> {
    domain.resume().await?;
    until_signal(domain).await
}

/// Boots a machine until its guest is ready for a job.
pub(crate) async fn boot_to_ready(
    hypervisor: &dyn Hypervisor,
    spec: &MachineSpec,
    cpu: u32,
) -> anyhow::Result<Box<dyn Domain>> {
    let mut domain = hypervisor.boot(spec, &[cpu]).await?;
    let hello = until_signal(domain.as_mut()).await?;
    ensure!(
        hello.iter().any(|said| matches!(said, Message::Hello(_))),
        "no hello among {hello:?}"
    );
    let ready = run_on(domain.as_mut()).await?;
    ensure!(ready.contains(&Message::Ready), "not ready: {ready:?}");
    Ok(domain)
}
