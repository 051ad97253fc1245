//! What lies right beside a named buffer: the records of the allocator that handed it out, and the
//! slack up to the end of its pages.
//!
//! ```text
//! machine 0   … │ record │ buffer A …………………………………… │ slack │ …
//! machine 1                   … │ record │ buffer A …………………………………… │ slack │ …
//!                                 before A                              after A
//! ```
//!
//! Threads allocate in any order, so that a buffer, and what lies beside it, is elsewhere in each
//! machine. By its address such a word would be held against something else, or against nothing; by
//! its distance from the buffer it is held against what it is.

use super::buffer::{COMPUTATION_PROCESS, Checked};
use super::places::Places;
use model::PAGE_BYTES;
use std::ops::Range;

/// How much is taken on either side, at most: allocators keep their records in the page before, and
/// round up to whole pages behind.
const EDGE_BYTES: u64 = PAGE_BYTES as u64;

const WORD: u64 = 8;

/// A side of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// One side of a buffer that is not at the same address in all machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    /// What it is called.
    pub(super) name: String,
    pub(super) side: Side,
    /// Where it lies in each machine; all are equally long, in whole words.
    pub(super) places: Vec<Range<u64>>,
}

impl Edge {
    pub(super) fn bytes(&self) -> u64 {
        self.places
            .first()
            .map_or(0, |place| place.end - place.start)
    }

    /// The distance from the buffer of a word so many bytes into the edge: the same for a word
    /// however long the edge is.
    pub(super) fn distance(&self, into: u64) -> u64 {
        match self.side {
            Side::Before => self.bytes().saturating_sub(into),
            Side::After => into,
        }
    }
}

/// The edges of all buffers that all machines have in equal length, but not all at one address.
pub(super) fn edges(machines: &[&dyn Places], buffers: &[Checked]) -> Vec<Edge> {
    let names = buffers.first().map(|first| first.sound.keys());
    let mut found = Vec::new();
    for name in names.into_iter().flatten() {
        let places: Option<Vec<&Range<u64>>> =
            buffers.iter().map(|one| one.sound.get(name)).collect();
        let Some(places) = places.filter(|places| has_moved(places)) else {
            continue;
        };
        for side in [Side::Before, Side::After] {
            let room = machines
                .iter()
                .zip(buffers)
                .zip(&places)
                .map(|((machine, checked), place)| room(*machine, checked, place, side))
                .min();
            let bytes = room.unwrap_or(0) / WORD * WORD;
            if bytes > 0 {
                let of = |place: &&Range<u64>| match side {
                    Side::Before => place.start - bytes..place.start,
                    Side::After => place.end..place.end + bytes,
                };
                found.push(Edge {
                    name: match side {
                        Side::Before => format!("before {name}"),
                        Side::After => format!("after {name}"),
                    },
                    side,
                    places: places.iter().map(of).collect(),
                });
            }
        }
    }
    found
}

/// Whether a buffer of one length is elsewhere in some machine, yet so that words stay words.
fn has_moved(places: &[&Range<u64>]) -> bool {
    let pairs = || {
        places
            .windows(2)
            .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)))
    };
    let length = |range: &Range<u64>| range.end - range.start;
    let alike = pairs().all(|(one, other)| {
        length(one) == length(other) && one.start % WORD == 0 && other.start % WORD == 0
    });
    alike && pairs().any(|(one, other)| one.start != other.start)
}

/// How many bytes beside a buffer belong to it rather than to its neighbour in the same mapping.
fn room(machine: &dyn Places, checked: &Checked, place: &Range<u64>, side: Side) -> u64 {
    let last = place.end.saturating_sub(1);
    let at = match side {
        Side::Before => place.start,
        Side::After => last,
    };
    let Some((mapping, _)) = machine.mapping(COMPUTATION_PROCESS, at) else {
        return 0;
    };
    let others = checked.sound.values();
    let (room, neighbour) = match side {
        Side::Before => {
            let neighbour = others.filter(|one| one.end <= place.start);
            let neighbour = neighbour.map(|one| one.end).max();
            (
                place.start.saturating_sub(mapping.start),
                neighbour.map(|end| (place.start - end) / 2),
            )
        }
        Side::After => {
            let neighbour = others.filter(|one| one.start >= place.end);
            let neighbour = neighbour.map(|one| one.start).min();
            (
                mapping.end.saturating_sub(place.end),
                neighbour.map(|start| (start - place.end) / 2),
            )
        }
    };
    room.min(neighbour.unwrap_or(EDGE_BYTES)).min(EDGE_BYTES)
}
