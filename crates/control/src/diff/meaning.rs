//! What differing bytes of saved states mean.
//!
//! A state holds pages that changed; the kernel's symbols and types lie in others. They are those of
//! the machine that all states began with, where it is still kept: its memory, with the pages of a
//! state over it. Where a state holds only what differs, the other pages that changed are not known,
//! and nothing is said that they could contradict: then only the kernel's image and the CPUs' own
//! variables have names, which lie where they are as long as the machine runs. What is missing is
//! said.

use crate::explain::explain_by;
use divergence::Analysis;
use introspection::{Introspection, Page, PhysicalMemory};
use model::{Difference, OwnerKind, PAGE_BYTES, Part};
use state::{Memory, TerminalState};

/// What there is to explain by.
pub(super) struct Held<'a> {
    /// The states, with the pages that all of them hold.
    pub(super) states: &'a [TerminalState],
    /// The end of the last of these pages.
    pub(super) memory_bytes: u64,
    /// The memory of the machine that they began with.
    pub(super) base: Option<&'a [u8]>,
}

/// A state's pages, over those of the machine that it began with.
struct HeldMemory<'a> {
    held: &'a Memory,
    base: &'a [[u8; PAGE_BYTES]],
    pages: u64,
}

impl PhysicalMemory for HeldMemory<'_> {
    fn pages(&self) -> u64 {
        self.pages
    }

    fn page(&self, number: u64) -> Option<&Page> {
        let index = usize::try_from(number).ok()?;
        match self.held {
            Memory::Changed(pages) => pages.page(number).or_else(|| self.base.get(index)),
            Memory::Full(image) => image.as_chunks().0.get(index),
        }
    }
}

/// Explains what differs, out of a state that holds what the majority holds. Gives a warning where
/// something is missing for that.
pub(super) fn explain(analysis: &mut Analysis, held: &Held<'_>) -> Option<String> {
    if !differs_in_memory(analysis) {
        return None;
    }
    let right = analysis.majority_replica.map_or(0, |index| index.0);
    let state = held.states.get(usize::try_from(right).ok()?)?;
    let base = held.base.unwrap_or_default().as_chunks().0;
    let pages = held.memory_bytes / PAGE_BYTES as u64;
    let memory = HeldMemory {
        held: &state.memory,
        base,
        pages: pages.max(base.len() as u64),
    };
    let introspection = match Introspection::of(&memory) {
        Ok(introspection) => introspection,
        Err(error) => {
            return Some(format!(
                "what differs in memory has no owner: the states hold {} pages, which lack what the \
                 kernel says of itself ({error}), and the machine that they began with is not kept",
                state.memory.pages()
            ));
        }
    };
    explain_by(&introspection, analysis);
    let differing = analysis.differing_pages.len() as u64;
    if state.memory.pages() > differing {
        return None;
    }
    for difference in differences(analysis) {
        let lasts = difference
            .explanation
            .as_ref()
            .is_none_or(|one| matches!(one.kind, OwnerKind::KernelImage | OwnerKind::PerCpu));
        if !lasts {
            difference.explanation = None;
            difference.symbol = None;
        }
    }
    Some(
        "only variables of the kernel have names: the states hold the pages that differ, and not the \
         others that changed (`run start --keep all` keeps these)"
            .to_owned(),
    )
}

/// Whether there is something to explain.
fn differs_in_memory(analysis: &Analysis) -> bool {
    let mut differences = analysis.deviations.iter().flat_map(|one| &one.differences);
    differences.any(|one| one.part == Part::Memory)
}

fn differences(analysis: &mut Analysis) -> impl Iterator<Item = &mut Difference> {
    analysis
        .deviations
        .iter_mut()
        .flat_map(|one| one.first.iter_mut().chain(&mut one.differences))
        .filter(|one| one.part == Part::Memory)
}
