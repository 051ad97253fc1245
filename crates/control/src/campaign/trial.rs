//! One trial: the replicas that are run, what the detector says, what is true.

use crate::campaign::file::TrialRecord;
use crate::campaign::load::Load;
use crate::campaign::oracle::Whole;
use crate::campaign::outcome::{Ending, Shown, TrialOutcome};
use crate::campaign::plan::{PlannedComputation, Trial};
use crate::error::ControlError;
use crate::golden::known_digest;
use crate::injection::{self, Injection, PlannedInjection};
use crate::machine::PreparedMachine;
use crate::progress::Silent;
use crate::replica::{Captured, ReplicaContext, run_replica};
use crate::request::{Keep, RunPlan};
use crate::run::analyse;
use crate::session::Session;
use divergence::{Analysis, Replica};
use futures::stream::{self, StreamExt, TryStreamExt};
use model::{Outcome, ReplicaIndex};
use std::time::Duration;

/// CPU time of a clean replica before one is known.
const FIRST_DEADLINE: Duration = Duration::from_secs(600);

/// A replica hangs that takes so many times the CPU time of a clean one.
const DEADLINE_FACTOR: u32 = 3;

/// The shortest deadline: limits are looked at ten times a second.
const MIN_DEADLINE: Duration = Duration::from_millis(500);

/// The clean replica that stands for all others.
#[derive(Debug)]
pub(super) struct Reference {
    captured: Captured,
    whole: Whole,
    deadline: Duration,
}

/// What the trials of one computation are carried out with.
pub(super) struct Bench<'a> {
    session: &'a Session,
    machine: &'a PreparedMachine,
    name: &'a str,
    plan: RunPlan,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        session: &'a Session,
        machine: &'a PreparedMachine,
        computation: &'a PlannedComputation,
        replicas: u32,
    ) -> Result<Self, ControlError> {
        let plan = RunPlan {
            computation: computation.descriptor()?.into(),
            choice: None,
            replicas,
            seed: computation.seed,
            steps: computation.steps,
            jobs: 1,
            cpus: Vec::new(),
            injections: Vec::new(),
            stops: computation.stops(),
            keep: Keep::Differing,
            deadline: FIRST_DEADLINE,
            multiplier: 1.0,
        };
        Ok(Self {
            session,
            machine,
            name: &computation.name,
            plan,
        })
    }

    /// A plan whose replicas take the host's CPUs in turn, beginning anywhere.
    fn plan(&self, turn: u32, injections: Vec<PlannedInjection>, deadline: Duration) -> RunPlan {
        let cpus = self.session.host.cpus.iter().copied().cycle();
        let cpus = cpus.skip(turn as usize % self.session.host.cpus.len().max(1));
        RunPlan {
            cpus: cpus.take(self.plan.replicas as usize).collect(),
            injections,
            deadline,
            ..self.plan.clone()
        }
    }

    async fn replica(
        &self,
        plan: &RunPlan,
        index: u32,
        whole: bool,
    ) -> Result<Captured, ControlError> {
        let context = ReplicaContext {
            hypervisor: &self.session.hypervisor,
            root: &self.session.root,
            host: &self.session.host,
            machine: self.machine,
            plan,
            progress: &Silent,
            export: None,
            whole,
        };
        run_replica(&context, index, None).await
    }

    /// Runs the clean replica, twice: it must be the same.
    pub(super) async fn reference(&self) -> Result<Reference, ControlError> {
        let plan = self.plan(0, Vec::new(), FIRST_DEADLINE);
        let (mut first, mut second) = (
            self.replica(&plan, 0, true).await?,
            self.replica(&plan, 1, true).await?,
        );
        let (whole, again) = (first.whole.take(), second.whole.take());
        let (Some(whole), Some(again)) = (whole, again) else {
            return Err(ControlError::Compare("no whole image was read".to_owned()));
        };
        if first.record.outcome != Outcome::Ended || whole != again || told(&first) != told(&second)
        {
            return Err(ControlError::Compare(format!(
                "two clean replicas of {} are not the same: a campaign needs bit-exact runs",
                self.name
            )));
        }
        let clean = Duration::from_nanos(first.record.cpu.ns());
        Ok(Reference {
            captured: first,
            whole,
            deadline: clean.saturating_mul(DEADLINE_FACTOR).max(MIN_DEADLINE),
        })
    }

    /// One fault in one replica, held against the clean one.
    pub(super) async fn fault(
        &self,
        reference: &Reference,
        trial: &Trial,
        order: &str,
    ) -> Result<TrialRecord, ControlError> {
        let injection = Injection::parse(order)?;
        let fault = format!("{} {}", injection.part.name(), injection.mode);
        let injection = Injection {
            replica: Some(trial.replica),
            ..injection
        };
        let replicas = self.plan.replicas;
        let planned = injection::plan(&[injection], trial.draw, replicas, self.plan.steps)?;
        let plan = self.plan(trial.number, planned, reference.deadline);
        let captured = match self.replica(&plan, trial.replica, true).await {
            Ok(captured) => captured,
            // Nothing lay where the fault was to fall: nothing was done.
            Err(ControlError::InjectionFailed { what, detail }) => {
                let detail = format!("{order}: nothing was injected {what}: {detail}");
                return Ok(self.record(trial, fault, TrialOutcome::Masked, detail));
            }
            Err(error) => return Err(error),
        };
        let (words, registers) = match &captured.whole {
            Some(whole) => reference.whole.differences(whole),
            None => (0, 0),
        };
        let told_otherwise = told(&captured) != told(&reference.captured);
        let shown = Shown {
            faulty: trial.replica,
            ending: match captured.record.outcome {
                Outcome::Ended => Ending::Ended,
                Outcome::Hung => Ending::Hung,
                Outcome::Crashed(_) => Ending::Crashed,
            },
            differs: words > 0 || registers > 0 || told_otherwise,
            named: named(&self.judge(&plan, |index| {
                if index == trial.replica {
                    &captured
                } else {
                    &reference.captured
                }
            })?),
        };
        let detail = format!("{order}: {words} words, {registers} registers differ");
        Ok(self.record(trial, fault, shown.outcome(), detail))
    }

    /// All replicas, none with a fault; the host is kept busy where that was drawn.
    pub(super) async fn clean(&self, trial: &Trial) -> Result<TrialRecord, ControlError> {
        let plan = self.plan(trial.number, Vec::new(), FIRST_DEADLINE);
        let load = trial
            .loaded
            .then(|| Load::start(self.session.host.cpus.len()));
        // The order is another one in every trial.
        let order = (0..plan.replicas).map(|turn| (turn + trial.number) % plan.replicas);
        let mut captured: Vec<Captured> = stream::iter(order)
            .map(|index| self.replica(&plan, index, false))
            .buffer_unordered(self.session.host.cpus.len().max(1))
            .try_collect()
            .await?;
        drop(load);
        captured.sort_by_key(|replica| replica.record.index);
        let analysis = self.judge(&plan, |index| {
            captured.get(index as usize).unwrap_or(&captured[0])
        })?;
        let outcome = if analysis.verdict == model::Verdict::Pass {
            TrialOutcome::Clean
        } else {
            TrialOutcome::FalseAlarm
        };
        let load = if trial.loaded {
            "busy host"
        } else {
            "quiet host"
        };
        let detail = format!(
            "{load}, from cpu {:?}: {}",
            plan.cpus.first(),
            analysis.reason
        );
        Ok(self.record(trial, "none".to_owned(), outcome, detail))
    }

    /// What the detector says of replicas.
    fn judge<'b>(
        &self,
        plan: &RunPlan,
        state: impl Fn(u32) -> &'b Captured,
    ) -> Result<Analysis, ControlError> {
        let replicas: Vec<Replica<'_>> = (0..plan.replicas)
            .map(|index| Replica {
                index: ReplicaIndex(index),
                state: &state(index).state,
            })
            .collect();
        let dropped = (0..plan.replicas).map(|index| state(index).dropped_bytes);
        let golden = known_digest(self.session, plan, self.machine.hello.isa_class)?;
        analyse(
            &replicas,
            dropped.sum(),
            self.machine,
            plan,
            (golden.as_deref(), None),
        )
    }

    fn record(
        &self,
        trial: &Trial,
        fault: String,
        outcome: TrialOutcome,
        detail: String,
    ) -> TrialRecord {
        TrialRecord {
            number: trial.number,
            computation: self.name.to_owned(),
            fault,
            outcome,
            detail,
        }
    }
}

/// What a replica told, besides its machine: log, result, files and what the guest counts.
fn told(captured: &Captured) -> impl PartialEq {
    let state = &captured.state;
    let exact = state.metrics.iter().filter(|metric| metric.exact);
    let exact: Vec<_> = exact
        .map(|one| (one.name.clone(), one.value.to_bits()))
        .collect();
    let files: Vec<_> = state.files.iter().map(|file| format!("{file:?}")).collect();
    (state.log.clone(), state.result_digest.clone(), files, exact)
}

/// Whom the detector names; a run that it cannot decide names nobody, but says so.
fn named(analysis: &Analysis) -> Vec<Option<u32>> {
    let who = analysis.deviations.iter();
    let who: Vec<_> = who.map(|one| one.replica.map(|index| index.0)).collect();
    if who.is_empty() && analysis.verdict != model::Verdict::Pass {
        return vec![None];
    }
    who
}
