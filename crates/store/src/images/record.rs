//! What an image is: the file `image.json`.

use super::folder::Folder;
use crate::error::StoreError;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The file.
pub(super) const FILE: &str = "image.json";

/// The format that is written.
const VERSION: u32 = 1;

/// The longest file that is read: paths and notes are short.
const BYTES_MAX: u64 = 1 << 20;

/// What an image is, and what its next capture needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// A UUIDv7 of its own, which seals name.
    pub id: Uuid,
    /// The name under which it is kept.
    pub name: String,
    /// When it was added.
    pub created: Timestamp,
    /// Where it is captured from.
    pub source: ImageSource,
    /// How the disk is written down there, such as `raw` or `qcow2`.
    pub format: String,
    /// What captures keep for the next one, by names of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// Where an image is captured from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ImageSource {
    /// A file or a device.
    File {
        /// Its absolute path.
        path: String,
    },
    /// A disk of a virtual machine.
    Machine {
        /// The machine, as the user named it.
        vm: String,
        /// The disk, as the hypervisor names it.
        disk: String,
    },
}

/// The file as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    record: ImageRecord,
}

/// What every version has.
#[derive(Debug, Deserialize)]
struct AnyVersion {
    version: u32,
}

impl ImageRecord {
    /// The file's content.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let document = Document {
            version: VERSION,
            record: self.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&document)
            .map_err(|e| self.damaged(format!("it cannot be written down: {e}")))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the file in an image's directory, which must be its own.
    pub(super) fn read(folder: &Folder, name: &str) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = folder.read(FILE, BYTES_MAX)? else {
            return Ok(None);
        };
        let damaged = |detail: String| StoreError::ImageDamaged {
            name: name.to_owned(),
            detail,
        };
        let unreadable = |e: serde_json::Error| damaged(format!("{FILE}: {e}"));
        let any: AnyVersion = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if any.version > VERSION {
            return Err(StoreError::NewerVersion {
                path: folder.path().join(FILE),
                found: any.version,
                supported: VERSION,
            });
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if document.record.name != name {
            let other = &document.record.name;
            return Err(damaged(format!("{FILE} is that of an image {other:?}")));
        }
        Ok(Some(document.record))
    }

    fn damaged(&self, detail: String) -> StoreError {
        StoreError::ImageDamaged {
            name: self.name.clone(),
            detail,
        }
    }
}
