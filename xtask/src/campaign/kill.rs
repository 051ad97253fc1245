//! `kill -9` of a run at a random time. The next command must find, and leave, a sound house.
//!
//! ```text
//!  [other instance at work] ─► run starts ──drawn time──► killed ─► next command ─► checks
//!                                                                       │
//!  a finding or a verdict once seen must be seen for ever  ◄────────────┘
//! ```
//!
//! Four circumstances take turns, one a trial. Times are uniform over the duration of the same run
//! undisturbed, measured at the start. A run that ended before it could be killed is no trial: it is
//! tried again at another time.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::draw::fraction;
use super::leftovers::Leftovers;
use super::other::Other;
use super::record::{Record, Trial};
use super::seen::Seen;
use crate::product::{FOUND, Product};

/// The run that is killed: it ends with a finding.
const VICTIM: &[&str] = &[
    "run",
    "start",
    "sha256",
    "--replicas",
    "3",
    "--budget",
    "500ms",
    "--inject",
    "ram=live@end,replica=1",
];

/// How often a run may end before it is killed: the drawn times are below its usual duration.
const ATTEMPTS: u32 = 10;

/// Under which circumstances a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Circumstance {
    /// Its machine must be booted first.
    Cold,
    /// Its machine is there.
    Warm,
    /// Its machine is there, and all images are kept: storing takes longer.
    Keeping,
    /// Its machine is there, and another instance is at work.
    Beside,
}

impl Circumstance {
    const ALL: [Self; 4] = [Self::Cold, Self::Warm, Self::Keeping, Self::Beside];

    fn of(trial: u32) -> Self {
        Self::ALL[trial as usize % Self::ALL.len()]
    }

    fn text(self) -> &'static str {
        match self {
            Self::Cold => "killed with a boot ahead",
            Self::Warm => "killed",
            Self::Keeping => "killed while all is kept",
            Self::Beside => "killed beside another instance",
        }
    }

    /// The run that is killed.
    fn victim(self) -> Vec<&'static str> {
        let keep: &[&str] = match self {
            Self::Keeping => &["--keep", "all"],
            Self::Cold | Self::Warm | Self::Beside => &[],
        };
        [VICTIM, keep].concat()
    }

    /// Sees that a machine is there, or is not.
    fn prepare(self, product: &Product) -> anyhow::Result<()> {
        let machines = product.machines();
        match self {
            Self::Cold if machines.exists() => fs::remove_dir_all(&machines)
                .with_context(|| format!("cannot remove {}", machines.display())),
            Self::Cold => Ok(()),
            Self::Warm | Self::Keeping | Self::Beside => {
                let mut kept = fs::read_dir(&machines).into_iter().flatten();
                if kept.next().is_none() {
                    duration(product, Self::Warm)?;
                }
                Ok(())
            }
        }
    }
}

/// Does the trials that are missing.
pub(super) fn trials(product: &Product, record: &mut Record, trials: u32) -> anyhow::Result<()> {
    let usual = Durations::measure(product)?;
    let mut seen = Seen::default();
    let failures = seen.look(product);
    ensure!(failures.is_empty(), "before the first trial: {failures:?}");
    for number in record.missing(trials) {
        let circumstance = Circumstance::of(number);
        let usual = usual.of(circumstance);
        let time = |attempt| usual.mul_f64(fraction(record.seed(), number, attempt));
        let (time, failures) = trial(product, &mut seen, circumstance, time)?;
        let what = format!("{} after {:.3} s", circumstance.text(), time.as_secs_f64());
        eprintln!("trial {number}: {what}: {}", verdict(&failures));
        record.add(Trial {
            number,
            what,
            failures,
        })?;
    }
    afterwards(product)
}

fn verdict(failures: &[String]) -> String {
    if failures.is_empty() {
        "sound".to_owned()
    } else {
        format!("FAILED, {}", failures.join("; "))
    }
}

/// How long the runs take that are going to be killed.
struct Durations {
    cold: Duration,
    warm: Duration,
    keeping: Duration,
}

impl Durations {
    fn measure(product: &Product) -> anyhow::Result<Self> {
        let durations = Self {
            cold: duration(product, Circumstance::Cold)?,
            warm: duration(product, Circumstance::Warm)?,
            keeping: duration(product, Circumstance::Keeping)?,
        };
        eprintln!(
            "undisturbed: {:.1} s with a boot, {:.1} s without, {:.1} s where all is kept",
            durations.cold.as_secs_f64(),
            durations.warm.as_secs_f64(),
            durations.keeping.as_secs_f64()
        );
        Ok(durations)
    }

    fn of(&self, circumstance: Circumstance) -> Duration {
        match circumstance {
            Circumstance::Cold => self.cold,
            Circumstance::Warm | Circumstance::Beside => self.warm,
            Circumstance::Keeping => self.keeping,
        }
    }
}

fn duration(product: &Product, circumstance: Circumstance) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let output = product.execute(&circumstance.victim())?;
    ensure!(
        output.status.code() == Some(FOUND),
        "a run with an injected fault ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(started.elapsed())
}

/// After all that, a run without a fault passes.
fn afterwards(product: &Product) -> anyhow::Result<()> {
    let run = product.ask(&["run", "start", "sha256", "--budget", "100ms"])?;
    ensure!(
        run["verdict"] == "pass",
        "a run after all trials ended with verdict {}",
        run["verdict"]
    );
    Ok(())
}

/// Kills one run. Returns when it was killed, counted from its start, and what went wrong.
fn trial(
    product: &Product,
    seen: &mut Seen,
    circumstance: Circumstance,
    time: impl Fn(u32) -> Duration,
) -> anyhow::Result<(Duration, Vec<String>)> {
    circumstance.prepare(product)?;
    let mut other = match circumstance {
        Circumstance::Beside => Some(Other::start(product)?),
        Circumstance::Cold | Circumstance::Warm | Circumstance::Keeping => None,
    };
    let killed = kill_one(product, circumstance, time)?;
    let mut failures = Vec::new();
    if let Err(error) = product.ask(&["run", "ls"]) {
        failures.push(format!("{error:#}"));
    }
    let at_work = other.as_ref().map(Other::files).unwrap_or_default();
    failures.extend(Leftovers::staying(product, at_work).failures());
    if let Some(other) = &mut other {
        failures.extend(other.check_at_work()?);
    }
    failures.extend(seen.look(product));
    if let Some(other) = other {
        failures.extend(other.end()?);
        failures.extend(Leftovers::staying(product, &[]).failures());
    }
    Ok((killed, failures))
}

/// Starts the run and kills it at a drawn time; tries again where it had ended by then.
fn kill_one(
    product: &Product,
    circumstance: Circumstance,
    time: impl Fn(u32) -> Duration,
) -> anyhow::Result<Duration> {
    for attempt in 0..ATTEMPTS {
        circumstance.prepare(product)?;
        let time = time(attempt);
        let mut victim = product.start(&circumstance.victim(), Stdio::null())?;
        thread::sleep(time);
        let ended = victim.try_wait().context("cannot look at a run")?;
        victim.kill().context("cannot kill a run")?;
        victim.wait().context("cannot wait for a killed run")?;
        if ended.is_none() {
            return Ok(time);
        }
    }
    bail!("{ATTEMPTS} runs in a row ended before they could be killed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_circumstances_take_turns() {
        let turns: Vec<_> = (4..8).map(Circumstance::of).collect();
        assert_eq!(turns, Circumstance::ALL);
    }

    #[test]
    fn only_one_circumstance_keeps_all() {
        let keeping = |circumstance: &Circumstance| circumstance.victim().contains(&"--keep");
        let count = Circumstance::ALL.iter().filter(|one| keeping(one)).count();
        assert_eq!(count, 1);
    }
}
