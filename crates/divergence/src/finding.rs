//! Findings, but for their id and moment: what the deviations and the golden value mean.
//!
//! # Score
//! Each severity owns 20 points of the 100, in order. Within them the score rises with the
//! binary logarithm of the number of differences, and is full at 2^20: all of 8 MiB of memory. For
//! a statistical metric its deviation ÷ baseline stands for the number of differences.

use crate::deviation::Deviant;
use crate::parts::Counts;
use model::{Difference, FindingKind, Hint, NextExperiment, ReplicaIndex, Severity};

/// Points of the score that one severity owns.
const BAND: u8 = 20;

/// The binary logarithm of the number of differences that fills a band.
const FULL_BITS: u32 = 20;

/// A finding without id and moment.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingDraft {
    /// What it is.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// 0 to 100: see the module.
    pub score: u8,
    /// Whom it is about; `None` for the run as a whole.
    pub replica: Option<ReplicaIndex>,
    /// One sentence for people.
    pub summary: String,
    /// The exact differences, bounded.
    pub evidence: Vec<Difference>,
    /// Possible causes, the likeliest first.
    pub hints: Vec<Hint>,
    /// What would tell the likeliest of them apart.
    pub next_experiment: Option<NextExperiment>,
}

/// The score of so many differences of a severity.
pub(crate) fn score_of(severity: Severity, differences: u64) -> u8 {
    let band = match severity {
        Severity::Info => 0,
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    };
    let bits = differences.max(1).ilog2().min(FULL_BITS);
    let within = u32::from(BAND) * bits / FULL_BITS;
    // The top of a band is the bottom of the next one, except for the last.
    let within = u8::try_from(within).unwrap_or(BAND);
    let top = if severity == Severity::Critical {
        BAND
    } else {
        BAND - 1
    };
    band * BAND + within.min(top)
}

/// The finding of a deviation; its hints come last, when all is known.
pub(crate) fn of_deviant(deviant: &Deviant, replicas: usize) -> FindingDraft {
    let deviation = &deviant.deviation;
    let who = match deviation.replica {
        Some(index) => format!("replica {index} of {replicas}"),
        None if replicas == 2 => "one of two replicas".to_owned(),
        None => format!("the {replicas} replicas"),
    };
    FindingDraft {
        kind: deviant.kind,
        severity: deviation.severity,
        score: score_of(deviation.severity, deviant.counts.total()),
        replica: deviation.replica,
        summary: format!(
            "{who} {}: {}",
            predicate(deviant.kind),
            listed(deviant.counts)
        ),
        evidence: deviation.differences.clone(),
        hints: Vec::new(),
        next_experiment: None,
    }
}

/// The finding of a golden value that the replicas contradict.
pub(crate) fn of_golden(found: &str, golden: &str) -> FindingDraft {
    let kind = FindingKind::GoldenMismatch;
    let severity = kind.floor();
    FindingDraft {
        kind,
        severity,
        score: score_of(severity, 1),
        replica: None,
        summary: format!(
            "the replicas agree on the result {found}, and the golden value is {golden}"
        ),
        evidence: Vec::new(),
        hints: Vec::new(),
        next_experiment: None,
    }
}

fn predicate(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::SilentWrongOutput => "puts out a wrong result",
        FindingKind::LatentDifference => "holds another state and puts out the same",
        FindingKind::Crash => "crashed",
        FindingKind::Hang => "hung",
        FindingKind::Undecided => "differ, and no majority says which is right",
        FindingKind::MetricDeviation | FindingKind::GoldenMismatch => "deviate",
    }
}

/// The counts in words, such as `1 word of memory, 2 log lines`.
pub(crate) fn listed(counts: Counts) -> String {
    let units = [
        (counts.outcome, "outcome", "outcomes"),
        (counts.memory, "word of memory", "words of memory"),
        (counts.registers, "register", "registers"),
        (counts.files, "value of its output", "values of its output"),
        (counts.disk, "word of its disk", "words of its disk"),
        (counts.log, "log line", "log lines"),
        (counts.metrics, "count of its own", "counts of its own"),
    ];
    let listed: Vec<String> = units
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    listed.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_own_bands_of_the_score() {
        assert_eq!(score_of(Severity::Info, 0), 0);
        assert_eq!(score_of(Severity::High, 1), 60);
        assert_eq!(score_of(Severity::High, 1024), 70);
        assert_eq!(score_of(Severity::High, u64::MAX), 79);
        assert_eq!(score_of(Severity::Critical, 1), 80);
        assert_eq!(score_of(Severity::Critical, u64::MAX), 100);
    }

    #[test]
    fn counts_read_as_words() {
        let counts = Counts {
            memory: 1,
            log: 2,
            ..Counts::default()
        };
        assert_eq!(listed(counts), "1 word of memory, 2 log lines");
    }
}
