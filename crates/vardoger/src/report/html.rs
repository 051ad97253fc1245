//! The report of runs as one HTML file that needs nothing else. Pure: runs and what their evidence
//! shows in, text out.
//!
//! | module | section |
//! |---|---|
//! | [`summary`] | verdict, who, figures |
//! | [`matrix`] | replica × part of the state |
//! | [`map`] | where in guest memory pages differ |
//! | [`memory`] | bytes side by side; the list of differences |
//! | [`sides`] | registers and log side by side |
//! | [`metrics`] | metrics with their baseline |
//! | [`context`] | findings, faults, replicas, coverage, provenance |
//!
//! Invariants:
//! - Nothing is fetched and nothing is executed: there is no script and no address of another file,
//!   and the policy in the head forbids both even if there were.
//! - All that a guest could have written goes through [`text::Inert`]: escaped, bounded, and with
//!   what would steer the display made visible.
//! - Every list is bounded and says how much more there is, so that a page stays below 2 MB
//!   whatever the run.
//! - Nothing is said by colour alone.

mod context;
mod map;
mod matrix;
mod memory;
mod metrics;
mod sides;
mod summary;
mod text;

use control::excerpt::Excerpts;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::{Finding, Run};
use text::Inert;

/// The page's one style sheet.
const STYLE: &str = include_str!("html/style.css");

/// What the browser may do with the page: show it, in its own style.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A run with all that is shown of it.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The run.
    pub(crate) run: Run,
    /// What was found in it.
    pub(crate) findings: Vec<Finding>,
    /// What its evidence shows.
    pub(crate) excerpts: Excerpts,
    /// The command line that does it again.
    pub(crate) repeat: Option<String>,
}

/// The most bytes of a page: more is slow on a telephone, and refused by many a mail server.
const MAX_BYTES: usize = 2_000_000;

/// How much is shown of each run. A page of ordinary runs shows all; one that would be too large,
/// since somebody filled every list to its bound, shows less and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// The verdict alone.
    Verdict,
    /// The verdict, the matrix, coverage and provenance.
    Brief,
    /// All but what stands side by side.
    Lists,
    /// All.
    Full,
}

/// The page of some runs, in their order.
pub(crate) fn page(subjects: &[Subject]) -> String {
    let less = [Detail::Lists, Detail::Brief, Detail::Verdict];
    let mut page = page_in(subjects, Detail::Full);
    for detail in less {
        if page.len() <= MAX_BYTES {
            break;
        }
        page = page_in(subjects, detail);
    }
    page
}

fn page_in(subjects: &[Subject], detail: Detail) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(subjects))
            body {
                header.bar {
                    span.brand { "vardoger" }
                    span.faint { "doubles for virtual machines" }
                }
                main {
                    @for (number, subject) in subjects.iter().enumerate() {
                        (report(subject, number, detail))
                    }
                }
                footer.faint {
                    "This file holds everything that it shows, executes nothing and fetches nothing."
                }
            }
        }
    };
    markup.into_string()
}

fn head(subjects: &[Subject]) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="no-referrer";
            title { (title(subjects)) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn title(subjects: &[Subject]) -> Markup {
    html! {
        @match subjects {
            [one] => {
                (one.run.verdict.to_string().to_uppercase()) " · "
                (Inert::new(&one.run.provenance.computation)) " · vardoger"
            }
            many => { (many.len()) " runs · vardoger" }
        }
    }
}

/// One run. Its number keeps the name of its heading apart from those of the others.
fn report(subject: &Subject, number: usize, detail: Detail) -> Markup {
    let run = &subject.run;
    let excerpts = &subject.excerpts;
    html! {
        article aria-labelledby=(format!("run-{number}")) {
            (summary::of(run, number))
            @if detail < Detail::Full {
                p.note { "Not all of it fits a page of 2 MB; `vardoger run show " (run.id) " --json` has the rest." }
            }
            @if detail >= Detail::Lists {
                (context::warnings(run, excerpts))
                (context::findings(&subject.findings))
            }
            @if detail >= Detail::Brief { (matrix::of(run)) }
            @if detail >= Detail::Lists { (map::of(run, excerpts)) }
            @if detail >= Detail::Full { (memory::of(run, excerpts)) }
            @if detail >= Detail::Lists { (memory::differences(run)) }
            @if detail >= Detail::Full {
                (sides::registers(excerpts))
                (sides::log(excerpts))
            }
            @if detail >= Detail::Lists {
                (context::injections(run))
                (metrics::of(run))
                (context::replicas(run))
            }
            @if detail >= Detail::Brief {
                (context::coverage(run))
                (context::provenance(run, subject.repeat.as_deref()))
            }
        }
    }
}

/// A card with a heading.
fn card(heading: &str, note: &str, content: &Markup) -> Markup {
    html! {
        section.card {
            h2 { (heading) }
            @if !note.is_empty() { p.note { (note) } }
            (content)
        }
    }
}

/// A box whose content scrolls sideways where the screen is narrow; it can be reached by keyboard.
fn wide(name: &str, content: &Markup) -> Markup {
    html! {
        div.wide tabindex="0" role="group" aria-label=(name) { (content) }
    }
}

/// How much of a list is not shown; nothing where all is.
fn more(left_out: u64, what: &str) -> Markup {
    html! {
        @if left_out > 0 {
            p.note { "… and " (super::count(left_out)) " more " (what) }
        }
    }
}

#[cfg(test)]
mod tests;
