//! The top: what the run says, who deviates, and the figures that matter, in one glance.

use super::memory::SHOWN_OWNER;
use super::text::{Inert, figure};
use crate::report::{bytes, count, extent, number::score, section::owner};
use maud::{Markup, html};
use model::{Deviation, Difference, ReplicaRecord, Run, Severity, Verdict};

/// Deviating replicas that are named at the top; the matrix has all.
const MAX_NAMED: usize = 8;

pub(super) fn of(run: &Run, number: usize) -> Markup {
    let made = &run.provenance;
    html! {
        section class=(format!("card verdict {}", tone(run.verdict))) {
            h1 id=(format!("run-{number}")) {
                span.mark aria-hidden="true" { (mark(run.verdict)) }
                (run.verdict.to_string().to_uppercase())
            }
            p.reason { (Inert::new(&run.reason)) }
            @for deviation in run.deviations.iter().take(MAX_NAMED) { (who(run, deviation)) }
            (super::more(run.deviations.len().saturating_sub(MAX_NAMED) as u64, "replicas that deviate"))
            p.note {
                (Inert::new(&made.computation)) " v" (made.computation_version)
                " · " (figure(run.replicas.len() as u64, "replica", "replicas"))
                " · seed " (format!("{:#x}", made.seed)) " · " (count(made.steps)) " steps · "
                (Inert::new(&made.hypervisor)) ", " (Inert::new(&made.accelerator)) ", cpu " (Inert::new(&made.cpu_model))
            }
            p.note { "run " code { (run.id) } " · " time { (run.started) } }
            @if let Some(choice) = &run.choice { p.note { "chosen: " (Inert::new(choice)) } }
        }
        (tiles(run))
    }
}

/// The class that colours a verdict.
fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "good",
        Verdict::Deviates => "bad",
        Verdict::Inconclusive | Verdict::Skipped => "open",
    }
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Deviates => "✗",
        Verdict::Inconclusive | Verdict::Skipped => "?",
    }
}

fn who(run: &Run, deviation: &Deviation) -> Markup {
    html! {
        p.who {
            strong { (name(run, deviation)) }
            " " (severity(deviation.severity)) " "
            span { (extent(deviation)) }
            @if let Some(first) = &deviation.first { br; (first_difference(first)) }
        }
    }
}

fn name(run: &Run, deviation: &Deviation) -> Markup {
    let record = |replica| run.replicas.iter().find(|one| one.index == replica);
    html! {
        @match deviation.replica {
            Some(replica) => {
                "replica " (replica)
                @if let Some(record) = record(replica) { (place(record)) }
            }
            None => @if run.replicas.len() == 2 {
                "one of the two replicas; two cannot say which"
            } @else {
                "nobody can be named"
            }
        }
    }
}

fn place(record: &ReplicaRecord) -> Markup {
    html! {
        @if let Some(cpu) = record.placement.cpus.first() {
            " on cpu " (cpu) " of " (Inert::new(&record.placement.host))
        }
    }
}

/// A severity as a badge: the word, and its colour.
pub(super) fn severity(severity: Severity) -> Markup {
    let tone = match severity {
        Severity::Critical | Severity::High => "bad",
        Severity::Medium => "open",
        Severity::Low | Severity::Info => "calm",
    };
    html! { span class=(format!("badge {tone}")) { (severity) } }
}

fn first_difference(first: &Difference) -> Markup {
    html! {
        span.note {
            "first: " (first.part) " " code { (Inert::up_to(&first.locus.to_string(), 64)) }
            @if let Some(symbol) = &first.symbol { " " (Inert::up_to(symbol, 96)) }
            @if let Some(owner) = owner(first) { ", " (Inert::up_to(&owner, SHOWN_OWNER)) }
            ", expected " code { (Inert::up_to(first.expected.as_deref().unwrap_or("no majority"), 48)) }
            ", found " code { (Inert::up_to(&first.found, 48)) }
            (super::memory::bits(first))
        }
    }
}

fn tiles(run: &Run) -> Markup {
    let coverage = &run.coverage;
    let sum = |figure: fn(&Deviation) -> u64| {
        let figures = run.deviations.iter().map(figure);
        figures.fold(0, u64::saturating_add)
    };
    let differences = sum(|one| one.differences_total);
    let pages = sum(|one| one.differing_pages);
    let worst = run
        .deviations
        .iter()
        .max_by(|one, other| one.score.total_cmp(&other.score));
    let named = run
        .deviations
        .iter()
        .filter(|one| one.replica.is_some())
        .count();
    html! {
        dl.tiles {
            (tile("deviating", &match (named, run.deviations.len()) {
                (0, 1..) => "not decided".to_owned(),
                (named, _) => format!("{named} of {}", run.replicas.len()),
            }, "replicas"))
            (tile("differences", &count(differences), &format!("in {}", figure(pages, "page", "pages"))))
            (tile("score", &worst.map_or_else(|| "0".to_owned(), |one| score(one.score)), "largest count of one part"))
            (tile("compared", &bytes(coverage.bytes_compared), "over all replicas"))
            (tile("not compared", &bytes(coverage.bytes_not_compared), "see coverage"))
            @if let Some(bound) = coverage.upper_bound {
                (tile("bound", &format!("{:.1} %", bound * 100.0), "of replicas deviate at most, at 95 % confidence"))
            }
        }
    }
}

fn tile(label: &str, value: &str, note: &str) -> Markup {
    html! {
        div.tile {
            dt { (label) }
            dd { span.value { (value) } span.faint { (note) } }
        }
    }
}
