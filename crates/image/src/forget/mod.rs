//! A window on the history: the oldest changesets become one base, and what nobody needs goes.
//!
//! ```text
//!  0 ◄ 1 ◄ 2 ◄ 3 ◄ 4          merge up to 2
//!  packs a b c d e
//!
//!  1. new packs, of what is worth moving      killed here: they belong to nothing
//!  2. every kept version, old against new     different: nothing was done
//!  3. the new base 2', in one blob            from here on it is the history's beginning
//!  4. 0, 1 and 2 are removed                  killed here: the next sweep goes on
//!  5. packs that nothing names are removed
//! ```
//!
//! The new base names units where they lie. Copied is only what lies in packs of which little is
//! needed any more, or that are small, and what begins within a unit. It says which changesets it
//! stands for, so ids and seals of all others stay as they are.

mod compare;
mod window;

pub use window::{Window, until};

use crate::BLOCK_BYTES;
use crate::blobs::{BlobError, Blobs};
use crate::changeset::{self, Changeset, Kind, MAX_REPLACED, Replaced};
use crate::history::{History, HistoryError, Read};
use crate::map::{Map, Piece, Units};
use crate::pack::{PackError, PackId, PackReader};
use crate::version::Version;
use crate::writer::{
    About, ChangesetWriter, Cut, KeptUnits, KnownUnits, Prepared, WriteError, Written,
};
use disk::ReadError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thiserror::Error;

/// Packs that are shorter are put together with others.
const SMALL_PACK_BYTES: u64 = 1 << 20;

/// Why the window could not be moved. The history is as it was, or as it should be.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// The history, or a version, cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A blob cannot be read or removed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A pack cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A version cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new base cannot be written.
    #[error("cannot merge changesets: {0}")]
    Write(#[from] WriteError),
    /// A version would read otherwise than before. Nothing was removed.
    #[error("changeset {sequence} would not read as before at block {block}: nothing was removed")]
    Differs {
        /// The changeset.
        sequence: u64,
        /// The first block that differs.
        block: u64,
    },
    /// What was put is not what is there. Nothing was removed.
    #[error("the merged history does not read back as it was written: nothing was removed")]
    NotThere,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Changesets that the base stands for.
    pub changesets: u64,
    /// Packs that nothing names.
    pub packs: u64,
    /// The bytes of both.
    pub bytes: u64,
}

/// Makes the changesets up to one into a base that stands for them. Says what the history is now;
/// what it needs no more is there still, for [`sweep`].
///
/// # Errors
/// Something cannot be read or put, or a kept version would read otherwise.
pub fn merge(
    blobs: &Arc<dyn Blobs>,
    history: &History,
    until: u64,
) -> Result<History, ForgetError> {
    let chain = history.until(until)?;
    let Some((last, before)) = chain.split_last() else {
        return Err(HistoryError::NoSuch(until).into());
    };
    let later = history.changesets().get(chain.len()..).unwrap_or_default();
    if before.is_empty() {
        return Ok(History::open(&**blobs)?);
    }
    let map = Map::of(chain.iter().map(|one| &one.changeset));
    let moved = worth_moving(&**blobs, &map, later)?;
    let version = Version::new(Arc::clone(blobs), last.changeset.disk_bytes, map);
    let replaced = replaced(chain);
    let prepared = write(&**blobs, &version, &moved, &last.changeset, replaced)?;
    let expected = expected(&prepared.written, later);
    compare::kept_versions(blobs, history, &expected)?;
    prepared.put(&**blobs)?;
    let there = History::open(&**blobs)?;
    if there.changesets() == expected.changesets() {
        Ok(there)
    } else {
        Err(ForgetError::NotThere)
    }
}

/// All that the new base stands for.
fn replaced(chain: &[Written]) -> Vec<Replaced> {
    let mut replaced: Vec<Replaced> = Vec::new();
    for one in chain {
        if one.changeset.replaced.is_empty() {
            replaced.push(Replaced {
                sequence: one.changeset.sequence,
                id: one.id,
            });
        } else {
            replaced.extend(&one.changeset.replaced);
        }
    }
    let too_many = replaced.len().saturating_sub(MAX_REPLACED);
    replaced.split_off(too_many)
}

fn expected(base: &Written, later: &[Written]) -> History {
    let mut history = History::default();
    for one in std::iter::once(base).chain(later) {
        // What does not follow is found missing in the comparison.
        history.add(one.clone()).ok();
    }
    history
}

/// The packs whose units are copied: only the base names them, and little of them is needed, or they
/// are small.
fn worth_moving(
    blobs: &dyn Blobs,
    map: &Map,
    later: &[Written],
) -> Result<BTreeSet<PackId>, ForgetError> {
    let named: BTreeSet<&PackId> = later.iter().flat_map(|one| &one.changeset.packs).collect();
    let mut moved = BTreeSet::new();
    for (pack, live) in live_blocks(map) {
        if named.contains(&pack) {
            continue;
        }
        let small = blobs.length(&pack.blob())? < SMALL_PACK_BYTES;
        let all = all_blocks(blobs, pack)?;
        // Less than three quarters.
        if small || live.saturating_mul(4) < all.saturating_mul(3) {
            moved.insert(pack);
        }
    }
    Ok(moved)
}

/// How many blocks of the disk have their content in each pack.
fn live_blocks(map: &Map) -> BTreeMap<PackId, u64> {
    let mut live = BTreeMap::new();
    for (_, piece) in map.pieces() {
        if let Some(units) = piece.units {
            let blocks: &mut u64 = live.entry(units.pack).or_default();
            *blocks = blocks.saturating_add(piece.blocks);
        }
    }
    live
}

/// How many blocks a pack's units have.
fn all_blocks(blobs: &dyn Blobs, pack: PackId) -> Result<u64, PackError> {
    let reader = PackReader::open(blobs, pack)?;
    let mut blocks = 0_u64;
    for frame in &reader.directory().frames {
        let units = u64::from(frame.units.end.saturating_sub(frame.units.start));
        let unit_blocks = frame.unit_bytes.checked_div(BLOCK_BYTES).unwrap_or(0);
        blocks = blocks.saturating_add(units.saturating_mul(unit_blocks));
    }
    Ok(blocks)
}

fn write(
    blobs: &dyn Blobs,
    version: &Version,
    moved: &BTreeSet<PackId>,
    last: &Changeset,
    replaced: Vec<Replaced>,
) -> Result<Prepared, ForgetError> {
    let mut known = KnownUnits::default();
    let about = About {
        kind: Kind::Base,
        sequence: last.sequence,
        parent: None,
        disk_bytes: last.disk_bytes,
    };
    let mut writer = ChangesetWriter::new(blobs, &mut known, about, Cut::CHANGE);
    for (start, piece) in version.map().pieces() {
        if let Some(units) = piece.units {
            let copied = match moved.contains(&units.pack) {
                true => piece.blocks,
                false => within_unit(piece, units),
            };
            let kept_from = start.saturating_add(copied);
            writer.write_from(version, start..kept_from)?;
            if let Some(kept) = kept(start, piece, units, copied) {
                writer.keep(kept)?;
            }
        }
    }
    Ok(writer.prepare(last.taken, last.source.clone(), replaced)?)
}

/// How many blocks of a piece lie before the first whole unit.
fn within_unit(piece: Piece, units: Units) -> u64 {
    let into = units
        .first_block
        .checked_rem(units.unit_blocks)
        .unwrap_or(0);
    match into {
        0 => 0,
        into => units.unit_blocks.saturating_sub(into).min(piece.blocks),
    }
}

/// The rest of a piece, which begins with a unit.
fn kept(start: u64, piece: Piece, units: Units, copied: u64) -> Option<KeptUnits> {
    let blocks = piece
        .blocks
        .checked_sub(copied)
        .filter(|blocks| *blocks > 0)?;
    let first = units.first_block.checked_add(copied)?;
    Some(KeptUnits {
        start: start.saturating_add(copied),
        blocks,
        pack: units.pack,
        first: u32::try_from(first.checked_div(units.unit_blocks)?).ok()?,
        unit_blocks: u32::try_from(units.unit_blocks).ok()?,
    })
}

/// Removes what a history that was read needs no more: changesets that its base stands for, then
/// packs that it does not name. Nobody else may be writing.
///
/// # Errors
/// Something cannot be removed; what is left, the next sweep removes.
pub fn sweep(blobs: &dyn Blobs, history: &History) -> Result<Swept, ForgetError> {
    let mut swept = Swept::default();
    let base = history.changesets().first();
    let replaced = base.map_or(&[][..], |base| &base.changeset.replaced);
    let mut strange = false;
    for blob in history.superseded() {
        if stands_for(blobs, replaced, blob) {
            swept.bytes = swept.bytes.saturating_add(blobs.length(blob)?);
            blobs.remove(blob)?;
            swept.changesets = swept.changesets.saturating_add(1);
        } else {
            strange = true;
        }
    }
    // What nobody vouches for may name packs, and is for a person to look at.
    if strange || base.is_none() {
        return Ok(swept);
    }
    let named: BTreeSet<String> = history.packs().iter().map(PackId::blob).collect();
    for blob in blobs.list(crate::pack::PREFIX)? {
        if !named.contains(&blob) {
            swept.bytes = swept.bytes.saturating_add(blobs.length(&blob)?);
            blobs.remove(&blob)?;
            swept.packs = swept.packs.saturating_add(1);
        }
    }
    Ok(swept)
}

/// Whether a base says that it stands for a changeset.
fn stands_for(blobs: &dyn Blobs, replaced: &[Replaced], blob: &str) -> bool {
    let Some((sequence, id)) = changeset::of_blob(blob) else {
        return false;
    };
    let is = |id| replaced.contains(&Replaced { sequence, id });
    // An earlier base goes by what it stands for itself.
    is(id) || Read::blob(blobs, blob.to_owned()).is_ok_and(|read| is(read.written.chain_id()))
}
