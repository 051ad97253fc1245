//! Where in guest memory pages differ: the memory as a grid of cells, each of some pages, darker
//! the more of its pages differ. One path for each shade keeps 60,000 pages as small as one.

use super::text::figure;
use control::excerpt::{Excerpt, Excerpts, Held, PageTally};
use maud::{Markup, html};
use model::{Locus, PAGE_BYTES, PageNumber, Part, Run};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Cells of one row.
const COLUMNS: u64 = 128;

/// The most rows: 128 MiB are then cells of 16 pages.
const MAX_ROWS: u64 = 16;

/// Shades besides that of nothing: up to a tenth, a half, all but one, and all pages of a cell.
const SHADES: usize = 4;

/// Regions that are listed beside the map.
const MAX_REGIONS: usize = 12;

pub(super) fn of(run: &Run, excerpts: &Excerpts) -> Markup {
    let maps: Vec<Markup> = if excerpts.shown.is_empty() {
        from_lists(run)
    } else {
        let shown = excerpts.shown.iter();
        shown
            .filter(|one| !one.memory.pages.is_empty())
            .map(|one| from_evidence(run, one))
            .collect()
    };
    html! {
        @if !maps.is_empty() {
            (super::card("Where in memory", "", &html! {
                @for map in &maps { (map) }
                (super::more(excerpts.more, "replicas"))
            }))
        }
    }
}

fn from_evidence(run: &Run, excerpt: &Excerpt) -> Markup {
    let pages = &excerpt.memory.pages;
    let heading = html! { (sides(excerpt)) };
    let unread = excerpt.memory.unread;
    html! {
        (draw(run, &heading, pages))
        @if unread > 0 {
            p.note { (figure(unread, "page", "pages")) " of which one side was not kept " @if unread == 1 { "is" } @else { "are" } " not shown" }
        }
    }
}

/// Who is shown against whom.
pub(super) fn sides(excerpt: &Excerpt) -> Markup {
    html! {
        "replica " (excerpt.found)
        @if let Held::By(index) = excerpt.expected { " against replica " (index) ", as no majority says which is right" }
    }
}

/// Without evidence, what the record lists is all that is known of where.
fn from_lists(run: &Run) -> Vec<Markup> {
    let of = |deviation: &model::Deviation| {
        let mut words: BTreeMap<PageNumber, u64> = BTreeMap::new();
        for one in &deviation.differences {
            if let (Part::Memory, Locus::Address(address)) = (one.part, &one.locus) {
                *words.entry(PageNumber::of(*address)).or_default() += 1;
            }
        }
        let pages: Vec<PageTally> = words
            .into_iter()
            .map(|(number, words)| PageTally { number, words })
            .collect();
        let left_out = deviation.differing_pages.saturating_sub(pages.len() as u64);
        let heading = html! {
            @match deviation.replica { Some(index) => { "replica " (index) }, None => { "all replicas" } }
        };
        (!pages.is_empty()).then(|| {
            html! {
                (draw(run, &heading, &pages))
                @if left_out > 0 {
                    p.note { "Only pages of listed differences: " (figure(left_out, "more page differs", "more pages differ")) ", and the evidence is not in the store." }
                }
            }
        })
    };
    run.deviations
        .iter()
        .take(control::excerpt::MAX_EXCERPTS)
        .filter_map(of)
        .collect()
}

/// How the memory is divided into cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale {
    pages_per_cell: u64,
    rows: u64,
}

impl Scale {
    /// Takes the memory's pages.
    fn of(total_pages: u64) -> Self {
        let pages_per_cell = total_pages.div_ceil(COLUMNS * MAX_ROWS).max(1);
        let rows = total_pages
            .div_ceil(pages_per_cell)
            .div_ceil(COLUMNS)
            .max(1);
        Self {
            pages_per_cell,
            rows,
        }
    }

    fn cell_of(self, page: PageNumber) -> u64 {
        page.0 / self.pages_per_cell
    }

    fn address_of(self, cell: u64) -> u64 {
        cell.saturating_mul(self.pages_per_cell)
            .saturating_mul(PAGE_BYTES as u64)
    }

    /// The shade of a cell, from 0 for the lightest.
    fn shade(self, pages: u64) -> usize {
        match pages {
            pages if pages >= self.pages_per_cell => 3,
            pages if pages * 2 > self.pages_per_cell => 2,
            pages if pages * 10 > self.pages_per_cell => 1,
            _ => 0,
        }
    }
}

fn draw(run: &Run, heading: &Markup, pages: &[PageTally]) -> Markup {
    let memory = run.provenance.memory_bytes / PAGE_BYTES as u64;
    let last = pages.last().map_or(0, |page| page.number.0 + 1);
    let scale = Scale::of(memory.max(last));
    let mut cells: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for page in pages {
        let (count, words) = cells.entry(scale.cell_of(page.number)).or_default();
        *count += 1;
        *words += page.words;
    }
    let size = crate::report::bytes(scale.pages_per_cell * PAGE_BYTES as u64);
    let total = figure(pages.len() as u64, "page", "pages");
    let differ = if pages.len() == 1 {
        "differs"
    } else {
        "differ"
    };
    let label = format!(
        "Map of guest memory: {total} {differ}, in {} of {} cells",
        cells.len(),
        scale.rows * COLUMNS
    );
    html! {
        figure {
            figcaption { strong { (heading) } " · " (total) " " (differ) " · a cell is " (size) }
            div.map {
                div.scale aria-hidden="true" {
                    @for row in marks(scale.rows) { span { (format!("{:#x}", scale.address_of(row * COLUMNS))) } }
                }
                (grid(scale, &cells, &label))
            }
            (legend())
            (regions(scale, &cells))
        }
    }
}

/// The rows whose address stands beside the map: some, the first and the last among them.
fn marks(rows: u64) -> BTreeSet<u64> {
    (0..5).map(|part| (rows - 1) * part / 4).collect()
}

/// The cells, one path for each shade; neighbours of one shade are one piece.
fn grid(scale: Scale, cells: &BTreeMap<u64, (u64, u64)>, label: &str) -> Markup {
    let mut paths: [String; SHADES] = Default::default();
    for (&cell, &(pages, _)) in cells {
        let (column, row) = (cell % COLUMNS, cell / COLUMNS);
        if let Some(path) = paths.get_mut(scale.shade(pages)) {
            // Writing to a string cannot fail.
            let _infallible = write!(path, "M{column} {row}h.9v.9h-.9z");
        }
    }
    html! {
        svg.grid role="img" aria-label=(label) viewBox=(format!("0 0 {COLUMNS} {}", scale.rows)) {
            @for row in 0..scale.rows {
                path.empty d=(format!("M0 {row}h{COLUMNS}v.9h-{COLUMNS}z")) {}
            }
            @for (shade, path) in paths.iter().enumerate() {
                @if !path.is_empty() { path class=(format!("shade-{shade}")) d=(path) {} }
            }
        }
    }
}

fn legend() -> Markup {
    let words = ["up to 10 %", "up to 50 %", "most", "all"];
    html! {
        p.legend {
            span.faint { "pages of a cell that differ:" }
            @for (shade, word) in words.iter().enumerate() {
                span { svg.key viewBox="0 0 1 1" aria-hidden="true" { path class=(format!("shade-{shade}")) d="M0 0h1v1h-1z" {} } (word) }
            }
        }
    }
}

/// The regions with the most differing pages, as a table: the map in words.
fn regions(scale: Scale, cells: &BTreeMap<u64, (u64, u64)>) -> Markup {
    let mut regions = merged(cells);
    regions.sort_by_key(|region| (std::cmp::Reverse(region.pages), region.first));
    let left_out = regions.len().saturating_sub(MAX_REGIONS) as u64;
    let table = html! {
        table {
            caption.unseen { "Regions of memory with the most differing pages" }
            thead { tr { th scope="col" { "guest-physical" } th.number scope="col" { "pages" } th.number scope="col" { "words" } } }
            tbody {
                @for region in regions.iter().take(MAX_REGIONS) {
                    tr {
                        th scope="row" { code { (format!("{:#x}", scale.address_of(region.first))) " – " (format!("{:#x}", scale.address_of(region.last + 1) - 1)) } }
                        td.number { (crate::report::count(region.pages)) }
                        td.number { (crate::report::count(region.words)) }
                    }
                }
            }
        }
    };
    html! {
        details {
            summary { "Regions in words" }
            (super::wide("Regions of memory that differ", &table))
            (super::more(left_out, "regions"))
        }
    }
}

/// Neighbouring cells with differences.
#[derive(Debug, PartialEq, Eq)]
struct Region {
    first: u64,
    last: u64,
    pages: u64,
    words: u64,
}

fn merged(cells: &BTreeMap<u64, (u64, u64)>) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for (&cell, &(pages, words)) in cells {
        match regions.last_mut() {
            Some(region) if region.last + 1 == cell => {
                region.last = cell;
                region.pages += pages;
                region.words += words;
            }
            _ => regions.push(Region {
                first: cell,
                last: cell,
                pages,
                words,
            }),
        }
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_page_has_a_cell_on_the_map(total in 1_u64..1 << 40, at in 0.0_f64..1.0) {
            let scale = Scale::of(total);
            let page = ((total - 1) as f64 * at) as u64;
            let cell = scale.cell_of(PageNumber(page.min(total - 1)));
            prop_assert!(cell < scale.rows * COLUMNS);
            prop_assert!(scale.rows <= MAX_ROWS);
            let from = scale.address_of(cell) / PAGE_BYTES as u64;
            prop_assert!((from..from + scale.pages_per_cell).contains(&page.min(total - 1)));
        }
    }

    #[test]
    fn neighbours_are_one_region() {
        let cells = BTreeMap::from([(3, (1, 2)), (4, (5, 6)), (9, (7, 8))]);
        let regions = merged(&cells);
        let pages: Vec<(u64, u64, u64, u64)> = regions
            .iter()
            .map(|one| (one.first, one.last, one.pages, one.words))
            .collect();
        assert_eq!(pages, [(3, 4, 6, 8), (9, 9, 7, 8)]);
    }

    #[test]
    fn shades_follow_the_share_of_pages() {
        let scale = Scale::of(32_768);
        assert_eq!(scale.pages_per_cell, 16);
        assert_eq!(
            [1, 2, 8, 9, 15, 16].map(|pages| scale.shade(pages)),
            [0, 1, 1, 2, 2, 3]
        );
        assert_eq!(Scale::of(1).shade(1), 3);
        assert_eq!(
            marks(32).into_iter().collect::<Vec<_>>(),
            [0, 7, 15, 23, 31]
        );
        assert_eq!(marks(1).len(), 1);
    }
}
