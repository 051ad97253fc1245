//! Which part of the disk is which unit: a base with the changesets after it laid over.
//!
//! A layer is what one changeset tells of, ascending and apart, with zeros from the disk's end on. Two
//! layers are merged in one pass; many are merged in pairs, so that all of a long chain is passed
//! over some times only.

use crate::BLOCK_BYTES;
use crate::changeset::{Changeset, Content};
use crate::pack::PackId;

/// Which blocks are where: those that are not in it are zeros.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map(Vec<Laid>);

/// Neighbouring blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) blocks: u64,
    /// Nothing for zeros.
    pub(crate) units: Option<Units>,
}

/// Where the content of neighbouring blocks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Units {
    pub(crate) pack: PackId,
    /// The first block's place among the blocks of the pack's units.
    pub(crate) first_block: u64,
    pub(crate) unit_blocks: u64,
}

/// A piece, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Laid {
    start: u64,
    piece: Piece,
}

impl Laid {
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.piece.blocks)
    }

    /// What of it lies before a block within it.
    const fn until(&self, end: u64) -> Self {
        let blocks = end.saturating_sub(self.start);
        let piece = Piece {
            blocks,
            units: self.piece.units,
        };
        Self {
            start: self.start,
            piece,
        }
    }

    /// What of it lies from a block within it on.
    fn from(&self, start: u64) -> Self {
        let skipped = start.saturating_sub(self.start);
        let units = self.piece.units.map(|units| Units {
            first_block: units.first_block.saturating_add(skipped),
            ..units
        });
        let blocks = self.piece.blocks.saturating_sub(skipped);
        Self {
            start,
            piece: Piece { blocks, units },
        }
    }
}

impl Map {
    /// The disk as the last of some changesets left it; the first is a base.
    pub(crate) fn of<'c>(changesets: impl IntoIterator<Item = &'c Changeset>) -> Self {
        let mut layers: Vec<Vec<Laid>> = changesets.into_iter().map(layer).collect();
        while layers.len() > 1 {
            let merged = layers.chunks(2).map(|pair| match pair {
                [older, newer] => over(newer, older),
                other => other.concat(),
            });
            layers = merged.collect();
        }
        Self::without_zeros(layers.pop().unwrap_or_default())
    }

    /// Lays a changeset over.
    pub(crate) fn lay_over(&mut self, changeset: &Changeset) {
        *self = Self::without_zeros(over(&layer(changeset), &self.0));
    }

    fn without_zeros(mut laid: Vec<Laid>) -> Self {
        laid.retain(|laid| laid.piece.units.is_some());
        Self(laid)
    }

    /// Its pieces, ascending and apart.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, Piece)> {
        self.0.iter().map(|laid| (laid.start, laid.piece))
    }

    /// How many pieces it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What a block is, and how many blocks go on in the same way.
    pub(crate) fn find(&self, block: u64) -> (Option<(Units, u64)>, u64) {
        let at = self.0.partition_point(|laid| laid.end() <= block);
        let Some(laid) = self.0.get(at) else {
            return (None, u64::MAX.saturating_sub(block));
        };
        let Some(into) = block.checked_sub(laid.start) else {
            return (None, laid.start.saturating_sub(block));
        };
        let left = laid.piece.blocks.saturating_sub(into);
        let units = laid.piece.units;
        let place = units.map(|units| (units, units.first_block.saturating_add(into)));
        (place, left)
    }
}

/// What a changeset tells of. A disk that became smaller forgets what lay beyond its end.
fn layer(changeset: &Changeset) -> Vec<Laid> {
    let told = changeset.runs.iter().map(|run| {
        let units = match run.content {
            Content::Zero => None,
            Content::Units {
                pack,
                first,
                unit_blocks,
            } => usize::try_from(pack)
                .ok()
                .and_then(|pack| changeset.packs.get(pack))
                .map(|pack| Units {
                    pack: *pack,
                    first_block: u64::from(first).saturating_mul(u64::from(unit_blocks)),
                    unit_blocks: u64::from(unit_blocks),
                }),
        };
        let blocks = run.blocks;
        Laid {
            start: run.start,
            piece: Piece { blocks, units },
        }
    });
    let start = changeset.disk_bytes.div_ceil(BLOCK_BYTES);
    let beyond = Laid {
        start,
        piece: Piece {
            blocks: u64::MAX.saturating_sub(start),
            units: None,
        },
    };
    told.chain([beyond]).collect()
}

/// Lays one layer over another.
fn over(newer: &[Laid], older: &[Laid]) -> Vec<Laid> {
    let mut laid = Vec::with_capacity(newer.len().saturating_add(older.len()));
    let mut older = older.iter().copied();
    let mut rest = older.next();
    for new in newer {
        // What lies before it stays.
        while let Some(old) = rest.filter(|old| old.start < new.start) {
            if old.end() > new.start {
                laid.push(old.until(new.start));
                rest = Some(old.from(new.start));
            } else {
                laid.push(old);
                rest = older.next();
            }
        }
        // What lies under it goes.
        while let Some(old) = rest.filter(|old| old.start < new.end()) {
            rest = match old.end() > new.end() {
                true => Some(old.from(new.end())),
                false => older.next(),
            };
        }
        laid.push(*new);
    }
    laid.extend(rest);
    laid.extend(older);
    laid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changeset::{Kind, Run};
    use model::Timestamp;
    use proptest::prelude::*;

    const BLOCKS: u64 = 60;

    fn changeset(number: u8, disk_blocks: u64, runs: &[(u64, u64, bool)]) -> Changeset {
        let mut end = 0;
        let mut told = Vec::new();
        for (skipped, blocks, zeros) in runs {
            let start = end + skipped;
            let blocks = (*blocks).min(disk_blocks.saturating_sub(start));
            if blocks == 0 {
                break;
            }
            let units = Content::Units {
                pack: 0,
                first: u32::try_from(start).unwrap(),
                unit_blocks: 1,
            };
            let content = if *zeros { Content::Zero } else { units };
            told.push(Run {
                start,
                blocks,
                content,
            });
            end = start + blocks;
        }
        Changeset {
            kind: Kind::Increment,
            sequence: 0,
            parent: None,
            taken: Timestamp::from_unix_ns(0),
            disk_bytes: disk_blocks * BLOCK_BYTES,
            source: String::new(),
            packs: vec![PackId([number; 32])],
            runs: told,
            replaced: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn layers_are_laid_block_by_block(
            drawn in prop::collection::vec(
                (1..BLOCKS, prop::collection::vec((0_u64..9, 1_u64..9, any::<bool>()), 0..9)),
                1..9,
            ),
        ) {
            let number = |index: usize| u8::try_from(index + 1).unwrap();
            let numbered = drawn.iter().enumerate();
            let all: Vec<_> = numbered
                .map(|(index, (blocks, runs))| changeset(number(index), *blocks, runs))
                .collect();
            // The truth, a block at a time: whose it is and where, or zeros.
            let mut truth = [None; 80];
            for one in &all {
                for run in &one.runs {
                    for block in run.start..run.end() {
                        let is_zero = run.content == Content::Zero;
                        truth[block as usize] = (!is_zero).then_some((one.packs[0], block));
                    }
                }
                truth[(one.disk_bytes / BLOCK_BYTES) as usize..].fill(None);
            }
            let mut laid = Map::default();
            all.iter().for_each(|one| laid.lay_over(one));
            for map in [Map::of(&all), laid] {
                let mut block = 0;
                while block < 80 {
                    let (place, blocks) = map.find(block);
                    prop_assert!(blocks > 0);
                    for on in 0..blocks.min(80 - block) {
                        let found = place.map(|(units, place)| (units.pack, place + on));
                        prop_assert_eq!(found, truth[(block + on) as usize]);
                    }
                    block = block.saturating_add(blocks);
                }
                let pieces: Vec<_> = map.pieces().collect();
                prop_assert!(pieces.is_sorted_by(|(at, piece), (next, _)| at + piece.blocks <= *next));
            }
        }
    }
}
