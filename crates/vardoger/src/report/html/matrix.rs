//! Replica × part of the state: how much of each part of each replica differs.
//!
//! A deviation counts memory, registers and log. The outcome, the result and exact metrics are held
//! against their majority here, and files are what is left of the total.

use super::text::figure;
use maud::{Markup, html};
use model::{Deviation, Outcome, Part, ReplicaIndex, ReplicaRecord, Run, Verdict};

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
    let nobody = run.deviations.iter().find(|one| one.replica.is_none());
    let table = html! {
        table.matrix {
            caption.unseen { "Differences of each replica in each part of its state" }
            thead { tr {
                th scope="col" { "replica" }
                @for part in PARTS { th scope="col" { (part) } }
            } }
            tbody {
                @for record in run.replicas.iter().take(MAX_ROWS) { (row(run, record)) }
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

fn row(run: &Run, record: &ReplicaRecord) -> Markup {
    let of = |one: &&Deviation| one.replica == Some(record.index);
    let deviation = run.deviations.iter().find(of);
    let skipped = run.verdict == Verdict::Skipped;
    html! {
        tr.differs[deviation.is_some()] {
            th scope="row" {
                (record.index)
                @if deviation.is_some() { " " span.badge.bad { "deviates" } }
            }
            @for count in counts(run, record.index, deviation) {
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
fn counts(run: &Run, replica: ReplicaIndex, deviation: Option<&Deviation>) -> [u64; 7] {
    let Some(deviation) = deviation else {
        return [0; 7];
    };
    let outcome = u64::from(listed(deviation, Part::Outcome, None) > 0);
    let result = u64::from(differs(run, replica, |record| record.result_digest.clone()));
    let metrics = metrics(run, replica);
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

/// Exact metrics in which a replica is not of the majority.
fn metrics(run: &Run, replica: ReplicaIndex) -> u64 {
    let names = run.replicas.iter().flat_map(|record| &record.metrics);
    let names: std::collections::BTreeSet<&str> = names
        .filter(|metric| metric.exact)
        .map(|metric| metric.name.as_str())
        .collect();
    let wrong = names.into_iter().filter(|name| {
        differs(run, replica, |record| {
            let held = record.metrics.iter().find(|one| one.name == *name);
            held.map(|metric| metric.value.to_string())
        })
    });
    wrong.count() as u64
}

/// Whether a strict majority holds another value than a replica does.
fn differs(
    run: &Run,
    replica: ReplicaIndex,
    value: impl Fn(&ReplicaRecord) -> Option<String>,
) -> bool {
    let own = run.replicas.iter().find(|one| one.index == replica);
    let Some(own) = own.map(&value) else {
        return false;
    };
    let all: Vec<Option<String>> = run.replicas.iter().map(&value).collect();
    let holders = |one: &Option<String>| all.iter().filter(|other| *other == one).count();
    let right = all.iter().find(|one| 2 * holders(one) > all.len());
    right.is_some_and(|right| *right != own)
}

/// Whether a replica ended as it should.
pub(super) fn ended(record: &ReplicaRecord) -> bool {
    record.outcome == Outcome::Ended
}
