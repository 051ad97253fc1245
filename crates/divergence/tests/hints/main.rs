//! The hints against a set whose causes are known: each class has a generator that draws differences
//! and surroundings from published distributions. It shares nothing with the code that ranks.
//!
//! Some draws cannot be told apart by anybody, and stay in: three of ten core-local defects of the
//! set are not bound to a core, and a tenth of them have no history. So the bounds are those that
//! were measured, less a margin of some three standard errors.

mod draw;
mod generate;
mod processor;

use divergence::hint::surroundings::Core;
use divergence::hint::{Subject, rank};
use draw::Random;
use generate::{Example, example};
use model::{Hint, HintClass};
use stats::{calibration_error, calibration_interval, reliability};

/// Examples of each class.
const EXAMPLES: usize = 400;

/// Draws other examples: the figures of other seeds lie within the margins.
const SEED: u64 = 1;

/// Bins of equal counts over which calibration is measured.
const BINS: usize = 10;

fn ranked(example: &Example) -> Vec<Hint> {
    let core: Option<&Core> = example.core.as_ref();
    rank(&Subject {
        differences: &example.differences,
        traces: &example.traces,
        deterministic: example.deterministic,
        code: Some(generate::CODE),
        core,
        surroundings: &example.surroundings,
    })
}

/// Where the true class stands in the ranking, from 0; and the probability of the first.
fn graded(class: HintClass, seed: u64) -> Vec<(usize, f64)> {
    let mut random = Random::new(seed ^ class as u64);
    let one = |_| {
        let hints = ranked(&example(class, &mut random));
        let place = hints.iter().position(|hint| hint.class == Some(class));
        (
            place.unwrap_or(usize::MAX),
            hints[0].probability.unwrap_or_default(),
        )
    };
    (0..EXAMPLES).map(one).collect()
}

fn share(grades: &[(usize, f64)], places: usize) -> f64 {
    let within = grades.iter().filter(|(place, _)| *place < places).count();
    within as f64 / grades.len() as f64
}

#[test]
fn the_true_cause_comes_first_as_often_as_was_measured() {
    let bounds = [
        (HintClass::CoreLocalDefect, 0.40),
        (HintClass::FixedBitMask, 0.70),
        (HintClass::FloatField, 0.70),
        (HintClass::VectorLane, 0.70),
        (HintClass::WrongAddress, 0.70),
        (HintClass::Coherence, 0.70),
        (HintClass::ControlFlow, 0.70),
        (HintClass::StringUndershoot, 0.70),
        (HintClass::RegisterOnly, 0.70),
        (HintClass::DataDependent, 0.70),
        (HintClass::ThermalPower, 0.40),
        (HintClass::Ageing, 0.40),
        (HintClass::MemoryCell, 0.70),
        (HintClass::Storage, 0.70),
        (HintClass::Nondeterminism, 0.70),
        (HintClass::SoftwareRace, 0.70),
        (HintClass::VersionDrift, 0.70),
        (HintClass::CodePath, 0.70),
        (HintClass::EmulatorBug, 0.70),
        (HintClass::SelfInverse, 0.70),
        (HintClass::Other, 0.70),
    ];
    assert_eq!(bounds.len(), HintClass::ALL.len());
    let (mut all, mut low) = (Vec::new(), Vec::new());
    for (class, bound) in bounds {
        let grades = graded(class, SEED);
        let (first, third) = (share(&grades, 1), share(&grades, 3));
        println!("{class}: first {first:.3}, among three {third:.3}");
        low.extend((first < bound).then(|| format!("{class}: {first}")));
        all.extend(grades);
    }
    let (first, third) = (share(&all, 1), share(&all, 3));
    let claims: Vec<_> = all
        .iter()
        .map(|(place, probability)| (*probability, *place == 0))
        .collect();
    let error = calibration_error(&claims, BINS).unwrap();
    let mut random = Random::new(SEED);
    let below = |count: usize| random.between(0, count as u64 - 1) as usize;
    let interval = calibration_interval(&claims, BINS, (1000, 0.95), below).unwrap();
    println!("all: first {first:.3}, among three {third:.3}");
    println!(
        "calibration error {error:.3}, 95 % between {:.3} and {:.3}",
        interval.0, interval.1
    );
    for bin in reliability(&claims, BINS) {
        println!(
            "{} said {:.3}, were {:.3}",
            bin.count, bin.confidence, bin.right
        );
    }
    assert!(low.is_empty(), "{low:?}");
    assert!(first >= 0.80, "first {first}");
    assert!(third >= 0.95, "among three {third}");
    // Shares here are equal and priors are not, so that what is rare elsewhere is said with doubt.
    assert!(error <= 0.09, "calibration error {error}");
}
