//! A golden value that all replicas contradict: what they share.

use super::software::{classes, of_accelerators};
use super::source;
use super::surroundings::{Core, Surroundings};
use super::weight::{Weight, ranked};
use model::{Hint, HintClass};
use std::collections::BTreeSet;

/// The causes of a golden value that all replicas contradict.
#[must_use]
pub fn rank_golden(host_units_exercised: bool, surroundings: &Surroundings) -> Vec<Hint> {
    ranked(vec![
        (HintClass::CodePath, 0.35, path(surroundings)),
        (HintClass::CoreLocalDefect, 0.1, shared_core(surroundings)),
        (
            HintClass::EmulatorBug,
            0.2,
            vec![of_accelerators(surroundings)],
        ),
        (HintClass::Other, 0.35, others(host_units_exercised)),
    ])
}

fn path(surroundings: &Surroundings) -> Vec<Weight> {
    let mut weights = vec![Weight::new(1.0, "all replicas agree with each other")];
    weights.extend(classes(surroundings));
    weights
}

/// Could it have been one core?
fn shared_core(surroundings: &Surroundings) -> Vec<Weight> {
    let cores: BTreeSet<&Core> = surroundings.cores.iter().map(|(_, core)| core).collect();
    let weight = match cores.len() {
        0 => return Vec::new(),
        1 => Weight::new(3.0, "all replicas ran on one core"),
        count => {
            let reason = format!("the replicas ran on {count} cores, and all agree");
            Weight::new(0.05, reason)
        }
    };
    vec![weight.from(source::GOOGLE)]
}

/// What else they share.
fn others(host_units_exercised: bool) -> Vec<Weight> {
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
