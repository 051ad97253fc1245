//! The analysis of one run: what goes in, in which order it is looked at, what comes out.

use crate::align::Aligned;
use crate::deviation::{Deviant, Evidence};
use crate::finding::{self, FindingDraft};
use crate::hint::{self, surroundings::Surroundings, traces::Traces};
use crate::input::{Context, Options, Replica};
use crate::judgement::{GoldenMismatch, judge};
use crate::metric::{self, MetricReport};
use crate::parts::{Parts, ended};
use model::{Coverage, Deviation, Difference, ReplicaIndex, Verdict};
use state::{CompareError, majority};
use stats::upper_bound_of_none;
use thiserror::Error;

/// Why a run could not be analysed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnalysisError {
    /// The states do not fit each other.
    #[error("analyse terminal states: {0}")]
    Compare(#[from] CompareError),
    /// Two states claim to be of the same replica.
    #[error("analyse terminal states: there are two of replica {0}")]
    Repeated(ReplicaIndex),
}

/// What is known of one replica after the analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaSummary {
    /// Which replica.
    pub index: ReplicaIndex,
    /// Whether its state differs from that of others in a part that counts: it is in a minority,
    /// or something has no majority at all. A fault injected into it is then still to be seen.
    pub differs: bool,
    /// In how many places it differs from the majority, over all parts.
    pub differences: u64,
}

/// What the engine says of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// Who deviates, and how.
    pub deviations: Vec<Deviation>,
    /// What was looked at.
    pub coverage: Coverage,
    /// Words of memory that no majority decided.
    pub undecided_words: u64,
    /// What is to be reported, without ids and moments.
    pub findings: Vec<FindingDraft>,
    /// Each replica, in the order given.
    pub replicas: Vec<ReplicaSummary>,
    /// Words of aligned machines that differ and are no known noise, the first of them.
    pub unexplained: Vec<Difference>,
    /// The pages in which replicas differ, ascending: what is worth keeping as evidence.
    pub differing_pages: Vec<u64>,
    /// The first replica that holds what the majority holds, wherever there is one.
    pub majority_replica: Option<ReplicaIndex>,
    /// What the memory around each deviation says, in the order of `deviations`: for hints.
    pub traces: Vec<Traces>,
    /// Metrics that are statistical; they do not vote.
    pub metrics: Vec<MetricReport>,
    /// Bytes of memory that no replica changed since the common snapshot, over all replicas: equal
    /// by construction, and neither read nor counted as compared.
    pub bytes_shared: u64,
}

/// Analyses the terminal states of a run. Its hints come from the differences alone; whoever knows
/// more gives it to [`hint::explain`].
///
/// # Errors
/// A state does not fit the common snapshot, there are more replicas than are compared at once, or
/// one is given twice.
pub fn analyse(
    replicas: &[Replica<'_>],
    context: &Context<'_>,
    options: &Options,
) -> Result<Analysis, AnalysisError> {
    refuse_repeated(replicas)?;
    let golden = golden_mismatch(replicas, context);
    let mut analysis = match reason_to_skip(replicas) {
        Some(reason) => skipped(reason, replicas, context, golden),
        None => compared(replicas, context, options, golden)?,
    };
    analysis.traces = traces(&analysis, replicas, context);
    hint::explain(&mut analysis, &context.into(), &Surroundings::default());
    Ok(analysis)
}

fn compared(
    replicas: &[Replica<'_>],
    context: &Context<'_>,
    options: &Options,
    golden: Option<GoldenMismatch<'_>>,
) -> Result<Analysis, AnalysisError> {
    let parts = Parts::compare(replicas, context, options)?;
    let evidence = Evidence {
        replicas,
        parts: &parts,
        context,
        options,
    };
    let judgement = judge(&evidence, golden);
    let metrics = metric::report(replicas, (context.deterministic, context.history), options);
    let nobody_is_right = judgement
        .deviants
        .iter()
        .any(|one| one.deviation.replica.is_none());
    let summaries = summaries(replicas, &parts);
    let agrees = |one: &&ReplicaSummary| one.differences == 0 && !nobody_is_right;
    let majority_replica = summaries.iter().find(agrees);
    Ok(Analysis {
        verdict: judgement.verdict,
        reason: judgement.reason,
        coverage: coverage(judgement.verdict, replicas.len(), &parts, context),
        undecided_words: parts.memory.undecided_words,
        findings: findings(&judgement.deviants, replicas.len(), golden)
            .chain(metrics.iter().filter_map(metric::finding))
            .collect(),
        deviations: judgement
            .deviants
            .into_iter()
            .map(|one| one.deviation)
            .collect(),
        majority_replica: majority_replica.map(|one| one.index),
        replicas: summaries,
        differing_pages: context
            .aligned
            .map_or_else(|| parts.memory.pages(), pages_of),
        unexplained: context.aligned.map_or_else(Vec::new, |aligned| {
            let words = aligned.unexplained.iter();
            let words = words.take(options.listed_differences());
            words.map(crate::difference::aligned).collect()
        }),
        traces: Vec::new(),
        metrics,
        bytes_shared: parts.memory.bytes_shared,
    })
}

fn traces(analysis: &Analysis, replicas: &[Replica<'_>], context: &Context<'_>) -> Vec<Traces> {
    let of = |one: &Deviation| {
        let subject = (one.replica, one.differences.as_slice(), one.differing_words);
        Traces::of(subject, replicas, context.base)
    };
    analysis.deviations.iter().map(of).collect()
}

fn refuse_repeated(replicas: &[Replica<'_>]) -> Result<(), AnalysisError> {
    let mut indices: Vec<ReplicaIndex> = replicas.iter().map(|replica| replica.index).collect();
    indices.sort_unstable();
    let mut neighbours = indices.iter().zip(indices.iter().skip(1));
    match neighbours.find(|(one, other)| one == other) {
        Some((index, _)) => Err(AnalysisError::Repeated(*index)),
        None => Ok(()),
    }
}

/// Why there is nothing to compare, if so.
fn reason_to_skip(replicas: &[Replica<'_>]) -> Option<String> {
    let (first, rest) = match replicas {
        [] => return Some("no replica reached a state that could be captured".to_owned()),
        [_] => return Some("one replica has nothing to be compared with".to_owned()),
        [first, rest @ ..] => (first, rest),
    };
    let outcome = &first.state.outcome;
    let alike = rest.iter().all(|replica| replica.state.outcome == *outcome);
    (alike && ended(replicas) == 0)
        .then(|| format!("no replica ended: all {} {outcome}", replicas.len()))
}

/// The result that most replicas report, if it contradicts the golden value.
fn golden_mismatch<'a>(
    replicas: &[Replica<'a>],
    context: &Context<'a>,
) -> Option<GoldenMismatch<'a>> {
    let golden = context.golden?;
    let results: Vec<Option<&str>> = replicas
        .iter()
        .map(|replica| replica.state.result_digest.as_deref())
        .collect();
    let found = (*majority(&results)?)?;
    (found != golden).then_some(GoldenMismatch { found, golden })
}

fn findings<'a>(
    deviants: &'a [Deviant],
    replicas: usize,
    golden: Option<GoldenMismatch<'_>>,
) -> impl Iterator<Item = FindingDraft> + use<'a> {
    let of_golden = golden.map(|one| finding::of_golden(one.found, one.golden));
    deviants
        .iter()
        .map(move |deviant| finding::of_deviant(deviant, replicas))
        .chain(of_golden)
}

fn summaries(replicas: &[Replica<'_>], parts: &Parts) -> Vec<ReplicaSummary> {
    let open = !parts.voting(parts.undecided()).is_zero();
    let one = |(position, replica): (usize, &Replica<'_>)| {
        let differing = parts.differing(position);
        ReplicaSummary {
            index: replica.index,
            differs: open || !parts.voting(differing).is_zero(),
            differences: differing.total(),
        }
    };
    replicas.iter().enumerate().map(one).collect()
}

/// The frames of any machine that hold a word that differs, but for noise.
fn pages_of(aligned: &Aligned) -> Vec<u64> {
    let words = aligned.in_buffers.iter().chain(&aligned.unexplained);
    let addresses = words.flat_map(|word| word.addresses.iter().flatten());
    let mut pages: Vec<u64> = addresses
        .map(|address| address / model::PAGE_BYTES as u64)
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

fn coverage(verdict: Verdict, replicas: usize, parts: &Parts, context: &Context<'_>) -> Coverage {
    let clean = verdict == Verdict::Pass;
    let nothing = coverage_of_nothing(context);
    if let Some(aligned) = context.aligned {
        let left_out = aligned.not_compared.iter();
        let reasons = left_out.map(|(reason, bytes)| format!("{reason}: {bytes} bytes"));
        return Coverage {
            bytes_compared: parts.bytes_compared(),
            bytes_masked: aligned.bytes_masked,
            bytes_not_compared: nothing.bytes_not_compared
                + aligned.not_compared.values().sum::<u64>(),
            not_compared_reasons: nothing
                .not_compared_reasons
                .iter()
                .cloned()
                .chain(reasons)
                .collect(),
            upper_bound: clean
                .then(|| upper_bound_of_none(replicas as u64))
                .flatten(),
            ..nothing
        };
    }
    Coverage {
        bytes_compared: parts.bytes_compared(),
        upper_bound: clean
            .then(|| upper_bound_of_none(replicas as u64))
            .flatten(),
        ..nothing
    }
}

/// The coverage of a run in which nothing was compared.
fn coverage_of_nothing(context: &Context<'_>) -> Coverage {
    let left_out = &context.not_compared;
    Coverage {
        bytes_not_compared: left_out.iter().map(|one| one.bytes).sum(),
        not_compared_reasons: left_out.iter().map(|one| one.reason.clone()).collect(),
        units: context.units.clone(),
        host_units_exercised: context.host_units_exercised,
        ..Coverage::default()
    }
}

fn skipped(
    reason: String,
    replicas: &[Replica<'_>],
    context: &Context<'_>,
    golden: Option<GoldenMismatch<'_>>,
) -> Analysis {
    let equal = |replica: &Replica<'_>| ReplicaSummary {
        index: replica.index,
        differs: false,
        differences: 0,
    };
    Analysis {
        verdict: Verdict::Skipped,
        reason,
        deviations: Vec::new(),
        coverage: coverage_of_nothing(context),
        undecided_words: 0,
        findings: findings(&[], replicas.len(), golden).collect(),
        replicas: replicas.iter().map(equal).collect(),
        differing_pages: Vec::new(),
        unexplained: Vec::new(),
        majority_replica: None,
        traces: Vec::new(),
        metrics: Vec::new(),
        bytes_shared: 0,
    }
}
