//! Records of the table, and what they share with blocks of names: sums of a kind, by which a half
//! written one is found.
//!
//! ```text
//!  0 "FILE"   4 where the last words of sectors stand, 6 how many   16 how often it was given away
//!  18 names   20 attributes   22 1 in use, 2 directory   24 bytes in use   32 whose it is
//! ```

use crate::bytes::{Fields, saturate};
use crate::ntfs::NTFS;
use crate::ntfs::attribute::{self, Attribute};
use crate::system::SystemError;

const SECTOR_BYTES: usize = 512;

const IN_USE: u16 = 1;
const DIRECTORY: u16 = 2;

/// The lower part of a reference is a number, the upper how often it was given away.
pub(super) const NUMBER: u64 = 0x0000_ffff_ffff_ffff;

/// A record as it was before the last words of its sectors were replaced.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    bytes: Vec<u8>,
}

impl Record {
    pub(super) fn new(number: u64, mut bytes: Vec<u8>) -> Result<Self, SystemError> {
        restore(&mut bytes, *b"FILE").map_err(|rule| NTFS.object(number, rule))?;
        Ok(Self { number, bytes })
    }

    fn flags(&self) -> u16 {
        Fields(&self.bytes).le16(22).unwrap_or(0)
    }

    /// Whether it is in use, and not a further record of another.
    pub(super) fn is_object(&self) -> bool {
        self.flags() & IN_USE != 0 && self.base() == 0
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.flags() & IN_USE != 0
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags() & DIRECTORY != 0
    }

    /// The record that it belongs to; 0 for itself.
    pub(super) fn base(&self) -> u64 {
        Fields(&self.bytes).le64(32).unwrap_or(0) & NUMBER
    }

    pub(super) fn generation(&self) -> u16 {
        Fields(&self.bytes).le16(16).unwrap_or(0)
    }

    pub(super) fn links(&self) -> u16 {
        Fields(&self.bytes).le16(18).unwrap_or(0)
    }

    /// The attributes that stand in it.
    pub(super) fn attributes(&self) -> Result<Vec<Attribute>, SystemError> {
        let fields = Fields(&self.bytes);
        let used = saturate(fields.le32(24).unwrap_or(0).into());
        let used = self.bytes.get(..used).unwrap_or(&self.bytes);
        let at = usize::from(fields.le16(20).unwrap_or(0));
        attribute::parse(used, at)
            .ok_or_else(|| NTFS.object(self.number, "its attributes are cut short"))
    }
}

/// Puts back the last words of sectors, in whose place a number stands that all must have.
pub(super) fn restore(bytes: &mut [u8], magic: [u8; 4]) -> Result<(), &'static str> {
    let fields = Fields(bytes);
    let cut = |_| "it is cut short";
    if fields.array(0).map_err(cut)? != magic {
        return Err("it does not start with its magic");
    }
    let at = usize::from(fields.le16(4).map_err(cut)?);
    let count = usize::from(fields.le16(6).map_err(cut)?);
    let words = fields.part(at, count.saturating_mul(2)).map_err(cut)?;
    let mut words: Vec<[u8; 2]> = words
        .chunks_exact(2)
        .filter_map(|word| word.try_into().ok())
        .collect();
    if words.is_empty() {
        return Err("it has no number for its sectors");
    }
    let number = words.remove(0);
    for (sector, word) in bytes.chunks_exact_mut(SECTOR_BYTES).zip(words) {
        let last = sector.last_chunk_mut::<2>().ok_or("it is cut short")?;
        if *last != number {
            return Err("it was written half");
        }
        *last = word;
    }
    Ok(())
}
