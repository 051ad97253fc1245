//! QEMU, by its monitor's socket.
//!
//! * `drives`: what it says of its drives
//! * `command`: the commands
//! * `scaffold`: overlays, jobs, exports and the server that stand during a capture
//! * `sweep`: takes them down, ours and what a killed process left

mod command;
mod drives;
mod scaffold;
mod sweep;

use super::freeze::Freezer;
use super::plan::{Plan, plan};
use super::{
    CaptureRequest, Changed, DiskChoice, LiveDisk, LiveDisks, LiveDrives, LiveError, MAX_DISKS,
    Outcome, PREFIX, PointDisk, PointInTime, ProcessId, Released, Room,
};
use crate::error::HypervisorError;
use crate::qemu::qmp::Monitor;
use async_trait::async_trait;
use command::{ListDrives, ListNodes, RemoveBitmap, Transaction};
use drives::{bitmaps, drives, entries, text};
use model::Timestamp;
use qapi::qmp::QmpCommand;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};
use sweep::Server;
use tokio::net::UnixStream;

/// How long QEMU may take to greet. It greets at once, or when its other client has gone.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);

/// A running QEMU that somebody else has started.
#[derive(Debug)]
pub struct LiveMachine {
    monitor: Monitor,
    process: Option<ProcessId>,
}

impl LiveMachine {
    /// Connects to a monitor's socket (`-qmp unix:PATH,server=on,wait=off`). Nobody else can use it
    /// until this is dropped.
    ///
    /// # Errors
    /// There is no such socket, nobody listens, we may not, or somebody else is connected.
    pub async fn connect(socket: &Path) -> Result<Self, LiveError> {
        let path = || socket.to_path_buf();
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::NotFound => LiveError::SocketMissing(path()),
                    ErrorKind::ConnectionRefused => LiveError::Refused(path()),
                    ErrorKind::PermissionDenied => LiveError::Denied(path()),
                    // The queue of those who wait for the other client to go is full.
                    ErrorKind::WouldBlock => LiveError::Taken(path()),
                    _ => HypervisorError::file("connect to", socket)(error).into(),
                });
            }
        };
        let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let monitor = match Monitor::open_within(stream, GREETING_DEADLINE).await {
            Err(HypervisorError::Deadline { .. }) => return Err(LiveError::Taken(path())),
            opened => opened?,
        };
        Ok(Self {
            monitor,
            process: peer.map(ProcessId::of),
        })
    }

    async fn ask(&self, command: impl QmpCommand) -> Result<Value, LiveError> {
        Ok(self.monitor.execute(command).await?)
    }

    async fn list(&self) -> Result<LiveDrives, LiveError> {
        drives(&self.ask(ListDrives(json!({}))).await?)
    }

    async fn transaction(&self, actions: Vec<Value>) -> Result<(), LiveError> {
        if actions.is_empty() {
            return Ok(());
        }
        self.ask(Transaction(json!({ "actions": actions }))).await?;
        Ok(())
    }

    async fn remove_bitmap(&self, node: &str, name: &str) -> Result<(), LiveError> {
        let command = RemoveBitmap(json!({ "node": node, "name": name }));
        self.ask(command).await.map(drop)
    }

    /// Finds the disks of a request, and what is to be done with their bitmaps.
    async fn plans(&self, request: &CaptureRequest) -> Result<Vec<(LiveDisk, Plan)>, LiveError> {
        let count = request.disks.len();
        if !(1..=MAX_DISKS).contains(&count) {
            return Err(LiveError::DiskCount { count });
        }
        let drives = self.list().await?;
        let mut plans = Vec::new();
        for choice in &request.disks {
            let disk = choose(&drives, choice)?;
            let machine = (disk.size_bytes, self.process);
            let base = choice.base.as_ref();
            let plan = plan(&choice.image, &request.note, base, machine, &disk.bitmaps);
            let plan = plan.ok_or_else(|| LiveError::NoteUsed(request.note.clone()))?;
            plans.push((disk, plan));
        }
        Ok(plans)
    }

    /// Brings the bitmaps of captures that were never finished into order.
    async fn repair(&self, plans: &[(LiveDisk, Plan)]) -> Result<(), LiveError> {
        for (disk, plan) in plans {
            for name in &plan.useless {
                self.remove_bitmap(&disk.node, name).await?;
            }
            if let (Ok(base), false) = (&plan.base, plan.merge.is_empty()) {
                self.transaction(join(&disk.node, base, &plan.merge))
                    .await?;
            }
        }
        Ok(())
    }

    async fn begin_at(
        &mut self,
        request: &CaptureRequest,
        plans: Vec<(LiveDisk, Plan)>,
    ) -> Result<PointInTime, LiveError> {
        let directory = scaffold::private(&request.private)?;
        let socket = directory.path().join("exports");
        let mut rooms = Vec::new();
        for (number, (disk, _)) in plans.iter().enumerate() {
            let scratch = request.scratch.clone();
            let room = Room::find(scratch, disk.size_bytes, request.room_bytes)?;
            rooms.push(self.add_overlay(number, disk, room).await?);
        }
        self.start_server(&socket).await?;
        let actions = plans.iter().enumerate();
        let actions = actions.flat_map(|(number, (disk, plan))| moment_of(number, disk, plan));
        let actions = actions.collect();
        let freezer = Freezer::freeze(request.freeze.as_ref()).await;
        let moment = now();
        let begun = self.transaction(actions).await;
        let freeze = freezer.thaw().await;
        begun?;
        let mut disks = Vec::new();
        for (number, (disk, plan)) in plans.into_iter().enumerate() {
            disks.push(self.export(number, disk, plan).await?);
        }
        Ok(PointInTime {
            moment,
            freeze,
            socket,
            disks,
            rooms,
            process: self.process,
            _directory: directory,
        })
    }

    /// Exports a disk as it was at the moment.
    async fn export(
        &self,
        number: usize,
        disk: LiveDisk,
        plan: Plan,
    ) -> Result<PointDisk, LiveError> {
        let bitmap = plan.base.as_ref().ok();
        let export = self.add_export(number, &disk.node, bitmap).await?;
        let changed = match plan.base {
            Err(reason) => Changed::All(reason),
            Ok(bitmap) => {
                let bytes = self.dirty_bytes(&disk.node, &bitmap).await?;
                Changed::Dirty { bitmap, bytes }
            }
        };
        Ok(PointDisk {
            disk,
            export,
            changed,
            next: plan.next,
        })
    }

    /// How much a stopped bitmap says.
    async fn dirty_bytes(&self, node: &str, bitmap: &str) -> Result<u64, LiveError> {
        let nodes = self.nodes().await?;
        let node = entries(&nodes).find(|one| text(one, "node-name") == node);
        let found = node.into_iter().flat_map(bitmaps);
        let mut found = found.filter(|one| one.name == bitmap);
        found.next().map(|one| one.dirty_bytes).ok_or_else(|| {
            let detail = format!("the bitmap {bitmap} is missing");
            LiveError::Answer {
                command: "query-named-block-nodes",
                detail,
            }
        })
    }

    async fn nodes(&self) -> Result<Value, LiveError> {
        self.ask(ListNodes(json!({ "flat": true }))).await
    }
}

#[async_trait]
impl LiveDisks for LiveMachine {
    async fn drives(&mut self) -> Result<LiveDrives, LiveError> {
        self.list().await
    }

    async fn begin(&mut self, request: &CaptureRequest) -> Result<PointInTime, LiveError> {
        self.sweep(Server::Ours).await?;
        let plans = self.plans(request).await?;
        self.repair(&plans).await?;
        let begun = self.begin_at(request, plans).await;
        if let Err(failure) = &begun {
            let server = match failure {
                LiveError::ServerTaken => Server::Others,
                _ => Server::Ours,
            };
            if let Err(error) = self.sweep(server).await {
                tracing::warn!(%error, "a capture that failed left something in the machine");
            }
        }
        begun
    }

    async fn finish(&mut self, point: PointInTime, outcome: Outcome) -> Result<(), LiveError> {
        self.sweep(Server::Ours).await?;
        for one in &point.disks {
            let node = &one.disk.node;
            match (outcome, &one.changed) {
                (Outcome::Kept, Changed::Dirty { bitmap, .. }) => {
                    self.remove_bitmap(node, bitmap).await?;
                }
                (Outcome::Kept, Changed::All(_)) => {}
                (Outcome::Dropped, Changed::Dirty { bitmap, .. }) => {
                    let merged = [one.next.clone()];
                    self.transaction(join(node, bitmap, &merged)).await?;
                }
                (Outcome::Dropped, Changed::All(_)) => self.remove_bitmap(node, &one.next).await?,
            }
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<Released, LiveError> {
        let mut released = Released {
            leftovers: self.sweep(Server::Ours).await?,
            ..Released::default()
        };
        let nodes = self.nodes().await?;
        for node in entries(&nodes) {
            let name = text(node, "node-name");
            let ours = bitmaps(node).into_iter().map(|bitmap| bitmap.name);
            for bitmap in ours.filter(|bitmap| bitmap.starts_with(PREFIX)) {
                match self.remove_bitmap(name, &bitmap).await {
                    Ok(()) => released.bitmaps.push((name.to_owned(), bitmap)),
                    Err(error) => released.kept.push((bitmap, error.to_string())),
                }
            }
        }
        Ok(released)
    }
}

/// The actions that make up one disk's part of the moment.
fn moment_of(number: usize, disk: &LiveDisk, plan: &Plan) -> Vec<Value> {
    let node = &disk.node;
    let mut actions = vec![json!({ "type": "block-dirty-bitmap-add", "data": {
        "node": node, "name": plan.next, "persistent": disk.keeps_bitmaps,
        "granularity": super::GRANULARITY_BYTES,
    }})];
    if let Ok(base) = &plan.base {
        let data = json!({ "node": node, "name": base });
        actions.push(json!({ "type": "block-dirty-bitmap-disable", "data": data }));
    }
    actions.push(scaffold::copy_aside(number, node));
    actions
}

/// The actions by which a stopped bitmap takes in newer ones and records again. It records first, so
/// that no write falls between.
fn join(node: &str, base: &str, newer: &[String]) -> Vec<Value> {
    let mut actions = vec![
        json!({ "type": "block-dirty-bitmap-enable", "data": { "node": node, "name": base } }),
        json!({ "type": "block-dirty-bitmap-merge",
            "data": { "node": node, "target": base, "bitmaps": newer } }),
    ];
    actions.extend(newer.iter().map(|name| {
        json!({ "type": "block-dirty-bitmap-remove", "data": { "node": node, "name": name } })
    }));
    actions
}

fn choose(drives: &LiveDrives, choice: &DiskChoice) -> Result<LiveDisk, LiveError> {
    let wanted = &choice.disk;
    let by_name = drives.disks.iter().find(|disk| disk.name == *wanted);
    let by_node = || drives.disks.iter().find(|disk| disk.node == *wanted);
    if let Some(disk) = by_name.or_else(by_node) {
        return Ok(disk.clone());
    }
    let name = wanted.clone();
    let mut skipped = drives.skipped.iter();
    if let Some((_, reason)) = skipped.find(|(skipped, _)| skipped == wanted) {
        return Err(LiveError::Unsuitable {
            name,
            reason: *reason,
        });
    }
    let known: Vec<_> = drives.disks.iter().map(|disk| &*disk.name).collect();
    let known = known.join(", ");
    Err(LiveError::NoSuchDisk { name, known })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default().as_nanos();
    Timestamp::from_unix_ns(i64::try_from(since).unwrap_or(i64::MAX))
}
