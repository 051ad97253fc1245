//! The worker's side of looking: files, their content, what happened to them.

use super::order::VolumePath;
use super::talk::Talk;
use super::told::{
    Bytes, Told, ToldActor, ToldEntry, ToldEvent, ToldExplanation, ToldFile, ToldKind, ToldTime,
    ToldVolume,
};
use super::worker::{WorkError, chain_of};
use disk::volume::Volume;
use disk::{Content as Kind, ReadAt, Source};
use image::files::{
    Change, Compared, DiskFiles, Entry, FileEvent, FileKind, FileTime, Files, Object,
};
use image::packages::{Explained, explain};
use image::records::Explanation;
use std::ops::RangeInclusive;

/// Files or events that are told at once.
const BATCH: usize = 256;

/// Bytes that are told at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Damages of a volume that are told.
const DAMAGES_TOLD: usize = 3;

/// Tells the volumes of a disk, and its files below a path.
pub(super) fn list(talk: &Talk, disk: Source, path: Option<&VolumePath>) -> Result<(), WorkError> {
    let disk = DiskFiles::read(&[disk]);
    tell_volumes(talk, &disk)?;
    let mut batch = Vec::new();
    let chosen = match path {
        Some(path) => vec![find(&disk, path)?],
        None => disk
            .readable()
            .map(|(volume, files)| (volume, files, None))
            .collect(),
    };
    for (volume, files, object) in chosen {
        let below = path.map_or(&b"/"[..], |path| path.path.0.as_slice());
        let prefix = Prefix::new(below);
        let is_directory = object.is_none_or(|object: &Object| object.kind == FileKind::Directory);
        for entry in files.tree.entries() {
            let path = entry.path();
            if is_directory && prefix.is_below(&path) || prefix.is_it(&path) {
                batch.push(file(volume, files, path, entry.object));
            }
            if batch.len() >= BATCH {
                talk.item(&Told::Files(std::mem::take(&mut batch)))?;
            }
        }
    }
    Ok(talk.item(&Told::Files(batch))?)
}

/// A path as a beginning of others.
struct Prefix<'p>(&'p [u8]);

impl<'p> Prefix<'p> {
    fn new(path: &'p [u8]) -> Self {
        let mut path = path;
        while let Some(shorter) = path.strip_suffix(b"/") {
            path = shorter;
        }
        Self(path)
    }

    fn is_it(&self, path: &[u8]) -> bool {
        path == self.0
    }

    fn is_below(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.0)
            .is_some_and(|rest| rest.starts_with(b"/"))
    }
}

fn tell_volumes(talk: &Talk, disk: &DiskFiles) -> Result<(), WorkError> {
    for (_, error) in &disk.damage {
        let note = format!("the partition table is damaged: {}", chain_of(error));
        talk.item(&Told::Note(note))?;
    }
    for one in &disk.volumes {
        let unread = match &one.files {
            Err(error) => Some(chain_of(error)),
            Ok(files) => {
                let damage = files.tree.damage();
                let first = damage.iter().take(DAMAGES_TOLD).map(|one| chain_of(one));
                let first: Vec<String> = first.collect();
                let mut said = files.system.notes();
                if !first.is_empty() {
                    let more = damage.len().saturating_sub(first.len());
                    let more = if more > 0 {
                        format!("; and {more} more")
                    } else {
                        String::new()
                    };
                    said.push(format!("damaged: {}{more}", first.join("; ")));
                }
                (!said.is_empty()).then(|| said.join("; "))
            }
        };
        talk.item(&Told::Volume(ToldVolume {
            name: one.volume.name.clone(),
            kind: one.volume.kind.name().to_owned(),
            label: one.volume.label.clone(),
            size_bytes: one.volume.size_bytes(),
            unread,
        }))?;
    }
    Ok(())
}

/// The one place that a path names.
fn find<'d>(
    disk: &'d DiskFiles,
    wanted: &VolumePath,
) -> Result<(&'d Volume, &'d Files, Option<&'d Object>), WorkError> {
    let named = |volume: &Volume| {
        wanted
            .volume
            .as_ref()
            .is_none_or(|name| *name == volume.name)
    };
    let mut found = disk.readable().filter_map(|(volume, files)| {
        let object = files.tree.find(&wanted.path.0)?;
        named(volume).then_some((volume, files, Some(object)))
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some((one, ..)), Some((other, ..))) => Err(WorkError::Ambiguous {
            path: wanted.path.text(),
            one: one.name.clone(),
            other: other.name.clone(),
        }),
        (None, _) => Err(WorkError::NoFile(wanted.path.text())),
    }
}

/// Tells the bytes of a file.
pub(super) fn cat(talk: &Talk, disk: Source, path: &VolumePath) -> Result<(), WorkError> {
    let disk = DiskFiles::read(&[disk]);
    let (volume, files, object) = find(&disk, path)?;
    let object = object.ok_or_else(|| WorkError::NoFile(path.path.text()))?;
    if object.kind != FileKind::File {
        return Err(WorkError::NotAFile {
            path: path.path.text(),
            kind: kind(object.kind).name(),
        });
    }
    let told = file(volume, files, path.path.0.clone(), object);
    talk.item(&Told::File(Box::new(told)))?;
    tell_content(talk, files, object)
}

fn tell_content(talk: &Talk, files: &Files, object: &Object) -> Result<(), WorkError> {
    let content = files
        .open(object.id)
        .ok_or(WorkError::Order("a file went away"))?;
    content.check()?;
    tell_bytes(talk, &content)
}

/// Tells what of a source is not known to be zeros.
fn tell_bytes(talk: &Talk, source: &dyn ReadAt) -> Result<(), WorkError> {
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < source.size_bytes() {
        let stretch = source.stretch_at(at)?;
        let left = stretch.bytes.min(source.size_bytes().saturating_sub(at));
        if stretch.content == Kind::Zero {
            at = at.saturating_add(left.max(1));
            continue;
        }
        let bytes = left.min(PIECE_BYTES);
        buffer.resize(usize::try_from(bytes).unwrap_or(0), 0);
        source.read_exact_at(at, &mut buffer)?;
        talk.bytes(at, &buffer)?;
        at = at.saturating_add(bytes.max(1));
    }
    Ok(())
}

/// Tells all of a disk that is not known to be zeros.
pub(super) fn whole(talk: &Talk, disk: &dyn ReadAt) -> Result<(), WorkError> {
    talk.item(&Told::Disk {
        size_bytes: disk.size_bytes(),
    })?;
    tell_bytes(talk, disk)
}

/// Tells what is at a path and below it, with the content of files.
pub(super) fn take_out(talk: &Talk, disk: Source, path: &VolumePath) -> Result<(), WorkError> {
    let disk = DiskFiles::read(&[disk]);
    let (volume, files, _) = find(&disk, path)?;
    let prefix = Prefix::new(&path.path.0);
    // A directory comes before what is in it.
    let mut below: Vec<(Vec<u8>, Entry<'_>)> = files
        .tree
        .entries()
        .map(|entry| (entry.path(), entry))
        .filter(|(path, _)| prefix.is_it(path) || prefix.is_below(path))
        .collect();
    below.sort_by(|one, other| one.0.cmp(&other.0));
    for (path, entry) in below {
        let told = file(volume, files, path, entry.object);
        talk.item(&Told::File(Box::new(told)))?;
        if entry.object.kind == FileKind::File {
            match tell_content(talk, files, entry.object) {
                Err(WorkError::Files(error)) => {
                    let note = format!("a file is damaged: {}", chain_of(&error));
                    talk.item(&Told::Note(note))?;
                }
                other => other?,
            }
        }
    }
    Ok(())
}

/// Tells what logs on a disk tell of a time.
pub(super) fn evidence(
    talk: &Talk,
    disk: Source,
    wanted: RangeInclusive<i64>,
) -> Result<(), WorkError> {
    let disk = DiskFiles::read(&[disk]);
    for (volume, files) in disk.readable() {
        let found = image::evidence::evidence(files, &wanted);
        if found.cut {
            let note = format!("{}: older entries of its logs are left out", volume.name);
            talk.item(&Told::Note(note))?;
        }
        for log in &found.left_out {
            let path = String::from_utf8_lossy(&log.path);
            let note = format!("{}: {path}: {}", volume.name, log.why);
            talk.item(&Told::Note(note))?;
        }
        for entries in found.entries.chunks(BATCH) {
            let told = entries.iter().map(|one| entry(&volume.name, one));
            talk.item(&Told::Entries(told.collect()))?;
        }
    }
    Ok(())
}

fn entry(volume: &str, entry: &image::evidence::Entry) -> ToldEntry {
    ToldEntry {
        time: entry.time,
        certainty: entry.certainty.name().to_owned(),
        kind: entry.kind.name().to_owned(),
        volume: volume.to_owned(),
        source: Bytes(entry.source.clone()),
        text: entry.text.clone(),
        actor: entry.actor.as_ref().map(|actor| ToldActor {
            user: actor.user.clone(),
            process: actor.process.clone(),
            confidence: actor.confidence.name().to_owned(),
        }),
        paths: entry.paths.iter().cloned().map(Bytes).collect(),
        packages: entry.packages.clone(),
    }
}

/// Tells what happened between two disks.
pub(super) fn compare(talk: &Talk, compared: &Compared) -> Result<(), WorkError> {
    tell_volumes(talk, &compared.after)?;
    for volume in compared.diff() {
        let diff = match volume.files {
            Ok(diff) => diff,
            Err(error) => {
                if volume.dirty_bytes > 0 {
                    let note = format!(
                        "{} ({}): {} bytes may differ: {}",
                        volume.name,
                        volume.kind,
                        volume.dirty_bytes,
                        chain_of(&error)
                    );
                    talk.item(&Told::Note(note))?;
                }
                continue;
            }
        };
        for error in diff.damage.iter().take(DAMAGES_TOLD) {
            let note = format!("{} is damaged: {}", volume.name, chain_of(error));
            talk.item(&Told::Note(note))?;
        }
        let explained =
            match [&compared.before, &compared.after].map(|disk| files_of(disk, &volume.name)) {
                [Some(before), Some(after)] => explain(before, after, &diff.events),
                _ => Explained::default(),
            };
        for database in &explained.unread {
            let path = String::from_utf8_lossy(&database.path);
            let note = format!("{}: {path} explains nothing: {}", volume.name, database.why);
            talk.item(&Told::Note(note))?;
        }
        let mut explained = explained.events.into_iter();
        for events in diff.events.chunks(BATCH) {
            let told = events.iter().map(|one| {
                let explanation = explained.next().flatten();
                event(&volume.name, one, explanation)
            });
            talk.item(&Told::Events(told.collect()))?;
        }
    }
    Ok(())
}

fn files_of<'d>(disk: &'d DiskFiles, volume: &str) -> Option<&'d Files> {
    disk.named(volume)?.files.as_ref().ok()
}

fn event(volume: &str, event: &FileEvent, explanation: Option<Explanation>) -> ToldEvent {
    let (from, ranges, fields) = match &event.change {
        Change::Renamed { from } => (Some(Bytes(from.clone())), Vec::new(), Vec::new()),
        Change::Modified { ranges } => (None, ranges.clone(), Vec::new()),
        Change::Appended { range } => (None, vec![range.clone()], Vec::new()),
        Change::Metadata { fields } => (None, Vec::new(), fields.clone()),
        _ => (None, Vec::new(), Vec::new()),
    };
    let side = |object: &Option<Box<Object>>, path: &[u8]| {
        let object = object.as_deref()?;
        Some(told(volume, path.to_vec(), object, &[]))
    };
    let was = from.as_ref().map_or(event.path.as_slice(), |from| &from.0);
    ToldEvent {
        volume: volume.to_owned(),
        path: Bytes(event.path.clone()),
        change: event.change.name().to_owned(),
        before: side(&event.before, was),
        after: side(&event.after, &event.path),
        from,
        ranges: ranges
            .into_iter()
            .map(|range| (range.start, range.end))
            .collect(),
        fields: fields
            .into_iter()
            .map(|field| field.name().to_owned())
            .collect(),
        explanation: explanation.map(explained),
    }
}

fn explained(explanation: Explanation) -> ToldExplanation {
    ToldExplanation {
        standing: explanation.standing.name().to_owned(),
        package: explanation.package,
        before: explanation.before,
        after: explanation.after,
    }
}

fn file(volume: &Volume, files: &Files, path: Vec<u8>, object: &Object) -> ToldFile {
    told(&volume.name, path, object, files.tree.target(object.id))
}

fn told(volume: &str, path: Vec<u8>, object: &Object, target: &[u8]) -> ToldFile {
    ToldFile {
        volume: volume.to_owned(),
        path: Bytes(path),
        kind: kind(object.kind),
        size_bytes: object.size_bytes,
        mode: object.mode,
        uid: object.uid,
        gid: object.gid,
        links: object.links,
        modified: time(object.modified),
        changed: time(object.changed),
        accessed: time(object.accessed),
        born: object.born.map(time),
        target: (!target.is_empty()).then(|| Bytes(target.to_vec())),
    }
}

fn time(time: FileTime) -> ToldTime {
    (time.seconds, time.nanoseconds)
}

const fn kind(kind: FileKind) -> ToldKind {
    match kind {
        FileKind::File => ToldKind::File,
        FileKind::Directory => ToldKind::Directory,
        FileKind::Symlink => ToldKind::Symlink,
        FileKind::BlockDevice => ToldKind::BlockDevice,
        FileKind::CharacterDevice => ToldKind::CharacterDevice,
        FileKind::Fifo => ToldKind::Fifo,
        FileKind::Socket => ToldKind::Socket,
        FileKind::Other => ToldKind::Unknown,
    }
}
