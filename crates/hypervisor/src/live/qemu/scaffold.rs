//! What stands in the machine during a capture: overlays that the guest's old blocks are copied to,
//! and exports of the disks through them.
//!
//! The machine's process may be another user's, and may be kept from most paths. So it gets
//! descriptors: of each overlay's file, which has no name and is gone with the last descriptor, and of
//! a socket that listens in our private directory.

use super::LiveMachine;
use super::command::{AddDescriptor, AddExport, AddNode, CreateImage, KeepDescriptor, StartServer};
use crate::error::HypervisorError;
use crate::live::names::{Kind, ProcessId};
use crate::live::{LiveDisk, LiveError, Room};
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A directory of our own within a private one.
pub(super) fn private(within: &Path) -> Result<tempfile::TempDir, LiveError> {
    let made = tempfile::Builder::new().prefix("live-").tempdir_in(within);
    Ok(made.map_err(HypervisorError::file("make a directory in", within))?)
}

/// The action that copies aside what the guest overwrites, from this moment on.
pub(super) fn copy_aside(disk: usize, node: &str) -> Value {
    let own = ProcessId::own();
    json!({ "type": "blockdev-backup", "data": {
        "job-id": own.name(Kind::Job, disk),
        "device": node,
        "target": own.name(Kind::Overlay, disk),
        "filter-node-name": own.name(Kind::Filter, disk),
        "sync": "none",
    }})
}

impl LiveMachine {
    /// Puts an empty overlay over a disk; the guest does not write to it. Its room is taken.
    pub(super) async fn add_overlay(
        &mut self,
        number: usize,
        disk: &LiveDisk,
        mut room: Room,
    ) -> Result<Room, LiveError> {
        let own = ProcessId::own();
        let name = |kind| own.name(kind, number);
        let command = AddDescriptor(json!({ "opaque": name(Kind::Descriptor) }));
        let set = self.monitor.execute_with(command, room.file()).await?;
        let set = set["fdset-id"].as_u64().ok_or_else(|| LiveError::Answer {
            command: "add-fd",
            detail: "it names no set".to_owned(),
        })?;
        // Nobody else has this file, so nobody needs to be kept from it. It need not outlive the
        // host either: a flush at its end would only keep the guest waiting.
        let no_flush = json!({ "no-flush": true });
        self.ask(AddNode(json!({
            "driver": "file", "node-name": name(Kind::File), "locking": "off",
            "filename": format!("/dev/fdset/{set}"), "cache": no_flush,
        })))
        .await?;
        self.ask(CreateImage(json!({
            "job-id": name(Kind::Job),
            "options": { "driver": "qcow2", "file": name(Kind::File), "size": disk.size_bytes },
        })))
        .await?;
        self.wait_created(&name(Kind::Job)).await?;
        room.keep_ahead()?;
        self.ask(AddNode(json!({
            "driver": "qcow2", "node-name": name(Kind::Overlay),
            "file": name(Kind::File), "backing": disk.node, "cache": no_flush,
        })))
        .await?;
        Ok(room)
    }

    /// Starts the server of exports on a socket of ours.
    pub(super) async fn start_server(&self, socket: &Path) -> Result<(), LiveError> {
        let listener = UnixListener::bind(socket);
        let listener = listener.map_err(HypervisorError::file("listen at", socket))?;
        let name = ProcessId::own().name(Kind::Descriptor, 0);
        let command = KeepDescriptor(json!({ "fdname": name }));
        self.monitor.execute_with(command, &listener).await?;
        let address = json!({ "type": "fd", "data": { "str": name } });
        match self.ask(StartServer(json!({ "addr": address }))).await {
            // What a killed process of ours left was stopped before: this one is somebody else's.
            Err(LiveError::Hypervisor(HypervisorError::Monitor { detail, .. }))
                if detail.contains("already running") =>
            {
                Err(LiveError::ServerTaken)
            }
            started => started.map(drop),
        }
    }

    /// Exports a disk as its overlay shows it, and a stopped bitmap with it.
    pub(super) async fn add_export(
        &self,
        number: usize,
        node: &str,
        bitmap: Option<&String>,
    ) -> Result<String, LiveError> {
        let own = ProcessId::own();
        let export = format!("disk{number}");
        let bitmaps = bitmap.map(|name| json!({ "node": node, "name": name }));
        self.ask(AddExport(json!({
            "type": "nbd", "id": own.name(Kind::Export, number), "name": export,
            "node-name": own.name(Kind::Overlay, number), "writable": false,
            "bitmaps": Vec::from_iter(bitmaps),
        })))
        .await?;
        Ok(export)
    }
}
