//! Changes of files, each capture's by itself: `vardoger/change/1`, and lists of them.

use crate::document::Payload;
use crate::{ByteRangeDocument, ExplanationDocument};
use schemars::JsonSchema;
use serde::Serialize;

/// What is kept of a file as it was at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileStateDocument {
    /// The size of its data.
    pub size_bytes: u64,
    /// Type and permissions in octal, as `st_mode` has them.
    #[schemars(extend("examples" = ["100644"]))]
    pub mode: String,
    /// The owner: not who changed it.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When its data were changed, as the disk says.
    #[schemars(extend("format" = "date-time"))]
    pub modified: Option<String>,
    /// When anything of it was changed, as the disk says.
    #[schemars(extend("format" = "date-time"))]
    pub changed: Option<String>,
}

/// A change of a file, in one capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangeDocument {
    /// The image's name.
    pub image: String,
    /// The changeset that has it.
    pub sequence: u64,
    /// It happened after this: when the capture before was taken.
    #[schemars(extend("format" = "date-time"))]
    pub after: String,
    /// It happened before this: when the capture was taken.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
    /// The volume that the file is on.
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
    /// Bytes that are new or other ones: the first 16 ranges.
    pub ranges: Vec<ByteRangeDocument>,
    /// How many ranges there are.
    pub ranges_all: u64,
    /// How many bytes are new or other ones.
    pub changed_bytes: u64,
    /// Where only what is told of it has changed, what of that.
    pub fields: Vec<String>,
    /// It as it was; `null` where it was not there.
    pub state_before: Option<FileStateDocument>,
    /// It as it is; `null` where it is gone.
    pub state: Option<FileStateDocument>,
    /// What a package database on the disk says of it; `null` where it says nothing.
    pub explanation: Option<ExplanationDocument>,
}

/// What changed under a path in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangeListDocument {
    /// The image's name.
    pub image: String,
    /// The path, where one was given.
    pub path: Option<String>,
    /// The beginning, where one was given.
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// The end, where one was given.
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
    /// They, by volume and path, and of one path the oldest first.
    pub changes: Vec<ChangeDocument>,
    /// Whether there are more than these.
    pub more: bool,
}

impl Payload for ChangeDocument {
    const SCHEMA: &'static str = "vardoger/change/1";
}

impl Payload for ChangeListDocument {
    const SCHEMA: &'static str = "vardoger/change-list/1";
}
