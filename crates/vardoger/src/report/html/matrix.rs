//! Replica × part of the state: how much of each part of each replica differs.
//!
//! A deviation counts memory, registers and log. The outcome, the result and exact metrics are held
//! against their majority here, and files are what is left of the total.

use super::text::figure;
use maud::{Markup, html};
use model::{Deviation, Outcome, Part, ReplicaRecord, Run, Verdict};
use std::collections::BTreeMap;

/// The most replicas that are shown: a run has 64 at most.
const MAX_ROWS: usize = 64;

/// The parts, in the order in which they are shown.
const PARTS: [&str; 7] = [
    "memory",
    "registers",
    "log",
    "files",
    "metrics",
    "outcome",
    "result",
];

pub(super) fn of(run: &Run) -> Markup {
    let right = Right::of(run);
    let nobody = run.deviations.iter().find(|one| one.replica.is_none());
    let table = html! {
        table.matrix {
            caption.unseen { "Differences of each replica in each part of its state" }
            thead { tr {
                th scope="col" { "replica" }
                @for part in PARTS { th scope="col" { (part) } }
            } }
            tbody {
                @for record in run.replicas.iter().take(MAX_ROWS) { (row(run, &right, record)) }
                @if let Some(deviation) = nobody {
                    tr.differs {
                        th scope="row" { "no majority" }
                        @for count in undecided(deviation) { (cell(count, "open")) }
                    }
                }
            }
        }
    };
    let note = match (run.verdict, nobody) {
        (Verdict::Skipped, _) => "Nothing was compared.",
        (_, Some(_)) => {
            "Units of each part in which the replicas differ and no strict majority says what is right."
        }
        _ => {
            "How many units of each part differ from the majority: words of memory and of files, registers, log lines, exact metrics."
        }
    };
    let left_out = run.replicas.len().saturating_sub(MAX_ROWS);
    super::card(
        "What differs",
        note,
        &html! {
            (super::wide("What differs, by replica and part", &table))
            (super::more(left_out as u64, "replicas"))
        },
    )
}

fn row(run: &Run, right: &Right<'_>, record: &ReplicaRecord) -> Markup {
    let of = |one: &&Deviation| one.replica == Some(record.index);
    let deviation = run.deviations.iter().find(of);
    let skipped = run.verdict == Verdict::Skipped;
    html! {
        tr.differs[deviation.is_some()] {
            th scope="row" {
                (record.index)
                @if deviation.is_some() { " " span.badge.bad { "deviates" } }
            }
            @for count in counts(right, record, deviation) {
                @if skipped { td.calm { "–" } } @else { (cell(count, "bad")) }
            }
        }
    }
}

fn cell(count: u64, tone: &str) -> Markup {
    html! {
        @if count == 0 {
            td.equal { "equal" }
        } @else {
            td class=(tone) title=(figure(count, "difference", "differences")) {
                strong { (crate::report::count(count)) }
            }
        }
    }
}

/// The counts of a replica, in the order of [`PARTS`].
fn counts(right: &Right<'_>, record: &ReplicaRecord, deviation: Option<&Deviation>) -> [u64; 7] {
    let Some(deviation) = deviation else {
        return [0; 7];
    };
    let outcome = listed(deviation, Part::Outcome, None);
    let result = u64::from(right.differs_in_result(record));
    let metrics = right.differing_metrics(record);
    with_files(deviation, metrics, outcome, result)
}

/// The counts of a run in which nobody is named.
fn undecided(deviation: &Deviation) -> [u64; 7] {
    let outcome = listed(deviation, Part::Outcome, None);
    let result = listed(deviation, Part::File, Some("result"));
    let metrics = listed(deviation, Part::Metric, None);
    with_files(deviation, metrics, outcome, result)
}

/// All counts; files are what the others leave of the total.
fn with_files(deviation: &Deviation, metrics: u64, outcome: u64, result: u64) -> [u64; 7] {
    let counted = [
        deviation.differing_words,
        deviation.differing_registers,
        deviation.differing_lines,
        metrics,
        outcome,
        result,
    ];
    let files = counted
        .iter()
        .fold(deviation.differences_total, |left, count| {
            left.saturating_sub(*count)
        });
    let [memory, registers, log, metrics, outcome, result] = counted;
    [memory, registers, log, files, metrics, outcome, result]
}

fn listed(deviation: &Deviation, part: Part, name: Option<&str>) -> u64 {
    let listed = deviation.differences.iter();
    let listed = listed.filter(|one| one.part == part);
    let listed = listed.filter(|one| name.is_none_or(|name| one.locus.to_string() == name));
    listed.count() as u64
}

/// What the majority holds of what a deviation does not count.
struct Right<'a> {
    result: Option<Option<&'a str>>,
    metrics: BTreeMap<&'a str, f64>,
}

impl<'a> Right<'a> {
    fn of(run: &'a Run) -> Self {
        let results = run.replicas.iter().map(|one| one.result_digest.as_deref());
        let mut held: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for metric in run.replicas.iter().flat_map(|record| &record.metrics) {
            if metric.exact {
                held.entry(&metric.name).or_default().push(metric.value);
            }
        }
        let all = run.replicas.len();
        let metrics = held.into_iter().filter_map(|(name, values)| {
            let bits = values.into_iter().map(f64::to_bits);
            majority(bits, all).map(|bits| (name, f64::from_bits(bits)))
        });
        Self {
            result: majority(results, all),
            metrics: metrics.collect(),
        }
    }

    fn differs_in_result(&self, record: &ReplicaRecord) -> bool {
        self.result
            .is_some_and(|right| right != record.result_digest.as_deref())
    }

    /// Exact metrics in which a replica is not of the majority.
    fn differing_metrics(&self, record: &ReplicaRecord) -> u64 {
        let own = record.metrics.iter().filter(|metric| metric.exact);
        let own: BTreeMap<&str, f64> = own.map(|one| (one.name.as_str(), one.value)).collect();
        let wrong = |(name, right): &(&&str, &f64)| own.get(**name) != Some(*right);
        self.metrics.iter().filter(wrong).count() as u64
    }
}

/// What strictly more than half of so many hold.
fn majority<T: Ord>(values: impl Iterator<Item = T>, of: usize) -> Option<T> {
    let mut held: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *held.entry(value).or_default() += 1;
    }
    let mut held = held.into_iter();
    held.find(|(_, holders)| 2 * holders > of)
        .map(|(value, _)| value)
}

/// Whether a replica ended as it should.
pub(super) fn ended(record: &ReplicaRecord) -> bool {
    record.outcome == Outcome::Ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_half_are_a_majority() {
        assert_eq!(majority([1, 2, 2].into_iter(), 3), Some(2));
        assert_eq!(majority([1, 2, 2].into_iter(), 4), None);
        assert_eq!(majority([1, 1, 2, 2].into_iter(), 4), None);
        assert_eq!(majority([0_u64; 0].into_iter(), 0), None);
    }
}
