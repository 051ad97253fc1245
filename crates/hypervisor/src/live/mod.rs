//! Capturing the disks of a running machine that somebody else has started.
//!
//! All that a capture needs of a hypervisor is [`LiveDisks`]; [`LiveMachine`] is QEMU, by its
//! monitor's socket. A capture is one moment of several disks, from which blocks are read for as
//! long as it takes while the guest goes on:
//!
//! ```text
//!  begin: one transaction ──┬─ a new bitmap begins, and the last capture's is stopped
//!                           └─ from now on the guest's writes copy what they overwrite aside
//!         exports: the disk as it was at that moment, with the stopped bitmap: what is dirty
//!  …the caller reads the dirty blocks, and stores them…
//!  finish: exports, copies and the stopped bitmap go; the new one is what the next capture asks
//! ```
//!
//! # Bitmaps
//!
//! A bitmap's name holds the *note* of the capture at whose moment it began; the caller keeps the
//! note with the changeset, and names the note of the last acknowledged one when it begins the next.
//! With `a` acknowledged and `b` begun, a disk is in one of these states. `+` records, `-` is stopped:
//!
//! ```text
//!        none ──begin(b)──► b+          everything is read: a resync
//!        a+   ──begin(b)──► a- b+       a is read
//!  a- b+ ──finish(kept)──────► b+       a has served
//!  a- b+ ──finish(dropped)───► a+       one transaction: a records again, b is merged into it and goes
//! ```
//!
//! Each arrow is one transaction or one command, so we can die between them only. Then the next
//! `begin` is told which note its store has acknowledged: with `b`, what is older than `b` goes; with
//! `a`, what is newer is merged into `a`. If the bitmap of that note is missing, inconsistent (QEMU
//! was killed), of another unit, or the disk has another size, everything is read: [`Resync`].
//! So at any moment the bitmap of the acknowledged note, with those that are newer, holds at least
//! what was written since; or there is a resync.
//!
//! # What else is in the machine during a capture
//!
//! For each disk an overlay whose file has no name (it goes with the last descriptor), a job that
//! fills it, an export; and one export server. They carry our process's number and start, so the next
//! `begin` or `release` removes what a killed process left, and nothing of one that lives. Bitmaps,
//! nodes, jobs and exports with names that are not ours are never touched; an export server is
//! stopped only where it has no exports but ours, and something of ours stands beside it.
//!
//! Limits: what the guest overwrites during a capture needs room in the caller's directory; should
//! that run full, QEMU treats it as an error of the guest's disk (by default it pauses the guest). So
//! room is taken in advance, and the caller keeps it ahead of the guest ([`Room`]) or gives up. A disk
//! needs no name of its own, but those that are empty or
//! read-only are skipped, with their reasons.

mod error;
mod freeze;
mod manners;
mod names;
mod plan;
mod qemu;
mod room;

pub use error::LiveError;
pub use freeze::{FROZEN_MAX, Freeze, FreezeRequest, thaw_guard_main};
pub use manners::beside_a_guest;
pub use names::{BitmapName, Label, PREFIX, ProcessId};
pub use plan::{Base, Resync};
pub use qemu::LiveMachine;
pub use room::Room;

use async_trait::async_trait;
use model::Timestamp;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The unit of our bitmaps: in larger ones, more would be read than was written.
pub const GRANULARITY_BYTES: u64 = 4096;

/// The most disks of one capture: names of nodes have room for two digits.
pub const MAX_DISKS: usize = 64;

/// How long something of ours may take to go away, on a busy host.
pub(crate) const GONE_DEADLINE: Duration = Duration::from_secs(60);

/// A dirty bitmap, anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveBitmap {
    /// Its name; empty for those of jobs.
    pub name: String,
    /// Its unit.
    pub granularity_bytes: u64,
    /// How much is dirty by it.
    pub dirty_bytes: u64,
    /// Whether it records writes.
    pub recording: bool,
    /// Whether a job or an export is using it.
    pub busy: bool,
    /// Whether it outlives the machine's process.
    pub persistent: bool,
    /// Whether it was not written down when the process ended.
    pub inconsistent: bool,
}

/// A disk of a running machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDisk {
    /// What the user knows it by: the id of its device or drive, else the node's name.
    pub name: String,
    /// Its device's place in the machine, where it has one.
    pub device: Option<String>,
    /// The block node that the device stands on.
    pub node: String,
    /// The format of the image.
    pub format: String,
    /// The file, as the hypervisor names it: not to be opened.
    pub file: String,
    /// Its size.
    pub size_bytes: u64,
    /// Whether its format keeps bitmaps.
    pub keeps_bitmaps: bool,
    /// All its bitmaps.
    pub bitmaps: Vec<LiveBitmap>,
}

/// Why a drive cannot be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It never changes.
    ReadOnly,
    /// Nothing is in it.
    Empty,
    /// The hypervisor tells no name of its block node.
    Nameless,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "it is read-only",
            Self::Empty => "it is empty",
            Self::Nameless => "its block node has no name",
        })
    }
}

/// The drives of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveDrives {
    /// Those that can be captured.
    pub disks: Vec<LiveDisk>,
    /// Those that cannot, by name.
    pub skipped: Vec<(String, Skip)>,
}

/// One disk of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskChoice {
    /// The disk: [`LiveDisk::name`] or [`LiveDisk::node`].
    pub disk: String,
    /// The image that it is shadowed as; bitmaps of other images are not touched.
    pub image: Label,
    /// The last capture that was acknowledged.
    pub base: Option<Base>,
}

/// A capture to begin.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// The disks, all at one moment.
    pub disks: Vec<DiskChoice>,
    /// What this capture is told apart by: a new one for each.
    pub note: Label,
    /// A directory that only we may enter: the exports' socket comes there.
    pub private: PathBuf,
    /// A directory on a disk with room for what the guest overwrites meanwhile.
    pub scratch: PathBuf,
    /// Room that is taken there at once for each disk, or the disk's size if that is less.
    pub room_bytes: u64,
    /// How the guest's file systems are frozen for the moment; nothing, and they are not.
    pub freeze: Option<FreezeRequest>,
}

/// What has to be read of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// What this bitmap of the export says.
    Dirty {
        /// Its name.
        bitmap: String,
        /// How much it says.
        bytes: u64,
    },
    /// Everything.
    All(Resync),
}

/// One disk at the moment of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointDisk {
    /// The disk.
    pub disk: LiveDisk,
    /// The name of its export, read-only.
    pub export: String,
    /// What has to be read.
    pub changed: Changed,
    /// The bitmap that began at this moment.
    pub(crate) next: String,
}

/// Disks at one moment, until the capture is finished.
#[derive(Debug)]
pub struct PointInTime {
    /// When: the guest's last write before is in, the first one after is not.
    pub moment: Timestamp,
    /// Whether the guest's file systems stood still then.
    pub freeze: Freeze,
    /// The socket of the exports.
    pub socket: PathBuf,
    /// The disks, in the order of the request.
    pub disks: Vec<PointDisk>,
    /// The room of each disk, to be kept ahead of the guest.
    pub rooms: Vec<Room>,
    /// The machine's process, for the next capture's [`Base`].
    pub process: Option<ProcessId>,
    /// Holds the socket.
    pub(crate) _directory: tempfile::TempDir,
}

/// What became of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The store has acknowledged it: its note is the next one's base.
    Kept,
    /// It was given up: the next one has the same base as this one had.
    Dropped,
}

/// What was taken off a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// Bitmaps that were removed, by node and name.
    pub bitmaps: Vec<(String, String)>,
    /// Exports, jobs, nodes and descriptors of ours that a killed process had left.
    pub leftovers: usize,
    /// Bitmaps that are ours and could not be removed, with the reasons.
    pub kept: Vec<(String, String)>,
}

/// A running machine, as far as captures need it.
#[async_trait]
pub trait LiveDisks: Send {
    /// Its drives as they are now.
    ///
    /// # Errors
    /// The hypervisor does not answer.
    async fn drives(&mut self) -> Result<LiveDrives, LiveError>;

    /// Holds disks at one moment. What a killed process of ours left is removed first.
    ///
    /// # Errors
    /// A disk is not there or cannot be captured, there is no room, somebody else uses the export
    /// server, or the hypervisor refuses. Nothing but a new bitmap may be left then, which the next
    /// capture understands.
    async fn begin(&mut self, request: &CaptureRequest) -> Result<PointInTime, LiveError>;

    /// Ends a capture.
    ///
    /// # Errors
    /// The hypervisor is gone or refuses. A capture that was kept stays kept: the next `begin`
    /// goes on from whatever was left.
    async fn finish(&mut self, point: PointInTime, outcome: Outcome) -> Result<(), LiveError>;

    /// Takes everything of ours off the machine, of all images.
    ///
    /// # Errors
    /// The hypervisor does not answer, or a process of ours captures at the moment.
    async fn release(&mut self) -> Result<Released, LiveError>;
}
