//! Extended attributes: in the inode, or in leaves that a tree leads to.
//!
//! ```text
//!  here    0 length of all   2 attributes    each: length of name, of value, flags, name, value
//!  leaf    0 the next leaf   8 fbee or 3bee  12 or 56 attributes   32 or 80 entries of 8 bytes:
//!          4 where in the leaf  6 flags; there: length of value, of name, name, value; or a value
//!          elsewhere: 0 its first block, 4 its length, 8 length of name, name
//!  node    8 febe or 3ebe   12 or 56 entries   16 or 64 entries of 8 bytes: 4 the block below
//! ```

use crate::bytes::{Fields, Short, saturate};
use crate::ext::{Attribute, Extent};
use crate::system::SystemError;
use crate::xfs::inode::{Fork, Inode};
use crate::xfs::{XFS, Xfs, map};

/// How long a value may be, and all of one inode together.
const MAX_VALUE_BYTES: u64 = 64 << 10;
const MAX_VALUES_BYTES: u64 = 4 << 20;

/// How many leaves and nodes are read of one inode.
const MAX_BLOCKS: u32 = 10_000;

const IS_HERE: u8 = 0x01;
const IS_TRUSTED: u8 = 0x02;
const IS_SECURITY: u8 = 0x04;
/// The name of the directory above, which newer kernels keep; not for users.
const IS_PARENT: u8 = 0x08;
/// A value that was being written.
const IS_INCOMPLETE: u8 = 0x80;

struct Found {
    attributes: Vec<Attribute>,
    bytes: u64,
}

impl Found {
    fn add(&mut self, flags: u8, name: &[u8], value: Vec<u8>) -> Result<(), SystemError> {
        if flags & (IS_PARENT | IS_INCOMPLETE) != 0 {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(value.len() as u64);
        XFS.limited(
            "values of attributes in bytes",
            self.bytes,
            MAX_VALUES_BYTES,
        )?;
        let prefix: &[u8] = match flags {
            flags if flags & IS_TRUSTED != 0 => b"trusted.",
            flags if flags & IS_SECURITY != 0 => b"security.",
            _ => b"user.",
        };
        self.attributes.push(Attribute {
            name: [prefix, name].concat(),
            value,
        });
        Ok(())
    }
}

impl Xfs {
    pub(super) fn attributes(
        &self,
        inode: &Inode,
        fork: &Fork,
        extents: &[Extent],
    ) -> Result<Vec<Attribute>, SystemError> {
        let mut found = Found {
            attributes: Vec::new(),
            bytes: 0,
        };
        if let Fork::Here(bytes) = fork {
            let each = here(Fields(bytes)).map_err(XFS.short("attributes"))?;
            for (flags, name, value) in each {
                found.add(flags, name, value.to_vec())?;
            }
            return Ok(found.attributes);
        }
        if extents.is_empty() {
            return Ok(found.attributes);
        }
        let mut next = 0;
        for _ in 0..MAX_BLOCKS {
            let bytes = self.attribute_block(extents, next)?;
            let fields = Fields(&bytes);
            let short = XFS.short("a block of attributes");
            next = match fields.be16(8).map_err(&short)? {
                0xfbee => {
                    self.leaf_of_attributes(fields, (12, 32), extents, &mut found)?;
                    fields.be32(0).map_err(&short)?.into()
                }
                0x3bee => {
                    self.leaf_of_attributes(fields, (56, 80), extents, &mut found)?;
                    fields.be32(0).map_err(&short)?.into()
                }
                0xfebe => fields.be32(20).map_err(&short)?.into(),
                0x3ebe => fields.be32(68).map_err(&short)?.into(),
                _ => return Err(XFS.object(inode.number, "its attributes lead elsewhere")),
            };
            if next == 0 {
                return Ok(found.attributes);
            }
        }
        Err(XFS.object(inode.number, "its attributes do not end"))
    }

    fn attribute_block(
        &self,
        extents: &[Extent],
        logical: u64,
    ) -> Result<std::sync::Arc<[u8]>, SystemError> {
        let what = "a block of attributes";
        let place = map::find(extents, logical);
        let place = place.ok_or_else(|| XFS.place(what, logical, "it lies in a hole"))?;
        self.block(place, what)
    }

    fn leaf_of_attributes(
        &self,
        fields: Fields<'_>,
        (count, entries): (usize, usize),
        extents: &[Extent],
        found: &mut Found,
    ) -> Result<(), SystemError> {
        let short = XFS.short("a block of attributes");
        let count = fields.be16(count).map_err(&short)?;
        for index in 0..usize::from(count) {
            let at = entries.saturating_add(index.saturating_mul(8));
            let entry = entry(fields, at).map_err(&short)?;
            let (flags, name, value) = (entry.flags, entry.name, entry.value);
            let value = match value {
                Value::Here(bytes) => bytes.to_vec(),
                Value::At(block, length) => {
                    let length = XFS.limited(
                        "an attribute's value in bytes",
                        length.into(),
                        MAX_VALUE_BYTES,
                    )?;
                    match flags & (IS_INCOMPLETE | IS_PARENT) {
                        0 => self.value(extents, block.into(), saturate(length))?,
                        _ => Vec::new(),
                    }
                }
            };
            found.add(flags, name, value)?;
        }
        Ok(())
    }
}

enum Value<'a> {
    Here(&'a [u8]),
    At(u32, u32),
}

struct Entry<'a> {
    flags: u8,
    name: &'a [u8],
    value: Value<'a>,
}

fn entry(fields: Fields<'_>, at: usize) -> Result<Entry<'_>, Short> {
    let place = usize::from(fields.be16(at.saturating_add(4))?);
    let flags = fields.byte(at.saturating_add(6))?;
    let after = |bytes: usize| place.saturating_add(bytes);
    if flags & IS_HERE != 0 {
        let value_bytes = usize::from(fields.be16(place)?);
        let name_bytes = usize::from(fields.byte(after(2))?);
        let name = fields.part(after(3), name_bytes)?;
        let value = fields.part(after(3).saturating_add(name_bytes), value_bytes)?;
        let value = Value::Here(value);
        return Ok(Entry { flags, name, value });
    }
    let name_bytes = usize::from(fields.byte(after(8))?);
    Ok(Entry {
        flags,
        name: fields.part(after(9), name_bytes)?,
        value: Value::At(fields.be32(place)?, fields.be32(after(4))?),
    })
}

/// Flags, name and value of each attribute in an inode.
#[expect(clippy::type_complexity, reason = "flags, a name and a value")]
fn here(fields: Fields<'_>) -> Result<Vec<(u8, &[u8], &[u8])>, Short> {
    let mut found = Vec::new();
    let mut at = 4usize;
    for _ in 0..fields.byte(2)? {
        let name_bytes = usize::from(fields.byte(at)?);
        let value_bytes = usize::from(fields.byte(at.saturating_add(1))?);
        let flags = fields.byte(at.saturating_add(2))?;
        let name = fields.part(at.saturating_add(3), name_bytes)?;
        let value_at = at.saturating_add(3).saturating_add(name_bytes);
        found.push((flags, name, fields.part(value_at, value_bytes)?));
        at = value_at.saturating_add(value_bytes);
    }
    Ok(found)
}
