//! Inodes.
//!
//! ```text
//!   0 "IN"      8 owner    32 read      64 blocks                82 attributes' place, in 8 bytes
//!   2 mode     12 group    40 written   72 size of extents       83 kind of attributes
//!   4 version  16 links    48 changed   76 extents of data       90 flags
//!   5 kind of  24 extents  56 size      80 extents of attributes 92 generation    100 data, before
//!     data        (many)                120 more flags          144 born          176 version 3
//! ```

use crate::bytes::{Fields, Short, saturate};
use crate::ext::{FileKind, FileTime};
use crate::system::{Object, SystemError};
use crate::xfs::XFS;
use crate::xfs::superblock::Superblock;

const FLAG_REALTIME: u16 = 0x1;
/// Immutable, append only, synchronous, no access time, no dump and the like.
const USER_FLAGS: u16 = 0x07f8;

const FLAG2_LARGE_TIMES: u64 = 0x08;
const FLAG2_MANY_EXTENTS: u64 = 0x10;

/// The second that large times are counted from.
const FIRST_SECOND: i64 = -(1 << 31);

/// How an inode keeps its data, or its attributes.
#[derive(Clone, Debug)]
pub(super) enum Fork {
    /// Not at all; devices have their numbers there.
    None,
    /// In the inode.
    Here(Vec<u8>),
    /// As extents in the inode.
    Extents(Vec<u8>, u64),
    /// As the root of a tree of extents.
    Tree(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) mode: u16,
    pub(super) size_bytes: u64,
    uid: u32,
    gid: u32,
    links: u32,
    flags: u16,
    generation: u32,
    accessed: FileTime,
    modified: FileTime,
    changed: FileTime,
    born: Option<FileTime>,
    device: u32,
    pub(super) data: Fork,
    pub(super) attributes: Option<Fork>,
}

impl Inode {
    pub(super) fn parse(
        number: u64,
        bytes: &[u8],
        superblock: &Superblock,
    ) -> Result<Self, SystemError> {
        let fields = Fields(bytes);
        if fields.array(0) != Ok(*b"IN") {
            return Err(XFS.object(number, "it does not start with its magic"));
        }
        let inode = read(number, fields, superblock).map_err(XFS.short("an inode"))?;
        inode.ok_or_else(|| XFS.object(number, "it keeps its data in a way that is not known"))
    }

    pub(super) fn kind(&self) -> FileKind {
        match self.mode >> 12 {
            0x1 => FileKind::Fifo,
            0x2 => FileKind::CharacterDevice,
            0x4 => FileKind::Directory,
            0x6 => FileKind::BlockDevice,
            0x8 => FileKind::File,
            0xa => FileKind::Symlink,
            0xc => FileKind::Socket,
            _ => FileKind::Other,
        }
    }

    pub(super) fn is_realtime(&self) -> bool {
        self.flags & FLAG_REALTIME != 0 && self.kind() == FileKind::File
    }

    /// What it says of itself, without data and attributes.
    pub(super) fn object(&self) -> Object {
        let mut object = Object::new(self.number, self.kind());
        object.generation = self.generation.into();
        object.mode = self.mode;
        object.uid = self.uid;
        object.gid = self.gid;
        object.size_bytes = self.size_bytes;
        object.links = self.links;
        object.flags = (self.flags & USER_FLAGS).into();
        object.accessed = self.accessed;
        object.modified = self.modified;
        object.changed = self.changed;
        object.born = self.born;
        if matches!(
            self.kind(),
            FileKind::CharacterDevice | FileKind::BlockDevice
        ) {
            object.device = Some((self.device >> 18, self.device & 0x3_ffff));
        }
        object
    }
}

fn read(number: u64, fields: Fields<'_>, superblock: &Superblock) -> Result<Option<Inode>, Short> {
    let version = fields.byte(4)?;
    let start = if version == 3 { 176 } else { 100 };
    let more = match version {
        3 => fields.be64(120)?,
        _ => 0,
    };
    let time = |at: usize| -> Result<FileTime, Short> {
        let raw = fields.be64(at)?;
        Ok(match more & FLAG2_LARGE_TIMES {
            0 => small_time(raw),
            _ => large_time(raw),
        })
    };
    let (extents, attribute_extents) = match more & FLAG2_MANY_EXTENTS {
        0 => (fields.be32(76)?.into(), fields.be16(80)?.into()),
        _ => (fields.be64(24)?, fields.be32(76)?.into()),
    };
    let size_bytes = fields.be64(56)?;
    let attributes_at = match usize::from(fields.byte(82)?).saturating_mul(8) {
        0 => None,
        after => Some(after.saturating_add(start)),
    };
    let all = saturate(superblock.inode_bytes);
    let end = attributes_at.unwrap_or(all).min(all);
    let room = fields.part(start, end.saturating_sub(start))?;
    let Some(data) = fork(fields.byte(5)?, room, extents, size_bytes) else {
        return Ok(None);
    };
    let attributes = match attributes_at {
        Some(at) => {
            let room = fields.part(at, all.saturating_sub(at))?;
            let kind = fields.byte(83)?;
            fork(kind, room, attribute_extents, room.len() as u64)
        }
        None => None,
    };
    Ok(Some(Inode {
        number,
        mode: fields.be16(2)?,
        size_bytes,
        uid: fields.be32(8)?,
        gid: fields.be32(12)?,
        links: match version {
            1 => fields.be16(6)?.into(),
            _ => fields.be32(16)?,
        },
        flags: fields.be16(90)?,
        generation: fields.be32(92)?,
        accessed: time(32)?,
        modified: time(40)?,
        changed: time(48)?,
        born: match version {
            3 => Some(time(144)?),
            _ => None,
        },
        device: fields.be32(start).unwrap_or(0),
        data,
        attributes,
    }))
}

/// A fork out of its bytes; none if its kind is not known.
fn fork(kind: u8, room: &[u8], extents: u64, size_bytes: u64) -> Option<Fork> {
    Some(match kind {
        0 => Fork::None,
        1 => {
            let here = room.get(..saturate(size_bytes)).unwrap_or(room);
            Fork::Here(here.to_vec())
        }
        2 => Fork::Extents(room.to_vec(), extents),
        3 => Fork::Tree(room.to_vec()),
        // What replaces an inode that was damaged, and others that have no data.
        4 | 5 => Fork::None,
        _ => return None,
    })
}

fn small_time(raw: u64) -> FileTime {
    let (seconds, nanoseconds) = (raw >> 32, raw & 0xffff_ffff);
    let seconds = u32::try_from(seconds).unwrap_or(0).cast_signed();
    FileTime {
        seconds: seconds.into(),
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    }
}

fn large_time(raw: u64) -> FileTime {
    let seconds = i64::try_from(raw / 1_000_000_000).unwrap_or(i64::MAX);
    FileTime {
        seconds: seconds.saturating_add(FIRST_SECOND),
        nanoseconds: u32::try_from(raw % 1_000_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_ways() {
        let small = small_time(0xffff_ffff_0000_0005);
        assert_eq!((small.seconds, small.nanoseconds), (-1, 5));
        // The kernel's documentation: 0 is 1901-12-13 20:45:52.
        assert_eq!(large_time(0).seconds, -0x8000_0000);
        let later = large_time(((1u64 << 31) + 7) * 1_000_000_000 + 9);
        assert_eq!((later.seconds, later.nanoseconds), (7, 9));
    }
}
