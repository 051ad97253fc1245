//! Faults in what a replica told: a character of a line of its log, a bit of a figure that it
//! counted. They strike between the machine and its double's reader, once all has been told.

use crate::error::ControlError;
use crate::inject::Fault;
use crate::injection::FaultPart;
use computation::job::Metric;

/// The bits of a whole number that a double holds exactly.
const FIGURE_BITS: u32 = 52;

/// Distorts a log or a metric, where the fault is one of those.
pub(crate) fn distort(
    fault: &mut Fault<'_>,
    log: &mut [String],
    metrics: &mut [Metric],
) -> Result<(), ControlError> {
    match &fault.planned.injection.part {
        FaultPart::Log(line) => distort_log(fault, *line, log),
        FaultPart::Metric(name) => distort_metric(fault, name.as_deref(), metrics),
        FaultPart::Ram(_) | FaultPart::Register(_) | FaultPart::Disk(_) | FaultPart::Hang => Ok(()),
    }
}

/// Flips a bit of a character, so that another character comes out that can be printed.
fn distort_log(
    fault: &mut Fault<'_>,
    line: Option<u64>,
    log: &mut [String],
) -> Result<(), ControlError> {
    let lines = log.len() as u64;
    let number = line.unwrap_or_else(|| fault.planned.draw_place(lines) + 1);
    let text = usize::try_from(number - 1)
        .ok()
        .and_then(|index| log.get_mut(index))
        .ok_or_else(|| {
            failed(
                &format!("line {number} of the log"),
                &format!("it has {lines}"),
            )
        })?;
    let choices: Vec<(usize, u32, char)> = text
        .char_indices()
        .filter(|(_, character)| character.is_ascii_graphic())
        .flat_map(|(at, character)| (0..7).map(move |bit| (at, bit, flipped(character, bit))))
        .filter(|(_, bit, other)| {
            let ordered = fault.planned.injection.bit;
            other.is_ascii_graphic() && ordered.is_none_or(|ordered| ordered == *bit)
        })
        .collect();
    let drawn = fault.planned.draw_within(choices.len() as u64);
    let &(at, bit, other) = usize::try_from(drawn)
        .ok()
        .and_then(|index| choices.get(index))
        .ok_or_else(|| {
            failed(
                &format!("line {number} of the log"),
                "no character takes the bit",
            )
        })?;
    let before = text.clone();
    text.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
    fault.record.name = Some(format!("line {number}"));
    fault.record.bit = Some(bit);
    fault.done(before, text.clone());
    Ok(())
}

fn flipped(character: char, bit: u32) -> char {
    char::from_u32(u32::from(character) ^ 1 << bit).unwrap_or(character)
}

/// Flips a bit of a figure that the guest counts.
fn distort_metric(
    fault: &mut Fault<'_>,
    name: Option<&str>,
    metrics: &mut [Metric],
) -> Result<(), ControlError> {
    let what = name.map_or("a metric".to_owned(), |name| format!("metric {name}"));
    let mut counted: Vec<&mut Metric> = metrics
        .iter_mut()
        .filter(|metric| metric.exact && whole(metric.value).is_some())
        .collect();
    let known: Vec<&str> = counted.iter().map(|metric| metric.name.as_str()).collect();
    let known = format!("the guest counts: {}", known.join(" "));
    let drawn = fault.planned.draw_place(counted.len() as u64);
    let index = match name {
        Some(name) => counted.iter().position(|metric| metric.name == name),
        None => usize::try_from(drawn).ok(),
    };
    let metric = index
        .and_then(|index| counted.get_mut(index))
        .ok_or_else(|| failed(&what, &known))?;
    let before = whole(metric.value).unwrap_or(0);
    // A drawn bit is one that the figure might have reached.
    let width = (u64::BITS - before.leading_zeros()).clamp(1, FIGURE_BITS);
    let bit = fault.planned.bit(width);
    let after = before ^ 1_u64 << bit.min(FIGURE_BITS - 1);
    metric.value = after as f64;
    fault.record.name = Some(metric.name.clone());
    fault.record.bit = Some(bit);
    fault.done(format!("{before:x}"), format!("{after:x}"));
    Ok(())
}

/// A figure that is a whole number, as one.
fn whole(value: f64) -> Option<u64> {
    let most = (1_u64 << FIGURE_BITS) as f64;
    (value >= 0.0 && value < most && value.fract() == 0.0).then_some(value as u64)
}

fn failed(what: &str, detail: &str) -> ControlError {
    ControlError::InjectionFailed {
        what: format!("into {what}"),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::{Injection, PlannedInjection, plan};

    fn planned(order: &str, seed: u64) -> PlannedInjection {
        let order = [Injection::parse(order).unwrap()];
        plan(&order, seed, 3, 80).unwrap().remove(0)
    }

    fn metric(name: &str, value: f64, exact: bool) -> Metric {
        Metric {
            name: name.to_owned(),
            value,
            exact,
        }
    }

    #[test]
    fn one_bit_of_one_character_of_one_line_changes() {
        for seed in 0..200 {
            let planned = planned("log", seed);
            let mut fault = Fault::new(&planned);
            let said = ["sha256: 601 steps".to_owned(), "é done".to_owned()];
            let mut log = said.clone();
            distort(&mut fault, &mut log, &mut []).unwrap();
            let pairs = said.iter().zip(&log);
            let bits: u32 = pairs
                .flat_map(|(one, other)| one.bytes().zip(other.bytes()))
                .map(|(one, other)| (one ^ other).count_ones())
                .sum();
            assert_eq!(bits, 1, "{log:?}");
            assert_eq!(fault.record.times, 1);
        }
    }

    #[test]
    fn one_bit_of_one_exact_figure_changes() {
        let told = [
            metric("rate", 1.5, true),
            metric("hashed", 6.0, true),
            metric("cpu", 3.0, false),
        ];
        for seed in 0..50 {
            let planned = planned("metric", seed);
            let mut fault = Fault::new(&planned);
            let mut metrics = told.clone();
            distort(&mut fault, &mut [], &mut metrics).unwrap();
            assert_eq!((metrics[0].value, metrics[2].value), (1.5, 3.0));
            let flipped = metrics[1].value as u64 ^ 6;
            assert_eq!(flipped.count_ones(), 1);
        }
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        let refuse = |order: &str, log: &mut [String], metrics: &mut [Metric]| {
            let planned = planned(order, 0);
            let mut fault = Fault::new(&planned);
            distort(&mut fault, log, metrics).unwrap_err().to_string()
        };
        assert!(refuse("log", &mut [], &mut []).contains("it has 0"));
        assert!(refuse("log=2", &mut ["one".to_owned()], &mut []).contains("it has 1"));
        assert!(refuse("log", &mut [" ".to_owned()], &mut []).contains("no character"));
        let mut metrics = [metric("hashed", 6.0, true)];
        assert!(refuse("metric=cpu", &mut [], &mut metrics).contains("hashed"));
    }
}
