//! Reading a pack that may hold anything.

use super::{
    FOOTER_BYTES, HEADER_BYTES, MAGIC, MAX_DIRECTORY_BYTES, MAX_FRAME_BYTES, MAX_FRAMES, MAX_UNITS,
    PackId, UNIT_BYTES, UnitDigest, VERSION,
};
use crate::blobs::{BlobError, Blobs};
use crate::codec::Taker;
use std::ops::Range;
use thiserror::Error;

/// The most bytes of a frame as it is stored: what cannot be compressed grows a little.
const MAX_STORED_FRAME_BYTES: u64 = MAX_FRAME_BYTES + (64 << 10);

/// Why a pack cannot be read.
#[derive(Debug, Error)]
pub enum PackError {
    /// Its blob is missing, too short, or cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It is none, or damaged.
    #[error("pack {pack}: {what}")]
    Damaged {
        /// Which.
        pack: PackId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It was written by a later version of this program.
    #[error("pack {pack} has format {version}, this version reads format {VERSION}")]
    Version {
        /// Which.
        pack: PackId,
        /// Its format.
        version: u32,
    },
}

/// Where a frame is, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes in the pack.
    pub stored: Range<u64>,
    /// The size of its units.
    pub unit_bytes: u64,
    /// The numbers of its units in the pack.
    pub units: Range<u32>,
}

/// What a pack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its frames, in order.
    pub frames: Vec<Frame>,
    /// Its units, in order.
    pub units: Vec<UnitDigest>,
}

/// A pack whose directory was read.
#[derive(Debug, Clone)]
pub struct PackReader {
    id: PackId,
    directory: Directory,
}

impl PackReader {
    /// Reads a pack's directory. Its frames are not looked at.
    ///
    /// # Errors
    /// The pack is missing or damaged.
    pub fn open(blobs: &dyn Blobs, id: PackId) -> Result<Self, PackError> {
        let damaged = |what| PackError::Damaged { pack: id, what };
        let name = id.blob();
        let length = blobs.length(&name)?;
        let footer_at = length.checked_sub(FOOTER_BYTES);
        let footer_at = footer_at.filter(|at| *at >= HEADER_BYTES);
        let footer_at = footer_at.ok_or_else(|| damaged("it is too short"))?;
        check_header(id, &blobs.read(&name, 0..HEADER_BYTES)?)?;
        let footer = blobs.read(&name, footer_at..length)?;
        let mut footer = Taker::new(&footer);
        let mut number = || footer.array().map(u32::from_le_bytes).map(u64::from);
        let (stored, raw) = (number(), number());
        let (Some(stored), Some(raw)) = (stored, raw) else {
            return Err(damaged("its footer is cut"));
        };
        if footer.array() != Some(id.0) {
            return Err(damaged("its footer names another pack"));
        }
        let start = footer_at.checked_sub(stored);
        let start = start.filter(|start| *start >= HEADER_BYTES);
        let start = start.ok_or_else(|| damaged("its directory is longer than it is"))?;
        if raw > MAX_DIRECTORY_BYTES || stored > MAX_DIRECTORY_BYTES {
            return Err(damaged("its directory is too long"));
        }
        let bytes = decompress(&blobs.read(&name, start..footer_at)?, raw);
        let bytes = bytes.ok_or_else(|| damaged("its directory cannot be decompressed"))?;
        let directory = directory(&bytes, start);
        let directory = directory.ok_or_else(|| damaged("its directory makes no sense"))?;
        Ok(Self { id, directory })
    }

    /// Which it is.
    #[must_use]
    pub const fn id(&self) -> PackId {
        self.id
    }

    /// What it holds.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The frame that holds a unit, and its number among the frames.
    #[must_use]
    pub fn frame_of(&self, unit: u32) -> Option<(usize, &Frame)> {
        let frames = &self.directory.frames;
        let number = frames.partition_point(|frame| frame.units.end <= unit);
        let frame = frames.get(number)?;
        frame.units.contains(&unit).then_some((number, frame))
    }

    /// The units of a frame, one after the other, each checked against its digest.
    ///
    /// # Errors
    /// The frame is missing or damaged.
    pub fn read_frame(&self, blobs: &dyn Blobs, frame: &Frame) -> Result<Vec<u8>, PackError> {
        let damaged = |what| PackError::Damaged {
            pack: self.id,
            what,
        };
        let stored = blobs.read(&self.id.blob(), frame.stored.clone())?;
        let raw = u64::from(frame.units.end.saturating_sub(frame.units.start))
            .saturating_mul(frame.unit_bytes);
        let bytes = decompress(&stored, raw);
        let bytes = bytes.ok_or_else(|| damaged("a frame cannot be decompressed"))?;
        let unit_bytes = usize::try_from(frame.unit_bytes).unwrap_or(usize::MAX);
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let digests = place(frame.units.start)..place(frame.units.end);
        let digests = self.directory.units.get(digests).unwrap_or_default();
        for (content, digest) in bytes.chunks(unit_bytes).zip(digests) {
            if UnitDigest::of(content) != *digest {
                return Err(damaged("a unit is not what it was"));
            }
        }
        Ok(bytes)
    }
}

/// Whether the stored bytes of a pack are those that were put.
///
/// # Errors
/// They are not, or cannot be read.
pub fn verify(blobs: &dyn Blobs, id: PackId) -> Result<(), PackError> {
    let damaged = |what| PackError::Damaged { pack: id, what };
    let name = id.blob();
    let length = blobs.length(&name)?;
    let end = length.checked_sub(32);
    let end = end.ok_or_else(|| damaged("it is too short"))?;
    let told = blobs.read(&name, end..length)?;
    if blobs.digest(&name, end)? == id.0 && told == id.0 {
        Ok(())
    } else {
        Err(damaged("its content is not what it was"))
    }
}

fn check_header(id: PackId, header: &[u8]) -> Result<(), PackError> {
    let mut header = Taker::new(header);
    if header.array() != Some(*MAGIC) {
        let what = "it is no pack";
        return Err(PackError::Damaged { pack: id, what });
    }
    match header.array().map(u32::from_le_bytes) {
        Some(VERSION) => Ok(()),
        version => Err(PackError::Version {
            pack: id,
            version: version.unwrap_or(0),
        }),
    }
}

/// Decompresses into exactly so many bytes, and takes no more memory than that.
fn decompress(stored: &[u8], raw_bytes: u64) -> Option<Vec<u8>> {
    let raw_bytes = usize::try_from(raw_bytes).ok()?;
    let bytes = zstd::bulk::decompress(stored, raw_bytes).ok()?;
    (bytes.len() == raw_bytes).then_some(bytes)
}

/// Understands a directory; the frames must fill the pack up to `end`, where it begins itself.
fn directory(bytes: &[u8], end: u64) -> Option<Directory> {
    let mut taker = Taker::new(bytes);
    let count = taker.number().filter(|count| *count <= MAX_FRAMES)?;
    let mut frames = Vec::new();
    let (mut at, mut unit) = (HEADER_BYTES, 0_u32);
    for _ in 0..count {
        let [stored, unit_bytes, units] = [taker.number()?, taker.number()?, taker.number()?];
        let sound = UNIT_BYTES.contains(&unit_bytes)
            && unit_bytes.is_power_of_two()
            && units > 0
            && units.checked_mul(unit_bytes)? <= MAX_FRAME_BYTES
            && stored <= MAX_STORED_FRAME_BYTES;
        let next_at = at.checked_add(stored).filter(|next| *next <= end)?;
        let next_unit = unit.checked_add(u32::try_from(units).ok()?)?;
        if !sound || next_unit > MAX_UNITS {
            return None;
        }
        frames.push(Frame {
            stored: at..next_at,
            unit_bytes,
            units: unit..next_unit,
        });
        (at, unit) = (next_at, next_unit);
    }
    let mut units = Vec::new();
    for _ in 0..unit {
        units.push(UnitDigest(taker.array()?));
    }
    (at == end && taker.is_empty()).then_some(Directory { frames, units })
}
