//! Images of the store: added, captured again, listed.

use super::asker::WorkerProgram;
use super::capture::{Captured, capture};
use super::chain::{Chain, ImageFile};
use super::error::ImageError;
use super::vault::{EncryptionKey, Vault};
use crate::session::now;
use disk::Format;
use image::blobs::Blobs;
use image::history::History;
use image::seal::SealingKey;
use image::writer::Written;
use std::path::PathBuf;
use store::{ImageRecord, ImageSource, Images, Shelf, StoreError};
use uuid::Uuid;

/// The note that holds an internal snapshot's name.
const SNAPSHOT: &str = "snapshot";

/// The note that holds, as JSON, the directories in which images below may lie.
const ALLOWED: &str = "allowed";

/// An image of the store.
#[derive(Debug, Clone)]
pub struct ShadowedImage {
    /// What it is.
    pub record: ImageRecord,
    /// Its changesets, the oldest first.
    pub changesets: Vec<Written>,
    /// What is wrong behind the last of them, if anything is.
    pub damage: Option<String>,
    /// What it takes in the store: packs and changesets.
    pub stored_bytes: u64,
}

/// What all use cases on images need.
#[derive(Debug, Clone)]
pub struct Shadows {
    /// The images of the store.
    pub images: Images,
    /// How workers are started.
    pub worker: WorkerProgram,
    /// Where the key is that encrypts histories.
    pub encryption: EncryptionKey,
}

/// An image that is to be added.
#[derive(Debug, Clone, Copy)]
pub struct NewImage<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether its history is encrypted.
    pub encrypted: bool,
}

/// Adds an image under a name, and captures it whole.
///
/// # Errors
/// The name is taken or none, or it cannot be captured: then it is not added.
pub fn add(
    shadows: &Shadows,
    key: &SealingKey,
    new: NewImage<'_>,
    file: &ImageFile,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(ImageRecord, Captured), ImageError> {
    let chain = Chain::open(&shadows.worker, file)?;
    let mut record = record(new.name, file, &chain)?;
    let vault = shadows.create(&mut record, new.encrypted)?;
    let blobs = vault.sealed(key);
    let captured = capture(&shadows.worker, &chain, &blobs, now(), progress);
    drop((blobs, vault));
    if captured.is_err() {
        shadows.images.remove(new.name)?;
    }
    Ok((record, captured?))
}

fn record(name: &str, file: &ImageFile, chain: &Chain) -> Result<ImageRecord, ImageError> {
    let path = chain.path().to_str().ok_or_else(|| {
        ImageError::NoSuch(format!(
            "{} is no text: give the image a plain path",
            chain.path().display()
        ))
    })?;
    let mut notes = std::collections::BTreeMap::new();
    if let Some(snapshot) = &file.snapshot {
        notes.insert(SNAPSHOT.to_owned(), snapshot.clone());
    }
    if !file.allowed.is_empty()
        && let Ok(allowed) = serde_json::to_string(&file.allowed)
    {
        notes.insert(ALLOWED.to_owned(), allowed);
    }
    Ok(ImageRecord {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        created: now(),
        source: ImageSource::File {
            path: path.to_owned(),
        },
        format: chain.format().to_owned(),
        notes,
    })
}

/// From where an image is captured, where that is not the file from which it was added.
#[derive(Debug, Clone, Default)]
pub struct CaptureFrom {
    /// Another file: an image that stands on it, one below it, or a copy of it.
    pub file: Option<PathBuf>,
    /// Its format, where the name does not tell it.
    pub format: Option<Format>,
    /// A snapshot within the image.
    pub snapshot: Option<String>,
}

/// Captures an image again, from where it was added or from elsewhere: what changed since.
///
/// # Errors
/// There is no such image, another process captures it, or it cannot be captured.
pub fn capture_again(
    shadows: &Shadows,
    key: &SealingKey,
    (name, from): (&str, CaptureFrom),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(ImageRecord, Captured), ImageError> {
    let vault = shadows.write(name)?;
    let record = vault.shelf.record();
    let mut file = source(&record)?;
    if let Some(path) = from.file {
        file.path = path;
        file.format = from.format;
        file.snapshot = None;
    }
    file.snapshot = from.snapshot.or(file.snapshot);
    let chain = Chain::open(&shadows.worker, &file)?;
    vault.tidy();
    let blobs = vault.sealed(key);
    let captured = capture(&shadows.worker, &chain, &blobs, now(), progress)?;
    Ok((record, captured))
}

/// Where an image was added from.
pub(super) fn source(record: &ImageRecord) -> Result<ImageFile, ImageError> {
    match &record.source {
        ImageSource::File { path } => {
            let allowed = record.notes.get(ALLOWED);
            let allowed = allowed.map(|text| serde_json::from_str::<Vec<PathBuf>>(text));
            Ok(ImageFile {
                path: path.into(),
                format: Format::from_name(&record.format),
                snapshot: record.notes.get(SNAPSHOT).cloned(),
                allowed: allowed.transpose().unwrap_or_default().unwrap_or_default(),
            })
        }
        ImageSource::Machine { vm, .. } => Err(ImageError::NoSuch(format!(
            "{} is captured from the machine {vm}, which this version cannot do",
            record.name
        ))),
    }
}

/// An image that is there, and what can be told of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// It, or why it cannot be read.
    pub image: Result<ShadowedImage, String>,
}

/// All images of the store, by name.
///
/// # Errors
/// They cannot be listed.
pub fn list(shadows: &Shadows) -> Result<Vec<Listed>, ImageError> {
    let listed = shadows.images.names()?.into_iter().map(|name| {
        let image = show(shadows, &name).map_err(|error| error.to_string());
        Listed { name, image }
    });
    Ok(listed.collect())
}

/// One image of the store.
///
/// # Errors
/// There is none of this name, or its history cannot be read.
pub fn show(shadows: &Shadows, name: &str) -> Result<ShadowedImage, ImageError> {
    let Vault { shelf, blobs } = shadows.read(name)?;
    let (history, damage) = History::open_sound(&*blobs)?;
    Ok(ShadowedImage {
        damage: damage.map(|error| error.to_string()),
        record: shelf.record(),
        changesets: history.changesets().to_vec(),
        stored_bytes: stored(&shelf)?,
    })
}

/// What an image takes in the store.
fn stored(shelf: &Shelf) -> Result<u64, ImageError> {
    let mut bytes = 0_u64;
    for name in shelf.list("")? {
        bytes = bytes.saturating_add(shelf.length(&name)?);
    }
    Ok(bytes)
}

/// Removes an image and all of its history.
///
/// # Errors
/// There is none of this name, somebody writes to it, or it cannot be removed.
pub fn remove(images: &Images, name: &str) -> Result<(), StoreError> {
    images.remove(name)
}
