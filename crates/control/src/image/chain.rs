//! The files that a disk is made of, found and opened by us, understood by a worker.
//!
//! An image names the one below it, or the files that it is in. Whoever wrote the image chose that name, so it is followed only
//! into directories that are allowed, and the format below is taken from the image that names it or
//! from the operator, never from what a guest can write.

use super::asker::{Items, WorkerProgram};
use super::error::ImageError;
use super::order::{Description, Layer, Layers, Order};
use computation::job::sanitise;
use disk::Format;
use image::changeset::MAX_SOURCE_BYTES;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Images that may stand on each other.
const MAX_LAYERS: usize = disk::qcow2::MAX_CHAIN_DEPTH as usize;

/// What the user says of an image.
#[derive(Debug, Clone, Default)]
pub struct ImageFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its format, where the name does not tell it.
    pub format: Option<Format>,
    /// An internal snapshot in place of the present disk.
    pub snapshot: Option<String>,
    /// Directories, besides the image's own, in which images below may lie.
    pub allowed: Vec<PathBuf>,
}

/// The open files of a disk.
#[derive(Debug)]
pub struct Chain {
    pub(super) files: Vec<File>,
    /// Where each lies, and what it was when it was opened.
    pub(super) paths: Vec<(PathBuf, Identity)>,
    pub(super) disk: Layers,
    pub(super) disk_bytes: u64,
}

/// What tells a file from another, and from itself after it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> std::io::Result<Self> {
        let now = file.metadata()?;
        Ok(Self {
            device: now.dev(),
            inode: now.ino(),
            length: now.size(),
            modified: (now.mtime(), now.mtime_nsec()),
            changed: (now.ctime(), now.ctime_nsec()),
        })
    }
}

impl Chain {
    /// Opens an image and all that it stands on.
    ///
    /// # Errors
    /// A file cannot be opened or understood, or may not be read.
    pub fn open(worker: &WorkerProgram, image: &ImageFile) -> Result<Self, ImageError> {
        let top = canonical(&image.path)?;
        let own = top.parent().map(Path::to_path_buf);
        let mut allowed: Vec<PathBuf> = own.into_iter().collect();
        for directory in &image.allowed {
            allowed.push(canonical(directory)?);
        }
        let mut chain = Self {
            files: Vec::new(),
            paths: Vec::new(),
            disk: Layers {
                layers: Vec::new(),
                snapshot: image.snapshot.clone(),
            },
            disk_bytes: 0,
        };
        let mut next = Some((top, image.format));
        while let Some((path, format)) = next.take() {
            next = chain.add(worker, &path, format, &allowed)?;
        }
        Ok(chain)
    }

    /// Adds an image below all others, and gives the one below it.
    fn add(
        &mut self,
        worker: &WorkerProgram,
        path: &Path,
        format: Option<Format>,
        allowed: &[PathBuf],
    ) -> Result<Option<(PathBuf, Option<Format>)>, ImageError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let format = format
            .or_else(|| Format::from_file_name(&name))
            .ok_or_else(|| ImageError::Format {
                path: path.to_path_buf(),
            })?;
        let file = self.take(path)?;
        let description = self.describe(worker, file, format)?;
        if self.disk.layers.is_empty() {
            self.disk_bytes = description.disk_bytes;
        }
        let below = |named: &str, why: &str| ImageError::Below {
            image: path.to_path_buf(),
            named: named.to_owned(),
            why: why.to_owned(),
        };
        let data_file = match &description.data_file {
            None => None,
            Some(named) => {
                let found = beside(path, named, allowed).map_err(|why| below(named, &why))?;
                Some(self.take(&found)?)
            }
        };
        let mut parts = Vec::new();
        for named in &description.parts {
            let found = beside(path, named, allowed).map_err(|why| below(named, &why))?;
            parts.push(self.take(&found)?);
        }
        self.disk.layers.push(Layer {
            format: format.into(),
            file,
            data_file,
            parts,
        });
        let Some(backing) = description.backing else {
            return Ok(None);
        };
        if self.disk.layers.len() >= MAX_LAYERS {
            let why = format!(
                "would be the {}th on each other: {MAX_LAYERS} are read",
                MAX_LAYERS + 1
            );
            return Err(below(&backing.name, &why));
        }
        let found =
            beside(path, &backing.name, allowed).map_err(|why| below(&backing.name, &why))?;
        let format = match backing.format.as_deref() {
            None => None,
            Some(text) => Some(Format::from_name(text).ok_or_else(|| {
                below(
                    &backing.name,
                    &format!("is of the format {text:?}, which is not known"),
                )
            })?),
        };
        Ok(Some((found, format)))
    }

    fn describe(
        &self,
        worker: &WorkerProgram,
        file: usize,
        format: Format,
    ) -> Result<Description, ImageError> {
        let order = Order::Describe {
            format: format.into(),
        };
        let mut told = Items::<Description>(Vec::new());
        let files = self.files.get(file).map(File::try_clone);
        let files = files.into_iter().collect::<Result<Vec<_>, _>>();
        let path = self.paths.get(file).map_or(Path::new(""), |(path, _)| path);
        let files = files.map_err(ImageError::file("open", path))?;
        worker.carry_out(&order, &files, 0, None, &mut told)?;
        told.0
            .pop()
            .ok_or_else(|| ImageError::Worker("it says nothing".to_owned()))
    }

    fn take(&mut self, path: &Path) -> Result<usize, ImageError> {
        let file = open_file(path)?;
        let identity = Identity::of(&file).map_err(ImageError::file("look at", path))?;
        self.files.push(file);
        self.paths.push((path.to_path_buf(), identity));
        Ok(self.files.len() - 1)
    }

    /// The path of the top image.
    pub(super) fn path(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), |(path, _)| path)
    }

    /// The format of the top image.
    pub(super) fn format(&self) -> &'static str {
        let top = self.disk.layers.first();
        let format = top.and_then(|layer| layer.format.format());
        format.unwrap_or(Format::Raw).name()
    }

    /// Where the disk comes from, for people.
    pub(super) fn source(&self) -> String {
        let mut text = self.path().display().to_string();
        if let Some(snapshot) = &self.disk.snapshot {
            text.push('#');
            text.push_str(snapshot);
        }
        while text.len() > MAX_SOURCE_BYTES {
            text.pop();
        }
        text
    }

    /// Fails where somebody may write to one of the files. A snapshot within an image stays as it
    /// is, but what tells of it does not.
    pub(super) fn nobody_writes(&self) -> Result<(), ImageError> {
        for (file, (path, _)) in self.files.iter().zip(&self.paths) {
            let users = block::users(file).map_err(ImageError::file("look at", path))?;
            let users: Vec<String> = users
                .into_iter()
                .filter(|user| user.writes)
                .map(named)
                .collect();
            if !users.is_empty() {
                return Err(ImageError::InUse {
                    path: path.clone(),
                    users: users.join(", "),
                });
            }
        }
        Ok(())
    }

    /// Fails where anybody else has the top image open, if only to read it.
    pub(super) fn nobody_has_it(&self) -> Result<(), ImageError> {
        let Some((file, (path, _))) = self.files.first().zip(self.paths.first()) else {
            return Ok(());
        };
        let users = block::users(file).map_err(ImageError::file("look at", path))?;
        if users.is_empty() {
            return Ok(());
        }
        Err(ImageError::Held {
            path: path.clone(),
            users: users.into_iter().map(named).collect::<Vec<_>>().join(", "),
        })
    }

    /// Fails where one of the files is not what it was when it was opened.
    pub(super) fn is_unchanged(&self) -> Result<(), ImageError> {
        for (file, (path, before)) in self.files.iter().zip(&self.paths) {
            let now = Identity::of(file).map_err(ImageError::file("look at", path))?;
            if now != *before {
                return Err(ImageError::Changed { path: path.clone() });
            }
        }
        Ok(())
    }
}

/// Opens the top image of a chain, to be written: the very file that was read.
pub(super) fn open_to_write(chain: &Chain) -> Result<File, ImageError> {
    let path = chain.path();
    let failed = ImageError::file("open to write", path);
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let metadata = path.symlink_metadata().map_err(&failed)?;
    if metadata.file_type().is_block_device() {
        // Refused where it is mounted, or part of something else.
        flags |= OFlags::EXCL;
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true);
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(&failed)?;
    let now = Identity::of(&file).map_err(&failed)?;
    match chain.paths.first() {
        Some((_, before)) if *before == now => Ok(file),
        _ => Err(ImageError::Changed {
            path: path.to_path_buf(),
        }),
    }
}

fn named(user: block::User) -> String {
    match user.pid {
        Some(pid) => format!("{} (process {pid})", sanitise(user.name.as_bytes())),
        None => user.name,
    }
}

fn canonical(path: &Path) -> Result<PathBuf, ImageError> {
    std::fs::canonicalize(path).map_err(ImageError::file("find", path))
}

/// Where a file is that an image names, if it may be read; else why not.
fn beside(image: &Path, named: &str, allowed: &[PathBuf]) -> Result<PathBuf, String> {
    let path = named.strip_prefix("file:").unwrap_or(named);
    let scheme = path.split_once(':').map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| !scheme.contains('/')) {
        return Err("is no path of a file: only files are read".to_owned());
    }
    let path = image.parent().unwrap_or(Path::new("/")).join(path);
    let found = std::fs::canonicalize(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "is not there".to_owned(),
        _ => format!("cannot be found: {error}"),
    })?;
    if allowed.iter().any(|directory| found.starts_with(directory)) {
        Ok(found)
    } else {
        Err("lies in a directory that was not allowed".to_owned())
    }
}

/// Opens a file or a block device past the page cache, where that can be, and nothing that would
/// block.
fn open_file(path: &Path) -> Result<File, ImageError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let open = |flags: OFlags| {
        OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    let opened = match open(flags | OFlags::DIRECT) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => open(flags),
        other => other,
    };
    let file = opened.map_err(ImageError::file("open", path))?;
    let kind = file
        .metadata()
        .map_err(ImageError::file("look at", path))?
        .file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(file);
    }
    let error = std::io::Error::new(
        ErrorKind::InvalidInput,
        "it is neither a file nor a block device",
    );
    Err(ImageError::file("read", path)(error))
}
