//! Registers and log, expected beside found.

use super::text::{Inert, figure};
use control::excerpt::{Excerpt, Excerpts, LogLine, RegisterPair};
use maud::{Markup, html};

/// Characters of a register's value that are shown: a 512-bit register has 128 digits.
const VALUE_CHARACTERS: usize = 128;

/// Characters of a log line that are shown.
const LINE_CHARACTERS: usize = 200;

/// Registers that are shown, of all replicas together: a vCPU has about a hundred.
const MAX_REGISTERS: usize = 384;

/// Lines of logs that are shown, of all replicas together.
const MAX_LINES: usize = 240;

pub(super) fn registers(excerpts: &Excerpts) -> Markup {
    let with_registers = |one: &&Excerpt| !one.registers.is_empty();
    let shown: Vec<&Excerpt> = excerpts.shown.iter().filter(with_registers).collect();
    html! {
        @if !shown.is_empty() {
            (super::card("Registers", "", &html! {
                @for excerpt in &shown { (registers_of(excerpt, MAX_REGISTERS / shown.len())) }
            }))
        }
    }
}

fn registers_of(excerpt: &Excerpt, room: usize) -> Markup {
    let all = excerpt.registers.len();
    let differing = excerpt
        .registers
        .iter()
        .filter(|one| !one.is_equal())
        .count();
    let name = format!("Registers of replica {}", excerpt.found);
    let table = html! {
        table {
            caption.unseen { (name) }
            thead { tr { th scope="col" { "register" } th scope="col" { "expected" } th scope="col" { "found" } th scope="col" { "state" } } }
            tbody { @for pair in excerpt.registers.iter().take(room) { (register(pair)) } }
        }
    };
    html! {
        details open[differing > 0] {
            summary { "replica " (excerpt.found) " · " (differing) " of " (figure(all as u64, "register differs", "registers differ")) }
            (super::wide(&name, &table))
            (super::more(all.saturating_sub(room) as u64, "registers"))
        }
    }
}

fn register(pair: &RegisterPair) -> Markup {
    html! {
        tr.differs[!pair.is_equal()] {
            th scope="row" { code { (Inert::up_to(&pair.name, 64)) } }
            td { code { (value(pair.expected.as_deref(), pair.found.as_deref(), false)) } }
            td { code { (value(pair.found.as_deref(), pair.expected.as_deref(), true)) } }
            (state(pair.is_equal()))
        }
    }
}

fn state(equal: bool) -> Markup {
    html! {
        @if equal { td.equal { "equal" } } @else { td.bad { strong { "differs" } } }
    }
}

/// A value; from its first character that differs from the other side on, it is marked.
fn value(own: Option<&str>, other: Option<&str>, is_found: bool) -> Markup {
    let Some(own) = own else {
        return html! { span.faint { "(absent)" } };
    };
    let (start, middle, end) = differing(own, other.unwrap_or(""));
    html! {
        (Inert::up_to(start, VALUE_CHARACTERS))
        @if !middle.is_empty() {
            @if is_found { ins { (Inert::up_to(middle, VALUE_CHARACTERS)) } } @else { del { (Inert::up_to(middle, VALUE_CHARACTERS)) } }
        }
        (Inert::up_to(end, VALUE_CHARACTERS))
    }
}

/// A text in three: what it begins with as the other does, what differs, and what it ends with as
/// the other does.
fn differing<'a>(own: &'a str, other: &str) -> (&'a str, &'a str, &'a str) {
    let alike = |(one, other): &(char, char)| one == other;
    let pairs = || own.chars().zip(other.chars());
    let start: usize = pairs()
        .take_while(alike)
        .map(|(one, _)| one.len_utf8())
        .sum();
    let (head, own) = own.split_at_checked(start).unwrap_or((own, ""));
    let other = other.get(start..).unwrap_or("");
    let pairs = own.chars().rev().zip(other.chars().rev());
    let end: usize = pairs.take_while(alike).map(|(one, _)| one.len_utf8()).sum();
    let cut = own.len() - end;
    let (middle, tail) = own.split_at_checked(cut).unwrap_or((own, ""));
    (head, middle, tail)
}

pub(super) fn log(excerpts: &Excerpts) -> Markup {
    let with_log = |one: &&Excerpt| one.log.total > 0;
    let shown: Vec<&Excerpt> = excerpts.shown.iter().filter(with_log).collect();
    html! {
        @if !shown.is_empty() {
            (super::card("Log", "What the guest said, line by line, as it is compared.", &html! {
                @for excerpt in &shown { (log_of(excerpt, MAX_LINES / shown.len())) }
            }))
        }
    }
}

fn log_of(excerpt: &Excerpt, room: usize) -> Markup {
    let log = &excerpt.log;
    let name = format!("Log of replica {}", excerpt.found);
    let shown: Vec<&LogLine> = log.lines.iter().take(room).collect();
    let table = html! {
        table.log {
            caption.unseen { (name) }
            thead { tr { th.number scope="col" { "line" } th scope="col" { "expected" } th scope="col" { "found" } th scope="col" { "state" } } }
            tbody { @for line in &shown {
                tr.differs[!line.is_equal()] {
                    th.number scope="row" { (line.number) }
                    td { code { (of_line(line.expected.as_deref(), line.found.as_deref(), false)) } }
                    td { code { (of_line(line.found.as_deref(), line.expected.as_deref(), true)) } }
                    (state(line.is_equal()))
                }
            } }
        }
    };
    html! {
        details open[log.differing > 0] {
            summary { "replica " (excerpt.found) " · " (crate::report::count(log.differing)) " of " (figure(log.total, "line differs", "lines differ")) }
            (super::wide(&name, &table))
            (super::more(log.total - shown.len() as u64, "lines"))
        }
    }
}

fn of_line(own: Option<&str>, other: Option<&str>, is_found: bool) -> Markup {
    let shorten = |text: &str| -> String { text.chars().take(LINE_CHARACTERS).collect() };
    let whole = own.is_none_or(|own| own.chars().nth(LINE_CHARACTERS).is_none());
    let (own, other) = (own.map(shorten), other.map(shorten));
    html! { (value(own.as_deref(), other.as_deref(), is_found)) @if !whole { "…" } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_differs_is_marked() {
        assert_eq!(differing("00ff12", "000f12"), ("00", "f", "f12"));
        assert_eq!(differing("abc", "abc"), ("abc", "", ""));
        assert_eq!(differing("abc", ""), ("", "abc", ""));
        assert_eq!(differing("aa", "aaa"), ("aa", "", ""));
    }

    proptest! {
        #[test]
        fn nothing_of_a_text_is_lost(own in "[abä]{0,8}", other in "[abä]{0,8}") {
            let (start, middle, end) = differing(&own, &other);
            prop_assert_eq!(format!("{start}{middle}{end}"), own.as_str());
            prop_assert!(other.starts_with(start) && other.ends_with(end));
        }
    }
}
