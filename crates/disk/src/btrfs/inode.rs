//! What the items of an inode tell.
//!
//! ```text
//!  inode   0 generation   16 size   40 links  44 owner  48 group  52 mode  56 device  64 flags
//!          112 read  124 changed  136 written  148 born: seconds, and 4 bytes of nanoseconds
//!  name    key of what it leads to   25 length of data, of an attribute   27 length of name   30
//!  extent  8 length unpacked   16 compression   20 here, elsewhere, promised   21 here: data, or
//!          21 address, 29 length stored, 37 from where in it, 45 how much
//! ```

use crate::btrfs::BTRFS;
use crate::btrfs::compressed::Compression;
use crate::btrfs::tree::{KEY_BYTES, Key};
use crate::bytes::{Fields, Short, saturate};
use crate::ext::{Attribute, FileKind, FileTime};
use crate::system::{MAX_EXTENTS, Object, SystemError};

const INODE: u8 = 1;
const ATTRIBUTE: u8 = 24;
pub(super) const DIRECTORY_INDEX: u8 = 96;
const EXTENT_DATA: u8 = 108;
pub(super) const ROOT_ITEM: u8 = 132;
pub(super) const ROOT_BACK: u8 = 144;

/// Compressed, no copy on write, immutable, append only and the like.
const USER_FLAGS: u64 = 0x0fff;

/// An extent of a file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Where in the file, in bytes.
    pub(super) offset: u64,
    pub(super) compression: Compression,
    pub(super) unpacked_bytes: u64,
    pub(super) data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Here(Vec<u8>),
    At {
        address: u64,
        stored_bytes: u64,
        from: u64,
        bytes: u64,
        promised: bool,
    },
}

/// What was gathered of an inode.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) inode: u64,
    item: Option<Vec<u8>>,
    attributes: Vec<Attribute>,
    pub(super) extents: Vec<Stored>,
    pub(super) damage: Option<SystemError>,
}

impl Gathered {
    pub(super) fn new(inode: u64) -> Self {
        Self {
            inode,
            item: None,
            attributes: Vec::new(),
            extents: Vec::new(),
            damage: None,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.item.is_some()
    }

    /// Adds an item.
    pub(super) fn add(&mut self, key: Key, item: &[u8]) {
        let done = match key.kind {
            INODE => {
                self.item = Some(item.to_vec());
                Ok(())
            }
            ATTRIBUTE => self.add_attributes(item),
            EXTENT_DATA => self.add_extent(key.offset, Fields(item)),
            _ => Ok(()),
        };
        if let Err(short) = done {
            self.damage = Some(BTRFS.short("an item of an inode")(short));
        }
    }

    /// Several whose names have the same sum stand in one item.
    fn add_attributes(&mut self, item: &[u8]) -> Result<(), Short> {
        let mut rest = item;
        while !rest.is_empty() {
            let one = name(Fields(rest))?;
            self.attributes.push(Attribute {
                name: one.bytes.to_vec(),
                value: one.data.to_vec(),
            });
            rest = rest.get(one.length..).unwrap_or_default();
        }
        Ok(())
    }

    fn add_extent(&mut self, offset: u64, fields: Fields<'_>) -> Result<(), Short> {
        if self.extents.len() as u64 >= MAX_EXTENTS {
            let rule = "it has too many extents";
            self.damage = Some(BTRFS.object(self.inode, rule));
            return Ok(());
        }
        let Some(compression) = Compression::of(fields.byte(16)?) else {
            let what = "an unknown compression";
            self.damage = Some(BTRFS.features(what));
            return Ok(());
        };
        let kind = fields.byte(20)?;
        let data = match kind {
            0 => {
                let length = fields.0.len().saturating_sub(21);
                Data::Here(fields.part(21, length)?.to_vec())
            }
            _ => Data::At {
                address: fields.le64(21)?,
                stored_bytes: fields.le64(29)?,
                from: fields.le64(37)?,
                bytes: fields.le64(45)?,
                promised: kind == 2,
            },
        };
        self.extents.push(Stored {
            offset,
            compression,
            unpacked_bytes: fields.le64(8)?,
            data,
        });
        Ok(())
    }

    /// The object, without its data.
    pub(super) fn object(&self, number: u64) -> Object {
        let item = Fields(self.item.as_deref().unwrap_or_default());
        let mode = item.le32(52).unwrap_or(0);
        let mut object = Object::new(number, kind(mode));
        object.mode = u16::try_from(mode & 0xffff).unwrap_or(0);
        if let Err(short) = fields(item, &mut object) {
            object.damage = Some(BTRFS.short("an inode")(short));
        }
        object.attributes.clone_from(&self.attributes);
        object
    }
}

fn fields(item: Fields<'_>, object: &mut Object) -> Result<(), Short> {
    let time = |at: usize| -> Result<FileTime, Short> {
        Ok(FileTime {
            seconds: item.le64(at)?.cast_signed(),
            nanoseconds: item.le32(at.saturating_add(8))?,
        })
    };
    object.generation = item.le64(0)?;
    object.size_bytes = item.le64(16)?;
    object.links = item.le32(40)?;
    object.uid = item.le32(44)?;
    object.gid = item.le32(48)?;
    object.flags = u32::try_from(item.le64(64)? & USER_FLAGS).unwrap_or(0);
    object.accessed = time(112)?;
    object.changed = time(124)?;
    object.modified = time(136)?;
    object.born = Some(time(148)?);
    let device = item.le64(56)?;
    if matches!(
        object.kind,
        FileKind::CharacterDevice | FileKind::BlockDevice
    ) {
        let number = |bits: u64| u32::try_from(bits).unwrap_or(0);
        object.device = Some((number(device >> 20 & 0xfff), number(device & 0xf_ffff)));
    }
    Ok(())
}

fn kind(mode: u32) -> FileKind {
    match mode >> 12 & 0xf {
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

/// A name of a directory, or of an attribute.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) location: Key,
    pub(super) bytes: &'a [u8],
    data: &'a [u8],
    length: usize,
}

pub(super) fn name(fields: Fields<'_>) -> Result<Name<'_>, Short> {
    const FIXED_BYTES: usize = KEY_BYTES + 13;
    let data_bytes = usize::from(fields.le16(25)?);
    let name_bytes = usize::from(fields.le16(27)?);
    let after = FIXED_BYTES.saturating_add(name_bytes);
    Ok(Name {
        location: Key::parse(fields, 0)?,
        bytes: fields.part(FIXED_BYTES, name_bytes)?,
        data: fields.part(after, data_bytes)?,
        length: saturate(after.saturating_add(data_bytes) as u64),
    })
}
