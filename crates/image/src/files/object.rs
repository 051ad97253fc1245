//! Objects: what a name leads to.

use disk::ext::{FileKind, FileTime};

/// An object's number in its file system: of ext the inode's. It is given away again once the object
/// is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// BLAKE3 of all extended attributes, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributesDigest(pub [u8; 32]);

/// A file, a directory, a link or a device, without its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its number.
    pub id: ObjectId,
    /// Changes when the number is given away again; 0 where the file system has none.
    pub generation: u64,
    /// What it is.
    pub kind: FileKind,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size of its data.
    pub size_bytes: u64,
    /// How many names it says that it has.
    pub links: u32,
    /// Flags that a user can set, as the file system stores them.
    pub flags: u32,
    /// When it was read.
    pub accessed: FileTime,
    /// When anything of it was changed.
    pub changed: FileTime,
    /// When its data were changed.
    pub modified: FileTime,
    /// When it was made, where that is kept.
    pub born: Option<FileTime>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// What stands for its extended attributes; none if it has none.
    pub attributes: Option<AttributesDigest>,
}

impl Object {
    /// Whether this is the same object as one of another time, and not one that was given its number
    /// later.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let born = match (self.born, other.born) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.id == other.id
            && self.generation == other.generation
            && self.kind == other.kind
            && born
    }

    /// Whether anything is told of it in another way. When it was last read does not count.
    #[must_use]
    pub fn is_equal_but_for_reading(&self, other: &Self) -> bool {
        let other = Self {
            accessed: self.accessed,
            ..other.clone()
        };
        *self == other
    }
}
