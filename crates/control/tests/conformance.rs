//! What every hypervisor's domain must do, shown on the driver that there is: each method of the
//! trait `Domain` has an effect that the guest or a second look confirms.

mod support;

use anyhow::{Context, ensure};
use computation::job::{LineReader, Mark, Message};
use control::machine::PreparedMachine;
use hypervisor::{Channel, Domain, Signal, Snapshot, Stop, WaitLimits};
use model::GuestPhysicalAddress;
use std::time::Duration;
use support::{PATIENCE, Workshop, boot_to_ready, chain, order, run_on, translated};

/// Eight bytes before the end of a page of main memory.
const QUIET_ADDRESS: GuestPhysicalAddress = GuestPhysicalAddress(0x600_0ff8);

/// Steps of a job that takes a moment.
const FEW_STEPS: u64 = 8;

/// Steps of a job that no test waits for.
const ENDLESS_STEPS: u64 = 1 << 30;

/// A bench to work at, and one replica that is ready.
async fn ready() -> anyhow::Result<(Workshop, PreparedMachine, Box<dyn Domain>)> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    let machine = workshop.machine(spec).await?;
    let replica = workshop.replica(&machine).await?;
    Ok((workshop, machine, replica))
}

fn ended(messages: &[Message]) -> bool {
    messages
        .iter()
        .any(|said| matches!(said, Message::Mark(mark) if mark.name == Mark::End))
}

fn result(messages: &[Message]) -> anyhow::Result<String> {
    messages
        .iter()
        .find_map(|said| match said {
            Message::Result(result) => Some(result.digest.to_string()),
            _ => None,
        })
        .context("the guest told no result")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_machine_is_the_one_that_was_saved() -> anyhow::Result<()> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    let mut booted = boot_to_ready(&workshop, &spec).await?;
    let saved = booted.registers().await?;
    let place = tempfile::tempdir()?;
    let snapshot = booted.snapshot(place.path()).await?;
    assert_eq!(snapshot, Snapshot::in_directory(place.path()));
    booted.destroy().await;

    let hypervisor = &workshop.session.hypervisor;
    let mut restored = hypervisor.restore(&spec, &snapshot, support::CPU).await?;
    assert_eq!(restored.registers().await?, saved);
    assert_eq!(restored.changed_page_numbers()?, Vec::<u64>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_read_as_it_was_written_and_only_in_its_bounds() -> anyhow::Result<()> {
    let (_workshop, machine, mut replica) = ready().await?;
    // Across a page's end.
    let written: [u8; 16] = std::array::from_fn(|index| 0xf0 ^ index as u8);
    replica.write_memory(QUIET_ADDRESS, &written)?;
    let mut read = [0; 16];
    replica.read_memory(QUIET_ADDRESS, &mut read)?;
    assert_eq!(read, written);

    let last = GuestPhysicalAddress(machine.spec.memory_bytes - 8);
    assert!(replica.read_memory(last, &mut read).is_err());
    assert!(replica.write_memory(last, &written).is_err());
    assert!(replica.patch_memory(last, &written).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_register_holds_the_flipped_bit() -> anyhow::Result<()> {
    let (_workshop, _machine, mut replica) = ready().await?;
    let before = replica.registers().await?;
    let (told_before, told_after) = replica.flip_register("rbx", 5).await?;
    let after = replica.registers().await?;
    let value = |text: &str| u64::from_str_radix(text, 16);
    assert_eq!(value(&told_before)? ^ value(&told_after)?, 1 << 5);
    assert_eq!(value(&before["rbx"])?, value(&told_before)?);
    assert_eq!(value(&after["rbx"])?, value(&told_after)?);
    let others = |registers: &hypervisor::RegisterSet| {
        let mut others = registers.clone();
        others.remove("rbx");
        others
    };
    assert_eq!(others(&before), others(&after));

    let unknown = replica.flip_register("rbz", 0).await;
    let message = unknown.err().context("rbz was flipped")?.to_string();
    assert!(message.contains("rbx"), "{message}");
    assert!(replica.flip_register("rbx", 64).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_takes_effect_on_code_that_has_run() -> anyhow::Result<()> {
    const JUMP_TO_ITSELF: [u8; 2] = [0xeb, 0xfe];
    let (_workshop, machine, mut replica) = ready().await?;
    let symbols = machine.symbols.as_ref().context("no symbols")?;
    let entry = symbols
        .physical_of("entry_SYSCALL_64")
        .context("no entry")?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[Mark::Half]))?;
    // By then the guest has made system calls; it makes one more after its last step.
    replica.set_breakpoint(machine.hello.waypoints[0]).await?;
    replica.resume().await?;
    assert_eq!(replica.wait_stop(PATIENCE).await?, Stop::Breakpoint);
    replica.clear_breakpoint(machine.hello.waypoints[0]).await?;
    let entry = GuestPhysicalAddress(entry);
    replica.patch_memory(entry, &JUMP_TO_ITSELF).await?;
    replica.resume().await?;
    assert_eq!(wait_shortly(replica.as_mut()).await?, Stop::Deadline);
    let said = LineReader::new().feed(&replica.take_console());
    assert!(!ended(&said), "the guest ended: {said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breakpoint_stops_the_guest_and_changes_nothing() -> anyhow::Result<()> {
    let (workshop, machine, mut stopped) = ready().await?;
    let job = chain(FEW_STEPS, &[Mark::Half]);
    let waypoint = machine.hello.waypoints[0];
    order(stopped.as_mut(), &machine, &job)?;
    stopped.set_breakpoint(waypoint).await?;
    stopped.resume().await?;
    assert_eq!(stopped.wait_stop(PATIENCE).await?, Stop::Breakpoint);
    let address = u64::from_str_radix(&stopped.registers().await?["rip"], 16)?;
    assert_eq!(address, waypoint.0);
    stopped.clear_breakpoint(waypoint).await?;
    let said = run_on(stopped.as_mut()).await?;
    assert!(ended(&said), "{said:?}");

    let mut unstopped = workshop.replica(&machine).await?;
    order(unstopped.as_mut(), &machine, &job)?;
    let result_unstopped = result(&run_on(unstopped.as_mut()).await?)?;
    assert_eq!(result(&said)?, result_unstopped);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_goes_on_is_paused_at_its_limit() -> anyhow::Result<()> {
    let (_workshop, machine, mut replica) = ready().await?;
    order(replica.as_mut(), &machine, &chain(ENDLESS_STEPS, &[]))?;
    replica.resume().await?;
    assert_eq!(wait_shortly(replica.as_mut()).await?, Stop::Deadline);
    // It stands still, and goes on when told to.
    let standing = replica.registers().await?;
    assert_eq!(replica.registers().await?, standing);
    replica.resume().await?;
    assert_eq!(wait_shortly(replica.as_mut()).await?, Stop::Deadline);
    assert_ne!(replica.registers().await?, standing);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_guest_stays_where_it_is() -> anyhow::Result<()> {
    let (_workshop, machine, mut replica) = ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let place = replica.registers().await?["rip"].clone();
    replica.hang().await?;
    replica.resume().await?;
    assert_eq!(wait_shortly(replica.as_mut()).await?, Stop::Deadline);
    assert_eq!(replica.registers().await?["rip"], place);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_off_is_told_and_leaves_a_state_to_read() -> anyhow::Result<()> {
    let (_workshop, machine, mut replica) = ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let said = run_on(replica.as_mut()).await?;
    assert!(ended(&said), "{said:?}");
    replica.resume().await?;
    let stop = replica.wait_stop(PATIENCE).await?;
    assert!(matches!(stop, Stop::Shutdown(_)), "{stop:?}");
    assert!(!replica.changed_page_numbers()?.is_empty());
    assert!(!replica.registers().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_signal_and_the_other_channel_work_as_well() -> anyhow::Result<()> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Pci, Channel::Serial)?;
    let machine = workshop.machine(spec).await?;
    let mut replica = workshop.replica(&machine).await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    let said = run_on(replica.as_mut()).await?;
    ensure!(ended(&said), "the guest did not end: {said:?}");
    Ok(())
}

/// Waits for half a second of the guest's CPU time at most.
async fn wait_shortly(domain: &mut dyn Domain) -> anyhow::Result<Stop> {
    let used = Duration::from_nanos(domain.usage().vcpu_cpu.ns());
    let limits = WaitLimits {
        cpu: used + Duration::from_millis(500),
        wall: PATIENCE.wall,
    };
    Ok(domain.wait_stop(limits).await?)
}
