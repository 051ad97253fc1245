//! Directories: names and the inodes that they stand for.
//!
//! ```text
//!  entry   0 inode   4 its length   6 length of the name   7 type   8 name
//! ```
//!
//! Entries fill each block; one of inode 0 is not in use. The nodes of a hashed directory look like
//! unused entries that fill their block, so that a directory is read in the same way with and
//! without hashes. A small one can lie in its inode: 4 bytes with the parent's number, then entries,
//! which go on in an attribute.

use crate::bytes::{Fields, saturate};
use crate::ext::error::{ExtError, limited};

/// How many names a directory may have: they take some 128 MiB while they are gathered.
pub const MAX_NAMES: u64 = 2 << 20;

/// The fixed part of an entry.
const FIXED_BYTES: usize = 8;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The bytes of the name; in an encrypted directory they are as they are stored.
    pub bytes: Vec<u8>,
    /// The inode that it stands for.
    pub inode: u32,
}

/// Adds the names of a block, or of an inline part, to `names`.
pub(super) fn names(
    bytes: &[u8],
    have_types: bool,
    directory: u32,
    names: &mut Vec<Name>,
) -> Result<(), ExtError> {
    let wrong = |rule| ExtError::Inode {
        inode: directory,
        rule,
    };
    let cut = ExtError::short("an entry of a directory");
    let mut at = 0usize;
    // Each turn goes on by eight bytes at least.
    while at.saturating_add(FIXED_BYTES) <= bytes.len() {
        let fields = Fields(bytes.get(at..).unwrap_or_default());
        let inode = fields.le32(0).map_err(&cut)?;
        let length = entry_bytes(fields.le16(4).map_err(&cut)?, bytes.len());
        if length < FIXED_BYTES || !length.is_multiple_of(4) {
            return Err(wrong("an entry has a length that none can have"));
        }
        // Without types, the name's length has two bytes.
        let name_bytes = match have_types {
            true => fields.byte(6).map_err(&cut)?.into(),
            false => fields.le16(6).map_err(&cut)?,
        };
        let end = FIXED_BYTES.saturating_add(name_bytes.into());
        if end > length {
            return Err(wrong("an entry's name is longer than the entry"));
        }
        let name = fields.part(FIXED_BYTES, name_bytes.into()).map_err(&cut)?;
        if inode != 0 && !name.is_empty() {
            let count = names.len() as u64;
            limited("names in a directory", count.saturating_add(1), MAX_NAMES)?;
            names.push(Name {
                bytes: name.to_vec(),
                inode,
            });
        }
        at = at.saturating_add(length);
    }
    Ok(())
}

/// The length of an entry. Blocks of 64 KiB have entries that 16 bits do not tell.
fn entry_bytes(stored: u16, block_bytes: usize) -> usize {
    let stored = u32::from(stored);
    if block_bytes < 65_536 {
        return saturate(stored.into());
    }
    match stored {
        0 | 0xffff => 65_536,
        _ => saturate((stored & 0xfffc | (stored & 3) << 16).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 4096;

    /// A block with these entries, of which the last reaches to its end.
    fn block(entries: &[(u32, Vec<u8>, usize)], have_types: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (inode, name, unused) in entries {
            last = bytes.len();
            let length = (FIXED_BYTES + name.len() + unused).next_multiple_of(4);
            bytes.extend(inode.to_le_bytes());
            bytes.extend((length as u16).to_le_bytes());
            bytes.push(name.len() as u8);
            bytes.push(u8::from(have_types));
            bytes.extend(name);
            bytes.resize(last + length, 0xee);
        }
        let rest = (BLOCK - last) as u16;
        bytes[last + 4..last + 6].copy_from_slice(&rest.to_le_bytes());
        bytes.resize(BLOCK, 0xee);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_in_use_is_found(
            entries in proptest::collection::vec(
                (0..5u32, proptest::collection::vec(1..=255u8, 1..60), 0..9usize),
                1..40,
            ),
            have_types: bool,
        ) {
            let mut found = Vec::new();
            names(&block(&entries, have_types), have_types, 2, &mut found).unwrap();
            let used = entries.into_iter().filter(|(inode, ..)| *inode != 0);
            let expected: Vec<_> = used.map(|(inode, bytes, _)| Name { bytes, inode }).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _names_or_error = names(&bytes, true, 2, &mut Vec::new());
        }
    }

    #[test]
    fn an_entry_that_does_not_go_on_is_an_error() {
        for length in [0u16, 4, 9, 0xffff] {
            let mut bytes = block(&[(11, b"name".to_vec(), 0)], true);
            bytes[4..6].copy_from_slice(&length.to_le_bytes());
            let outcome = names(&bytes, true, 2, &mut Vec::new());
            assert!(outcome.is_err(), "{length}");
        }
    }
}
