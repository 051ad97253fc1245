//! Causes that are no broken machine: noise, races, another build, other instructions, the emulator;
//! and none of the classes.

use super::Subject;
use super::history::spread;
use super::looks::looks;
use super::shape::{Form, Shape};
use super::source;
use super::surroundings::Surroundings;
use super::weight::Weight;

/// No fault: times, addresses, random numbers, the order of a list.
pub(super) fn nondeterminism(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::PermutedPointers, 0.20),
        (Form::MovedPointers, 0.22),
        (Form::Moving, 0.34),
        (Form::LineDigits, 0.18),
        (Form::Scatter, 0.01),
    ];
    let mut weights = vec![looks(&table, shape)];
    if subject.deterministic {
        let reason = "this machine is bit-exact: nothing in it may differ";
        weights.push(Weight::new(0.2, reason));
    }
    weights
}

/// Two activities of the software, in another order.
pub(super) fn race(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Permuted, 0.58),
        (Form::LineOrder, 0.38),
        (Form::PermutedPointers, 0.01),
        (Form::Scatter, 0.01),
    ];
    [looks(&table, shape)]
        .into_iter()
        .chain(spread(subject))
        .collect()
}

/// Another build or configuration.
pub(super) fn version_drift(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Code, 0.80),
        (Form::Flood, 0.12),
        (Form::Told, 0.02),
        (Form::LineDigits, 0.02),
    ];
    let mut weights = vec![looks(&table, shape)];
    weights.push(if subject.surroundings.builds_differ {
        Weight::new(
            200.0,
            "kernel, guest program or configuration of replicas differ",
        )
    } else {
        Weight::new(0.2, "all replicas are of one build")
    });
    weights
}

/// Other instructions for the same computation.
pub(super) fn code_path(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::FewUnits, 0.94),
        (Form::Floats, 0.01),
        (Form::Scatter, 0.01),
        (Form::Flood, 0.02),
    ];
    let mut weights = vec![looks(&table, shape)];
    weights.extend(classes(subject.surroundings));
    weights
}

pub(super) fn classes(surroundings: &Surroundings) -> Option<Weight> {
    if surroundings.classes_differ {
        let reason = "replicas or golden value are of different instruction-set classes";
        return Some(Weight::new(20.0, reason));
    }
    surroundings.portable.then(|| {
        let reason = "the computation is bit-equal on every instruction-set class";
        Weight::new(0.1, reason)
    })
}

/// A bug of the emulator or hypervisor.
pub(super) fn emulator(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Flood, 0.35),
        (Form::FewUnits, 0.15),
        (Form::Scatter, 0.25),
        (Form::Registers, 0.05),
        (Form::Ending, 0.08),
        (Form::Told, 0.05),
    ];
    vec![looks(&table, shape), of_accelerators(subject.surroundings)]
}

pub(super) fn of_accelerators(surroundings: &Surroundings) -> Weight {
    if surroundings.accelerators_differ {
        let reason = "replicas on one accelerator agree, and those on another differ from them";
        Weight::new(200.0, reason).from(source::HARPOCRATES)
    } else {
        let reason = "all replicas ran on one accelerator, whose bug all of them would share";
        Weight::new(0.1, reason).from(source::HARPOCRATES)
    }
}

/// None of the classes.
pub(super) fn other(shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Told, 0.66),
        (Form::LineDigits, 0.06),
        (Form::Nothing, 0.05),
        (Form::Registers, 0.01),
        (Form::Ending, 0.02),
        (Form::Flood, 0.04),
        (Form::Scatter, 0.01),
        (Form::OneWord, 0.01),
    ];
    vec![looks(&table, shape)]
}
