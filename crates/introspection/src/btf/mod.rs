//! The kernel's own description of its types: BTF (Documentation/bpf/btf.rst of Linux).
//!
//! ```text
//! header   magic 0xeB9F, version 1, flags, header's length,
//!          types: offset, length; strings: offset, length     (from the header's end)
//! types    name u32, information u32, size or type u32, then what the kind needs
//! strings  texts that end with 0; the first is empty
//! ```
//!
//! What is read: members of structures and unions, also through nameless ones, values of
//! enumerations, sizes, the types of variables, and which member a byte belongs to ([`place`]). The
//! blob comes from a guest: types are checked to lie whole in it when it is taken, and every descent
//! has a limit.

mod place;

pub use place::{Field, FieldKind, Place, Variable};

use crate::memory::u32_at;
use std::collections::HashMap;
use thiserror::Error;

const MAGIC: u16 = 0xeb9f;

/// The largest blob that is taken: a distribution's kernel has about 5 MiB.
pub const MAX_BTF_BYTES: usize = 32 << 20;

/// Nameless structures in one another, and types that only qualify another, that are followed.
const MAX_DEPTH: usize = 16;

/// How many members are looked at for a name: structures without a name within others multiply them.
/// The largest structures of a kernel have some hundreds.
const MAX_MEMBERS: usize = 1 << 16;

/// The longest name of a type or member that is read, in bytes.
const MAX_NAME_BYTES: usize = 256;

const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
const VALUE_BYTES: usize = 8;

const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCTURE: u32 = 4;
const UNION: u32 = 5;
const ENUMERATION: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONSTANT: u32 = 10;
const RESTRICT: u32 = 11;
const TYPE_TAG: u32 = 18;

/// Why a description of types was refused, or lacks what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BtfError {
    /// It does not begin as BTF does.
    #[error("read the kernel's types: this is no BTF of version 1")]
    NotBtf,
    /// It has more than [`MAX_BTF_BYTES`].
    #[error("read the kernel's types: {bytes} bytes are more than {MAX_BTF_BYTES}")]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
    },
    /// A type does not lie in it, or has an unknown kind.
    #[error("read the kernel's types: type {id} is broken")]
    Broken {
        /// Which type.
        id: u32,
    },
    /// A type or one of its members is not described.
    #[error("read the kernel's types: there is no `{name}`")]
    Missing {
        /// The type, or the type and the path of the member.
        name: String,
    },
}

/// A member of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the structure.
    pub offset: u64,
    type_id: u32,
}

/// The types of a kernel.
#[derive(Debug, Clone)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type begins; type 0 is `void` and has none.
    starts: Vec<u32>,
    /// Structures and unions that have a name; of those of one name the first.
    structures: HashMap<Box<[u8]>, TypeId>,
}

/// A type, by its place in the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u32);

/// The fixed part of a type.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    count: usize,
    bit_fields: bool,
    /// The size, or the type that this one is made of.
    value: u32,
    /// Where what the kind needs begins.
    rest: usize,
}

impl Btf {
    /// Takes a blob.
    ///
    /// # Errors
    /// It is no BTF, too large, or broken.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if bytes.len() > MAX_BTF_BYTES {
            return Err(BtfError::TooLarge { bytes: bytes.len() });
        }
        let word = |index: usize| u32_at(&bytes, index * 4).map(|word| word as usize);
        let header = || {
            let [magic, other, version, _flags] =
                word(0)?.to_le_bytes().first_chunk::<4>().copied()?;
            let is_btf = u16::from_le_bytes([magic, other]) == MAGIC && version == 1;
            let length = word(1)?;
            let types = length.checked_add(word(2)?)?;
            let types_end = types.checked_add(word(3)?)?;
            let strings = length.checked_add(word(4)?)?;
            let whole = length >= HEADER_BYTES && types_end <= bytes.len();
            (is_btf && whole && strings <= bytes.len()).then_some((types, types_end, strings))
        };
        let (types, types_end, strings) = header().ok_or(BtfError::NotBtf)?;
        let mut btf = Self {
            bytes,
            strings,
            starts: vec![0],
            structures: HashMap::new(),
        };
        let mut at = types;
        while at < types_end {
            let broken = BtfError::Broken {
                id: u32::try_from(btf.starts.len()).unwrap_or(u32::MAX),
            };
            let length = btf
                .type_at(at)
                .and_then(|one| Some(one.rest + extra(&one)? - at));
            let length = length.filter(|length| at + length <= types_end);
            btf.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            at += length.ok_or(broken)?;
        }
        btf.note_structures();
        Ok(btf)
    }

    fn note_structures(&mut self) {
        let mut structures = HashMap::new();
        for (id, start) in (0..).zip(&self.starts).skip(1) {
            if let Some(one) = self.type_at(*start as usize)
                && matches!(one.kind, STRUCTURE | UNION)
                && let Some(name) = self.text(one.name).filter(|name| !name.is_empty())
            {
                structures.entry(name.into()).or_insert(TypeId(id));
            }
        }
        self.structures = structures;
    }

    /// How many types there are, with `void`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no type but `void`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.len() < 2
    }

    /// The size of a structure, in bytes.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn size_of(&self, structure: &str) -> Result<u64, BtfError> {
        let found = self.structure(structure)?;
        Ok(u64::from(found.value))
    }

    /// A member of a structure by its path, such as `f_path.dentry`.
    ///
    /// # Errors
    /// There is no such structure or member.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        let missing = || BtfError::Missing {
            name: format!("{structure}.{path}"),
        };
        let mut within = Some(self.structure(structure)?);
        let mut found = None;
        let mut offset = 0;
        for name in path.split('.') {
            let owner = within.ok_or_else(missing)?;
            let mut left = MAX_MEMBERS;
            let member = self.member_of(owner, name, MAX_DEPTH, &mut left);
            let member = member.ok_or_else(missing)?;
            offset += member.offset;
            found = Some(member.type_id);
            within = self.resolved(member.type_id);
        }
        let type_id = found.ok_or_else(missing)?;
        Ok(Member { offset, type_id })
    }

    /// The offset of a member by its path.
    ///
    /// # Errors
    /// There is no such structure or member.
    pub fn offset_of(&self, structure: &str, path: &str) -> Result<u64, BtfError> {
        self.member(structure, path).map(|member| member.offset)
    }

    /// The number of elements of a member that is an array.
    ///
    /// # Errors
    /// There is no such member, or it is no array.
    pub fn length_of(&self, structure: &str, path: &str) -> Result<u64, BtfError> {
        let member = self.member(structure, path)?;
        self.resolved(member.type_id)
            .filter(|one| one.kind == ARRAY)
            .and_then(|array| u32_at(&self.bytes, array.rest + 8))
            .map(u64::from)
            .ok_or_else(|| BtfError::Missing {
                name: format!("{structure}.{path}[]"),
            })
    }

    /// The value of a name in any enumeration of 32 bits.
    ///
    /// # Errors
    /// No enumeration has it.
    pub fn value_of(&self, name: &str) -> Result<u32, BtfError> {
        self.types()
            .filter(|one| one.kind == ENUMERATION)
            .flat_map(|one| (0..one.count).map(move |index| one.rest + index * VALUE_BYTES))
            .find(|at| u32_at(&self.bytes, *at).is_some_and(|text| self.is_named(text, name)))
            .and_then(|at| u32_at(&self.bytes, at + 4))
            .ok_or_else(|| BtfError::Missing {
                name: name.to_owned(),
            })
    }

    fn types(&self) -> impl Iterator<Item = Type> {
        let starts = self.starts.iter().skip(1);
        starts.filter_map(|start| self.type_at(*start as usize))
    }

    fn structure(&self, name: &str) -> Result<Type, BtfError> {
        let id = self.structures.get(name.as_bytes());
        id.and_then(|id| self.numbered(id.0))
            .ok_or_else(|| BtfError::Missing {
                name: format!("struct {name}"),
            })
    }

    fn numbered(&self, id: u32) -> Option<Type> {
        let start = self.starts.get(usize::try_from(id).ok()?)?;
        // Type 0 is `void`.
        self.type_at(usize::try_from(*start).ok().filter(|start| *start > 0)?)
    }

    fn member_of(&self, owner: Type, name: &str, depth: usize, left: &mut usize) -> Option<Member> {
        if depth == 0 || !matches!(owner.kind, STRUCTURE | UNION) {
            return None;
        }
        let places = (0..owner.count).map(|index| owner.rest + index * MEMBER_BYTES);
        for at in places {
            *left = left.checked_sub(1)?;
            let named = u32_at(&self.bytes, at)?;
            let type_id = u32_at(&self.bytes, at + 4)?;
            let bits = u32_at(&self.bytes, at + 8)?;
            let bits = if owner.bit_fields {
                bits & 0x00ff_ffff
            } else {
                bits
            };
            let offset = u64::from(bits / 8);
            if self.is_named(named, name) {
                return Some(Member { offset, type_id });
            }
            let inner = self.is_named(named, "").then(|| self.resolved(type_id));
            let inner = inner.flatten();
            let found = inner.and_then(|inner| self.member_of(inner, name, depth - 1, left));
            if let Some(found) = found {
                return Some(Member {
                    offset: offset + found.offset,
                    ..found
                });
            }
        }
        None
    }

    /// A type without names and qualifiers around it; nothing for a pointer.
    fn resolved(&self, type_id: u32) -> Option<Type> {
        let (_, found) = self.peeled(type_id)?;
        (found.kind != POINTER).then_some(found)
    }

    /// A type without names and qualifiers around it, and its number.
    fn peeled(&self, type_id: u32) -> Option<(u32, Type)> {
        let mut id = type_id;
        for _ in 0..MAX_DEPTH {
            let found = self.numbered(id)?;
            match found.kind {
                TYPEDEF | VOLATILE | CONSTANT | RESTRICT | TYPE_TAG => id = found.value,
                _ => return Some((id, found)),
            }
        }
        None
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let information = u32_at(&self.bytes, at + 4)?;
        Some(Type {
            name: u32_at(&self.bytes, at)?,
            kind: information >> 24 & 0x1f,
            count: usize::try_from(information & 0xffff).ok()?,
            bit_fields: information >> 31 == 1,
            value: u32_at(&self.bytes, at + 8)?,
            rest: at + TYPE_BYTES,
        })
    }

    fn is_named(&self, text: u32, name: &str) -> bool {
        self.strings_from(text).is_some_and(|rest| {
            rest.strip_prefix(name.as_bytes())
                .is_some_and(|after| after.first() == Some(&0))
        })
    }

    fn strings_from(&self, text: u32) -> Option<&[u8]> {
        let start = self.strings.checked_add(usize::try_from(text).ok()?)?;
        self.bytes.get(start..)
    }

    /// A text without the 0 at its end; nothing for one that is longer than a name.
    fn text(&self, text: u32) -> Option<&[u8]> {
        let rest = self.strings_from(text)?;
        let length = rest.iter().take(MAX_NAME_BYTES).position(|one| *one == 0)?;
        rest.get(..length)
    }
}

/// Bytes behind the fixed part of a type; nothing for an unknown kind.
fn extra(one: &Type) -> Option<usize> {
    Some(match one.kind {
        1 | 14 | 17 => 4,
        POINTER | 7..=RESTRICT | 12 | 16 | TYPE_TAG => 0,
        ARRAY => 12,
        STRUCTURE | UNION | 15 | 19 => one.count * 12,
        ENUMERATION | 13 => one.count * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
