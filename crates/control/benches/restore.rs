//! A replica is ready for at least 25 times less CPU time than a cold boot of the same machine.
//!
//! ```text
//! boot:     start ─────► hello ─► ready │           counted: the emulator's process, all threads,
//! restore:  start ─► state loaded, stopped │        up to the bar
//! ```
//!
//! Both ways are taken in one run, each several times; the medians are compared. Our own process's
//! share of a restore is shown too, and is not part of the figure.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]

mod support;
#[path = "../tests/support/mod.rs"]
mod workshop;

use anyhow::Context;
use control::machine::PreparedMachine;
use hypervisor::process::process_cpu_ns;
use hypervisor::{Channel, CpuSlot, Domain, Signal};
use rustix::time::{ClockId, clock_gettime};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::{Bound, Bounded, Trials, conclude, introduce};
use workshop::{CPU, Workshop, boot_to_ready, translated};

const BOOTS: usize = 3;
const RESTORES: usize = 20;

/// How many times cheaper a restore must be.
const LEAST_RATIO: f64 = 25.0;

/// Costs of making machines in one way.
#[derive(Default)]
struct Costs {
    emulator: Trials,
    ours: Trials,
    wall: Trials,
}

impl Costs {
    /// Adds what it took to make one machine.
    fn add(&mut self, domain: &dyn Domain, before: &Moment) -> anyhow::Result<()> {
        let emulator = process_cpu_ns(domain.pid()).context("the emulator is gone")?;
        let now = Moment::now();
        self.emulator.add(Duration::from_nanos(emulator));
        self.ours.add(now.cpu.saturating_sub(before.cpu));
        self.wall.add(now.wall.duration_since(before.wall));
        Ok(())
    }

    /// The emulator's CPU time and ours.
    fn median_s(&self) -> f64 {
        self.emulator.median_s() + self.ours.median_s()
    }

    fn show(&self, way: &str) {
        println!("{way:<8} emulator's CPU time {}", self.emulator);
        println!("{way:<8} our CPU time        {}", self.ours);
        println!("{way:<8} wall time           {}", self.wall);
    }
}

/// Two clocks, read together.
struct Moment {
    cpu: Duration,
    wall: Instant,
}

impl Moment {
    fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            wall: Instant::now(),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open().await?;
    introduce("restore", &workshop.session);
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    let machine = workshop.machine(spec).await?;
    let boots = boots(&workshop, &machine).await?;
    let restores = restores(&workshop, &machine).await?;
    boots.show("boot");
    restores.show("restore");
    println!(
        "boot ÷ restore with our CPU time: {:.2}",
        boots.median_s() / restores.median_s()
    );
    let ratio = boots.emulator.median_s() / restores.emulator.median_s();
    let figure = Bounded {
        what: "boot ÷ restore, CPU time of the emulator",
        ratio,
        bound: Bound::Least(LEAST_RATIO),
    };
    Ok(conclude("restore", &[figure]))
}

async fn boots(workshop: &Workshop, machine: &PreparedMachine) -> anyhow::Result<Costs> {
    let mut costs = Costs::default();
    for _ in 0..BOOTS {
        let slot = CpuSlot::take(&workshop.session.root, CPU).await?;
        let before = Moment::now();
        let domain =
            boot_to_ready(workshop.session.hypervisor.as_ref(), &machine.spec, CPU).await?;
        costs.add(domain.as_ref(), &before)?;
        domain.destroy().await;
        drop(slot);
    }
    Ok(costs)
}

async fn restores(workshop: &Workshop, machine: &PreparedMachine) -> anyhow::Result<Costs> {
    let mut costs = Costs::default();
    for _ in 0..RESTORES {
        let slot = CpuSlot::take(&workshop.session.root, CPU).await?;
        let before = Moment::now();
        let domain = workshop.replica(machine).await?;
        costs.add(domain.as_ref(), &before)?;
        domain.destroy().await;
        drop(slot);
    }
    Ok(costs)
}
