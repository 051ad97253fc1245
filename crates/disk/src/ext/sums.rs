//! Sums of metadata.
//!
//! ```text
//!  superblock   1020 sum of what is before
//!  descriptor     30 low half of the sum of the group's number and the descriptor
//!  bitmaps        in the group's descriptor: low halves 24 of blocks, 26 of inodes; high ones 56, 58
//!  inode         124 low half, 130 high half if the inode reaches so far: of number, generation, inode
//!  directory      of number, generation, block: in its last 4 bytes, behind 0000000 0c00 00de
//!   with hashes   up to the last entry in use, then the 8 bytes that stand behind room for entries
//!  extents        of number, generation, block: behind the room for entries
//!  attributes     16 in their block: of its number, 8 bytes, and the block
//! ```
//!
//! A field of a sum counts as zeros in it. CRC-32C, without turning the bits round; all but the
//! superblock's starts with the sum of the file system's id, or with the seed that stands in its place.
//! Source: the kernel's `Documentation/filesystems/ext4`.
//!
//! A wrong one is told, and hides nothing. Lists of blocks, as of ext3, have none.

use std::collections::BTreeSet;

use crate::bytes::{Fields, Short, saturate};
use crate::ext::inode::Inode;
use crate::ext::superblock::Superblock;

/// How many of each kind with wrong sums are named; of more, only that there are.
const MAX_NAMED: usize = 1000;

const SUPERBLOCK_SUM_AT: usize = 1020;
const GROUP_SUM_AT: usize = 30;
const INODE_SUM_AT: usize = 124;
const INODE_HIGH_SUM_AT: usize = 130;

/// Where an inode's later part begins, and the length of it from which on it has the high half.
const INODE_FIRST_BYTES: usize = 128;
const INODE_REACHES: u16 = 4;

const BLOCK_BITMAP_SUM_AT: [usize; 2] = [24, 56];
const INODE_BITMAP_SUM_AT: [usize; 2] = [26, 58];
const ATTRIBUTES_SUM_AT: usize = 16;

/// What ends a block of names: an entry of 12 bytes that is not in use, of a type that none has.
const TAIL: [u8; 8] = [0, 0, 0, 0, 12, 0, 0, 0xde];

/// In an inode's flags: its directory has hashes.
const FLAG_HASHED: u32 = 0x1000;

/// Room for an entry of a hash, or of an extent.
const HASH_BYTES: usize = 8;
const EXTENT_BYTES: usize = 12;

/// What does not have the sum that it says: of each, the first thousand that were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrongSums {
    /// Whether the superblock has not.
    pub superblock: bool,
    /// Groups whose descriptors have not.
    pub groups: BTreeSet<u32>,
    /// Groups whose bitmaps of blocks have not.
    pub block_bitmaps: BTreeSet<u32>,
    /// Groups whose bitmaps of inodes have not.
    pub inode_bitmaps: BTreeSet<u32>,
    /// Inodes of directories that have a block that has not.
    pub directories: BTreeSet<u32>,
    /// Inodes that have a node of extents that has not.
    pub maps: BTreeSet<u32>,
    /// Blocks of attributes that have not.
    pub attributes: BTreeSet<u64>,
}

/// Notes what has a wrong sum.
pub(super) fn note<T: Ord>(set: &mut BTreeSet<T>, number: T) {
    if set.len() < MAX_NAMED {
        set.insert(number);
    }
}

/// What sums of a file system start with; none where it has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    seed: Option<u32>,
}

impl Sums {
    pub(super) fn of(superblock: &Superblock) -> Self {
        let features = superblock.features;
        let seed = features.has_sums().then(|| match superblock.sum_seed {
            Some(seed) => seed,
            None => sum(u32::MAX, &superblock.id),
        });
        Self { seed }
    }

    pub(super) fn superblock_holds(self, bytes: &[u8]) -> bool {
        let stored = Fields(bytes).le32(SUPERBLOCK_SUM_AT);
        let summed = bytes.get(..SUPERBLOCK_SUM_AT).unwrap_or_default();
        self.seed.is_none() || stored == Ok(sum(u32::MAX, summed))
    }

    /// Notes a group whose descriptor has another sum.
    pub(super) fn check_group(self, number: u32, descriptor: &[u8], wrong: &mut WrongSums) {
        let Some(seed) = self.seed else {
            return;
        };
        let found = sum(seed, &number.to_le_bytes());
        let found = with_gap(found, descriptor, GROUP_SUM_AT);
        let holds = Fields(descriptor).le16(GROUP_SUM_AT).map(u32::from) == Ok(found & 0xffff);
        if !holds {
            note(&mut wrong.groups, number);
        }
    }

    /// The sum of a bitmap that a group's descriptor says; `at` are the places of its halves.
    fn stored(self, descriptor: Fields<'_>, at: [usize; 2]) -> Option<BitmapSum> {
        self.seed?;
        let [low, high] = at;
        let low = descriptor.le16(low).ok()?;
        Some(BitmapSum {
            low,
            high: descriptor.le16(high).ok(),
        })
    }

    /// The sums of a group's bitmaps: of blocks, and of inodes.
    pub(super) fn of_bitmaps(self, descriptor: Fields<'_>) -> [Option<BitmapSum>; 2] {
        [BLOCK_BITMAP_SUM_AT, INODE_BITMAP_SUM_AT].map(|at| self.stored(descriptor, at))
    }

    /// Whether the bits of a bitmap have their sum.
    pub(super) fn bitmap_holds(self, stored: Option<BitmapSum>, bitmap: &[u8], bits: u64) -> bool {
        let (Some(seed), Some(stored)) = (self.seed, stored) else {
            return true;
        };
        let bytes = saturate(bits / 8).min(bitmap.len());
        stored.is(sum(seed, bitmap.get(..bytes).unwrap_or_default()))
    }

    /// What sums of an inode's own blocks start with.
    fn of_inode(self, inode: &Inode) -> Option<u32> {
        let number = sum(self.seed?, &inode.number.to_le_bytes());
        Some(sum(number, &inode.generation.to_le_bytes()))
    }

    /// Whether a block of a directory has its sum; `logical` is its place in the directory.
    pub(super) fn names_hold(self, directory: &Inode, logical: u64, block: &[u8]) -> bool {
        let Some(seed) = self.of_inode(directory) else {
            return true;
        };
        let hashes = match directory.flags & FLAG_HASHED != 0 {
            true => hashes_at(block, logical),
            false => None,
        };
        match hashes {
            Some(at) => hashes_hold(seed, block, at).unwrap_or(false),
            None => leaf_holds(seed, block),
        }
    }

    /// Whether a node of extents has its sum.
    pub(super) fn extents_hold(self, inode: &Inode, node: &[u8]) -> bool {
        let Some(seed) = self.of_inode(inode) else {
            return true;
        };
        let room = usize::from(Fields(node).le16(4).unwrap_or(0));
        let at = room.saturating_add(1).saturating_mul(EXTENT_BYTES);
        let summed = node.get(..at);
        summed.is_some_and(|summed| Fields(node).le32(at) == Ok(sum(seed, summed)))
    }

    /// Whether a block of attributes has its sum.
    pub(super) fn attributes_hold(self, number: u64, block: &[u8]) -> bool {
        let Some(seed) = self.seed else {
            return true;
        };
        let found = sum(seed, &number.to_le_bytes());
        let (before, rest) = block
            .split_at_checked(ATTRIBUTES_SUM_AT)
            .unwrap_or((block, &[]));
        let found = sum(sum(found, before), &[0; 4]);
        let found = sum(found, rest.get(4..).unwrap_or_default());
        Fields(block).le32(ATTRIBUTES_SUM_AT) == Ok(found)
    }

    /// Whether an inode has the sum that it says.
    pub(super) fn inode_holds(self, number: u32, bytes: &[u8]) -> bool {
        let Some(seed) = self.seed else {
            return true;
        };
        let fields = Fields(bytes);
        let low = fields.le16(INODE_SUM_AT).map_or(0, u32::from);
        let reaches = fields.le16(INODE_FIRST_BYTES).unwrap_or(0) >= INODE_REACHES;
        let high = fields.le16(INODE_HIGH_SUM_AT).ok().filter(|_| reaches);
        let generation = fields.part(100, 4).unwrap_or_default();
        let found = sum(sum(seed, &number.to_le_bytes()), generation);
        let (first, later) = bytes
            .split_at_checked(INODE_FIRST_BYTES)
            .unwrap_or((bytes, &[]));
        let found = with_gap(found, first, INODE_SUM_AT);
        let found = match high {
            Some(_) => with_gap(
                found,
                later,
                INODE_HIGH_SUM_AT.saturating_sub(INODE_FIRST_BYTES),
            ),
            None => sum(found, later),
        };
        match high {
            Some(high) => found == low | u32::from(high) << 16,
            None => found & 0xffff == low,
        }
    }
}

/// The sum of a bitmap; without a high half where descriptors are short.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitmapSum {
    low: u16,
    high: Option<u16>,
}

impl BitmapSum {
    fn is(self, sum: u32) -> bool {
        match self.high {
            Some(high) => sum == u32::from(self.low) | u32::from(high) << 16,
            None => sum & 0xffff == self.low.into(),
        }
    }
}

/// Where the hashes begin in a block that has some: in the first one behind the entries of the
/// directory and of the one above, in others behind one entry that fills the block.
fn hashes_at(block: &[u8], logical: u64) -> Option<usize> {
    let fields = Fields(block);
    // 64 KiB do not fit into the field.
    let is_whole = |length: u16, bytes: usize| match bytes {
        65_536.. => matches!(length, 0 | 0xffff),
        _ => usize::from(length) == bytes,
    };
    if logical == 0 {
        return Some(32);
    }
    let is_node =
        fields.le32(0) == Ok(0) && fields.le16(4).is_ok_and(|it| is_whole(it, block.len()));
    is_node.then_some(8)
}

fn hashes_hold(seed: u32, block: &[u8], at: usize) -> Result<bool, Short> {
    let fields = Fields(block);
    let entries = |count: u16| at.saturating_add(usize::from(count).saturating_mul(HASH_BYTES));
    let (limit, count) = (fields.le16(at)?, fields.le16(at.saturating_add(2))?);
    let tail = entries(limit);
    let used = fields.part(0, entries(count))?;
    let found = sum(sum(sum(seed, used), fields.part(tail, 4)?), &[0; 4]);
    Ok(fields.le32(tail.saturating_add(4))? == found)
}

fn leaf_holds(seed: u32, block: &[u8]) -> bool {
    let at = block.len().saturating_sub(12);
    let (before, tail) = block.split_at_checked(at).unwrap_or((block, &[]));
    tail.starts_with(&TAIL) && Fields(tail).le32(8) == Ok(sum(seed, before))
}

/// Goes on with a sum over bytes of which two are its own place.
fn with_gap(seed: u32, bytes: &[u8], at: usize) -> u32 {
    let (before, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
    let after = rest.get(2..).unwrap_or_default();
    sum(sum(sum(seed, before), &[0; 2]), after)
}

/// CRC-32C as the kernel goes on with it: without turning the bits round before and after.
pub(super) fn sum(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}
