//! Names of directories: in the inode, or in blocks of data; what finds names quickly is not read.
//!
//! ```text
//!  here    0 names   1 of them with numbers of 8 bytes   2 the one above, 4 or 8 bytes
//!          name: 0 length, 1 offset, 3 name, type, number
//!  block   0 "XD2B" "XDB3", "XD2D" "XDD3"   16 or 64: names; "B" ends with its own index
//!          name: 0 number, 8 length, 9 name, type, to a multiple of 8 with 2 bytes for its place
//!          gap:  0 ffff, 2 length
//! ```

use crate::bytes::{Fields, Short, saturate};
use crate::ext::{Extent, FileKind};
use crate::system::{SystemError, TakeName};
use crate::xfs::inode::{Fork, Inode};
use crate::xfs::{XFS, Xfs, map};

/// Behind so many bytes of a directory come what finds names, and what finds room.
const DATA_BYTES: u64 = 1 << 35;

impl Xfs {
    pub(super) fn each_name(
        &self,
        inode: &Inode,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        if inode.kind() != FileKind::Directory {
            return Err(XFS.object(inode.number, "it is no directory"));
        }
        if let Fork::Here(bytes) = &inode.data {
            XFS.spend(budget, bytes.len() as u64)?;
            let read = here(Fields(bytes), self.superblock.has_types_in_names(), take);
            return read.map_err(XFS.short("a directory"));
        }
        let extents = self.map(inode, &inode.data)?.extents;
        let block_bytes = self.superblock.block_bytes.max(1);
        let end = DATA_BYTES.checked_div(block_bytes).unwrap_or(0);
        let size = self.superblock.directory_block_bytes;
        let step = size.checked_div(block_bytes).unwrap_or(1).max(1);
        let mut next = 0;
        for extent in extents.iter().filter(|extent| extent.logical < end) {
            let mut logical = extent.logical.max(next);
            while logical < extent.end().min(end) {
                XFS.spend(budget, size)?;
                let bytes = self.directory_block(&extents, logical, step)?;
                self.names_in(inode, &bytes, take)?;
                logical = logical.saturating_add(step);
                next = logical;
            }
        }
        Ok(())
    }

    /// A block of a directory, of one or several blocks of the file system.
    fn directory_block(
        &self,
        extents: &[Extent],
        logical: u64,
        blocks: u64,
    ) -> Result<Vec<u8>, SystemError> {
        let what = "a block of a directory";
        let mut bytes = Vec::new();
        for step in 0..blocks {
            let logical = logical.saturating_add(step);
            let place = map::find(extents, logical);
            let place = place.ok_or_else(|| XFS.place(what, logical, "it lies in a hole"))?;
            bytes.extend_from_slice(&self.block(place, what)?);
        }
        Ok(bytes)
    }

    fn names_in(
        &self,
        inode: &Inode,
        bytes: &[u8],
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        let wrong = |rule| XFS.object(inode.number, rule);
        let fields = Fields(bytes);
        let (start, has_index) = match fields.array(0) {
            Ok(magic) if magic == *b"XD2B" => (16, true),
            Ok(magic) if magic == *b"XDB3" => (64, true),
            Ok(magic) if magic == *b"XD2D" => (16, false),
            Ok(magic) if magic == *b"XDD3" => (64, false),
            _ => return Err(wrong("a block of it holds no names")),
        };
        let end = match has_index {
            true => {
                let tail = bytes.len().saturating_sub(8);
                let count = fields.be32(tail).map_err(XFS.short("a directory"))?;
                let index = saturate(u64::from(count).saturating_mul(8));
                tail.saturating_sub(index)
            }
            false => bytes.len(),
        };
        let has_types = self.superblock.has_types_in_names();
        let mut at = start;
        while at < end {
            let (length, name) =
                entry(fields, at, has_types).map_err(XFS.short("a name in a directory"))?;
            let next = at.saturating_add(length);
            if length == 0 || next > end {
                return Err(wrong("a name in it does not end where it must"));
            }
            if let Some((name, number)) = name
                && name != b"."
                && name != b".."
            {
                take(name, number);
            }
            at = next;
        }
        Ok(())
    }
}

/// A name or a gap: its length, and of a name what it is.
#[expect(
    clippy::type_complexity,
    reason = "a length, and a name with its number"
)]
fn entry(
    fields: Fields<'_>,
    at: usize,
    has_types: bool,
) -> Result<(usize, Option<(&[u8], u64)>), Short> {
    if fields.be16(at)? == 0xffff {
        let length = fields.be16(at.saturating_add(2))?;
        return Ok((length.into(), None));
    }
    let number = fields.be64(at)?;
    let name_bytes = usize::from(fields.byte(at.saturating_add(8))?);
    let name = fields.part(at.saturating_add(9), name_bytes)?;
    let types = usize::from(has_types);
    let length = name_bytes.saturating_add(types).saturating_add(11);
    Ok((length.next_multiple_of(8), Some((name, number))))
}

fn here(fields: Fields<'_>, has_types: bool, take: &mut TakeName<'_>) -> Result<(), Short> {
    let (count, long) = (fields.byte(0)?, fields.byte(1)? != 0);
    let number_bytes = if long { 8 } else { 4 };
    let mut at = 2usize.saturating_add(number_bytes);
    for _ in 0..count {
        let name_bytes = usize::from(fields.byte(at)?);
        let name = fields.part(at.saturating_add(3), name_bytes)?;
        let after = at.saturating_add(3).saturating_add(name_bytes);
        let after = after.saturating_add(usize::from(has_types));
        let number = match long {
            true => fields.be64(after)?,
            false => fields.be32(after)?.into(),
        };
        take(name, number);
        at = after.saturating_add(number_bytes);
    }
    Ok(())
}
