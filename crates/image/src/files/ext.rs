//! ext2, ext3 and ext4 as a [`FileSystem`].

use crate::files::system::{FileSystem, FilesError, Found, Owner, Owners};
use crate::files::{AttributesDigest, BlockClass, Object, ObjectId};
use disk::ext::{Attribute, Class, Ext, ExtError, FileKind, Inode, Layout, ROOT_INODE};
use disk::{ReadError, Source};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, PoisonError};

/// Flags of inodes that a user sets, or that tell how an object behaves: `chattr` shows them. The
/// others tell how it is stored.
const USER_FLAGS: u32 = 0x6213_c8ff;

/// How long data in an inode can be: an inode has at most a block, of 64 KiB at most.
const MAX_INLINE_BYTES: u64 = 64 << 10;

/// A last block of a directory can be cut off by the end of what it lies on.
const SLACK_BYTES: u64 = 64 << 10;

/// How many inodes with wrong sums are named, and how many are counted.
const WRONG_TOLD: usize = 5;
const WRONG_COUNTED: usize = 1_000_000;

/// An ext file system whose files are told of.
#[derive(Debug)]
pub struct ExtFiles {
    ext: Ext,
    /// Inodes with wrong sums, of those that were told of so far.
    wrong: Mutex<BTreeSet<u32>>,
}

impl ExtFiles {
    /// Opens the file system that fills `source`.
    ///
    /// # Errors
    /// As of [`Ext::open`].
    pub fn open(source: Source) -> Result<Self, ExtError> {
        Ok(Self {
            ext: Ext::open(source)?,
            wrong: Mutex::default(),
        })
    }

    fn note_sum(&self, inode: &Inode) {
        if inode.has_wrong_sum {
            let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            if wrong.len() < WRONG_COUNTED {
                wrong.insert(inode.number);
            }
        }
    }

    /// What of the metadata is not as it was written.
    fn wrong_sums(&self) -> Option<String> {
        let of_ext = self.ext.wrong_sums();
        let inodes = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = [
            of_ext.superblock.then(|| "the superblock".to_owned()),
            numbered("group", &mut of_ext.groups.iter()),
            numbered("block bitmap of group", &mut of_ext.block_bitmaps.iter()),
            numbered("inode bitmap of group", &mut of_ext.inode_bitmaps.iter()),
            numbered("inode", &mut inodes.iter()),
            numbered("directory", &mut of_ext.directories.iter()),
            numbered("extents of inode", &mut of_ext.maps.iter()),
            numbered("attributes in block", &mut of_ext.attributes.iter()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("checksums do not match: {}", parts.join("; ")))
    }

    fn found(&self, inode: &Inode) -> Found {
        self.note_sum(inode);
        let ext = &self.ext;
        let kind = inode.kind();
        let mut damage = None;
        let extents = kept(ext.map(inode).map(|map| map.extents), &mut damage);
        let attributes = kept(ext.attributes(inode), &mut damage);
        let target = match kind {
            FileKind::Symlink => kept(ext.link_target(inode), &mut damage),
            _ => Vec::new(),
        };
        let inline = match kind == FileKind::File && inode.is_inline() {
            true => {
                let file = ext.open_file(inode);
                let bytes = file.and_then(|file| file.read_all(MAX_INLINE_BYTES));
                Some(kept(bytes, &mut damage))
            }
            false => None,
        };
        Found {
            object: Object {
                id: ObjectId(inode.number.into()),
                generation: inode.generation.into(),
                kind,
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                size_bytes: inode.size_bytes,
                links: inode.links.into(),
                flags: inode.flags & USER_FLAGS,
                accessed: inode.accessed,
                changed: inode.changed,
                modified: inode.modified,
                born: inode.born,
                device: inode.device(),
                attributes: digest(attributes),
            },
            extents,
            target,
            inline,
            damage: damage.map(FilesError::from),
        }
    }
}

/// The first of some numbers, and how many more there are; none if there is none.
fn numbered<T: ToString>(what: &str, all: &mut dyn ExactSizeIterator<Item = &T>) -> Option<String> {
    let count = all.len();
    let named: Vec<String> = all.take(WRONG_TOLD).map(ToString::to_string).collect();
    let more = count.saturating_sub(named.len());
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (count > 0).then(|| format!("{what} {}{more}", named.join(", ")))
}

/// What was read, or nothing and the damage.
fn kept<T: Default>(read: Result<T, ExtError>, damage: &mut Option<ExtError>) -> T {
    read.unwrap_or_else(|error| {
        *damage = Some(error);
        T::default()
    })
}

/// What stands for attributes: BLAKE3 over each name and value with their lengths, sorted.
pub(super) fn digest(mut attributes: Vec<Attribute>) -> Option<AttributesDigest> {
    if attributes.is_empty() {
        return None;
    }
    attributes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut hasher = blake3::Hasher::new();
    for Attribute { name, value } in &attributes {
        for part in [name, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Some(AttributesDigest(*hasher.finalize().as_bytes()))
}

/// The number of an inode, or one that there is none of.
fn number(id: ObjectId) -> u32 {
    u32::try_from(id.0).unwrap_or(0)
}

impl FileSystem for ExtFiles {
    fn block_bytes(&self) -> u64 {
        self.ext.superblock().block_bytes
    }

    fn root(&self) -> ObjectId {
        ObjectId(ROOT_INODE.into())
    }

    fn notes(&self) -> Vec<String> {
        let replay = self.ext.replay().unwrap_or_default();
        let said = |is_so: bool, what: &str| is_so.then(|| what.to_owned());
        let notes = [
            said(
                replay.fast_left_out > 0,
                "a part of its fast commits does not fit the file system, and is not shown",
            ),
            said(
                replay.ends_damaged || replay.damaged_blocks > 0,
                "a part of its journal is damaged, and not shown",
            ),
            self.wrong_sums(),
        ];
        notes.into_iter().flatten().collect()
    }

    fn objects(
        &self,
        take: &mut dyn FnMut(Result<Found, FilesError>) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        for inode in self.ext.inodes()? {
            // Inodes without a mode are kept for the file system's own use; values of attributes
            // belong to other inodes.
            let is_object = |inode: &Inode| inode.mode != 0 && !inode.is_attribute_value();
            if inode.as_ref().is_ok_and(|inode| !is_object(inode)) {
                continue;
            }
            let found = inode.map(|inode| self.found(&inode));
            if take(found.map_err(FilesError::from)).is_break() {
                break;
            }
        }
        self.ext.check_bitmaps();
        Ok(())
    }

    fn object(&self, id: ObjectId) -> Result<Found, FilesError> {
        let inode = self.ext.inode(number(id))?;
        if inode.mode == 0 {
            return Err(FilesError::NoObject(id.0));
        }
        Ok(self.found(&inode))
    }

    fn bytes_max(&self) -> u64 {
        self.ext.source_bytes().saturating_add(SLACK_BYTES)
    }

    fn names(
        &self,
        directory: ObjectId,
        budget: &mut u64,
        take: &mut dyn FnMut(&[u8], ObjectId),
    ) -> Result<(), FilesError> {
        let inode = self.ext.inode(number(directory))?;
        let encrypted = inode.is_encrypted();
        for name in self.ext.names_within(&inode, budget)? {
            if name.bytes == b"." || name.bytes == b".." {
                continue;
            }
            let id = ObjectId(name.inode.into());
            match encrypted {
                // Any byte can be in it; what stands for it must be the same each time.
                true => take(hexadecimal(&name.bytes).as_bytes(), id),
                false => take(&name.bytes, id),
            }
        }
        Ok(())
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.ext.read(place, buffer)
    }

    fn listed(&self, want: &mut dyn FnMut(Range<u64>)) {
        let bytes = self.block_bytes();
        for inode in self.ext.inodes().into_iter().flatten().flatten() {
            self.ext.listed_blocks(&inode, &mut |blocks| {
                want(blocks.start.saturating_mul(bytes)..blocks.end.saturating_mul(bytes));
            });
        }
    }

    fn displaced(&self) -> Vec<u64> {
        self.ext.replayed_blocks().collect()
    }

    fn owners(&self) -> Result<Box<dyn Owners + '_>, FilesError> {
        Ok(Box::new(self.ext.layout()?))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Owners for Layout<'_> {
    fn at(&self, block: u64) -> Owner {
        let owner = Layout::at(self, block);
        Owner {
            class: owner.class.into(),
            object: owner.inode.map(|inode| ObjectId(inode.into())),
        }
    }
}

impl From<Class> for BlockClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Boot => Self::Boot,
            Class::Superblock => Self::Superblock,
            Class::Descriptors => Self::Descriptors,
            Class::BlockBitmap | Class::InodeBitmap => Self::Bitmap,
            Class::InodeTable => Self::InodeTable,
            Class::Journal => Self::Journal,
            Class::Directory => Self::Directory,
            Class::File => Self::File,
            Class::Symlink => Self::Symlink,
            Class::Map => Self::Map,
            Class::Attributes => Self::Attributes,
            Class::Free => Self::Free,
            Class::Unowned => Self::Unowned,
            Class::Outside => Self::Outside,
        }
    }
}
