//! Named buffers of a machine, as its guest claims them: checked before anything is read.

use super::places::Places;
use std::collections::BTreeMap;
use std::ops::Range;

/// The process that computations run in: the guest's first, and only one.
pub const COMPUTATION_PROCESS: u32 = 1;

/// A buffer as the guest claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRange {
    /// Its name.
    pub name: String,
    /// Its first address in the computation's process.
    pub start: u64,
    /// Its length.
    pub bytes: u64,
}

/// The buffers of a machine that can be believed, and what is said of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Addresses by name.
    pub(super) sound: BTreeMap<String, Range<u64>>,
    /// By name, what is compared between machines: the length, or why it is refused.
    pub(super) said: BTreeMap<String, String>,
}

impl Checked {
    /// Checks claims: each name once, no overlap, within mappings of the process, and together no
    /// longer than the machine's memory.
    pub(super) fn of(claims: &[NamedRange], places: &dyn Places) -> Self {
        let mut checked = Self::default();
        let mut left = places.memory_bytes();
        for (place, claim) in claims.iter().enumerate() {
            let range = claim.start..claim.start.saturating_add(claim.bytes);
            let others = claims
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place);
            let refusal = if others.clone().any(|(_, other)| other.name == claim.name) {
                Some("its name is another's too")
            } else if others.clone().any(|(_, other)| overlaps(other, &range)) {
                Some("it overlaps another")
            } else if claim.bytes == 0 || claim.bytes > left {
                Some("it is longer than the memory there is")
            } else if !is_mapped(places, &range) {
                Some("it lies outside the process")
            } else {
                None
            };
            let said = match refusal {
                Some(why) => format!("refused: {why}"),
                None => {
                    left -= claim.bytes;
                    checked.sound.insert(claim.name.clone(), range);
                    format!("{} bytes", claim.bytes)
                }
            };
            checked.said.insert(claim.name.clone(), said);
        }
        checked
    }
}

fn overlaps(other: &NamedRange, range: &Range<u64>) -> bool {
    other.start < range.end && range.start < other.start.saturating_add(other.bytes)
}

/// Whether all of a range lies in mappings of the process.
fn is_mapped(places: &dyn Places, range: &Range<u64>) -> bool {
    let mut at = range.start;
    while at < range.end {
        match places.mapping(COMPUTATION_PROCESS, at) {
            Some((mapping, _)) if mapping.end > at => at = mapping.end,
            _ => return false,
        }
    }
    true
}
