//! What a group keeps for itself: its head, its trees, its inodes, and what is free.

use std::ops::ControlFlow;

use crate::bytes::{Fields, saturate};
use crate::ext::Class;
use crate::system::{Layout, SystemError};
use crate::xfs::tree::{self, Shape};
use crate::xfs::{CHUNK_INODES, XFS, Xfs};

impl Xfs {
    /// Claims what a group keeps for itself.
    pub(super) fn claim_group(&self, group: u32, layout: &mut Layout) -> Result<(), SystemError> {
        let superblock = &self.superblock;
        let Some(start) = superblock.block_of(group, 0) else {
            return Ok(());
        };
        let heads = superblock.sector_bytes.saturating_mul(4);
        let heads = heads.div_ceil(superblock.block_bytes);
        layout.put(Class::Descriptors, None, start, heads)?;
        layout.put(Class::Superblock, None, start, 1)?;
        self.claim_trees(group, layout)?;
        let mut claimed = Ok(());
        let mut nodes = Vec::new();
        let in_block = superblock.block_inodes().max(1);
        let blocks = CHUNK_INODES.div_ceil(in_block);
        self.chunks(group, &mut nodes, &mut |chunk| {
            let first = chunk.first.checked_div(in_block).unwrap_or(0);
            let each = (0..blocks).filter(|block| {
                let inode = block.saturating_mul(in_block);
                let bit = 1u64.wrapping_shl(u32::try_from(inode).unwrap_or(0));
                chunk.missing & bit == 0
            });
            for block in each {
                let block = start.saturating_add(first).saturating_add(block);
                claimed = layout.put(Class::InodeTable, None, block, 1);
                if claimed.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        claimed?;
        for node in nodes {
            layout.put(Class::InodeBitmap, None, node, 1)?;
        }
        Ok(())
    }

    /// Claims the nodes of a group's trees, and what is free.
    fn claim_trees(&self, group: u32, layout: &mut Layout) -> Result<(), SystemError> {
        let what = "the head of a group";
        let head = self.head(group, 1, *b"XAGF")?;
        let start = self.superblock.block_of(group, 0).unwrap_or(0);
        let mut nodes = Vec::new();
        let mut ignored = |_: &[u8]| Ok(ControlFlow::Continue(()));
        let mut trees: Vec<(usize, usize, &Shape)> = vec![(20, 32, &tree::FREE_BY_SIZE)];
        if self.superblock.has_owners() {
            trees.push((24, 36, &tree::OWNERS));
        }
        if self.superblock.has_sharing() {
            trees.push((88, 92, &tree::SHARING));
        }
        for (root, levels, shape) in trees {
            let root = Self::root_in(&head, root, levels)?;
            self.short_tree(group, root, shape, &mut nodes, &mut ignored)?;
        }
        if self.superblock.has_free_inodes() {
            let head = self.head(group, 2, *b"XAGI")?;
            let root = Self::root_in(&head, 328, 332)?;
            self.short_tree(group, root, &tree::FREE_INODES, &mut nodes, &mut ignored)?;
        }
        let root = Self::root_in(&head, 16, 28)?;
        let mut claimed = Ok(());
        self.short_tree(group, root, &tree::FREE, &mut nodes, &mut |record| {
            let fields = Fields(record);
            let free = fields.be32(0).and_then(|at| Ok((at, fields.be32(4)?)));
            let (at, blocks) = free.map_err(XFS.short("a tree of free space"))?;
            let at = start.saturating_add(at.into());
            claimed = layout.put(Class::Free, None, at, blocks.into());
            Ok(ControlFlow::Continue(()))
        })?;
        claimed?;
        for node in nodes {
            layout.put(Class::BlockBitmap, None, node, 1)?;
        }
        // Blocks that are kept for these trees.
        let fields = Fields(&head);
        let list = self.head_bytes(group, 3)?;
        let list = Fields(&list);
        let skipped = if self.superblock.is_version_5() {
            36
        } else {
            0
        };
        let room = self.superblock.sector_bytes.saturating_sub(skipped) / 4;
        let (first, count) = fields
            .be32(40)
            .and_then(|first| Ok((first, fields.be32(48)?)))
            .map_err(XFS.short(what))?;
        for step in 0..u64::from(count).min(room) {
            let index = u64::from(first).saturating_add(step);
            let index = index.checked_rem(room).unwrap_or(0);
            let at = skipped.saturating_add(index.saturating_mul(4));
            let block = list.be32(saturate(at)).map_err(XFS.short(what))?;
            if let Some(block) = self.superblock.block_of(group, block) {
                layout.put(Class::BlockBitmap, None, block, 1)?;
            }
        }
        Ok(())
    }

    fn head_bytes(&self, group: u32, sector: u64) -> Result<Vec<u8>, SystemError> {
        let skipped = sector.saturating_mul(self.superblock.sector_bytes);
        let place = self.superblock.block_of(group, 0).unwrap_or(u64::MAX);
        let place = place.saturating_mul(self.block_bytes());
        let mut bytes = vec![0; saturate(self.superblock.sector_bytes)];
        let read = self.device.read(place.saturating_add(skipped), &mut bytes);
        read.map_err(XFS.read("the head of a group"))?;
        Ok(bytes)
    }
}
