//! The superblock, and how blocks and inodes are numbered.
//!
//! ```text
//!    0 "XFSB"          56 root's inode    100 version     120 logarithms of: block, sector, inode,
//!    4 bytes of a      64 72 realtime     102 bytes of a      inodes of a block, blocks of a group
//!      block           84 blocks of a         sector      192 logarithm of a directory's blocks
//!    8 blocks             group           104 bytes of    200 more features
//!   48 log's place     88 groups              an inode    212 216 features of version 5
//!   96 its blocks     160 168 232 quotas
//!
//!  number of a block: group · block in it, by agblklog bits    of an inode: the same · inode in it
//! ```

use crate::bytes::{Fields, Short, power_of_two};
use crate::read_at::{ReadAt, read_new};
use crate::system::SystemError;
use crate::xfs::XFS;

/// In `versionnum`: extended attributes and others that every disk of the last twenty years has, and
/// those in `features2`.
const MORE_FEATURES: u16 = 0x8000;
const FEATURE2_TYPES_IN_NAMES: u32 = 0x200;

/// Features of version 5 that a reader must know.
const TYPES_IN_NAMES: u32 = 0x01;
const SPARSE_CHUNKS: u32 = 0x02;
const NEEDS_REPAIR: u32 = 0x10;
/// Besides those: another id for metadata, large times, large counts of extents, exchanged ranges,
/// parents in attributes.
const KNOWN: u32 = TYPES_IN_NAMES | SPARSE_CHUNKS | NEEDS_REPAIR | 0x04 | 0x08 | 0x20 | 0x40 | 0x80;

/// Features that a reader may do without.
const FREE_INODES: u32 = 0x01;
const OWNERS: u32 = 0x02;
const SHARING: u32 = 0x04;

/// How many groups there may be: of a disk of 16 TiB with groups of 16 MiB, the smallest that are
/// made.
const MAX_GROUPS: u32 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_bytes: u64,
    pub(super) sector_bytes: u64,
    pub(super) inode_bytes: u64,
    pub(super) blocks: u64,
    pub(super) root: u64,
    pub(super) group_blocks: u32,
    pub(super) groups: u32,
    pub(super) directory_block_bytes: u64,
    pub(super) log_start: u64,
    pub(super) log_blocks: u64,
    version: u16,
    types_in_names: bool,
    incompatible: u32,
    readable: u32,
    /// Logarithms: blocks of a group, inodes of a block.
    group_bits: u32,
    inode_bits: u32,
    /// Inodes of the file system itself: realtime, quotas.
    own: [u64; 5],
}

impl Superblock {
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self, SystemError> {
        let bytes = read_new(source, 0, 512).map_err(XFS.read("the superblock"))?;
        let superblock = parse(Fields(&bytes)).map_err(XFS.short("the superblock"))??;
        Ok(superblock)
    }

    pub(super) fn is_version_5(&self) -> bool {
        self.version == 5
    }

    /// Whether names say what they lead to.
    pub(super) fn has_types_in_names(&self) -> bool {
        self.types_in_names
    }

    pub(super) fn has_sparse_chunks(&self) -> bool {
        self.is_version_5() && self.incompatible & SPARSE_CHUNKS != 0
    }

    pub(super) fn needs_repair(&self) -> bool {
        self.is_version_5() && self.incompatible & NEEDS_REPAIR != 0
    }

    pub(super) fn has_free_inodes(&self) -> bool {
        self.is_version_5() && self.readable & FREE_INODES != 0
    }

    pub(super) fn has_owners(&self) -> bool {
        self.is_version_5() && self.readable & OWNERS != 0
    }

    pub(super) fn has_sharing(&self) -> bool {
        self.is_version_5() && self.readable & SHARING != 0
    }

    /// Whether an inode belongs to the file system itself.
    pub(super) fn is_own(&self, number: u64) -> bool {
        self.own.contains(&number)
    }

    pub(super) fn block_inodes(&self) -> u64 {
        power_of_two(self.inode_bits).unwrap_or(1)
    }

    /// Which block of the volume a group's block is, if there is one.
    pub(super) fn block_of(&self, group: u32, block: u32) -> Option<u64> {
        let before = u64::from(group).saturating_mul(self.group_blocks.into());
        let found = before.saturating_add(block.into());
        (group < self.groups && block < self.group_blocks && found < self.blocks).then_some(found)
    }

    /// Which block of the volume one is by its number in the file system.
    pub(super) fn block_by_number(&self, number: u64) -> Option<u64> {
        let group = u32::try_from(number.checked_shr(self.group_bits)?).ok()?;
        let mask = power_of_two(self.group_bits)?.wrapping_sub(1);
        self.block_of(group, u32::try_from(number & mask).ok()?)
    }

    /// The group of an inode, and its number in it.
    pub(super) fn parts(&self, number: u64) -> (u32, u64) {
        let bits = self.group_bits.saturating_add(self.inode_bits);
        let group = number.checked_shr(bits).unwrap_or(0);
        let mask = power_of_two(bits).unwrap_or(0).wrapping_sub(1);
        (u32::try_from(group).unwrap_or(u32::MAX), number & mask)
    }

    /// The number of an inode of a group.
    pub(super) fn number(&self, group: u32, within: u64) -> u64 {
        let bits = self.group_bits.saturating_add(self.inode_bits);
        u64::from(group).checked_shl(bits).unwrap_or(0) | within
    }

    /// Where an inode lies, in bytes.
    pub(super) fn place_of_inode(&self, group: u32, within: u64) -> Option<u64> {
        let block = u32::try_from(within.checked_shr(self.inode_bits)?).ok()?;
        let index = within & self.block_inodes().wrapping_sub(1);
        let start = self
            .block_of(group, block)?
            .saturating_mul(self.block_bytes);
        Some(start.saturating_add(index.saturating_mul(self.inode_bytes)))
    }

    /// The log, in blocks of the volume; none if it lies elsewhere.
    pub(super) fn log(&self) -> Option<(u64, u64)> {
        let start = self.block_by_number(self.log_start)?;
        (self.log_start != 0).then_some((start, self.log_blocks))
    }
}

fn parse(fields: Fields<'_>) -> Result<Result<Superblock, SystemError>, Short> {
    if fields.array(0)? != *b"XFSB" {
        return Ok(Err(XFS.not("it does not start with its magic")));
    }
    let version = fields.be16(100)?;
    let kind = version & 0xf;
    if !matches!(kind, 4 | 5) {
        return Ok(Err(XFS.features(format!("version {kind}"))));
    }
    let incompatible = match kind {
        5 => fields.be32(216)?,
        _ => 0,
    };
    if incompatible & !KNOWN != 0 {
        let unknown = incompatible & !KNOWN;
        return Ok(Err(XFS.features(format!("features {unknown:#x}"))));
    }
    let more = match version & MORE_FEATURES {
        0 => 0,
        _ => fields.be32(200)?,
    };
    let block_bits = u32::from(fields.byte(120)?);
    let inode_bits = u32::from(fields.byte(123)?);
    let directory_bits = u32::from(fields.byte(192)?);
    let superblock = Superblock {
        block_bytes: fields.be32(4)?.into(),
        sector_bytes: fields.be16(102)?.into(),
        inode_bytes: fields.be16(104)?.into(),
        blocks: fields.be64(8)?,
        root: fields.be64(56)?,
        group_blocks: fields.be32(84)?,
        groups: fields.be32(88)?,
        directory_block_bytes: power_of_two(block_bits.saturating_add(directory_bits)).unwrap_or(0),
        log_start: fields.be64(48)?,
        log_blocks: fields.be32(96)?.into(),
        version: kind,
        types_in_names: incompatible & TYPES_IN_NAMES != 0 || more & FEATURE2_TYPES_IN_NAMES != 0,
        incompatible,
        readable: if kind == 5 { fields.be32(212)? } else { 0 },
        group_bits: fields.byte(124)?.into(),
        inode_bits,
        own: [
            fields.be64(64)?,
            fields.be64(72)?,
            fields.be64(160)?,
            fields.be64(168)?,
            fields.be64(232)?,
        ],
    };
    Ok(check(superblock, block_bits))
}

/// Holds sizes to each other and to what the kernel allows.
fn check(superblock: Superblock, block_bits: u32) -> Result<Superblock, SystemError> {
    let sizes = superblock.block_bytes.is_power_of_two()
        && power_of_two(block_bits) == Some(superblock.block_bytes)
        && (512..=65_536).contains(&superblock.block_bytes)
        && superblock.sector_bytes.is_power_of_two()
        && (512..=32_768).contains(&superblock.sector_bytes)
        && superblock.inode_bytes.is_power_of_two()
        && (256..=2048).contains(&superblock.inode_bytes)
        && superblock.directory_block_bytes <= 65_536
        && superblock.directory_block_bytes >= superblock.block_bytes
        && superblock
            .block_inodes()
            .saturating_mul(superblock.inode_bytes)
            == superblock.block_bytes;
    if !sizes {
        return Err(XFS.not("blocks, sectors, inodes or directories have a size that cannot be"));
    }
    let room = power_of_two(superblock.group_bits).unwrap_or(0);
    let groups = u64::from(superblock.groups);
    let all = groups.saturating_mul(superblock.group_blocks.into());
    let most = superblock.group_bits.saturating_add(superblock.inode_bits) <= 32;
    let fits = u64::from(superblock.group_blocks) <= room
        && superblock.blocks <= all
        && superblock.groups <= MAX_GROUPS
        && superblock.groups > 0
        && most;
    match fits {
        true => Ok(superblock),
        false => Err(XFS.not("its groups do not hold its blocks")),
    }
}
