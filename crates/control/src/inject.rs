//! Puts one planned fault into a stopped replica.
//!
//! Memory is written through the debugger, never around it: a translator keeps translations of
//! code, and only the debugger's write takes effect on them. What was written is read back.

use crate::error::ControlError;
use crate::injection::{FaultPart, PlannedInjection, RamWhere};
use crate::machine::PreparedMachine;
use hypervisor::Domain;
use model::{Fate, GuestPhysicalAddress, InjectionRecord, PAGE_BYTES, ReplicaIndex};

/// Addresses of the PC's devices and ROMs between conventional and extended memory: what is
/// written there does not reach the memory behind it.
const DEVICE_HOLE: std::ops::Range<u64> = 0xa_0000..0x10_0000;

const PAGE: u64 = PAGE_BYTES as u64;

/// Injects and says what was done. Its fate is settled after the comparison.
pub(crate) async fn inject(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    machine: &PreparedMachine,
) -> Result<InjectionRecord, ControlError> {
    let mut record = InjectionRecord {
        replica: ReplicaIndex(planned.replica),
        part: planned.injection.part_name().to_owned(),
        address: None,
        register: None,
        bit: None,
        before: None,
        after: None,
        when: planned.injection.when.to_string(),
        fate: Fate::Masked,
    };
    match &planned.injection.part {
        FaultPart::Hang => domain.hang().await?,
        FaultPart::Register(name) => {
            let bit = planned.bit(width(domain, name).await?);
            let (before, after) = domain.flip_register(name, bit).await?;
            record.register = Some(name.clone());
            record.bit = Some(bit);
            record.before = Some(before);
            record.after = Some(after);
        }
        FaultPart::Ram(place) => {
            let address = locate(domain, planned, *place, machine)?;
            let bit = planned.bit(8);
            let (before, after) = flip(domain, address, bit).await?;
            record.address = Some(address);
            record.bit = Some(bit);
            record.before = Some(format!("{before:02x}"));
            record.after = Some(format!("{after:02x}"));
        }
    }
    Ok(record)
}

async fn width(domain: &mut dyn Domain, name: &str) -> Result<u32, ControlError> {
    let registers = domain.writable_registers().await?;
    let found = registers.iter().find(|(register, _)| register == name);
    // An unknown name is refused, with those that are known, by the flip itself.
    Ok(found.map_or(1, |(_, bits)| *bits))
}

/// The byte that a fault falls on.
fn locate(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    place: RamWhere,
    machine: &PreparedMachine,
) -> Result<GuestPhysicalAddress, ControlError> {
    let failed = |detail: &str| ControlError::InjectionFailed {
        what: format!("into ram at {}", planned.injection.when),
        detail: detail.to_owned(),
    };
    let memory_bytes = machine.spec.memory_bytes;
    let address = match place {
        RamWhere::Address(address) => address,
        RamWhere::Live => {
            let pages = domain.changed_page_numbers()?;
            let drawn = usize::try_from(planned.draw_place(pages.len() as u64)).unwrap_or(0);
            let page = pages
                .get(drawn)
                .ok_or_else(|| failed("no page has changed since the snapshot"))?;
            page * PAGE + planned.draw_offset()
        }
        RamWhere::Text => {
            let range = machine
                .symbols
                .as_ref()
                .and_then(introspection::KernelMap::text_range)
                .ok_or_else(|| failed("the guest gave no symbols, so its code cannot be found"))?;
            range.start + planned.draw_place(range.end - range.start)
        }
        RamWhere::Any => {
            outside_hole(planned.draw_place(memory_bytes / PAGE)) * PAGE + planned.draw_offset()
        }
    };
    if DEVICE_HOLE.contains(&address) {
        return Err(failed(&format!(
            "{address:#x} belongs to devices and ROMs, not to memory"
        )));
    }
    Ok(GuestPhysicalAddress(address))
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

/// Flips one bit of a byte and sees that it holds.
async fn flip(
    domain: &mut dyn Domain,
    address: GuestPhysicalAddress,
    bit: u32,
) -> Result<(u8, u8), ControlError> {
    let mut byte = [0];
    domain.read_memory(address, &mut byte)?;
    let before = byte[0];
    let after = before ^ 1_u8.checked_shl(bit).unwrap_or(0);
    domain.patch_memory(address, &[after]).await?;
    domain.read_memory(address, &mut byte)?;
    if byte[0] == after {
        Ok((before, after))
    } else {
        Err(ControlError::InjectionFailed {
            what: format!("bit {bit} of {address}"),
            detail: format!("{after:02x} was written and {:02x} is read back", byte[0]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_drawn_in_the_device_hole() {
        for page in 0..0x200 {
            assert!(!DEVICE_HOLE.contains(&(outside_hole(page) * PAGE)));
        }
    }
}
