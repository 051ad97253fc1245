//! The end of a machine that nobody asked for: it is an error, soon, and never an answer.

use crate::provider::{ENDLESS_STEPS, Provider};
use crate::support::{PATIENCE, chain, order};
use anyhow::{Context, ensure};
use hypervisor::HypervisorError;

pub(crate) async fn every_call_to_a_machine_that_was_killed_is_an_error(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let place = tempfile::tempdir()?;
    let waypoint = machine.hello.waypoints[0];
    let is_left = provider.trace(replica.as_ref());
    provider.kill(replica.as_ref());
    let lost = [
        ("resume", replica.resume().await.err()),
        ("wait", replica.wait_stop(PATIENCE).await.err()),
        (
            "read",
            replica.read_memory(provider.quiet(), &mut [0; 8]).err(),
        ),
        (
            "write",
            replica.write_memory(provider.quiet(), &[0; 8]).err(),
        ),
        (
            "patch",
            replica.patch_memory(provider.quiet(), &[0; 8]).await.err(),
        ),
        ("pages", replica.changed_pages().err()),
        ("list", replica.changed_page_numbers().err()),
        ("registers", replica.registers().await.err()),
        ("flip", replica.flip_register("rbx", 0).await.err()),
        ("writable", replica.writable_registers().await.err()),
        ("hang", replica.hang().await.err()),
        ("set", replica.set_breakpoint(waypoint).await.err()),
        ("clear", replica.clear_breakpoint(waypoint).await.err()),
        ("snapshot", replica.snapshot(place.path()).await.err()),
        (
            "export",
            replica
                .export(&place.path().join("m"), &place.path().join("r"))
                .await
                .err(),
        ),
    ];
    for (call, error) in lost {
        let error = error.with_context(|| format!("{call} was answered"))?;
        ensure!(!error.to_string().is_empty(), "{call}");
    }
    // What it has left can still be asked for, and it is destroyed as any other.
    replica.take_console();
    replica.usage();
    replica.destroy().await;
    ensure!(!is_left());
    Ok(())
}

pub(crate) async fn a_machine_that_is_killed_while_it_runs_ends_the_wait(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    provider.kill(replica.as_ref());
    let error = replica.wait_stop(PATIENCE).await.err();
    let error = error.context("the wait was answered")?;
    let HypervisorError::Exited { status, .. } = &error else {
        anyhow::bail!("{error}");
    };
    ensure!(status.contains('9'), "{error}");
    Ok(())
}
