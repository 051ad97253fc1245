//! How likely a form is: under no cause in particular, and under a class, whose table gives the
//! share of its faults that look so.

use super::shape::{Form, Shape};
use super::weight::Weight;

/// The share of every form that a class's table does not name: nothing is impossible.
const UNUSUAL: f64 = 0.0005;

/// How sure it is that what seems to stand as it was struck does, of one word and of several: measured on
/// campaigns whose faults struck early, of other seeds than the guide's.
const KEPT_ALONE: f64 = 0.5;
const KEPT_SEVERAL: f64 = 0.85;

/// How often a form is seen under no cause in particular; ours.
const fn background(form: Form) -> f64 {
    match form {
        Form::OneBit => 0.10,
        Form::Scatter => 0.14,
        Form::Flood => 0.12,
        Form::OneWord => 0.08,
        Form::Ending => 0.08,
        Form::Mask | Form::Floats | Form::Line | Form::Told => 0.04,
        Form::Nothing => 0.02,
        _ => 0.018,
    }
}

/// What a class's table makes of the form that is seen; the shares are of a published figure where a
/// source is added, else ours.
pub(super) fn looks(table: &[(Form, f64)], shape: &Shape) -> Weight {
    let of = |form: Form| {
        let named = table.iter().find(|(named, _)| *named == form);
        named.map_or(UNUSUAL, |(_, share)| *share)
    };
    let share = of(shape.form);
    let ratio = share / background(shape.form);
    if !shape.kept {
        let reason = format!(
            "{}, as {} % of such faults do",
            describe(shape),
            percent(share)
        );
        return Weight::new(ratio, reason);
    }
    let flood = of(Form::Flood);
    let reason = format!(
        "{}, as when a wrong value is used further, as {} % of such faults do; of what stands as it was \
         struck: {}, as {} % do",
        counted(shape.words_total, "word"),
        percent(flood),
        describe(shape),
        percent(share)
    );
    let sure = match shape.len() {
        1 => KEPT_ALONE,
        _ => KEPT_SEVERAL,
    };
    let ratio = sure * ratio + (1.0 - sure);
    Weight::new(flood / background(Form::Flood) * ratio, reason)
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent @ ..1.0 => format!("{percent:.1}"),
        percent => format!("{percent:.0}"),
    }
}

/// What is seen, with its numbers.
pub(super) fn describe(shape: &Shape) -> String {
    let words = if shape.kept {
        counted(shape.len() as u64, "word")
    } else {
        counted(shape.words_total, "word")
    };
    let pages = counted(shape.pages.len() as u64, "page");
    match shape.form {
        Form::Ending => "how it ended differs".to_owned(),
        Form::LineOrder => format!("the same {} lines of the log in another order", shape.lines),
        Form::LineDigits => format!("{} lines of the log differ in digits only", shape.lines),
        Form::Told => "what was told differs, and nothing else".to_owned(),
        Form::Registers => format!(
            "{} alone differ",
            counted(shape.registers as u64, "register")
        ),
        Form::Code => format!(
            "{} of the kernel's code differ",
            counted(shape.in_code as u64, "word")
        ),
        Form::Permuted => format!("the same {} values in another order", shape.len()),
        Form::PermutedPointers => format!(
            "the same {} addresses in another order, as of a list",
            shape.len()
        ),
        Form::Echo => format!(
            "{} of {words} hold what another word of the same pages rightly holds",
            shape.echoes
        ),
        Form::Zeros => format!("{words} of {pages} are zero"),
        Form::MovedPointers => format!(
            "{} of {words} are addresses with the same last 12 bits (by chance 1 in 4,096)",
            shape.moved_pointers
        ),
        Form::FewUnits => format!(
            "{} of {words} are doubles at most 4 units in the last place apart",
            shape.few_units
        ),
        Form::OneBit => "one bit of one word differs".to_owned(),
        Form::OneNibble => "a few bits of one group of four of one word differ".to_owned(),
        Form::OneWord => "several bits of one word differ".to_owned(),
        Form::Tail => format!(
            "a run of {} bytes differs, askew to words",
            shape.place.tail_bytes().unwrap_or(0)
        ),
        Form::Column => format!("one bit of {words} differs, at equal distances of pages"),
        Form::Mask => mask(shape),
        Form::Lane => lane(shape),
        Form::Line => format!("{words} of one line of 64 bytes differ"),
        Form::Block => format!("{words} of one page differ"),
        Form::Row => format!("one bit of each of {words} of {pages} differs"),
        Form::Condition => condition(shape),
        Form::LowBits => format!("several low bits of {words}, doubles, differ in {pages}"),
        Form::Floats => format!("a few bits of {words}, doubles, differ in {pages}"),
        Form::Moving => format!(
            "{} of {words} are times, counters or random numbers",
            shape.moving
        ),
        Form::Scatter => format!("{words} of {pages} differ in many bits and without a pattern"),
        Form::Flood => format!("{words} differ, as when a wrong value is used further"),
        Form::Nothing => "what differs has no form".to_owned(),
    }
}

fn mask(shape: &Shape) -> String {
    let Some(common) = shape.common else {
        return String::new();
    };
    format!(
        "{} of {} words ({:.0} %) share one mask of {}, {:#x}",
        common.count,
        shape.len(),
        shape.share(common.count) * 100.0,
        counted(u64::from(common.mask.count_ones()), "bit"),
        common.mask
    )
}

fn lane(shape: &Shape) -> String {
    let (width, one) = shape.place.lane().unwrap_or((0, true));
    let lanes = if one {
        "one lane"
    } else {
        "two neighbouring lanes"
    };
    format!("{lanes} of vectors of {width} bytes that follow each other differ")
}

fn condition(shape: &Shape) -> String {
    let Some(condition) = shape.condition else {
        return String::new();
    };
    format!(
        "all {} words have bit {} set, which {:.0} % of the words there have",
        shape.len(),
        condition.bit,
        condition.share * 100.0
    )
}

/// A number with its noun.
pub(super) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_a_distribution() {
        let all = [
            Form::Ending,
            Form::LineOrder,
            Form::LineDigits,
            Form::Told,
            Form::Registers,
            Form::Code,
            Form::Permuted,
            Form::PermutedPointers,
            Form::Echo,
            Form::Zeros,
            Form::MovedPointers,
            Form::FewUnits,
            Form::OneBit,
            Form::OneNibble,
            Form::Tail,
            Form::OneWord,
            Form::Column,
            Form::Mask,
            Form::Lane,
            Form::Line,
            Form::Block,
            Form::Row,
            Form::Condition,
            Form::Floats,
            Form::LowBits,
            Form::Moving,
            Form::Scatter,
            Form::Flood,
            Form::Nothing,
        ];
        let sum: f64 = all.map(background).iter().sum();
        assert!((sum - 1.0).abs() < 0.05, "{sum}");
    }
}
