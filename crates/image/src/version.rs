//! The disk as it was at a changeset.

use crate::BLOCK_BYTES;
use crate::blobs::Blobs;
use crate::map::{Map, Units};
use crate::pack::{PackError, PackId, PackReader, UnitDigest};
use disk::read_at::check_range;
use disk::{ReadAt, ReadError, Stretch};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Frames that a version keeps decompressed: 16 MiB at most.
const FRAMES_KEPT: usize = 4;

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
            .field("pieces", &self.map.len())
            .finish_non_exhaustive()
    }
}

/// What is known of blocks of a version without unpacking them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptUnit {
    /// So many blocks are zeros.
    Zero {
        /// How many.
        blocks: u64,
    },
    /// A whole unit begins here.
    Whole {
        /// The digest of its bytes.
        digest: UnitDigest,
        /// How many blocks it has.
        blocks: u64,
    },
    /// So many blocks are a part of a unit.
    Part {
        /// How many.
        blocks: u64,
    },
}

impl Version {
    /// What is kept from a block on. Never of no blocks.
    pub(crate) fn unit_at(&self, block: u64) -> Result<KeptUnit, ReadError> {
        let (found, left) = self.map.find(block);
        let Some((units, place)) = found else {
            return Ok(KeptUnit::Zero { blocks: left });
        };
        let within = place.checked_rem(units.unit_blocks).unwrap_or(0);
        let to_next = units.unit_blocks.saturating_sub(within).max(1);
        if within != 0 || left < to_next {
            let blocks = to_next.min(left);
            return Ok(KeptUnit::Part { blocks });
        }
        let failed = |error: PackError| ReadError::Format {
            offset: block.saturating_mul(BLOCK_BYTES),
            source: Box::new(error),
        };
        let pack = self.pack(units.pack).map_err(failed)?;
        let unit = place.checked_div(units.unit_blocks);
        let unit = unit.and_then(|unit| usize::try_from(unit).ok());
        let digest = unit.and_then(|unit| pack.directory().units.get(unit));
        let what = "it lacks a unit";
        let pack = units.pack;
        Ok(KeptUnit::Whole {
            digest: *digest.ok_or_else(|| failed(PackError::Damaged { pack, what }))?,
            blocks: units.unit_blocks,
        })
    }

    pub(crate) fn new(blobs: Arc<dyn Blobs>, disk_bytes: u64, map: Map) -> Self {
        Self {
            blobs,
            disk_bytes,
            map,
            packs: Mutex::default(),
            frames: Mutex::default(),
        }
    }

    pub(crate) const fn map(&self) -> &Map {
        &self.map
    }

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
