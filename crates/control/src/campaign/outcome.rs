//! What became of a trial, and the table of all: pure.

use serde::{Deserialize, Serialize};
use stats::upper_bound_of_none;
use std::collections::BTreeMap;

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialOutcome {
    /// The states differ, and the replica with the fault, and no other, was named.
    Detected,
    /// Its machine crashed, and it was named.
    Crashed,
    /// Its machine did not end within its deadline, and it was named.
    Hung,
    /// The states are equal by the plain comparison, and nothing was reported.
    Masked,
    /// A clean trial in which nothing was reported.
    Clean,
    /// A clean trial on machines that are not bit-exact, in which a place differed that was not known
    /// as noise.
    Inconclusive,
    /// The states differ by the plain comparison, and nothing was reported.
    Missed,
    /// Another replica than the one with the fault was named, or more than that one.
    WrongReplica,
    /// The states are equal by the plain comparison, or no fault was put in, and something was
    /// reported.
    FalseAlarm,
}

impl TrialOutcome {
    /// All of them, as tables show them.
    pub const ALL: [Self; 9] = [
        Self::Detected,
        Self::Crashed,
        Self::Hung,
        Self::Masked,
        Self::Clean,
        Self::Inconclusive,
        Self::Missed,
        Self::WrongReplica,
        Self::FalseAlarm,
    ];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Crashed => "crashed",
            Self::Hung => "hung",
            Self::Masked => "masked",
            Self::Clean => "clean",
            Self::Inconclusive => "inconclusive",
            Self::Missed => "missed",
            Self::WrongReplica => "wrong-replica",
            Self::FalseAlarm => "false-alarm",
        }
    }

    /// Whether the detector did what it is for.
    #[must_use]
    pub fn is_as_expected(self) -> bool {
        !matches!(self, Self::Missed | Self::WrongReplica | Self::FalseAlarm)
    }
}

/// How a machine with a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Ended,
    Crashed,
    Hung,
}

/// What a trial showed: the plain truth, and what the detector said.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// The replica with the fault.
    pub(super) faulty: u32,
    /// How that one ended.
    pub(super) ending: Ending,
    /// Whether it differs from a clean one by the plain comparison.
    pub(super) differs: bool,
    /// The replicas that the detector named; `None` stands for one that it could not name.
    pub(super) named: Vec<Option<u32>>,
}

impl Shown {
    /// What became of the trial.
    pub(super) fn outcome(&self) -> TrialOutcome {
        let really = self.differs || self.ending != Ending::Ended;
        match (really, self.named.as_slice()) {
            (false, []) => TrialOutcome::Masked,
            (false, _) => TrialOutcome::FalseAlarm,
            (true, []) => TrialOutcome::Missed,
            (true, [Some(named)]) if *named == self.faulty => match self.ending {
                Ending::Ended => TrialOutcome::Detected,
                Ending::Crashed => TrialOutcome::Crashed,
                Ending::Hung => TrialOutcome::Hung,
            },
            (true, _) => TrialOutcome::WrongReplica,
        }
    }
}

/// How often each outcome came, over all and by what the fault was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By outcome.
    pub all: BTreeMap<TrialOutcome, u64>,
    /// By part and mode of the fault, then by outcome.
    pub by_fault: BTreeMap<String, BTreeMap<TrialOutcome, u64>>,
}

impl Tally {
    /// Adds one trial.
    pub fn add(&mut self, fault: &str, outcome: TrialOutcome) {
        *self.all.entry(outcome).or_default() += 1;
        let of_fault = self.by_fault.entry(fault.to_owned()).or_default();
        *of_fault.entry(outcome).or_default() += 1;
    }

    /// How many trials there were.
    #[must_use]
    pub fn trials(&self) -> u64 {
        self.all.values().sum()
    }

    /// How many of them the detector failed in.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let failed = self
            .all
            .iter()
            .filter(|(outcome, _)| !outcome.is_as_expected());
        failed.map(|(_, count)| count).sum()
    }

    /// The upper 95 % bound on the rate of failures when there was none.
    #[must_use]
    pub fn upper_bound(&self) -> Option<f64> {
        // A masked fault leaves nothing to find: it says nothing about what is missed.
        let masked = self.all.get(&TrialOutcome::Masked).copied().unwrap_or(0);
        (self.failures() == 0).then(|| upper_bound_of_none(self.trials() - masked))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ending: Ending, differs: bool, named: &[Option<u32>], expected: TrialOutcome) {
        let shown = Shown {
            faulty: 1,
            ending,
            differs,
            named: named.to_vec(),
        };
        assert_eq!(shown.outcome(), expected, "{shown:?}");
    }

    #[test]
    fn the_truth_and_the_detector_make_the_outcome() {
        check(Ending::Ended, true, &[Some(1)], TrialOutcome::Detected);
        check(Ending::Ended, false, &[], TrialOutcome::Masked);
        check(Ending::Crashed, true, &[Some(1)], TrialOutcome::Crashed);
        check(Ending::Hung, false, &[Some(1)], TrialOutcome::Hung);
        check(Ending::Ended, true, &[], TrialOutcome::Missed);
        check(Ending::Hung, false, &[], TrialOutcome::Missed);
        check(Ending::Ended, true, &[Some(0)], TrialOutcome::WrongReplica);
        check(Ending::Ended, true, &[None], TrialOutcome::WrongReplica);
        let both = [Some(0), Some(1)];
        check(Ending::Ended, true, &both, TrialOutcome::WrongReplica);
        check(Ending::Ended, false, &[Some(1)], TrialOutcome::FalseAlarm);
    }

    #[test]
    fn a_bound_stands_only_where_nothing_failed() {
        let mut tally = Tally::default();
        for _ in 0..100 {
            tally.add("ram flip", TrialOutcome::Detected);
            tally.add("ram flip", TrialOutcome::Masked);
        }
        assert_eq!(tally.upper_bound(), upper_bound_of_none(100));
        tally.add("reg flip", TrialOutcome::Missed);
        assert_eq!((tally.trials(), tally.failures()), (201, 1));
        assert_eq!(tally.upper_bound(), None);
        assert_eq!(tally.by_fault["reg flip"][&TrialOutcome::Missed], 1);
    }
}
