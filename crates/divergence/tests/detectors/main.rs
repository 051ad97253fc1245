//! Every detector is shown to fail on a deliberate fault, and to be silent without it.
//!
//! Each case is one line of a table: how many replicas, which fault in which of them, and what must
//! be said. [`case::check`] analyses the replicas without the fault first, and demands silence; then
//! with it, and demands the verdict, the names, the kind and the first difference. The expectations
//! are written down, never computed.
//!
//! | detector | cases |
//! |---|---|
//! | memory, word by word | `memory` |
//! | registers | `register` |
//! | result and files, golden value | `output` |
//! | log | `log` |
//! | exact and statistical metrics | `metric` |
//! | outcome: hang and crash | `outcome` |
//! | majority, undecided, nothing compared | `majority` |
//! | severity, kind by kind | `severity` |
//! | machines that are not bit-exact, place by place | `aligned` |
//! | hints, class by class | `hint` |

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod aligned;
mod case;
mod disk;
mod hint;
mod log;
mod majority;
mod memory;
mod metric;
mod outcome;
mod output;
mod register;
mod severity;

use case::Case;
use model::{FindingKind, HintClass, Part, Verdict};

/// What the engine can say of a part, and the next one; the last has none. A part that is added to
/// the vocabulary does not compile here until it stands in this order.
fn part_after(part: Part) -> Option<Part> {
    match part {
        Part::Outcome => Some(Part::Memory),
        Part::Memory => Some(Part::Register),
        Part::Register => Some(Part::Log),
        Part::Log => Some(Part::File),
        Part::File => Some(Part::Disk),
        Part::Disk => Some(Part::Metric),
        Part::Metric => None,
    }
}

/// The same for kinds.
fn kind_after(kind: FindingKind) -> Option<FindingKind> {
    match kind {
        FindingKind::SilentWrongOutput => Some(FindingKind::LatentDifference),
        FindingKind::LatentDifference => Some(FindingKind::Crash),
        FindingKind::Crash => Some(FindingKind::Hang),
        FindingKind::Hang => Some(FindingKind::MetricDeviation),
        FindingKind::MetricDeviation => Some(FindingKind::Undecided),
        FindingKind::Undecided => Some(FindingKind::GoldenMismatch),
        FindingKind::GoldenMismatch => None,
    }
}

fn all() -> Vec<Case> {
    [
        memory::cases(),
        register::cases(),
        output::cases(),
        disk::cases(),
        log::cases(),
        metric::cases(),
        outcome::cases(),
        majority::cases(),
    ]
    .concat()
}

/// Deliberate faults that the engine must have at the least.
const CASES_MIN: usize = 150;

/// All of them: those of run-time parts, of hints, and of machines that are aligned.
fn count() -> usize {
    all().len() + hint::cases().len() + aligned::CASES
}

#[test]
fn there_are_enough_of_them() {
    let count = count();
    assert!(count >= CASES_MIN, "{count}");
}

#[test]
fn every_part_has_a_case_that_shows_it_failing() {
    let cases = all();
    let parts = std::iter::successors(Some(Part::Outcome), |part| part_after(*part));
    for part in parts {
        let shown = |case: &&Case| case.first.is_some_and(|(first, _)| first == part);
        let shown = cases.iter().filter(shown).count();
        assert!(shown >= 4, "{part}: only {shown} cases");
    }
}

#[test]
fn every_kind_and_every_verdict_has_a_case_that_shows_it() {
    let cases = all();
    let first = Some(FindingKind::SilentWrongOutput);
    for kind in std::iter::successors(first, |kind| kind_after(*kind)) {
        let shown = cases.iter().any(|case| case.kinds.contains(&kind));
        assert!(shown, "no case shows {kind}");
    }
    for verdict in [
        Verdict::Pass,
        Verdict::Deviates,
        Verdict::Inconclusive,
        Verdict::Skipped,
    ] {
        let shown = cases.iter().any(|case| case.verdict == verdict);
        assert!(shown, "no case shows {verdict}");
    }
}

#[test]
fn every_class_of_hints_is_said_first_once_and_once_not_at_all() {
    let cases = hint::cases();
    for class in HintClass::ALL {
        for first in [true, false] {
            let shown = |case: &&hint::HintCase| case.class == *class && case.first == first;
            assert!(
                cases.iter().any(|case| shown(&case)),
                "{class}, first: {first}"
            );
        }
    }
}

#[test]
fn the_guide_says_how_many_there_are() {
    let guide = include_str!("../../../../docs/DIVERGENCE.md");
    let says = format!("They are {} cases", count());
    assert!(guide.contains(&says), "the guide must say: {says}");
}

#[test]
fn there_are_cases_for_two_three_five_and_the_most_replicas() {
    let cases = all();
    for count in [2, 3, 4, 5, 8, 64] {
        assert!(cases.iter().any(|case| case.replicas == count), "{count}");
    }
}
