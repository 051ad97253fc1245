//! Progress on stderr: one line that moves on a terminal, log lines elsewhere with `-v`.

use control::campaign::{Campaign, CampaignSink, TrialRecord};
use control::{Progress, ProgressSink};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Shows what a run does.
pub(crate) struct Bar {
    bar: ProgressBar,
    running: Mutex<Vec<u32>>,
}

impl Bar {
    /// A bar for a number of replicas; it draws only on a terminal, and not when quiet.
    pub(crate) fn new(replicas: u32, quiet: bool) -> Self {
        let bar = bar(
            "{spinner} {bar:24} {pos}/{len} replicas  {msg}  {elapsed}",
            quiet,
        );
        bar.set_length(u64::from(replicas));
        Self {
            bar,
            running: Mutex::new(Vec::new()),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn replicas(&self, change: impl FnOnce(&mut Vec<u32>)) -> String {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut running);
        let names: Vec<String> = running.iter().map(u32::to_string).collect();
        names.join(", ")
    }
}

/// A bar of a form; it draws only on a terminal, and not when quiet.
fn bar(form: &str, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let draw = !quiet && std::io::stderr().is_terminal();
    bar.set_draw_target(if draw {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    if draw {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

/// Shows how much of a disk was read.
pub(crate) struct Reading {
    bar: ProgressBar,
}

impl Reading {
    /// A bar without bytes yet.
    pub(crate) fn new(quiet: bool) -> Self {
        let form =
            "{spinner} {bar:24} {binary_bytes}/{binary_total_bytes} read  {elapsed}, {eta} left";
        Self {
            bar: bar(form, quiet),
        }
    }

    /// So much of all was read.
    pub(crate) fn reached(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows how far a campaign has come.
pub(crate) struct Trials {
    bar: ProgressBar,
    quiet: bool,
}

impl Trials {
    /// A bar without trials yet.
    pub(crate) fn new(quiet: bool) -> Self {
        let form = "{spinner} {bar:24} {pos}/{len} trials  {msg}  {elapsed}, {eta} left";
        Self {
            bar: bar(form, quiet),
            quiet,
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl CampaignSink for Trials {
    fn begins(&self, campaign: &Campaign) {
        let header = &campaign.header;
        if !self.quiet {
            anstream::eprintln!("campaign {}, truth sealed as {}", header.id, header.seal);
        }
        self.bar.set_length(u64::from(header.plan.trials));
        self.bar.set_position(campaign.trials.len() as u64);
    }

    fn ended(&self, trial: &TrialRecord) {
        tracing::info!(
            number = trial.number,
            outcome = trial.outcome.name(),
            "a trial has ended"
        );
        self.bar.inc(1);
        self.bar.set_message(trial.computation.clone());
    }
}

impl ProgressSink for Bar {
    fn step(&self, progress: Progress) {
        let message = match progress {
            Progress::Booting => {
                tracing::info!("stage boot: the machine is booted once");
                "booting the machine once".to_owned()
            }
            Progress::MachineReady { cached } => {
                tracing::info!(cached, "stage machine: ready to make replicas of");
                "machine ready".to_owned()
            }
            Progress::Restored(replica) => {
                tracing::info!(%replica, "stage restore: a replica was restored");
                let running = self.replicas(|running| running.push(replica.0));
                format!("running replica {running}")
            }
            Progress::Running(replica) => {
                tracing::info!(%replica, "stage run: a replica runs");
                return;
            }
            Progress::Capturing(replica) => {
                tracing::info!(%replica, "stage capture: a replica's state is captured");
                return;
            }
            Progress::Done(replica, outcome) => {
                tracing::info!(%replica, %outcome, "a replica is done");
                self.bar.inc(1);
                let running =
                    self.replicas(|running| running.retain(|&running| running != replica.0));
                format!("running replica {running}")
            }
            Progress::Comparing => {
                tracing::info!("stage compare: the states are compared");
                "comparing".to_owned()
            }
            Progress::Storing => {
                tracing::info!("stage store: evidence and verdict are stored");
                "storing".to_owned()
            }
        };
        self.bar.set_message(message);
    }
}
