//! [`FileSystem`]: the shape that the readers of file systems besides ext share, so that whoever
//! tells files, their changes and the owners of blocks need not know which one it is.
//!
//! ```text
//!  source ─► open ─► objects ─► number, kind, times, extents, inline data, attributes
//!                      │
//!                      ├─► names: of a directory, with the numbers that they lead to
//!                      └─► layout: block ─► class, object
//! ```
//!
//! Blocks are counted from the start of the volume, whatever the file system itself counts from:
//! what an extent tells can be read, and looked up in the layout, without another translation. Data
//! that are stored compressed have blocks behind the end of the volume, which [`FileSystem::read`]
//! knows; [`FileSystem::packed`] tells what they are made of.

mod error;
mod layout;
mod name;

use std::fmt::Debug;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::btrfs::Btrfs;
use crate::fat::Fat;
use crate::ntfs::Ntfs;
use crate::read_at::{ReadError, Source};
use crate::volume::VolumeKind;
use crate::xfs::Xfs;

pub use crate::ext::{Attribute, Class, Extent, FileKind, FileTime};
pub(crate) use error::Says;
pub use error::SystemError;
pub use layout::{Layout, Owner};
pub(crate) use name::{cp437, utf16};

/// How many extents of one object are told: of a file of 4 GiB in pieces of one block.
pub(crate) const MAX_EXTENTS: u64 = 1 << 20;

/// Blocks in a row, without what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them, in the volume.
    pub start: u64,
    /// How many they are.
    pub blocks: u64,
}

/// A file, a directory, a link or a device, without its names.
#[derive(Debug)]
pub struct Object {
    /// Its number.
    pub number: u64,
    /// Changes when the number is given away again; 0 where the file system has none.
    pub generation: u64,
    /// What it is.
    pub kind: FileKind,
    /// Type and permissions, as `st_mode` has them; made up where the file system has none.
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
    /// What its blocks are.
    pub class: Class,
    /// Where its data lie, in the order of the file.
    pub extents: Vec<Extent>,
    /// Its data, if they lie in no block of their own.
    pub inline: Option<Vec<u8>>,
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// Its extended attributes.
    pub attributes: Vec<Attribute>,
    /// Blocks that belong to it and hold no data, with what they hold.
    pub others: Vec<(Class, Run)>,
    /// What of all this could not be read, and is empty.
    pub damage: Option<SystemError>,
}

impl Object {
    /// An object of which only number and kind are known, and the type in its mode.
    pub(crate) fn new(number: u64, kind: FileKind) -> Self {
        let (mode, class) = match kind {
            FileKind::Directory => (0o040_000, Class::Directory),
            FileKind::Symlink => (0o120_000, Class::Symlink),
            FileKind::CharacterDevice => (0o020_000, Class::File),
            FileKind::BlockDevice => (0o060_000, Class::File),
            FileKind::Fifo => (0o010_000, Class::File),
            FileKind::Socket => (0o140_000, Class::File),
            FileKind::File => (0o100_000, Class::File),
            FileKind::Other => (0, Class::File),
        };
        Self {
            number,
            generation: 0,
            kind,
            mode,
            uid: 0,
            gid: 0,
            size_bytes: 0,
            links: 1,
            flags: 0,
            accessed: FileTime::default(),
            changed: FileTime::default(),
            modified: FileTime::default(),
            born: None,
            device: None,
            class,
            extents: Vec::new(),
            inline: None,
            target: Vec::new(),
            attributes: Vec::new(),
            others: Vec::new(),
            damage: None,
        }
    }

    /// What was read, or nothing and the damage.
    pub(crate) fn keep<T: Default>(&mut self, read: Result<T, SystemError>) -> T {
        read.unwrap_or_else(|error| {
            self.damage = Some(error);
            T::default()
        })
    }
}

/// Data that are stored compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Where they are read, in bytes: behind the end of the volume.
    pub read: Range<u64>,
    /// Which bytes of the volume they are made of.
    pub stored: Range<u64>,
}

/// Takes objects one by one, until it breaks off.
pub type TakeObject<'a> = dyn FnMut(Result<Object, SystemError>) -> ControlFlow<()> + 'a;

/// Takes names one by one, with the numbers of what they lead to.
pub type TakeName<'a> = dyn FnMut(&[u8], u64) + 'a;

/// A file system that was opened. What it reads is untrusted: nothing panics, and time and memory
/// are bounded.
pub trait FileSystem: Debug + Send + Sync {
    /// The size of a block: what extents count in.
    fn block_bytes(&self) -> u64;

    /// How large what it lies on is.
    fn source_bytes(&self) -> u64;

    /// The number of the first directory.
    fn root(&self) -> u64;

    /// What of it is not shown, for people.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Gives `take` every object in use, in ascending order of numbers, until it breaks off. What
    /// cannot be read is given as an error, and does not end it.
    ///
    /// # Errors
    ///
    /// Nothing can be told at all.
    fn objects(&self, take: &mut TakeObject<'_>) -> Result<(), SystemError>;

    /// One object. A name may lead to one that [`objects`](Self::objects) did not give.
    ///
    /// # Errors
    ///
    /// There is none of this number, or it cannot be read.
    fn object(&self, number: u64) -> Result<Object, SystemError>;

    /// Gives `take` the names of a directory, without those of itself and the one above. Takes what
    /// it reads from a budget.
    ///
    /// # Errors
    ///
    /// It is no directory, or damaged; or the budget is used up.
    fn names(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError>;

    /// Bytes of the file system as they are once its journal is replayed, by their place in the
    /// volume; behind its end, those of [`packed`](Self::packed).
    ///
    /// # Errors
    ///
    /// What it lies on cannot be read there.
    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Blocks whose newest content does not lie in their place.
    fn displaced(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Data that are stored compressed, of all objects that were told of so far.
    fn packed(&self) -> Vec<Packed> {
        Vec::new()
    }

    /// Claims the blocks that belong to no object: superblocks, maps, what is free.
    ///
    /// # Errors
    ///
    /// The structures that tell it are damaged.
    fn claim(&self, layout: &mut Layout) -> Result<(), SystemError>;

    /// What each block is.
    ///
    /// # Errors
    ///
    /// The structures that tell it are damaged, or there is more than the limits allow.
    fn layout(&self) -> Result<Layout, SystemError> {
        let mut layout = Layout::default();
        self.claim(&mut layout)?;
        let mut claimed = Ok(());
        self.objects(&mut |object| match object {
            Ok(object) => {
                claimed = layout.claim_object(&object, self.source_bytes(), self.block_bytes());
                match claimed {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            }
            // Its blocks are told as unowned.
            Err(_) => ControlFlow::Continue(()),
        })?;
        claimed?;
        layout.sort();
        Ok(layout)
    }
}

/// Opens the file system of a kind that fills `source`; none if files of that kind are not read
/// here. ext has a reader of its own, [`crate::ext`].
#[must_use]
pub fn open(kind: VolumeKind, source: Source) -> Option<Result<Arc<dyn FileSystem>, SystemError>> {
    match kind {
        VolumeKind::Fat => Some(Fat::open(source).map(|fat| Arc::new(fat) as _)),
        VolumeKind::Btrfs => Some(Btrfs::open(source).map(|btrfs| Arc::new(btrfs) as _)),
        VolumeKind::Ntfs => Some(Ntfs::open(source).map(|ntfs| Arc::new(ntfs) as _)),
        VolumeKind::Xfs => Some(Xfs::open(source).map(|xfs| Arc::new(xfs) as _)),
        _ => None,
    }
}
