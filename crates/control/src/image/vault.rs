//! The histories of images as they lie in the store: opened, and decrypted where they are encrypted.
//!
//! Whether an image is encrypted stands in its record. The key lies outside the store, is made when
//! the first encrypted image is added, and is read only where such an image is opened.

use super::error::ImageError;
use super::shadow::Shadows;
use crate::session::now;
use ::image::blobs::{BlobError, Blobs};
use ::image::changeset;
use ::image::crypt::{CryptError, EncryptedBlobs};
use ::image::forget::sweep;
use ::image::history::History;
use ::image::seal::{SealingBlobs, SealingKey};
use std::path::PathBuf;
use std::sync::Arc;
use store::{ImageRecord, Secret, Shelf, credential_secret, read_or_make_secret, read_secret};

/// The name under which systemd hands the key over that encrypts histories.
pub const ENCRYPTION_CREDENTIAL: &str = "vardoger-encryption";

/// The note that says how a history is encrypted, and what it says.
const ENCRYPTION: &str = "encryption";
const CIPHER: &str = "aes-256-gcm";

/// Where the key is that encrypts histories, unless systemd hands one over.
#[derive(Debug, Clone)]
pub struct EncryptionKey {
    /// Its file.
    pub file: PathBuf,
    /// The store, in which it must not lie.
    pub store: PathBuf,
}

impl EncryptionKey {
    fn read(&self) -> Result<Secret, ImageError> {
        let handed = credential_secret(ENCRYPTION_CREDENTIAL);
        match handed.map_err(ImageError::EncryptionKey)? {
            Some(secret) => Ok(secret),
            None => read_secret(&self.file, &self.store).map_err(ImageError::EncryptionKey),
        }
    }

    /// Makes the key where there is none yet.
    fn make(&self) -> Result<(), ImageError> {
        let handed = credential_secret(ENCRYPTION_CREDENTIAL);
        if handed.map_err(ImageError::EncryptionKey)?.is_some() {
            return Ok(());
        }
        let above = self.file.parent();
        if let Some(above) = above.filter(|above| !above.as_os_str().is_empty()) {
            std::fs::create_dir_all(above).map_err(ImageError::file("make", above))?;
        }
        let made = read_or_make_secret(&self.file, &self.store);
        made.map(drop).map_err(ImageError::EncryptionKey)
    }
}

/// Whether an image's history is encrypted.
#[must_use]
pub fn is_encrypted(record: &ImageRecord) -> bool {
    record.notes.contains_key(ENCRYPTION)
}

/// An image of the store, open.
#[derive(Clone)]
pub(super) struct Vault {
    /// Its files.
    pub(super) shelf: Arc<Shelf>,
    /// What they hold.
    pub(super) blobs: Arc<dyn Blobs>,
}

impl Vault {
    fn new(shelf: Shelf, key: &EncryptionKey) -> Result<Self, ImageError> {
        let shelf = Arc::new(shelf);
        let cipher = shelf.record().notes.get(ENCRYPTION).cloned();
        let blobs: Arc<dyn Blobs> = match cipher.as_deref() {
            None => Arc::clone(&shelf) as Arc<dyn Blobs>,
            Some(CIPHER) => {
                let secret = key.read()?;
                let blobs = EncryptedBlobs::new(Arc::clone(&shelf), secret.bytes());
                check_key(&blobs)?;
                Arc::new(blobs)
            }
            Some(other) => {
                let name = shelf.record().name;
                return Err(ImageError::NoSuch(format!(
                    "{name} is encrypted by {other:?}, which this version cannot do"
                )));
            }
        };
        Ok(Self { shelf, blobs })
    }

    /// What is put, with seals on changesets.
    pub(super) fn sealed(&self, key: &SealingKey) -> SealingBlobs<Arc<dyn Blobs>> {
        let image = self.shelf.record().id;
        SealingBlobs::new(Arc::clone(&self.blobs), image, key.clone(), Box::new(now))
    }

    /// Removes what a killed writer left: packs that no changeset names. A history that is damaged is
    /// left as it is.
    pub(super) fn tidy(&self) {
        let swept = History::open(&*self.blobs)
            .map_err(ImageError::from)
            .and_then(|history| Ok(sweep(&*self.blobs, &history)?));
        if let Err(error) = swept {
            tracing::debug!(%error, "nothing was swept");
        }
    }
}

/// Fails where none of the changesets is for this key: one that was damaged may look like it.
fn check_key(blobs: &dyn Blobs) -> Result<(), ImageError> {
    let mut other = None;
    for name in blobs.list(changeset::PREFIX)? {
        match blobs.length(&name) {
            Err(error) if is_wrong_key(&error) => other = Some(error),
            _ => return Ok(()),
        }
    }
    other.map_or(Ok(()), |error| Err(ImageError::Encrypted(error)))
}

fn is_wrong_key(error: &BlobError) -> bool {
    let BlobError::Failed { source, .. } = error else {
        return false;
    };
    source.downcast_ref::<CryptError>() == Some(&CryptError::WrongKey)
}

impl Shadows {
    /// Opens an image to read it.
    pub(super) fn read(&self, name: &str) -> Result<Vault, ImageError> {
        Vault::new(self.images.read(name)?, &self.encryption)
    }

    /// Opens an image as its only writer.
    pub(super) fn write(&self, name: &str) -> Result<Vault, ImageError> {
        Vault::new(self.images.write(name)?, &self.encryption)
    }

    /// Makes an image, as its only writer.
    pub(super) fn create(
        &self,
        record: &mut ImageRecord,
        encrypted: bool,
    ) -> Result<Vault, ImageError> {
        if encrypted {
            self.encryption.make()?;
            let notes = &mut record.notes;
            notes.insert(ENCRYPTION.to_owned(), CIPHER.to_owned());
        }
        let shelf = self.images.create(&record.name, record)?;
        Vault::new(shelf, &self.encryption)
    }
}
