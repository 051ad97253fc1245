//! Whole runs over the fake hypervisor: a store, and sessions on it under hypervisors of one's choice.

use super::simulated_machine;
use anyhow::{Context, ensure};
use control::machine::MachineRequest;
use control::run::start_on;
use control::{Computation, ControlError, Keep, RunRequest, Session, Silent};
use hypervisor::sim::{SimHypervisor, Trouble};
use hypervisor::{HostInfo, RunRoot};
use model::Run;
use std::path::Path;
use std::sync::Arc;
use store::{Limits, RunState, Store};

/// A store, and sessions on it under hypervisors of one's choice.
pub(crate) struct Bench {
    place: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Bench {
    /// Opens an empty store, in memory where the host has room there: a run waits for the disk
    /// several times, and there are hundreds of them.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let store = Store::open(place.path().join("store"), Limits::default()).await?;
        Ok(Self { place, store })
    }

    /// All that its runs write lies here: `store`, and `run` for run directories.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    fn session(&self, hypervisor: SimHypervisor) -> anyhow::Result<Session> {
        Ok(Session {
            host: HostInfo {
                cpus: vec![0],
                ..HostInfo::read()
            },
            hypervisor: Arc::new(hypervisor),
            root: RunRoot::at(self.place.path().join("run"))?,
            store: self.store.clone(),
            store_path: self.place.path().join("store"),
        })
    }

    /// A run of three short replicas, unless the request is changed.
    pub(crate) async fn run(
        &self,
        hypervisor: SimHypervisor,
        change: impl FnOnce(&mut RunRequest),
    ) -> anyhow::Result<Result<Run, ControlError>> {
        let session = self.session(hypervisor)?;
        let spec = simulated_machine(self.place())?;
        let mut request = RunRequest {
            computation: Computation::Library(computation::find("sha256").context("no sha256")?),
            choice: None,
            replicas: 3,
            seed: 0,
            budget_s: Some(0.01),
            jobs: None,
            cpus: None,
            injections: Vec::new(),
            keep: Keep::Differing,
            timeout: None,
            multiplier: 1.0,
            machine: MachineRequest::default(),
            investigate: false,
        };
        change(&mut request);
        Ok(start_on(&session, spec, request, &Silent, std::future::pending()).await)
    }

    /// A run in which replicas go wrong.
    pub(crate) async fn troubled(&self, troubles: Vec<Trouble>) -> anyhow::Result<Run> {
        Ok(self.run(SimHypervisor::with(troubles), |_| {}).await??)
    }

    /// The reason with which the last run failed.
    pub(crate) async fn last_failure(&self) -> anyhow::Result<String> {
        let runs = self.store.runs(1).await?;
        let last = runs.first().context("no run")?;
        ensure!(last.state == RunState::Failed, "{last:?}");
        last.reason.clone().context("no reason")
    }
}
