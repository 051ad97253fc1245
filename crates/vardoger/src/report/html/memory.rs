//! Memory byte by byte, expected beside found, and the list of all kinds of differences.

use super::text::{Inert, figure};
use crate::report::{count, section::owner};
use control::excerpt::{Excerpt, Excerpts, HexLine, LINE_BYTES, PageExcerpt};
use maud::{Markup, html};
use model::{Deviation, Difference, PageNumber, Run};

/// Differences of one replica that are listed: what the record holds at least.
const MAX_DIFFERENCES: usize = 256;

/// Deviations whose differences are listed.
const MAX_LISTS: usize = 8;

/// Differences of all lists of a page together.
const MAX_DIFFERENCES_OF_ALL: usize = 384;

/// Bits of one line that are named.
const MAX_BITS_NAMED: usize = 4;

/// Characters that are shown of whom an address belongs to: a path, a process, its addresses.
pub(super) const SHOWN_OWNER: usize = 160;

/// Pages that are open when the page is opened; the others are unfolded by a click.
const OPEN_PAGES: usize = 2;

pub(super) fn of(run: &Run, excerpts: &Excerpts) -> Markup {
    let with_memory = |one: &&Excerpt| !one.memory.shown.is_empty();
    let shown: Vec<&Excerpt> = excerpts.shown.iter().filter(with_memory).collect();
    html! {
        @if !shown.is_empty() {
            (super::card(
                "Bytes, side by side",
                "In memory order. Bytes that differ are marked and underlined; bit 0 is the lowest of a byte.",
                &html! { @for excerpt in shown { (of_replica(run, excerpt)) } },
            ))
        }
    }
}

fn of_replica(run: &Run, excerpt: &Excerpt) -> Markup {
    let left_out = excerpt.memory.pages.len() - excerpt.memory.shown.len();
    html! {
        h3 { (super::map::sides(excerpt)) }
        @for (at, page) in excerpt.memory.shown.iter().enumerate() {
            (of_page(run, excerpt, page, at < OPEN_PAGES))
        }
        (super::more(left_out as u64, "pages that differ"))
    }
}

fn of_page(run: &Run, excerpt: &Excerpt, page: &PageExcerpt, open: bool) -> Markup {
    let mut tallies = excerpt.memory.pages.iter();
    let words = tallies.find(|tally| tally.number == page.number);
    let words = words.map_or(0, |tally| tally.words);
    let injected = run.injections.iter().any(|one| {
        one.replica == excerpt.found && one.address.map(PageNumber::of) == Some(page.number)
    });
    let address = page.number.address().to_string();
    let name = format!(
        "Bytes of the page at {address} in replica {}",
        excerpt.found
    );
    let table = html! {
        table.hex {
            caption.unseen { (name) }
            thead { tr {
                th scope="col" { "guest-physical" } th scope="col" { "expected" }
                th scope="col" { "found" } th scope="col" { "bits" }
            } }
            tbody { @for line in &page.lines { (of_line(line)) } }
        }
    };
    html! {
        details open[open] {
            summary {
                "page " code { (address) } " · " (figure(words, "word differs", "words differ"))
                @if injected { " " span.badge.calm { "a fault was injected here" } }
            }
            (super::wide(&name, &table))
            (super::more(page.more, "lines that differ"))
        }
    }
}

fn of_line(line: &HexLine) -> Markup {
    html! {
        tr {
            th scope="row" { code { (line.address) } }
            td { (bytes(&line.expected, &line.found, false)) }
            td { (bytes(&line.found, &line.expected, true)) }
            td.bits { (flips(line)) }
        }
    }
}

/// Bytes in hexadecimal; stretches that differ from the other side are marked.
fn bytes(own: &[u8; LINE_BYTES], other: &[u8; LINE_BYTES], is_found: bool) -> Markup {
    let mut stretches: Vec<(bool, String)> = Vec::new();
    for (own, other) in own.iter().zip(other) {
        let differs = own != other;
        match stretches.last_mut() {
            Some((same, text)) if *same == differs => text.push_str(&format!(" {own:02x}")),
            _ => stretches.push((differs, format!("{own:02x}"))),
        }
    }
    html! {
        code {
            @for (at, (differs, text)) in stretches.iter().enumerate() {
                @if at > 0 { " " }
                @match (differs, is_found) {
                    (true, true) => ins { (text) },
                    (true, false) => del { (text) },
                    (false, _) => (text),
                }
            }
        }
    }
}

/// The bits of a line that flipped, by byte: the first few.
fn flips(line: &HexLine) -> Markup {
    let bytes = line.expected.iter().zip(&line.found).enumerate();
    let flips: Vec<String> = bytes
        .flat_map(|(at, (expected, found))| {
            let changed = (0..8).filter(move |bit| (expected ^ found) >> bit & 1 == 1);
            changed.map(move |bit| {
                let (was, is) = (expected >> bit & 1, found >> bit & 1);
                format!("+{at} bit {bit}: {was}→{is}")
            })
        })
        .collect();
    html! {
        @if flips.len() <= MAX_BITS_NAMED {
            @for (at, flip) in flips.iter().enumerate() { @if at > 0 { ", " } (flip) }
        } @else {
            (flips.len()) " bits"
        }
    }
}

/// Which bits of a difference flipped, in words; nothing where it has no bits.
pub(super) fn bits(difference: &Difference) -> Markup {
    html! {
        @match difference.flipped_bits.as_slice() {
            [] => {},
            [bit] => { ", bit " (bit) " flipped" },
            bits => { ", " (bits.len()) " bits flipped" },
        }
    }
}

/// The differences that the record lists, of every part.
pub(super) fn differences(run: &Run) -> Markup {
    let lists = run.deviations.len().clamp(1, MAX_LISTS);
    let room = (MAX_DIFFERENCES_OF_ALL / lists).min(MAX_DIFFERENCES);
    html! {
        @if !run.deviations.is_empty() {
            (super::card("Differences", "In the order of parts and addresses, as the record lists them.", &html! {
                @for deviation in run.deviations.iter().take(MAX_LISTS) { (list(deviation, room)) }
                (super::more(run.deviations.len().saturating_sub(MAX_LISTS) as u64, "replicas that deviate"))
            }))
        }
    }
}

fn list(deviation: &Deviation, room: usize) -> Markup {
    let shown = deviation.differences.len().min(room);
    let all = deviation
        .differences_total
        .max(deviation.differences.len() as u64);
    let name = match deviation.replica {
        Some(replica) => format!("Differences of replica {replica}"),
        None => "Differences without a majority".to_owned(),
    };
    let table = html! {
        table {
            caption.unseen { (name) }
            thead { tr { @for head in ["part", "where", "expected", "found", "bits", "belongs to"] { th scope="col" { (head) } } } }
            tbody { @for one in deviation.differences.iter().take(shown) { (difference(one)) } }
        }
    };
    html! {
        details open[shown <= 32] {
            summary { (name) " · " (count(all)) }
            (super::wide(&name, &table))
            (super::more(all - shown as u64, "differences"))
            @if let Some(digest) = &deviation.words_digest {
                p.note { "BLAKE3 of every differing word: " code.breaks { (Inert::new(digest)) } }
            }
        }
    }
}

fn difference(one: &Difference) -> Markup {
    html! {
        tr {
            td { (one.part) }
            th scope="row" { code { (Inert::up_to(&one.locus.to_string(), 64)) } }
            td { code { (Inert::up_to(one.expected.as_deref().unwrap_or("no majority"), 128)) } }
            td { code { (Inert::up_to(&one.found, 128)) } }
            td.bits { (list_of_bits(&one.flipped_bits)) }
            td {
                @if let Some(symbol) = &one.symbol { code { (Inert::up_to(symbol, 96)) } " " }
                @if let Some(owner) = owner(one) { (Inert::up_to(&owner, SHOWN_OWNER)) }
            }
        }
    }
}

fn list_of_bits(bits: &[u32]) -> Markup {
    html! {
        @if bits.len() <= MAX_BITS_NAMED {
            @for (at, bit) in bits.iter().enumerate() { @if at > 0 { ", " } (bit) }
        } @else {
            (bits.len()) " bits"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::GuestPhysicalAddress;

    #[test]
    fn differing_bytes_are_marked_and_their_bits_named() {
        let mut line = HexLine {
            address: GuestPhysicalAddress(0x1000),
            expected: [0xff; LINE_BYTES],
            found: [0xff; LINE_BYTES],
        };
        line.found[1] = 0xdf;
        let row = of_line(&line).into_string();
        assert!(row.contains("<code>ff <del>ff</del> ff ff"), "{row}");
        assert!(row.contains("<code>ff <ins>df</ins> ff ff"), "{row}");
        assert!(row.contains("+1 bit 5: 1→0"), "{row}");
    }
}
