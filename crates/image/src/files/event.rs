//! File events: what happened to a file between two times.

use crate::files::Object;
use std::ops::Range;

/// How many changed ranges of a file are told one by one; the last one covers the rest.
pub const MAX_RANGES_TOLD: usize = 1024;

/// A field of an object that can change without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Permissions.
    Mode,
    /// The owner.
    Uid,
    /// The group.
    Gid,
    /// Extended attributes, access lists among them.
    Attributes,
    /// Flags that a user can set.
    Flags,
    /// A device's number.
    Device,
    /// The time of its data.
    Modified,
    /// The time of anything of it.
    Changed,
    /// The time of reading; told only beside others, for reading is no change.
    Accessed,
}

impl Field {
    /// Its name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Attributes => "attributes",
            Self::Flags => "flags",
            Self::Device => "device",
            Self::Modified => "modified",
            Self::Changed => "changed",
            Self::Accessed => "accessed",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file and its name are gone.
    Deleted,
    /// A name of a file is gone; the file has others.
    Unlinked,
    /// Another file has the same path now: the one before is gone.
    Replaced,
    /// The file has another name, or is in another directory. What is below a directory is not told
    /// of by itself.
    Renamed {
        /// The path before.
        from: Vec<u8>,
    },
    /// A file that was there has one more name.
    Linked,
    /// A file that was not there.
    Created,
    /// Data have changed; also told of data that were cut off.
    Modified {
        /// Which bytes of the file: ascending, each from the first to the last that differs within a
        /// block of 4 KiB, joined where they meet. What was added at the end is the last of them;
        /// what was cut off is told by the sizes only.
        ranges: Vec<Range<u64>>,
    },
    /// The file has grown, and all bytes that it had are the same.
    Appended {
        /// The bytes that were added.
        range: Range<u64>,
    },
    /// Only what is told of it has changed.
    Metadata {
        /// Which fields.
        fields: Vec<Field>,
    },
}

impl Change {
    /// Its name, as people write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unlinked => "unlinked",
            Self::Replaced => "replaced",
            Self::Renamed { .. } => "renamed",
            Self::Linked => "linked",
            Self::Created => "created",
            Self::Modified { .. } => "modified",
            Self::Appended { .. } => "appended",
            Self::Metadata { .. } => "metadata",
        }
    }

    /// In which order events of one path are told.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Self::Deleted => 0,
            Self::Unlinked => 1,
            Self::Replaced => 2,
            Self::Renamed { .. } => 3,
            Self::Linked => 4,
            Self::Created => 5,
            Self::Modified { .. } => 6,
            Self::Appended { .. } => 7,
            Self::Metadata { .. } => 8,
        }
    }

    /// How many bytes of data are new or other ones in the file as it is now.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        let ranges = match self {
            Self::Modified { ranges } => ranges.as_slice(),
            Self::Appended { range } => std::slice::from_ref(range),
            _ => &[],
        };
        let sizes = ranges
            .iter()
            .map(|range| range.end.saturating_sub(range.start));
        sizes.fold(0, u64::saturating_add)
    }
}

/// What happened to a file under one of its names.
///
/// A file with several names has an event for each. One that was renamed and modified has two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEvent {
    /// The path now; of what is gone, the path before.
    pub path: Vec<u8>,
    /// What happened.
    pub change: Change,
    /// The object before: none if it was not there.
    pub before: Option<Box<Object>>,
    /// The object now: none if it is gone.
    pub after: Option<Box<Object>>,
}
