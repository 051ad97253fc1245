//! Putting a pack together.

use super::{
    HEADER_BYTES, MAGIC, MAX_FRAME_BYTES, MAX_PACK_BYTES, MAX_UNITS, PackId, UnitDigest, VERSION,
};
use crate::codec::put_number;
use std::fmt;
use std::io::{self, Cursor};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, Strategy};

/// Above this, a frame is worth a window of its own size.
const SMALL_FRAME_BYTES: u64 = 256 << 10;

/// zstd's level: below it, less is saved than writing costs; above, CPU time grows faster than
/// what is saved.
const LEVEL: i32 = 3;

/// What compresses frames of a size. Large frames are searched through one table, which a processor's
/// second cache holds, for matches of 6 bytes over a window of the whole frame. On 1.2 GB of a disk of
/// Debian's packages that takes 4/5 of the time of two tables that the first cache holds (matches of 5
/// bytes, 4 MiB), for 0.8 % more bytes; frames of half the size come to 0.9 % more, a table of half the
/// size to 1.6 % more for 0.93 of the time, one of twice the size to 1.1 % less for 1.1 times the time.
fn compressor(frame_bytes: u64) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL)?;
    if frame_bytes > SMALL_FRAME_BYTES {
        let window = frame_bytes.next_power_of_two().ilog2();
        for parameter in [
            CParameter::Strategy(Strategy::ZSTD_fast),
            CParameter::WindowLog(window),
            CParameter::HashLog(17),
            CParameter::MinMatch(6),
        ] {
            compressor.set_parameter(parameter)?;
        }
    }
    Ok(compressor)
}

/// A pack that is being written, in memory.
pub struct PackWriter {
    bytes: Vec<u8>,
    frames: Vec<FrameRecord>,
    digests: Vec<UnitDigest>,
    /// The frame that is open: its units' bytes so far.
    open: Vec<u8>,
    unit_bytes: u64,
    frame_bytes: u64,
    /// Made for the first frame.
    compressor: Option<Compressor<'static>>,
}

impl fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackWriter")
            .field("bytes", &self.bytes.len())
            .field("frames", &self.frames.len())
            .field("units", &self.digests.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct FrameRecord {
    stored_bytes: u64,
    unit_bytes: u64,
    units: u64,
}

/// A whole pack.
#[derive(Debug)]
pub struct FinishedPack {
    /// Its id.
    pub id: PackId,
    /// What its blob is to hold.
    pub bytes: Vec<u8>,
    /// Its units, in their order.
    pub units: Vec<UnitDigest>,
}

impl PackWriter {
    /// An empty pack of units of a size, in frames of about a size.
    #[must_use]
    pub fn new(unit_bytes: u64, frame_bytes: u64) -> Self {
        Self {
            bytes: header(Vec::new()),
            frames: Vec::new(),
            digests: Vec::new(),
            open: Vec::new(),
            unit_bytes,
            frame_bytes: frame_bytes.min(MAX_FRAME_BYTES),
            compressor: None,
        }
    }

    /// Adds a unit and says its number in this pack.
    ///
    /// # Errors
    /// It cannot be compressed.
    pub fn add(&mut self, digest: UnitDigest, content: &[u8]) -> io::Result<u32> {
        debug_assert_eq!(content.len() as u64, self.unit_bytes, "units have one size");
        let number = u32::try_from(self.digests.len()).map_err(io::Error::other)?;
        self.digests.push(digest);
        self.open.extend_from_slice(content);
        let next = (self.open.len() as u64).saturating_add(self.unit_bytes);
        if next > self.frame_bytes {
            self.close_frame()?;
        }
        Ok(number)
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether it should be finished before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let open = self.open.len() as u64;
        (self.bytes.len() as u64).saturating_add(open) >= MAX_PACK_BYTES
            || self.digests.len() as u64 >= u64::from(MAX_UNITS)
    }

    fn close_frame(&mut self) -> io::Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(compressor(self.frame_bytes)?),
        };
        let before = self.bytes.len();
        self.bytes
            .reserve(zstd::zstd_safe::compress_bound(self.open.len()));
        let mut behind = Cursor::new(&mut self.bytes);
        behind.set_position(before as u64);
        let stored = compressor.compress_to_buffer(&self.open, &mut behind)?;
        self.frames.push(FrameRecord {
            stored_bytes: stored as u64,
            unit_bytes: self.unit_bytes,
            units: (self.open.len() as u64)
                .checked_div(self.unit_bytes)
                .unwrap_or(0),
        });
        self.open.clear();
        Ok(())
    }

    /// Writes directory and footer, and begins another pack. What compresses is kept for that one, with
    /// the memory of the open frame.
    ///
    /// # Errors
    /// Something cannot be compressed.
    pub fn finish(&mut self) -> io::Result<FinishedPack> {
        self.close_frame()?;
        debug_assert!(
            self.bytes.len() as u64 >= HEADER_BYTES,
            "the header is there"
        );
        let mut bytes = std::mem::replace(&mut self.bytes, header(Vec::new()));
        let units = std::mem::take(&mut self.digests);
        let frames = std::mem::take(&mut self.frames);
        let mut directory = Vec::new();
        put_number(&mut directory, frames.len() as u64);
        for frame in &frames {
            for number in [frame.stored_bytes, frame.unit_bytes, frame.units] {
                put_number(&mut directory, number);
            }
        }
        directory.extend(units.iter().flat_map(|digest| digest.0));
        let stored = zstd::bulk::compress(&directory, LEVEL)?;
        bytes.extend(&stored);
        for length in [stored.len(), directory.len()] {
            let length = u32::try_from(length).map_err(io::Error::other)?;
            bytes.extend(length.to_le_bytes());
        }
        let id = PackId(*blake3::hash(&bytes).as_bytes());
        bytes.extend(id.0);
        Ok(FinishedPack { id, bytes, units })
    }

    /// Takes the memory of a pack that was put for the one that is open, of which nothing is written
    /// yet: fresh memory costs the kernel a fault for each of its pages.
    pub fn reuse(&mut self, put: FinishedPack) {
        if self.frames.is_empty() {
            self.bytes = header(put.bytes);
        }
    }
}

/// The start of a pack, in memory that held something else.
fn header(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes
}
