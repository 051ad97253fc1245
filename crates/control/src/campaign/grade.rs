//! How good hints were over a campaign: the confusion matrix, how often the true cause came first or
//! among three, and whether what was called 80 % sure was right in 80 %. Pure.

use crate::campaign::cause::KnownCause;
use model::{Hint, HintClass};
use serde::{Deserialize, Serialize};
use stats::calibration::{Bin, calibration_error, calibration_interval, reliability};
use std::collections::BTreeMap;

/// Bins of equal counts over which calibration is measured.
const BINS: usize = 10;

/// Draws of the bootstrap, and the confidence of its interval.
const BOOTSTRAP: (usize, f64) = (1_000, 0.95);

/// What a trial's hints were worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HintGrade {
    /// The true cause.
    pub truth: HintClass,
    /// Whether it was drawn from shifted priors and the other study.
    pub shifted: bool,
    /// Whether the fault struck before the end.
    pub early: bool,
    /// The cause that was said first.
    pub first: HintClass,
    /// How sure that was.
    pub probability: f64,
    /// Where the true cause stood, from 1.
    pub place: u32,
    /// The probability that the true cause was given.
    pub truth_probability: f64,
}

impl HintGrade {
    /// What hints are worth that were ranked for a fault of this cause.
    pub(super) fn of(hints: &[Hint], cause: &KnownCause) -> Option<Self> {
        let truth = (cause.class, cause.shifted, cause.early);
        Self::against(hints, truth)
    }

    /// What other hints for the same trial are worth.
    pub(super) fn again(&self, hints: &[Hint]) -> Option<Self> {
        Self::against(hints, (self.truth, self.shifted, self.early))
    }

    fn against(hints: &[Hint], (truth, shifted, early): (HintClass, bool, bool)) -> Option<Self> {
        let place = hints.iter().position(|hint| hint.class == Some(truth))?;
        let first = hints.first()?;
        Some(Self {
            truth,
            shifted,
            early,
            first: first.class?,
            probability: first.probability?,
            place: u32::try_from(place).ok()?.saturating_add(1),
            truth_probability: hints.get(place)?.probability?,
        })
    }
}

/// Some trials' figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// How many trials.
    pub trials: u64,
    /// Those in which the true cause came first.
    pub first: u64,
    /// Those in which it was among the first three.
    pub among_three: u64,
}

impl Shares {
    fn add(&mut self, grade: &HintGrade) {
        self.trials += 1;
        self.first += u64::from(grade.place == 1);
        self.among_three += u64::from(grade.place <= 3);
    }

    /// A share of the trials.
    #[must_use]
    pub fn of(&self, count: u64) -> f64 {
        count as f64 / self.trials.max(1) as f64
    }
}

/// All figures.
#[derive(Debug, Clone, PartialEq)]
pub struct HintReport {
    /// All trials.
    pub all: Shares,
    /// Those from the usual priors and studies.
    pub usual: Shares,
    /// Those from shifted priors and the other study.
    pub shifted: Shares,
    /// Those whose fault struck before the end.
    pub early: Shares,
    /// By true cause.
    pub by_class: BTreeMap<HintClass, Shares>,
    /// By true cause, how often each cause was said first.
    pub confusion: BTreeMap<HintClass, BTreeMap<HintClass, u64>>,
    /// How sure the first hint was, and how often it was right.
    pub reliability: Vec<Bin>,
    /// The expected calibration error over bins of equal counts.
    pub calibration_error: f64,
    /// Its 95 % interval by bootstrap.
    pub calibration_interval: (f64, f64),
}

impl HintReport {
    /// The figures of these trials; nothing without any.
    #[must_use]
    pub fn of<'a>(grades: impl Iterator<Item = &'a HintGrade>) -> Option<Self> {
        let grades: Vec<&HintGrade> = grades.collect();
        let claims: Vec<(f64, bool)> = grades
            .iter()
            .map(|grade| (grade.probability, grade.place == 1))
            .collect();
        let shares = |is: &dyn Fn(&HintGrade) -> bool| {
            let mut shares = Shares::default();
            for grade in grades.iter().filter(|grade| is(grade)) {
                shares.add(grade);
            }
            shares
        };
        let mut by_class: BTreeMap<HintClass, Shares> = BTreeMap::new();
        let mut confusion: BTreeMap<HintClass, BTreeMap<HintClass, u64>> = BTreeMap::new();
        for grade in &grades {
            by_class.entry(grade.truth).or_default().add(grade);
            let said = confusion.entry(grade.truth).or_default();
            *said.entry(grade.first).or_default() += 1;
        }
        Some(Self {
            all: shares(&|_| true),
            usual: shares(&|grade| !grade.shifted),
            shifted: shares(&|grade| grade.shifted),
            early: shares(&|grade| grade.early),
            by_class,
            confusion,
            reliability: reliability(&claims, BINS),
            calibration_error: calibration_error(&claims, BINS)?,
            calibration_interval: calibration_interval(&claims, BINS, BOOTSTRAP, drawer())?,
        })
    }
}

/// Numbers below some other: SplitMix64 (Steele, Lea and Flood, 2014), always from the same seed, so
/// that the same campaign shows the same interval.
fn drawer() -> impl FnMut(usize) -> usize {
    let mut state = 1_u64;
    move |count| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = state;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ value >> 31) % count.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grade(truth: HintClass, first: HintClass, probability: f64, place: u32) -> HintGrade {
        HintGrade {
            truth,
            shifted: place == 2,
            early: place > 3,
            first,
            probability,
            place,
            truth_probability: 0.1,
        }
    }

    #[test]
    fn trials_are_counted_by_truth_and_by_what_was_said() {
        let (cell, core) = (HintClass::MemoryCell, HintClass::CoreLocalDefect);
        let grades = [
            grade(cell, cell, 0.75, 1),
            grade(cell, cell, 0.75, 1),
            grade(cell, cell, 0.75, 1),
            grade(cell, core, 0.75, 2),
            grade(core, cell, 0.50, 4),
            grade(core, core, 0.50, 1),
        ];
        let report = HintReport::of(grades.iter()).unwrap();
        let (all, shifted, early) = (report.all, report.shifted, report.early);
        assert_eq!((all.trials, all.first, all.among_three), (6, 4, 5));
        assert_eq!((shifted.trials, shifted.first), (1, 0));
        assert_eq!((early.trials, early.among_three), (1, 0));
        assert_eq!(report.confusion[&cell][&core], 1);
        assert_eq!(report.by_class[&cell].first, 3);
        // Six claims make six bins of one: each is off by what it was not sure of, or was.
        let off = (0.25 * 3.0 + 0.75 + 0.5 + 0.5) / 6.0;
        assert!((report.calibration_error - off).abs() < 1e-9);
        let (low, high) = report.calibration_interval;
        assert!(low <= report.calibration_error && report.calibration_error <= high + 1e-9);
    }

    #[test]
    fn without_trials_there_are_no_figures() {
        assert_eq!(HintReport::of(std::iter::empty()), None);
    }
}
