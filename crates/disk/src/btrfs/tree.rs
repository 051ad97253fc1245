//! Trees: items in the order of their keys.
//!
//! ```text
//!  node  48 its address   96 entries   100 level   101 entries
//!  leaf  entry: key, 17 place of the item from 101 on, 21 its length
//!  else  entry: key, 17 address of the node below
//!  key   0 object   8 kind   9 offset
//! ```

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use crate::btrfs::superblock::NOWHERE;
use crate::btrfs::{BTRFS, Btrfs};
use crate::bytes::{Fields, Short, saturate};
use crate::read_at::ReadAt as _;
use crate::system::SystemError;

pub(super) const KEY_BYTES: usize = 17;
const HEADER_BYTES: usize = 101;
const LEAF_ENTRY_BYTES: usize = 25;
const NODE_ENTRY_BYTES: usize = 33;

/// How deep a tree may be: the kernel's limit.
const MAX_LEVEL: u8 = 7;

/// What items are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

/// Where a tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) at: u64,
    pub(super) level: u8,
}

impl Key {
    pub(super) const MIN: Self = Self {
        object: 0,
        kind: 0,
        offset: 0,
    };
    pub(super) const MAX: Self = Self {
        object: u64::MAX,
        kind: u8::MAX,
        offset: u64::MAX,
    };

    pub(super) fn parse(fields: Fields<'_>, at: usize) -> Result<Self, Short> {
        Ok(Self {
            object: fields.le64(at)?,
            kind: fields.byte(at.saturating_add(8))?,
            offset: fields.le64(at.saturating_add(9))?,
        })
    }

    /// All items of an object.
    pub(super) fn all_of(object: u64) -> RangeInclusive<Self> {
        Self {
            object,
            ..Self::MIN
        }..=Self {
            object,
            ..Self::MAX
        }
    }

    /// All items of an object and a kind.
    pub(super) fn kind_of(object: u64, kind: u8) -> RangeInclusive<Self> {
        let first = Self {
            object,
            kind,
            offset: 0,
        };
        let last = Self {
            object,
            kind,
            offset: u64::MAX,
        };
        first..=last
    }
}

/// Takes an item, and says whether to go on.
pub(super) type TakeItem<'a> = dyn FnMut(Key, &[u8]) -> Result<ControlFlow<()>, SystemError> + 'a;

impl Btrfs {
    fn node(&self, address: u64) -> Result<Arc<[u8]>, SystemError> {
        let what = "a node";
        self.nodes.get_or(address, || {
            let bytes = self.superblock.node_bytes;
            let place = self.chunks.place(address, bytes);
            let place = place.ok_or_else(|| BTRFS.place(what, address, NOWHERE))?;
            let mut node = vec![0; saturate(bytes)];
            let read = self.source.read_exact_at(place, &mut node);
            read.map_err(BTRFS.read(what))?;
            match Fields(&node).le64(48) == Ok(address) {
                true => Ok(Arc::from(node)),
                false => Err(BTRFS.place(what, address, "it says that it lies elsewhere")),
            }
        })
    }

    /// Gives `take` the items of a tree whose keys are in a range, in their order.
    pub(super) fn each_item(
        &self,
        root: Root,
        range: RangeInclusive<Key>,
        take: &mut TakeItem<'_>,
    ) -> Result<(), SystemError> {
        let short = BTRFS.short("a node");
        // No node is twice in a tree, so that it has no more than the device.
        let all = self
            .source
            .size_bytes()
            .checked_div(self.superblock.node_bytes.max(1));
        let mut left = all.unwrap_or(0).saturating_add(1);
        let mut before = None;
        let mut waiting = vec![root];
        while let Some(Root { at, level }) = waiting.pop() {
            let wrong = |rule| BTRFS.place("a node", at, rule);
            left = left
                .checked_sub(1)
                .ok_or_else(|| wrong("its tree has too many"))?;
            if level > MAX_LEVEL {
                return Err(wrong("its level is too high"));
            }
            let node = self.node(at)?;
            let fields = Fields(&node);
            if fields.byte(100).map_err(&short)? != level {
                return Err(wrong("it has another level"));
            }
            let count = saturate(fields.le32(96).map_err(&short)?.into());
            if level > 0 {
                below(fields, count, level, &range, &mut waiting).map_err(&short)?;
                continue;
            }
            for index in 0..count {
                let entry = index
                    .saturating_mul(LEAF_ENTRY_BYTES)
                    .saturating_add(HEADER_BYTES);
                let (key, item) = item(fields, entry).map_err(&short)?;
                if before.is_some_and(|before| key <= before) {
                    return Err(wrong("its keys are not in ascending order"));
                }
                before = Some(key);
                if key > *range.end() {
                    return Ok(());
                }
                if range.contains(&key) && take(key, item)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Adds the nodes below one that can hold keys of a range, so that the first is taken next.
fn below(
    fields: Fields<'_>,
    count: usize,
    level: u8,
    range: &RangeInclusive<Key>,
    waiting: &mut Vec<Root>,
) -> Result<(), Short> {
    let mut found: Vec<Root> = Vec::new();
    for index in 0..count {
        let at = index
            .saturating_mul(NODE_ENTRY_BYTES)
            .saturating_add(HEADER_BYTES);
        let key = Key::parse(fields, at)?;
        if key > *range.end() {
            break;
        }
        // The one before has only what comes before this one.
        if key <= *range.start() {
            found.clear();
        }
        found.push(Root {
            at: fields.le64(at.saturating_add(KEY_BYTES))?,
            level: level.saturating_sub(1),
        });
    }
    waiting.extend(found.into_iter().rev());
    Ok(())
}

fn item(fields: Fields<'_>, at: usize) -> Result<(Key, &[u8]), Short> {
    let key = Key::parse(fields, at)?;
    let place = saturate(fields.le32(at.saturating_add(17))?.into());
    let length = saturate(fields.le32(at.saturating_add(21))?.into());
    let item = fields.part(place.saturating_add(HEADER_BYTES), length)?;
    Ok((key, item))
}
