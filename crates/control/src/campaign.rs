//! A campaign: many trials of the detector against known truth.
//!
//! ```text
//!  drawn ─► sealed, recorded ─► for each computation: clean replica, twice ─► trial … trial ─► truth told
//!                                        │ they differ                  │ asked to stop, killed
//!                                        ▼                              ▼
//!                                     refused                 stopped ──resume──► the trials that are left
//! ```
//!
//! A trial with a fault runs one replica and compares it with the clean one, which stands for all
//! others: where runs are bit-exact, a second clean run would show the same bits. That they are is
//! checked before the first trial of each computation. Whether the fault changed anything is told
//! by [`oracle`], a plain comparison of whole machines. A clean trial runs all its replicas; CPUs
//! change from trial to trial, and during every other one the host is kept busy.
//!
//! A trial of hints is one with a fault, of a cause that is known (`cause`), with a past that is drawn
//! (`past`); what ranks causes is told neither, and is held against the cause (`grade`). What it was
//! ranked from is kept (`evidence`).
//!
//! No finding is recorded: what is found here was put there.

mod cause;
mod evidence;
mod file;
mod grade;
mod inexact;
mod load;
pub(crate) mod oracle;
mod outcome;
mod pages;
mod past;
mod plan;
mod record;
mod trial;

pub use cause::KnownCause;
pub use evidence::HintEvidence;
pub use file::{Campaign, CampaignDirectory, Header};
pub use grade::{HintGrade, HintReport, Shares};
pub use outcome::{Tally, TrialOutcome};
pub use pages::PageTally;
pub use plan::{CampaignPlan, FaultPlace, MAX_TRIALS, PlannedComputation, Trial, TrialKind, seal};
pub use record::TrialRecord;

use crate::error::ControlError;
use crate::machine::{self, MachineRequest, PreparedMachine};
use crate::progress::Silent;
use crate::request::TCG_INSTRUCTIONS_PER_S;
use crate::session::{Session, now};
use computation::Descriptor;
use divergence::NoiseMask;
use file::Journal;
use futures::stream::{self, StreamExt};
use inexact::Witnesses;
use std::collections::BTreeSet;
use trial::{Bench, Reference};
use uuid::Uuid;

/// A campaign as the user asks for it.
#[derive(Debug, Clone)]
pub struct CampaignRequest {
    /// The computations, each taking its share of the trials.
    pub computations: Vec<&'static Descriptor>,
    /// What its trials are.
    pub kind: TrialKind,
    /// How many trials.
    pub trials: u32,
    /// How many replicas are compared in each.
    pub replicas: u32,
    /// The seed of all draws, and of the computations' input.
    pub seed: u64,
    /// The size of a computation, as CPU time of one replica.
    pub budget_s: f64,
    /// The machine that replicas are.
    pub machine: MachineRequest,
    /// Where faults of machines that are not bit-exact fall; by turns where absent.
    pub place: Option<FaultPlace>,
    /// Whether the lists of changed pages are held against all memory in every replica.
    pub check_pages: bool,
}

/// Who is told of each trial as it ends.
pub trait CampaignSink: Send + Sync {
    /// The campaign begins, or goes on: its truth is sealed.
    fn begins(&self, campaign: &Campaign);
    /// A trial has ended.
    fn ended(&self, trial: &TrialRecord);
}

impl CampaignRequest {
    fn plan(&self) -> Result<CampaignPlan, ControlError> {
        self.machine.check()?;
        let out_of_range = |what: String| Err(ControlError::OutOfRange(what));
        if self.kind == TrialKind::Hints && !self.machine.is_deterministic() {
            return out_of_range(
                "hints are tried on bit-exact machines: one vCPU and an instruction count"
                    .to_owned(),
            );
        }
        if self.place.is_some()
            && (self.kind != TrialKind::Fault || self.machine.is_deterministic())
        {
            return out_of_range(
                "a place of faults is chosen on machines that are not bit-exact: --vcpus 2, \
                 --icount off or --accelerator kvm"
                    .to_owned(),
            );
        }
        if !(1..=MAX_TRIALS).contains(&self.trials) {
            return out_of_range(format!("{} trials: 1 to {MAX_TRIALS}", self.trials));
        }
        if !(3..=crate::request::MAX_REPLICAS).contains(&self.replicas) {
            return out_of_range(format!(
                "{} replicas: a campaign says who deviates, which takes 3 to {}",
                self.replicas,
                crate::request::MAX_REPLICAS
            ));
        }
        if !(self.budget_s > 0.0 && self.budget_s <= crate::request::MAX_BUDGET_S) {
            return out_of_range(format!("a budget of {} s", self.budget_s));
        }
        let size = |one: &&Descriptor| {
            let steps = computation::steps_for(one, self.budget_s, TCG_INSTRUCTIONS_PER_S);
            PlannedComputation::of(one, self.seed, steps)
        };
        Ok(CampaignPlan {
            seed: self.seed,
            kind: self.kind,
            trials: self.trials,
            replicas: self.replicas,
            machine: self.machine.into(),
            place: self.place,
            check_pages: self.check_pages,
            computations: self.computations.iter().map(size).collect(),
        })
    }
}

/// Begins a campaign and carries it to its end, or until it is asked to stop.
///
/// # Errors
/// The request cannot be done, a machine cannot be made, or the campaign's file cannot be written.
pub async fn start(
    session: &Session,
    request: &CampaignRequest,
    jobs: u32,
    sink: &dyn CampaignSink,
) -> Result<Campaign, ControlError> {
    let plan = request.plan()?;
    let directory = CampaignDirectory::of_store(&session.store_path);
    let sealed = seal(&truth(&plan)?);
    let (journal, campaign) = directory.begin((Uuid::now_v7(), now()), plan, sealed)?;
    carry_on(session, &directory, (journal, campaign), jobs, sink).await
}

/// Goes on with a campaign that was stopped or killed.
///
/// # Errors
/// As for [`start`]; or somebody works on it.
pub async fn resume(
    session: &Session,
    id: Uuid,
    jobs: u32,
    sink: &dyn CampaignSink,
) -> Result<Campaign, ControlError> {
    let directory = CampaignDirectory::of_store(&session.store_path);
    let opened = directory.resume(id)?;
    if opened.1.is_complete() {
        return Ok(opened.1);
    }
    carry_on(session, &directory, opened, jobs, sink).await
}

/// The truth, as it is sealed at the start and told at the end.
fn truth(plan: &CampaignPlan) -> Result<Vec<u8>, ControlError> {
    serde_json::to_vec_pretty(&plan.draw()).map_err(|error| ControlError::Protocol {
        detail: error.to_string(),
    })
}

async fn carry_on(
    session: &Session,
    directory: &CampaignDirectory,
    (mut journal, mut campaign): (Journal, Campaign),
    jobs: u32,
    sink: &dyn CampaignSink,
) -> Result<Campaign, ControlError> {
    sink.begins(&campaign);
    let cache = session.store_path.join("cache/machines");
    let cpus = &session.host.cpus;
    let wanted = MachineRequest::try_from(&campaign.header.plan.machine)?;
    let cpus = cpus.get(..wanted.host_cpus(cpus.len())).unwrap_or_default();
    let spec = wanted.spec()?;
    machine::see_usable(&session.hypervisor, &spec, cpus).await?;
    let machine = machine::prepare(&session.hypervisor, &cache, spec, cpus, &Silent).await?;
    let done = campaign.done();
    let left: Vec<Trial> = campaign.header.plan.draw().into_iter().collect();
    let left = left
        .into_iter()
        .filter(|trial| !done.contains(&trial.number));
    let left: Vec<Trial> = left.collect();
    let groups = left.chunk_by(|one, other| one.computation == other.computation);
    let mut work = Work {
        session,
        directory,
        machine: &machine,
        journal: &mut journal,
        campaign: &mut campaign,
        sink,
    };
    let mut stopped = false;
    for group in groups {
        if stopped {
            break;
        }
        stopped = work.group(group, jobs).await?;
    }
    campaign.running = false;
    if campaign.is_complete() {
        tell_truth(directory, &campaign)?;
    }
    directory.take_stop(campaign.header.id);
    Ok(campaign)
}

/// What the replicas of trials are held against.
enum Witness<'a> {
    /// The clean replica that stands for all others.
    Reference(Box<Reference>),
    /// Clean replicas of machines that are not bit-exact.
    Doubles(Witnesses<'a>),
    /// What is known of their noise.
    Noise(NoiseMask),
}

/// What trials are carried out with.
struct Work<'a> {
    session: &'a Session,
    directory: &'a CampaignDirectory,
    machine: &'a PreparedMachine,
    journal: &'a mut Journal,
    campaign: &'a mut Campaign,
    sink: &'a dyn CampaignSink,
}

impl Work<'_> {
    /// Carries out trials of one computation; says whether to stop.
    async fn group(&mut self, trials: &[Trial], jobs: u32) -> Result<bool, ControlError> {
        let Some(first) = trials.first() else {
            return Ok(false);
        };
        let plan = self.campaign.header.plan.clone();
        let computation = plan
            .computations
            .get(first.computation)
            .ok_or_else(|| ControlError::Computation("the campaign names none".to_owned()))?;
        let bench = Bench::new(self.session, self.machine, computation, &plan)?;
        let exact = self.machine.spec.deterministic;
        let doubles = match plan.kind {
            TrialKind::Fault if !exact => Some(bench.doubles().await?),
            _ => None,
        };
        let memories = doubles.as_ref().map(|one| one.memories(self.machine));
        let memories = memories.transpose()?.unwrap_or_default();
        let understood = inexact::understood(&memories)?;
        let doubles = doubles.as_ref().map(|one| one.witnesses(&understood));
        let reference = match plan.kind {
            TrialKind::Fault if !exact => doubles.map(Witness::Doubles),
            TrialKind::Clean if !exact => Some(Witness::Noise(bench.mask()?)),
            TrialKind::Fault | TrialKind::Hints => {
                Some(Witness::Reference(Box::new(bench.reference().await?)))
            }
            TrialKind::Clean => None,
        };
        let (bench, reference) = (&bench, reference.as_ref());
        let jobs = self.at_once(plan.kind, jobs);
        let id = self.campaign.header.id;
        let directory = self.directory;
        // A trial that is under way when we are asked to stop is still carried out.
        let wanted = stream::iter(trials).take_while(|_| {
            let go_on = !directory.must_stop(id);
            async move { go_on }
        });
        let mut ended = wanted
            .map(|trial| carry_out(bench, reference, trial))
            .buffer_unordered(jobs)
            .boxed();
        let mut count = 0;
        while let Some(record) = ended.next().await {
            let record = record?;
            self.journal.append(&record)?;
            self.sink.ended(&record);
            self.campaign.trials.push(record);
            count += 1;
        }
        Ok(count < trials.len())
    }

    /// The replicas of a clean trial take all CPUs already.
    fn at_once(&self, kind: TrialKind, jobs: u32) -> usize {
        let most = self.session.host.cpus.len().max(1);
        match kind {
            TrialKind::Clean => 1,
            TrialKind::Fault | TrialKind::Hints => (jobs.max(1) as usize).min(most),
        }
    }
}

async fn carry_out(
    bench: &Bench<'_>,
    witness: Option<&Witness<'_>>,
    trial: &Trial,
) -> Result<TrialRecord, ControlError> {
    match (witness, &trial.order, &trial.cause) {
        (Some(Witness::Reference(reference)), Some(order), _) => {
            bench.fault(reference, trial, order).await
        }
        (Some(Witness::Reference(reference)), None, Some(cause)) => {
            bench.hints(reference, trial, cause).await
        }
        (Some(Witness::Doubles(doubles)), Some(order), _) => {
            bench.inexact_fault(doubles, trial, order).await
        }
        (Some(Witness::Noise(mask)), _, _) => bench.inexact_clean(mask, trial).await,
        _ => bench.clean(trial).await,
    }
}

/// Writes the truth beside the campaign, in the very bytes that were sealed.
fn tell_truth(directory: &CampaignDirectory, campaign: &Campaign) -> Result<(), ControlError> {
    let truth = truth(&campaign.header.plan)?;
    if seal(&truth) != campaign.header.seal {
        return Err(ControlError::Computation(
            "the truth is not the one that was sealed: this campaign was begun by another vardoger"
                .to_owned(),
        ));
    }
    directory.tell_truth(campaign.header.id, &truth)
}

/// The names of the computations of a plan, once each.
#[must_use]
pub fn computations(plan: &CampaignPlan) -> BTreeSet<&str> {
    let names = plan.computations.iter();
    names.map(|one| one.name.as_str()).collect()
}
