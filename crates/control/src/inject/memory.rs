//! Where in memory a fault falls, and the writes.

use crate::error::ControlError;
use crate::explain::ReplicaMemory;
use crate::injection::{FaultMode, PlannedInjection, RamWhere};
use crate::machine::PreparedMachine;
use computation::job::Buffer;
use divergence::align::COMPUTATION_PROCESS;
use hypervisor::{ChangedPages, Domain};
use introspection::{Introspection, Standing};
use model::{GuestPhysicalAddress, PAGE_BYTES};
use state::{Memory, TerminalState};

/// Addresses of the PC's devices and ROMs between conventional and extended memory: what is
/// written there does not reach the memory behind it.
pub(super) const DEVICE_HOLE: std::ops::Range<u64> = 0xa_0000..0x10_0000;

pub(super) const PAGE: u64 = PAGE_BYTES as u64;

/// A line of an x86-64 processor's cache: what one lost write-back loses.
const LINE_BYTES: usize = 64;

/// A part of memory that was written, and as it was before that.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) address: GuestPhysicalAddress,
    pub(super) before: Vec<u8>,
    pub(super) written: Vec<u8>,
}

/// The byte that a fault falls on.
pub(super) fn locate(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    place: RamWhere,
    machine: &PreparedMachine,
    buffers: &[Buffer],
) -> Result<GuestPhysicalAddress, ControlError> {
    let memory_bytes = machine.spec.memory_bytes;
    let address = match place {
        RamWhere::Address(address) => address,
        RamWhere::Live | RamWhere::Written | RamWhere::Doubles => {
            let pages = domain.changed_page_numbers()?;
            let page = *drawn(&pages, planned.draw_place(pages.len() as u64))
                .ok_or_else(|| failed(planned, "no page has changed since the snapshot"))?;
            page * PAGE + planned.draw_within(PAGE)
        }
        RamWhere::Text => {
            let range = machine
                .symbols
                .as_ref()
                .and_then(introspection::KernelMap::text_range)
                .ok_or_else(|| {
                    failed(
                        planned,
                        "the guest gave no symbols, so its code cannot be found",
                    )
                })?;
            range.start + planned.draw_place(range.end - range.start)
        }
        RamWhere::Buffer | RamWhere::User => owned(domain, planned, (place, buffers), machine)?,
        RamWhere::Any => {
            outside_hole(planned.draw_place(memory_bytes / PAGE)) * PAGE + planned.draw_within(PAGE)
        }
    };
    if DEVICE_HOLE.contains(&address) {
        let detail = format!("{address:#x} belongs to devices and ROMs, not to memory");
        return Err(failed(planned, &detail));
    }
    Ok(GuestPhysicalAddress(address))
}

/// A byte of a named buffer, or of other memory of a program, by what guest memory itself says.
fn owned(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    (place, buffers): (RamWhere, &[Buffer]),
    machine: &PreparedMachine,
) -> Result<u64, ControlError> {
    let pages = domain.changed_pages()?;
    let refused = |detail: String| failed(planned, &detail);
    let changed = state::ChangedPages::new(pages.numbers, pages.bytes);
    let state = TerminalState {
        memory: Memory::Changed(changed.map_err(|error| refused(error.to_string()))?),
        ..TerminalState::default()
    };
    let memory = ReplicaMemory::of(machine, &state);
    let memory = memory.ok_or_else(|| refused("the snapshot is not whole pages".to_owned()))?;
    let introspection = Introspection::of(&memory)
        .map_err(|error| refused(format!("guest memory is not understood: {error}")))?;
    let within = |address: u64| {
        buffers
            .iter()
            .any(|one| (one.address.0..one.address.0.saturating_add(one.bytes)).contains(&address))
    };
    if place == RamWhere::Buffer {
        let total: u64 = buffers
            .iter()
            .map(|one| one.bytes)
            .fold(0, u64::saturating_add);
        let mut at = planned.draw_place(total);
        for buffer in buffers {
            if at < buffer.bytes {
                let address = buffer.address.0 + at;
                let frame = introspection.user_frame(COMPUTATION_PROCESS, address);
                let frame = frame.ok_or_else(|| refused("its buffer is not mapped".to_owned()))?;
                return Ok(frame * PAGE + address % PAGE);
            }
            at -= buffer.bytes;
        }
        return Err(refused("the computation has named no buffer".to_owned()));
    }
    let Memory::Changed(changed) = &state.memory else {
        return Err(refused("no page is known to have changed".to_owned()));
    };
    let words: Vec<u64> = changed
        .numbers()
        .iter()
        .filter_map(|frame| match introspection.standing(*frame) {
            Ok(Standing::User { process, address }) => Some((*frame, process, address)),
            _ => None,
        })
        .flat_map(|(frame, process, address)| {
            let words = (0..PAGE).step_by(8);
            let outside =
                words.filter(move |into| process != COMPUTATION_PROCESS || !within(address + into));
            outside.map(move |into| frame * PAGE + into)
        })
        .collect();
    let word = drawn(&words, planned.draw_place(words.len() as u64));
    let word = *word.ok_or_else(|| refused("no other memory of a program changed".to_owned()))?;
    Ok(word + planned.draw_within(8))
}

/// Memory that a later write may be lost to: all pages that live, or the one that was ordered.
pub(super) fn keep(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    place: RamWhere,
    machine: &PreparedMachine,
) -> Result<ChangedPages, ControlError> {
    if place == RamWhere::Live {
        return Ok(domain.changed_pages()?);
    }
    let number = locate(domain, planned, place, machine, &[])?.0 / PAGE;
    let mut bytes = vec![0; PAGE_BYTES];
    domain.read_memory(GuestPhysicalAddress(number * PAGE), &mut bytes)?;
    Ok(ChangedPages {
        numbers: vec![number],
        bytes,
    })
}

/// Draws one of the lines, stretches or pages that were written since they were kept.
pub(super) fn written_since(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    kept: &ChangedPages,
) -> Result<Written, ControlError> {
    let mut pages = Vec::new();
    let mut now = vec![0; PAGE_BYTES];
    for (&number, before) in kept.numbers.iter().zip(kept.bytes.chunks(PAGE_BYTES)) {
        domain.read_memory(GuestPhysicalAddress(number * PAGE), &mut now)?;
        let stretch = || super::words::tail(planned, before, &now).is_some();
        if now != before && (planned.injection.mode != FaultMode::Undershoot || stretch()) {
            pages.push((number, before, now.clone()));
        }
    }
    let (number, before, now) = drawn(&pages, planned.draw_place(pages.len() as u64))
        .ok_or_else(|| failed(planned, "nothing was written there until the next mark"))?;
    let range = match planned.injection.mode {
        FaultMode::LostWrite => written_line(planned, before, now),
        FaultMode::Undershoot => super::words::tail(planned, before, now)
            .ok_or_else(|| failed(planned, "no stretch of 64 bytes was written there"))?,
        _ => 0..PAGE_BYTES,
    };
    let part = |page: &[u8]| page.get(range.clone()).unwrap_or_default().to_vec();
    Ok(Written {
        address: GuestPhysicalAddress(number * PAGE + range.start as u64),
        before: part(before),
        written: part(now),
    })
}

/// Draws one of the differing lines of a page.
fn written_line(planned: &PlannedInjection, before: &[u8], now: &[u8]) -> std::ops::Range<usize> {
    let lines = before.chunks(LINE_BYTES).zip(now.chunks(LINE_BYTES));
    let differing: Vec<usize> = lines
        .enumerate()
        .filter(|(_, (before, now))| before != now)
        .map(|(line, _)| line * LINE_BYTES)
        .collect();
    let start = drawn(&differing, planned.draw_within(differing.len() as u64)).unwrap_or(&0);
    *start..start + LINE_BYTES
}

fn drawn<T>(among: &[T], place: u64) -> Option<&T> {
    among.get(usize::try_from(place).ok()?)
}

/// Writes memory through the debugger and sees that it holds.
pub(super) async fn write(
    domain: &mut dyn Domain,
    address: GuestPhysicalAddress,
    bytes: &[u8],
) -> Result<(), ControlError> {
    domain.patch_memory(address, bytes).await?;
    let mut held = vec![0; bytes.len()];
    domain.read_memory(address, &mut held)?;
    if held == bytes {
        return Ok(());
    }
    Err(ControlError::InjectionFailed {
        what: format!("into ram at {address}"),
        detail: "what was written is not read back".to_owned(),
    })
}

pub(super) fn failed(planned: &PlannedInjection, detail: &str) -> ControlError {
    ControlError::InjectionFailed {
        what: format!("into ram at {}", planned.injection.when),
        detail: detail.to_owned(),
    }
}

/// A page number outside the device hole: those inside fall on the pages that follow it.
fn outside_hole(page: u64) -> u64 {
    let hole = DEVICE_HOLE.start / PAGE..DEVICE_HOLE.end / PAGE;
    if hole.contains(&page) {
        page + (hole.end - hole.start)
    } else {
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::{Injection, plan};

    #[test]
    fn no_page_is_drawn_in_the_device_hole() {
        for page in 0..0x200 {
            assert!(!DEVICE_HOLE.contains(&(outside_hole(page) * PAGE)));
        }
    }

    #[test]
    fn a_lost_write_falls_on_a_line_that_was_written() {
        let order = [Injection::parse("ram,mode=lost-write").unwrap()];
        let (before, mut now) = (vec![0; PAGE_BYTES], vec![0; PAGE_BYTES]);
        now[0] = 1;
        now[PAGE_BYTES - 1] = 1;
        let last = PAGE_BYTES - LINE_BYTES..PAGE_BYTES;
        let lines: std::collections::BTreeSet<_> = (0..40)
            .map(|seed| {
                let planned = plan(&order, seed, 3, 80).unwrap().remove(0);
                let line = written_line(&planned, &before, &now);
                (line.start, line.end)
            })
            .collect();
        let expected = [(0, LINE_BYTES), (last.start, last.end)];
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), expected);
    }
}
