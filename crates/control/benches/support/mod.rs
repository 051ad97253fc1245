//! What benches share: CPU time, several trials, and the one line that says whether a bound is met.

#![allow(
    dead_code,
    reason = "each bench is a program of its own and uses a part of this"
)]

use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

/// A figure that is held against a bound.
#[derive(Debug)]
pub(crate) struct Bounded {
    /// What the figure is.
    pub(crate) what: &'static str,
    /// The figure, without a unit: a ratio.
    pub(crate) ratio: f64,
    /// What it is held against.
    pub(crate) bound: Bound,
}

/// The side on which a figure must lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// At least this.
    Least(f64),
    /// At most this.
    Most(f64),
}

impl Bounded {
    fn met(&self) -> bool {
        match self.bound {
            Bound::Least(least) => self.ratio >= least,
            Bound::Most(most) => self.ratio <= most,
        }
    }
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self.bound {
            Bound::Least(least) => ('≥', least),
            Bound::Most(most) => ('≤', most),
        };
        write!(f, "{} {:.2} (bound {sign} {bound})", self.what, self.ratio)
    }
}

/// Ends a bench: one last line, and the exit code that goes with it.
pub(crate) fn conclude(bench: &str, figures: &[Bounded]) -> ExitCode {
    let shown: Vec<String> = figures.iter().map(ToString::to_string).collect();
    let met = figures.iter().all(Bounded::met);
    let verdict = if met { "met" } else { "not met" };
    println!("{bench}: {}: {verdict}", shown.join(", "));
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Says on what kind of machine, and how busy, the figures come about.
pub(crate) fn introduce(bench: &str, session: &control::Session) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_ascii_whitespace().take(3).collect();
    println!(
        "{bench}: {}, {} CPUs, load {} before",
        session.hypervisor.version(),
        session.host.cpus.len(),
        load.join(" ")
    );
}

/// The CPU time that a piece of work takes on this thread.
pub(crate) fn cpu_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = thread_cpu();
    let outcome = work();
    (outcome, thread_cpu().saturating_sub(before))
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Times of one kind of work, a trial each.
#[derive(Debug, Default)]
pub(crate) struct Trials(Vec<Duration>);

impl Trials {
    /// Adds a trial.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The least: what the work costs where nothing else disturbs it.
    pub(crate) fn best_s(&self) -> f64 {
        self.0.iter().min().map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// The middle one.
    pub(crate) fn median_s(&self) -> f64 {
        let seconds: Vec<f64> = self.0.iter().map(Duration::as_secs_f64).collect();
        stats::median(&seconds).unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.0.iter().max().map_or(f64::NAN, Duration::as_secs_f64);
        write!(
            f,
            "best {:.2} ms, median {:.2} ms, worst {:.2} ms of {} trials",
            self.best_s() * 1e3,
            self.median_s() * 1e3,
            most * 1e3,
            self.0.len()
        )
    }
}
