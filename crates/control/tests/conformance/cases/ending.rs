//! The end of a machine, as its owner wants it: nothing of it is left.

use crate::provider::{ENDLESS_STEPS, Provider};
use crate::support::{chain, order};
use anyhow::ensure;
use std::fs;

pub(crate) async fn a_destroyed_machine_leaves_nothing(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, replica) = provider.ready().await?;
    let is_left = provider.trace(replica.as_ref());
    ensure!(is_left());
    replica.destroy().await;
    ensure!(!is_left());
    Ok(())
}

pub(crate) async fn a_running_machine_that_is_dropped_leaves_nothing(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    let is_left = provider.trace(replica.as_ref());
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    ensure!(is_left());
    drop(replica);
    ensure!(!is_left());
    Ok(())
}

pub(crate) async fn its_process_is_a_child_of_ours(provider: &dyn Provider) -> anyhow::Result<()> {
    let (_machine, replica) = provider.ready().await?;
    let status = fs::read_to_string(format!("/proc/{}/status", replica.pid()))?;
    let parent = format!("PPid:\t{}", std::process::id());
    ensure!(status.lines().any(|line| line == parent), "{status}");
    Ok(())
}
