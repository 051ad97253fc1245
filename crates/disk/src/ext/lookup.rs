//! Inodes by their numbers, names of directories, and paths: as the disk has them, and what fast commits
//! have changed over that.

use crate::bytes::{Fields, saturate};
use crate::ext::error::ExtError;
use crate::ext::inode::{FileKind, Inode};
use crate::ext::sums::note;
use crate::ext::{Ext, MAX_DIRECTORY_BYTES, Name, ROOT_INODE, attributes, directory};

impl Ext {
    /// Reads an inode.
    ///
    /// # Errors
    ///
    /// When there is none of this number, or its table cannot be read.
    pub fn inode(&self, number: u32) -> Result<Inode, ExtError> {
        self.inode_bytes(number, |bytes| self.parse_inode(number, bytes))
    }

    /// Reads an inode as the disk has it, whatever fast commits have changed.
    pub(super) fn inode_on_disk(&self, number: u32) -> Result<Inode, ExtError> {
        let features = self.superblock.features;
        self.inode_bytes(number, |bytes| {
            let inode = Inode::parse(number, bytes, features, self.sums);
            inode.map_err(ExtError::short("an inode"))
        })
    }

    /// Reads an inode out of the bytes that the disk has, with what fast commits have changed.
    pub(super) fn parse_inode(&self, number: u32, bytes: &[u8]) -> Result<Inode, ExtError> {
        let parse = |bytes: &[u8]| {
            let inode = Inode::parse(number, bytes, self.superblock.features, self.sums);
            inode.map_err(ExtError::short("an inode"))
        };
        let Some((changed, has_disks_sum)) = self.fast.inode(number, bytes) else {
            return parse(bytes);
        };
        let mut inode = parse(&changed)?;
        inode.has_wrong_sum = has_disks_sum && !self.sums.inode_holds(number, bytes);
        Ok(inode)
    }

    fn inode_bytes<T>(
        &self,
        number: u32,
        take: impl FnOnce(&[u8]) -> Result<T, ExtError>,
    ) -> Result<T, ExtError> {
        let superblock = &self.superblock;
        let none = || ExtError::Inode {
            inode: number,
            rule: "the file system has none of this number",
        };
        let index = number
            .checked_sub(1)
            .filter(|_| number <= superblock.inodes);
        let index = index.ok_or_else(none)?;
        let per_group = superblock.group_inodes;
        let group = index.checked_div(per_group).unwrap_or(0);
        let within = u64::from(index.checked_rem(per_group).unwrap_or(0));
        let group = self.groups.get(saturate(group.into())).ok_or_else(none)?;
        let per_block = superblock.block_bytes.checked_div(superblock.inode_bytes);
        let per_block = per_block.unwrap_or(1).max(1);
        let block = within.checked_div(per_block).unwrap_or(0);
        let block = group.inode_table.saturating_add(block);
        let bytes = self.block(block, "a table of inodes")?;
        let at = within.checked_rem(per_block).unwrap_or(0);
        let at = at.saturating_mul(superblock.inode_bytes);
        let part = Fields(&bytes).part(saturate(at), saturate(superblock.inode_bytes));
        take(part.map_err(ExtError::short("an inode"))?)
    }

    /// A directory's names, `.` and `..` among them unless it lies in its inode.
    ///
    /// # Errors
    ///
    /// When it is no directory, or is damaged.
    pub fn names(&self, directory: &Inode) -> Result<Vec<Name>, ExtError> {
        self.names_within(directory, &mut MAX_DIRECTORY_BYTES.clone())
    }

    /// Likewise, but takes what is read of blocks from a budget: no block belongs to two
    /// directories, so that all together are not larger than what the file system lies on.
    ///
    /// # Errors
    ///
    /// When it is no directory, is damaged, or has more blocks than the budget.
    pub fn names_within(&self, directory: &Inode, budget: &mut u64) -> Result<Vec<Name>, ExtError> {
        if directory.kind() != FileKind::Directory {
            return Err(ExtError::Inode {
                inode: directory.number,
                rule: "it is no directory",
            });
        }
        let have_types = self.superblock.features.entries_have_types();
        let number = directory.number;
        if let Some(names) = self.fast.names(number) {
            return Ok(names);
        }
        let mut names = Vec::new();
        if directory.is_inline() {
            // The first four bytes are the parent's number.
            let entries = directory.map.get(4..).unwrap_or_default();
            directory::names(entries, have_types, number, &mut names)?;
            let rest = attributes::inline_rest(directory)?;
            directory::names(&rest, have_types, number, &mut names)?;
            return Ok(names);
        }
        let block_bytes = self.superblock.block_bytes;
        for extent in self.map(directory)?.extents {
            // Blocks past the end of a directory belong to nobody.
            let end = extent
                .end()
                .min(directory.size_bytes.div_ceil(block_bytes.max(1)));
            for logical in extent.logical..end {
                *budget = budget.checked_sub(block_bytes).ok_or(ExtError::Inode {
                    inode: number,
                    rule: "directories have more blocks than there can be",
                })?;
                let skipped = logical.saturating_sub(extent.logical);
                let block = extent.physical.saturating_add(skipped);
                let bytes = self.block(block, "a directory")?;
                if !self.sums.names_hold(directory, logical, &bytes) {
                    note(&mut self.wrong().directories, number);
                }
                directory::names(&bytes, have_types, number, &mut names)?;
            }
        }
        Ok(names)
    }

    /// The inode of a path from the root, without following links.
    ///
    /// # Errors
    ///
    /// When there is none, or a directory on the way cannot be read.
    pub fn find(&self, path: &[u8]) -> Result<Inode, ExtError> {
        let mut inode = self.inode(ROOT_INODE)?;
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            let names = self.names(&inode)?;
            let name = names.into_iter().find(|name| name.bytes == part);
            let name = name.ok_or_else(|| ExtError::NotFound(crate::bytes::text(path)))?;
            inode = self.inode(name.inode)?;
        }
        Ok(inode)
    }
}
