//! Guest memory from outside, byte by byte.

use crate::provider::{AMPLE, FEW_STEPS, Provider, ended, wait_for};
use crate::support::{PATIENCE, chain, order};
use anyhow::{Context, ensure};
use computation::job::{LineReader, Mark};
use hypervisor::{HypervisorError, Stop};
use model::GuestPhysicalAddress;

pub(crate) async fn memory_is_read_as_it_was_written(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    // Across a page's end.
    let written: [u8; 16] = std::array::from_fn(|index| 0xf0 ^ index as u8);
    replica.write_memory(provider.quiet(), &written)?;
    let mut read = [0; 16];
    replica.read_memory(provider.quiet(), &mut read)?;
    ensure!(read == written);
    // A part of it, and nothing of it.
    let mut part = [0; 3];
    let inside = GuestPhysicalAddress(provider.quiet().0 + 6);
    replica.read_memory(inside, &mut part)?;
    ensure!(part == written[6..9]);
    replica.write_memory(inside, &[])?;
    replica.read_memory(inside, &mut [])?;
    replica.read_memory(provider.quiet(), &mut read)?;
    ensure!(read == written);
    Ok(())
}

pub(crate) async fn beyond_its_bounds_memory_is_neither_read_nor_written(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let end = machine.spec.memory_bytes;
    let mut last = [0; 8];
    replica.read_memory(GuestPhysicalAddress(end - 8), &mut last)?;
    // Half inside, just outside, and where the address itself overflows.
    for start in [end - 8, end, u64::MAX - 3] {
        let start = GuestPhysicalAddress(start);
        let refusals = [
            replica.read_memory(start, &mut [0; 16]),
            replica.write_memory(start, &[0x77; 16]),
            replica.patch_memory(start, &[0x77; 16]).await,
        ];
        for refusal in refusals {
            let error = refusal.err().context("it was reached")?;
            let named = matches!(
                error,
                HypervisorError::OutsideMemory { address, memory_bytes }
                    if address == start.0 && memory_bytes == end
            );
            ensure!(named, "{error}");
        }
    }
    // What lies inside was not written either.
    let mut after = [0; 8];
    replica.read_memory(GuestPhysicalAddress(end - 8), &mut after)?;
    ensure!(after == last);
    ensure!(replica.changed_page_numbers()?.is_empty());
    Ok(())
}

pub(crate) async fn a_patch_is_read_back(provider: &dyn Provider) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let patch: Vec<u8> = (0..4096_u32).map(|index| (index % 251) as u8).collect();
    replica.patch_memory(provider.quiet(), &patch).await?;
    let mut read = vec![0; patch.len()];
    replica.read_memory(provider.quiet(), &mut read)?;
    ensure!(read == patch);
    Ok(())
}

pub(crate) async fn a_patch_takes_effect_on_code_that_has_run(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    const JUMP_TO_ITSELF: [u8; 2] = [0xeb, 0xfe];
    let (machine, mut replica) = provider.ready().await?;
    let symbols = machine.symbols.as_ref().context("no symbols")?;
    let entry = symbols
        .physical_of("entry_SYSCALL_64")
        .context("no entry")?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[Mark::Half]))?;
    // By then the guest has made system calls; it makes one more after its last step.
    replica.set_breakpoint(machine.hello.waypoints[0]).await?;
    replica.resume().await?;
    ensure!(replica.wait_stop(PATIENCE).await? == Stop::Breakpoint);
    replica.clear_breakpoint(machine.hello.waypoints[0]).await?;
    let entry = GuestPhysicalAddress(entry);
    replica.patch_memory(entry, &JUMP_TO_ITSELF).await?;
    replica.resume().await?;
    ensure!(wait_for(replica.as_mut(), AMPLE).await? == Stop::Deadline);
    let said = LineReader::new().feed(&replica.take_console());
    ensure!(!ended(&said), "the guest ended: {said:?}");
    Ok(())
}
