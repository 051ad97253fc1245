//! Takes down what stands in the machine during a capture: our own, and what a killed process left.
//! What belongs to a process that lives is left alone, and what is not ours is not touched.

use super::LiveMachine;
use super::command::{
    CancelJob, DeleteExport, DeleteNode, DismissJob, ListDescriptors, ListExports, ListJobs,
    RemoveDescriptor, StopServer,
};
use super::drives::{entries, text};
use crate::error::HypervisorError;
use crate::live::names::ProcessId;
use crate::live::{GONE_DEADLINE, LiveError};
use qapi::qmp::QmpCommand;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long to wait for an event before looking again, should one have been lost.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How often a node is tried that something of ours may still hold on to.
const NODE_ROUNDS: usize = 4;

/// Whose the export server is, where it has no exports but ours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// Ours, if there is anything else of ours: it is started after the overlays were added.
    Ours,
    /// Somebody else's: it ran before we wanted to start one.
    Others,
}

impl LiveMachine {
    /// Takes down what is ours. Returns how many things there were.
    pub(super) async fn sweep(&mut self, server: Server) -> Result<usize, LiveError> {
        let exports = self.ask(ListExports(json!({}))).await?;
        let (ours, others): (Vec<_>, Vec<_>) =
            names(&exports, "id").partition(|id| ProcessId::of_name(id).is_some());
        let jobs = self.named(ListJobs(json!({})), "id").await?;
        let nodes = self.nodes().await?;
        let nodes: Vec<_> = names(&nodes, "node-name")
            .filter(|name| is_ours(name))
            .collect();
        refuse_living(ours.iter().chain(&jobs).chain(&nodes))?;
        for id in &ours {
            self.tell(DeleteExport(json!({ "id": id, "mode": "hard" })))
                .await?;
        }
        self.wait_exports_gone().await?;
        self.end_jobs().await?;
        let something = !(ours.is_empty() && jobs.is_empty() && nodes.is_empty());
        if something && others.is_empty() && server == Server::Ours {
            self.stop_server().await?;
        }
        self.delete_nodes(&nodes).await?;
        let descriptors = self.remove_descriptors().await?;
        Ok(ours.len() + jobs.len() + nodes.len() + descriptors)
    }

    /// Asks for what may have happened by itself since we looked; who asks looks again.
    async fn tell(&self, command: impl QmpCommand) -> Result<(), LiveError> {
        match self.ask(command).await {
            Err(LiveError::Hypervisor(HypervisorError::Monitor { .. })) => Ok(()),
            told => told.map(drop),
        }
    }

    /// What is ours in a list.
    async fn named(&self, list: impl QmpCommand, key: &str) -> Result<Vec<String>, LiveError> {
        let answer = self.ask(list).await?;
        Ok(names(&answer, key).filter(|name| is_ours(name)).collect())
    }

    async fn wait_exports_gone(&mut self) -> Result<(), LiveError> {
        let until = Instant::now() + GONE_DEADLINE;
        loop {
            let left = self.named(ListExports(json!({})), "id").await?;
            let Some(what) = left.into_iter().next() else {
                return Ok(());
            };
            self.wait_change(until, what).await?;
        }
    }

    /// Waits until an image's creation has ended, and takes its result.
    pub(super) async fn wait_created(&mut self, job: &str) -> Result<(), LiveError> {
        let until = Instant::now() + GONE_DEADLINE;
        loop {
            let jobs = self.ask(ListJobs(json!({}))).await?;
            let Some(found) = entries(&jobs).find(|one| text(one, "id") == job) else {
                return Ok(());
            };
            if text(found, "status") == "concluded" {
                self.ask(DismissJob(json!({ "id": job }))).await?;
                return match found["error"].as_str() {
                    None => Ok(()),
                    Some(error) => Err(LiveError::Hypervisor(HypervisorError::Monitor {
                        command: "blockdev-create".to_owned(),
                        detail: error.to_owned(),
                    })),
                };
            }
            self.wait_change(until, job.to_owned()).await?;
        }
    }

    /// Cancels what runs, and dismisses what has ended.
    async fn end_jobs(&mut self) -> Result<(), LiveError> {
        let until = Instant::now() + GONE_DEADLINE;
        let mut cancelled = Vec::new();
        loop {
            let jobs = self.ask(ListJobs(json!({}))).await?;
            let ours: Vec<_> = entries(&jobs)
                .filter(|job| is_ours(text(job, "id")))
                .collect();
            let Some(first) = ours.first() else {
                return Ok(());
            };
            for job in &ours {
                let id = text(job, "id").to_owned();
                if text(job, "status") == "concluded" {
                    self.tell(DismissJob(json!({ "id": id }))).await?;
                } else if !cancelled.contains(&id) {
                    self.tell(CancelJob(json!({ "id": id }))).await?;
                    cancelled.push(id);
                }
            }
            self.wait_change(until, text(first, "id").to_owned())
                .await?;
        }
    }

    /// Waits until something happens in the machine, or it is time to look again.
    async fn wait_change(&mut self, until: Instant, what: String) -> Result<(), LiveError> {
        if Instant::now() >= until {
            return Err(LiveError::Stuck { what });
        }
        if let Ok(None) = timeout(LOOK_AGAIN, self.monitor.next_event()).await {
            // The connection has ended: the next question says so.
            return Ok(());
        }
        while self.monitor.waiting_event().is_some() {}
        Ok(())
    }

    /// Stops the server of exports, which had none but ours.
    async fn stop_server(&self) -> Result<(), LiveError> {
        match self.ask(StopServer(json!({}))).await {
            // It was not even started.
            Err(LiveError::Hypervisor(HypervisorError::Monitor { detail, .. }))
                if detail.contains("not running") =>
            {
                Ok(())
            }
            stopped => stopped.map(drop),
        }
    }

    /// Deletes nodes, those that stand on others first.
    async fn delete_nodes(&self, nodes: &[String]) -> Result<(), LiveError> {
        let (mut nodes, mut failed) = (nodes.to_vec(), None);
        for _ in 0..NODE_ROUNDS {
            let mut left = Vec::new();
            for node in nodes {
                let command = DeleteNode(json!({ "node-name": node }));
                if let Err(error) = self.ask(command).await {
                    failed = Some(error);
                    left.push(node);
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            nodes = self.named_nodes(&left).await?;
            if nodes.is_empty() {
                return Ok(());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Those of some nodes that are still there: a filter goes with its job.
    async fn named_nodes(&self, among: &[String]) -> Result<Vec<String>, LiveError> {
        let nodes = self.nodes().await?;
        let left = names(&nodes, "node-name").filter(|name| among.contains(name));
        Ok(left.collect())
    }

    async fn remove_descriptors(&self) -> Result<usize, LiveError> {
        let sets = self.ask(ListDescriptors(json!({}))).await?;
        let mut removed = 0;
        for set in entries(&sets) {
            let mut marks = entries(&set["fds"]).map(|one| text(one, "opaque"));
            if !marks.any(is_ours) {
                continue;
            }
            let command = RemoveDescriptor(json!({ "fdset-id": set["fdset-id"] }));
            // QEMU may have closed it by itself when its last user went.
            self.tell(command).await?;
            removed += 1;
        }
        Ok(removed)
    }
}

fn is_ours(name: &str) -> bool {
    ProcessId::of_name(name).is_some()
}

fn names<'a>(answer: &'a Value, key: &'a str) -> impl Iterator<Item = String> + 'a {
    entries(answer).map(move |one| text(one, key).to_owned())
}

/// A capture of another process that lives is not to be disturbed.
fn refuse_living<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), LiveError> {
    let own = ProcessId::own();
    let owner = |name: &'a String| ProcessId::of_name(name);
    let living = names.find_map(|name| owner(name).filter(|one| *one != own && one.lives()));
    living.map_or(Ok(()), |process| {
        Err(LiveError::CaptureRunning { pid: process.pid })
    })
}
