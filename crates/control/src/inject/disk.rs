//! Faults on a replica's disk: they strike what it has written, which is its own, when its guest has
//! come to its end and flushed all. The image below is never written to.
//!
//! What is there is read by a worker, as every disk is; it is written by the emulator, and read back.

use crate::command::Command;
use crate::error::ControlError;
use crate::inject::{Fault, digest};
use crate::injection::{DiskWhere, FaultMode, FaultPart};
use crate::overlay::written;
use hypervisor::Domain;
use model::GuestPhysicalAddress;
use std::ops::Range;

/// What a disk writes at once: of a lost write all of it is lost.
const SECTOR_BYTES: u64 = 512;

/// A block of a file system, as most have it: what is stale is one.
const BLOCK_BYTES: u64 = 4096;

/// Blocks that are looked at for one in which something differs from before the run.
const MAX_TRIES: usize = 64;

/// Strikes the disk, where the fault is one of a disk.
pub(crate) async fn strike(
    fault: &mut Fault<'_>,
    domain: &mut dyn Domain,
    command: Option<&Command>,
) -> Result<(), ControlError> {
    let FaultPart::Disk(place) = fault.planned.injection.part else {
        return Ok(());
    };
    let Some(command) = command else {
        return Err(failed("there is no disk"));
    };
    let mode = fault.planned.injection.mode;
    let part = locate(fault, domain, (place, command)).await?;
    let now = read(domain, command, part.clone()).await?;
    let bit = fault.planned.bit(8);
    let mask = 1_u8.checked_shl(bit).unwrap_or(0);
    let after: Vec<u8> = match mode {
        FaultMode::Stuck(true) => now.iter().map(|byte| byte | mask).collect(),
        FaultMode::Stuck(false) => now.iter().map(|byte| byte & !mask).collect(),
        FaultMode::Zero => vec![0; now.len()],
        FaultMode::LostWrite | FaultMode::Stale => {
            let reader = command.reader();
            reader.read(None, vec![part.clone()]).await?
        }
        _ => now.iter().map(|byte| byte ^ mask).collect(),
    };
    if now != after {
        domain.write_disk(part.start, &after).await?;
        if read(domain, command, part.clone()).await? != after {
            return Err(failed("what was written is not read back"));
        }
    }
    fault.record.address = Some(GuestPhysicalAddress(part.start));
    match (now.as_slice(), after.as_slice()) {
        ([before], [after]) => {
            fault.record.bit = Some(bit);
            fault.done(format!("{before:02x}"), format!("{after:02x}"));
        }
        _ => fault.done(digest(&now), digest(&after)),
    }
    Ok(())
}

/// What of the disk is struck.
async fn locate(
    fault: &Fault<'_>,
    domain: &mut dyn Domain,
    (place, command): (DiskWhere, &Command),
) -> Result<Range<u64>, ControlError> {
    let mode = fault.planned.injection.mode;
    let unit = match mode {
        FaultMode::Stale => BLOCK_BYTES,
        FaultMode::LostWrite | FaultMode::Zero => SECTOR_BYTES,
        _ => 1,
    };
    let disk_bytes = command.disk().disk_bytes;
    let address = match place {
        DiskWhere::Address(address) => address,
        // A byte is one of a sector in which something was written.
        DiskWhere::Live => {
            let drawn = live(fault, domain, (command, unit.max(SECTOR_BYTES))).await?;
            match unit {
                1 => drawn.start + fault.planned.draw_within(drawn.end - drawn.start),
                _ => drawn.start,
            }
        }
    };
    if address >= disk_bytes {
        let detail = format!("{address:#x} is beyond the disk, which has {disk_bytes} bytes");
        return Err(failed(&detail));
    }
    let start = address - address % unit;
    Ok(start..start.saturating_add(unit).min(disk_bytes))
}

/// A unit of so many bytes that differs from what the disk held before the run.
async fn live(
    fault: &Fault<'_>,
    domain: &mut dyn Domain,
    (command, unit): (&Command, u64),
) -> Result<Range<u64>, ControlError> {
    let blocks = match domain.disk_changes()? {
        Some(changes) => written(changes)?,
        None => Vec::new(),
    };
    if blocks.is_empty() {
        return Err(failed(
            "nothing has been written to the disk since the run began",
        ));
    }
    let first = usize::try_from(fault.planned.draw_place(blocks.len() as u64)).unwrap_or(0);
    let others = blocks.iter().cycle().skip(first);
    for block in others.take(blocks.len().min(MAX_TRIES)) {
        let now = read(domain, command, block.clone()).await?;
        let before = command.reader().read(None, vec![block.clone()]).await?;
        let length = usize::try_from(unit).unwrap_or(usize::MAX);
        let units = now.chunks(length).zip(before.chunks(length));
        let differing: Vec<u64> = (0_u64..)
            .zip(units)
            .filter(|(_, (now, before))| now != before)
            .map(|(number, _)| block.start + number * unit)
            .collect();
        let drawn = fault.planned.draw_within(differing.len() as u64);
        let drawn = usize::try_from(drawn)
            .ok()
            .and_then(|one| differing.get(one));
        if let Some(&start) = drawn {
            return Ok(start..(start + unit).min(block.end));
        }
    }
    Err(failed(
        "all that was written to the disk holds what it held before the run",
    ))
}

async fn read(
    domain: &mut dyn Domain,
    command: &Command,
    part: Range<u64>,
) -> Result<Vec<u8>, ControlError> {
    let changes = domain.disk_changes()?;
    command.reader().read(changes, vec![part]).await
}

fn failed(detail: &str) -> ControlError {
    ControlError::InjectionFailed {
        what: "into the disk at end".to_owned(),
        detail: detail.to_owned(),
    }
}
