//! Which member of a type a byte belongs to, what members a type has, and the types of variables.
//!
//! A path names members as C does: `se.vruntime`, `comm[3]`. Members without a name are passed
//! through. Where several members share the byte, in a union or as fields of bits, nobody but the
//! program knows which of them it is, so the path ends with all of them: `d_u.{d_alias|d_rcu}`. A
//! byte that belongs to no member ends in `(padding)`.
//!
//! Descents are bounded in depth and in the members that they look at, since a guest's types may
//! contain themselves.

use super::{
    ARRAY, Btf, CONSTANT, ENUMERATION, MAX_DEPTH, MEMBER_BYTES, POINTER, RESTRICT, STRUCTURE,
    TYPE_TAG, TYPEDEF, Type, TypeId, UNION, VOLATILE,
};
use crate::memory::{printable, u32_at};

const INTEGER: u32 = 1;
const FORWARD: u32 = 7;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const FLOAT: u32 = 16;
const ENUMERATION_64: u32 = 19;

/// Members of one another that are gone through on the way to a byte: the kernel's own structures
/// need less than half of it.
const MAX_PLACE_DEPTH: usize = 24;

/// Members that share a byte and are named.
const MAX_ALTERNATIVES: usize = 6;

/// How many types are gone into for one byte: unions within unions multiply their alternatives.
const MAX_PLACE_STEPS: usize = 128;

/// The most fields that a type is taken apart into, and steps that this may take.
const MAX_FIELDS: usize = 8192;

/// Elements of an array of structures that are taken apart.
const MAX_ELEMENTS: u64 = 256;

/// Where in a type a byte lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path of the member, such as `se.vruntime`; empty for a type that has no members.
    pub path: String,
    /// The type of the member, as C would write it; nothing where members share the byte.
    pub type_name: Option<String>,
}

/// What kind of value a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A number, or several.
    Number,
    /// An address, or several.
    Pointer,
    /// A union, or something else that has no one kind.
    Mixed,
}

/// A field of a type that is not taken apart any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its path.
    pub path: String,
    /// Bytes from the start of the type.
    pub offset: u64,
    /// Its size, in bytes; fields of bits have the bytes that they touch.
    pub bytes: u64,
    /// What it holds.
    pub kind: FieldKind,
}

/// A variable whose type is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_id: TypeId,
    /// Bytes from the start of its section.
    pub offset: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// The way to a byte, as far as it was found.
struct Way {
    path: String,
    /// How many types may still be gone into.
    steps: usize,
}

/// A member as the blob has it.
#[derive(Clone, Copy)]
struct RawMember {
    name: u32,
    type_id: u32,
    bits: u64,
    /// The width of a field of bits; 0 for any other member.
    width: u64,
}

impl Btf {
    /// The structure or union of this name.
    #[must_use]
    pub fn structure_named(&self, name: &str) -> Option<TypeId> {
        self.structures.get(name.as_bytes()).copied()
    }

    /// The size of a type, in bytes; nothing where it has none.
    #[must_use]
    pub fn size(&self, id: TypeId) -> Option<u64> {
        self.bytes_of(id.0, MAX_DEPTH)
    }

    /// The name of a type, as C writes it: `struct page *`, `char[16]`; a structure's name stands
    /// alone, without `struct`.
    #[must_use]
    pub fn type_name(&self, id: TypeId) -> String {
        self.spelt(id.0, MAX_DEPTH)
            .unwrap_or_else(|| "(unknown)".to_owned())
    }

    /// The name of a type: of a structure that has one, by whatever other names it is known.
    #[must_use]
    pub fn structure_name(&self, id: TypeId) -> String {
        let structure = self.peeled(id.0).filter(|(_, one)| {
            matches!(one.kind, STRUCTURE | UNION)
                && self.text(one.name).is_some_and(|name| !name.is_empty())
        });
        self.type_name(structure.map_or(id, |(structure, _)| TypeId(structure)))
    }

    /// Which member a byte of a type belongs to; nothing for a byte behind its end.
    #[must_use]
    pub fn place(&self, id: TypeId, offset: u64) -> Option<Place> {
        let mut way = Way {
            path: String::new(),
            steps: MAX_PLACE_STEPS,
        };
        let leaf = self.descend(id.0, offset, MAX_PLACE_DEPTH, &mut way)?;
        Some(Place {
            path: way.path,
            type_name: leaf.and_then(|leaf| self.spelt(leaf, MAX_DEPTH)),
        })
    }

    /// Whether a structure ends with an array without a length, so that what follows is its too.
    #[must_use]
    pub fn has_open_end(&self, id: TypeId) -> bool {
        let structure = self.peeled(id.0).map(|(_, one)| one);
        let structure = structure.filter(|one| one.kind == STRUCTURE);
        structure
            .and_then(|one| self.members(one).last())
            .is_some_and(|last| self.is_open(last))
    }

    /// The structures that members point to, with the offset of the pointer. Pointers in unions
    /// are left out, since they may be something else.
    #[must_use]
    pub fn pointers(&self, id: TypeId) -> Vec<(u64, TypeId)> {
        let mut found = Vec::new();
        let mut steps = MAX_FIELDS;
        self.take_apart(id.0, (0, ""), MAX_DEPTH, &mut steps, &mut |(
            leaf,
            at,
            _,
        )| {
            let target = self.pointer_target(leaf);
            found.extend(target.map(|target| (at, target)));
        });
        found
    }

    /// The fields of a type, taken apart down to numbers, addresses and unions.
    #[must_use]
    pub fn fields(&self, id: TypeId) -> Vec<Field> {
        let mut found = Vec::new();
        let mut steps = MAX_FIELDS;
        self.take_apart(id.0, (0, ""), MAX_DEPTH, &mut steps, &mut |(
            leaf,
            at,
            path,
        )| {
            found.extend(self.field(leaf, at, path));
        });
        found
    }

    /// The variables of all sections that are described.
    #[must_use]
    pub fn variables(&self) -> Vec<Variable> {
        let sections = self.types().filter(|one| one.kind == SECTION);
        let places = sections.flat_map(|section| {
            (0..section.count).map(move |index| section.rest + index * MEMBER_BYTES)
        });
        let variable = |at: usize| {
            let variable = self.numbered(u32_at(&self.bytes, at)?)?;
            (variable.kind == VARIABLE).then_some(Variable {
                name: self.shown(variable.name)?,
                type_id: TypeId(variable.value),
                offset: u64::from(u32_at(&self.bytes, at + 4)?),
                bytes: u64::from(u32_at(&self.bytes, at + 8)?),
            })
        };
        places.filter_map(variable).collect()
    }

    fn pointer_target(&self, id: u32) -> Option<TypeId> {
        let (_, one) = self.peeled(id)?;
        let (target, found) = (one.kind == POINTER).then(|| self.peeled(one.value))??;
        let is_described = matches!(found.kind, STRUCTURE | UNION) && found.value > 0;
        is_described.then_some(TypeId(target))
    }

    fn field(&self, id: u32, offset: u64, path: &str) -> Option<Field> {
        Some(Field {
            path: path.to_owned(),
            offset,
            bytes: self.bytes_of(id, MAX_DEPTH)?,
            kind: match self.element(id, MAX_DEPTH)?.kind {
                POINTER => FieldKind::Pointer,
                INTEGER | ENUMERATION | ENUMERATION_64 | FLOAT => FieldKind::Number,
                _ => FieldKind::Mixed,
            },
        })
    }

    fn members(&self, owner: Type) -> impl Iterator<Item = RawMember> {
        (0..owner.count).map_while(move |index| {
            let at = owner.rest + index * MEMBER_BYTES;
            let place = u32_at(&self.bytes, at + 8)?;
            let (bits, width) = match owner.bit_fields {
                true => (place & 0x00ff_ffff, place >> 24),
                false => (place, 0),
            };
            Some(RawMember {
                name: u32_at(&self.bytes, at)?,
                type_id: u32_at(&self.bytes, at + 4)?,
                bits: u64::from(bits),
                width: u64::from(width),
            })
        })
    }

    /// The first and the last byte but one of a member.
    fn extent(&self, member: RawMember) -> Option<std::ops::Range<u64>> {
        let start = member.bits / 8;
        let end = match member.width {
            0 => start.checked_add(self.bytes_of(member.type_id, MAX_DEPTH)?)?,
            width => (member.bits + width).div_ceil(8),
        };
        Some(start..end)
    }

    /// Adds the way to a byte to a path. Gives the type that it ends at, or nothing in it where
    /// members share the byte.
    fn descend(&self, id: u32, offset: u64, depth: usize, way: &mut Way) -> Option<Option<u32>> {
        let depth = depth.checked_sub(1)?;
        way.steps = way.steps.checked_sub(1)?;
        let (id, one) = self.peeled(id)?;
        match one.kind {
            STRUCTURE | UNION => self.descend_members(one, offset, depth, way),
            ARRAY => {
                let element = u32_at(&self.bytes, one.rest)?;
                let bytes = self.bytes_of(element, MAX_DEPTH)?;
                let index = offset.checked_div(bytes)?;
                way.path.push_str(&format!("[{index}]"));
                self.descend(element, offset % bytes, depth, way)
            }
            _ => (offset < self.bytes_of(id, MAX_DEPTH)?).then_some(Some(id)),
        }
    }

    fn descend_members(
        &self,
        owner: Type,
        offset: u64,
        depth: usize,
        way: &mut Way,
    ) -> Option<Option<u32>> {
        let sharing = self.sharing(owner, offset);
        let Some(first) = sharing.first().copied() else {
            let is_inside = offset < u64::from(owner.value);
            join(&mut way.path, "(padding)");
            return is_inside.then_some(None);
        };
        if sharing.len() > 1 {
            let names = sharing
                .iter()
                .take(MAX_ALTERNATIVES)
                .filter_map(|member| self.alternative(*member, offset, depth, way));
            let mut names: Vec<String> = names.collect();
            names.dedup();
            if sharing.len() > MAX_ALTERNATIVES {
                names.push("…".to_owned());
            }
            join(&mut way.path, &format!("{{{}}}", names.join("|")));
            return Some(None);
        }
        let name = self.shown(first.name)?;
        join(&mut way.path, &name);
        if first.width > 0 {
            return Some(Some(first.type_id));
        }
        self.descend(first.type_id, offset - first.bits / 8, depth, way)
    }

    /// The members that a byte belongs to; an array without a length at the end has all that
    /// follows.
    fn sharing(&self, owner: Type, offset: u64) -> Vec<RawMember> {
        let covers = |member: &RawMember| {
            let extent = self.extent(*member);
            extent.is_some_and(|extent| extent.contains(&offset))
        };
        let sharing: Vec<RawMember> = self.members(owner).filter(covers).collect();
        if !sharing.is_empty() {
            return sharing;
        }
        let last = self.members(owner).last();
        let open = last.filter(|last| {
            owner.kind == STRUCTURE && last.bits / 8 <= offset && self.is_open(*last)
        });
        open.into_iter().collect()
    }

    /// Whether a member is an array without a length.
    fn is_open(&self, member: RawMember) -> bool {
        let found = self.peeled(member.type_id);
        found.is_some_and(|(_, one)| one.kind == ARRAY)
            && self.bytes_of(member.type_id, MAX_DEPTH) == Some(0)
    }

    /// What stands for a member among others that share a byte: its name, or the way through it.
    fn alternative(
        &self,
        member: RawMember,
        offset: u64,
        depth: usize,
        way: &mut Way,
    ) -> Option<String> {
        let name = self.shown(member.name)?;
        if !name.is_empty() {
            return Some(name);
        }
        let inside = offset.checked_sub(member.bits / 8)?;
        let mut inner = Way {
            path: String::new(),
            steps: way.steps,
        };
        let found = self.descend(member.type_id, inside, depth, &mut inner);
        way.steps = inner.steps;
        found.map(|_| inner.path)
    }

    /// Goes through a type down to what has no members, with the offset and the path of each.
    fn take_apart(
        &self,
        id: u32,
        (offset, path): (u64, &str),
        depth: usize,
        steps: &mut usize,
        see: &mut dyn FnMut((u32, u64, &str)),
    ) {
        let (Some(left), Some((id, one))) = (steps.checked_sub(1), self.peeled(id)) else {
            return;
        };
        *steps = left;
        match (one.kind, depth.checked_sub(1)) {
            (STRUCTURE, Some(depth)) => {
                for member in self.members(one) {
                    let mut inner = path.to_owned();
                    join(&mut inner, &self.shown(member.name).unwrap_or_default());
                    let at = (offset.saturating_add(member.bits / 8), inner.as_str());
                    self.take_apart(member.type_id, at, depth, steps, see);
                }
            }
            (ARRAY, Some(depth)) if self.has_members(one) => {
                let element = u32_at(&self.bytes, one.rest).unwrap_or(0);
                let count = u32_at(&self.bytes, one.rest + 8).map_or(0, u64::from);
                let bytes = self.bytes_of(element, MAX_DEPTH).unwrap_or(0);
                for index in 0..count.min(MAX_ELEMENTS) {
                    let inner = format!("{path}[{index}]");
                    let at = offset.saturating_add(index.saturating_mul(bytes));
                    self.take_apart(element, (at, &inner), depth, steps, see);
                }
            }
            _ => see((id, offset, path)),
        }
    }

    /// Whether the elements of an array are structures.
    fn has_members(&self, array: Type) -> bool {
        let element = u32_at(&self.bytes, array.rest).and_then(|id| self.peeled(id));
        element.is_some_and(|(_, one)| matches!(one.kind, STRUCTURE | ARRAY))
    }

    /// What an array is made of, at last.
    fn element(&self, id: u32, depth: usize) -> Option<Type> {
        let (_, one) = self.peeled(id)?;
        match (one.kind, depth.checked_sub(1)) {
            (ARRAY, Some(depth)) => self.element(u32_at(&self.bytes, one.rest)?, depth),
            (ARRAY, None) => None,
            _ => Some(one),
        }
    }

    fn bytes_of(&self, id: u32, depth: usize) -> Option<u64> {
        let (_, one) = self.peeled(id)?;
        match one.kind {
            POINTER => Some(8),
            ARRAY => {
                let element = u32_at(&self.bytes, one.rest)?;
                let count = u64::from(u32_at(&self.bytes, one.rest + 8)?);
                self.bytes_of(element, depth.checked_sub(1)?)?
                    .checked_mul(count)
            }
            INTEGER | STRUCTURE | UNION | ENUMERATION | ENUMERATION_64 | FLOAT => {
                Some(u64::from(one.value))
            }
            _ => None,
        }
    }

    fn spelt(&self, id: u32, depth: usize) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        if id == 0 {
            return Some("void".to_owned());
        }
        let one = self.numbered(id)?;
        Some(match one.kind {
            POINTER => format!("{} *", self.spelt(one.value, depth)?),
            CONSTANT | VOLATILE | RESTRICT | TYPE_TAG => self.spelt(one.value, depth)?,
            ARRAY => {
                let element = self.spelt(u32_at(&self.bytes, one.rest)?, depth)?;
                format!("{element}[{}]", u32_at(&self.bytes, one.rest + 8)?)
            }
            STRUCTURE | UNION | FORWARD | ENUMERATION | ENUMERATION_64 | INTEGER | TYPEDEF
            | FLOAT => match self.shown(one.name)? {
                name if name.is_empty() => "(anonymous)".to_owned(),
                name => name,
            },
            _ => "(function)".to_owned(),
        })
    }

    /// A name in printable ASCII.
    fn shown(&self, text: u32) -> Option<String> {
        let text = self.text(text)?;
        Some(printable(text, text.len()))
    }
}

/// Adds a member's name; one without a name adds nothing.
fn join(path: &mut String, name: &str) {
    if !path.is_empty() && !name.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}
