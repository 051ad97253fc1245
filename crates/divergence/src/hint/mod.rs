//! Possible causes, each with its evidence, a likelihood ratio and a probability: never a bare
//! verdict.
//!
//! ```text
//! differences ─► shape, once ──┐
//! memory around ─► traces ─────┼─► evidence: (ratio, reason, source) per class ─► × prior ─► rank
//! placements, earlier ─────────┤                                                      │
//! deviations, experiments ─────┘                          next experiment ◄───────────┘
//! ```
//!
//! A class's likelihood ratio is the product of those of its pieces of evidence: how many times
//! likelier each is under the class than under a background that knows nothing. The probability is
//! ratio × prior, normalised over all classes, *other* included. What differences look like is one
//! form of those that exclude each other, so that one shape is counted once; the other pieces are
//! taken as independent, and their product is bounded lest chance becomes a certainty.
//!
//! Detection is not localisation: a hint says where to look first. Hochschild et al., *Cores that
//! don't count* (HotOS 2021), could confirm about half of the cores that people accused.
//!
//! | module | holds |
//! |---|---|
//! | `surroundings` | what is known besides the differences: cores, earlier deviations, classes |
//! | `traces`, `kept` | what the memory around the differences says; what stands as it was struck |
//! | `shape` | what the differences look like, in numbers and as one form |
//! | `looks` | how often a form is seen, at all and under a class |
//! | `compute`, `pattern`, `address`, `memory`, `software` | the evidence of each class, by family |
//! | `writing` | whether anything had written what is wrong, what was written around it, and by how much it is wrong |
//! | `history` | earlier deviations: the same core, the same page |
//! | `golden` | a golden value that all contradict |
//! | `experiment` | what would tell the likeliest causes apart, and what came out |
//! | `prior`, `weight`, `source` | what is assumed before; how evidence adds up; who published it |

mod address;
mod compute;
mod experiment;
mod golden;
mod history;
mod kept;
mod looks;
mod memory;
mod pattern;
mod prior;
mod shape;
mod software;
mod source;
pub mod surroundings;
pub mod traces;
mod weight;
mod writing;

use crate::analysis::Analysis;
use crate::input::Context;
pub use experiment::{next, next_of};
pub use golden::rank_golden;
use model::{Deviation, Difference, FindingKind, Hint, HintClass, ReplicaIndex};
use shape::Shape;
use std::ops::Range;
use surroundings::{Core, Surroundings};
use traces::Traces;
use weight::{Weight, ranked};

/// What is to be explained.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The differences, as listed.
    pub differences: &'a [Difference],
    /// What the memory around them says.
    pub traces: &'a Traces,
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
    let weigh = |class: &HintClass| {
        let mut weights = evidence(*class, subject, &shape);
        weights.extend(writing::weights(*class, &shape));
        weights.extend(experiment::brought(*class, subject.surroundings));
        (*class, prior::prior(*class, subject.deterministic), weights)
    };
    ranked(HintClass::ALL.iter().map(weigh).collect())
}

/// The evidence for and against a class.
fn evidence(class: HintClass, subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    match class {
        HintClass::CoreLocalDefect => compute::core_local(subject, shape),
        HintClass::FixedBitMask => pattern::fixed_mask(subject, shape),
        HintClass::FloatField => pattern::float_field(subject, shape),
        HintClass::VectorLane => pattern::vector_lane(subject, shape),
        HintClass::WrongAddress => address::wrong_address(subject, shape),
        HintClass::Coherence => address::coherence(subject, shape),
        HintClass::ControlFlow => compute::control_flow(subject, shape),
        HintClass::StringUndershoot => address::undershoot(subject, shape),
        HintClass::RegisterOnly => compute::register_only(subject, shape),
        HintClass::DataDependent => compute::data_dependent(subject, shape),
        HintClass::ThermalPower => compute::thermal(subject, shape),
        HintClass::Ageing => compute::ageing(subject, shape),
        HintClass::MemoryCell => memory::memory_cell(subject, shape),
        HintClass::Storage => address::storage(subject, shape),
        HintClass::Nondeterminism => software::nondeterminism(subject, shape),
        HintClass::SoftwareRace => software::race(subject, shape),
        HintClass::VersionDrift => software::version_drift(subject, shape),
        HintClass::CodePath => software::code_path(subject, shape),
        HintClass::EmulatorBug => software::emulator(subject, shape),
        HintClass::SelfInverse => compute::self_inverse(subject, shape),
        HintClass::Other => software::other(shape),
    }
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
    let unknown = Traces::default();
    for (position, deviation) in analysis.deviations.iter_mut().enumerate() {
        deviation.hints = rank(&Subject {
            differences: &deviation.differences,
            traces: analysis.traces.get(position).unwrap_or(&unknown),
            deterministic: machine.deterministic,
            code: machine.code.clone(),
            core: deviation.replica.and_then(|who| surroundings.core_of(who)),
            surroundings,
        });
        deviation.next_experiment = next(&deviation.hints);
    }
    for finding in &mut analysis.findings {
        finding.hints = match finding.kind {
            FindingKind::GoldenMismatch => rank_golden(machine.host_units_exercised, surroundings),
            FindingKind::MetricDeviation => Vec::new(),
            _ => of_replica(&analysis.deviations, finding.replica),
        };
        finding.next_experiment = next(&finding.hints);
    }
}

fn of_replica(deviations: &[Deviation], replica: Option<ReplicaIndex>) -> Vec<Hint> {
    let mut deviations = deviations.iter();
    let of_it = deviations.find(|deviation| deviation.replica == replica);
    of_it.map(|one| one.hints.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
