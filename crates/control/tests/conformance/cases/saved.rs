//! States that are written out: snapshots to go back to, and exports to look at.

use crate::provider::{FEW_STEPS, Provider, ended, number, result};
use crate::support::{PATIENCE, chain, order, run_on};
use anyhow::ensure;
use computation::job::Mark;
use hypervisor::Stop;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

pub(crate) async fn a_machine_is_gone_back_to_in_the_middle_of_its_work(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let waypoint = machine.hello.waypoints[0];
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[Mark::Half]))?;
    replica.set_breakpoint(waypoint).await?;
    replica.resume().await?;
    ensure!(replica.wait_stop(PATIENCE).await? == Stop::Breakpoint);
    replica.clear_breakpoint(waypoint).await?;
    let saved = replica.registers().await?;
    let place = tempfile::tempdir()?;
    let snapshot = replica.snapshot(place.path()).await?;
    replica.destroy().await;

    let (hypervisor, spec) = (provider.hypervisor(), provider.spec());
    let mut restored = hypervisor
        .restore(spec, &snapshot, &[provider.cpu()])
        .await?;
    ensure!(restored.registers().await? == saved);
    let said = run_on(restored.as_mut()).await?;
    ensure!(ended(&said), "{said:?}");
    restored.destroy().await;

    let mut undisturbed = provider.replica(&machine).await?;
    order(undisturbed.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    ensure!(result(&said)? == result(&run_on(undisturbed.as_mut()).await?)?);
    Ok(())
}

pub(crate) async fn a_snapshot_goes_into_an_empty_directory_alone(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let place = tempfile::tempdir()?;
    let absent = place.path().join("absent");
    ensure!(replica.snapshot(&absent).await.is_err());
    ensure!(!absent.exists());

    let memory = place.path().join("memory");
    fs::write(&memory, b"another machine's")?;
    ensure!(replica.snapshot(place.path()).await.is_err());
    ensure!(fs::read(&memory)? == b"another machine's");
    Ok(())
}

pub(crate) async fn an_export_is_the_whole_machine_and_it_goes_on(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let written: [u8; 16] = std::array::from_fn(|index| 0x3c ^ index as u8);
    replica.write_memory(provider.quiet(), &written)?;
    let place = tempfile::tempdir()?;
    let (memory, registers) = (place.path().join("memory"), place.path().join("registers"));
    replica.export(&memory, &registers).await?;

    let exported = File::open(&memory)?;
    ensure!(exported.metadata()?.len() == machine.spec.memory_bytes);
    let mut found = [0; 16];
    exported.read_exact_at(&mut found, provider.quiet().0)?;
    ensure!(found == written);
    let changed = replica.changed_pages()?;
    for (number, content) in changed.numbers.iter().zip(changed.bytes.chunks(4096)) {
        let mut found = [0; 4096];
        exported.read_exact_at(&mut found, number * 4096)?;
        ensure!(found == content, "page {number} was exported wrong");
    }
    let place = number(&replica.registers().await?, "rip")?;
    let text = fs::read_to_string(&registers)?.to_ascii_lowercase();
    ensure!(text.contains(&format!("rip={place:016x}")), "{text}");

    // Evidence that is there is not written over, and the machine is as good as before.
    ensure!(replica.export(&memory, &registers).await.is_err());
    ensure!(ended(&run_on(replica.as_mut()).await?));
    Ok(())
}
