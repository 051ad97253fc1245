//! Whole runs in which anything may go wrong, drawn from a seed: what is asked for, what its guests
//! do, and which calls to the hypervisor fail, and how. Whatever happens, a run must keep what
//! `invariants` says. The fake writes down what really went wrong; that is the truth that a run is
//! held to.
//!
//! Other seeds, or one alone: `SIMULATION_SEEDS=17..18 cargo test -p control --test simulation`.

#[path = "../support/mod.rs"]
mod support;

mod drawn;
mod invariants;

use anyhow::{Context, ensure};
use drawn::Drawn;
use hypervisor::sim::SimHypervisor;
use invariants::{Kept, judge};
use std::collections::BTreeMap;
use support::simulated::Bench;

/// Seeds of the test; each is run twice.
const SEEDS: u64 = 150;

/// Runs over one store: what earlier ones left is looked at after every run.
const RUNS_OF_A_STORE: usize = 25;

/// Names other seeds, as `FIRST..END`.
const SEEDS_VARIABLE: &str = "SIMULATION_SEEDS";

/// Verdicts and errors that the seeds must reach, or they test little.
const ENDS: [&str; 5] = [
    "pass",
    "deviates",
    "inconclusive",
    "hypervisor",
    "guest-not-ready",
];

/// Says which seed it was, should something panic.
struct Announced(u64);

impl Drop for Announced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it panicked at seed {}", self.0);
        }
    }
}

/// Runs all seeds, one after the other; gives what came of each.
async fn walk(seeds: Vec<u64>) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    for seeds in seeds.chunks(RUNS_OF_A_STORE) {
        let bench = Bench::open().await?;
        let mut kept = Kept::default();
        for &seed in seeds {
            let _announced = Announced(seed);
            let one = one_run(&bench, &mut kept, seed).await;
            let again = || format!("{SEEDS_VARIABLE}={seed}..{} repeats it", seed + 1);
            told.push(one.with_context(again)?);
        }
    }
    Ok(told)
}

/// One run out of a seed, held to all invariants.
async fn one_run(bench: &Bench, kept: &mut Kept, seed: u64) -> anyhow::Result<String> {
    // No machine is kept from one run to the next: each begins with a boot.
    let machines = bench.place().join("store/cache/machines");
    if machines.exists() {
        std::fs::remove_dir_all(&machines)?;
    }
    let drawn = Drawn::from(seed);
    let hypervisor = SimHypervisor::with(drawn.troubles.clone());
    let outcome = bench
        .run(hypervisor.clone(), |request| drawn.put_into(request))
        .await?;
    let struck = hypervisor.struck();
    let what = || format!("{drawn:?}\nstruck: {struck:?}\noutcome: {outcome:?}");
    judge(&drawn, &struck, &outcome).with_context(what)?;
    ensure!(hypervisor.living() == 0, "machines live on; {}", what());
    kept.check(bench, &outcome).await.with_context(what)?;
    Ok(invariants::told(&outcome))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_a_run_says_so_and_leaves_nothing() -> anyhow::Result<()> {
    let seeds: Vec<u64> = match std::env::var(SEEDS_VARIABLE) {
        Ok(range) => {
            let (first, end) = range.split_once("..").context("FIRST..END")?;
            (first.parse()?..end.parse()?).collect()
        }
        Err(_) => (0..SEEDS).collect(),
    };
    let twice = [seeds.clone(), seeds.clone()].map(|seeds| tokio::spawn(walk(seeds)));
    let [one, other] = twice;
    let (one, other) = (one.await??, other.await??);
    for ((seed, one), other) in seeds.iter().zip(&one).zip(&other) {
        ensure!(one == other, "seed {seed} gave\n{one}\nand then\n{other}");
    }
    // The draws reach every end that a run can have.
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for told in &one {
        *ends
            .entry(told.split(' ').next().unwrap_or_default())
            .or_default() += 1;
    }
    println!("{ends:?}");
    if seeds.len() as u64 >= SEEDS {
        for end in ENDS {
            ensure!(ends.contains_key(end), "no run ended with {end}: {ends:?}");
        }
    }
    Ok(())
}
