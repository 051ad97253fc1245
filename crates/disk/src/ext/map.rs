//! Where a file's blocks lie: trees of extents, and the older lists of blocks of lists of blocks.
//!
//! ```text
//!  extents   node: 0 f30a, 2 entries, 4 room, 6 depth; entries of 12 bytes from 12 on
//!            leaf:  0 first block of the file, 4 number (> 32768: not written yet), 6 8 where
//!            index: 0 first block of the file, 4 8 where the node below lies
//!  lists     12 blocks, then a list of blocks, a list of lists, a list of lists of lists
//! ```
//!
//! A tree is walked in the order of the file's blocks, and every node must go on after what came
//! before it. So no node is met twice, whatever a hostile tree points to; and there are limits.

use crate::bytes::{Fields, Short, saturate};
use crate::ext::Ext;
use crate::ext::error::{ExtError, limited};
use crate::ext::inode::{Inode, MAP_BYTES};
use crate::ext::sums::note;

const EXTENT_MAGIC: u16 = 0xf30a;
const ENTRY_BYTES: usize = 12;

/// The kernel's limit for the depth of a tree.
const MAX_DEPTH: u16 = 5;

/// A root of extents that has none, without the room for its entries.
pub(super) const EMPTY_ROOT: [u8; ENTRY_BYTES] = [0x0a, 0xf3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];

/// A longer extent is one that was never written.
const MAX_WRITTEN: u16 = 32_768;

/// How many extents of one file are told: a file of 4 GiB in pieces of one block. They take 48 MiB
/// at most while they are gathered.
pub const MAX_EXTENTS: u64 = 1 << 20;

/// How much of lists is read for one file: 64 million blocks. Larger files have extents.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// The numbers in the inode: twelve blocks, and three lists, each deeper than the one before.
const POINTERS: usize = 15;

/// Blocks of a file that lie in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first of them, in the file.
    pub logical: u64,
    /// The first of them, in the file system.
    pub physical: u64,
    /// How many they are.
    pub blocks: u32,
    /// Whether they were given to the file but not written yet: they are read as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// The first block of the file after these.
    #[must_use]
    pub fn end(self) -> u64 {
        self.logical.saturating_add(self.blocks.into())
    }
}

/// A file's blocks, and the blocks that tell where they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMap {
    /// The blocks of data, in the order of the file. What is between them is a hole.
    pub extents: Vec<Extent>,
    /// The nodes or lists that lie outside of the inode.
    pub nodes: Vec<u64>,
}

/// Reads the map of a file that has one, with what fast commits have changed of it.
pub(super) fn read(ext: &Ext, inode: &Inode) -> Result<FileMap, ExtError> {
    ext.fast.map(inode.number, on_disk(ext, inode)?)
}

/// Reads the map that the disk has.
pub(super) fn on_disk(ext: &Ext, inode: &Inode) -> Result<FileMap, ExtError> {
    let mut walk = Walk {
        ext,
        inode,
        map: FileMap::default(),
        list_bytes: 0,
    };
    if !inode.has_map() {
        return Ok(walk.map);
    }
    if inode.has_extents() {
        walk.root(&inode.map)?;
    } else {
        walk.lists(&inode.map, ext.superblock().block_bytes)?;
    }
    Ok(walk.map)
}

/// Gives `take` the nodes or lists that the inode itself leads to, whatever lies there.
pub(super) fn first_nodes(inode: &Inode, mut take: impl FnMut(u64)) {
    let fields = Fields(&inode.map);
    if !inode.has_map() {
        return;
    }
    if !inode.has_extents() {
        let lists = (POINTERS.saturating_sub(3)..POINTERS).map(|index| index.saturating_mul(4));
        let blocks = lists.filter_map(|at| fields.le32(at).ok());
        blocks
            .filter(|block| *block != 0)
            .for_each(|block| take(block.into()));
        return;
    }
    let (Ok(entries), Ok(1..)) = (fields.le16(2), fields.le16(6)) else {
        return;
    };
    for index in 1..=usize::from(entries) {
        let at = index.saturating_mul(ENTRY_BYTES);
        let (Ok(low), Ok(high)) = (
            fields.le32(at.saturating_add(4)),
            fields.le16(at.saturating_add(8)),
        ) else {
            return;
        };
        take(u64::from(high) << 32 | u64::from(low));
    }
}

/// An extent as a leaf has it.
pub(super) fn leaf(entry: Fields<'_>) -> Result<Extent, Short> {
    let length = entry.le16(4)?;
    let unwritten = length > MAX_WRITTEN;
    let blocks = if unwritten { length & 0x7fff } else { length };
    let high = u64::from(entry.le16(6)?) << 32;
    Ok(Extent {
        logical: entry.le32(0)?.into(),
        physical: high | u64::from(entry.le32(8)?),
        blocks: blocks.into(),
        unwritten,
    })
}

/// Adds an extent that comes after the others, to the last one if it goes on there.
pub(super) fn append(extents: &mut Vec<Extent>, extent: Extent) {
    if let Some(last) = extents.last_mut()
        && last.end() == extent.logical
        && last.physical.checked_add(last.blocks.into()) == Some(extent.physical)
        && last.unwritten == extent.unwritten
        && let Some(blocks) = last.blocks.checked_add(extent.blocks)
    {
        last.blocks = blocks;
        return;
    }
    extents.push(extent);
}

struct Walk<'a> {
    ext: &'a Ext,
    inode: &'a Inode,
    map: FileMap,
    list_bytes: u64,
}

impl Walk<'_> {
    fn wrong(&self, rule: &'static str) -> ExtError {
        ExtError::Inode {
            inode: self.inode.number,
            rule,
        }
    }

    /// The first block of the file after those that are told already.
    fn end(&self) -> u64 {
        self.map.extents.last().map_or(0, |last| last.end())
    }

    fn root(&mut self, bytes: &[u8; MAP_BYTES]) -> Result<(), ExtError> {
        let depth = Fields(bytes).le16(6).unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(self.wrong("its tree of extents is deeper than 5"));
        }
        self.node(bytes, depth)
    }

    /// Walks a node, and what is below; `depth` gets less with each turn.
    fn node(&mut self, bytes: &[u8], depth: u16) -> Result<(), ExtError> {
        let fields = Fields(bytes);
        let cut = || ExtError::short("a node of extents");
        if fields.le16(0).map_err(cut())? != EXTENT_MAGIC {
            return Err(self.wrong("a node of its extents does not start with f30a"));
        }
        if fields.le16(6).map_err(cut())? != depth {
            return Err(self.wrong("a node of its extents lies at the wrong depth"));
        }
        let entries = fields.le16(2).map_err(cut())?;
        for index in 1..=usize::from(entries) {
            let at = index.saturating_mul(ENTRY_BYTES);
            let entry = fields.part(at, ENTRY_BYTES).map_err(cut())?;
            match depth.checked_sub(1) {
                None => self.push(leaf(Fields(entry)).map_err(cut())?)?,
                Some(below) => self.index(Fields(entry), below)?,
            }
        }
        Ok(())
    }

    fn index(&mut self, entry: Fields<'_>, depth: u16) -> Result<(), ExtError> {
        let cut = || ExtError::short("a node of extents");
        let first = u64::from(entry.le32(0).map_err(cut())?);
        let end = self.end();
        let high = u64::from(entry.le16(8).map_err(cut())?) << 32;
        let block = high | u64::from(entry.le32(4).map_err(cut())?);
        if first < end {
            return Err(self.wrong("the nodes of its extents are not in order"));
        }
        let bytes = self.ext.block(block, "a node of extents")?;
        if !self.ext.sums.extents_hold(self.inode, &bytes) {
            note(&mut self.ext.wrong().maps, self.inode.number);
        }
        self.map.nodes.push(block);
        self.node(&bytes, depth)?;
        // A node that tells of nothing could be met again and again.
        if self.end() <= end {
            return Err(self.wrong("a node of its extents is empty"));
        }
        Ok(())
    }

    /// Adds an extent, which must come after the others.
    fn push(&mut self, extent: Extent) -> Result<(), ExtError> {
        let end = self.end();
        if extent.blocks == 0 || extent.logical < end {
            return Err(self.wrong("its extents are empty or not in order"));
        }
        self.check_place(extent.physical, extent.blocks)?;
        append(&mut self.map.extents, extent);
        let count = self.map.extents.len() as u64;
        limited("extents of a file", count, MAX_EXTENTS)?;
        Ok(())
    }

    fn check_place(&self, physical: u64, blocks: u32) -> Result<(), ExtError> {
        match physical.checked_add(blocks.into()) {
            Some(end) if end <= self.ext.superblock().blocks => Ok(()),
            _ => Err(self.wrong("a block of it is past the end of the file system")),
        }
    }

    fn lists(&mut self, bytes: &[u8; MAP_BYTES], block_bytes: u64) -> Result<(), ExtError> {
        let per_list = block_bytes / 4;
        let mut logical = 0u64;
        for index in 0..POINTERS {
            let at = index.saturating_mul(4);
            let block = Fields(bytes).le32(at).unwrap_or(0).into();
            let depth = index.saturating_sub(11);
            let depth = u32::try_from(depth).unwrap_or(0);
            self.pointer(block, depth, logical, per_list)?;
            logical = logical.saturating_add(per_list.saturating_pow(depth));
        }
        Ok(())
    }

    /// Follows a pointer: to a block of data, or to a list that is `depth` deep.
    fn pointer(
        &mut self,
        block: u64,
        depth: u32,
        logical: u64,
        per_list: u64,
    ) -> Result<(), ExtError> {
        let Some(below) = depth.checked_sub(1) else {
            return match block {
                0 => Ok(()),
                physical => self.push(Extent {
                    logical,
                    physical,
                    blocks: 1,
                    unwritten: false,
                }),
            };
        };
        if block == 0 {
            return Ok(());
        }
        self.list_bytes = self.list_bytes.saturating_add(per_list.saturating_mul(4));
        limited(
            "lists of a file's blocks in bytes",
            self.list_bytes,
            MAX_LIST_BYTES,
        )?;
        self.check_place(block, 1)?;
        let bytes = self.ext.block(block, "a list of blocks")?;
        self.map.nodes.push(block);
        let step = per_list.saturating_pow(below);
        let mut at = logical;
        for index in 0..saturate(per_list) {
            let pointer = Fields(&bytes).le32(index.saturating_mul(4));
            let pointer = pointer.map_err(ExtError::short("a list of blocks"))?;
            self.pointer(pointer.into(), below, at, per_list)?;
            at = at.saturating_add(step);
        }
        Ok(())
    }
}
