//! Our side of looking: disks that the user names are opened, a worker looks, and what it tells is
//! taken with care.

use super::asker::{Hear, WorkerProgram, understand};
use super::chain::{Chain, ImageFile};
use super::error::ImageError;
use super::order::{Disk, Layers, Order, VolumePath};
use super::place::{Attributes, Place};
use super::reference::ImageReference;
use super::shadow::Shadows;
use super::told::{Bytes, Told, ToldEvent, ToldFile, ToldKind, ToldVolume};
use disk::Format;
use image::blobs::Blobs;
use image::history::History;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most files or events that are held for one answer.
const MAX_TOLD: usize = 20_000_000;

/// A disk as the user names it.
#[derive(Debug, Clone)]
pub struct Named {
    /// What it is.
    pub reference: ImageReference,
    /// Of an image file, its format, where the name does not tell it.
    pub format: Option<Format>,
    /// Of an image file, directories in which images below may lie.
    pub allowed: Vec<PathBuf>,
}

/// A path that the user names: `/path`, or `VOLUME:/path`.
///
/// # Errors
/// It does not begin at the root of a volume.
pub(super) fn volume_path(text: &str) -> Result<VolumePath, ImageError> {
    let (volume, path) = match text.find('/') {
        Some(0) => (None, text),
        Some(at) if text.get(..at).is_some_and(|head| head.ends_with(':')) => {
            let (head, path) = text.split_at(at);
            (Some(head.trim_end_matches(':').to_owned()), path)
        }
        // A volume of LVM2 has a `/` in its name.
        Some(_) if text.contains(":/") => {
            let (head, path) = text.split_once(':').unwrap_or(("", text));
            (Some(head.to_owned()), path)
        }
        _ => {
            return Err(ImageError::NoSuch(format!(
                "{text:?} is no path in an image: it is /path, or VOLUME:/path"
            )));
        }
    };
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    Ok(VolumePath {
        volume,
        path: Bytes(path.as_bytes().to_vec()),
    })
}

/// Disks that were opened for one order.
#[derive(Default)]
struct Opened {
    files: Vec<File>,
    kept: Option<(String, Arc<dyn Blobs>)>,
    size_bytes: u64,
    notes: Vec<String>,
}

impl Opened {
    /// Opens one more.
    fn add(&mut self, shadows: &Shadows, named: &Named) -> Result<Disk, ImageError> {
        match &named.reference {
            ImageReference::File(path) => {
                let chain = Chain::open(
                    &shadows.worker,
                    &ImageFile {
                        path: path.clone(),
                        format: named.format,
                        snapshot: None,
                        allowed: named.allowed.clone(),
                    },
                )?;
                if let Err(error) = chain.nobody_writes() {
                    self.notes.push(error.to_string());
                }
                self.size_bytes = self.size_bytes.saturating_add(chain.disk_bytes);
                Ok(Disk::Image(self.take(chain)))
            }
            ImageReference::Kept { name, at } => {
                let blobs = match self.kept.take() {
                    None => shadows.read(name)?.blobs,
                    Some((other, blobs)) if other == *name => blobs,
                    Some((other, _)) => {
                        return Err(ImageError::NoSuch(format!(
                            "{other} and {name} are two histories: restore one of them to a file, \
                             and compare it with the other"
                        )));
                    }
                };
                let (history, damage) = History::open_sound(&*blobs)?;
                self.notes.extend(damage.map(|error| {
                    format!("{name} is damaged, what follows cannot be read: {error}")
                }));
                let found = at.find(history.changesets())?;
                let sequence = found.changeset.sequence;
                self.size_bytes = self.size_bytes.saturating_add(found.changeset.disk_bytes);
                self.kept = Some((name.clone(), blobs));
                Ok(Disk::Version(sequence))
            }
        }
    }

    /// Takes the files of a disk in, behind those that are there.
    fn take(&mut self, chain: Chain) -> Layers {
        let before = self.files.len();
        self.files.extend(chain.files);
        let mut disk = chain.disk;
        for layer in &mut disk.layers {
            layer.file += before;
            layer.data_file = layer.data_file.map(|place| place + before);
        }
        disk
    }

    fn carry_out(
        &self,
        worker: &WorkerProgram,
        order: &Order,
        hear: &mut dyn Hear,
    ) -> Result<(), ImageError> {
        let blobs = self.kept.as_ref().map(|(_, blobs)| &**blobs);
        worker.carry_out(order, &self.files, self.size_bytes, blobs, hear)
    }
}

/// What was found on a disk.
#[derive(Debug, Clone, Default)]
pub struct FileList {
    /// What it is divided into.
    pub volumes: Vec<ToldVolume>,
    /// Files, volume by volume.
    pub files: Vec<ToldFile>,
    /// What happened to files.
    pub events: Vec<ToldEvent>,
    /// What to know besides.
    pub notes: Vec<String>,
}

impl Hear for FileList {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match understand(json)? {
            Told::Note(note) => self.notes.push(note),
            Told::Volume(volume) => self.volumes.push(volume),
            Told::Files(mut files) => self.files.append(&mut files),
            Told::Events(mut events) => self.events.append(&mut events),
            Told::Disk { .. } | Told::File(_) | Told::Entries(_) | Told::Owners(_) => {
                return Err(unexpected());
            }
        }
        if self.files.len().max(self.events.len()) > MAX_TOLD {
            return Err(ImageError::Worker("it tells of too many files".to_owned()));
        }
        Ok(())
    }
}

fn unexpected() -> ImageError {
    ImageError::Worker("it tells what nobody asked for".to_owned())
}

/// The volumes of a disk, and its files: all, or those at a path and below it.
///
/// # Errors
/// The disk cannot be opened or read, or there is no such path.
pub fn files(shadows: &Shadows, named: &Named, path: Option<&str>) -> Result<FileList, ImageError> {
    let path = path.map(volume_path).transpose()?;
    let mut opened = Opened::default();
    let disk = opened.add(shadows, named)?;
    let mut found = FileList::default();
    opened.carry_out(&shadows.worker, &Order::List { disk, path }, &mut found)?;
    found.notes.append(&mut opened.notes);
    Ok(found)
}

/// What happened to files between two disks, or two times of one: all, or those at a path and below
/// it.
///
/// # Errors
/// A disk cannot be opened or read.
pub fn diff(
    shadows: &Shadows,
    before: &Named,
    after: &Named,
    path: Option<&str>,
) -> Result<FileList, ImageError> {
    let path = path.map(volume_path).transpose()?;
    let mut opened = Opened::default();
    let order = Order::Compare {
        before: opened.add(shadows, before)?,
        after: opened.add(shadows, after)?,
    };
    let mut found = FileList::default();
    opened.carry_out(&shadows.worker, &order, &mut found)?;
    if let Some(wanted) = path {
        found
            .events
            .retain(|event| wanted.holds(&event.volume, &event.path.0));
    }
    found.notes.append(&mut opened.notes);
    Ok(found)
}

/// Writes the bytes of a file to `output`, and says what to know besides.
///
/// # Errors
/// The disk cannot be opened or read, there is no such file, or `output` takes no more.
pub fn cat(
    shadows: &Shadows,
    named: &Named,
    path: &str,
    output: &mut dyn Write,
) -> Result<Vec<String>, ImageError> {
    let path = volume_path(path)?;
    let mut opened = Opened::default();
    let disk = opened.add(shadows, named)?;
    let mut stream = Stream {
        output,
        at: 0,
        size_bytes: None,
    };
    opened.carry_out(&shadows.worker, &Order::Cat { disk, path }, &mut stream)?;
    stream.fill_to(stream.size_bytes.unwrap_or(0))?;
    Ok(opened.notes)
}

/// A file's bytes one after the other, zeros included.
struct Stream<'o> {
    output: &'o mut dyn Write,
    at: u64,
    size_bytes: Option<u64>,
}

impl Stream<'_> {
    fn fill_to(&mut self, place: u64) -> Result<(), ImageError> {
        let zeros = std::io::repeat(0);
        let mut zeros = std::io::Read::take(zeros, place.saturating_sub(self.at));
        std::io::copy(&mut zeros, self.output).map_err(ImageError::Output)?;
        self.at = self.at.max(place);
        Ok(())
    }
}

impl Hear for Stream<'_> {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match (understand(json)?, self.size_bytes) {
            (Told::File(file), None) => {
                self.size_bytes = Some(file.size_bytes);
                Ok(())
            }
            _ => Err(unexpected()),
        }
    }

    fn bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let end = at.saturating_add(bytes.len() as u64);
        if at < self.at || self.size_bytes.is_none_or(|size| end > size) {
            return Err(unexpected());
        }
        self.fill_to(at)?;
        self.output.write_all(bytes).map_err(ImageError::Output)?;
        self.at = end;
        Ok(())
    }
}

/// What was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files, directories and links; 1 for a whole disk.
    pub files: u64,
    /// Bytes of files, holes included.
    pub bytes: u64,
    /// What can not be made outside of a guest: devices, pipes and sockets.
    pub left_out: u64,
}

/// Restores what is at a path, with all below it, into a directory, which is made where it is
/// absent. Nothing that is there is written over.
///
/// # Errors
/// The disk cannot be opened or read, there is no such path, or something cannot be made.
pub fn take_out(
    shadows: &Shadows,
    named: &Named,
    path: &str,
    to: &Path,
) -> Result<(Restored, Vec<String>), ImageError> {
    let path = volume_path(path)?;
    let mut opened = Opened::default();
    let disk = opened.add(shadows, named)?;
    // What is at `/a/b` comes to `b`.
    let above = path
        .path
        .0
        .iter()
        .rposition(|byte| *byte == b'/')
        .unwrap_or(0);
    let mut taker = Taker {
        place: Place::open(to)?,
        above,
        open: None,
        directories: Vec::new(),
        restored: Restored::default(),
        notes: Vec::new(),
    };
    opened.carry_out(&shadows.worker, &Order::TakeOut { disk, path }, &mut taker)?;
    taker.close()?;
    // Times of directories last: what is made in them changes them.
    for (path, attributes) in taker.directories.iter().rev() {
        taker.place.finish(path, false, attributes)?;
    }
    taker.notes.append(&mut opened.notes);
    Ok((taker.restored, taker.notes))
}

struct Taker {
    place: Place,
    above: usize,
    /// The file whose bytes come: it, its path, its attributes, its size.
    open: Option<(File, Vec<u8>, Attributes, u64)>,
    directories: Vec<(Vec<u8>, Attributes)>,
    restored: Restored,
    notes: Vec<String>,
}

impl Taker {
    fn begin(&mut self, told: &ToldFile) -> Result<(), ImageError> {
        self.close()?;
        let path = told.path.0.get(self.above..).unwrap_or_default().to_vec();
        let attributes = Attributes {
            mode: told.mode.into(),
            uid: told.uid,
            gid: told.gid,
            modified: told.modified,
        };
        match told.kind {
            ToldKind::Directory => {
                self.place.directory(&path)?;
                self.directories.push((path, attributes));
            }
            ToldKind::Symlink => {
                let target = told.target.clone().unwrap_or_default();
                self.place.link(&path, &target.0)?;
                self.place.finish(&path, true, &attributes)?;
            }
            ToldKind::File => {
                let file = self.place.file(&path)?;
                self.open = Some((file, path, attributes, told.size_bytes));
                self.restored.bytes = self.restored.bytes.saturating_add(told.size_bytes);
            }
            _ => {
                self.restored.left_out += 1;
                return Ok(());
            }
        }
        self.restored.files += 1;
        Ok(())
    }

    /// Ends the file whose bytes came.
    fn close(&mut self) -> Result<(), ImageError> {
        let Some((file, path, attributes, size_bytes)) = self.open.take() else {
            return Ok(());
        };
        let done = file.set_len(size_bytes).and_then(|()| file.sync_all());
        done.map_err(ImageError::Output)?;
        self.place.finish(&path, false, &attributes)
    }
}

impl Hear for Taker {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match understand(json)? {
            Told::Note(note) => {
                self.notes.push(note);
                Ok(())
            }
            Told::File(told) => self.begin(&told),
            _ => Err(unexpected()),
        }
    }

    fn bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let end = at.saturating_add(bytes.len() as u64);
        match &self.open {
            Some((file, .., size_bytes)) if end <= *size_bytes => {
                file.write_all_at(bytes, at).map_err(ImageError::Output)
            }
            _ => Err(unexpected()),
        }
    }
}

/// Restores a whole disk into a raw image that is not there yet: written aside, and named when it is
/// whole.
///
/// # Errors
/// The disk cannot be opened or read, or the image cannot be written.
pub fn restore(
    shadows: &Shadows,
    named: &Named,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Restored, Vec<String>), ImageError> {
    let mut opened = Opened::default();
    let disk = opened.add(shadows, named)?;
    let written = block::NewFile::create(to).map_err(ImageError::file("make", to))?;
    let mut filler = Filler {
        file: written.file(),
        path: to,
        size_bytes: None,
        progress,
    };
    opened.carry_out(&shadows.worker, &Order::Whole { disk }, &mut filler)?;
    let size_bytes = filler.size_bytes.ok_or_else(unexpected)?;
    let kept = written.keep();
    kept.map_err(ImageError::file("write", to))?;
    let restored = Restored {
        files: 1,
        bytes: size_bytes,
        left_out: 0,
    };
    Ok((restored, opened.notes))
}

struct Filler<'f> {
    file: &'f File,
    path: &'f Path,
    size_bytes: Option<u64>,
    progress: &'f mut dyn FnMut(u64, u64),
}

impl Hear for Filler<'_> {
    fn item(&mut self, json: &[u8]) -> Result<(), ImageError> {
        match (understand(json)?, self.size_bytes) {
            (Told::Disk { size_bytes }, None) => {
                self.size_bytes = Some(size_bytes);
                self.file
                    .set_len(size_bytes)
                    .map_err(ImageError::file("make", self.path))
            }
            _ => Err(unexpected()),
        }
    }

    fn bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let size = self.size_bytes.unwrap_or(0);
        let end = at.saturating_add(bytes.len() as u64);
        if end > size {
            return Err(unexpected());
        }
        (self.progress)(end, size);
        self.file
            .write_all_at(bytes, at)
            .map_err(ImageError::file("write", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_volume_or_none() {
        let check = |text: &str, volume: Option<&str>, path: &str| {
            let read = volume_path(text).unwrap();
            assert_eq!(read.volume.as_deref(), volume, "{text}");
            assert_eq!(read.path.text(), path, "{text}");
        };
        check("/etc/passwd", None, "/etc/passwd");
        check("/", None, "/");
        check("/a:/b/", None, "/a:/b");
        check("p1:/etc", Some("p1"), "/etc");
        check("vg/root:/", Some("vg/root"), "/");
        for text in ["", "etc", "p1:", "a/b"] {
            assert!(volume_path(text).is_err(), "{text}");
        }
    }
}
