//! Blocks of the report: labelled rows, tables, and the list of differences.

use super::count;
use anstyle::Style;
use model::{Deviation, Difference, Explanation, Part};

/// Width of the labels' column.
const LABEL_WIDTH: usize = 14;

/// Differences that the terminal shows; the others are in the JSON.
const SHOWN_DIFFERENCES: usize = 8;

/// Characters of a value that the terminal shows.
const SHOWN_VALUE: usize = 48;

/// Labelled rows.
pub(super) struct Section(String);

impl Section {
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    /// Adds a row; an empty label continues the row above.
    pub(super) fn row(&mut self, label: &str, content: &str) {
        let faint = Style::new().dimmed();
        self.0.push_str(&format!(
            "  {faint}{label:<LABEL_WIDTH$}{faint:#}{content}\n"
        ));
    }

    pub(super) fn text(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

/// A table without frames; the first row is its head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let content = cells.join("  ");
        let style = if index == 0 {
            Style::new().dimmed()
        } else {
            Style::new()
        };
        text.push_str(&format!("  {style}{}{style:#}\n", content.trim_end()));
    }
    text.push('\n');
    text
}

/// Where a difference lies, for people.
pub(super) fn place(difference: &Difference) -> String {
    let bold = Style::new().bold();
    let symbol = difference
        .symbol
        .as_ref()
        .map(|symbol| format!("  {symbol}"))
        .unwrap_or_default();
    let what = match difference.part {
        Part::Memory => "guest-physical",
        Part::Outcome => "outcome",
        Part::Register => "register",
        Part::Log => "log",
        Part::File => "file",
        Part::Disk => "disk",
        Part::Metric => "metric",
    };
    format!("{what} {bold}{}{bold:#}{symbol}", difference.locus)
}

/// Whom the address of a difference belongs to, for people.
pub(super) fn owner(difference: &Difference) -> Option<String> {
    let explanation = difference.explanation.as_deref()?;
    let mut text = member(explanation).map_or_else(String::new, |member| format!("{member}: "));
    text.push_str(&explanation.owner);
    if let Some(address) = explanation.virtual_address {
        text.push_str(&format!(", at {address}"));
    }
    if let Some(mapping) = &explanation.mapping {
        let (start, end) = (mapping.start, mapping.end);
        text.push_str(&format!(" in {start}–{end} {}", mapping.permissions));
    }
    if let Some(file) = explanation
        .file
        .as_ref()
        .filter(|_| explanation.mapping.is_some())
    {
        text.push_str(&format!(", {} + {:#x}", file.path, file.offset));
    }
    if let Some(confidence) = explanation.confidence {
        text.push_str(&format!(" ({:.1} %)", 100.0 * confidence.probability()));
    }
    Some(text)
}

/// The type and the member of it, as C would write them.
fn member(explanation: &Explanation) -> Option<String> {
    match (&explanation.type_name, &explanation.field) {
        (Some(name), Some(field)) => Some(format!("{name}.{field}")),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

/// What was expected, what was found, and which bits differ.
pub(super) fn values(difference: &Difference) -> String {
    let expected = difference.expected.as_deref().unwrap_or("no majority");
    let expected = shorten(expected);
    let found = shorten(&difference.found);
    let bits = bits(difference);
    format!("expected {expected}, found {found}{bits}")
}

fn bits(difference: &Difference) -> String {
    match difference.flipped_bits.as_slice() {
        [] => String::new(),
        [bit] => format!(", bit {bit} flipped"),
        bits => format!(", {} bits flipped", bits.len()),
    }
}

fn shorten(value: &str) -> String {
    if value.chars().count() <= SHOWN_VALUE {
        value.to_owned()
    } else {
        let start: String = value.chars().take(SHOWN_VALUE).collect();
        format!("{start}…")
    }
}

/// Labelled rows as one block.
pub(crate) fn rows(rows: &[(&str, String)]) -> String {
    let mut section = Section::new();
    for (label, content) in rows {
        section.row(label, content);
    }
    section.text()
}

/// The differences of a deviation as a table, if there is more than the first.
pub(super) fn differences(deviation: &Deviation) -> String {
    if deviation.differences.len() < 2 {
        return String::new();
    }
    difference_table(&deviation.differences, deviation.differences_total)
}

/// The first differences as a table; `total` says how many there are, where more than listed.
pub(crate) fn difference_table(differences: &[Difference], total: u64) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let head = ["part", "where", "expected", "found", "bits", "belongs to"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let shown = differences.iter().take(SHOWN_DIFFERENCES);
    rows.extend(shown.map(cells));
    let mut text = table(&rows);
    let shown = rows.len() as u64 - 1;
    let total = total.max(differences.len() as u64);
    if total > shown {
        text.pop();
        text.push_str(&format!("  … and {} more\n\n", count(total - shown)));
    }
    text
}

/// The symbol, or else the owner.
fn belongs_to(difference: &Difference) -> String {
    let owner = || Some(difference.explanation.as_deref()?.owner.clone());
    let name = difference.symbol.clone().or_else(owner);
    shorten(&name.unwrap_or_default())
}

fn cells(difference: &Difference) -> Vec<String> {
    vec![
        difference.part.to_string(),
        difference.locus.to_string(),
        shorten(difference.expected.as_deref().unwrap_or("–")),
        shorten(&difference.found),
        match difference.flipped_bits.as_slice() {
            [] => String::new(),
            [bit] => bit.to_string(),
            bits => format!("{} bits", bits.len()),
        },
        belongs_to(difference),
    ]
}
