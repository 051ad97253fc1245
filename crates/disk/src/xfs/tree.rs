//! The trees of a group: free space, inodes, owners, sharing.
//!
//! ```text
//!  0 magic   4 level   6 records   8 12 neighbours   16 or, in version 5, 56: records, or
//!  keys for as many as fit, and then the blocks below, in the group
//! ```

use std::ops::ControlFlow;

use crate::bytes::Fields;
use crate::system::SystemError;
use crate::xfs::{XFS, Xfs};

/// How deep a tree may be: the kernel's limit.
const MAX_LEVELS: u32 = 9;

/// What a tree's blocks look like.
#[derive(Debug)]
pub(super) struct Shape {
    what: &'static str,
    magics: [[u8; 4]; 2],
    record_bytes: usize,
    key_bytes: usize,
}

pub(super) const FREE: Shape = Shape {
    what: "a tree of free space",
    magics: [*b"ABTB", *b"AB3B"],
    record_bytes: 8,
    key_bytes: 8,
};

pub(super) const FREE_BY_SIZE: Shape = Shape {
    what: "a tree of free space by size",
    magics: [*b"ABTC", *b"AB3C"],
    record_bytes: 8,
    key_bytes: 8,
};

pub(super) const INODES: Shape = Shape {
    what: "a tree of inodes",
    magics: [*b"IABT", *b"IAB3"],
    record_bytes: 16,
    key_bytes: 4,
};

pub(super) const FREE_INODES: Shape = Shape {
    what: "a tree of free inodes",
    magics: [*b"FIBT", *b"FIB3"],
    record_bytes: 16,
    key_bytes: 4,
};

pub(super) const OWNERS: Shape = Shape {
    what: "a tree of owners",
    magics: [*b"RMB3", *b"RMB3"],
    record_bytes: 24,
    // The least and the greatest key of what is below.
    key_bytes: 40,
};

pub(super) const SHARING: Shape = Shape {
    what: "a tree of shared blocks",
    magics: [*b"R3FC", *b"R3FC"],
    record_bytes: 12,
    key_bytes: 4,
};

/// Takes a leaf's record, and says whether to go on.
type TakeRecord<'a> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>, SystemError> + 'a;

impl Xfs {
    /// Gives `take` the records of a tree of a group, in their order, and adds its blocks to
    /// `nodes`.
    pub(super) fn short_tree(
        &self,
        group: u32,
        (root, levels): (u32, u32),
        shape: &Shape,
        nodes: &mut Vec<u64>,
        take: &mut TakeRecord<'_>,
    ) -> Result<(), SystemError> {
        let what = shape.what;
        XFS.limited(what, levels.into(), MAX_LEVELS.into())?;
        let Some(level) = levels.checked_sub(1) else {
            return Ok(());
        };
        let mut waiting = vec![(root, level)];
        // No block is twice in a tree, so that it has no more than the group.
        let mut left = self.superblock.group_blocks;
        while let Some((block, level)) = waiting.pop() {
            let wrong = |rule| XFS.place(what, block.into(), rule);
            left = left
                .checked_sub(1)
                .ok_or_else(|| wrong("it has more blocks than its group"))?;
            let place = self.superblock.block_of(group, block);
            let place = place.ok_or_else(|| wrong("it lies outside of its group"))?;
            nodes.push(place);
            let bytes = self.block(place, what)?;
            let node = self.node(&bytes, level, shape);
            let (records, below) = node.map_err(wrong)?;
            for record in records.chunks_exact(shape.record_bytes) {
                if take(record)?.is_break() {
                    return Ok(());
                }
            }
            let below = below.chunks_exact(4).rev();
            let below = below.filter_map(|bytes| Fields(bytes).be32(0).ok());
            waiting.extend(below.map(|below| (below, level.saturating_sub(1))));
        }
        Ok(())
    }

    /// The records of a leaf, or the numbers of the blocks below a node.
    fn node<'b>(
        &self,
        bytes: &'b [u8],
        level: u32,
        shape: &Shape,
    ) -> Result<(&'b [u8], &'b [u8]), &'static str> {
        let cut = |_| "it is cut short";
        let fields = Fields(bytes);
        let is_5 = self.superblock.is_version_5();
        let [four, five] = shape.magics;
        if fields.array(0).map_err(cut)? != if is_5 { five } else { four } {
            return Err("it does not start with its magic");
        }
        if u32::from(fields.be16(4).map_err(cut)?) != level {
            return Err("it has another level");
        }
        let count = usize::from(fields.be16(6).map_err(cut)?);
        let header = if is_5 { 56 } else { 16 };
        if level == 0 {
            let length = count.saturating_mul(shape.record_bytes);
            return Ok((fields.part(header, length).map_err(cut)?, &[]));
        }
        let room = bytes.len().saturating_sub(header);
        let most = room
            .checked_div(shape.key_bytes.saturating_add(4))
            .unwrap_or(0);
        let start = header.saturating_add(most.saturating_mul(shape.key_bytes));
        match count <= most {
            true => Ok((
                &[],
                fields.part(start, count.saturating_mul(4)).map_err(cut)?,
            )),
            false => Err("it has more entries than room"),
        }
    }
}
