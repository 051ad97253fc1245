//! Experiments on a deviation, carried out one after the other while they bring something:
//!
//! ```text
//!  hints ─► next experiment ─► a run of its own ─► outcome ─► hints anew ─┐
//!    ▲        │ none brings anything, one cause is sure, rounds or time    │
//!    │        ▼ are used up, an experiment failed                         │
//!    │      ended, with the reason                                        │
//!    └──────────────────────────────────────────────────────────────────-─┘
//! ```
//!
//! Each experiment is a run that is recorded like any other. A fault that was ordered for a replica
//! struck once and does not come back; one that was ordered for a CPU strikes whatever runs there.

use crate::error::ControlError;
use crate::injection::Injection;
use crate::machine::PreparedMachine;
use crate::progress::ProgressSink;
use crate::request::{RunPlan, RunRequest};
use crate::run::{about, carry_out_and_record};
use crate::session::Session;
use divergence::hint::next_of;
use divergence::hint::surroundings::{Core, Surroundings};
use divergence::{Analysis, explain};
use hypervisor::MachineSpec;
use model::{
    Deviation, Experiment, ExperimentOutcome, HintClass, Investigation, InvestigationRound,
    NextExperiment, Run, Verdict,
};
use std::time::{Duration, Instant};

/// The most experiments on one deviation: what four runs do not tell, four more hardly will.
const MAX_ROUNDS: usize = 4;

/// The same experiment is carried out so often: its outcomes are not independent.
const MAX_REPEATS: usize = 2;

/// The wall time after which no experiment goes on.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// A cause with this probability needs no experiment.
const SURE: f64 = 0.95;

/// Causes of which a round tells before and after.
const TOLD_CAUSES: usize = 3;

/// The CPU model of the experiment that wants another one: the oldest that QEMU names.
const OTHER_CPU_MODEL: &str = "qemu64";

/// What experiments are about, and done with.
pub(crate) struct Subject<'a> {
    pub(crate) session: &'a Session,
    pub(crate) plan: &'a RunPlan,
    pub(crate) machine: &'a PreparedMachine,
    /// The result that most replicas came to.
    pub(crate) result: Option<&'a str>,
    pub(crate) progress: &'a dyn ProgressSink,
}

/// Carries experiments out on the first deviation of an analysis, and gives it its hints anew after
/// each.
pub(crate) async fn investigate(
    subject: &Subject<'_>,
    analysis: &mut Analysis,
    mut surroundings: Surroundings,
) -> Investigation {
    let began = Instant::now();
    let mut rounds: Vec<InvestigationRound> = Vec::new();
    let ended = loop {
        let left = TIME_LIMIT.saturating_sub(began.elapsed());
        let next = match chosen(subject, analysis, &rounds, left) {
            Ok(next) => next,
            Err(why) => break why,
        };
        let experiment = next.experiment;
        let done = tokio::time::timeout(left, carried_out(subject, analysis, experiment)).await;
        let run = match done {
            Ok(Ok(run)) => run,
            Ok(Err(error)) => break format!("{experiment} could not be carried out: {error}"),
            Err(_) => break format!("{experiment} took longer than the time that was left"),
        };
        let Some(outcome) = outcome(subject, analysis, &surroundings, (experiment, &run)) else {
            break format!("{experiment} was skipped: {}", run.reason);
        };
        let before = likeliest(analysis);
        surroundings.experiments.push((experiment, outcome));
        explain(analysis, &about(subject.machine), &surroundings);
        rounds.push(InvestigationRound {
            next,
            run: run.id,
            outcome,
            before,
            after: likeliest(analysis),
        });
    };
    Investigation { rounds, ended }
}

/// The next experiment, or why there is none.
fn chosen(
    subject: &Subject<'_>,
    analysis: &Analysis,
    rounds: &[InvestigationRound],
    left: Duration,
) -> Result<NextExperiment, String> {
    let hints = analysis
        .deviations
        .first()
        .map(|deviation| deviation.hints.as_slice())
        .unwrap_or_default();
    if let Some(first) = hints.first()
        && first.probability.is_some_and(|one| one >= SURE)
    {
        return Err(format!("{} is sure enough", first.cause));
    }
    if rounds.len() >= MAX_ROUNDS {
        return Err(format!("{MAX_ROUNDS} experiments were carried out"));
    }
    if left.is_zero() {
        return Err(format!("{} s were used up", TIME_LIMIT.as_secs()));
    }
    let cpus = subject.session.host.cpus.len();
    let possible = |experiment: &Experiment| {
        let times = rounds
            .iter()
            .filter(|round| round.next.experiment == *experiment)
            .count();
        let several = !matches!(experiment, Experiment::SwapCores | Experiment::CoresAtOnce);
        let seed =
            *experiment != Experiment::OtherSeed || subject.plan.computation.program().is_none();
        times < MAX_REPEATS && seed && (several || cpus > 1)
    };
    let possible: Vec<Experiment> = Experiment::ALL.into_iter().filter(possible).collect();
    next_of(hints, &possible).ok_or_else(|| "no experiment would tell the causes apart".to_owned())
}

/// The likeliest causes of the first deviation.
fn likeliest(analysis: &Analysis) -> Vec<(HintClass, f64)> {
    let hints = analysis.deviations.first().map(|one| one.hints.iter());
    let told = hints.into_iter().flatten();
    told.filter_map(|hint| Some((hint.class?, hint.probability?)))
        .take(TOLD_CAUSES)
        .collect()
}

/// Carries one experiment out as a run of its own.
async fn carried_out(
    subject: &Subject<'_>,
    analysis: &Analysis,
    experiment: Experiment,
) -> Result<Run, ControlError> {
    let Subject { session, plan, .. } = subject;
    let origin = plan
        .origin
        .as_deref()
        .ok_or_else(|| ControlError::Compare("the run was not to be investigated".to_owned()))?;
    let suspect = analysis
        .deviations
        .first()
        .and_then(|deviation| deviation.replica)
        .map_or(0, |replica| replica.0 as usize);
    // Machines that are investigated have one vCPU each.
    let placed: Vec<u32> = plan.cpus.iter().flatten().copied().collect();
    let cpus = match experiment {
        Experiment::SwapCores => swapped(&placed, suspect, &session.host.cpus),
        _ => placed,
    };
    let request = RunRequest {
        choice: Some(format!("{experiment}: {}", experiment.says())),
        seed: match experiment {
            Experiment::OtherSeed => origin.seed.wrapping_add(1),
            _ => origin.seed,
        },
        jobs: match experiment {
            Experiment::CoresAtOnce => u32::try_from(session.host.cpus.len()).ok(),
            _ => origin.jobs,
        },
        injections: lasting(&origin.injections, &cpus),
        cpus: Some(cpus),
        investigate: false,
        ..origin.clone()
    };
    let spec = spec(&subject.machine.spec, experiment);
    let plan = request.plan(&session.host.cpus)?;
    // A run may be investigated, and an investigation runs: the future of one holds the other's.
    let run = carry_out_and_record(
        session,
        plan,
        spec,
        subject.progress,
        std::future::pending(),
    );
    Box::pin(run).await
}

fn spec(spec: &MachineSpec, experiment: Experiment) -> MachineSpec {
    let cpu_model = match experiment {
        Experiment::OtherCpuModel if spec.cpu_model != OTHER_CPU_MODEL => OTHER_CPU_MODEL,
        Experiment::OtherCpuModel => crate::machine::DEFAULT_CPU_MODEL,
        _ => &spec.cpu_model,
    };
    MachineSpec {
        cpu_model: cpu_model.to_owned(),
        ..spec.clone()
    }
}

/// Faults that last: those of a CPU on which something runs.
fn lasting(injections: &[Injection], cpus: &[u32]) -> Vec<Injection> {
    let of_cpu = |injection: &&Injection| injection.cpu.is_some_and(|cpu| cpus.contains(&cpu));
    injections.iter().filter(of_cpu).cloned().collect()
}

/// Gives the suspect replica's CPU to the next replica, and to no other.
fn swapped(cpus: &[u32], suspect: usize, host: &[u32]) -> Vec<u32> {
    let Some(&cpu) = cpus.get(suspect) else {
        return cpus.to_vec();
    };
    let others: Vec<u32> = host.iter().copied().filter(|one| *one != cpu).collect();
    if others.is_empty() {
        return cpus.to_vec();
    }
    let next = (suspect + 1) % cpus.len();
    let mut turn = others.iter().copied().cycle();
    (0..cpus.len())
        .map(|index| {
            if index == next {
                cpu
            } else {
                turn.next().unwrap_or(cpu)
            }
        })
        .collect()
}

/// What a run says of the deviation that it was to tell about; nothing where it says nothing.
fn outcome(
    subject: &Subject<'_>,
    analysis: &Analysis,
    surroundings: &Surroundings,
    (experiment, run): (Experiment, &Run),
) -> Option<ExperimentOutcome> {
    let first = analysis.deviations.first()?;
    let suspect = first.replica.and_then(|who| surroundings.core_of(who));
    let same_work = experiment != Experiment::OtherSeed;
    let deviating: Vec<(Option<Core>, &Deviation)> = run
        .deviations
        .iter()
        .map(|deviation| (core(run, deviation), deviation))
        .collect();
    match run.verdict {
        Verdict::Skipped => None,
        Verdict::Pass => Some(if same_work && subject.result != result(run) {
            ExperimentOutcome::ResultDiffers
        } else {
            ExperimentOutcome::Nothing
        }),
        _ if deviating.is_empty() => Some(ExperimentOutcome::ResultDiffers),
        _ => {
            let elsewhere = deviating
                .iter()
                .filter(|(core, _)| core.is_none() || core.as_ref() != suspect);
            let mut elsewhere = elsewhere.peekable();
            let pages = crate::surroundings::pages(first);
            let again = |(_, one): &(Option<Core>, &Deviation)| {
                !crate::surroundings::pages(one).is_disjoint(&pages)
            };
            Some(if elsewhere.peek().is_none() {
                ExperimentOutcome::SameCore
            } else if elsewhere.any(again) {
                ExperimentOutcome::SamePlace
            } else {
                ExperimentOutcome::Elsewhere
            })
        }
    }
}

fn core(run: &Run, deviation: &Deviation) -> Option<Core> {
    let who = deviation.replica?;
    let record = run.replicas.iter().find(|one| one.index == who)?;
    Core::of(&record.placement)
}

/// The result that a run's replicas agree on.
fn result(run: &Run) -> Option<&str> {
    run.replicas.first()?.result_digest.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suspect_cpu_goes_to_one_other_replica() {
        assert_eq!(swapped(&[0, 1, 0], 1, &[0, 1]), [0, 0, 1]);
        assert_eq!(swapped(&[0, 1, 0], 0, &[0, 1]), [1, 0, 1]);
        assert_eq!(swapped(&[0, 1, 2, 3], 3, &[0, 1, 2, 3]), [3, 0, 1, 2]);
        assert_eq!(swapped(&[0, 0, 0], 1, &[0]), [0, 0, 0]);
        assert_eq!(swapped(&[], 1, &[0]), [0_u32; 0]);
    }

    #[test]
    fn only_faults_of_a_cpu_last() {
        let orders = ["ram@end,replica=1", "ram@end,cpu=1", "hang", "ram,cpu=7"];
        let orders = orders.map(|order| Injection::parse(order).unwrap());
        let lasting = lasting(&orders, &[0, 1, 0]);
        assert_eq!(lasting, [orders[1].clone()]);
    }
}
