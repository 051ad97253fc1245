//! The data of a file, as a source.

use crate::bytes::saturate;
use crate::ext::error::{ExtError, limited};
use crate::ext::inode::Inode;
use crate::ext::map::{Extent, FileMap};
use crate::ext::{Ext, attributes};
use crate::read_at::{Content, ReadAt, ReadError, Stretch, check_range};

/// A file that can be read.
#[derive(Debug)]
pub struct File<'a> {
    ext: &'a Ext,
    data: Data,
    size_bytes: u64,
}

#[derive(Debug)]
enum Data {
    /// In the inode; where it ends early, zeros follow.
    Inline(Vec<u8>),
    /// In blocks.
    Blocks(FileMap),
}

impl<'a> File<'a> {
    pub(super) fn open(ext: &'a Ext, inode: &Inode) -> Result<Self, ExtError> {
        let data = if inode.is_inline() {
            let mut bytes = inode.map.to_vec();
            bytes.extend(attributes::inline_rest(inode)?);
            Data::Inline(bytes)
        } else if inode.is_short_link() {
            Data::Inline(inode.map.to_vec())
        } else {
            Data::Blocks(ext.map(inode)?)
        };
        Ok(Self {
            ext,
            data,
            size_bytes: inode.size_bytes,
        })
    }

    /// All of the file, if it is not longer than `most` bytes.
    ///
    /// # Errors
    ///
    /// When it is longer, or cannot be read.
    pub fn read_all(&self, most: u64) -> Result<Vec<u8>, ExtError> {
        let bytes = limited("a file to be read at once, in bytes", self.size_bytes, most)?;
        let mut buffer = vec![0; saturate(bytes)];
        self.read_exact_at(0, &mut buffer)
            .map_err(ExtError::read("a file"))?;
        Ok(buffer)
    }

    /// The extent that holds a block of the file, or how many blocks the hole has that it lies in.
    fn extent_at(map: &FileMap, logical: u64) -> Result<Extent, u64> {
        let after = map
            .extents
            .partition_point(|extent| extent.end() <= logical);
        match map.extents.get(after) {
            Some(extent) if extent.logical <= logical => Ok(*extent),
            Some(extent) => Err(extent.logical.saturating_sub(logical)),
            None => Err(u64::MAX),
        }
    }

    /// Where the bytes from `offset` on lie in the file system, if they were written; and how far
    /// that holds.
    fn run_at(&self, map: &FileMap, offset: u64) -> (Option<u64>, u64) {
        let block_bytes = self.ext.superblock().block_bytes;
        let logical = offset.checked_div(block_bytes).unwrap_or(0);
        let within = offset & block_bytes.wrapping_sub(1);
        let blocks = |count: u64| count.saturating_mul(block_bytes).saturating_sub(within);
        match Self::extent_at(map, logical) {
            Err(hole) => (None, blocks(hole)),
            Ok(extent) => {
                let skipped = logical.saturating_sub(extent.logical);
                let block = extent.physical.saturating_add(skipped);
                let place = block.saturating_mul(block_bytes).saturating_add(within);
                let rest = u64::from(extent.blocks).saturating_sub(skipped);
                ((!extent.unwritten).then_some(place), blocks(rest))
            }
        }
    }
}

impl ReadAt for File<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let map = match &self.data {
            Data::Inline(bytes) => {
                let start = saturate(offset).min(bytes.len());
                let there = bytes.get(start..).unwrap_or_default();
                let count = there.len().min(buffer.len());
                let (head, tail) = buffer.split_at_mut(count);
                head.copy_from_slice(there.get(..count).unwrap_or_default());
                tail.fill(0);
                return Ok(());
            }
            Data::Blocks(map) => map,
        };
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (place, bytes) = self.run_at(map, at);
            let (part, behind) = rest.split_at_mut(saturate(bytes).min(rest.len()));
            match place {
                Some(place) => self.ext.read(place, part)?,
                None => part.fill(0),
            }
            at = at.saturating_add(part.len() as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes, offset, 1)?;
        let rest = self.size_bytes.saturating_sub(offset);
        let (content, bytes) = match &self.data {
            Data::Inline(_) => (Content::Data, rest),
            Data::Blocks(map) => match self.run_at(map, offset) {
                (Some(_), bytes) => (Content::Data, bytes),
                (None, bytes) => (Content::Zero, bytes),
            },
        };
        Ok(Stretch {
            bytes: bytes.min(rest),
            content,
        })
    }
}
