//! The chain of changesets, and the disk as it was at each of them.

use crate::BLOCK_BYTES;
use crate::blobs::{BlobError, Blobs};
use crate::changeset::{self, Changeset, ChangesetError, ChangesetId, Content, Kind};
use crate::pack::{PackError, PackId, PackReader};
use crate::writer::{KnownUnits, Written};
use disk::read_at::check_range;
use disk::{ReadAt, ReadError, Stretch};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// The most bytes of a changeset's blob that are read.
const MAX_CHANGESET_BYTES: u64 = 256 << 20;

/// Frames that a version keeps decompressed: 8 MiB at most.
const FRAMES_KEPT: usize = 8;

/// Why a history cannot be used.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// A blob is missing or cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A changeset is not what it was.
    #[error("{blob}: {source}")]
    Changeset {
        /// Its blob.
        blob: String,
        /// What is wrong with it.
        source: ChangesetError,
    },
    /// A changeset does not follow the one before it.
    #[error("{blob} {what}")]
    Chain {
        /// Its blob.
        blob: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A pack is missing or damaged.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// There is no such changeset.
    #[error("there is no changeset {0}")]
    NoSuch(u64),
}

/// A history that was read.
#[derive(Debug, Default)]
pub struct History {
    changesets: Vec<Written>,
}

impl History {
    /// Reads the chain and checks it: each changeset is whole, follows the one before it, and names
    /// it. Packs are not looked at.
    ///
    /// # Errors
    /// A changeset is missing, damaged, or does not follow.
    pub fn open(blobs: &dyn Blobs) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        for blob in blobs.list(changeset::PREFIX)? {
            let chain = |what| HistoryError::Chain {
                blob: blob.clone(),
                what,
            };
            let named = changeset::of_blob(&blob).ok_or_else(|| chain("has no name of one"))?;
            let length = blobs.length(&blob)?;
            if length > MAX_CHANGESET_BYTES {
                return Err(chain("is too long"));
            }
            let (id, changeset) =
                changeset::decode(&blobs.read(&blob, 0..length)?).map_err(|source| {
                    HistoryError::Changeset {
                        blob: blob.clone(),
                        source,
                    }
                })?;
            if named != (changeset.sequence, id) {
                return Err(chain("is not the one that it is named"));
            }
            history.add(Written { id, changeset }).map_err(chain)?;
        }
        Ok(history)
    }

    /// Adds one that was written.
    ///
    /// # Errors
    /// It does not follow the last one; says in what.
    pub fn add(&mut self, written: Written) -> Result<(), &'static str> {
        let new = &written.changeset;
        let expected = self.changesets.last();
        let sequence = expected.map_or(Some(0), |last| last.changeset.sequence.checked_add(1));
        if Some(new.sequence) != sequence {
            return Err("does not follow the last one: one is missing or there twice");
        }
        if new.parent != expected.map(|last| last.id) {
            return Err("names another one as the one before it");
        }
        if (new.kind == Kind::Base) != expected.is_none() {
            return Err("is a base within the chain");
        }
        self.changesets.push(written);
        Ok(())
    }

    /// The changesets, the oldest first.
    #[must_use]
    pub fn changesets(&self) -> &[Written] {
        &self.changesets
    }

    /// What stands for the whole history: the id of the last one.
    #[must_use]
    pub fn head(&self) -> Option<ChangesetId> {
        self.changesets.last().map(|last| last.id)
    }

    /// The units of all packs that the history names.
    ///
    /// # Errors
    /// A pack is missing or damaged.
    pub fn known_units(&self, blobs: &dyn Blobs) -> Result<KnownUnits, HistoryError> {
        let mut known = KnownUnits::default();
        for pack in self.packs() {
            let reader = PackReader::open(blobs, pack)?;
            known.add(pack, &reader.directory().units);
        }
        Ok(known)
    }

    /// The packs that the history names, each once.
    #[must_use]
    pub fn packs(&self) -> Vec<PackId> {
        let all = self.changesets.iter().flat_map(|one| &one.changeset.packs);
        let mut packs: Vec<PackId> = all.copied().collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// The disk as it was at a changeset.
    ///
    /// # Errors
    /// There is no such changeset.
    pub fn version(&self, blobs: Arc<dyn Blobs>, sequence: u64) -> Result<Version, HistoryError> {
        let until = self
            .changesets
            .iter()
            .position(|one| one.changeset.sequence == sequence)
            .ok_or(HistoryError::NoSuch(sequence))?;
        let chain = self.changesets.get(..=until).unwrap_or_default();
        let disk_bytes = chain.last().map_or(0, |one| one.changeset.disk_bytes);
        let mut map = Map::default();
        for one in chain {
            map.lay_over(&one.changeset);
        }
        Ok(Version {
            blobs,
            disk_bytes,
            map,
            packs: Mutex::default(),
            frames: Mutex::default(),
        })
    }
}

/// Which blocks are where: those that are not in it are zeros.
#[derive(Debug, Default)]
struct Map(BTreeMap<u64, Piece>);

/// Neighbouring blocks, from the key on.
#[derive(Debug, Clone, Copy)]
struct Piece {
    blocks: u64,
    /// Nothing for zeros.
    units: Option<Units>,
}

#[derive(Debug, Clone, Copy)]
struct Units {
    pack: PackId,
    /// The first block's place among the blocks of the pack's units.
    first_block: u64,
    unit_blocks: u64,
}

impl Map {
    fn lay_over(&mut self, changeset: &Changeset) {
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
    fn find(&self, block: u64) -> (Option<(Units, u64)>, u64) {
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

/// The disk as it was: a source of bytes.
pub struct Version {
    blobs: Arc<dyn Blobs>,
    disk_bytes: u64,
    map: Map,
    packs: Mutex<HashMap<PackId, Arc<PackReader>>>,
    frames: Mutex<VecDeque<KeptFrame>>,
}

#[derive(Clone)]
struct KeptFrame {
    pack: PackId,
    number: usize,
    first_block: u64,
    bytes: Arc<Vec<u8>>,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("disk_bytes", &self.disk_bytes)
            .field("pieces", &self.map.0.len())
            .finish_non_exhaustive()
    }
}

impl Version {
    fn pack(&self, id: PackId) -> Result<Arc<PackReader>, PackError> {
        let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = packs.get(&id) {
            return Ok(Arc::clone(pack));
        }
        let pack = Arc::new(PackReader::open(&*self.blobs, id)?);
        packs.insert(id, Arc::clone(&pack));
        Ok(pack)
    }

    /// The frame that holds a block of a pack's units.
    fn frame(&self, units: Units, block: u64) -> Result<KeptFrame, PackError> {
        let pack = self.pack(units.pack)?;
        let damaged = |what| PackError::Damaged {
            pack: units.pack,
            what,
        };
        let unit = block.checked_div(units.unit_blocks);
        let unit = unit.and_then(|unit| u32::try_from(unit).ok());
        let found = unit.and_then(|unit| pack.frame_of(unit));
        let (number, frame) = found.ok_or_else(|| damaged("it lacks a unit"))?;
        if frame.unit_bytes != units.unit_blocks.saturating_mul(BLOCK_BYTES) {
            return Err(damaged("its units have another size"));
        }
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |kept: &&KeptFrame| kept.pack == units.pack && kept.number == number;
        if let Some(kept) = frames.iter().find(is_it) {
            return Ok(kept.clone());
        }
        let kept = KeptFrame {
            pack: units.pack,
            number,
            first_block: u64::from(frame.units.start).saturating_mul(units.unit_blocks),
            bytes: Arc::new(pack.read_frame(&*self.blobs, frame)?),
        };
        frames.push_back(kept.clone());
        if frames.len() > FRAMES_KEPT {
            frames.pop_front();
        }
        Ok(kept)
    }

    /// Reads from one place in one frame, or zeros, and says how much.
    fn read_some(&self, offset: u64, into: &mut [u8]) -> Result<usize, PackError> {
        let (block, within) = (
            offset.checked_div(BLOCK_BYTES).unwrap_or(0),
            offset.checked_rem(BLOCK_BYTES).unwrap_or(0),
        );
        let (units, blocks) = self.map.find(block);
        let left = blocks.saturating_mul(BLOCK_BYTES).saturating_sub(within);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let (now, _) = into.split_at_mut(left);
        let Some((units, place)) = units else {
            now.fill(0);
            return Ok(left);
        };
        let frame = self.frame(units, place)?;
        let at = place
            .saturating_sub(frame.first_block)
            .saturating_mul(BLOCK_BYTES);
        let at = usize::try_from(at.saturating_add(within)).unwrap_or(usize::MAX);
        let bytes = frame.bytes.get(at..).unwrap_or_default();
        let count = bytes.len().min(left);
        if count == 0 {
            let what = "a frame is too short";
            let pack = units.pack;
            return Err(PackError::Damaged { pack, what });
        }
        for (byte, from) in now.iter_mut().zip(bytes) {
            *byte = *from;
        }
        Ok(count)
    }
}

impl ReadAt for Version {
    fn size_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.disk_bytes, offset, buffer.len() as u64)?;
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let count = self
                .read_some(at, rest)
                .map_err(|error| ReadError::Format {
                    offset: at,
                    source: Box::new(error),
                })?;
            at = at.saturating_add(count as u64);
            rest = rest.split_at_mut(count).1;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.disk_bytes, offset, 1)?;
        let block = offset.checked_div(BLOCK_BYTES).unwrap_or(0);
        let (units, blocks) = self.map.find(block);
        let end = block.saturating_add(blocks).saturating_mul(BLOCK_BYTES);
        Ok(Stretch {
            bytes: end.min(self.disk_bytes).saturating_sub(offset),
            content: match units {
                Some(_) => disk::Content::Data,
                None => disk::Content::Zero,
            },
        })
    }
}
