//! What stands around the differences: findings with their hints, faults that were ordered,
//! replicas, what was looked at and what was not, and where all of it comes from.

use super::matrix::ended;
use super::memory::SHOWN_OWNER;
use super::text::Inert;
use crate::report::hint::{next_experiment, two_digits};
use crate::report::{bytes, count, injected, outcome, section::owner, seen};
use control::excerpt::Excerpts;
use maud::{Markup, html};
use model::{Fate, Finding, Hint, InjectionRecord, ProgramProvenance, ReplicaRecord, Run};

/// Findings of a run that are shown.
const MAX_FINDINGS: usize = 8;

/// Hints and blobs of one finding that are shown.
const MAX_HINTS: usize = 8;

/// Input files and arguments of a program that are shown.
const MAX_FILES: usize = 16;

/// Sources of one hint that are shown.
const MAX_SOURCES: usize = 4;

/// Faults that are shown: the most that can be ordered.
const MAX_INJECTIONS: usize = 64;

/// Replicas that are shown: the most of one run.
const MAX_REPLICAS: usize = 64;

/// Warnings, reasons and units that are shown.
const MAX_LINES: usize = 32;

/// Characters of a sentence.
const SENTENCE: usize = 320;

pub(super) fn warnings(run: &Run, excerpts: &Excerpts) -> Markup {
    html! {
        @if !run.warnings.is_empty() || !excerpts.unread.is_empty() {
            section.card.open {
                h2 { "Warnings" }
                ul {
                    @for warning in run.warnings.iter().take(MAX_LINES) { li { (Inert::up_to(warning, SENTENCE)) } }
                    @for unread in excerpts.unread.iter().take(MAX_LINES) { li { "evidence: " (Inert::up_to(unread, SENTENCE)) } }
                }
                (super::more(run.warnings.len().saturating_sub(MAX_LINES) as u64, "warnings"))
            }
        }
    }
}

pub(super) fn findings(findings: &[Finding]) -> Markup {
    html! {
        @if !findings.is_empty() {
            (super::card("Findings and hints", "A hint is a possible cause with its reason, not a verdict.", &html! {
                @for one in findings.iter().take(MAX_FINDINGS) { (finding(one)) }
                (super::more(findings.len().saturating_sub(MAX_FINDINGS) as u64, "findings"))
            }))
        }
    }
}

fn finding(finding: &Finding) -> Markup {
    html! {
        div.finding {
            h3 { (finding.kind) " " (super::summary::severity(finding.severity)) " " span.faint { "score " (finding.score) " of 100" } }
            p { (Inert::up_to(&finding.summary, SENTENCE)) }
            @if !finding.hints.is_empty() {
                ol.hints { @for one in finding.hints.iter().take(MAX_HINTS) { (hint(one)) } }
                (super::more(finding.hints.len().saturating_sub(MAX_HINTS) as u64, "hints"))
            }
            @if let Some(next) = &finding.next_experiment {
                p.note { "next: " (Inert::up_to(&next_experiment(next), SENTENCE)) }
            }
            @if !finding.evidence_blobs.is_empty() {
                details {
                    summary { "Evidence in the store" }
                    ul { @for blob in finding.evidence_blobs.iter().take(MAX_HINTS) { li { code.breaks { (Inert::up_to(blob, 128)) } } } }
                    (super::more(finding.evidence_blobs.len().saturating_sub(MAX_HINTS) as u64, "blobs"))
                }
            }
            p.note { "finding " code { (finding.id) } " · version " (Inert::new(&finding.engine_version)) " of the engine" }
        }
    }
}

fn hint(hint: &Hint) -> Markup {
    html! {
        li {
            strong { (Inert::up_to(&hint.cause, SENTENCE)) }
            @if let Some(probability) = hint.probability { " " span.badge.calm { (format!("{:.0} %", probability * 100.0)) } }
            br;
            span.faint { (Inert::up_to(&hint.reason, SENTENCE)) }
            (grounds(hint))
        }
    }
}

/// How much the evidence speaks for a cause, and by whose figures.
fn grounds(hint: &Hint) -> Markup {
    html! {
        @if let Some(ratio) = hint.likelihood_ratio {
            p.note { (two_digits(ratio)) " times as likely under this cause as under none in particular" }
        }
        @if !hint.sources.is_empty() {
            p.note {
                "figures of: "
                @for (at, source) in hint.sources.iter().take(MAX_SOURCES).enumerate() { @if at > 0 { "; " } (Inert::up_to(source, 128)) }
            }
            (super::more(hint.sources.len().saturating_sub(MAX_SOURCES) as u64, "sources"))
        }
        @for conflict in hint.conflicts.iter().take(MAX_SOURCES) {
            p.note {
                "contested: " (Inert::up_to(&conflict.about, SENTENCE))
                @for one in conflict.figures.iter().take(MAX_SOURCES) {
                    br;
                    (Inert::up_to(&one.figure, SENTENCE)) ": " (two_digits(one.likelihood_ratio)) " times ("
                    (Inert::up_to(&one.source, 128)) ")"
                }
            }
        }
    }
}

pub(super) fn injections(run: &Run) -> Markup {
    html! {
        @if !run.injections.is_empty() {
            (super::card("Injected faults", "Ordered as a check of the detector.", &html! {
                ul.plain { @for one in run.injections.iter().take(MAX_INJECTIONS) { (injection(run, one)) } }
                (super::more(run.injections.len().saturating_sub(MAX_INJECTIONS) as u64, "faults"))
            }))
        }
    }
}

fn injection(run: &Run, record: &InjectionRecord) -> Markup {
    let owner = seen(run, record).and_then(owner);
    html! {
        li {
            @match record.fate {
                Fate::Live => span.badge.bad { "live" },
                Fate::Masked => span.badge.calm { "masked" },
            }
            " " (Inert::up_to(&injected(record), SENTENCE))
            @if let Some(owner) = owner { "; belongs to " (Inert::up_to(&owner, SHOWN_OWNER)) }
        }
    }
}

pub(super) fn replicas(run: &Run) -> Markup {
    let heads = [
        "ended",
        "cpu",
        "vCPU time",
        "wall time",
        "instructions",
        "steps",
        "changed",
        "result",
    ];
    let table = html! {
        table {
            caption.unseen { "Replicas" }
            thead { tr { th scope="col" { "replica" } @for head in heads { th scope="col" { (head) } } } }
            tbody { @for record in run.replicas.iter().take(MAX_REPLICAS) { (replica(record)) } }
        }
    };
    super::card(
        "Replicas",
        "",
        &html! {
            (super::wide("Replicas", &table))
            (super::more(run.replicas.len().saturating_sub(MAX_REPLICAS) as u64, "replicas"))
        },
    )
}

fn replica(record: &ReplicaRecord) -> Markup {
    let place = &record.placement;
    html! {
        tr.differs[!ended(record)] {
            th scope="row" { (record.index) }
            td { (Inert::up_to(&outcome(record), 96)) }
            td { @for (at, cpu) in place.cpus.iter().take(4).enumerate() { @if at > 0 { ", " } (cpu) } " of " (Inert::up_to(&place.host, 64)) }
            td.number { (format!("{:.2} s", record.cpu.seconds())) }
            td.number { (format!("{:.2} s", record.wall.seconds())) }
            td.number { @if let Some(instructions) = record.instructions { (count(instructions.0)) } @else { "–" } }
            td.number { (count(record.steps)) }
            td.number { (count(record.changed_pages)) " pages" }
            td { @if let Some(digest) = &record.result_digest { code { (Inert::up_to(digest, 16)) } } @else { "–" } }
        }
    }
}

pub(super) fn coverage(run: &Run) -> Markup {
    let coverage = &run.coverage;
    let undecided = run.undecided_words;
    super::card(
        "Coverage",
        "What was looked at, and what the silence is worth.",
        &html! {
            dl.facts {
                (fact("compared", &html! { (bytes(coverage.bytes_compared)) " in " (run.replicas.len()) " replicas" }))
                @if coverage.bytes_masked > 0 {
                    (fact("masked", &html! { (bytes(coverage.bytes_masked)) (reasons(&coverage.masked_reasons)) }))
                }
                (fact("not compared", &html! { (bytes(coverage.bytes_not_compared)) (reasons(&coverage.not_compared_reasons)) }))
                @if undecided > 0 {
                    (fact("undecided", &html! { (count(undecided)) " words of memory that no majority decided" }))
                }
                (fact("exercised", &html! {
                    (reasons(&coverage.units))
                    @if !coverage.host_units_exercised {
                        p.note { "in the guest only: no vector, FMA or AES unit of this host executed its instructions" }
                    }
                }))
                @if let Some(bound) = coverage.upper_bound {
                    (fact("bound", &html! { (format!("at most {:.1} % of replicas deviate (95 % confidence)", bound * 100.0)) }))
                }
            }
        },
    )
}

fn reasons(reasons: &[String]) -> Markup {
    html! {
        @if !reasons.is_empty() {
            ul { @for reason in reasons.iter().take(MAX_LINES) { li { (Inert::up_to(reason, SENTENCE)) } } }
            (super::more(reasons.len().saturating_sub(MAX_LINES) as u64, "more"))
        }
    }
}

fn fact(name: &str, content: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (content) } } }
}

/// A user's program: the bytes that it was made of, and what it was given.
fn of_program(program: &ProgramProvenance) -> Markup {
    let given = program.stdin.iter().chain(&program.files);
    let given = std::iter::once(&program.executable).chain(given);
    let left_out = program.files.len().saturating_sub(MAX_FILES);
    html! {
        ul {
            @for one in given.take(MAX_FILES + 2) {
                li { (Inert::up_to(&one.name, 96)) ", " (bytes(one.bytes)) " " code.breaks { (Inert::up_to(&one.digest, 128)) } }
            }
        }
        (super::more(left_out as u64, "files"))
        @if !program.arguments.is_empty() {
            p { "arguments: " @for argument in program.arguments.iter().take(MAX_FILES) { code { (Inert::up_to(argument, 128)) } " " } }
            (super::more(program.arguments.len().saturating_sub(MAX_FILES) as u64, "arguments"))
        }
    }
}

pub(super) fn provenance(run: &Run, repeat: Option<&str>) -> Markup {
    let made = &run.provenance;
    let text = |text: &str| html! { (Inert::up_to(text, SENTENCE)) };
    let digest = |text: &str| html! { code.breaks { (Inert::up_to(text, 128)) } };
    super::card(
        "Provenance",
        "",
        &html! {
            @match repeat {
                Some(command) => {
                    p { "To do it again, with the same input, size, machines and faults:" }
                    (super::wide("The command line", &html! { pre { code { (Inert::up_to(command, 16_384)) } } }))
                }
                None if made.program.is_some() => p.note { "A program of the user's is repeated with `vardoger run start --program` and the same files; their digests are below." },
                None => p.note { "This version's library does not hold the computation in that version and size, so there is no command line that repeats the run." },
            }
            dl.facts {
                (fact("computation", &html! { (Inert::new(&made.computation)) " v" (made.computation_version) ", seed " (format!("{:#x}", made.seed)) ", " (count(made.steps)) " steps" }))
                @if let Some(program) = &made.program { (fact("program", &of_program(program))) }
                (fact("machine", &html! { (text(&made.hypervisor)) ", " (text(&made.accelerator)) ", cpu " (text(&made.cpu_model)) ", " (bytes(made.memory_bytes)) @if run.deterministic { ", bit-exact" } }))
                (fact("kernel", &html! { (text(&made.kernel)) " " (digest(&made.kernel_digest)) }))
                (fact("guest program", &digest(&made.guest_digest)))
                (fact("golden digest", &html! { @if let Some(golden) = &run.golden { (digest(golden)) } @else { "none known" } }))
                (fact("vardoger", &text(&made.vardoger)))
                (fact("run", &html! { code.breaks { (run.id) } }))
                (fact("started", &html! { time { (run.started) } }))
                (fact("ended", &html! { time { (run.ended) } }))
            }
        },
    )
}
