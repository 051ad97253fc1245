//! The experiment that tells the two likeliest causes apart, and what an outcome says.
//!
//! # Formula
//! With `p(c)` the probabilities of the two likeliest causes, normalised to 1, and `P(o|c,e)` the
//! chance of outcome `o` of experiment `e` under cause `c`, the information that `e` is expected to
//! bring is that of Lindley (1956), in bits:
//!
//! ```text
//! I(e) = Σc p(c) Σo P(o|c,e) · log2( P(o|c,e) / P(o|e) ),    P(o|e) = Σc p(c) P(o|c,e)
//! ```
//!
//! The experiment with the most is next; of equals the cheaper one. An outcome that came multiplies
//! each cause's ratio by `P(o|c,e)` over its mean over all causes.
//!
//! How often a deviation comes back is ours where nothing is cited: studies count machines and
//! errors, not runs.

use super::source;
use super::surroundings::Surroundings;
use super::weight::Weight;
use model::{Experiment, ExperimentOutcome, Hint, HintClass, NextExperiment};

/// Less than this is not worth a run.
const LEAST_BITS: f64 = 0.02;

/// The share of a processor's defects that are bound to one core (SiliFuzz); one that is not is on
/// it by chance, of three replicas.
const ON_THE_CORE: f64 = 0.70 + 0.30 / 3.0;

/// The chances of the outcomes, in the order of [`ExperimentOutcome::ALL`].
type Chances = [f64; 5];

/// What would tell the two likeliest causes apart; nothing where nothing would.
#[must_use]
pub fn next(hints: &[Hint]) -> Option<NextExperiment> {
    next_of(hints, &Experiment::ALL)
}

/// The same among those experiments that can be carried out, the cheapest first.
#[must_use]
pub fn next_of(hints: &[Hint], possible: &[Experiment]) -> Option<NextExperiment> {
    let mut classed = hints
        .iter()
        .filter_map(|hint| Some((hint.class?, hint.probability?)));
    let (first, second) = (classed.next()?, classed.next()?);
    let mut best: Option<NextExperiment> = None;
    for &experiment in possible {
        let information_bits = information([first, second], experiment);
        if information_bits > best.as_ref().map_or(LEAST_BITS, |one| one.information_bits) {
            best = Some(NextExperiment {
                experiment,
                separates: [first.0, second.0],
                information_bits,
            });
        }
    }
    best
}

/// The information that an experiment is expected to bring about two causes, in bits.
fn information(causes: [(HintClass, f64); 2], experiment: Experiment) -> f64 {
    let all: f64 = causes.iter().map(|(_, probability)| probability).sum();
    if all <= 0.0 {
        return 0.0;
    }
    let causes = causes.map(|(class, probability)| (chances(class, experiment), probability / all));
    let of_outcome = |outcome: usize| {
        let expected: f64 = causes
            .iter()
            .map(|(chances, share)| share * chances[outcome])
            .sum();
        let terms = causes.iter().map(|(chances, share)| {
            let chance = chances[outcome];
            share * chance * (chance / expected).log2()
        });
        terms.sum::<f64>()
    };
    (0..ExperimentOutcome::ALL.len()).map(of_outcome).sum()
}

/// What the experiments that were carried out say of a class.
pub(super) fn brought(class: HintClass, surroundings: &Surroundings) -> Vec<Weight> {
    let one = |&(experiment, outcome): &(Experiment, ExperimentOutcome)| {
        let of = |class: HintClass| chances(class, experiment)[place(outcome)];
        let classes = HintClass::ALL;
        let mean = classes.iter().map(|one| of(*one)).sum::<f64>() / classes.len() as f64;
        let reason = format!(
            "{experiment} brought {outcome}, which was expected with {:.0} %",
            of(class) * 100.0
        );
        let weight = Weight::new(of(class) / mean, reason);
        if core_bound(class) {
            weight.from(source::SILIFUZZ).from(source::ITHICA)
        } else {
            weight
        }
    };
    surroundings.experiments.iter().map(one).collect()
}

fn place(outcome: ExperimentOutcome) -> usize {
    let all = ExperimentOutcome::ALL.iter();
    all.take_while(|one| **one != outcome).count()
}

/// Whether a class is a defect of a core.
pub(super) fn core_bound(class: HintClass) -> bool {
    !matches!(
        class,
        HintClass::MemoryCell
            | HintClass::Storage
            | HintClass::Nondeterminism
            | HintClass::SoftwareRace
            | HintClass::VersionDrift
            | HintClass::CodePath
            | HintClass::EmulatorBug
            | HintClass::Other
    )
}

/// The chances of an experiment's outcomes under a class; every outcome keeps a little, for nothing
/// is impossible.
fn chances(class: HintClass, experiment: Experiment) -> Chances {
    /// What every outcome keeps.
    const LEAST: f64 = 0.01;
    let raw = match class {
        _ if core_bound(class) => of_core(class, experiment),
        HintClass::MemoryCell => of_memory(0.5, experiment),
        HintClass::Storage => of_memory(0.3, experiment),
        HintClass::Nondeterminism => returns(0.95, [0.33, 0.30, 0.37]),
        HintClass::SoftwareRace => returns(0.60, [0.33, 0.20, 0.47]),
        HintClass::VersionDrift => of_replica(0.98, experiment, 0.30),
        HintClass::CodePath => of_replica(0.95, experiment, 0.60),
        HintClass::EmulatorBug => of_replica(0.40, experiment, 0.60),
        _ => returns(0.30, [0.40, 0.20, 0.40]),
    };
    let sum: f64 = raw.iter().sum::<f64>() + LEAST * raw.len() as f64;
    raw.map(|chance| (chance + LEAST) / sum)
}

/// It deviates again with a chance, and then on the same core, in the same place, or elsewhere.
fn returns(again: f64, [same_core, same_place, elsewhere]: [f64; 3]) -> Chances {
    [
        1.0 - again,
        again * same_core,
        again * same_place,
        again * elsewhere,
        0.0,
    ]
}

fn of_core(class: HintClass, experiment: Experiment) -> Chances {
    let again = match (class, experiment) {
        (HintClass::ThermalPower, Experiment::CoresAtOnce) => 0.85,
        (HintClass::ThermalPower, _) => 0.25,
        (HintClass::Coherence, Experiment::CoresAtOnce) => 0.80,
        (HintClass::Coherence, _) => 0.40,
        // It fails for operands of one kind, which other input may not have.
        (HintClass::DataDependent, Experiment::OtherSeed) => 0.20,
        (HintClass::DataDependent, Experiment::OtherCpuModel) => 0.50,
        (HintClass::DataDependent, _) => 0.85,
        // Gathers that go wrong do not follow the input (SEVI).
        (HintClass::WrongAddress, _) => 0.35,
        (_, Experiment::OtherCpuModel) => 0.45,
        (_, Experiment::CoresAtOnce) => 0.65,
        _ => 0.60,
    };
    let elsewhere = 1.0 - ON_THE_CORE;
    returns(again, [ON_THE_CORE, 0.1 * elsewhere, 0.9 * elsewhere])
}

/// A place of memory: run again as it was, its replica has the same core.
fn of_memory(again: f64, experiment: Experiment) -> Chances {
    match experiment {
        Experiment::SwapCores => returns(again, [0.10, 0.75, 0.15]),
        Experiment::RunAgain | Experiment::CoresAtOnce => returns(again, [0.70, 0.20, 0.10]),
        Experiment::OtherSeed | Experiment::OtherCpuModel => returns(again, [0.45, 0.25, 0.30]),
    }
}

/// What hangs at a replica, not at a core: another build, other instructions.
fn of_replica(again: f64, experiment: Experiment, result_differs: f64) -> Chances {
    match experiment {
        Experiment::SwapCores => returns(again, [0.02, 0.60, 0.38]),
        Experiment::RunAgain | Experiment::OtherSeed | Experiment::CoresAtOnce => {
            returns(again, [0.90, 0.05, 0.05])
        }
        Experiment::OtherCpuModel => {
            let rest = returns(again, [0.90, 0.05, 0.05]);
            let mut chances = rest.map(|chance| chance * (1.0 - result_differs));
            chances[4] = result_differs;
            chances
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(class: HintClass, probability: f64) -> Hint {
        Hint {
            class: Some(class),
            probability: Some(probability),
            ..Hint::default()
        }
    }

    fn check(one: HintClass, other: HintClass, expected: Experiment) {
        let found = next(&[hint(one, 0.5), hint(other, 0.4)]).unwrap();
        assert_eq!(found.experiment, expected, "{found:?}");
        assert_eq!(found.separates, [one, other]);
        assert!(found.information_bits > 0.0 && found.information_bits <= 1.0);
    }

    #[test]
    fn chances_are_distributions() {
        for class in HintClass::ALL {
            for experiment in Experiment::ALL {
                let chances = chances(*class, experiment);
                let sum: f64 = chances.iter().sum();
                assert!((sum - 1.0).abs() < 1e-9, "{class} {experiment} {sum}");
                assert!(chances.iter().all(|chance| *chance > 0.0));
            }
        }
    }

    #[test]
    fn cores_are_swapped_to_tell_a_core_from_memory() {
        check(
            HintClass::MemoryCell,
            HintClass::CoreLocalDefect,
            Experiment::SwapCores,
        );
        check(
            HintClass::FixedBitMask,
            HintClass::VersionDrift,
            Experiment::SwapCores,
        );
    }

    #[test]
    fn each_experiment_has_causes_that_it_tells_apart() {
        check(
            HintClass::DataDependent,
            HintClass::FloatField,
            Experiment::OtherSeed,
        );
        check(
            HintClass::ThermalPower,
            HintClass::CoreLocalDefect,
            Experiment::RunAgain,
        );
        check(
            HintClass::EmulatorBug,
            HintClass::Other,
            Experiment::OtherCpuModel,
        );
        check(
            HintClass::Coherence,
            HintClass::WrongAddress,
            Experiment::CoresAtOnce,
        );
    }

    #[test]
    fn what_is_certain_or_alike_needs_no_experiment() {
        assert_eq!(next(&[]), None);
        let alike = [
            hint(HintClass::StringUndershoot, 0.5),
            hint(HintClass::RegisterOnly, 0.5),
        ];
        assert_eq!(next(&alike), None);
        let certain = [
            hint(HintClass::MemoryCell, 0.9999),
            hint(HintClass::CoreLocalDefect, 0.0001),
        ];
        assert_eq!(next(&certain), None);
    }

    #[test]
    fn information_is_that_of_two_coins() {
        // Against each other: chances of 0.2 and 0.6 that it comes back, worked out by hand.
        let coins = [
            (HintClass::DataDependent, 0.5),
            (HintClass::FloatField, 0.5),
        ];
        let found = information(coins, Experiment::OtherSeed);
        let entropy = |share: f64| -share * share.log2() - (1.0 - share) * (1.0 - share).log2();
        let ideal = entropy(0.4) - f64::midpoint(entropy(0.2), entropy(0.6));
        assert!((found - ideal).abs() < 0.02, "{found} {ideal}");
    }

    #[test]
    fn an_outcome_speaks_for_the_cause_that_expected_it() {
        let after = |outcome| Surroundings {
            experiments: vec![(Experiment::SwapCores, outcome)],
            ..Surroundings::default()
        };
        let ratio = |class, outcome| brought(class, &after(outcome))[0].ratio;
        let core = HintClass::CoreLocalDefect;
        let memory = HintClass::MemoryCell;
        assert!(
            ratio(core, ExperimentOutcome::SameCore)
                > 4.0 * ratio(memory, ExperimentOutcome::SameCore)
        );
        assert!(
            ratio(memory, ExperimentOutcome::SamePlace)
                > 4.0 * ratio(core, ExperimentOutcome::SamePlace)
        );
    }
}
