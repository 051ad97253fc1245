//! Possible causes, each with its evidence, a likelihood ratio and a probability: never a bare
//! verdict.
//!
//! ```text
//! differences ─► shape ──┐
//! placements  ───────────┼─► evidence: (ratio, reason, source) per class ─► product × prior ─► rank
//! earlier deviations ────┘
//! ```
//!
//! A class's likelihood ratio is the product of those of its pieces of evidence: how many times
//! likelier each is under the class than under a background that knows nothing. The probability is
//! ratio × prior, normalised over all classes, *other* included. Pieces are taken as independent,
//! so that ratios are bounded ([`RATIO_LIMIT`]) lest one shape counted twice becomes a certainty.
//!
//! Detection is not localisation: a hint says where to look first. Hochschild et al., *Cores that
//! don't count* (HotOS 2021), could confirm about half of the cores that people accused.
//!
//! | module | holds |
//! |---|---|
//! | `surroundings` | what is known besides the differences: cores, earlier deviations, classes |
//! | `shape` | what the differences look like, in numbers |
//! | `hardware`, `software` | the evidence for and against each class |
//! | `source` | where the published figures come from |

mod hardware;
mod shape;
mod software;
mod source;
pub mod surroundings;

use crate::analysis::Analysis;
use crate::input::Context;
use model::{Deviation, Difference, FindingKind, Hint, HintClass, ReplicaIndex};
use shape::Shape;
use std::ops::Range;
use surroundings::{Core, Surroundings};

/// The most that a class's evidence may count, either way: the pieces are not wholly independent.
const RATIO_LIMIT: f64 = 1e4;

/// One piece of evidence for or against a class.
#[derive(Debug, Clone)]
struct Weight {
    /// How many times likelier it is under the class than under the background.
    ratio: f64,
    /// What was seen, with its numbers.
    reason: String,
    /// Where the figure was published; none where it is ours.
    source: Option<&'static str>,
}

impl Weight {
    fn new(ratio: f64, reason: String) -> Self {
        Self {
            ratio,
            reason,
            source: None,
        }
    }

    fn from(self, source: &'static str) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }
}

/// What is to be explained.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The differences, as listed.
    pub differences: &'a [Difference],
    /// Whether the machine is bit-exact.
    pub deterministic: bool,
    /// Where the guest kernel's code lies, guest-physical.
    pub code: Option<Range<u64>>,
    /// The core on which the deviating replica ran, where one is named.
    pub core: Option<&'a Core>,
    /// What is known besides.
    pub surroundings: &'a Surroundings,
}

/// The causes of differences, the likeliest first; their probabilities add up to 1.
#[must_use]
pub fn rank(subject: &Subject<'_>) -> Vec<Hint> {
    let shape = Shape::of(subject);
    let weigh = |class: HintClass| {
        let weights = match class {
            HintClass::CoreLocalDefect => hardware::core_local(subject, &shape),
            HintClass::FixedBitMask => hardware::fixed_mask(&shape),
            HintClass::MemoryCell => hardware::memory_cell(subject, &shape),
            HintClass::Nondeterminism => software::nondeterminism(subject, &shape),
            HintClass::SoftwareRace => software::race(subject, &shape),
            HintClass::CodePath => software::code_path(subject, &shape),
            HintClass::Other => software::other(&shape),
        };
        (class, prior(class, subject.deterministic), weights)
    };
    ranked(HintClass::ALL.map(weigh).into())
}

/// The causes of a golden value that all replicas contradict.
#[must_use]
pub fn rank_golden(host_units_exercised: bool, surroundings: &Surroundings) -> Vec<Hint> {
    ranked(vec![
        (
            HintClass::CodePath,
            0.4,
            software::golden_path(surroundings),
        ),
        (
            HintClass::CoreLocalDefect,
            0.1,
            hardware::shared_core(surroundings),
        ),
        (
            HintClass::Other,
            0.5,
            software::golden_other(host_units_exercised),
        ),
    ])
}

/// What must be known of the machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Whether it is bit-exact.
    pub deterministic: bool,
    /// Where the guest kernel's code lies, guest-physical, where that is known.
    pub code: Option<Range<u64>>,
    /// Whether units of the host's processor executed the guest's instructions.
    pub host_units_exercised: bool,
}

impl From<&Context<'_>> for Machine {
    fn from(context: &Context<'_>) -> Self {
        Self {
            deterministic: context.deterministic,
            code: context.symbols.and_then(|map| map.text_range()),
            host_units_exercised: context.host_units_exercised,
        }
    }
}

/// Gives an analysis its hints, in its deviations and its findings. It may be given anew with more
/// surroundings.
pub fn explain(analysis: &mut Analysis, machine: &Machine, surroundings: &Surroundings) {
    for deviation in &mut analysis.deviations {
        deviation.hints = rank(&Subject {
            differences: &deviation.differences,
            deterministic: machine.deterministic,
            code: machine.code.clone(),
            core: deviation.replica.and_then(|who| surroundings.core_of(who)),
            surroundings,
        });
    }
    for finding in &mut analysis.findings {
        finding.hints = match finding.kind {
            FindingKind::GoldenMismatch => rank_golden(machine.host_units_exercised, surroundings),
            FindingKind::MetricDeviation => Vec::new(),
            _ => of_replica(&analysis.deviations, finding.replica),
        };
    }
}

fn of_replica(deviations: &[Deviation], replica: Option<ReplicaIndex>) -> Vec<Hint> {
    let mut deviations = deviations.iter();
    let of_it = deviations.find(|deviation| deviation.replica == replica);
    of_it.map(|one| one.hints.clone()).unwrap_or_default()
}

/// What is assumed before anything is seen; ours, for no field study counts these classes together.
/// On a machine that is bit-exact noise and races have no place to come from but a fault.
const fn prior(class: HintClass, deterministic: bool) -> f64 {
    match (class, deterministic) {
        (HintClass::CoreLocalDefect, true) => 0.20,
        (HintClass::FixedBitMask, true) => 0.10,
        (HintClass::MemoryCell, true) => 0.25,
        (HintClass::Nondeterminism, true) => 0.03,
        (HintClass::SoftwareRace, true) => 0.03,
        (HintClass::CodePath, true) => 0.04,
        (HintClass::Other, true) => 0.35,
        (HintClass::CoreLocalDefect, false) => 0.10,
        (HintClass::FixedBitMask, false) => 0.05,
        (HintClass::MemoryCell, false) => 0.10,
        (HintClass::Nondeterminism, false) => 0.35,
        (HintClass::SoftwareRace, false) => 0.15,
        (HintClass::CodePath, false) => 0.05,
        (HintClass::Other, false) => 0.20,
    }
}

/// A class with its prior and its evidence.
type Weighed = (HintClass, f64, Vec<Weight>);

fn ranked(weighed: Vec<Weighed>) -> Vec<Hint> {
    let ratio = |weights: &[Weight]| {
        let product: f64 = weights.iter().map(|weight| weight.ratio).product();
        product.clamp(1.0 / RATIO_LIMIT, RATIO_LIMIT)
    };
    let total: f64 = weighed
        .iter()
        .map(|(_, prior, weights)| prior * ratio(weights))
        .sum();
    let mut hints: Vec<Hint> = weighed
        .into_iter()
        .map(|(class, prior, weights)| {
            let ratio = ratio(&weights);
            hint(class, ratio, prior * ratio / total, weights)
        })
        .collect();
    hints.sort_by(|one, other| f64::total_cmp(&likely(other), &likely(one)));
    hints
}

fn likely(hint: &Hint) -> f64 {
    hint.probability.unwrap_or_default()
}

fn hint(class: HintClass, ratio: f64, probability: f64, weights: Vec<Weight>) -> Hint {
    let mut sources: Vec<String> = Vec::new();
    for source in weights.iter().filter_map(|weight| weight.source) {
        if !sources.iter().any(|known| known == source) {
            sources.push(source.to_owned());
        }
    }
    let reasons: Vec<String> = weights.into_iter().map(|weight| weight.reason).collect();
    Hint {
        class: Some(class),
        cause: class.cause().to_owned(),
        reason: if reasons.is_empty() {
            "nothing speaks for it or against it".to_owned()
        } else {
            reasons.join("; ")
        },
        probability: Some(probability),
        likelihood_ratio: Some(ratio),
        sources,
    }
}

#[cfg(test)]
mod tests;
