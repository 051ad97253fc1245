//! Evidence for and against causes that are not a broken machine, and for none of the classes.

use super::shape::Shape;
use super::source;
use super::surroundings::{Core, Surroundings};
use super::{Subject, Weight};
use std::collections::BTreeSet;

/// From this share on, a property is that of the whole.
const MOST: f64 = 0.5;

/// Words from which the last digits of a computation are a pattern.
const MANY: usize = 8;

/// Deviations on so many different cores are spread.
const SPREAD_CORES: usize = 3;

/// No fault: times, addresses, random numbers, the order of a list.
pub(super) fn nondeterminism(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let mut weights = Vec::new();
    if subject.deterministic {
        let reason = "this machine is bit-exact: nothing in it may differ".to_owned();
        weights.push(Weight::new(0.3, reason));
    }
    let explained = shape
        .moved_pointers
        .saturating_add(shape.moving)
        .min(shape.len());
    if shape.permuted && shape.share(shape.pointers) >= MOST {
        let reason = format!(
            "the same {} addresses in another order, as of a list",
            shape.len()
        );
        weights.push(Weight::new(200.0, reason));
    } else if shape.len() > 0 {
        let share = shape.share(explained);
        let reason = format!(
            "{} of {} words are addresses with the same last 12 bits (by chance 1 in 4,096), {} are \
             times, counters or random numbers",
            shape.moved_pointers,
            shape.len(),
            shape.moving
        );
        let ratio = match (share, shape.len()) {
            (0.9.., 2..) => 100.0,
            (MOST.., _) => 20.0,
            (0.2.., _) => 2.0,
            _ => 0.2,
        };
        weights.push(Weight::new(ratio, reason));
    }
    if shape.lines > 0 && shape.lines_but_digits == shape.lines {
        let reason = format!("{} lines of the log differ in digits only", shape.lines);
        weights.push(Weight::new(20.0, reason));
    }
    weights
}

/// Two activities of the software, in another order.
pub(super) fn race(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let mut weights = Vec::new();
    if shape.permuted && shape.share(shape.pointers) < MOST {
        let reason = format!("the same {} values in another order", shape.len());
        weights.push(Weight::new(200.0, reason));
    }
    if shape.lines_permuted {
        let reason = format!("the same {} lines of the log in another order", shape.lines);
        weights.push(Weight::new(200.0, reason));
    }
    if weights.is_empty() {
        let reason = "no value is found again in another place".to_owned();
        weights.push(Weight::new(0.1, reason));
    }
    weights.extend(spread(subject));
    weights
}

/// Faults of software are spread over cores, those of a core are not.
fn spread(subject: &Subject<'_>) -> Option<Weight> {
    let earlier = &subject.surroundings.earlier;
    let cores: BTreeSet<&Core> = earlier
        .iter()
        .map(|one| &one.core)
        .chain(subject.core)
        .collect();
    let spread = cores.len() >= SPREAD_CORES && cores.len() > earlier.len();
    spread.then(|| {
        let reason = format!("deviations were on {} different cores", cores.len());
        Weight::new(3.0, reason).from(source::GOOGLE)
    })
}

/// Other instructions for the same computation.
pub(super) fn code_path(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let share = shape.share(shape.few_units);
    let reason = format!(
        "{} of {} words are doubles at most 4 units in the last place apart",
        shape.few_units,
        shape.len()
    );
    let ratio = match (share, shape.len()) {
        (MOST.., MANY..) => 500.0,
        (MOST.., 2..) => 30.0,
        (MOST.., _) => 2.0,
        _ => 0.05,
    };
    let mut weights = vec![Weight::new(ratio, reason)];
    weights.extend(classes(subject.surroundings));
    weights
}

fn classes(surroundings: &Surroundings) -> Option<Weight> {
    if surroundings.classes_differ {
        let reason = "replicas or golden value are of different instruction-set classes".to_owned();
        return Some(Weight::new(20.0, reason));
    }
    surroundings.portable.then(|| {
        let reason = "the computation is bit-equal on every instruction-set class".to_owned();
        Weight::new(0.1, reason)
    })
}

/// None of the classes.
pub(super) fn other(shape: &Shape) -> Vec<Weight> {
    let only = |count: usize| count > 0 && shape.len() == 0;
    let (ratio, reason) = if shape.len() >= MANY && shape.share(shape.zeros) >= 0.9 {
        let reason = format!(
            "{} words are zero, as a lost write leaves them",
            shape.zeros
        );
        (30.0, reason)
    } else if only(shape.registers) && shape.lines == 0 {
        let reason = format!(
            "{} registers alone differ, as a sticky flag does",
            shape.registers
        );
        (5.0, reason)
    } else if only(shape.outcomes) {
        (3.0, "how it ended is all that differs".to_owned())
    } else {
        return Vec::new();
    };
    vec![Weight::new(ratio, reason)]
}

/// A golden value that all contradict: another path?
pub(super) fn golden_path(surroundings: &Surroundings) -> Vec<Weight> {
    let agree = "all replicas agree with each other".to_owned();
    let mut weights = vec![Weight::new(1.0, agree)];
    weights.extend(classes(surroundings));
    weights
}

/// A golden value that all contradict: what else they share.
pub(super) fn golden_other(host_units_exercised: bool) -> Vec<Weight> {
    let executor = if host_units_exercised {
        "the host's processor"
    } else {
        "the emulator"
    };
    let reason = format!(
        "replicas share {executor}, the guest's kernel and program, and perhaps a fault in them; or \
         the golden value is wrong"
    );
    vec![Weight::new(1.0, reason)]
}
