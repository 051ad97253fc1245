//! Names of directories: an index, the root of which stands in the record, and the rest in blocks.
//!
//! ```text
//!  root    16 header: 0 first entry, counted from here, 4 end
//!  block   0 "INDX"   24 header
//!  entry   0 whose   8 length   10 length of the key   12 1 has a block below, 2 the last
//!          16 key: 0 the directory, 64 length of the name, 65 what kind of name, 66 name
//! ```
//!
//! All blocks that its bitmap says are in use are read, in their order; the order of names matters to
//! nobody here.

use crate::bytes::{Fields, Short, saturate};
use crate::ntfs::attribute::{Attribute, DATA, INDEX, INDEX_BITMAP, INDEX_ROOT, Value};
use crate::ntfs::record::{NUMBER, restore};
use crate::ntfs::{FIRST_OF_USERS, NTFS, Ntfs, STREAM_BITS};
use crate::system::{SystemError, TakeName, utf16};

/// `$I30`, the index by names.
const BY_NAME: &[u8] = b"$\0I\x003\x000\0";

/// How long the bitmap of a directory may be: of 32 million blocks.
const MAX_BITMAP_BYTES: u64 = 4 << 20;

/// A name that only DOS sees.
const OF_DOS: u8 = 2;
const LAST: u16 = 2;

impl Ntfs {
    pub(super) fn each_name(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        let record = self.record(directory)?;
        if !record.is_object() || !record.is_directory() {
            return Err(NTFS.object(directory, "it is no directory"));
        }
        let attributes = self.all_attributes(directory, &record)?;
        let of = |kind: u32| {
            let parts = attributes.iter().filter(move |it| it.is(kind, BY_NAME));
            parts.cloned().collect::<Vec<Attribute>>()
        };
        let mut names = Vec::new();
        let short = NTFS.short("an index of names");
        if let Some(root) = of(INDEX_ROOT).first() {
            NTFS.spend(budget, root.here().len() as u64)?;
            entries(root.here(), 16, &mut names).map_err(&short)?;
        }
        let index = of(INDEX);
        if let Some(first) = index.iter().find(|part| part.first() == 0) {
            let size = first.size_bytes();
            let bitmap = self.whole(directory, &of(INDEX_BITMAP))?;
            let extents = self.runs_of(directory, &index)?;
            let block_bytes = self.boot.index_bytes.max(1);
            let told = (bitmap.len() as u64).saturating_mul(8);
            let blocks = size.checked_div(block_bytes).unwrap_or(0).min(told);
            for number in 0..blocks {
                let byte = bitmap.get(saturate(number / 8)).copied().unwrap_or(0);
                let bit = u32::try_from(number % 8).unwrap_or(0);
                if byte.wrapping_shr(bit) & 1 == 0 {
                    continue;
                }
                NTFS.spend(budget, block_bytes)?;
                let mut block = vec![0; saturate(block_bytes)];
                self.read_in(&extents, number.saturating_mul(block_bytes), &mut block)?;
                let wrong = |rule| NTFS.place("a block of names", number, rule);
                restore(&mut block, *b"INDX").map_err(wrong)?;
                entries(&block, 24, &mut names).map_err(&short)?;
            }
        }
        for (name, number) in names {
            if number >= FIRST_OF_USERS {
                take(&name, number);
                self.streams(&name, number, take);
            }
        }
        Ok(())
    }

    /// Gives `take` the streams of a file as `name:stream`.
    fn streams(&self, name: &[u8], number: u64, take: &mut TakeName<'_>) {
        let record = self.record(number);
        let Ok(record) = record else {
            return;
        };
        let attributes = self.all_attributes(number, &record).unwrap_or_default();
        for (index, stream) in (1u64..).zip(stream_names(&attributes)) {
            let full = [name, b":", &utf16(&stream)].concat();
            let number = index.wrapping_shl(STREAM_BITS) | number;
            take(&full, number);
        }
    }

    /// All of a small attribute.
    pub(super) fn whole(&self, number: u64, parts: &[Attribute]) -> Result<Vec<u8>, SystemError> {
        let Some(first) = parts.iter().find(|part| part.first() == 0) else {
            return Ok(Vec::new());
        };
        if let Value::Here(bytes) = &first.value {
            return Ok(bytes.clone());
        }
        let what = "an attribute in bytes";
        let size = NTFS.limited(what, first.size_bytes(), MAX_BITMAP_BYTES)?;
        let extents = self.runs_of(number, parts)?;
        let mut bytes = vec![0; saturate(size)];
        self.read_in(&extents, 0, &mut bytes)?;
        Ok(bytes)
    }
}

/// The names of streams, in the order of their numbers.
pub(super) fn stream_names(attributes: &[Attribute]) -> Vec<Vec<u8>> {
    let named = attributes
        .iter()
        .filter(|it| it.kind == DATA && !it.name.is_empty());
    let mut names: Vec<Vec<u8>> = named.map(|it| it.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Adds the names of a node whose header is at `header`.
fn entries(bytes: &[u8], header: usize, names: &mut Vec<(Vec<u8>, u64)>) -> Result<(), Short> {
    let node = Fields(bytes.get(header..).unwrap_or_default());
    let end = saturate(node.le32(4)?.into());
    let mut at = saturate(node.le32(0)?.into());
    while at < end {
        let entry = Fields(node.0.get(at..).unwrap_or_default());
        let (length, flags) = (usize::from(entry.le16(8)?), entry.le16(12)?);
        if flags & LAST != 0 || length < 16 {
            return Ok(());
        }
        let key = Fields(entry.part(16, usize::from(entry.le16(10)?))?);
        let name_bytes = usize::from(key.byte(64)?).saturating_mul(2);
        if key.byte(65)? != OF_DOS {
            let name = utf16(key.part(66, name_bytes)?);
            names.push((name, entry.le64(0)? & NUMBER));
        }
        at = at.saturating_add(length);
    }
    Ok(())
}
