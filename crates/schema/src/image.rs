//! Disks and their history: `vardoger/image/1`, `changeset/1`, `file/1`, `file-event/1`, and lists of
//! them.

use crate::document::Payload;
use schemars::JsonSchema;
use serde::Serialize;

/// A disk and its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageDocument {
    /// Its name in the store.
    pub name: String,
    /// Its id: a UUIDv7.
    pub id: String,
    /// When it was added.
    #[schemars(extend("format" = "date-time"))]
    pub created: String,
    /// Where it is captured from.
    pub source: String,
    /// How the disk is written down there.
    #[schemars(extend("examples" = ["qcow2", "raw"]))]
    pub format: String,
    /// The disk's size at the last capture; `null` where there was none.
    pub disk_bytes: Option<u64>,
    /// How many changesets there are.
    pub changesets: u64,
    /// When the oldest was taken.
    #[schemars(extend("format" = "date-time"))]
    pub oldest: Option<String>,
    /// When the newest was taken.
    #[schemars(extend("format" = "date-time"))]
    pub newest: Option<String>,
    /// What all of it takes in the store, index included.
    pub stored_bytes: Option<u64>,
    /// Whether its history is encrypted; `null` where that cannot be told.
    pub encrypted: Option<bool>,
    /// Why its history cannot be read; `null` where it can.
    pub unreadable: Option<String>,
}

/// The images of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageListDocument {
    /// They, by name.
    pub images: Vec<ImageDocument>,
}

/// One capture of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangesetDocument {
    /// The image's name.
    pub image: String,
    /// Its place in the history, from 0.
    pub sequence: u64,
    /// The digest that stands for it and all before it.
    pub id: String,
    /// The digest of the one before it.
    pub parent: Option<String>,
    /// What it is relative to.
    #[schemars(extend("examples" = ["base", "increment", "resync"]))]
    pub kind: String,
    /// The point in time at which the disk was like this.
    #[schemars(extend("format" = "date-time"))]
    pub taken: String,
    /// The size of the disk.
    pub disk_bytes: u64,
    /// What of the disk it tells of; of a base, what is not zeros.
    pub changed_bytes: u64,
    /// What it was captured from.
    pub source: String,
    /// What this capture added to the store, index included; `null` where it was not asked.
    pub stored_bytes: Option<u64>,
    /// What of the disk was read for it; `null` where that is not counted.
    pub read_bytes: Option<u64>,
}

/// The history of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageLogDocument {
    /// Its name.
    pub image: String,
    /// Its changesets, the newest first.
    pub changesets: Vec<ChangesetDocument>,
}

impl Payload for ImageDocument {
    const SCHEMA: &'static str = "vardoger/image/1";
}

impl Payload for ImageListDocument {
    const SCHEMA: &'static str = "vardoger/image-list/1";
}

impl Payload for ChangesetDocument {
    const SCHEMA: &'static str = "vardoger/changeset/1";
}

impl Payload for ImageLogDocument {
    const SCHEMA: &'static str = "vardoger/image-log/1";
}

/// A part of a disk that holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VolumeDocument {
    /// Its name: `p1` for a partition, `group/volume` for one of LVM2, `disk` for a whole disk.
    pub name: String,
    /// What it holds.
    #[schemars(extend("examples" = ["ext", "xfs", "luks", "swap", "unknown"]))]
    pub kind: String,
    /// The name that it was given inside.
    pub label: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Why its files are not told of, or not all of them; `null` where they are.
    pub unread: Option<String>,
}

/// A file, directory, link or device as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileDocument {
    /// The volume that it is on.
    pub volume: String,
    /// Its path on that volume. What is no UTF-8 is replaced.
    pub path: String,
    /// Its path byte by byte, where that is no UTF-8.
    pub path_bytes: Option<String>,
    /// What it is.
    #[schemars(extend("examples" = ["file", "directory", "symlink", "fifo", "socket"]))]
    pub kind: String,
    /// The size of its data.
    pub size_bytes: u64,
    /// Type and permissions in octal, as `st_mode` has them.
    #[schemars(extend("examples" = ["100644"]))]
    pub mode: String,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has.
    pub links: u32,
    /// When its data were changed.
    #[schemars(extend("format" = "date-time"))]
    pub modified: Option<String>,
    /// When anything of it was changed.
    #[schemars(extend("format" = "date-time"))]
    pub changed: Option<String>,
    /// When it was read.
    #[schemars(extend("format" = "date-time"))]
    pub accessed: Option<String>,
    /// When it was made, where that is kept.
    #[schemars(extend("format" = "date-time"))]
    pub born: Option<String>,
    /// Where a symbolic link leads.
    pub target: Option<String>,
}

/// The files of a disk, or a part of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileListDocument {
    /// What they were read from, as it was named.
    pub image: String,
    /// What the disk is divided into.
    pub volumes: Vec<VolumeDocument>,
    /// They, volume by volume.
    pub files: Vec<FileDocument>,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ByteRangeDocument {
    /// The first of them.
    pub start_bytes: u64,
    /// The one behind the last.
    pub end_bytes: u64,
}

/// What happened to a file between two times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileEventDocument {
    /// The volume that it is on.
    pub volume: String,
    /// Its path now; of what is gone, its path before. What is no UTF-8 is replaced.
    pub path: String,
    /// Its path byte by byte, where that is no UTF-8.
    pub path_bytes: Option<String>,
    /// What happened.
    #[schemars(extend("examples" = [
        "created", "modified", "appended", "deleted", "renamed", "metadata", "linked", "unlinked",
        "replaced"
    ]))]
    pub change: String,
    /// Of what was renamed, its path before.
    pub from: Option<String>,
    /// Of what was modified or appended, the bytes that are new or other ones.
    pub ranges: Vec<ByteRangeDocument>,
    /// Where only what is told of it has changed, what of that.
    pub fields: Vec<String>,
    /// It as it was; `null` where it was not there.
    pub before: Option<FileDocument>,
    /// It as it is; `null` where it is gone.
    pub after: Option<FileDocument>,
    /// What a package database on the disk says of it; `null` where it says nothing.
    pub explanation: Option<ExplanationDocument>,
}

/// What a package database on a disk says of a change. Whoever could write to the disk could write
/// to that database too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplanationDocument {
    /// `verified`: a package lists the file, and its content has the digest of the package
    /// database. `listed`: there is no digest to hold against it. `maintained`: no package lists
    /// it, but work on packages leaves it. No explanations are `contradicted`, content that is not
    /// what the database says, and `configured`, a configuration file that was edited.
    #[schemars(extend("examples" = [
        "verified", "listed", "maintained", "contradicted", "configured"
    ]))]
    pub standing: String,
    /// The package, or the tool whose work left the file.
    pub package: String,
    /// The package's version before.
    pub before: Option<String>,
    /// The package's version now.
    pub after: Option<String>,
}

/// What happened between two times of a disk, or between two disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageDiffDocument {
    /// The earlier, as it was named.
    pub before: String,
    /// The later, as it was named.
    pub after: String,
    /// What the later disk is divided into.
    pub volumes: Vec<VolumeDocument>,
    /// What happened to files.
    pub events: Vec<FileEventDocument>,
}

impl Payload for FileDocument {
    const SCHEMA: &'static str = "vardoger/file/1";
}

impl Payload for FileListDocument {
    const SCHEMA: &'static str = "vardoger/file-list/1";
}

impl Payload for FileEventDocument {
    const SCHEMA: &'static str = "vardoger/file-event/1";
}

impl Payload for ImageDiffDocument {
    const SCHEMA: &'static str = "vardoger/image-diff/1";
}

/// A part of a history that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageDamageDocument {
    /// The blob's name in the image's directory.
    pub blob: String,
    /// What is wrong with it.
    pub what: String,
    /// The changesets that cannot be read for it, wholly or in part.
    pub unreadable: Vec<u64>,
}

/// Whether a history is there and is what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageCheckDocument {
    /// The image's name.
    pub image: String,
    /// How closely it was looked at.
    #[schemars(extend("examples" = ["structure", "read-data", "deep"]))]
    pub level: String,
    /// Whether nothing is wrong.
    pub sound: bool,
    /// What is damaged or missing.
    pub damages: Vec<ImageDamageDocument>,
    /// Seals and anchor that do not hold, one sentence each.
    pub faults: Vec<String>,
    /// How the anchor stands to the history; `null` where none was given.
    #[schemars(extend("examples" = ["holds", "holds-by-merge", "unknown", "broken"]))]
    pub anchor: Option<String>,
    /// The changesets at which the disk can be read in full.
    pub readable: Vec<u64>,
    /// Blobs that belong to nothing: of commands that were broken off. The next `image forget`
    /// removes them.
    pub strays: Vec<String>,
    /// How many blobs were looked at.
    pub blobs: u64,
    /// How many bytes they have.
    pub stored_bytes: u64,
}

/// The end of a history, to be kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageAnchorDocument {
    /// The image's name.
    pub image: String,
    /// What to keep.
    pub anchor: String,
    /// With what its seals are verified.
    pub public_key: String,
}

/// What became of a history that was made shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageForgetDocument {
    /// The image's name.
    pub image: String,
    /// The changeset that the history begins with now.
    pub first: u64,
    /// How many changesets are kept.
    pub kept: u64,
    /// How many changesets were merged and removed.
    pub removed_changesets: u64,
    /// How many packs were removed.
    pub removed_packs: u64,
    /// The bytes that this gave back.
    pub removed_bytes: u64,
}

impl Payload for ImageCheckDocument {
    const SCHEMA: &'static str = "vardoger/image-check/1";
}

impl Payload for ImageAnchorDocument {
    const SCHEMA: &'static str = "vardoger/image-anchor/1";
}

impl Payload for ImageForgetDocument {
    const SCHEMA: &'static str = "vardoger/image-forget/1";
}
