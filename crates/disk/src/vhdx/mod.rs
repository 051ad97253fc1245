//! VHDX, Hyper-V's format: fixed and dynamic disks.
//!
//! ```text
//!       0 "vhdxfile"      64 128 KiB headers: 4 sum  8 which is newer  48 log in use  66 version
//!                                             68 length of the log  72 where it lies
//!     192 256 KiB regions: 4 sum  8 how many  16 each: id, place, length
//!  region of metadata: "metadata", 10 how many, 32 each: id, place in it, length
//!  region of blocks: of each block state and place; after as many as fit a bitmap's, one of those
//! ```
//!
//! A disk that stands on another is refused. The log of one that was not closed is replayed in memory,
//! see `log`.

mod log;

use crate::bytes::{Fields, Short, saturate};
use crate::read_at::{Content, ReadAt, ReadError, Source, Stretch, check_range, read_new};

type Id = [u8; 16];

const BLOCKS: Id = [
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
];
const METADATA: Id = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
const PARAMETERS: Id = [
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b,
];
const DISK_BYTES: Id = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
const SECTOR_BYTES: Id = [
    0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f,
];

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGIONS: [u64; 2] = [192 << 10, 256 << 10];
const HEADER_BYTES: usize = 4096;
const REGIONS_BYTES: usize = 64 << 10;

/// The format's own limits.
const MAX_DISK_BYTES: u64 = 64 << 40;
const MAX_REGIONS: u32 = 2047;
const MAX_ITEMS: u16 = 2047;

/// How long the list of blocks may be: of 64 TiB in blocks of 1 MiB.
const MAX_BLOCKS_BYTES: u64 = 1 << 30;

/// In an entry of a block: its state, and its place from bit 20 on.
const STATE: u64 = 7;
const PLACE: u64 = !0xf_ffff;
const WHOLE: u64 = 6;
const PART: u64 = 7;

/// Why a VHDX image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VhdxError {
    /// What it lies on cannot be read there.
    #[error("cannot read {what} of the vhdx image")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// A structure ends too early.
    #[error("a structure of the vhdx image is cut short")]
    Short(#[from] Short),
    /// It is none, or has what cannot be.
    #[error("not a vhdx image that can be read: {0}")]
    Not(&'static str),
}

/// A disk.
#[derive(Debug)]
pub struct Vhdx {
    source: Source,
    blocks: Vec<u8>,
    block_bytes: u64,
    /// After so many blocks comes an entry of a bitmap.
    ratio: u64,
    size_bytes: u64,
}

impl Vhdx {
    /// Opens an image.
    ///
    /// # Errors
    ///
    /// It is none, is damaged, or stands on another.
    pub fn open(source: Source) -> Result<Self, VhdxError> {
        let magic = read(&*source, 0, 8, "its first bytes")?;
        if magic != b"vhdxfile" {
            return Err(VhdxError::Not("it does not start with its magic"));
        }
        let source = match pending(&*source)? {
            Some(place) => log::replay(source, place)?,
            None => source,
        };
        let (blocks_at, blocks_bytes) = region(&*source, BLOCKS)?;
        let (metadata_at, _) = region(&*source, METADATA)?;
        let item = |id: Id, bytes: usize| metadata(&*source, metadata_at, id, bytes);
        let parameters = item(PARAMETERS, 8)?;
        let block_bytes = u64::from(Fields(&parameters).le32(0)?);
        if Fields(&parameters).le32(4)? & 2 != 0 {
            return Err(VhdxError::Not("it stands on another image"));
        }
        let size_bytes = Fields(&item(DISK_BYTES, 8)?).le64(0)?;
        let sector_bytes = u64::from(Fields(&item(SECTOR_BYTES, 4)?).le32(0)?);
        let is_sound = block_bytes.is_power_of_two()
            && (1 << 20..=256 << 20).contains(&block_bytes)
            && matches!(sector_bytes, 512 | 4096)
            && size_bytes <= MAX_DISK_BYTES;
        if !is_sound {
            return Err(VhdxError::Not("it has sizes that cannot be"));
        }
        let ratio = (sector_bytes << 23)
            .checked_div(block_bytes)
            .unwrap_or(1)
            .max(1);
        let count = size_bytes.div_ceil(block_bytes);
        let count = count.saturating_add(count.checked_div(ratio).unwrap_or(0));
        let needed = count.saturating_mul(8);
        if needed > u64::from(blocks_bytes) || needed > MAX_BLOCKS_BYTES {
            return Err(VhdxError::Not(
                "its list of blocks is too short or too long",
            ));
        }
        let blocks = read(&*source, blocks_at, saturate(needed), "the list of blocks")?;
        Ok(Self {
            source,
            blocks,
            block_bytes,
            ratio,
            size_bytes,
        })
    }

    /// Where a block lies; none if it is zeros.
    fn block(&self, number: u64) -> Option<u64> {
        let bitmaps = number.checked_div(self.ratio).unwrap_or(0);
        let index = number.saturating_add(bitmaps).saturating_mul(8);
        let entry = Fields(&self.blocks).le64(saturate(index)).unwrap_or(0);
        matches!(entry & STATE, WHOLE | PART).then_some(entry & PLACE)
    }
}

fn read(
    source: &dyn ReadAt,
    place: u64,
    bytes: usize,
    what: &'static str,
) -> Result<Vec<u8>, VhdxError> {
    read_new(source, place, bytes).map_err(|source| VhdxError::Read { what, source })
}

/// Whether a structure has the sum that it says, which is counted with zeros in its place.
fn has_sum(bytes: &[u8]) -> bool {
    let (Some(before), Some(after)) = (bytes.get(..4), bytes.get(8..)) else {
        return false;
    };
    let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    Fields(bytes).le32(4) == Ok(crc32c::crc32c_append(sum, after))
}

/// The log that is to be replayed, by the newer of the two headers that is whole.
fn pending(source: &dyn ReadAt) -> Result<Option<log::Place>, VhdxError> {
    let mut newest: Option<(u64, Vec<u8>)> = None;
    for place in HEADERS {
        let bytes = read(source, place, HEADER_BYTES, "a header")?;
        if !bytes.starts_with(b"head") || !has_sum(&bytes) {
            continue;
        }
        let order = Fields(&bytes).le64(8)?;
        if newest.as_ref().is_none_or(|(before, _)| *before < order) {
            newest = Some((order, bytes));
        }
    }
    let (_, header) = newest.ok_or(VhdxError::Not("neither of its headers is whole"))?;
    let fields = Fields(&header);
    if fields.le16(66)? != 1 {
        return Err(VhdxError::Not("it has an unknown version"));
    }
    let id = fields.array::<16>(48)?;
    if id != [0; 16] && fields.le16(64)? != 0 {
        return Err(VhdxError::Not("its log has an unknown version"));
    }
    let place = log::Place {
        id,
        start: fields.le64(72)?,
        bytes: fields.le32(68)?.into(),
    };
    Ok((id != [0; 16]).then_some(place))
}

/// A region, out of the first list that is whole.
fn region(source: &dyn ReadAt, id: Id) -> Result<(u64, u32), VhdxError> {
    for place in REGIONS {
        let bytes = read(source, place, REGIONS_BYTES, "the list of regions")?;
        if !bytes.starts_with(b"regi") || !has_sum(&bytes) {
            continue;
        }
        let fields = Fields(&bytes);
        for index in 0..fields.le32(8)?.min(MAX_REGIONS) {
            let at = saturate(u64::from(index).saturating_mul(32)).saturating_add(16);
            if fields.array::<16>(at)? == id {
                let length = fields.le32(at.saturating_add(24))?;
                return Ok((fields.le64(at.saturating_add(16))?, length));
            }
        }
    }
    Err(VhdxError::Not("a region is missing"))
}

/// The start of an item of the metadata.
fn metadata(source: &dyn ReadAt, region: u64, id: Id, bytes: usize) -> Result<Vec<u8>, VhdxError> {
    let what = "the metadata";
    let table = read(source, region, REGIONS_BYTES, what)?;
    let fields = Fields(&table);
    if fields.array(0)? != *b"metadata" {
        return Err(VhdxError::Not("its metadata do not start with their magic"));
    }
    for index in 0..fields.le16(10)?.min(MAX_ITEMS) {
        let at = usize::from(index).saturating_mul(32).saturating_add(32);
        if fields.array::<16>(at)? == id {
            let place = fields.le32(at.saturating_add(16))?;
            return read(source, region.saturating_add(place.into()), bytes, what);
        }
    }
    Err(VhdxError::Not("an item of its metadata is missing"))
}

impl ReadAt for Vhdx {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let number = at.checked_div(self.block_bytes).unwrap_or(0);
            let within = at & self.block_bytes.wrapping_sub(1);
            let left = self.block_bytes.saturating_sub(within);
            let (now, behind) = rest.split_at_mut(saturate(left).min(rest.len()));
            match self.block(number) {
                Some(place) => self
                    .source
                    .read_exact_at(place.saturating_add(within), now)?,
                None => now.fill(0),
            }
            at = at.saturating_add(now.len() as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes, offset, 1)?;
        let number = offset.checked_div(self.block_bytes).unwrap_or(0);
        let is_data = self.block(number).is_some();
        let all = self.size_bytes.div_ceil(self.block_bytes.max(1));
        let mut end = number.saturating_add(1);
        while end < all && self.block(end).is_some() == is_data {
            end = end.saturating_add(1);
        }
        let bytes = end.saturating_mul(self.block_bytes).min(self.size_bytes);
        Ok(Stretch {
            bytes: bytes.saturating_sub(offset),
            content: match is_data {
                true => Content::Data,
                false => Content::Zero,
            },
        })
    }
}
