//! Right values in the wrong place, and old values that stayed: loads from a wrong address, lines
//! that a write did not reach, copies that stopped short, sectors and pages that storage lost.

use super::Subject;
use super::history::{follows_core, stays_in_place};
use super::looks::{counted, looks};
use super::shape::{Form, Shape};
use super::source;
use super::weight::Weight;

/// The share of gathers from a wrong offset that give valid data (SEVI).
const VALID: f64 = 0.76;

/// A load from a wrong address.
pub(super) fn wrong_address(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Echo, 0.76),
        (Form::Flood, 0.08),
        (Form::Scatter, 0.10),
        (Form::OneWord, 0.02),
        (Form::Permuted, 0.01),
        (Form::MovedPointers, 0.002),
    ];
    let mut weights = vec![looks(&table, shape).from(source::SEVI)];
    if shape.form == Form::Scatter && shape.echoes > 0 {
        let reason = format!(
            "{} of {} words hold what another word holds; {:.0} % of wrong gathers do",
            shape.echoes,
            shape.len(),
            VALID * 100.0
        );
        // A value that is wrong otherwise is hardly another word's.
        weights.push(Weight::new(12.0, reason).from(source::SEVI));
    }
    weights.extend(follows_core(subject));
    weights
}

/// A cache that kept an old line.
pub(super) fn coherence(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Line, 0.68),
        (Form::OneWord, 0.10),
        (Form::Tail, 0.05),
        (Form::OneBit, 0.03),
        (Form::OneNibble, 0.02),
        (Form::Echo, 0.03),
        (Form::Permuted, 0.01),
        (Form::Lane, 0.01),
        (Form::Mask, 0.01),
        (Form::Flood, 0.02),
        (Form::Moving, 0.01),
        (Form::Scatter, 0.01),
    ];
    let mut weights = vec![looks(&table, shape).from(source::ALIBABA)];
    weights.extend(old_values(shape));
    weights.extend(follows_core(subject));
    weights
}

/// A copy that stopped before its end.
pub(super) fn undershoot(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Tail, 0.76),
        (Form::Line, 0.08),
        (Form::OneWord, 0.08),
        (Form::OneBit, 0.01),
        (Form::OneNibble, 0.02),
        (Form::Echo, 0.02),
        (Form::Flood, 0.01),
    ];
    let mut weights = vec![looks(&table, shape).from(source::SILIFUZZ)];
    weights.extend(old_values(shape));
    weights.extend(follows_core(subject));
    weights
}

/// A sector or page that storage lost, or gave old.
pub(super) fn storage(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Zeros, 0.45),
        (Form::Block, 0.35),
        (Form::Moving, 0.02),
        (Form::Scatter, 0.03),
        (Form::Line, 0.03),
        (Form::OneWord, 0.01),
        (Form::Echo, 0.02),
        (Form::Permuted, 0.01),
        (Form::Lane, 0.02),
        (Form::Flood, 0.05),
    ];
    let mut weights = vec![looks(&table, shape)];
    weights.extend(old_values(shape));
    weights.extend(stays_in_place(subject, shape).filter(|weight| weight.ratio > 1.0));
    weights
}

/// Values that were there before anything was computed.
fn old_values(shape: &Shape) -> Option<Weight> {
    let old = shape.share(shape.unwritten) >= 0.5 && shape.share(shape.zeros) < 0.9;
    old.then(|| {
        let reason = format!(
            "{} hold what they held before the computation began",
            counted(shape.unwritten as u64, "word")
        );
        Weight::new(4.0, reason)
    })
}
