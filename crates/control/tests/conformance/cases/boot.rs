//! What a hypervisor says of itself, and machines that it starts, or refuses to start.

use crate::provider::{FEW_STEPS, Provider, ended};
use crate::support::{PATIENCE, Workshop, chain, order, run_on, translated};
use anyhow::{Context, ensure};
use computation::job::{LineReader, Message};
use hypervisor::{Channel, HypervisorError, MachineSpec, Signal, Stop};

pub(crate) async fn its_version_is_a_name_and_a_number(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let version = provider.hypervisor().version();
    let (name, number) = version.split_once(' ').context("one word alone")?;
    ensure!(!name.is_empty() && number.starts_with(|c: char| c.is_ascii_digit()));
    Ok(())
}

/// All that other cases rely on is claimed, and nothing that the machine is not.
pub(crate) async fn it_says_what_it_can_do_with_a_machine(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let said = provider.hypervisor().capabilities(provider.spec());
    ensure!(said.deterministic && said.memory_access && said.registers && said.checkpoint);
    ensure!(said.changed_pages.is_some());
    let uncounted = MachineSpec {
        deterministic: false,
        ..provider.spec().clone()
    };
    let said = provider.hypervisor().capabilities(&uncounted);
    ensure!(!said.deterministic);
    Ok(())
}

pub(crate) async fn a_machine_runs_from_its_start(provider: &dyn Provider) -> anyhow::Result<()> {
    let spec = provider.spec();
    let mut booted = provider.hypervisor().boot(spec, &[provider.cpu()]).await?;
    // Nobody let it run.
    let stop = booted.wait_stop(PATIENCE).await?;
    let said = LineReader::new().feed(&booted.take_console());
    ensure!(stop == Stop::Signal, "{stop:?} after {said:?}");
    ensure!(said.iter().any(|said| matches!(said, Message::Hello(_))));

    // It has no snapshot that pages could differ from.
    ensure!(booted.changed_page_numbers().is_err());
    ensure!(booted.changed_pages().is_err());
    Ok(())
}

pub(crate) async fn a_machine_without_its_kernel_is_refused_by_name(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let spec = MachineSpec {
        kernel: "/nowhere/kernel".into(),
        ..provider.spec().clone()
    };
    let refused = provider.hypervisor().boot(&spec, &[provider.cpu()]).await;
    let error = refused.err().context("it was booted")?.to_string();
    ensure!(error.contains("/nowhere/kernel"), "{error}");
    Ok(())
}

pub(crate) async fn a_kernel_that_is_none_ends_the_emulator(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let kernel = place.path().join("kernel");
    std::fs::write(&kernel, [0x55; 100])?;
    let spec = MachineSpec {
        kernel,
        ..provider.spec().clone()
    };
    let refused = provider.hypervisor().boot(&spec, &[provider.cpu()]).await;
    let error = refused.err().context("it was booted")?;
    ensure!(matches!(error, HypervisorError::Exited { .. }), "{error}");
    Ok(())
}

pub(crate) async fn more_memory_than_there_is_room_for_is_refused(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let spec = MachineSpec {
        memory_bytes: 1 << 50,
        ..provider.spec().clone()
    };
    let refused = provider.hypervisor().boot(&spec, &[provider.cpu()]).await;
    let error = refused.err().context("it was booted")?;
    let HypervisorError::NoSpace { needed_bytes, .. } = error else {
        anyhow::bail!("{error}");
    };
    ensure!(needed_bytes >= spec.memory_bytes);
    Ok(())
}

pub(crate) async fn a_cpu_that_the_host_has_not_is_refused(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let refused = provider
        .hypervisor()
        .boot(provider.spec(), &[u32::MAX])
        .await;
    let error = refused.err().context("it was booted")?;
    ensure!(matches!(error, HypervisorError::Spawn { .. }), "{error}");
    Ok(())
}

pub(crate) async fn the_other_signal_and_the_other_channel_work_as_well(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Pci, Channel::Serial)?;
    let machine = workshop.machine(spec).await?;
    let mut replica = provider.replica(&machine).await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let said = run_on(replica.as_mut()).await?;
    ensure!(ended(&said), "the guest did not end: {said:?}");
    Ok(())
}
