//! The worker's side: one order, carried out in a process of its own, under limits.

use super::order::{BackingName, Description, Disk, Layer, Layers, Order};
use super::talk::{FarBlobs, Talk};
use super::{look, owners};
use block::DirectFile;
use disk::qcow2::{Header, Parts, Qcow2, Qcow2Error};
use disk::vhdx::{Vhdx, VhdxError};
use disk::vmdk::{self, Vmdk, VmdkError};
use disk::{Format, ReadAt, ReadError, Source};
use image::compare::changed_blocks;
use image::files::{Compared, DiskFiles, FilesError, Ranges, compare_disks};
use image::history::{History, HistoryError};
use image::writer::{About, ChangesetWriter, Cut, WriteError};
use image::{BLOCK_BYTES, changeset};
use model::Timestamp;
use sandbox::{Hands, SandboxError};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Bytes between two words on how far it is.
const PROGRESS_BYTES: u64 = 64 << 20;

/// Threads that read ahead: one for each of two disks that are compared.
const THREADS: usize = 2;

/// Takes an order, and carries it out. The process is confined for good.
///
/// # Errors
/// Nobody gave an order, the process cannot be confined, or nobody listens.
pub fn serve() -> Result<(), ServeError> {
    let (entered, hands) = sandbox::enter_with(THREADS)?;
    let files = entered.files;
    let talk = Talk::new();
    let order: Order = talk.order()?;
    match carry_out(&talk, files, order, &hands) {
        Ok(()) => Ok(()),
        // Whoever does not listen need not be told.
        Err(WorkError::Talk(error)) => Err(error.into()),
        Err(
            error @ (WorkError::NoFile(_)
            | WorkError::NoSnapshot(_)
            | WorkError::Ambiguous { .. }
            | WorkError::NotAFile { .. }),
        ) => Ok(talk.nothing(error.to_string())?),
        Err(error) => Ok(talk.failed(chain_of(&error))?),
    }
}

/// Why a worker ended without having said why to its asker.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It has no order, or cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Nobody speaks or listens.
    #[error("speak with vardoger: {0}")]
    Talk(#[from] io::Error),
}

/// Why an order could not be carried out; told to the asker as text.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    #[error("{0}")]
    Talk(#[from] io::Error),
    #[error("{0}")]
    Order(&'static str),
    #[error("there is no snapshot {0:?} in the image")]
    NoSnapshot(String),
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
    #[error(transparent)]
    Vmdk(#[from] VmdkError),
    #[error(transparent)]
    Vhdx(#[from] VhdxError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("there is no {0} on any volume that can be read")]
    NoFile(String),
    #[error("{path} is on the volumes {one} and {other}: write {one}:{path} or {other}:{path}")]
    Ambiguous {
        path: String,
        one: String,
        other: String,
    },
    #[error("{path} is no file: {kind}")]
    NotAFile { path: String, kind: &'static str },
}

/// An error and what led to it, in one line.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}

fn carry_out(talk: &Talk, files: Vec<File>, order: Order, hands: &Hands) -> Result<(), WorkError> {
    let files: Vec<Source> = files
        .into_iter()
        .map(|file| DirectFile::of(file).map(|file| Arc::new(file) as Source))
        .collect::<Result<_, _>>()?;
    match order {
        Order::Describe { format } => {
            let format = format
                .format()
                .ok_or(WorkError::Order("an unknown format"))?;
            let file = files
                .first()
                .ok_or(WorkError::Order("no file came with the order"))?;
            Ok(talk.item(&describe(format, file)?)?)
        }
        Order::Capture {
            disk,
            taken,
            source,
        } => capture(talk, &*open(&files, &disk)?, taken, source),
        Order::List { disk, path } => look::list(talk, find(talk, &files, &disk)?, path.as_ref()),
        Order::Cat { disk, path } => look::cat(talk, find(talk, &files, &disk)?, &path),
        Order::TakeOut { disk, path } => look::take_out(talk, find(talk, &files, &disk)?, &path),
        Order::Whole { disk } => look::whole(talk, &*find(talk, &files, &disk)?),
        Order::Evidence { disk, since, until } => {
            look::evidence(talk, find(talk, &files, &disk)?, since..=until)
        }
        Order::Read { disk, parts } => owners::read(talk, &*find(talk, &files, &disk)?, &parts),
        Order::Owners { disk, parts } => owners::tell(talk, find(talk, &files, &disk)?, &parts),
        Order::Compare { before, after } => {
            let dirty = dirty(talk, &before, &after)?;
            let (before, after) = (find(talk, &files, &before)?, find(talk, &files, &after)?);
            let compared = match dirty {
                Some(dirty) => Compared {
                    before: DiskFiles::read(&[before]),
                    after: DiskFiles::read(&[after]),
                    dirty: dirty.into(),
                },
                None => compare_disks(&before, &after, &|job| hands.run(job))?,
            };
            look::compare(talk, &compared)
        }
    }
}

/// A disk, of image files or of the history that lies with the asker.
fn find(talk: &Talk, files: &[Source], disk: &Disk) -> Result<Source, WorkError> {
    match disk {
        Disk::Image(layers) => open(files, layers),
        Disk::Version(sequence) => {
            let blobs = Arc::new(FarBlobs(talk.clone()));
            let (history, _) = History::open_sound(&*blobs)?;
            Ok(Arc::new(history.version(blobs, *sequence)?))
        }
    }
}

/// What the changesets between two versions tell of; nothing where the disks must be compared.
fn dirty(talk: &Talk, before: &Disk, after: &Disk) -> Result<Option<Ranges>, WorkError> {
    let (Disk::Version(one), Disk::Version(other)) = (before, after) else {
        return Ok(None);
    };
    let between = one.min(other).saturating_add(1)..=*one.max(other);
    let (history, _) = History::open_sound(&FarBlobs(talk.clone()))?;
    let changesets = history.changesets().iter().map(|one| &one.changeset);
    let between = changesets.filter(|one| between.contains(&one.sequence));
    Ok(Some(Ranges::of_changesets(between)))
}

fn describe(format: Format, file: &Source) -> Result<Description, WorkError> {
    match format {
        Format::Raw => Ok(Description {
            disk_bytes: file.size_bytes(),
            backing: None,
            data_file: None,
            parts: Vec::new(),
        }),
        Format::Vmdk => {
            let descriptor = vmdk::describe(&**file)?;
            Ok(Description {
                disk_bytes: descriptor.size_bytes(),
                parts: descriptor.files().map(str::to_owned).collect(),
                backing: descriptor.parent.map(|parent| BackingName {
                    name: parent.file,
                    format: Some(Format::Vmdk.name().to_owned()),
                }),
                data_file: None,
            })
        }
        Format::Vhdx => Ok(Description {
            disk_bytes: Vhdx::open(Arc::clone(file))?.size_bytes(),
            backing: None,
            data_file: None,
            parts: Vec::new(),
        }),
        Format::Qcow2 => {
            let header = Header::read(&**file)?;
            Ok(Description {
                disk_bytes: header.size_bytes,
                backing: header.backing.map(|backing| BackingName {
                    name: backing.name,
                    format: backing.format,
                }),
                data_file: header.data_file,
                parts: Vec::new(),
            })
        }
    }
}

/// The disk that image files on each other make.
fn open(files: &[Source], disk: &Layers) -> Result<Source, WorkError> {
    check_vmdk(files, disk)?;
    let mut below: Option<Source> = None;
    for (depth, layer) in disk.layers.iter().enumerate().rev() {
        let snapshot = disk.snapshot.as_deref().filter(|_| depth == 0);
        below = Some(open_layer(files, layer, below.take(), snapshot)?);
    }
    below.ok_or(WorkError::Order("a disk of no image"))
}

/// Holds VMDK images that stand on each other to what each says of the one below.
fn check_vmdk(files: &[Source], disk: &Layers) -> Result<(), WorkError> {
    let vmdk = |layer: &Layer| {
        let file = files.get(layer.file);
        let file = file.filter(|_| layer.format.format() == Some(Format::Vmdk));
        file.map(|file| vmdk::describe(&**file)).transpose()
    };
    let below = disk.layers.iter().skip(1);
    for (layer, below) in disk.layers.iter().zip(below) {
        if let Some(parent) = vmdk(layer)?.and_then(|one| one.parent)
            && let Some(below) = vmdk(below)?
        {
            vmdk::check_below(&parent, &below)?;
        }
    }
    Ok(())
}

fn open_layer(
    files: &[Source],
    layer: &Layer,
    backing: Option<Source>,
    snapshot: Option<&str>,
) -> Result<Source, WorkError> {
    let find = |place: usize| {
        let missing = || WorkError::Order("a file is missing");
        files.get(place).map(Arc::clone).ok_or_else(missing)
    };
    let file = find(layer.file)?;
    let format = layer
        .format
        .format()
        .ok_or(WorkError::Order("an unknown format"))?;
    match (format, snapshot) {
        (Format::Raw, None) => Ok(file),
        (Format::Raw | Format::Vmdk | Format::Vhdx, Some(name)) => {
            Err(WorkError::NoSnapshot(name.to_owned()))
        }
        (Format::Vmdk, None) => {
            let parts = layer.parts.iter().map(|place| find(*place));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(Vmdk::open(file, parts, backing)?))
        }
        (Format::Vhdx, None) => Ok(Arc::new(Vhdx::open(file)?)),
        (Format::Qcow2, _) => {
            let header = Header::read(&*file)?;
            let data_file = layer.data_file.map(find).transpose()?;
            let parts = Parts { backing, data_file };
            let image = Qcow2::open(file, header, parts)?;
            match snapshot {
                None => Ok(Arc::new(image)),
                Some(name) => at_snapshot(&image, name),
            }
        }
    }
}

fn at_snapshot(image: &Qcow2, wanted: &str) -> Result<Source, WorkError> {
    let snapshots = image.snapshots()?;
    let by_name = snapshots.iter().find(|one| one.name == wanted);
    let found = by_name.or_else(|| snapshots.iter().find(|one| one.id == wanted));
    let found = found.ok_or_else(|| WorkError::NoSnapshot(wanted.to_owned()))?;
    Ok(Arc::new(image.at_snapshot(found)?))
}

/// Writes the disk into the history that lies with the asker.
fn capture(
    talk: &Talk,
    disk: &dyn ReadAt,
    taken: Timestamp,
    source: String,
) -> Result<(), WorkError> {
    let blobs = Arc::new(FarBlobs(talk.clone()));
    let history = History::open(&*blobs)?;
    let mut known = history.known_units(&*blobs)?;
    let last = history.changesets().last();
    let about = About {
        kind: last.map_or(changeset::Kind::Base, |_| changeset::Kind::Resync),
        sequence: last.map_or(0, |last| last.changeset.sequence.saturating_add(1)),
        parent: history.head(),
        disk_bytes: disk.size_bytes(),
    };
    let mut progress = Progress::new(talk, disk.size_bytes());
    let changed = match last {
        None => Vec::new(),
        Some(last) => {
            let version = history.version(blobs.clone(), last.changeset.sequence)?;
            changed_blocks(&version, disk, |at| progress.reached(at))?
        }
    };
    let cut = last.map_or(Cut::WHOLE, |_| Cut::CHANGE);
    let mut writer = ChangesetWriter::new(&*blobs, &mut known, about, cut);
    match last {
        None => {
            let blocks = disk.size_bytes().div_ceil(BLOCK_BYTES);
            let piece = PROGRESS_BYTES.div_ceil(BLOCK_BYTES);
            let mut at = 0;
            while at < blocks {
                let end = at.saturating_add(piece).min(blocks);
                writer.write_from(disk, at..end)?;
                progress.reached(end.saturating_mul(BLOCK_BYTES));
                at = end;
            }
        }
        Some(_) => {
            for blocks in changed {
                writer.write_from(disk, blocks)?;
            }
        }
    }
    writer.finish(taken, source)?;
    Ok(())
}

/// Says now and then how far it is. Whether somebody listens shows at the next word that matters.
struct Progress<'t> {
    talk: &'t Talk,
    all: u64,
    next: u64,
}

impl<'t> Progress<'t> {
    fn new(talk: &'t Talk, all: u64) -> Self {
        Self { talk, all, next: 0 }
    }

    fn reached(&mut self, done: u64) {
        if done >= self.next {
            self.next = done.saturating_add(PROGRESS_BYTES);
            drop(self.talk.progress(done.min(self.all), self.all));
        }
    }
}
