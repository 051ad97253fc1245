//! A file's bytes, as a source: out of its extents, or of what stands in its object.

use crate::files::system::{FileSystem, FilesError};
use crate::files::tree::Parts;
use crate::files::{Extent, ObjectId, Tree, length};
use disk::read_at::check_range;
use disk::{ReadAt, ReadError, Stretch};

/// A file that can be read.
#[derive(Debug)]
pub struct Content<'a> {
    system: &'a dyn FileSystem,
    extents: &'a [Extent],
    inline: Option<&'a [u8]>,
    block_bytes: u64,
    size_bytes: u64,
    /// Set if its blocks are not known.
    damaged: Option<ObjectId>,
}

impl<'a> Content<'a> {
    pub(super) fn open(tree: &'a Tree, system: &'a dyn FileSystem, id: ObjectId) -> Option<Self> {
        let parts = tree.parts(id)?;
        Some(Self::of(tree, system, parts))
    }

    pub(super) fn of(tree: &Tree, system: &'a dyn FileSystem, parts: Parts<'a>) -> Self {
        Self {
            system,
            extents: parts.extents,
            inline: parts.inline,
            block_bytes: tree.block_bytes().max(1),
            size_bytes: parts.object.size_bytes,
            damaged: parts.damaged.then_some(parts.object.id),
        }
    }

    /// The data that lie in no block of their own.
    pub(super) fn inline(&self) -> Option<&'a [u8]> {
        self.inline
    }

    /// Where the bytes from `offset` on lie in the file system, if they were written; and how many
    /// go on in the same way.
    pub(super) fn run_at(&self, offset: u64) -> (Option<u64>, u64) {
        let block_bytes = self.block_bytes;
        let logical = offset.checked_div(block_bytes).unwrap_or(0);
        let within = offset.checked_rem(block_bytes).unwrap_or(0);
        let bytes = |blocks: u64| blocks.saturating_mul(block_bytes).saturating_sub(within);
        let after = self
            .extents
            .partition_point(|extent| extent.end() <= logical);
        match self.extents.get(after) {
            Some(extent) if extent.logical <= logical => {
                let skipped = logical.saturating_sub(extent.logical);
                let block = extent.physical.saturating_add(skipped);
                let place = block.saturating_mul(block_bytes).saturating_add(within);
                let rest = u64::from(extent.blocks).saturating_sub(skipped);
                ((!extent.unwritten).then_some(place), bytes(rest))
            }
            Some(extent) => (None, bytes(extent.logical.saturating_sub(logical))),
            None => (None, u64::MAX),
        }
    }

    /// Fails if the file's blocks are not known.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self) -> Result<(), FilesError> {
        match self.damaged {
            Some(id) => Err(FilesError::Damaged(id.0)),
            None => Ok(()),
        }
    }
}

impl ReadAt for Content<'_> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        self.check().map_err(|error| ReadError::Format {
            offset,
            source: Box::new(error),
        })?;
        if let Some(bytes) = self.inline {
            let there = bytes.get(length(offset)..).unwrap_or_default();
            let (head, tail) = buffer.split_at_mut(there.len().min(buffer.len()));
            for (byte, from) in head.iter_mut().zip(there) {
                *byte = *from;
            }
            tail.fill(0);
            return Ok(());
        }
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (place, bytes) = self.run_at(at);
            let (part, behind) = rest.split_at_mut(length(bytes).min(rest.len()));
            match place {
                Some(place) => self.system.read(place, part)?,
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
        let (content, bytes) = match self.inline {
            Some(_) => (disk::Content::Data, rest),
            None => match self.run_at(offset) {
                (Some(_), bytes) => (disk::Content::Data, bytes),
                (None, bytes) => (disk::Content::Zero, bytes),
            },
        };
        Ok(Stretch {
            bytes: bytes.min(rest),
            content,
        })
    }
}
