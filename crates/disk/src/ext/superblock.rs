//! The superblock: sizes, counts and features.
//!
//! ```text
//!  byte 1024 of the file system, little-endian
//!    0 inodes        24 block size, 2^(10+n)     84 first inode for files   104 id
//!    4 blocks        28 cluster size, likewise   88 size of an inode        120 name
//!   20 first block   32 blocks of a group        92 features: compatible    224 the journal's inode
//!   56 ef53          40 inodes of a group        96   incompatible          254 size of a descriptor
//!   76 revision      58 state                   100   read-only compatible  260 first meta group
//!  336 blocks, high  588 groups with backups    624 seed of sums
//! ```
//!
//! Source: the kernel's `Documentation/filesystems/ext4`.

use crate::bytes::{Fields, power_of_two, text};
use crate::ext::error::{ExtError, limited};

/// Where it lies, and how long it is.
pub(super) const SUPERBLOCK_AT: u64 = 1024;
pub(super) const SUPERBLOCK_BYTES: usize = 1024;

const MAGIC: u16 = 0xef53;

/// Blocks have 1 KiB to 64 KiB: the kernel's limits.
const MAX_LOG_BLOCK: u32 = 6;

/// How many groups are read: 128 TiB with blocks of 4 KiB; their places take 40 MiB.
const MAX_GROUPS: u64 = 1 << 20;

/// The first inode for files of revision 0.
const FIRST_INODE: u32 = 11;

/// The smallest inode, and that of revision 0.
const MIN_INODE_BYTES: u64 = 128;

/// Descriptors without, and with, 64-bit block numbers.
const DESCRIPTOR_BYTES: u64 = 32;
const MAX_DESCRIPTOR_BYTES: u64 = 1024;

/// Incompatible features by their bits; [`KNOWN`] says which of them are read.
const INCOMPATIBLE: &[(u32, &str)] = &[
    (0x1, "compression"),
    (0x2, "filetype"),
    (0x4, "needs_recovery"),
    (0x8, "journal_dev"),
    (0x10, "meta_bg"),
    (0x40, "extent"),
    (0x80, "64bit"),
    (0x100, "mmp"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x2000, "metadata_csum_seed"),
    (0x4000, "large_dir"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];

/// All but compression and dirdata, which no kernel of today writes, and a journal by itself.
const KNOWN: u32 = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x3_e000;

const JOURNAL_DEVICE: u32 = 0x8;

/// Features that change how things are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Features that a reader may not know.
    pub compatible: u32,
    /// Features that a reader has to know.
    pub incompatible: u32,
    /// Features that a writer has to know.
    pub read_only_compatible: u32,
}

impl Features {
    pub(super) fn has_journal(self) -> bool {
        self.compatible & 0x4 != 0
    }

    /// Whether the journal holds what is not yet in its place.
    #[must_use]
    pub fn needs_recovery(self) -> bool {
        self.incompatible & 0x4 != 0
    }

    pub(super) fn entries_have_types(self) -> bool {
        self.incompatible & 0x2 != 0
    }

    pub(super) fn meta_groups(self) -> bool {
        self.incompatible & 0x10 != 0
    }

    fn wide(self) -> bool {
        self.incompatible & 0x80 != 0
    }

    fn sparse_2(self) -> bool {
        self.compatible & 0x200 != 0
    }

    fn sparse(self) -> bool {
        self.read_only_compatible & 0x1 != 0
    }

    pub(super) fn huge_files(self) -> bool {
        self.read_only_compatible & 0x8 != 0
    }

    fn clusters(self) -> bool {
        self.read_only_compatible & 0x200 != 0
    }

    /// Whether metadata have sums.
    pub(super) fn has_sums(self) -> bool {
        self.read_only_compatible & 0x400 != 0
    }

    fn has_sum_seed(self) -> bool {
        self.incompatible & 0x2000 != 0
    }

    /// Whether a group's flags may say that its tables were never written.
    pub(super) fn group_flags(self) -> bool {
        self.read_only_compatible & 0x410 != 0
    }
}

/// A superblock that the reader can work with.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// The file system's own id.
    pub id: [u8; 16],
    /// Its name.
    pub name: String,
    /// How many blocks it has.
    pub blocks: u64,
    /// The size of a block.
    pub block_bytes: u64,
    /// How many blocks are given out at once, as a power of two.
    pub cluster_bits: u32,
    /// How many inodes it has.
    pub inodes: u32,
    /// Its features.
    pub features: Features,
    pub(super) first_block: u64,
    pub(super) first_inode: u32,
    pub(super) group_blocks: u64,
    pub(super) group_inodes: u32,
    pub(super) inode_bytes: u64,
    pub(super) descriptor_bytes: u64,
    pub(super) reserved_descriptor_blocks: u16,
    pub(super) first_meta_group: u64,
    pub(super) journal_inode: u32,
    /// What sums start with, if it is not made of the id.
    pub(super) sum_seed: Option<u32>,
    backup_groups: [u32; 2],
}

impl Superblock {
    /// Reads a superblock out of its 1,024 bytes.
    ///
    /// # Errors
    ///
    /// When it is none, or has sizes or features that this reader does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExtError> {
        let fields = Fields(bytes);
        let cut = || ExtError::short("the superblock");
        let word = |at| fields.le32(at).map_err(cut());
        let magic = fields.le16(56).map_err(cut())?;
        if magic != MAGIC {
            return Err(ExtError::NotExt(magic));
        }
        let features = features(fields)?;
        let log_block = limited("the block size", word(24)?.into(), MAX_LOG_BLOCK.into())?;
        let log_cluster = limited("the cluster size", word(28)?.into(), 30)?;
        let block_bits = u32::try_from(log_block).unwrap_or(0).saturating_add(10);
        let cluster = match features.clusters() {
            true => log_cluster.saturating_sub(log_block),
            false => 0,
        };
        let high = if features.wide() { word(336)? } else { 0 };
        let dynamic = word(76)? > 0;
        let superblock = Self {
            id: fields.array(104).map_err(cut())?,
            name: text(until_zero(fields.part(120, 16).map_err(cut())?)),
            blocks: u64::from(high) << 32 | u64::from(word(4)?),
            block_bytes: power_of_two(block_bits).unwrap_or(1024),
            cluster_bits: u32::try_from(cluster).unwrap_or(0),
            inodes: word(0)?,
            features,
            first_block: word(20)?.into(),
            first_inode: if dynamic { word(84)? } else { FIRST_INODE },
            group_blocks: word(32)?.into(),
            group_inodes: word(40)?,
            inode_bytes: match dynamic {
                true => fields.le16(88).map_err(cut())?.into(),
                false => MIN_INODE_BYTES,
            },
            descriptor_bytes: match features.wide() {
                true => fields.le16(254).map_err(cut())?.into(),
                false => DESCRIPTOR_BYTES,
            },
            reserved_descriptor_blocks: fields.le16(206).map_err(cut())?,
            first_meta_group: word(260)?.into(),
            journal_inode: word(224)?,
            sum_seed: match features.has_sum_seed() {
                true => Some(word(624)?),
                false => None,
            },
            backup_groups: [word(588)?, word(592)?],
        };
        superblock.check()?;
        Ok(superblock)
    }

    /// Holds the sizes to what makes sense together.
    fn check(&self) -> Result<(), ExtError> {
        let field = |field, value, rule| Err(ExtError::Field { field, value, rule });
        // One block of bitmap tells of a group's clusters, and one of its inodes.
        let bits = self.block_bytes.saturating_mul(8);
        let most_blocks = bits.saturating_mul(power_of_two(self.cluster_bits).unwrap_or(1));
        if self.group_blocks == 0 || self.group_blocks > most_blocks {
            let rule = "a block of bitmap tells of each";
            return field("the number of blocks in a group", self.group_blocks, rule);
        }
        if self.group_inodes == 0 || u64::from(self.group_inodes) > bits {
            let rule = "a block of bitmap tells of each";
            return field(
                "the number of inodes in a group",
                self.group_inodes.into(),
                rule,
            );
        }
        let inodes = MIN_INODE_BYTES..=self.block_bytes;
        if !inodes.contains(&self.inode_bytes) || !self.inode_bytes.is_power_of_two() {
            let rule = "128, or a power of two up to a block";
            return field("the size of an inode", self.inode_bytes, rule);
        }
        let descriptors = DESCRIPTOR_BYTES..=MAX_DESCRIPTOR_BYTES;
        if !descriptors.contains(&self.descriptor_bytes) || !self.descriptor_bytes.is_power_of_two()
        {
            let rule = "32, or a power of two up to 1024";
            return field(
                "the size of a group's descriptor",
                self.descriptor_bytes,
                rule,
            );
        }
        if self.first_block >= self.blocks {
            return field(
                "the first block",
                self.first_block,
                "it is past the last one",
            );
        }
        limited("groups", self.groups(), MAX_GROUPS)?;
        Ok(())
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> u64 {
        let blocks = self.blocks.saturating_sub(self.first_block);
        blocks.div_ceil(self.group_blocks.max(1))
    }

    /// The first block of a group.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        let blocks = group.saturating_mul(self.group_blocks);
        self.first_block.saturating_add(blocks)
    }

    /// The block that a group's superblock lies in. With blocks of 1 KiB and clusters, groups count
    /// from block 0, but the first superblock is in block 1.
    pub(super) fn superblock_of(&self, group: u64) -> u64 {
        let start = self.group_start(group);
        match (start, self.block_bytes) {
            (0, 1024) => 1,
            _ => start,
        }
    }

    /// Whether a group has a copy of the superblock.
    pub(super) fn has_superblock(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.features.sparse_2() {
            return self
                .backup_groups
                .iter()
                .any(|backup| u64::from(*backup) == group);
        }
        !self.features.sparse() || group == 1 || [3, 5, 7].iter().any(|base| is_power(group, *base))
    }

    /// How many blocks the descriptors of all groups take.
    pub(super) fn descriptor_blocks(&self) -> u64 {
        let bytes = self.groups().saturating_mul(self.descriptor_bytes);
        bytes.div_ceil(self.block_bytes.max(1))
    }

    /// How many blocks a group's table of inodes takes.
    pub(super) fn inode_table_blocks(&self) -> u64 {
        let bytes = u64::from(self.group_inodes).saturating_mul(self.inode_bytes);
        bytes.div_ceil(self.block_bytes.max(1))
    }

    /// The block that holds a block of descriptors.
    pub(super) fn descriptor_block(&self, index: u64) -> u64 {
        if !self.features.meta_groups() || index < self.first_meta_group {
            return self
                .superblock_of(0)
                .saturating_add(1)
                .saturating_add(index);
        }
        let per_block = self
            .block_bytes
            .checked_div(self.descriptor_bytes)
            .unwrap_or(1);
        let group = index.saturating_mul(per_block);
        let skipped = u64::from(self.has_superblock(group));
        self.superblock_of(group).saturating_add(skipped)
    }
}

fn features(fields: Fields<'_>) -> Result<Features, ExtError> {
    let word = |at| fields.le32(at).map_err(ExtError::short("the superblock"));
    let features = Features {
        compatible: word(92)?,
        incompatible: word(96)?,
        read_only_compatible: word(100)?,
    };
    if features.incompatible & JOURNAL_DEVICE != 0 {
        return Err(ExtError::JournalDevice);
    }
    let unknown = features.incompatible & !KNOWN;
    if unknown == 0 {
        return Ok(features);
    }
    let bits = (0..32u32).filter_map(|bit| {
        let bit = 1u32.wrapping_shl(bit);
        (unknown & bit != 0).then_some(bit)
    });
    let names = bits.map(|bit| {
        let name = INCOMPATIBLE.iter().find(|(known, _)| *known == bit);
        name.map_or_else(|| format!("{bit:#x}"), |(_, name)| (*name).to_owned())
    });
    Err(ExtError::Features(names.collect::<Vec<_>>().join(", ")))
}

/// Whether a number is a power of `base`, which is 3, 5 or 7.
fn is_power(number: u64, base: u64) -> bool {
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
}

/// What comes before the first zero.
pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_the_superblock_are_where_the_powers_are() {
        let powers = (1..100).filter(|group| [3, 5, 7].iter().any(|base| is_power(*group, *base)));
        assert_eq!(powers.collect::<Vec<_>>(), [3, 5, 7, 9, 25, 27, 49, 81]);
    }

    #[test]
    fn what_is_no_superblock_is_refused() {
        assert!(matches!(
            Superblock::parse(&[0; SUPERBLOCK_BYTES]),
            Err(ExtError::NotExt(0))
        ));
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes[56..58].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[98] = 0x10;
        bytes[96] = 1;
        let unknown = Superblock::parse(&bytes).unwrap_err().to_string();
        assert!(unknown.ends_with("compression, 0x100000"), "{unknown}");
    }
}
