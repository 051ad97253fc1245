//! Disks of a running machine, into their histories: all at one moment, changed blocks only.
//!
//! ```text
//!  begin (one moment of all disks) ──► for each: dirty blocks ──► packs, changeset, sealed ──► note
//!                                                                          │
//!  finish: kept, where all were acknowledged; else dropped ◄───────────────┘
//! ```
//!
//! The note of the last acknowledged capture stands in the image's record, and is written after the
//! changeset. Where we are killed in between, the next capture goes on from the note before: it reads
//! what changed since then, which is more than it needs and never less.

use super::asker::WorkerProgram;
use super::capture::Captured;
use super::counting::Counting;
use super::error::ImageError;
use super::export::{Watched, dirty, whole};
use super::room::RoomWatch;
use super::shadow::{NewImage, Shadows};
use super::vault::Vault;
use crate::session::now;
use block::nbd::{Export, dirty_bitmap};
use disk::ReadAt as _;
use hypervisor::RunRoot;
use hypervisor::live::{
    Base, BitmapName, CaptureRequest, Changed, DiskChoice, FreezeRequest, Label, LiveDisk,
    LiveDisks, LiveMachine, Outcome, PointDisk, PointInTime, ProcessId, Released, beside_a_guest,
};
use image::changeset;
use image::changeset::Kind;
use image::compare::changed_blocks;
use image::history::History;
use image::seal::SealingKey;
use image::writer::{About, ChangesetWriter, Cut, WriteError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{ImageRecord, ImageSource};
use uuid::Uuid;

/// The note that holds, as JSON, what the next capture goes on from.
const BASE: &str = "live";

/// The note that holds the socket of the guest's agent.
const AGENT: &str = "agent";

/// Room for what the guest overwrites while one disk is read.
const ROOM_BYTES: u64 = 256 << 20;

/// A running machine as the user names it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its monitor's socket.
    pub monitor: PathBuf,
    /// Its guest agent's socket.
    pub agent: Option<PathBuf>,
}

/// How the process is started that freezes file systems, and thaws them whatever becomes of us: a
/// program and its arguments, with which it calls [`hypervisor::live::thaw_guard_main`].
#[derive(Debug, Clone)]
pub struct GuardProgram(pub WorkerProgram);

/// What the next capture goes on from.
#[derive(Debug, Serialize, Deserialize)]
struct KeptBase {
    note: String,
    size_bytes: u64,
    /// The machine's process: its number and start.
    process: Option<(i32, u64)>,
}

impl KeptBase {
    fn of(record: &ImageRecord) -> Option<Base> {
        let kept: Self = serde_json::from_str(record.notes.get(BASE)?).ok()?;
        Some(Base {
            note: Label::new(&kept.note)?,
            size_bytes: kept.size_bytes,
            process: kept
                .process
                .map(|(pid, started)| ProcessId { pid, started }),
        })
    }
}

/// One disk of a machine that is being captured.
struct Target {
    record: ImageRecord,
    vault: Vault,
    disk: String,
}

/// Adds disks of a running machine, and captures them whole, all at one moment. One disk gets the
/// name itself, of several each gets the name and its own. Without a choice all that can be
/// captured are.
///
/// # Errors
/// A name is taken, or a disk cannot be captured: then none is added.
pub async fn add_live(
    shadows: &Shadows,
    keys: (&SealingKey, &GuardProgram),
    machine: &Machine,
    (new, chosen): (NewImage<'_>, &[String]),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<(ImageRecord, Captured)>, ImageError> {
    let mut live = LiveMachine::connect(&machine.monitor).await?;
    let drives = live.drives().await?;
    let is_chosen = |disk: &&LiveDisk| {
        let named = |one: &String| *one == disk.name || *one == disk.node;
        chosen.is_empty() || chosen.iter().any(named)
    };
    let disks: Vec<&LiveDisk> = drives.disks.iter().filter(is_chosen).collect();
    if disks.is_empty() || !chosen.is_empty() && disks.len() < chosen.len() {
        let known: Vec<&str> = drives.disks.iter().map(|disk| disk.name.as_str()).collect();
        let skipped = drives.skipped.iter();
        let skipped: Vec<String> = skipped
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        return Err(ImageError::NoSuch(format!(
            "the machine has no such disks to capture; there are: {} ({})",
            known.join(", "),
            skipped.join(", ")
        )));
    }
    let mut targets = Vec::new();
    for disk in &disks {
        let name = match disks.len() {
            1 => new.name.to_owned(),
            _ => format!("{}-{}", new.name, plain(&disk.name)),
        };
        let mut record = record(&name, machine, disk)?;
        match shadows.create(&mut record, new.encrypted) {
            Ok(vault) => targets.push(Target {
                record,
                vault,
                disk: disk.name.clone(),
            }),
            Err(error) => {
                discard(shadows, targets)?;
                return Err(error);
            }
        }
    }
    match capture_all(&mut live, keys, machine, &targets, progress).await {
        Ok(captured) => Ok(captured),
        Err(error) => {
            discard(shadows, targets)?;
            Err(error)
        }
    }
}

/// Removes images that were to be added.
fn discard(shadows: &Shadows, targets: Vec<Target>) -> Result<(), ImageError> {
    for target in targets {
        let name = target.record.name.clone();
        drop(target);
        shadows.images.remove(&name)?;
    }
    Ok(())
}

/// A disk's name as a part of an image's.
fn plain(name: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    };
    name.chars().map(plain).collect()
}

fn record(name: &str, machine: &Machine, disk: &LiveDisk) -> Result<ImageRecord, ImageError> {
    let text = |path: &Path| {
        let absolute = std::path::absolute(path).map_err(ImageError::file("find", path))?;
        let text = absolute.to_str().map(str::to_owned);
        text.ok_or_else(|| ImageError::NoSuch(format!("{} is no text", path.display())))
    };
    let mut notes = BTreeMap::new();
    if let Some(agent) = &machine.agent {
        notes.insert(AGENT.to_owned(), text(agent)?);
    }
    Ok(ImageRecord {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        created: now(),
        source: ImageSource::Machine {
            vm: text(&machine.monitor)?,
            disk: disk.name.clone(),
        },
        format: disk.format.clone(),
        notes,
    })
}

/// Captures images of one running machine again, all at one moment.
///
/// # Errors
/// One is of no machine or of another, is captured by another process, or cannot be captured.
pub async fn capture_live(
    shadows: &Shadows,
    keys: (&SealingKey, &GuardProgram),
    names: &[String],
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<(ImageRecord, Captured)>, ImageError> {
    let mut machine: Option<Machine> = None;
    let mut targets = Vec::new();
    for name in names {
        let vault = shadows.write(name)?;
        vault.tidy();
        let record = vault.shelf.record();
        let ImageSource::Machine { vm, disk } = &record.source else {
            return Err(ImageError::NoSuch(format!("{name} is of no machine")));
        };
        let of = Machine {
            monitor: vm.into(),
            agent: record.notes.get(AGENT).map(PathBuf::from),
        };
        let disk = disk.clone();
        if machine
            .as_ref()
            .is_some_and(|one| one.monitor != of.monitor)
        {
            return Err(ImageError::NoSuch(format!("{name} is of another machine")));
        }
        machine.get_or_insert(of);
        targets.push(Target {
            record,
            vault,
            disk,
        });
    }
    let machine = machine.ok_or_else(|| ImageError::NoSuch("no image is named".to_owned()))?;
    let mut live = LiveMachine::connect(&machine.monitor).await?;
    capture_all(&mut live, keys, &machine, &targets, progress).await
}

async fn capture_all(
    live: &mut LiveMachine,
    (key, guard): (&SealingKey, &GuardProgram),
    machine: &Machine,
    targets: &[Target],
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<(ImageRecord, Captured)>, ImageError> {
    let run = RunRoot::open().and_then(|root| root.create(None));
    let run = run.map_err(hypervisor::live::LiveError::from)?;
    let note = label(&Uuid::now_v7().simple().to_string())?;
    let scratch = targets
        .first()
        .map_or(run.path(), |one| one.vault.shelf.path());
    let mut disks = Vec::new();
    for target in targets {
        disks.push(DiskChoice {
            disk: target.disk.clone(),
            image: label(&target.record.id.simple().to_string())?,
            base: KeptBase::of(&target.record),
        });
    }
    let request = CaptureRequest {
        disks,
        note: note.clone(),
        private: run.path().to_path_buf(),
        scratch: scratch.to_path_buf(),
        room_bytes: ROOM_BYTES,
        freeze: machine.agent.as_ref().map(|agent| FreezeRequest {
            agent: agent.clone(),
            program: guard.0.program.clone(),
            arguments: guard.0.arguments.iter().map(OsString::from).collect(),
        }),
    };
    let mut point = live.begin(&request).await?;
    let watch = match RoomWatch::start(std::mem::take(&mut point.rooms)) {
        Ok(watch) => watch,
        Err(error) => {
            drop(live.finish(point, Outcome::Dropped).await);
            return Err(error);
        }
    };
    let mut read = Vec::new();
    for (target, disk) in targets.iter().zip(&point.disks) {
        let take = || take(target, disk, (&point, &watch), key, progress);
        let took = tokio::task::block_in_place(|| beside_a_guest(take));
        match took {
            Ok(captured) => read.push(captured),
            Err(error) => {
                // The blocks stay dirty for the next capture. That this was given up is the news.
                drop(live.finish(point, Outcome::Dropped).await);
                return Err(watch.end().err().unwrap_or(error));
            }
        }
    }
    // All is read: what the guest overwrites from now on is of no use to anybody.
    drop(watch);
    let (process, freeze) = (point.process, point.freeze.clone());
    let mut done = Vec::new();
    for ((target, disk), mut captured) in targets.iter().zip(&point.disks).zip(read) {
        let record = remember(target, &note, disk, process)?;
        captured.notes.push(freeze.to_string());
        done.push((record, captured));
    }
    // All is kept. What stays in the machine, the next capture understands.
    if let Err(error) = live.finish(point, Outcome::Kept).await {
        for (_, captured) in &mut done {
            captured
                .notes
                .push(format!("something of ours stayed in the machine: {error}"));
        }
    }
    Ok(done)
}

fn label(text: &str) -> Result<Label, ImageError> {
    Label::new(text).ok_or_else(|| ImageError::NoSuch(format!("{text} can be no label")))
}

/// Writes down what the next capture goes on from.
fn remember(
    target: &Target,
    note: &Label,
    disk: &PointDisk,
    process: Option<ProcessId>,
) -> Result<ImageRecord, ImageError> {
    let kept = KeptBase {
        note: note.to_string(),
        size_bytes: disk.disk.size_bytes,
        process: process.map(|process| (process.pid, process.started)),
    };
    let mut record = target.record.clone();
    if let Ok(text) = serde_json::to_string(&kept) {
        record.notes.insert(BASE.to_owned(), text);
    }
    target.vault.shelf.set_record(&record)?;
    Ok(record)
}

/// Writes one disk at its moment into its history.
fn take(
    target: &Target,
    disk: &PointDisk,
    (point, watch): (&PointInTime, &RoomWatch),
    key: &SealingKey,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Captured, ImageError> {
    let blobs = Counting::new(Arc::new(target.vault.sealed(key)));
    let history = History::open(&blobs)?;
    let mut contexts = vec![block::nbd::ALLOCATION.to_owned()];
    if let Changed::Dirty { bitmap, .. } = &disk.changed {
        contexts.push(dirty_bitmap(bitmap));
    }
    let export = Export::connect(&point.socket, &disk.export, &contexts)?;
    let export = Watched {
        export: &export,
        watch,
    };
    let mut known = history.known_units(&blobs)?;
    let last = history.changesets().last();
    let kind = match (last, &disk.changed) {
        (None, _) => Kind::Base,
        (Some(_), Changed::Dirty { .. }) => Kind::Increment,
        (Some(_), Changed::All(_)) => Kind::Resync,
    };
    let about = About {
        kind,
        sequence: last.map_or(0, |last| last.changeset.sequence.saturating_add(1)),
        parent: history.head(),
        disk_bytes: export.size_bytes(),
    };
    let mut notes = Vec::new();
    let cut = last.map_or(Cut::WHOLE, |_| Cut::CHANGE);
    let mut writer = ChangesetWriter::new(&blobs, &mut known, about, cut);
    let read_bytes = match (last, &disk.changed) {
        (None, _) => whole(&export, &mut writer, progress)?,
        (Some(_), Changed::Dirty { bitmap, .. }) => {
            dirty(&export, &dirty_bitmap(bitmap), &mut writer, progress)?
        }
        (Some(last), Changed::All(why)) => {
            notes.push(format!("the whole disk was read and compared: {why}"));
            let kept = Arc::clone(&target.vault.blobs);
            let version = history.version(kept, last.changeset.sequence)?;
            let all = export.size_bytes();
            let changed = changed_blocks(&version, &export, |at| progress(at, all))
                .map_err(WriteError::from)?;
            for blocks in changed {
                writer.write_from(&export, blocks)?;
            }
            all
        }
    };
    let source = format!("{}:{}", source(&target.record), disk.disk.name);
    let source = source
        .chars()
        .take(changeset::MAX_SOURCE_BYTES / 4)
        .collect();
    let written = writer.finish(point.moment, source)?;
    Ok(Captured {
        written,
        stored_bytes: blobs.put_bytes(),
        read_bytes: Some(read_bytes),
        notes,
    })
}

fn source(record: &ImageRecord) -> &str {
    match &record.source {
        ImageSource::Machine { vm, .. } => vm,
        ImageSource::File { path } => path,
    }
}

/// How much the guest has written to images of one machine since they were last captured: the most
/// of any of them. Where that is not known, because there is no bitmap, it is the disk's size.
///
/// # Errors
/// An image is not of that machine, or the machine does not answer.
pub async fn dirty_bytes(shadows: &Shadows, names: &[String]) -> Result<u64, ImageError> {
    let mut most = 0;
    let mut machine: Option<(String, Vec<LiveDisk>)> = None;
    for name in names {
        let record = shadows.images.read(name)?.record();
        let ImageSource::Machine { vm, disk } = &record.source else {
            return Err(ImageError::NoSuch(format!("{name} is of no machine")));
        };
        let disks = match &machine {
            Some((same, disks)) if same == vm => disks,
            _ => {
                let mut live = LiveMachine::connect(Path::new(vm)).await?;
                let disks = live.drives().await?.disks;
                &machine.insert((vm.clone(), disks)).1
            }
        };
        let image = label(&record.id.simple().to_string())?;
        let found = disks
            .iter()
            .find(|one| one.name == *disk || one.node == *disk);
        let dirty = found.map(|one| {
            let ours = one.bitmaps.iter().filter(|bitmap| {
                let name = BitmapName::parse(&bitmap.name);
                bitmap.recording && name.is_some_and(|name| name.image == image)
            });
            ours.map(|bitmap| bitmap.dirty_bytes)
                .max()
                .unwrap_or(one.size_bytes)
        });
        most = most.max(dirty.unwrap_or(u64::MAX));
    }
    Ok(most)
}

/// Takes everything of ours off a running machine.
///
/// # Errors
/// The machine does not answer, or a process of ours captures it.
pub async fn release(monitor: &Path) -> Result<Released, ImageError> {
    let mut live = LiveMachine::connect(monitor).await?;
    Ok(live.release().await?)
}
