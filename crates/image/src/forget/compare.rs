//! Every kept version, before and after: block for block the same content.

use super::ForgetError;
use crate::BLOCK_BYTES;
use crate::blobs::Blobs;
use crate::history::History;
use crate::map::{Map, Units};
use crate::version::Version;
use disk::{ReadAt, ReadError};
use std::collections::HashSet;
use std::sync::Arc;

/// Blocks that are compared at a time: 1 MiB.
const PIECE_BLOCKS: u64 = 256;

/// The place of a block's content; nothing for zeros.
type Place = Option<(Units, u64)>;

/// Neighbouring blocks whose contents were the same: where they were, where they are, how many.
type Same = HashSet<(Place, Place, u64)>;

/// Compares all versions of the new history with those of the old one.
pub(super) fn kept_versions(
    blobs: &Arc<dyn Blobs>,
    old: &History,
    new: &History,
) -> Result<(), ForgetError> {
    let last = |history: &History| {
        history
            .changesets()
            .last()
            .map(|one| one.changeset.sequence)
    };
    let Some(base) = new.changesets().first() else {
        return Err(ForgetError::NotThere);
    };
    if last(old) != last(new) || old.head() != new.head() {
        return Err(ForgetError::NotThere);
    }
    let merged = old.until(base.changeset.sequence)?;
    let mut was = Map::of(merged.iter().map(|one| &one.changeset));
    let mut is = Map::default();
    let mut same = Same::new();
    for one in new.changesets() {
        is.lay_over(&one.changeset);
        if one.changeset.sequence != base.changeset.sequence {
            was.lay_over(&one.changeset);
        }
        let (sequence, bytes) = (one.changeset.sequence, one.changeset.disk_bytes);
        let version = |map: &Map| Version::new(Arc::clone(blobs), bytes, map.clone());
        let mut versions = None;
        for part in differences(&was, &is, bytes) {
            if same.contains(&part.same()) {
                continue;
            }
            let (was, is) = versions.get_or_insert_with(|| (version(&was), version(&is)));
            if !equal_content(was, is, &part)? {
                let block = part.start;
                return Err(ForgetError::Differs { sequence, block });
            }
            same.insert(part.same());
        }
    }
    Ok(())
}

/// Neighbouring blocks that are read from other places than before.
struct Part {
    start: u64,
    blocks: u64,
    was: Place,
    is: Place,
}

impl Part {
    const fn same(&self) -> (Place, Place, u64) {
        (self.was, self.is, self.blocks)
    }
}

/// What is read from another place. What is read from the same place is the same.
fn differences(was: &Map, is: &Map, disk_bytes: u64) -> Vec<Part> {
    let end = disk_bytes.div_ceil(BLOCK_BYTES);
    let mut parts = Vec::new();
    let mut start = 0_u64;
    while start < end {
        let ((old, old_blocks), (new, new_blocks)) = (find(was, start), find(is, start));
        let left = end.saturating_sub(start);
        let most = if old == new { left } else { PIECE_BLOCKS };
        let blocks = old_blocks.min(new_blocks).min(left).min(most).max(1);
        if old != new {
            parts.push(Part {
                start,
                blocks,
                was: old,
                is: new,
            });
        }
        start = start.saturating_add(blocks);
    }
    parts
}

/// Where a block's content is, told so that equal places are equal values.
fn find(map: &Map, block: u64) -> (Place, u64) {
    let (place, blocks) = map.find(block);
    let place = place.map(|(units, place)| {
        let units = Units {
            first_block: 0,
            ..units
        };
        (units, place)
    });
    (place, blocks)
}

fn equal_content(was: &Version, is: &Version, part: &Part) -> Result<bool, ForgetError> {
    let start = part.start.saturating_mul(BLOCK_BYTES);
    let bytes = part.blocks.saturating_mul(BLOCK_BYTES);
    let bytes = bytes.min(is.size_bytes().saturating_sub(start));
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let read = |version: &Version| -> Result<Vec<u8>, ReadError> {
        let mut content = vec![0; bytes];
        version.read_exact_at(start, &mut content)?;
        Ok(content)
    };
    Ok(read(was)? == read(is)?)
}
