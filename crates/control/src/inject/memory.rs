//! Where in memory a fault falls, and the writes.

use crate::error::ControlError;
use crate::injection::{FaultMode, PlannedInjection, RamWhere};
use crate::machine::PreparedMachine;
use hypervisor::{ChangedPages, Domain};
use model::{GuestPhysicalAddress, PAGE_BYTES};

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
) -> Result<GuestPhysicalAddress, ControlError> {
    let memory_bytes = machine.spec.memory_bytes;
    let address = match place {
        RamWhere::Address(address) => address,
        RamWhere::Live | RamWhere::Doubles => {
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
    let number = locate(domain, planned, place, machine)?.0 / PAGE;
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
