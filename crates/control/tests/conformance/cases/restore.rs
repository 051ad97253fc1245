//! Machines out of a snapshot: what they are, and what they leave alone.

use crate::provider::{ENDLESS_STEPS, FEW_STEPS, Provider, SOME, ended, wait_for};
use crate::support::{chain, order, run_on};
use anyhow::{Context, ensure};
use hypervisor::{MachineSpec, Snapshot, Stop, WaitLimits};
use std::fs;
use std::time::Duration;

pub(crate) async fn a_restored_machine_is_the_one_that_was_saved(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let mut booted = provider.booted().await?;
    let saved = booted.registers().await?;
    let mut before = [0; 16];
    booted.read_memory(provider.quiet(), &mut before)?;
    let place = tempfile::tempdir()?;
    let snapshot = booted.snapshot(place.path()).await?;
    ensure!(snapshot == Snapshot::in_directory(place.path()));
    booted.destroy().await;

    let (hypervisor, spec) = (provider.hypervisor(), provider.spec());
    let mut restored = hypervisor
        .restore(spec, &snapshot, &[provider.cpu()])
        .await?;
    ensure!(restored.registers().await? == saved);
    ensure!(restored.changed_page_numbers()?.is_empty());
    let mut after = [0; 16];
    restored.read_memory(provider.quiet(), &mut after)?;
    ensure!(after == before);
    Ok(())
}

pub(crate) async fn a_restored_machine_stands_until_it_is_let_run(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let standing = replica.registers().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let changed = replica.changed_page_numbers()?;
    let limits = WaitLimits {
        cpu: Duration::MAX,
        wall: Duration::from_millis(200),
    };
    ensure!(replica.wait_stop(limits).await? == Stop::Deadline);
    ensure!(replica.registers().await? == standing);
    ensure!(replica.changed_page_numbers()? == changed);
    ensure!(replica.take_console().is_empty());

    ensure!(ended(&run_on(replica.as_mut()).await?));
    Ok(())
}

pub(crate) async fn a_snapshot_is_never_written_to(provider: &dyn Provider) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let digest = || {
        let files = [&machine.snapshot.memory, &machine.snapshot.device];
        let read = files.map(|file| Ok(blake3::hash(&fs::read(file)?)));
        read.into_iter().collect::<std::io::Result<Vec<_>>>()
    };
    let before = digest()?;
    let mut held = [0; 8];
    replica.read_memory(provider.quiet(), &mut held)?;
    replica.write_memory(provider.quiet(), &held.map(|byte| !byte))?;
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    ensure!(wait_for(replica.as_mut(), SOME).await? == Stop::Deadline);
    ensure!(replica.changed_page_numbers()?.len() > 1);

    // Neither the files nor another replica know of it.
    let mut other = provider.replica(&machine).await?;
    let mut seen = [0; 8];
    other.read_memory(provider.quiet(), &mut seen)?;
    ensure!(seen == held);
    ensure!(other.changed_page_numbers()?.is_empty());
    replica.destroy().await;
    ensure!(digest()? == before);
    Ok(())
}

pub(crate) async fn a_snapshot_that_does_not_fit_is_refused(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let machine = provider.machine().await?;
    let refused = async |spec: &MachineSpec, snapshot: &Snapshot| {
        let cpus = [provider.cpu()];
        let restored = provider.hypervisor().restore(spec, snapshot, &cpus);
        let error = restored.await.err().context("it was restored")?;
        Ok::<_, anyhow::Error>(error.to_string())
    };
    let larger = MachineSpec {
        memory_bytes: machine.spec.memory_bytes * 2,
        ..machine.spec.clone()
    };
    refused(&larger, &machine.snapshot).await?;

    let place = tempfile::tempdir()?;
    let absent = Snapshot::in_directory(place.path());
    let error = refused(&machine.spec, &absent).await?;
    ensure!(
        error.contains(&place.path().display().to_string()),
        "{error}"
    );

    // Half of its device state is missing.
    let device = fs::read(&machine.snapshot.device)?;
    let cut = Snapshot {
        memory: machine.snapshot.memory.clone(),
        device: place.path().join("device"),
    };
    fs::write(&cut.device, &device[..device.len() / 2])?;
    refused(&machine.spec, &cut).await?;
    Ok(())
}
