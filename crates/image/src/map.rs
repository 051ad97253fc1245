//! Which part of the disk is which unit: a base with the changesets after it laid over.

use crate::BLOCK_BYTES;
use crate::changeset::{Changeset, Content};
use crate::pack::PackId;
use std::collections::BTreeMap;

/// Which blocks are where: those that are not in it are zeros.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map(BTreeMap<u64, Piece>);

/// Neighbouring blocks, from the key on.
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

impl Map {
    /// The disk as the last of some changesets left it; the first is a base.
    pub(crate) fn of<'c>(changesets: impl IntoIterator<Item = &'c Changeset>) -> Self {
        let mut map = Self::default();
        for changeset in changesets {
            map.lay_over(changeset);
        }
        map
    }

    /// Its pieces, ascending and apart.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, Piece)> {
        self.0.iter().map(|(at, piece)| (*at, *piece))
    }

    /// How many pieces it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Lays a changeset over.
    pub(crate) fn lay_over(&mut self, changeset: &Changeset) {
        for run in &changeset.runs {
            self.clear(run.start, run.end());
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
            self.0.insert(run.start, Piece { blocks, units });
        }
        // A disk that became smaller forgets what lay beyond its end.
        self.clear(changeset.disk_bytes.div_ceil(BLOCK_BYTES), u64::MAX);
    }

    /// Makes room: what reaches into it is cut.
    fn clear(&mut self, start: u64, end: u64) {
        let before = self.0.range(..start).next_back();
        let before = before.map(|(at, piece)| (*at, *piece));
        if let Some((at, piece)) = before
            && at.saturating_add(piece.blocks) > start
        {
            self.cut(at, piece, start, end);
        }
        let inside: Vec<u64> = self.0.range(start..end).map(|(at, _)| *at).collect();
        for at in inside {
            if let Some(piece) = self.0.remove(&at) {
                self.cut(at, piece, start, end);
            }
        }
    }

    /// Keeps of a piece what lies before `start` and from `end` on.
    fn cut(&mut self, at: u64, piece: Piece, start: u64, end: u64) {
        let piece_end = at.saturating_add(piece.blocks);
        if at < start {
            let blocks = start.saturating_sub(at);
            self.0.insert(at, Piece { blocks, ..piece });
        }
        if piece_end > end {
            let skipped = end.saturating_sub(at);
            let units = piece.units.map(|units| Units {
                first_block: units.first_block.saturating_add(skipped),
                ..units
            });
            let blocks = piece_end.saturating_sub(end);
            self.0.insert(end, Piece { blocks, units });
        }
    }

    /// What a block is, and how many blocks go on in the same way.
    pub(crate) fn find(&self, block: u64) -> (Option<(Units, u64)>, u64) {
        let piece = self.0.range(..=block).next_back();
        if let Some((at, piece)) = piece {
            let into = block.saturating_sub(*at);
            if into < piece.blocks {
                let left = piece.blocks.saturating_sub(into);
                let units = piece.units;
                return (
                    units.map(|units| (units, units.first_block.saturating_add(into))),
                    left,
                );
            }
        }
        let next = self.0.range(block..).next().map(|(at, _)| *at);
        (None, next.unwrap_or(u64::MAX).saturating_sub(block))
    }
}
