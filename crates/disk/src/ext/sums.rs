//! Sums of metadata: of the superblock, of groups' descriptors, of inodes.
//!
//! ```text
//!  superblock   1020 sum of what is before
//!  descriptor     30 low half of the sum of the group's number and the descriptor
//!  inode         124 low half, 130 high half if the inode reaches so far: of number, generation, inode
//! ```
//!
//! A field of a sum counts as zeros in it. CRC-32C, without turning the bits round; all but the
//! superblock's starts with the sum of the file system's id, or with the seed that stands in its place.
//! Source: the kernel's `Documentation/filesystems/ext4`.
//!
//! A wrong one is told, and hides nothing. Those of bitmaps, directories and maps are not looked at.

use crate::bytes::Fields;
use crate::ext::superblock::Superblock;

/// How many groups with wrong sums are named; of more, only that there are.
const MAX_GROUPS: usize = 1000;

const SUPERBLOCK_SUM_AT: usize = 1020;
const GROUP_SUM_AT: usize = 30;
const INODE_SUM_AT: usize = 124;
const INODE_HIGH_SUM_AT: usize = 130;

/// Where an inode's later part begins, and the length of it from which on it has the high half.
const INODE_FIRST_BYTES: usize = 128;
const INODE_REACHES: u16 = 4;

/// What does not have the sum that it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrongSums {
    /// Whether the superblock has not.
    pub superblock: bool,
    /// The first groups whose descriptors have not.
    pub groups: Vec<u32>,
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
        if !holds && wrong.groups.len() < MAX_GROUPS {
            wrong.groups.push(number);
        }
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
