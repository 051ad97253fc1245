//! Attributes of a record: all that a file is.
//!
//! ```text
//!  0 type   4 length   8 elsewhere   9 length of name, 10 name   12 1 compressed, 4000 encrypted
//!  here       16 length   20 value
//!  elsewhere  16 first cluster of the file   32 runs   34 clusters of a unit, as a power of two
//!             48 size                        56 size of what was written
//! ```

use crate::bytes::{Fields, saturate};

pub(super) const TIMES: u32 = 0x10;
pub(super) const LIST: u32 = 0x20;
pub(super) const NAME: u32 = 0x30;
pub(super) const VOLUME_INFORMATION: u32 = 0x70;
pub(super) const DATA: u32 = 0x80;
pub(super) const INDEX_ROOT: u32 = 0x90;
pub(super) const INDEX: u32 = 0xa0;
pub(super) const INDEX_BITMAP: u32 = 0xb0;
pub(super) const REPARSE: u32 = 0xc0;
const END: u32 = 0xffff_ffff;

pub(super) const COMPRESSED: u16 = 0x0001;
pub(super) const ENCRYPTED: u16 = 0x4000;

/// An attribute, or a part of one that stands in several records.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) kind: u32,
    /// In UTF-16.
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Here(Vec<u8>),
    Runs(Runs),
}

#[derive(Clone, Debug)]
pub(super) struct Runs {
    /// The first cluster of the file that they tell of.
    pub(super) first: u64,
    pub(super) stored: Vec<u8>,
    /// How many clusters are compressed together, as a power of two; 0 for none.
    pub(super) unit_bits: u8,
    pub(super) size_bytes: u64,
    pub(super) written_bytes: u64,
}

impl Attribute {
    /// Whether it is of a type and has a name, in UTF-16.
    pub(super) fn is(&self, kind: u32, name: &[u8]) -> bool {
        self.kind == kind && self.name == name
    }

    /// Its value, if that stands in the record.
    pub(super) fn here(&self) -> &[u8] {
        match &self.value {
            Value::Here(bytes) => bytes,
            Value::Runs(_) => &[],
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        match &self.value {
            Value::Here(bytes) => bytes.len() as u64,
            Value::Runs(runs) => runs.size_bytes,
        }
    }

    /// Where in the file it begins, in clusters.
    pub(super) fn first(&self) -> u64 {
        match &self.value {
            Value::Here(_) => 0,
            Value::Runs(runs) => runs.first,
        }
    }
}

/// All attributes from `at` on; none if one is cut short.
pub(super) fn parse(bytes: &[u8], mut at: usize) -> Option<Vec<Attribute>> {
    let mut found = Vec::new();
    loop {
        let rest = bytes.get(at..)?;
        let fields = Fields(rest);
        let kind = fields.le32(0).ok()?;
        if kind == END {
            return Some(found);
        }
        let length = saturate(fields.le32(4).ok()?.into());
        // Each turn goes on by as much as the shortest has.
        if length < 16 {
            return None;
        }
        found.push(one(kind, Fields(rest.get(..length)?))?);
        at = at.checked_add(length)?;
    }
}

fn one(kind: u32, fields: Fields<'_>) -> Option<Attribute> {
    let name_bytes = usize::from(fields.byte(9).ok()?).saturating_mul(2);
    let name_at = usize::from(fields.le16(10).ok()?);
    let name = match name_bytes {
        0 => &[][..],
        bytes => fields.part(name_at, bytes).ok()?,
    };
    let value = match fields.byte(8).ok()? {
        0 => {
            let length = saturate(fields.le32(16).ok()?.into());
            let at = usize::from(fields.le16(20).ok()?);
            Value::Here(fields.part(at, length).ok()?.to_vec())
        }
        _ => {
            let first = fields.le64(16).ok()?;
            let stored = usize::from(fields.le16(32).ok()?);
            // Only the first part tells sizes.
            let size = |at: usize| match first {
                0 => fields.le64(at).ok(),
                _ => Some(0),
            };
            Value::Runs(Runs {
                first,
                stored: fields.0.get(stored..)?.to_vec(),
                unit_bits: fields.byte(34).ok()?,
                size_bytes: size(48)?,
                written_bytes: size(56)?,
            })
        }
    };
    Some(Attribute {
        kind,
        name: name.to_vec(),
        flags: fields.le16(12).ok()?,
        value,
    })
}
