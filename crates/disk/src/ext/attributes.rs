//! Extended attributes: in the inode, in a block of their own, or each in an inode of its own.
//!
//! ```text
//!  inode   after the known fields: ea020000, then entries; values counted from the first entry
//!  block   0 ea020000, 4 users, 8 blocks; entries from 32 on; values counted from the block's start
//!  entry   0 length of the name   2 where the value lies   8 its length    16 name, padded to 4
//!          1 prefix of the name   4 the value's inode     12 a hash        all zeros: the last
//! ```

use crate::bytes::{Fields, Short, saturate};
use crate::ext::Ext;
use crate::ext::error::{ExtError, limited};
use crate::ext::inode::Inode;
use crate::ext::sums::note;

const MAGIC: u32 = 0xea02_0000;
const BLOCK_HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;

/// How long a value may be: the kernel's limit for one attribute.
const MAX_VALUE_BYTES: u64 = 64 << 10;

/// How long all values of an inode may be together: values in a hostile block can overlap.
const MAX_VALUES_BYTES: u64 = 4 << 20;

/// The beginnings of names, by their numbers.
const PREFIXES: &[(u8, &str)] = &[
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (7, "system."),
    (8, "system.richacl"),
    (9, "encryption."),
    (10, "gnu."),
];

/// Under this number and name the inode keeps the rest of its inline data.
const INLINE_PREFIX: u8 = 7;
const INLINE_NAME: &[u8] = b"data";

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, with the prefix that its number stands for.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// An entry as it is stored.
struct Stored<'a> {
    prefix: u8,
    name: &'a [u8],
    value_inode: u32,
    value: &'a [u8],
    value_bytes: u64,
}

/// All attributes of an inode, but not the inline data that is kept as one.
pub(super) fn read(ext: &Ext, inode: &Inode) -> Result<Vec<Attribute>, ExtError> {
    let mut found = Vec::new();
    let mut bytes = 0u64;
    let mut take = |stored: Stored<'_>| {
        if (stored.prefix, stored.name) == (INLINE_PREFIX, INLINE_NAME) {
            return Ok(());
        }
        bytes = bytes.saturating_add(stored.value_bytes);
        limited("values of attributes in bytes", bytes, MAX_VALUES_BYTES)?;
        let value = match stored.value_inode {
            0 => stored.value.to_vec(),
            number => value_of(ext, inode.number, number, stored.value_bytes)?,
        };
        found.push(Attribute {
            name: [prefix(stored.prefix).as_bytes(), stored.name].concat(),
            value,
        });
        Ok(())
    };
    in_inode(inode, &mut take)?;
    if inode.attributes_block != 0 {
        in_block(ext, inode, &mut take)?;
    }
    Ok(found)
}

/// The rest of an inode's inline data.
pub(super) fn inline_rest(inode: &Inode) -> Result<Vec<u8>, ExtError> {
    let mut rest = Vec::new();
    in_inode(inode, &mut |stored| {
        if (stored.prefix, stored.name) == (INLINE_PREFIX, INLINE_NAME) {
            rest = stored.value.to_vec();
        }
        Ok(())
    })?;
    Ok(rest)
}

type Take<'a> = dyn FnMut(Stored<'_>) -> Result<(), ExtError> + 'a;

fn in_inode(inode: &Inode, take: &mut Take<'_>) -> Result<(), ExtError> {
    match Fields(&inode.rest).le32(0) {
        Ok(MAGIC) => {
            let entries = inode.rest.get(4..).unwrap_or_default();
            entries_in(entries, 0, take)
        }
        _ => Ok(()),
    }
}

fn in_block(ext: &Ext, inode: &Inode, take: &mut Take<'_>) -> Result<(), ExtError> {
    let what = "a block of attributes";
    let block = inode.attributes_block;
    let bytes = ext.block(block, what)?;
    if Fields(&bytes).le32(0) != Ok(MAGIC) {
        let rule = "it does not start with ea020000";
        return Err(ExtError::Block { what, block, rule });
    }
    if !ext.sums.attributes_hold(block, &bytes) {
        note(&mut ext.wrong().attributes, block);
    }
    entries_in(&bytes, BLOCK_HEADER_BYTES, take)
}

/// Goes through the entries from `at` on; values are counted from the start of `bytes`.
fn entries_in(bytes: &[u8], mut at: usize, take: &mut Take<'_>) -> Result<(), ExtError> {
    // Each turn goes on by sixteen bytes at least.
    while Fields(bytes).le32(at).is_ok_and(|start| start != 0) {
        let (stored, length) =
            entry(bytes, at).map_err(ExtError::short("an entry of attributes"))?;
        limited(
            "an attribute's value in bytes",
            stored.value_bytes,
            MAX_VALUE_BYTES,
        )?;
        take(stored)?;
        at = at.saturating_add(length);
    }
    Ok(())
}

/// The entry at `at`, and its length.
fn entry(bytes: &[u8], at: usize) -> Result<(Stored<'_>, usize), Short> {
    let fields = Fields(bytes.get(at..).unwrap_or_default());
    let name_bytes = usize::from(fields.byte(0)?);
    let value_inode = fields.le32(4)?;
    let value_bytes = fields.le32(8)?;
    let value_at = usize::from(fields.le16(2)?);
    let value = match value_inode {
        0 => Fields(bytes).part(value_at, saturate(value_bytes.into()))?,
        _ => &[],
    };
    let stored = Stored {
        prefix: fields.byte(1)?,
        name: fields.part(ENTRY_BYTES, name_bytes)?,
        value_inode,
        value,
        value_bytes: value_bytes.into(),
    };
    let padded = name_bytes.next_multiple_of(4);
    Ok((stored, ENTRY_BYTES.saturating_add(padded)))
}

/// A value that fills an inode of its own.
fn value_of(ext: &Ext, owner: u32, number: u32, bytes: u64) -> Result<Vec<u8>, ExtError> {
    let wrong = |rule| ExtError::Inode { inode: owner, rule };
    let inode = ext.inode(number)?;
    if !inode.is_attribute_value() {
        return Err(wrong(
            "an attribute's value lies in an inode that holds none",
        ));
    }
    if inode.size_bytes != bytes {
        return Err(wrong(
            "an attribute's value has another size than its inode",
        ));
    }
    ext.open_file(&inode)?.read_all(MAX_VALUE_BYTES)
}

fn prefix(number: u8) -> String {
    let known = PREFIXES.iter().find(|(known, _)| *known == number);
    match known {
        Some((_, prefix)) => (*prefix).to_owned(),
        None if number == 0 => String::new(),
        None => format!("{number}."),
    }
}
