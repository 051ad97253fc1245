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

/// A wrong gather's value is not seen to be another word's: it is corrupt, or too common to tell.
const NOT_SEEN: f64 = 0.50;

/// Words that are counted so: defects differ in how many of their values are valid.
const MOST_NOT_SEEN: i32 = 2;

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
    // Where it was looked for, that no value is another word's speaks against it.
    if shape.form == Form::Scatter && shape.echoes == 0 && shape.untouched.is_some() {
        let words = i32::try_from(shape.len()).unwrap_or(i32::MAX);
        let reason = format!("none of {words} words holds what another word holds");
        let ratio = NOT_SEEN.powi(words.min(MOST_NOT_SEEN));
        weights.push(Weight::new(ratio, reason).from(source::SEVI));
    }
    weights.extend(follows_core(subject));
    weights
}

/// A cache that kept an old line.
pub(super) fn coherence(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Line, 0.58),
        (Form::OneWord, 0.10),
        (Form::Tail, 0.12),
        (Form::OneBit, 0.03),
        (Form::OneNibble, 0.04),
        (Form::Echo, 0.03),
        (Form::Permuted, 0.01),
        (Form::Lane, 0.01),
        (Form::Mask, 0.01),
        (Form::Flood, 0.02),
        (Form::Moving, 0.04),
        (Form::MovedPointers, 0.03),
        (Form::Scatter, 0.01),
    ];
    let mut weights = vec![looks(&table, shape).from(source::ALIBABA)];
    weights.extend(old_values(shape));
    weights.extend(in_one(shape, shape.place.is_line(), "line of 64 bytes"));
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
        (Form::Moving, 0.04),
        (Form::Scatter, 0.01),
        (Form::Line, 0.03),
        (Form::OneWord, 0.01),
        (Form::Echo, 0.02),
        (Form::Permuted, 0.01),
        (Form::Lane, 0.02),
        (Form::Flood, 0.05),
    ];
    let mut weights = vec![looks(&table, shape)];
    weights.extend(old_values(shape));
    weights.extend(in_one(shape, shape.pages.len() == 1, "page"));
    weights.extend(stays_in_place(subject, shape).filter(|weight| weight.ratio > 1.0));
    weights
}

/// What one line or page lost is in one; what was computed with it is anywhere.
fn in_one(shape: &Shape, is_in_one: bool, what: &str) -> Option<Weight> {
    let elsewhere = shape.len() > 0 && !is_in_one && shape.form != Form::Flood;
    elsewhere.then(|| {
        let reason = format!("the {} words are not of one {what}", shape.len());
        Weight::new(0.05, reason)
    })
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
