//! One trial: the replicas that are run, what the detector says, what is true.

use crate::campaign::cause::KnownCause;
use crate::campaign::evidence::HintEvidence;
use crate::campaign::grade::HintGrade;
use crate::campaign::load::Load;
use crate::campaign::oracle::Whole;
use crate::campaign::outcome::{Ending, Shown, TrialOutcome};
use crate::campaign::pages::PageTally;
use crate::campaign::past;
use crate::campaign::plan::{CampaignPlan, PlannedComputation, Trial};
use crate::campaign::record::TrialRecord;
use crate::error::ControlError;
use crate::golden::known_digest;
use crate::injection::{self, Injection, PlannedInjection};
use crate::machine::PreparedMachine;
use crate::progress::Silent;
use crate::replica::{Captured, ReplicaContext, run_replica};
use crate::request::{Keep, RunPlan, TCG_INSTRUCTIONS_PER_S, placements};
use crate::run::{Known, analyse};
use crate::session::Session;
use divergence::{Analysis, Replica, Surroundings};
use futures::stream::{self, StreamExt, TryStreamExt};
use model::{Outcome, ReplicaIndex};
use std::time::Duration;

/// CPU time of a clean replica before one is known.
const FIRST_DEADLINE: Duration = Duration::from_secs(600);

/// CPU time of a replica that is not bit-exact beyond three times its size: threads of several
/// processors wait for each other, by how much nobody knows.
const INEXACT_ALLOWANCE_S: f64 = 20.0;

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
    first_deadline: Duration,
    /// Host CPUs that each replica takes.
    width: usize,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        session: &'a Session,
        machine: &'a PreparedMachine,
        computation: &'a PlannedComputation,
        campaign: &CampaignPlan,
    ) -> Result<Self, ControlError> {
        let descriptor = computation.descriptor()?;
        let first_deadline = if machine.spec.deterministic {
            FIRST_DEADLINE
        } else {
            let instructions = descriptor.instructions_per_step as f64 * computation.steps as f64;
            let seconds = instructions * descriptor.emulation_weight / TCG_INSTRUCTIONS_PER_S;
            Duration::from_secs_f64(
                f64::from(DEADLINE_FACTOR).mul_add(seconds, INEXACT_ALLOWANCE_S),
            )
        };
        let plan = RunPlan {
            computation: descriptor.into(),
            choice: None,
            replicas: campaign.replicas,
            seed: computation.seed,
            steps: computation.steps,
            jobs: 1,
            cpus: Vec::new(),
            injections: Vec::new(),
            stops: if machine.spec.deterministic {
                computation.stops(campaign.kind)
            } else {
                Vec::new()
            },
            keep: Keep::Differing,
            deadline: first_deadline,
            multiplier: 1.0,
            origin: None,
            check_pages: campaign.check_pages,
        };
        Ok(Self {
            session,
            machine,
            name: &computation.name,
            plan,
            first_deadline,
            width: if machine.spec.deterministic {
                1
            } else {
                (machine.spec.vcpus as usize).clamp(1, session.host.cpus.len().max(1))
            },
        })
    }

    /// A plan whose replicas take the host's CPUs in turn, beginning anywhere.
    pub(super) fn plan(
        &self,
        turn: u32,
        injections: Vec<PlannedInjection>,
        deadline: Duration,
    ) -> RunPlan {
        let host_cpus = &self.session.host.cpus;
        RunPlan {
            cpus: placements(
                host_cpus,
                self.width,
                turn as usize,
                self.plan.replicas as usize,
            ),
            injections,
            deadline,
            ..self.plan.clone()
        }
    }

    /// What is the same in all trials.
    pub(super) const fn base_plan(&self) -> &RunPlan {
        &self.plan
    }

    pub(super) const fn machine(&self) -> &PreparedMachine {
        self.machine
    }

    pub(super) const fn session(&self) -> &Session {
        self.session
    }

    pub(super) const fn first_deadline(&self) -> Duration {
        self.first_deadline
    }

    /// The digest that a run must come to.
    pub(super) fn golden(&self, plan: &RunPlan) -> Result<Option<String>, ControlError> {
        known_digest(self.session, plan, self.machine.hello.isa_class)
    }

    pub(super) async fn replica(
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
            stall: None,
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
        let orders = [order.to_owned()];
        let tried = match self.struck(reference, trial, &orders).await? {
            Struck::Nothing(detail) => {
                return Ok(self.record(trial, fault, TrialOutcome::Masked, detail));
            }
            Struck::Tried(tried) => *tried,
        };
        Ok(TrialRecord {
            pages: PageTally::of([&tried.captured]),
            ..self.record(trial, fault, tried.outcome, tried.detail)
        })
    }

    /// One fault of known cause in one replica; its hints are held against the cause.
    pub(super) async fn hints(
        &self,
        reference: &Reference,
        trial: &Trial,
        cause: &KnownCause,
    ) -> Result<TrialRecord, ControlError> {
        let fault = cause.class.to_string();
        let tried = match self.struck(reference, trial, &cause.orders).await? {
            Struck::Nothing(detail) => {
                return Ok(self.record(trial, fault, TrialOutcome::Masked, detail));
            }
            Struck::Tried(tried) => *tried,
        };
        let struck = tried.captured.injections.iter();
        let page = struck
            .filter_map(|one| Some(one.address?.0 / model::PAGE_BYTES as u64))
            .next();
        let evidence = self.evidence(&tried.analysis, trial, (cause, page));
        let grade = evidence
            .as_ref()
            .and_then(|evidence| HintGrade::of(&evidence.rank(), cause));
        let said = grade.as_ref().map(|grade| {
            let sure = grade.probability * 100.0;
            format!("; said {} with {sure:.0} %", grade.first)
        });
        let detail = format!("{}{}", tried.detail, said.unwrap_or_default());
        Ok(TrialRecord {
            hint: grade,
            evidence: evidence.map(Box::new),
            pages: PageTally::of([&tried.captured]),
            ..self.record(trial, fault, tried.outcome, detail)
        })
    }

    /// What hints are ranked from: differences, core and past, as those of a run are.
    fn evidence(
        &self,
        analysis: &Analysis,
        trial: &Trial,
        (cause, page): (&KnownCause, Option<u64>),
    ) -> Option<HintEvidence> {
        let past = past::draw(cause, trial.draw, page);
        let surroundings = Surroundings {
            cores: vec![(ReplicaIndex(trial.replica), past.core)],
            earlier: past.earlier,
            portable: self.plan.computation.is_portable(),
            ..Surroundings::default()
        };
        HintEvidence::of(analysis, crate::run::about(self.machine), surroundings)
    }

    /// Orders carried out in one replica, which is held against the clean one.
    async fn struck(
        &self,
        reference: &Reference,
        trial: &Trial,
        orders: &[String],
    ) -> Result<Struck, ControlError> {
        let order = orders.join(" and ");
        let injections = orders
            .iter()
            .map(|order| {
                Ok(Injection {
                    replica: Some(trial.replica),
                    ..Injection::parse(order)?
                })
            })
            .collect::<Result<Vec<Injection>, ControlError>>()?;
        let replicas = self.plan.replicas;
        let planned = injection::plan(&injections, trial.draw, replicas, self.plan.steps)?;
        let plan = self.plan(trial.number, planned, reference.deadline);
        let captured = match self.replica(&plan, trial.replica, true).await {
            Ok(captured) => captured,
            // Nothing lay where the fault was to fall: nothing was done.
            Err(ControlError::InjectionFailed { what, detail }) => {
                let detail = format!("{order}: nothing was injected {what}: {detail}");
                return Ok(Struck::Nothing(detail));
            }
            Err(error) => return Err(error),
        };
        let (words, registers) = match &captured.whole {
            Some(whole) => reference.whole.differences(whole),
            None => (0, 0),
        };
        let told_otherwise = told(&captured) != told(&reference.captured);
        let analysis = self.judge(&plan, |index| {
            if index == trial.replica {
                &captured
            } else {
                &reference.captured
            }
        })?;
        let shown = Shown {
            faulty: trial.replica,
            ending: match captured.record.outcome {
                Outcome::Ended => Ending::Ended,
                Outcome::Hung => Ending::Hung,
                Outcome::Crashed(_) => Ending::Crashed,
            },
            differs: words > 0 || registers > 0 || told_otherwise,
            named: named(&analysis),
        };
        Ok(Struck::Tried(Box::new(Tried {
            outcome: shown.outcome(),
            detail: format!("{order}: {words} words, {registers} registers differ"),
            analysis,
            captured,
        })))
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
        Ok(TrialRecord {
            pages: PageTally::of(&captured),
            ..self.record(trial, "none".to_owned(), outcome, detail)
        })
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
        let golden = self.golden(plan)?;
        analyse(
            &replicas,
            dropped.sum(),
            self.machine,
            plan,
            Known {
                golden: golden.as_deref(),
                history: None,
                aligned: None,
            },
        )
    }

    pub(super) fn record(
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
            hint: None,
            evidence: None,
            pages: None,
        }
    }
}

/// What became of orders.
enum Struck {
    /// Nothing lay where they were to fall.
    Nothing(String),
    Tried(Box<Tried>),
}

/// A replica with a fault, and what was said of it.
struct Tried {
    outcome: TrialOutcome,
    detail: String,
    analysis: Analysis,
    captured: Captured,
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
