//! Runs without a fault: how many of them deviate. Every one that does is a false alarm.
//!
//! The computations of the library take turns. Every second run shares the machine with a load that
//! keeps all CPUs busy: what the host's scheduler does must not show.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::ensure;
use serde_json::Value;

use crate::product::{FOUND, Product, data};

/// How many runs.
const RUNS: u64 = 50;

/// CPU time of a replica.
const BUDGET: &str = "300ms";

/// What the runs came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passes: u64,
    deviations: u64,
    others: u64,
}

impl Tally {
    fn add(&mut self, exit_code: Option<i32>, verdict: &str) {
        match (exit_code, verdict) {
            (Some(0), "pass") => self.passes += 1,
            (Some(FOUND), _) => self.deviations += 1,
            _ => self.others += 1,
        }
    }

    fn met(&self) -> bool {
        self.passes > 0 && self.deviations == 0 && self.others == 0
    }

    fn line(&self) -> String {
        let runs = self.passes + self.deviations + self.others;
        let bound = match stats::upper_bound_of_none(runs) {
            Some(bound) if self.met() => {
                format!(", with 95 % confidence below {:.1} %", bound * 1e2)
            }
            _ => String::new(),
        };
        let verdict = if self.met() { "met" } else { "not met" };
        format!(
            "clean: {} of {runs} runs deviate, {} end without a verdict{bound} (bound 0): {verdict}",
            self.deviations, self.others
        )
    }
}

/// Carries the runs out.
pub(super) fn run() -> anyhow::Result<()> {
    let product = Product::build("clean")?;
    let computations = computations(&product)?;
    let mut tally = Tally::default();
    for (seed, computation) in (0..RUNS).zip(computations.iter().cycle()) {
        let load = (seed % 2 == 1).then(Load::start);
        let started = Instant::now();
        let seed = seed.to_string();
        let output = product.execute(&[
            "run",
            "start",
            computation,
            "--replicas",
            "3",
            "--budget",
            BUDGET,
            "--seed",
            &seed,
        ])?;
        let verdict = data(&output).unwrap_or_default()["verdict"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        tally.add(output.status.code(), &verdict);
        eprintln!(
            "seed {seed}, {computation}{}: {verdict}, {:.1} s{}",
            if load.is_some() { ", under load" } else { "" },
            started.elapsed().as_secs_f64(),
            complaint(&output.stderr)
        );
    }
    crate::put_out(&tally.line())?;
    ensure!(tally.met(), "runs without a fault must pass");
    Ok(())
}

/// The names of the library's computations.
fn computations(product: &Product) -> anyhow::Result<Vec<String>> {
    let library = product.ask(&["computation", "ls"])?;
    let names: Vec<String> = library["computations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|computation: &Value| Some(computation["name"].as_str()?.to_owned()))
        .collect();
    ensure!(!names.is_empty(), "the library holds no computation");
    Ok(names)
}

/// What a command said on its way, as the end of a line.
fn complaint(said: &[u8]) -> String {
    match String::from_utf8_lossy(said).trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

/// Threads that keep every CPU busy until this is dropped.
#[derive(Debug)]
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..count).map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut turns = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    turns = black_box(turns.wrapping_add(1));
                }
            })
        });
        Self {
            threads: threads.collect(),
            over,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ends: &[(i32, &str)], met: bool, line: &str) {
        let mut tally = Tally::default();
        for (exit_code, verdict) in ends {
            tally.add(Some(*exit_code), verdict);
        }
        assert_eq!(tally.met(), met, "{tally:?}");
        assert_eq!(tally.line(), line);
    }

    #[test]
    fn only_passes_meet_the_bound() {
        check(
            &[(0, "pass"); 50],
            true,
            "clean: 0 of 50 runs deviate, 0 end without a verdict, with 95 % confidence below 5.8 % \
             (bound 0): met",
        );
        check(
            &[(0, "pass"), (3, "deviates")],
            false,
            "clean: 1 of 2 runs deviate, 0 end without a verdict (bound 0): not met",
        );
        check(
            &[(0, "pass"), (6, "inconclusive"), (1, "none"), (0, "none")],
            false,
            "clean: 0 of 4 runs deviate, 3 end without a verdict (bound 0): not met",
        );
        check(
            &[],
            false,
            "clean: 0 of 0 runs deviate, 0 end without a verdict (bound 0): not met",
        );
    }

    #[test]
    fn a_load_ends_when_it_is_dropped() {
        let load = Load::start();
        let over = Arc::clone(&load.over);
        drop(load);
        // All threads are joined: nobody else holds it.
        assert_eq!(Arc::strong_count(&over), 1);
    }
}
