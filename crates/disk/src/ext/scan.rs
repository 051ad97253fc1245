//! All inodes in use, in the order of their numbers: tables are read in large pieces, and each block
//! once.

use std::sync::Arc;

use crate::bytes::{Fields, power_of_two, saturate};
use crate::ext::error::ExtError;
use crate::ext::inode::Inode;
use crate::ext::sums::note;
use crate::ext::{Ext, Group, INODES_UNUSED};
use crate::read_at::{ReadAt, check_range};

/// How much of a table is read at once.
const PIECE_BYTES: u64 = 256 << 10;

/// The inodes that are in use by their bitmaps; see [`Ext::inodes`]. Damage is an item, and does not
/// end the scan.
#[derive(Debug)]
pub struct Inodes<'a> {
    ext: &'a Ext,
    /// The group that comes after the one that is being told of.
    next_group: u32,
    /// The group that is being told of, unless it is done.
    group: Option<Scanned>,
    piece: Vec<u8>,
    /// Where in the table the piece starts.
    piece_at: u64,
}

#[derive(Debug)]
struct Scanned {
    table: u64,
    bitmap: Arc<[u8]>,
    /// The number of its first inode.
    first: u32,
    /// The next one to be looked at.
    within: u32,
    /// Behind the last one in use.
    end: u32,
}

impl<'a> Inodes<'a> {
    pub(super) fn new(ext: &'a Ext) -> Result<Self, ExtError> {
        check_tables(ext)?;
        Ok(Self {
            ext,
            next_group: 0,
            group: None,
            piece: Vec::new(),
            piece_at: 0,
        })
    }

    /// Goes on to the next group that has inodes in use; false at the end.
    fn enter(&mut self) -> Option<Result<(), ExtError>> {
        let superblock = self.ext.superblock();
        loop {
            let index = self.next_group;
            let group = self.ext.groups.get(saturate(index.into()))?;
            self.next_group = index.saturating_add(1);
            let first = index
                .saturating_mul(superblock.group_inodes)
                .saturating_add(1);
            let most = superblock.inodes.saturating_sub(first.saturating_sub(1));
            let most = most.min(superblock.group_inodes);
            let numbers = first..first.saturating_add(most);
            let fast = &self.ext.fast;
            let is_unused = superblock.features.group_flags() && group.flags & INODES_UNUSED != 0;
            if is_unused && !fast.uses_any(numbers.clone()) {
                continue;
            }
            let bitmap = match is_unused {
                true => Ok(Arc::from(vec![0; saturate(superblock.block_bytes)])),
                false => self.bitmap(index, group),
            };
            let bitmap = match bitmap {
                Ok(bitmap) => fast.bitmap(numbers, bitmap),
                Err(error) => return Some(Err(error)),
            };
            let Some(last) = last_set(&bitmap, most) else {
                continue;
            };
            self.piece.clear();
            self.group = Some(Scanned {
                table: group.inode_table,
                bitmap,
                first,
                within: 0,
                end: last.saturating_add(1),
            });
            return Some(Ok(()));
        }
    }

    /// The bitmap of a group's inodes, if it and the table are there.
    fn bitmap(&self, number: u32, group: &Group) -> Result<Arc<[u8]>, ExtError> {
        let superblock = self.ext.superblock();
        let blocks = superblock.inode_table_blocks();
        let end = group.inode_table.saturating_add(blocks);
        let end = end.saturating_mul(superblock.block_bytes);
        check_range(self.ext.device.source.size_bytes(), 0, end)
            .map_err(ExtError::read("a table of inodes"))?;
        let bitmap = self.ext.block(group.inode_bitmap, "a bitmap of inodes")?;
        let (sums, bits) = (self.ext.sums, superblock.group_inodes.into());
        if !sums.bitmap_holds(group.inode_bitmap_sum, &bitmap, bits) {
            note(&mut self.ext.wrong().inode_bitmaps, number);
        }
        Ok(bitmap)
    }

    /// The next inode of the group, or none at its end.
    fn next_of_group(&mut self) -> Option<Result<Inode, ExtError>> {
        let group = self.group.as_mut()?;
        let within = loop {
            if group.within >= group.end {
                self.group = None;
                return None;
            }
            let within = group.within;
            group.within = within.saturating_add(1);
            if is_set(&group.bitmap, within.into()) {
                break within;
            }
        };
        let number = group.first.saturating_add(within);
        let (table, end) = (group.table, group.end);
        Some(self.read(number, within, table, end))
    }

    fn read(&mut self, number: u32, within: u32, table: u64, end: u32) -> Result<Inode, ExtError> {
        let superblock = self.ext.superblock();
        let inode_bytes = superblock.inode_bytes;
        let at = u64::from(within).saturating_mul(inode_bytes);
        let there = self.piece_at..self.piece_at.saturating_add(self.piece.len() as u64);
        if self.piece.is_empty() || !there.contains(&at) {
            // Pieces start at a block, so that no inode is cut: a block holds a whole number.
            let block_bytes = superblock.block_bytes;
            let start = at & !block_bytes.wrapping_sub(1);
            let end = u64::from(end).saturating_mul(inode_bytes);
            let bytes = end.next_multiple_of(block_bytes).saturating_sub(start);
            self.piece.clear();
            self.piece
                .resize(saturate(bytes.min(PIECE_BYTES.max(block_bytes))), 0);
            self.piece_at = start;
            let place = table.saturating_mul(block_bytes).saturating_add(start);
            let read = self.ext.read(place, &mut self.piece);
            if let Err(error) = read {
                self.piece.clear();
                return Err(ExtError::read("a table of inodes")(error));
            }
        }
        let at = saturate(at.saturating_sub(self.piece_at));
        let part = Fields(&self.piece).part(at, saturate(inode_bytes));
        let part = part.map_err(ExtError::short("an inode"))?;
        self.ext.parse_inode(number, part)
    }
}

impl Iterator for Inodes<'_> {
    type Item = Result<Inode, ExtError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.next_of_group() {
                return Some(item);
            }
            if let Err(error) = self.enter()? {
                return Some(Err(error));
            }
        }
    }
}

/// Tables of inodes that overlap would let a small image have any number of inodes.
fn check_tables(ext: &Ext) -> Result<(), ExtError> {
    let mut starts: Vec<_> = ext.groups.iter().map(|group| group.inode_table).collect();
    starts.sort_unstable();
    let blocks = ext.superblock().inode_table_blocks();
    let neighbours = starts.iter().zip(starts.iter().skip(1));
    for (start, next) in neighbours {
        if start.saturating_add(blocks) > *next {
            return Err(ExtError::Block {
                what: "a table of inodes",
                block: *next,
                rule: "another one reaches into it",
            });
        }
    }
    Ok(())
}

/// The last of the first `most` bits that is set.
fn last_set(bitmap: &[u8], most: u32) -> Option<u32> {
    (0..most).rev().find(|bit| is_set(bitmap, (*bit).into()))
}

pub(super) fn is_set(bitmap: &[u8], bit: u64) -> bool {
    let byte = Fields(bitmap).byte(saturate(bit / 8)).unwrap_or(0);
    let mask = power_of_two(u32::try_from(bit % 8).unwrap_or(0)).unwrap_or(0);
    u64::from(byte) & mask != 0
}
