//! What the differing bytes mean: each address is explained from the memory of a replica that holds
//! what the majority holds, or of the first where there is no majority. Nothing of the host is asked.

use crate::machine::PreparedMachine;
use crate::replica::Captured;
use computation::job::Buffer;
use divergence::Analysis;
use divergence::align::COMPUTATION_PROCESS;
use introspection::{BufferName, Introspection, Page, PhysicalMemory};
use model::{Difference, Explanation, Locus, Part};
use state::{Base, Memory, TerminalState};

/// A replica's whole memory: the snapshot, with the pages that it changed.
pub(crate) struct ReplicaMemory<'a> {
    base: Base<'a>,
    state: &'a TerminalState,
    pages: u64,
}

impl std::fmt::Debug for ReplicaMemory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaMemory")
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

impl<'a> ReplicaMemory<'a> {
    /// The memory of a replica of a machine; nothing where the machine's own is not well-formed.
    pub(crate) fn of(machine: &'a PreparedMachine, state: &'a TerminalState) -> Option<Self> {
        let memory_bytes = machine.spec.memory_bytes;
        Some(Self {
            base: Base::new(&machine.base, memory_bytes).ok()?,
            state,
            pages: memory_bytes / model::PAGE_BYTES as u64,
        })
    }
}

impl PhysicalMemory for ReplicaMemory<'_> {
    fn pages(&self) -> u64 {
        self.pages
    }

    fn page(&self, number: u64) -> Option<&Page> {
        if number >= self.pages {
            return None;
        }
        match &self.state.memory {
            Memory::Changed(changed) => changed
                .page(number)
                .or_else(|| Some(self.base.page(number))),
            Memory::Full(image) => image.as_chunks().0.get(usize::try_from(number).ok()?),
        }
    }
}

/// Explains every address in an analysis.
pub(crate) fn explain(analysis: &mut Analysis, captured: &[Captured], machine: &PreparedMachine) {
    if analysis.deviations.is_empty() {
        return;
    }
    let right = captured
        .iter()
        .find(|one| Some(one.record.index) == analysis.majority_replica)
        .or_else(|| captured.first());
    let memory = right.and_then(|right| ReplicaMemory::of(machine, &right.state));
    let Some(memory) = memory else {
        return;
    };
    let buffers = right.map_or(&[][..], |right| &right.buffers);
    let buffers = buffers.iter().map(buffer_name).collect();
    match Introspection::of(&memory) {
        Ok(introspection) => explain_by(&introspection.with_buffers(buffers), analysis),
        Err(error) => {
            tracing::warn!(%error, "what differs has no owner: the guest's memory is not understood");
        }
    }
}

/// A buffer that the computation has named, as its guest claims it.
fn buffer_name(buffer: &Buffer) -> BufferName {
    BufferName {
        process: COMPUTATION_PROCESS,
        name: buffer.name.clone(),
        address: buffer.address.0,
        bytes: buffer.bytes,
    }
}

/// Explains every address in an analysis out of memory that was understood.
pub(crate) fn explain_by(introspection: &Introspection<'_>, analysis: &mut Analysis) {
    for difference in differences(analysis) {
        explain_one(difference, introspection);
    }
}

/// Every difference that an analysis tells of.
pub(crate) fn differences(analysis: &mut Analysis) -> impl Iterator<Item = &mut Difference> {
    let of_deviations = analysis
        .deviations
        .iter_mut()
        .flat_map(|deviation| deviation.first.iter_mut().chain(&mut deviation.differences));
    let of_findings = analysis
        .findings
        .iter_mut()
        .flat_map(|finding| &mut finding.evidence);
    of_deviations.chain(of_findings)
}

/// Owner and symbol are those of the word; type, field, object and file those of its first byte that
/// differs.
fn explain_one(difference: &mut Difference, introspection: &Introspection<'_>) {
    let (Part::Memory, Locus::Address(word)) = (difference.part, &difference.locus) else {
        return;
    };
    let Some(mut explanation) = introspection.explain(word.0) else {
        return;
    };
    if let Some(of_byte) = first_byte(difference)
        .filter(|into| *into > 0)
        .and_then(|into| introspection.explain(word.0 + into))
        .filter(|of_byte| of_byte.kind == explanation.kind)
    {
        explanation = Explanation {
            type_name: of_byte.type_name,
            field: of_byte.field,
            object: of_byte.object,
            file: of_byte.file,
            buffer: of_byte.buffer,
            basis: of_byte.basis,
            confidence: of_byte.confidence,
            ..explanation
        };
    }
    if difference.symbol.is_none() {
        difference.symbol.clone_from(&explanation.symbol);
    }
    difference.explanation = Some(Box::new(explanation));
}

/// The first byte of a word that differs, where bits are known.
fn first_byte(difference: &Difference) -> Option<u64> {
    let bit = difference.flipped_bits.iter().min()?;
    Some(u64::from(bit / 8)).filter(|byte| *byte < 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_that_of_the_lowest_bit() {
        let difference = |bits: &[u32]| Difference {
            part: Part::Memory,
            locus: Locus::Address(model::GuestPhysicalAddress(8)),
            expected: None,
            found: String::new(),
            flipped_bits: bits.to_vec(),
            symbol: None,
            explanation: None,
        };
        assert_eq!(first_byte(&difference(&[])), None);
        assert_eq!(first_byte(&difference(&[41, 17])), Some(2));
        assert_eq!(first_byte(&difference(&[64])), None);
    }
}
