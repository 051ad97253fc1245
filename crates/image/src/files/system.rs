//! [`FileSystem`]: what a reader of a file system brings, so that trees, events and owners are the
//! same for all.

use crate::files::{BlockClass, Extent, Object, ObjectId};
use disk::ReadError;
use disk::ext::ExtError;
use disk::system::SystemError;
use disk::volume::VolumeKind;
use std::fmt;
use std::ops::{ControlFlow, Range};
use thiserror::Error;

use disk::system::Packed;

/// Why files, or some of them, cannot be told of.
#[derive(Debug, Error)]
pub enum FilesError {
    /// An ext file system is damaged, or not known.
    #[error(transparent)]
    Ext(#[from] ExtError),
    /// Another file system is damaged, or not known.
    #[error(transparent)]
    System(#[from] SystemError),
    /// What lies below cannot be read.
    #[error("cannot read the content of a file")]
    Read(#[from] ReadError),
    /// It holds something that is not read.
    #[error("{}", not_read(*.0))]
    NotRead(VolumeKind),
    /// The volume itself is damaged.
    #[error("the volume cannot be read: {0}")]
    Volume(String),
    /// There is more than what is told.
    #[error("{what}: more than the limit of {limit}")]
    Limit {
        /// What is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A name leads to a number that is not in use.
    #[error("object {0} is not in use")]
    NoObject(u64),
    /// A file's blocks are not known.
    #[error("object {0} is damaged: its data are not known")]
    Damaged(u64),
    /// A name does not lead anywhere, or cannot be one.
    #[error("a name in directory {directory} {what}")]
    Name {
        /// The directory's number.
        directory: u64,
        /// What is wrong.
        what: &'static str,
    },
}

fn not_read(kind: VolumeKind) -> String {
    match kind {
        kind if kind.is_encrypted() => format!("encrypted ({kind}): only its blocks are told of"),
        VolumeKind::Unknown => "no known file system: only its blocks are told of".to_owned(),
        kind => format!("files of {kind} are not read: only its blocks are told of"),
    }
}

/// An object as a reader finds it.
#[derive(Debug)]
pub struct Found {
    /// The object.
    pub object: Object,
    /// Where its data lie, in the order of the file, in blocks of the file system.
    pub extents: Vec<Extent>,
    /// Where a symbolic link leads.
    pub target: Vec<u8>,
    /// Its data, if they lie in no block of their own.
    pub inline: Option<Vec<u8>>,
    /// What of all this could not be read, and is empty: its data cannot be told.
    pub damage: Option<FilesError>,
}

/// What a block is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub class: BlockClass,
    /// The object that it belongs to.
    pub object: Option<ObjectId>,
}

/// What each block of a file system is.
pub trait Owners: fmt::Debug {
    /// What a block of the file system is.
    fn at(&self, block: u64) -> Owner;
}

/// A file system that can be told as a tree. What it reads is untrusted: nothing panics, and time
/// and memory are bounded.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// The size of a block: what extents count in.
    fn block_bytes(&self) -> u64;

    /// The number of the first directory.
    fn root(&self) -> ObjectId;

    /// What of it is not shown, for people.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Gives `take` every object in use, in ascending order of numbers, until it breaks off. What
    /// cannot be read is given as an error, and does not end it.
    ///
    /// # Errors
    /// Nothing can be told at all.
    fn objects(
        &self,
        take: &mut dyn FnMut(Result<Found, FilesError>) -> ControlFlow<()>,
    ) -> Result<(), FilesError>;

    /// One object. A name may lead to one that [`objects`](Self::objects) did not give.
    ///
    /// # Errors
    /// There is none of this number, or it cannot be read.
    fn object(&self, id: ObjectId) -> Result<Found, FilesError>;

    /// How large what it lies on is: no block belongs to two objects, so that all together are not
    /// larger.
    fn bytes_max(&self) -> u64;

    /// Gives `take` the names of a directory, without those of itself and the one above, in the
    /// directory's order. Takes what it reads from a budget.
    ///
    /// # Errors
    /// It is no directory, or damaged; or the budget is used up.
    fn names(
        &self,
        directory: ObjectId,
        budget: &mut u64,
        take: &mut dyn FnMut(&[u8], ObjectId),
    ) -> Result<(), FilesError>;

    /// Bytes of the file system as they are once its journal is replayed.
    ///
    /// # Errors
    /// What it lies on cannot be read there.
    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// Gives `want` the places that [`objects`](Self::objects) and [`names`](Self::names) will read
    /// and that lie apart from what was read to tell them: who reads all of the disk before can keep
    /// them. There may be more of them, or fewer.
    fn listed(&self, _want: &mut dyn FnMut(Range<u64>)) {}

    /// Blocks whose newest content does not lie in their place: it may change though they do not.
    fn displaced(&self) -> Vec<u64>;

    /// Data that are stored compressed, of all objects that were told of so far: where they are read
    /// differs from where they lie, and changes with it.
    fn packed(&self) -> Vec<Packed> {
        Vec::new()
    }

    /// What each block is.
    ///
    /// # Errors
    /// The structures that tell it are damaged.
    fn owners(&self) -> Result<Box<dyn Owners + '_>, FilesError>;
}
