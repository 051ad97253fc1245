//! Captured replicas that are not bit-exact, understood and aligned.

use crate::error::ControlError;
use crate::explain::ReplicaMemory;
use crate::machine::PreparedMachine;
use crate::replica::Captured;
use divergence::align::{Aligned, Machine, Mask, NamedRange, align};
use introspection::{Introspection, KernelError};
use state::Memory;

/// A replica whose memory was understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Understood<'a> {
    pub(crate) captured: &'a Captured,
    pub(crate) introspection: &'a Introspection<'a>,
}

/// The memories of replicas of a machine.
///
/// # Errors
/// The machine's own memory is not well-formed.
pub(crate) fn memories<'a>(
    machine: &'a PreparedMachine,
    captured: impl IntoIterator<Item = &'a Captured>,
) -> Result<Vec<ReplicaMemory<'a>>, ControlError> {
    let of = |one: &'a Captured| {
        let memory = ReplicaMemory::of(machine, &one.state);
        memory.ok_or_else(|| ControlError::Compare("the snapshot is not whole pages".to_owned()))
    };
    captured.into_iter().map(of).collect()
}

/// Understands memories.
///
/// # Errors
/// One of them holds no kernel that describes itself.
pub(crate) fn understand<'m>(
    memories: &'m [ReplicaMemory<'m>],
) -> Result<Vec<Introspection<'m>>, KernelError> {
    memories
        .iter()
        .map(|memory| Introspection::of(memory))
        .collect()
}

/// Aligns replicas.
#[must_use]
pub(crate) fn aligned(replicas: &[Understood<'_>], mask: &dyn Mask) -> Aligned {
    let buffers: Vec<Vec<NamedRange>> = replicas
        .iter()
        .map(|one| one.captured.buffers.iter().map(named).collect())
        .collect();
    let changed: Vec<Vec<u64>> = replicas.iter().map(|one| changed(one.captured)).collect();
    let machines: Vec<Machine<'_>> = replicas
        .iter()
        .zip(buffers.iter().zip(&changed))
        .map(|(one, (buffers, changed))| Machine {
            places: one.introspection,
            changed,
            buffers,
            registers: &one.captured.state.registers,
        })
        .collect();
    align(&machines, mask)
}

/// Aligns captured replicas of a machine.
///
/// # Errors
/// The memory of one is not understood.
pub(crate) fn align_all(
    machine: &PreparedMachine,
    captured: &[Captured],
    mask: &dyn Mask,
) -> Result<Aligned, ControlError> {
    let memories = memories(machine, captured)?;
    let introspections = understand(&memories).map_err(|error| ControlError::NotUnderstood {
        detail: error.to_string(),
    })?;
    let understood: Vec<Understood<'_>> = captured
        .iter()
        .zip(&introspections)
        .map(|(captured, introspection)| Understood {
            captured,
            introspection,
        })
        .collect();
    Ok(aligned(&understood, mask))
}

fn named(buffer: &computation::job::Buffer) -> NamedRange {
    NamedRange {
        name: buffer.name.clone(),
        start: buffer.address.0,
        bytes: buffer.bytes,
    }
}

/// The pages that a replica changed; of a full image all.
fn changed(captured: &Captured) -> Vec<u64> {
    match &captured.state.memory {
        Memory::Changed(changed) => changed.numbers().to_vec(),
        Memory::Full(_) => (0..captured.state.memory.pages()).collect(),
    }
}
