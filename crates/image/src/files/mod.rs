//! What a disk's bytes mean to those who use it: files with names, what changed of them, and whose
//! each block is.
//!
//! ```text
//!  disk ─► volumes ─► file system ─► tree: objects, names, extents
//!                         │            │
//!   before, after ────────┴────────────┴──► diff: file events   ◄── ranges that may differ
//!                                      └──► owners: block → class, object, path
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `object` | [`Object`]: a file, directory or link without its names |
//! | `system` | [`FileSystem`]: what a reader of a file system brings; a trait |
//! | `ext` | ext2, ext3 and ext4 as one |
//! | `other` | every other file system that is read, as one |
//! | `tree` | [`Tree`]: all objects and names as data |
//! | `content` | [`Content`]: a file's bytes, as a source |
//! | `ranges` | [`Ranges`]: parts of a disk, such as those that may differ |
//! | `differences` | [`Differences`]: where two disks differ, and what is known of how |
//! | `keeping` | a disk that keeps what will be read again |
//! | `volumes` | [`DiskFiles`]: the trees of all volumes of a disk |
//! | `event` | [`FileEvent`]: what happened to a file |
//! | `diff` | [`diff`]: events between two trees |
//! | `owners` | what changed blocks are, and whose |
//!
//! An object is the same one before and after if its number, generation, time of birth and kind
//! are. Its names may differ: then it was renamed, or linked. A number that was given away again is
//! another object.
//!
//! Names are bytes, as the guest has made them: not UTF-8, not printable, not to be opened. Only
//! [`Tree`] composes paths. Damage hides what is damaged and nothing else, and is told.

mod ahead;
mod content;
mod diff;
mod differences;
mod event;
mod ext;
mod keeping;
mod object;
mod other;
mod owners;
mod ranges;
mod system;
mod tree;
mod volumes;

pub use ahead::{Aside, Job, on_a_thread};
pub use content::Content;
pub use diff::{Diff, diff};
pub use differences::{Differences, differing};
pub use disk::system::Packed;
pub use event::{Change, Field, FileEvent, MAX_RANGES_TOLD};
pub use ext::ExtFiles;
pub use object::{AttributesDigest, Object, ObjectId};
pub use other::OtherFiles;
pub use owners::{BlockClass, Owned, attribute};
pub use ranges::Ranges;
pub use system::{FileSystem, FilesError, Found, Owner, Owners};
pub use tree::{Entry, MAX_OBJECTS, MAX_PATH_BYTES, Tree};
pub use volumes::{Compared, DiskFiles, VolumeDiff, VolumeFiles, compare_disks, diff_disks};

pub use disk::ext::{Extent, FileKind, FileTime};

use std::ops::Range;
use std::sync::Arc;

/// A file system that was read: its tree, and the way to its bytes.
#[derive(Debug, Clone)]
pub struct Files {
    /// The way to its bytes.
    pub system: Arc<dyn FileSystem>,
    /// What is in it.
    pub tree: Arc<Tree>,
}

impl Files {
    /// Reads the tree of a file system.
    ///
    /// # Errors
    /// Its root cannot be read, or there is more than the limits allow.
    pub fn read(system: Arc<dyn FileSystem>) -> Result<Self, FilesError> {
        Self::read_with(system, &mut |_| ())
    }

    /// Likewise; `prepare` as of [`Tree::read_with`].
    pub(crate) fn read_with(
        system: Arc<dyn FileSystem>,
        prepare: &mut dyn FnMut(Vec<Range<u64>>),
    ) -> Result<Self, FilesError> {
        let tree = Arc::new(Tree::read_with(&*system, prepare)?);
        Ok(Self { system, tree })
    }

    /// The bytes of a file, or none if there is no such object.
    #[must_use]
    pub fn open(&self, id: ObjectId) -> Option<Content<'_>> {
        Content::open(&self.tree, &*self.system, id)
    }
}

/// A number as a length in memory. What does not fit becomes the greatest, which no check lets pass.
fn length(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
