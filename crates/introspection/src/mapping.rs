//! The mappings of a process: the leaves of the maple tree in its `mm_struct`.
//!
//! ```text
//! root                 address | type << 3 | 6     a node: leaf 1, range 2, with gaps 3
//!                      address                     one mapping that is the whole tree
//! slots of a leaf      address of a vm_area_struct
//! slots of the others  address | type << 3 | 4     a node
//! pivots               the last address of each slot; 0 ends them early
//! ```

use crate::file::path_of_file;
use crate::kernel::{GuestKernel, MAX_LIST};
use crate::layout::{MappingLayout, NodeLayout};
use crate::memory::PAGE;
use crate::process::{Found, Partial};

/// Levels of a tree that are followed: each holds at least ten times what is above it.
const MAX_DEPTH: u8 = 12;

/// The bits of a node's address that are not address.
const NODE_MASK: u64 = 255;

/// A root that is a node, and not a mapping, has this in its lowest bits.
const IS_NODE: u64 = 2;

const LEAF: u64 = 1;
const RANGE: u64 = 2;
const WITH_GAPS: u64 = 3;

/// Bits of `vm_flags`.
const READABLE: u64 = 1;
const WRITABLE: u64 = 2;
const EXECUTABLE: u64 = 4;
const SHARED: u64 = 8;

/// A stretch of a process's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// What may be done, as `/proc/PID/maps` shows it, such as `rw-p`.
    pub permissions: String,
    /// Bytes into the file, where there is one.
    pub offset: u64,
    /// The file's path, through the mounts above it, or `[heap]`, `[stack]`, `[vdso]`, `[anonymous]`.
    pub name: String,
    /// Its `vm_area_struct`, by kernel-virtual address.
    pub record: u64,
}

struct Tree<'k, 'm> {
    kernel: &'k GuestKernel<'m>,
    areas: Vec<u64>,
    partial: Option<Partial>,
    nodes: usize,
}

/// The mappings of an `mm_struct`, by address.
pub(crate) fn mappings(kernel: &GuestKernel<'_>, mm: u64) -> Found<Mapping> {
    let layouts = kernel.layouts();
    let layout = match (&layouts.mapping, &layouts.maple) {
        (Ok(layout), Ok(_)) => *layout,
        (Err(error), _) | (_, Err(error)) => {
            return Found {
                found: Vec::new(),
                partial: Some(Partial::NotDescribed {
                    what: error.to_string(),
                }),
            };
        }
    };
    let mut tree = Tree {
        kernel,
        areas: Vec::new(),
        partial: None,
        nodes: 0,
    };
    let root = mm.wrapping_add(layout.root);
    match kernel.u64(root) {
        Some(entry) if entry & 3 == IS_NODE => tree.node(entry, u64::MAX, MAX_DEPTH),
        Some(entry) => tree.area(entry),
        None => tree.partial = Some(Partial::BadPointer { at: root }),
    }
    let Tree {
        areas, mut partial, ..
    } = tree;
    let mut found: Vec<Mapping> = Vec::new();
    for area in areas {
        match mapping(kernel, &layout, mm, area) {
            Some(mapping) => found.push(mapping),
            None => partial = Some(Partial::BadPointer { at: area }),
        }
    }
    found.sort_by_key(|mapping| mapping.start);
    Found { found, partial }
}

impl Tree<'_, '_> {
    fn area(&mut self, area: u64) {
        if self.areas.len() >= MAX_LIST {
            self.partial = Some(Partial::TooMany);
        } else if area != 0 {
            self.areas.push(area);
        }
    }

    fn node(&mut self, entry: u64, last: u64, depth: u8) {
        self.nodes += 1;
        if self.nodes > MAX_LIST || depth == 0 {
            self.partial = Some(Partial::TooMany);
        } else if self.slots(entry, last, depth).is_none() {
            self.partial = Some(Partial::BadPointer { at: entry });
        }
    }

    fn slots(&mut self, entry: u64, last: u64, depth: u8) -> Option<()> {
        let maple = self.kernel.layouts().maple.as_ref().ok()?;
        let kind = entry >> 3 & 15;
        let layout = match kind {
            LEAF | RANGE => maple.range,
            WITH_GAPS => maple.allocation,
            _ => return None,
        };
        let address = entry & !NODE_MASK;
        for index in 0..layout.slot_count {
            let (slot, slot_last) = self.slot(&layout, address, index, last)?;
            if kind == LEAF {
                self.area(slot);
            } else if slot != 0 {
                self.node(slot, slot_last, depth - 1);
            }
            if slot_last >= last {
                break;
            }
        }
        Some(())
    }

    /// A slot and the last address that it stands for.
    fn slot(&self, layout: &NodeLayout, node: u64, index: u64, last: u64) -> Option<(u64, u64)> {
        let slot = self
            .kernel
            .u64(node.wrapping_add(layout.slots + index * 8))?;
        if index >= layout.pivot_count {
            return Some((slot, last));
        }
        let pivot = self
            .kernel
            .u64(node.wrapping_add(layout.pivots + index * 8))?;
        Some((slot, if pivot == 0 { last } else { pivot }))
    }
}

fn mapping(
    kernel: &GuestKernel<'_>,
    layout: &MappingLayout,
    mm: u64,
    area: u64,
) -> Option<Mapping> {
    let of = |offset: u64| kernel.u64(area.wrapping_add(offset));
    let (start, end) = (of(layout.vm_start)?, of(layout.vm_end)?);
    if of(layout.vm_mm)? != mm || start >= end {
        return None;
    }
    let file = of(layout.vm_file)?;
    Some(Mapping {
        start,
        end,
        permissions: permissions(of(layout.vm_flags)?),
        offset: match file {
            0 => 0,
            _ => of(layout.vm_pgoff)?.wrapping_mul(PAGE),
        },
        name: match file {
            0 => special(kernel, layout, mm, (start, end))?.to_owned(),
            file => path_of_file(kernel, file).unwrap_or_else(|| "[file]".to_owned()),
        },
        record: area,
    })
}

fn permissions(flags: u64) -> String {
    let letter = |bit, yes, no| if flags & bit == 0 { no } else { yes };
    [
        letter(READABLE, 'r', '-'),
        letter(WRITABLE, 'w', '-'),
        letter(EXECUTABLE, 'x', '-'),
        letter(SHARED, 's', 'p'),
    ]
    .iter()
    .collect()
}

/// What a mapping without a file is.
fn special(
    kernel: &GuestKernel<'_>,
    layout: &MappingLayout,
    mm: u64,
    (start, end): (u64, u64),
) -> Option<&'static str> {
    let of = |offset: u64| kernel.u64(mm.wrapping_add(offset));
    let within = |address: u64| (start..end).contains(&address);
    let (brk_start, brk) = (of(layout.start_brk)?, of(layout.brk)?);
    Some(if within(of(layout.start_stack)?) {
        "[stack]"
    } else if start < brk && end > brk_start {
        "[heap]"
    } else if within(of(layout.vdso)?) {
        "[vdso]"
    } else {
        "[anonymous]"
    })
}
