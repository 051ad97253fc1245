//! Why a machine stands still, and how long one waits for it.

use crate::provider::{AMPLE, ENDLESS_STEPS, FEW_STEPS, Provider, SOME, ended, wait_for};
use crate::support::{PATIENCE, chain, order, run_on};
use anyhow::{Context, ensure};
use computation::job::LineReader;
use hypervisor::{Stop, WaitLimits};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

pub(crate) async fn a_guest_that_goes_on_is_paused_at_its_limit(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    ensure!(wait_for(replica.as_mut(), SOME).await? == Stop::Deadline);
    // It stands still, and goes on when told to.
    let standing = replica.registers().await?;
    ensure!(replica.registers().await? == standing);
    replica.resume().await?;
    ensure!(wait_for(replica.as_mut(), SOME).await? == Stop::Deadline);
    ensure!(replica.registers().await? != standing);
    Ok(())
}

/// However much CPU time it may take.
pub(crate) async fn a_wait_ends_at_its_wall_time(provider: &dyn Provider) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    let limits = WaitLimits {
        cpu: Duration::MAX,
        wall: Duration::from_millis(300),
    };
    ensure!(replica.wait_stop(limits).await? == Stop::Deadline);
    let standing = replica.registers().await?;
    ensure!(replica.registers().await? == standing);
    Ok(())
}

pub(crate) async fn a_hung_guest_stays_where_it_is(provider: &dyn Provider) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let place = replica.registers().await?["rip"].clone();
    replica.hang().await?;
    replica.resume().await?;
    ensure!(wait_for(replica.as_mut(), AMPLE).await? == Stop::Deadline);
    ensure!(replica.registers().await?["rip"] == place);
    ensure!(replica.take_console().is_empty());
    Ok(())
}

/// It waits out the deadline of the pause: some twenty seconds of nothing.
pub(crate) async fn an_emulator_that_stands_still_is_ended_at_the_limit(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    let emulator = Pid::from_raw(replica.pid()).context("there is no emulator")?;
    kill_process(emulator, Signal::STOP)?;
    let limits = WaitLimits {
        cpu: Duration::MAX,
        wall: Duration::from_millis(300),
    };
    ensure!(replica.wait_stop(limits).await? == Stop::Deadline);
    ensure!(!replica.is_there());
    Ok(())
}

pub(crate) async fn a_power_off_is_told_leaves_a_state_and_is_the_end(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let said = run_on(replica.as_mut()).await?;
    ensure!(ended(&said), "{said:?}");
    replica.resume().await?;
    let stop = replica.wait_stop(PATIENCE).await?;
    ensure!(
        matches!(&stop, Stop::Shutdown(how) if !how.is_empty()),
        "{stop:?}"
    );
    ensure!(!replica.changed_page_numbers()?.is_empty());
    ensure!(!replica.registers().await?.is_empty());
    ensure!(replica.resume().await.is_err());
    Ok(())
}

pub(crate) async fn what_the_guest_says_is_given_once(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    ensure!(replica.take_console().is_empty());
    replica.resume().await?;
    ensure!(replica.wait_stop(PATIENCE).await? == Stop::Signal);
    let said = LineReader::new().feed(&replica.take_console());
    ensure!(ended(&said), "{said:?}");
    ensure!(replica.take_console().is_empty());
    Ok(())
}

pub(crate) async fn what_a_guest_uses_is_counted(provider: &dyn Provider) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let mut before = replica.usage();
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    for _ in 0..2 {
        replica.resume().await?;
        ensure!(wait_for(replica.as_mut(), SOME).await? == Stop::Deadline);
        let after = replica.usage();
        // At least what the wait was for.
        let spent = after.vcpu_cpu.ns() - before.vcpu_cpu.ns();
        ensure!(u128::from(spent) >= SOME.as_nanos(), "{spent} ns");
        ensure!(after.host_page_faults >= before.host_page_faults);
        before = after;
    }
    ensure!(before.host_page_faults > 0);
    Ok(())
}
