//! What a worker on images can be ordered to do.

use super::told::Bytes;
use disk::Format;
use model::Timestamp;
use serde::{Deserialize, Serialize};

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Says what the first file is as an image, and what it names.
    Describe { format: FormatName },
    /// Writes a disk into the history: whole where there is none, else what changed since.
    Capture {
        disk: Layers,
        taken: Timestamp,
        source: String,
    },
    /// Tells volumes and files, all or those at a path and below it.
    List {
        disk: Disk,
        path: Option<VolumePath>,
    },
    /// Tells the bytes of a file.
    Cat { disk: Disk, path: VolumePath },
    /// Tells what is at a path and below it, with the content of files.
    TakeOut { disk: Disk, path: VolumePath },
    /// Tells the bytes of the disk.
    Whole { disk: Disk },
    /// Tells what logs on the disk tell of a time: nanoseconds since 1970.
    Evidence { disk: Disk, since: i64, until: i64 },
    /// Tells the bytes of parts of the disk, each from its start to its end.
    Read { disk: Disk, parts: Vec<Part> },
    /// Tells what parts of the disk are, and whose.
    Owners { disk: Disk, parts: Vec<Part> },
    /// Tells what happened between two disks. Two versions are of one history.
    Compare { before: Disk, after: Disk },
}

/// A part of a disk: its first byte, and the one behind it.
pub(super) type Part = (u64, u64);

/// A disk, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Disk {
    /// Of image files.
    Image(Layers),
    /// Of the history that lies with the asker, at a changeset.
    Version(u64),
}

/// A path on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VolumePath {
    /// The volume; absent where only one has such a path.
    pub(super) volume: Option<String>,
    /// The path on it.
    pub(super) path: Bytes,
}

impl VolumePath {
    /// Whether a path of a volume is this one, or below it.
    pub(super) fn holds(&self, volume: &str, path: &[u8]) -> bool {
        let own = self.path.0.strip_suffix(b"/").unwrap_or(&self.path.0);
        let rest = path.strip_prefix(own);
        let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        below && self.volume.as_ref().is_none_or(|own| own == volume)
    }
}

/// A format by the name that QEMU gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FormatName(String);

impl From<Format> for FormatName {
    fn from(format: Format) -> Self {
        Self(format.name().to_owned())
    }
}

impl FormatName {
    pub(super) fn format(&self) -> Option<Format> {
        Format::from_name(&self.0)
    }
}

/// A disk out of image files that stand on each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layers {
    /// The files, the top one first.
    pub(super) layers: Vec<Layer>,
    /// An internal snapshot of the top one, by name or number; the present disk where absent.
    pub(super) snapshot: Option<String>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layer {
    pub(super) format: FormatName,
    /// Its file's place among the files that were passed.
    pub(super) file: usize,
    /// The place of the file that holds its data, where that is another.
    pub(super) data_file: Option<usize>,
    /// The places of the files that it names as its parts, in their order.
    pub(super) parts: Vec<usize>,
}

/// What an image is, as far as its header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) disk_bytes: u64,
    pub(super) backing: Option<BackingName>,
    pub(super) data_file: Option<String>,
    /// The files that it names as its parts.
    pub(super) parts: Vec<String>,
}

/// The image below, as this one names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackingName {
    pub(super) name: String,
    pub(super) format: Option<String>,
}
