//! Breakpoints: where they stop a guest, and that they leave no trace in it.

use crate::provider::{FEW_STEPS, Provider, ended, number, result};
use crate::support::{PATIENCE, chain, order, run_on};
use anyhow::ensure;
use computation::job::{LineReader, Mark};
use hypervisor::{ChangedPages, RegisterSet, Stop};

pub(crate) async fn a_breakpoint_stops_the_guest_and_changes_nothing(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut stopped) = provider.ready().await?;
    let job = chain(FEW_STEPS, &[Mark::Half]);
    let waypoint = machine.hello.waypoints[0];
    order(stopped.as_mut(), &machine, &job)?;
    stopped.set_breakpoint(waypoint).await?;
    stopped.resume().await?;
    ensure!(stopped.wait_stop(PATIENCE).await? == Stop::Breakpoint);
    ensure!(number(&stopped.registers().await?, "rip")? == waypoint.0);
    let said = LineReader::new().feed(&stopped.take_console());
    ensure!(!ended(&said), "{said:?}");
    stopped.clear_breakpoint(waypoint).await?;
    let said = run_on(stopped.as_mut()).await?;
    ensure!(ended(&said), "{said:?}");

    let mut unstopped = provider.replica(&machine).await?;
    order(unstopped.as_mut(), &machine, &job)?;
    ensure!(result(&said)? == result(&run_on(unstopped.as_mut()).await?)?);
    Ok(())
}

pub(crate) async fn a_breakpoint_that_was_taken_away_is_passed(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let stops = [Mark::Half, Mark::Step(FEW_STEPS - 1)];
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &stops))?;
    let [first, second] = machine.hello.waypoints;
    replica.set_breakpoint(first).await?;
    replica.set_breakpoint(second).await?;
    replica.clear_breakpoint(first).await?;
    replica.resume().await?;
    ensure!(replica.wait_stop(PATIENCE).await? == Stop::Breakpoint);
    ensure!(number(&replica.registers().await?, "rip")? == second.0);

    // One that is left stops again at once; it executes nothing.
    replica.resume().await?;
    ensure!(replica.wait_stop(PATIENCE).await? == Stop::Breakpoint);
    ensure!(number(&replica.registers().await?, "rip")? == second.0);
    replica.clear_breakpoint(second).await?;
    ensure!(ended(&run_on(replica.as_mut()).await?));
    Ok(())
}

pub(crate) async fn a_breakpoint_that_is_not_there_cannot_be_taken_away(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let [first, second] = machine.hello.waypoints;
    replica.set_breakpoint(first).await?;
    ensure!(replica.clear_breakpoint(second).await.is_err());
    replica.clear_breakpoint(first).await?;
    ensure!(replica.clear_breakpoint(first).await.is_err());
    Ok(())
}

/// What a deterministic hypervisor promises, on the way and at the end.
pub(crate) async fn equal_machines_stay_equal_over_a_breakpoint(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let machine = provider.machine().await?;
    let mut states: Vec<[(RegisterSet, ChangedPages); 2]> = Vec::new();
    for _ in 0..2 {
        let mut replica = provider.replica(&machine).await?;
        let waypoint = machine.hello.waypoints[0];
        order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[Mark::Half]))?;
        replica.set_breakpoint(waypoint).await?;
        replica.resume().await?;
        ensure!(replica.wait_stop(PATIENCE).await? == Stop::Breakpoint);
        let half = (replica.registers().await?, replica.changed_pages()?);
        replica.clear_breakpoint(waypoint).await?;
        ensure!(ended(&run_on(replica.as_mut()).await?));
        let end = (replica.registers().await?, replica.changed_pages()?);
        ensure!(half != end);
        states.push([half, end]);
        replica.destroy().await;
    }
    let [one, other] = states.try_into().expect("two replicas ran");
    ensure!(one[0] == other[0], "they differ at the breakpoint");
    ensure!(one[1] == other[1], "they differ at the end");
    Ok(())
}
