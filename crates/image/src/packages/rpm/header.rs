//! A header of rpm's: what is known of one package, as rpm keeps it in its database.
//!
//! ```text
//!  u32 entries │ u32 data bytes │ entries × (u32 tag, u32 type, u32 offset, u32 count) │ data
//! ```
//!
//! All numbers are big-endian. The magic with which headers begin in package files is not there. The
//! first entry stands for the part that was signed; what the installation added stands behind it, and
//! is found as the rest is. Signatures are not checked: whoever can write to the database can take
//! them out.

use crate::codec::Taker;

/// The most entries, as rpm has it.
const ENTRIES_MAX: u32 = 0xffff;

/// The most bytes of data that rpm takes.
const DATA_BYTES_MAX: u32 = 256 << 20;

const STRING: u32 = 6;
const STRINGS: u32 = 8;
const TRANSLATED: u32 = 9;

/// What is asked of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Name = 1000,
    Version = 1001,
    Release = 1002,
    Epoch = 1003,
    InstallTime = 1008,
    Architecture = 1022,
    FileStates = 1029,
    FileModes = 1030,
    FileDigests = 1035,
    FileTargets = 1036,
    FileFlags = 1037,
    DirectoryIndexes = 1116,
    FileNames = 1117,
    Directories = 1118,
    DigestAlgorithm = 5011,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u32,
    form: u32,
    offset: usize,
    count: usize,
}

/// A header.
#[derive(Debug)]
pub(super) struct Header<'h> {
    entries: Vec<Entry>,
    data: &'h [u8],
}

impl<'h> Header<'h> {
    /// The one that begins some bytes.
    pub(super) fn read(bytes: &'h [u8]) -> Option<Self> {
        let mut taker = Taker::new(bytes);
        let mut number = || taker.array().map(u32::from_be_bytes);
        let (count, data_bytes) = (number()?, number()?);
        if count > ENTRIES_MAX || data_bytes > DATA_BYTES_MAX {
            return None;
        }
        // Before anything is allocated, for as much as is there.
        let index_bytes = usize::try_from(count).ok()?.checked_mul(16)?;
        let index = taker.bytes(index_bytes)?;
        let data = taker.bytes(usize::try_from(data_bytes).ok()?)?;
        let entries = index.chunks_exact(16).map(|entry| {
            let mut taker = Taker::new(entry);
            let mut number = || taker.array().map(u32::from_be_bytes);
            Some(Entry {
                tag: number()?,
                form: number()?,
                offset: usize::try_from(number()?).ok()?,
                count: usize::try_from(number()?).ok()?,
            })
        });
        Some(Self {
            entries: entries.collect::<Option<_>>()?,
            data,
        })
    }

    /// A text, or the first of several.
    pub(super) fn text(&self, tag: Tag) -> Option<&'h [u8]> {
        self.texts(tag).next()
    }

    /// Texts; those that are not wholly there are left out.
    pub(super) fn texts(&self, tag: Tag) -> impl Iterator<Item = &'h [u8]> + use<'h> {
        let entry = self.entry(tag);
        let entry = entry.filter(|entry| matches!(entry.form, STRING | STRINGS | TRANSLATED));
        let (offset, count) = entry.map_or((0, 0), |entry| (entry.offset, entry.count));
        let mut left = self.data.get(offset..).unwrap_or_default();
        (0..count).map_while(move |_| {
            let end = left.iter().position(|byte| *byte == 0)?;
            let (text, rest) = left.split_at(end);
            left = rest.get(1..)?;
            Some(text)
        })
    }

    /// Numbers, of whatever width; none if they are not wholly there.
    pub(super) fn numbers(&self, tag: Tag) -> impl Iterator<Item = u32> + use<'h> {
        let found = self.entry(tag).and_then(|entry| {
            let width = match entry.form {
                1 | 2 | 7 => 1,
                3 => 2,
                4 => 4,
                _ => return None,
            };
            let bytes = entry.count.checked_mul(width)?;
            let end = entry.offset.checked_add(bytes)?;
            Some((self.data.get(entry.offset..end)?, width))
        });
        let (bytes, width) = found.unwrap_or((&[], 1));
        let number = |part: &[u8]| {
            let bytes = part.iter();
            bytes.fold(0_u32, |sum, byte| sum.wrapping_shl(8) | u32::from(*byte))
        };
        bytes.chunks_exact(width).map(number)
    }

    fn entry(&self, tag: Tag) -> Option<Entry> {
        let tag = tag as u32;
        self.entries.iter().find(|entry| entry.tag == tag).copied()
    }
}
