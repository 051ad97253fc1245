//! What every run must keep, whatever went wrong in it:
//!
//! 1. It ends with a verdict, or with an error that names what failed.
//! 2. What failed is not passed over: a call that failed fails the run, and a replica that was lost
//!    is told as lost; then the run never passes.
//! 3. Where most replicas are sound, those that were lost are named, and no sound one is.
//! 4. It is recorded as it ended; what earlier runs recorded is as it was.
//! 5. No machine is left, and no file but those of the store and of the kept machine.

use crate::drawn::Drawn;
use crate::support::simulated::Bench;
use anyhow::{Context, ensure};
use control::ControlError;
use hypervisor::sim::{CallTrouble, GuestTrouble, Stroke, Struck};
use model::{Finding, Outcome, Run, RunId, Verdict};
use std::collections::BTreeSet;
use std::path::Path;
use store::{FindingFilter, RunState};

/// Calls that are asked for data, and may be given nonsense.
const DATA: [&str; 6] = [
    "wait for a stop",
    "read memory",
    "read changed pages",
    "list changed pages",
    "read registers",
    "list registers",
];

/// Those of them whose answer is all that a run knows of a replica's state.
const TELLING: [&str; 3] = ["wait for a stop", "read changed pages", "read registers"];

/// What an error's code may be where nonsense was answered.
const CODES_OF_NONSENSE: [&str; 5] = [
    "internal",
    "guest-not-ready",
    "outside-memory",
    "injection-failed",
    "unknown-register",
];

/// Whether it is an answer of nonsense; every other failure of a call is an error.
fn is_nonsense(stroke: &Stroke) -> bool {
    matches!(stroke, Stroke::Call { name, how: CallTrouble::Nonsense } if DATA.contains(name))
}

/// 1 to 3.
pub(crate) fn judge(
    drawn: &Drawn,
    struck: &[Struck],
    outcome: &Result<Run, ControlError>,
) -> anyhow::Result<()> {
    match outcome {
        Ok(run) => judge_run(drawn, struck, run),
        Err(error) => judge_error(struck, error),
    }
}

fn judge_error(struck: &[Struck], error: &ControlError) -> anyhow::Result<()> {
    let text = error.to_string();
    let explains = |struck: &Struck| match &struck.what {
        stroke if is_nonsense(stroke) => CODES_OF_NONSENSE.contains(&error.code()),
        Stroke::Call { name, .. } => text.contains(name),
        Stroke::Guest(_) if struck.replica.is_some() => false,
        Stroke::Guest(what) => error.code() == "guest-not-ready" && text.contains(words(what)),
    };
    ensure!(
        struck.iter().any(explains),
        "nothing that went wrong is named"
    );
    // The run ends with the first call that failed: there is no second one.
    let failed = struck.iter().filter(|struck| match &struck.what {
        Stroke::Call { .. } => !is_nonsense(&struck.what),
        Stroke::Guest(_) => false,
    });
    ensure!(failed.count() <= 1, "it went on after a call that failed");
    Ok(())
}

/// What is told of a guest that did not get ready.
fn words(what: &GuestTrouble) -> &str {
    match what {
        GuestTrouble::Hang => "no sign of it",
        GuestTrouble::Crash(how) => how,
        GuestTrouble::Fail(why) => why,
        GuestTrouble::Silence => "without an introduction",
        // These alone do not keep it from getting ready.
        GuestTrouble::Say(_) | GuestTrouble::Flip { .. } => "\0",
    }
}

fn judge_run(drawn: &Drawn, struck: &[Struck], run: &Run) -> anyhow::Result<()> {
    for one in struck {
        let overlooked = match &one.what {
            Stroke::Call { .. } => !is_nonsense(&one.what),
            Stroke::Guest(what) => one.replica.is_none() && what.is_loss(),
        };
        ensure!(!overlooked, "{one:?} was passed over");
    }
    let whose = |matches: &dyn Fn(&Stroke) -> bool| -> BTreeSet<u64> {
        let those = struck.iter().filter(|one| matches(&one.what));
        those.filter_map(|one| one.replica).collect()
    };
    let lost = whose(&|what| matches!(what, Stroke::Guest(guest) if guest.is_loss()));
    let untold = whose(&|what| matches!(what, Stroke::Call { name, .. } if TELLING.contains(name)));
    let touched: BTreeSet<u64> = whose(&|_| true)
        .into_iter()
        .chain(drawn.fault.iter().map(|(_, replica)| *replica))
        .collect();
    ensure!(run.replicas.len() == drawn.replicas as usize);
    for record in &run.replicas {
        let index = u64::from(record.index.0);
        let ended = record.outcome == Outcome::Ended;
        ensure!(
            !(ended && lost.contains(&index)),
            "replica {index} was lost"
        );
        ensure!(
            ended || touched.contains(&index),
            "replica {index} was sound"
        );
        ensure!(
            ended || run.verdict != Verdict::Pass,
            "it passed without replica {index}"
        );
    }
    if !lost.is_empty() || !untold.is_empty() {
        ensure!(run.verdict != Verdict::Pass, "it passed");
    }
    if touched.is_empty() {
        ensure!(
            run.verdict == Verdict::Pass,
            "nothing went wrong: {}",
            run.reason
        );
        ensure!(run.coverage.bytes_compared > 0);
    }
    judge_names(drawn, run, &lost, &touched)
}

/// Who is named, where a strict majority is sound.
fn judge_names(
    drawn: &Drawn,
    run: &Run,
    lost: &BTreeSet<u64>,
    touched: &BTreeSet<u64>,
) -> anyhow::Result<()> {
    if touched.len() * 2 >= drawn.replicas as usize {
        return Ok(());
    }
    let named: BTreeSet<u64> = run
        .deviations
        .iter()
        .filter_map(|deviation| deviation.replica)
        .map(|index| u64::from(index.0))
        .collect();
    ensure!(
        named.is_subset(touched),
        "{named:?} are named, {touched:?} were touched"
    );
    ensure!(
        lost.is_subset(&named),
        "{named:?} are named, {lost:?} were lost"
    );
    let sound = matches!(run.verdict, Verdict::Pass | Verdict::Deviates);
    ensure!(sound, "most are sound, and it is {}", run.verdict);
    Ok(())
}

/// The outcome as a text in which equal orders are equal: without ids, moments and places.
pub(crate) fn told(outcome: &Result<Run, ControlError>) -> String {
    match outcome {
        Err(error) => format!("{} {error}", error.code()),
        Ok(run) => {
            let replicas = run.replicas.iter().map(|record| {
                (
                    &record.outcome,
                    record.steps,
                    record.changed_pages,
                    &record.result_digest,
                )
            });
            format!(
                "{} {} {:?} {:?} {:?} {:?}",
                run.verdict,
                run.reason,
                replicas.collect::<Vec<_>>(),
                run.injections,
                run.deviations,
                run.warnings
            )
        }
    }
}

/// What the runs so far have recorded.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    runs: usize,
    /// Newest first.
    findings: Vec<Finding>,
    /// Those that ended in a verdict: they alone have evidence.
    ended: BTreeSet<RunId>,
    /// A piece of evidence, as it was when it was written.
    evidence: Option<(String, Vec<u8>)>,
}

impl Kept {
    /// 4 and 5, after one more run.
    pub(crate) async fn check(
        &mut self,
        bench: &Bench,
        outcome: &Result<Run, ControlError>,
    ) -> anyhow::Result<()> {
        self.runs += 1;
        self.check_record(bench, outcome).await?;
        self.check_findings(bench, outcome).await?;
        self.check_evidence(bench, outcome).await?;
        self.check_files(bench.place())
    }

    async fn check_record(
        &mut self,
        bench: &Bench,
        outcome: &Result<Run, ControlError>,
    ) -> anyhow::Result<()> {
        let recorded = bench.store.runs(u32::MAX).await?;
        ensure!(recorded.len() == self.runs, "{} runs", recorded.len());
        let last = recorded.first().context("no run")?;
        match outcome {
            Ok(run) => {
                ensure!(
                    last.id == run.id && last.state == RunState::Ended,
                    "{last:?}"
                );
                ensure!(last.verdict == Some(run.verdict), "{last:?}");
                ensure!(bench.store.run(run.id).await?.as_ref() == Some(run));
                self.ended.insert(run.id);
            }
            Err(error) => {
                ensure!(last.state == RunState::Failed, "{last:?}");
                ensure!(last.reason == Some(error.to_string()), "{last:?}");
            }
        }
        Ok(())
    }

    /// Findings of this run are new; all others are as they were.
    async fn check_findings(
        &mut self,
        bench: &Bench,
        outcome: &Result<Run, ControlError>,
    ) -> anyhow::Result<()> {
        let all = bench.store.findings(FindingFilter::default()).await?;
        let added = all.len().checked_sub(self.findings.len());
        let (added, earlier) = all.split_at(added.context("a finding is gone")?);
        ensure!(earlier == self.findings, "an earlier finding has changed");
        match outcome {
            Ok(run) => {
                ensure!(added.iter().all(|finding| finding.run == Some(run.id)));
                let is_found = matches!(run.verdict, Verdict::Deviates | Verdict::Inconclusive);
                ensure!(added.is_empty() != is_found, "{} findings", added.len());
            }
            Err(_) => ensure!(added.is_empty(), "a run that failed has findings"),
        }
        self.findings = all;
        Ok(())
    }

    async fn check_evidence(
        &mut self,
        bench: &Bench,
        outcome: &Result<Run, ControlError>,
    ) -> anyhow::Result<()> {
        if let Some((key, before)) = &self.evidence {
            ensure!(
                bench.store.get_blob(key).await? == *before,
                "{key} has changed"
            );
            return Ok(());
        }
        if let Ok(run) = outcome
            && let Some(key) = run.replicas.iter().find_map(|record| record.state.clone())
        {
            let content = bench.store.get_blob(&key).await?;
            self.evidence = Some((key, content));
        }
        Ok(())
    }

    fn check_files(&self, place: &Path) -> anyhow::Result<()> {
        let mut directories = vec![place.to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    directories.push(path.clone());
                }
                let name = path.strip_prefix(place)?.to_string_lossy().into_owned();
                ensure!(self.belongs(&name), "{name} is left");
            }
        }
        Ok(())
    }

    /// Whether a file or directory has a reason to be there when no run is at work.
    fn belongs(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            ["kernel" | "run" | "store"] | ["run", "cpu-0.lock"] => true,
            [
                "store",
                "cache" | "blobs" | "staging" | "writers" | "reserve",
            ] => true,
            ["store", database] => database.starts_with("events.sqlite"),
            // The one writer that is at work, and what it stages: nothing.
            ["store", "staging" | "writers", _writer] => true,
            ["store", "blobs", "runs"] | ["store", "cache", "machines"] => true,
            ["store", "blobs", "runs", run, ..] => {
                self.ended.iter().any(|ended| ended.to_string() == *run)
            }
            ["store", "cache", "machines", key, ..] => !key.starts_with("unfinished"),
            _ => false,
        }
    }
}
