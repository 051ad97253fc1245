//! What each block of a file system is, and whose.
//!
//! Everything that has a place is gathered once, as ranges in ascending order: superblocks and
//! descriptors, bitmaps, tables of inodes, then what the inodes in use point to. A block in no
//! range is free or not by its group's bitmap.

use crate::ext::Ext;
use crate::ext::error::{ExtError, limited};
use crate::ext::inode::{FileKind, Inode};
use crate::ext::scan::is_set;
use crate::read_at::ReadAt;

/// How many ranges are gathered: they take 128 MiB. A file system of 36,000 files has some 40,000.
pub const MAX_RANGES: u64 = 4 << 20;

/// The inode that keeps blocks for the descriptors of groups to come.
const RESIZE_INODE: u32 = 7;

/// How many ranges before a block are looked at for one that covers it.
const STEPS_BACK: usize = 8;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Before the file system's first block.
    Boot,
    /// A superblock, or a copy of it.
    Superblock,
    /// Descriptors of groups, a copy of them, or blocks kept for more.
    Descriptors,
    /// A bitmap of blocks.
    BlockBitmap,
    /// A bitmap of inodes.
    InodeBitmap,
    /// A table of inodes.
    InodeTable,
    /// The journal.
    Journal,
    /// Names.
    Directory,
    /// The data of a file.
    File,
    /// The target of a symbolic link.
    Symlink,
    /// A node of extents, or a list of blocks.
    Map,
    /// Extended attributes: a block of them, or the value of one.
    Attributes,
    /// Not in use.
    Free,
    /// In use by its bitmap, but nothing that was read points to it. Where blocks are given out in
    /// clusters, the blocks of one that its file does not use are told so too.
    Unowned,
    /// Past the last block.
    Outside,
}

/// What a block is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub class: Class,
    /// The inode that it belongs to; of a block of attributes that several share, the first.
    pub inode: Option<u32>,
    /// Which block of that file it is, if it holds its data.
    pub logical: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    blocks: u32,
    inode: u32,
    logical: u32,
    class: Class,
}

/// What each block is. Bitmaps are read when they are asked for.
#[derive(Debug)]
pub struct Layout<'a> {
    ext: &'a Ext,
    /// In ascending order of their start.
    ranges: Vec<Range>,
    /// Blocks that files had before fast commits, by their starts and ends, ascending: those that no
    /// file has now are free.
    left: Vec<(u64, u64)>,
    /// How many ranges there can be at most.
    limit: u64,
    damaged: Vec<ExtError>,
}

/// How many damaged inodes are told of by name.
const MAX_DAMAGED: usize = 1000;

impl<'a> Layout<'a> {
    pub(super) fn read(ext: &'a Ext) -> Result<Self, ExtError> {
        // No block belongs to two files, so that there are not more ranges than blocks; but the
        // groups' own parts may lie past the end of an image that was cut.
        let there = ext
            .device
            .source
            .size_bytes()
            .checked_div(ext.superblock().block_bytes);
        let of_groups = ext.superblock().groups().saturating_mul(8);
        let limit = there
            .unwrap_or(0)
            .saturating_add(of_groups)
            .saturating_add(1);
        let mut layout = Self {
            ext,
            ranges: Vec::new(),
            left: Vec::new(),
            limit: limit.min(MAX_RANGES),
            damaged: Vec::new(),
        };
        layout.take_superblocks(ext)?;
        for group in &ext.groups {
            layout.take_group(ext, group)?;
        }
        layout.take_inodes(ext)?;
        layout.take_left(ext)?;
        // Where two claim a block, the one that starts first is told, and of those the one that is
        // more certain.
        layout
            .ranges
            .sort_unstable_by_key(|range| (range.start, range.class));
        Ok(layout)
    }

    /// What a block is.
    #[must_use]
    pub fn at(&self, block: u64) -> Owner {
        let bare = |class| Owner {
            class,
            inode: None,
            logical: None,
        };
        if block >= self.ext.superblock().blocks {
            return bare(Class::Outside);
        }
        // Ranges do not overlap in a sound file system; a few steps back find those that do.
        let after = self.ranges.partition_point(|range| range.start <= block);
        let before = self.ranges.get(..after).unwrap_or_default().iter().rev();
        let found = before.take(STEPS_BACK).find(|range| range.end() > block);
        if let Some(range) = found {
            return range.owner(block);
        }
        if block < self.ext.superblock().first_block {
            return bare(Class::Boot);
        }
        match self.is_used(block) && !self.is_left(block) {
            true => bare(Class::Unowned),
            false => bare(Class::Free),
        }
    }

    fn is_left(&self, block: u64) -> bool {
        let after = self.left.partition_point(|(start, _)| *start <= block);
        let before = self.left.get(..after).unwrap_or_default().iter().rev();
        before.take(STEPS_BACK).any(|(_, end)| *end > block)
    }

    /// What could not be read: files whose blocks are told as unowned. The first thousand.
    #[must_use]
    pub fn damaged(&self) -> &[ExtError] {
        &self.damaged
    }

    /// Whether the bitmap says that a block is in use. One that cannot be read says yes.
    fn is_used(&self, block: u64) -> bool {
        let superblock = self.ext.superblock();
        let in_groups = block.saturating_sub(superblock.first_block);
        let group = in_groups.checked_div(superblock.group_blocks).unwrap_or(0);
        let within = in_groups.checked_rem(superblock.group_blocks).unwrap_or(0);
        let bit = within.wrapping_shr(superblock.cluster_bits);
        match self
            .ext
            .block_bitmap(u32::try_from(group).unwrap_or(u32::MAX))
        {
            Ok(Some(bitmap)) => is_set(&bitmap, bit),
            Ok(None) => group >= superblock.groups(),
            Err(_) => true,
        }
    }

    fn push(&mut self, range: Range) -> Result<(), ExtError> {
        let count = self.ranges.len() as u64;
        limited(
            "places of a file system",
            count.saturating_add(1),
            self.limit,
        )?;
        self.ranges.push(range);
        Ok(())
    }

    fn push_bare(&mut self, class: Class, start: u64, blocks: u64) -> Result<(), ExtError> {
        self.push(Range {
            start,
            blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
            inode: 0,
            logical: 0,
            class,
        })
    }

    fn take_superblocks(&mut self, ext: &Ext) -> Result<(), ExtError> {
        let superblock = ext.superblock();
        let meta = superblock.features.meta_groups();
        let descriptors = superblock.descriptor_blocks();
        // With meta groups, only the first of them are told of in the old way.
        let (old, reserved) = match meta {
            true => (descriptors.min(superblock.first_meta_group), 0),
            false => (descriptors, superblock.reserved_descriptor_blocks.into()),
        };
        for group in 0..superblock.groups() {
            if superblock.has_superblock(group) {
                let start = superblock.superblock_of(group);
                self.push_bare(Class::Superblock, start, 1)?;
                let kept = old.saturating_add(reserved);
                self.push_bare(Class::Descriptors, start.saturating_add(1), kept)?;
            }
        }
        if meta {
            self.take_meta_groups(ext, old)?;
        }
        Ok(())
    }

    /// A meta group is as many groups as a block of descriptors tells of. The block stands in its
    /// first group, with copies in the second and the last.
    fn take_meta_groups(&mut self, ext: &Ext, old: u64) -> Result<(), ExtError> {
        let superblock = ext.superblock();
        let per_block = superblock
            .block_bytes
            .checked_div(superblock.descriptor_bytes);
        let per_block = per_block.unwrap_or(1);
        for index in old..superblock.descriptor_blocks() {
            let first = index.saturating_mul(per_block);
            let copies = [0, 1, per_block.saturating_sub(1)];
            let groups = copies.map(|copy| first.saturating_add(copy));
            for group in groups
                .into_iter()
                .filter(|group| *group < superblock.groups())
            {
                let skipped = u64::from(superblock.has_superblock(group));
                let start = superblock.superblock_of(group).saturating_add(skipped);
                self.push_bare(Class::Descriptors, start, 1)?;
            }
        }
        Ok(())
    }

    fn take_group(&mut self, ext: &Ext, group: &super::Group) -> Result<(), ExtError> {
        self.push_bare(Class::BlockBitmap, group.block_bitmap, 1)?;
        self.push_bare(Class::InodeBitmap, group.inode_bitmap, 1)?;
        let blocks = ext.superblock().inode_table_blocks();
        self.push_bare(Class::InodeTable, group.inode_table, blocks)?;
        Ok(())
    }

    /// Takes what all inodes point to.
    fn take_inodes(&mut self, ext: &Ext) -> Result<(), ExtError> {
        for inode in ext.inodes()? {
            let taken = inode.and_then(|inode| self.take_inode(ext, &inode));
            match taken {
                Ok(()) => {}
                Err(limit @ ExtError::Limit { .. }) => return Err(limit),
                Err(error) => self.damage(error),
            }
        }
        Ok(())
    }

    /// Takes what files had on the disk before fast commits changed their maps.
    fn take_left(&mut self, ext: &Ext) -> Result<(), ExtError> {
        for number in ext.fast.remapped() {
            let map = ext.inode_on_disk(number);
            let Ok(map) = map.and_then(|inode| super::map::on_disk(ext, &inode)) else {
                continue;
            };
            let nodes = map.nodes.into_iter().map(|node| (node, 1));
            let data = map.extents.into_iter();
            let data = data.map(|extent| (extent.physical, extent.blocks));
            let ranges = nodes.chain(data);
            self.left
                .extend(ranges.map(|(start, blocks)| (start, start.saturating_add(blocks.into()))));
            limited(
                "places before fast commits",
                self.left.len() as u64,
                self.limit,
            )?;
        }
        self.left.sort_unstable();
        Ok(())
    }

    fn damage(&mut self, error: ExtError) {
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(error);
        }
    }

    fn take_inode(&mut self, ext: &Ext, inode: &Inode) -> Result<(), ExtError> {
        let bare = |class, start| Range {
            start,
            blocks: 1,
            inode: inode.number,
            logical: 0,
            class,
        };
        if inode.attributes_block != 0 {
            self.push(bare(Class::Attributes, inode.attributes_block))?;
        }
        let Some(class) = class_of(ext, inode) else {
            return Ok(());
        };
        let map = ext.map(inode)?;
        // The lists of the inode for descriptors to come are such descriptors themselves.
        let of_nodes = match class {
            Class::Descriptors => class,
            _ => Class::Map,
        };
        for node in map.nodes {
            self.push(bare(of_nodes, node))?;
        }
        for extent in map.extents {
            self.push(Range {
                blocks: extent.blocks,
                logical: u32::try_from(extent.logical).unwrap_or(u32::MAX),
                ..bare(class, extent.physical)
            })?;
        }
        Ok(())
    }
}

/// What the data of an inode are; none if its blocks were taken in another way, or it is deleted.
fn class_of(ext: &Ext, inode: &Inode) -> Option<Class> {
    if inode.number == RESIZE_INODE {
        return Some(Class::Descriptors);
    }
    if inode.number == ext.superblock().journal_inode {
        return Some(Class::Journal);
    }
    if inode.is_attribute_value() {
        return Some(Class::Attributes);
    }
    match inode.kind() {
        FileKind::Directory => Some(Class::Directory),
        FileKind::Symlink => Some(Class::Symlink),
        FileKind::File => Some(Class::File),
        _ => None,
    }
}

impl Range {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.blocks.into())
    }

    fn owner(&self, block: u64) -> Owner {
        let is_data = matches!(
            self.class,
            Class::Directory | Class::File | Class::Symlink | Class::Journal
        );
        let within = block.saturating_sub(self.start);
        Owner {
            class: self.class,
            inode: (self.inode != 0).then_some(self.inode),
            logical: is_data.then(|| u64::from(self.logical).saturating_add(within)),
        }
    }
}
