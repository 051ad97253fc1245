//! A disk beside a version of it: which blocks are not as they were.
//!
//! Where nobody can tell what is dirty, all of the disk is read. The version is not: units of it are
//! known by their digests, and only a unit that is not as it was is unpacked, to tell its blocks
//! apart.

use crate::BLOCK_BYTES;
use crate::pack::UnitDigest;
use crate::version::{KeptUnit, Version};
use disk::{Content, ReadAt, ReadError};
use std::ops::Range;

/// Blocks that are read at once: 1 MiB, a multiple of every unit.
const PIECE_BLOCKS: u64 = 256;

/// The blocks of `disk` that do not hold what `version` holds, as ascending ranges that do not
/// touch. What the version has beyond the disk's end is not told. Where the disk grew or shrank, the
/// block in which the smaller of both ends is told, whatever it holds: units are whole blocks, and
/// what lay behind the end must not come back. `progress` hears up to which byte the disk was
/// compared.
///
/// # Errors
/// The disk or the version cannot be read.
pub fn changed_blocks(
    version: &Version,
    disk: &dyn ReadAt,
    mut progress: impl FnMut(u64),
) -> Result<Vec<Range<u64>>, ReadError> {
    let mut changed = Changed {
        ranges: Vec::new(),
        always: cut_block(version.size_bytes(), disk.size_bytes()),
    };
    let blocks = disk.size_bytes().div_ceil(BLOCK_BYTES);
    let mut piece = Piece::default();
    let mut at = 0;
    while at < blocks {
        let end = both_zero(version, disk, at, blocks)?;
        if end > at {
            at = end;
        } else {
            let end = at.saturating_add(PIECE_BLOCKS).min(blocks);
            piece.read(disk, at..end)?;
            piece.compare(version, &mut changed)?;
            at = end;
        }
        progress(at.saturating_mul(BLOCK_BYTES).min(disk.size_bytes()));
    }
    changed.pass(blocks);
    Ok(changed.ranges)
}

/// The block within which the smaller of two disks ends, where they are not of one size.
fn cut_block(one: u64, other: u64) -> Option<u64> {
    let end = one.min(other);
    let is_within = one != other && !end.is_multiple_of(BLOCK_BYTES);
    is_within.then(|| end.checked_div(BLOCK_BYTES)).flatten()
}

/// Up to where both are known to be zeros, from a block on.
fn both_zero(
    version: &Version,
    disk: &dyn ReadAt,
    block: u64,
    blocks: u64,
) -> Result<u64, ReadError> {
    let offset = block.saturating_mul(BLOCK_BYTES);
    let there = disk.stretch_at(offset)?;
    if there.content != Content::Zero {
        return Ok(block);
    }
    let then = match version.size_bytes() > offset {
        true => version.stretch_at(offset)?,
        // What was not there is zeros.
        false => there,
    };
    if then.content != Content::Zero {
        return Ok(block);
    }
    let bytes = there.bytes.min(then.bytes);
    if offset.saturating_add(bytes) >= disk.size_bytes() {
        return Ok(blocks);
    }
    let whole = bytes.checked_div(BLOCK_BYTES).unwrap_or(0);
    Ok(block.saturating_add(whole).min(blocks))
}

/// Ascending blocks, joined where they touch.
struct Changed {
    ranges: Vec<Range<u64>>,
    /// One that is told in any case, until it was.
    always: Option<u64>,
}

impl Changed {
    fn add(&mut self, block: u64) {
        self.pass(block);
        if self.always == Some(block) {
            self.always = None;
        }
        self.push(block);
    }

    /// Nothing more comes below this block.
    fn pass(&mut self, block: u64) {
        if let Some(always) = self.always.filter(|always| *always < block) {
            self.always = None;
            self.push(always);
        }
    }

    fn push(&mut self, block: u64) {
        let end = block.saturating_add(1);
        match self.ranges.last_mut() {
            Some(last) if last.end == block => last.end = end,
            _ => self.ranges.push(block..end),
        }
    }
}

/// Some blocks of the disk as they are now.
#[derive(Default)]
struct Piece {
    blocks: Range<u64>,
    /// Whole blocks: what lies beyond the disk's end is zeros.
    bytes: Vec<u8>,
    /// The same blocks as they were.
    before: Vec<u8>,
}

impl Piece {
    fn read(&mut self, disk: &dyn ReadAt, blocks: Range<u64>) -> Result<(), ReadError> {
        read_blocks(disk, blocks.clone(), &mut self.bytes)?;
        self.blocks = blocks;
        Ok(())
    }

    fn compare(&mut self, version: &Version, changed: &mut Changed) -> Result<(), ReadError> {
        let mut at = self.blocks.start;
        while at < self.blocks.end {
            let next = match version.unit_at(at)? {
                KeptUnit::Zero { blocks } => {
                    let end = at.saturating_add(blocks).min(self.blocks.end);
                    self.zeros(at..end, changed);
                    end
                }
                KeptUnit::Whole { digest, blocks } => {
                    let end = at.saturating_add(blocks);
                    if end > self.blocks.end || UnitDigest::of(self.part(at..end)) != digest {
                        let end = end.min(self.blocks.end);
                        self.each(version, at..end, changed)?;
                        end
                    } else {
                        end
                    }
                }
                KeptUnit::Part { blocks } => {
                    let end = at.saturating_add(blocks).min(self.blocks.end);
                    self.each(version, at..end, changed)?;
                    end
                }
            };
            // No unit is empty, but what is read back is not trusted to say so.
            at = next.max(at.saturating_add(1));
        }
        Ok(())
    }

    fn zeros(&self, blocks: Range<u64>, changed: &mut Changed) {
        for block in blocks {
            if self
                .part(block..block.saturating_add(1))
                .iter()
                .any(|byte| *byte != 0)
            {
                changed.add(block);
            }
        }
    }

    /// Compares block by block.
    fn each(
        &mut self,
        version: &Version,
        blocks: Range<u64>,
        changed: &mut Changed,
    ) -> Result<(), ReadError> {
        let mut before = std::mem::take(&mut self.before);
        read_blocks(version, blocks.clone(), &mut before)?;
        let block_bytes = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
        for (block, was) in blocks.zip(before.chunks(block_bytes)) {
            if self.part(block..block.saturating_add(1)) != was {
                changed.add(block);
            }
        }
        self.before = before;
        Ok(())
    }

    fn part(&self, blocks: Range<u64>) -> &[u8] {
        let place = |block: u64| {
            let bytes = block
                .saturating_sub(self.blocks.start)
                .saturating_mul(BLOCK_BYTES);
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        self.bytes
            .get(place(blocks.start)..place(blocks.end))
            .unwrap_or_default()
    }
}

/// Reads whole blocks; what lies beyond the end is zeros.
fn read_blocks(
    source: &dyn ReadAt,
    blocks: Range<u64>,
    into: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let start = blocks.start.saturating_mul(BLOCK_BYTES);
    let bytes = blocks
        .end
        .saturating_sub(blocks.start)
        .saturating_mul(BLOCK_BYTES);
    let there = bytes.min(source.size_bytes().saturating_sub(start));
    let length = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    into.clear();
    into.resize(length(bytes), 0);
    match into.get_mut(..length(there)) {
        Some(part) if !part.is_empty() => source.read_exact_at(start, part),
        _ => Ok(()),
    }
}
