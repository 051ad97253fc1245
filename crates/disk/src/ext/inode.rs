//! Inodes: what a file is, without its names.
//!
//! ```text
//!    0 mode    8 access time    24 group    32 flags             104 attributes' block
//!    2 owner  12 change time    26 links    40 60 bytes: map,    108 size, high
//!    4 size   16 data time      28 sectors     inline data,      116 high halves of sectors, 118 of
//!             20 deletion time  100 generation  link, device         attributes, 120 owner, 122 group
//!  128 length of the rest, from here: 132 136 140 nanoseconds of change, data, access; 144 birth,
//!  148 its nanoseconds; then attributes, up to the inode's end
//! ```
//!
//! Nanoseconds: the low 2 bits extend the seconds, the high 30 bits count.

use crate::bytes::{Fields, Short};
use crate::ext::sums::Sums;
use crate::ext::superblock::Features;

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Nothing of these; inodes that are not in use are.
    Other,
}

/// A time of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds; 0 where the inode has no place for them.
    pub nanoseconds: u32,
}

/// An inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub number: u32,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size of its data.
    pub size_bytes: u64,
    /// How many names it has; 0 for one that is deleted.
    pub links: u16,
    /// Flags, as stored.
    pub flags: u32,
    /// Changes when the number is used again.
    pub generation: u32,
    /// Sectors of 512 bytes, or blocks of huge files, that it takes.
    pub sectors: u64,
    /// When it was read.
    pub accessed: FileTime,
    /// When the inode was changed.
    pub changed: FileTime,
    /// When the data were changed.
    pub modified: FileTime,
    /// When it was made, if the inode has place for it.
    pub born: Option<FileTime>,
    /// When it was deleted, in seconds since 1970; for an orphan the next orphan's number.
    pub deleted: u32,
    /// Where the block of attributes lies; 0 for none.
    pub attributes_block: u64,
    /// Whether it has another sum than it says, so that some of it is not as it was written.
    pub has_wrong_sum: bool,
    pub(super) map: [u8; MAP_BYTES],
    /// What comes after the known fields: attributes.
    pub(super) rest: Vec<u8>,
}

/// Where the map, or what stands in its place, lies, and how long it is.
pub(super) const MAP_AT: usize = 40;
pub(super) const MAP_BYTES: usize = 60;

/// The length of the first part, which all inodes have.
const FIRST_BYTES: usize = 128;

const FLAG_HUGE_FILE: u32 = 0x4_0000;
pub(super) const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_ATTRIBUTE_VALUE: u32 = 0x20_0000;
pub(super) const FLAG_INLINE: u32 = 0x1000_0000;
const FLAG_ENCRYPTED: u32 = 0x800;

impl Inode {
    /// Reads an inode out of its bytes.
    pub(super) fn parse(
        number: u32,
        bytes: &[u8],
        features: Features,
        sums: Sums,
    ) -> Result<Self, Short> {
        let fields = Fields(bytes);
        let high = |at| fields.le16(at).map(|half| u64::from(half) << 32);
        let wide =
            |low, high| Ok(u32::from(fields.le16(low)?) | u32::from(fields.le16(high)?) << 16);
        let extra = extra_bytes(fields);
        // A field of the later part is there if the inode says that it reaches so far.
        let later = |at: usize| match at.saturating_add(4) <= extra {
            true => fields.le32(at).ok(),
            false => None,
        };
        let time = |at, more| -> Result<FileTime, Short> {
            Ok(file_time(fields.le32(at)?, later(more).unwrap_or(0)))
        };
        let flags = fields.le32(32)?;
        let sectors =
            u64::from(fields.le32(28)?) | if features.huge_files() { high(116)? } else { 0 };
        Ok(Self {
            number,
            mode: fields.le16(0)?,
            uid: wide(2, 120)?,
            gid: wide(24, 122)?,
            size_bytes: u64::from(fields.le32(4)?) | u64::from(fields.le32(108)?) << 32,
            links: fields.le16(26)?,
            flags,
            generation: fields.le32(100)?,
            sectors,
            accessed: time(8, 140)?,
            changed: time(12, 132)?,
            modified: time(16, 136)?,
            born: later(144).map(|seconds| file_time(seconds, later(148).unwrap_or(0))),
            deleted: fields.le32(20)?,
            attributes_block: u64::from(fields.le32(104)?) | high(118)?,
            has_wrong_sum: !sums.inode_holds(number, bytes),
            map: fields.array(MAP_AT)?,
            rest: bytes.get(extra..).unwrap_or_default().to_vec(),
        })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
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

    /// Major and minor number of a device; none for anything else.
    #[must_use]
    pub fn device(&self) -> Option<(u32, u32)> {
        if !matches!(
            self.kind(),
            FileKind::CharacterDevice | FileKind::BlockDevice
        ) {
            return None;
        }
        let fields = Fields(&self.map);
        let (old, new) = (fields.le32(0).ok()?, fields.le32(4).ok()?);
        Some(match old {
            0 => ((new & 0xf_ff00) >> 8, new & 0xff | (new >> 12) & 0xf_ff00),
            _ => ((old >> 8) & 0xff, old & 0xff),
        })
    }

    /// Whether its data, or the names in it, are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPTED != 0
    }

    /// Whether it holds the value of another inode's attribute.
    #[must_use]
    pub fn is_attribute_value(&self) -> bool {
        self.flags & FLAG_ATTRIBUTE_VALUE != 0
    }

    /// How many bytes of the disk it takes.
    #[must_use]
    pub fn allocated_bytes(&self, block_bytes: u64) -> u64 {
        match self.flags & FLAG_HUGE_FILE != 0 {
            true => self.sectors.saturating_mul(block_bytes),
            false => self.sectors.saturating_mul(512),
        }
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags & FLAG_EXTENTS != 0
    }

    /// Whether its data, or the names in it, lie in the inode itself.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.flags & FLAG_INLINE != 0
    }

    /// Whether the link's target stands in the place of the map.
    pub(super) fn is_short_link(&self) -> bool {
        let short = (1..MAP_BYTES as u64).contains(&self.size_bytes);
        self.kind() == FileKind::Symlink && short && !self.is_inline()
    }

    /// Whether it has blocks of data, told by its map.
    pub(super) fn has_map(&self) -> bool {
        let has_data = matches!(
            self.kind(),
            FileKind::File | FileKind::Directory | FileKind::Symlink
        );
        has_data && !self.is_inline() && !self.is_short_link()
    }
}

/// Where the known fields end.
fn extra_bytes(fields: Fields<'_>) -> usize {
    let extra = fields.le16(FIRST_BYTES).unwrap_or(0);
    FIRST_BYTES.saturating_add(extra.into())
}

fn file_time(seconds: u32, extra: u32) -> FileTime {
    let epoch = i64::from(extra & 3) << 32;
    FileTime {
        seconds: i64::from(seconds.cast_signed()).saturating_add(epoch),
        nanoseconds: extra >> 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own table of times, in its documentation of ext4.
    #[test]
    fn times_reach_from_1901_to_2446() {
        let cases = [
            (0x8000_0000, 0, -0x8000_0000),
            (0xffff_ffff, 0, -1),
            (0, 0, 0),
            (0x7fff_ffff, 0, 0x7fff_ffff),
            (0x8000_0000, 1, 0x8000_0000),
            (0, 1, 0x1_0000_0000),
            (0x7fff_ffff, 3, 0x3_7fff_ffff),
        ];
        for (seconds, epoch, expected) in cases {
            let time = file_time(seconds, 999_999_999 << 2 | epoch);
            assert_eq!(time.seconds, expected);
            assert_eq!(time.nanoseconds, 999_999_999);
        }
    }
}
