//! Defects of a core's logic: wrong now and then, for some operands, in heat, with age, in a register
//! alone, in the flow of control, or in a way that undoes itself.

use super::Subject;
use super::history::follows_core;
use super::looks::looks;
use super::shape::{Form, Shape};
use super::source;
use super::surroundings::{Age, Heat};
use super::weight::Weight;

/// How a value looks that logic got wrong: mostly several bits, of one word or of what was computed
/// with it.
const WRONG_VALUES: [(Form, f64); 9] = [
    (Form::OneBit, 0.15),
    (Form::OneNibble, 0.02),
    (Form::OneWord, 0.23),
    (Form::Tail, 0.02),
    (Form::Scatter, 0.40),
    (Form::Condition, 0.02),
    (Form::Flood, 0.10),
    (Form::Moving, 0.02),
    (Form::Ending, 0.02),
];

/// One core computes wrongly, and nothing narrower is seen.
pub(super) fn core_local(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let looks = looks(&WRONG_VALUES, shape).from(source::PINDROP);
    [looks].into_iter().chain(follows_core(subject)).collect()
}

/// A unit that fails for some operands only.
pub(super) fn data_dependent(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Condition, 0.72),
        (Form::LowBits, 0.10),
        (Form::Floats, 0.02),
        (Form::FewUnits, 0.02),
        (Form::Scatter, 0.04),
        (Form::Flood, 0.08),
    ];
    let looks = looks(&table, shape).from(source::FCOS);
    [looks].into_iter().chain(follows_core(subject)).collect()
}

/// A register, and nothing in memory.
pub(super) fn register_only(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [(Form::Registers, 0.97), (Form::Flood, 0.01)];
    let looks = looks(&table, shape).from(source::SILIFUZZ);
    [looks].into_iter().chain(follows_core(subject)).collect()
}

/// The flow of control.
pub(super) fn control_flow(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Ending, 0.90),
        (Form::Flood, 0.03),
        (Form::Scatter, 0.03),
        (Form::Told, 0.01),
    ];
    let looks = looks(&table, shape).from(source::SENTINEL);
    [looks].into_iter().chain(follows_core(subject)).collect()
}

/// Heat, or the load of neighbours.
pub(super) fn thermal(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let mut weights = vec![looks(&WRONG_VALUES, shape).from(source::PINDROP)];
    weights.extend(follows_core(subject));
    weights.push(match subject.surroundings.heat {
        Some(heat) => of_heat(heat),
        None => Weight::new(0.5, "nothing was measured of heat and load"),
    });
    weights
}

/// Rates are taken with one deviation and two runs more on either side, lest few runs say too much.
fn of_heat(heat: Heat) -> Weight {
    let rate = |deviations: u32, runs: u32| (f64::from(deviations) + 0.5) / (f64::from(runs) + 1.0);
    let (hot, cool) = (
        rate(heat.deviations_hot, heat.runs_hot),
        rate(heat.deviations_cool, heat.runs_cool),
    );
    let reason = format!(
        "{} of {} runs deviated in heat or under load, {} of {} without",
        heat.deviations_hot, heat.runs_hot, heat.deviations_cool, heat.runs_cool
    );
    // Evidence, not a rule: SEVI finds rates that fall with temperature.
    let ratio = (hot / cool).powi(2).clamp(0.05, 60.0);
    Weight::new(ratio, reason)
        .from(source::ALIBABA)
        .from(source::SEVI)
}

/// Wear.
pub(super) fn ageing(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let mut weights = vec![looks(&WRONG_VALUES, shape).from(source::PINDROP)];
    weights.extend(follows_core(subject));
    weights.push(match subject.surroundings.age {
        Some(age) => of_age(age),
        None => Weight::new(0.5, "no earlier run says when it began"),
    });
    weights
}

fn of_age(age: Age) -> Weight {
    let reason = format!(
        "{} runs passed before the first deviation, and {} of {} deviated since",
        age.clean_before, age.deviations_since, age.runs_since
    );
    let since = f64::from(age.deviations_since) / f64::from(age.runs_since.max(1));
    // Were the rate what it is now from the beginning, so many runs would not have passed.
    let expected = since * f64::from(age.clean_before);
    let ratio = if age.deviations_since >= 2 {
        (expected / 2.0).exp().clamp(0.2, 60.0)
    } else {
        0.5
    };
    Weight::new(ratio, reason).from(source::PINDROP)
}

/// A unit whose wrong results cancel each other on the same core.
pub(super) fn self_inverse(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Scatter, 0.40),
        (Form::Flood, 0.40),
        (Form::Told, 0.05),
        (Form::OneWord, 0.05),
    ];
    let mut weights = vec![looks(&table, shape)];
    weights.extend(follows_core(subject));
    weights.push(match subject.surroundings.crossed {
        Some(crossed) if crossed.own_is_right && !crossed.others_is_right => {
            let reason = "the core undoes its own work rightly, and another core does not";
            Weight::new(300.0, reason).from(source::GOOGLE)
        }
        Some(_) => Weight::new(
            0.02,
            "another core undoes the core's work as the core itself does",
        )
        .from(source::GOOGLE),
        None => Weight::new(0.5, "no other core was given its work to undo"),
    });
    weights
}
