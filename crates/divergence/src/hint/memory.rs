//! A cell, row or column of memory.

use super::Subject;
use super::history::stays_in_place;
use super::looks::looks;
use super::shape::{Form, Shape};
use super::source;
use super::weight::Weight;

/// At most this share of DRAM faults touches a single bit (Beigi et al.: over 45 % touch several).
const ONE_BIT: f64 = 0.55;

/// The faults of several bits, by where they lie: in one chip's lines, in a row, in a column; how the
/// 45 % divide is ours.
const SEVERAL: f64 = 1.0 - ONE_BIT;

/// A cell, row or column of memory.
pub(super) fn memory_cell(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::OneBit, ONE_BIT),
        (Form::OneNibble, 0.26 * SEVERAL),
        (Form::Row, 0.25 * SEVERAL),
        (Form::Column, 0.24 * SEVERAL),
        (Form::Mask, 0.05 * SEVERAL),
        (Form::OneWord, 0.01 * SEVERAL),
        (Form::Floats, 0.02 * SEVERAL),
        (Form::Flood, 0.16 * SEVERAL),
        (Form::Ending, 0.01 * SEVERAL),
    ];
    let mut weights = vec![looks(&table, shape).from(source::DRAM)];
    weights.extend(one_way(shape));
    weights.extend(stays_in_place(subject, shape));
    if shape.in_code > 0 && shape.form != Form::Code {
        let reason = format!(
            "{} words lie in the kernel's code, which nothing writes after it has booted",
            shape.in_code
        );
        weights.push(Weight::new(5.0, reason));
    }
    weights
}

/// A weak cell loses its charge: it flips one way.
fn one_way(shape: &Shape) -> Option<Weight> {
    let of_bits = shape.share(shape.one_bit) >= 0.9 && shape.len() >= 4;
    let flips = shape.words.iter().filter(|_| of_bits);
    let rising = flips.filter(|word| word.found & word.mask() != 0).count();
    of_bits.then(|| {
        let one_way = rising == 0 || rising == shape.len();
        let reason = if one_way {
            format!("all {} flips go the same way", shape.len())
        } else {
            format!("{rising} of {} flips go from 0 to 1", shape.len())
        };
        Weight::new(if one_way { 2.0 } else { 0.2 }, reason)
    })
}
