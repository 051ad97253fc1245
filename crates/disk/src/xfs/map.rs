//! Where the blocks of a fork lie.
//!
//! ```text
//!  extent   128 bits: 1 unwritten, 54 first of the file, 52 first of the disk, 21 number
//!  root     0 level   2 entries   4 keys for as many as fit in the fork, then blocks
//!  block    0 "BMAP" "BMA3"   4 level   6 entries   24 or 72: extents, or keys and then blocks
//! ```

use crate::bytes::Fields;
use crate::ext::Extent;
use crate::system::{MAX_EXTENTS, SystemError};
use crate::xfs::inode::{Fork, Inode};
use crate::xfs::{XFS, Xfs};

const EXTENT_BYTES: usize = 16;

/// The kernel's limit for the depth of a tree.
const MAX_LEVEL: u16 = 9;

/// How many blocks a tree may have: of a file of a million extents in blocks of 512 bytes, half
/// full.
const MAX_NODES: usize = 1 << 17;

/// A fork's blocks, and those that tell where they lie.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    pub(super) extents: Vec<Extent>,
    pub(super) nodes: Vec<u64>,
}

/// Which block of the volume holds a block of the fork; none in a hole.
pub(super) fn find(extents: &[Extent], logical: u64) -> Option<u64> {
    let after = extents.partition_point(|extent| extent.end() <= logical);
    let extent = extents.get(after)?;
    let skipped = logical.checked_sub(extent.logical)?;
    Some(extent.physical.saturating_add(skipped))
}

impl Xfs {
    /// Reads where a fork's blocks lie.
    pub(super) fn map(&self, inode: &Inode, fork: &Fork) -> Result<Map, SystemError> {
        let mut map = Map::default();
        match fork {
            Fork::None | Fork::Here(_) => {}
            Fork::Extents(bytes, count) => {
                let length = usize::try_from(*count).ok();
                let length = length.and_then(|count| count.checked_mul(EXTENT_BYTES));
                let part = length.and_then(|length| bytes.get(..length));
                let short = || XFS.object(inode.number, "it has more extents than room");
                self.leaf(inode, part.ok_or_else(short)?, &mut map)?;
            }
            Fork::Tree(bytes) => self.tree(inode, bytes, &mut map)?,
        }
        Ok(map)
    }

    fn tree(&self, inode: &Inode, root: &[u8], map: &mut Map) -> Result<(), SystemError> {
        let what = "a tree of extents";
        let wrong = |rule| XFS.object(inode.number, rule);
        let fields = Fields(root);
        let head = fields
            .be16(0)
            .and_then(|level| Ok((level, fields.be16(2)?)));
        let (level, count) = head.map_err(XFS.short(what))?;
        if level == 0 || level > MAX_LEVEL {
            return Err(wrong("its tree of extents has a depth that cannot be"));
        }
        let mut waiting = Vec::new();
        below(root, 4, count, level, &mut waiting).ok_or_else(|| wrong("its tree is cut short"))?;
        while let Some((number, level)) = waiting.pop() {
            let place = self.superblock.block_by_number(number);
            let place = place.ok_or_else(|| wrong("its tree leads past the end"))?;
            map.nodes.push(place);
            if map.nodes.len() > MAX_NODES {
                return Err(wrong("its tree of extents has too many blocks"));
            }
            let bytes = self.block(place, what)?;
            let (magic, header) = match self.superblock.is_version_5() {
                true => (*b"BMA3", 72),
                false => (*b"BMAP", 24),
            };
            let fields = Fields(&bytes);
            let head = || {
                Ok((
                    fields.array::<4>(0)?,
                    fields.be16(4)?,
                    usize::from(fields.be16(6)?),
                ))
            };
            let (found, at, count) = head().map_err(XFS.short(what))?;
            if found != magic || at != level {
                return Err(wrong("its tree leads to what is no part of it"));
            }
            if level > 0 {
                let count = u16::try_from(count).unwrap_or(0);
                below(&bytes, header, count, level, &mut waiting)
                    .ok_or_else(|| wrong("its tree is cut short"))?;
                continue;
            }
            let length = count.saturating_mul(EXTENT_BYTES);
            let part = fields.part(header, length).map_err(XFS.short(what))?;
            self.leaf(inode, part, map)?;
        }
        Ok(())
    }

    /// Adds extents, each of which must go on after those before.
    fn leaf(&self, inode: &Inode, bytes: &[u8], map: &mut Map) -> Result<(), SystemError> {
        let wrong = |rule| XFS.object(inode.number, rule);
        for entry in bytes.chunks_exact(EXTENT_BYTES) {
            let fields = Fields(entry);
            let both = fields.be64(0).and_then(|high| Ok((high, fields.be64(8)?)));
            let (high, low) = both.map_err(XFS.short("an extent"))?;
            let number = (high & 0x1ff) << 43 | low >> 21;
            let blocks = u32::try_from(low & 0x1f_ffff).unwrap_or(0);
            let logical = (high & !(1 << 63)) >> 9;
            let end = map.extents.last().map_or(0, |last| last.end());
            if blocks == 0 || logical < end {
                return Err(wrong("its extents are not in ascending order"));
            }
            let physical = self.superblock.block_by_number(number);
            let physical = physical.ok_or_else(|| wrong("an extent leads past the end"))?;
            let last = physical.saturating_add(blocks.into());
            if last > self.superblock.blocks {
                return Err(wrong("an extent leads past the end"));
            }
            let count = (map.extents.len() as u64).saturating_add(1);
            XFS.limited("extents of a file", count, MAX_EXTENTS)?;
            map.extents.push(Extent {
                logical,
                physical,
                blocks,
                unwritten: high >> 63 != 0,
            });
        }
        Ok(())
    }
}

/// Adds the blocks below a node so that the first is taken next; none if they are cut off. Keys and
/// numbers have 8 bytes each.
fn below(
    bytes: &[u8],
    header: usize,
    count: u16,
    level: u16,
    waiting: &mut Vec<(u64, u16)>,
) -> Option<()> {
    let most = bytes.len().checked_sub(header)? / 16;
    let start = header.checked_add(most.checked_mul(8)?)?;
    let length = usize::from(count).checked_mul(8)?;
    let part = bytes.get(start..start.checked_add(length)?)?;
    let numbers = part.chunks_exact(8).rev();
    let numbers = numbers.filter_map(|number| Fields(number).be64(0).ok());
    waiting.extend(numbers.map(|number| (number, level.saturating_sub(1))));
    Some(())
}
