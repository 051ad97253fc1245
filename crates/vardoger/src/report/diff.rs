//! The report of a comparison of saved states: like that of a run, with states for replicas.

use super::section::{Section, differences};
use super::{bold, bytes, count, how_bad_and_where, line, table, verdict_mark};
use anstyle::AnsiColor;
use model::{Deviation, Diff, StateSummary};

/// The report of one comparison.
pub(crate) fn diff(diff: &Diff) -> String {
    let mut text = String::new();
    line(&mut text, "");
    line(
        &mut text,
        &format!("{}  {}", verdict_mark(diff.verdict), diff.reason),
    );
    line(&mut text, "");
    for deviation in &diff.deviations {
        text.push_str(&who(diff, deviation));
    }
    text.push_str(&states(diff));
    text.push_str(&coverage(diff));
    for warning in &diff.warnings {
        let style = bold(AnsiColor::Yellow);
        line(&mut text, &format!("{style}warning{style:#} {warning}"));
    }
    text
}

fn who(diff: &Diff, deviation: &Deviation) -> String {
    let red = bold(AnsiColor::Red);
    let mut section = Section::new();
    if let Some(index) = deviation.replica {
        let named = usize::try_from(index.0)
            .ok()
            .and_then(|index| diff.states.get(index));
        let name = named.map_or("", |state| state.name.as_str());
        section.row("who", &format!("{red}state {index}{red:#}  {name}"));
    }
    how_bad_and_where(&mut section, deviation);
    let mut text = section.text();
    text.push_str(&differences(deviation));
    text
}

fn states(diff: &Diff) -> String {
    let head = ["state", "ended", "computation", "memory", "result", "name"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(
        diff.states
            .iter()
            .enumerate()
            .map(|(index, state)| cells(index, state)),
    );
    table(&rows)
}

fn cells(index: usize, state: &StateSummary) -> Vec<String> {
    let made = &state.provenance;
    vec![
        index.to_string(),
        state.outcome.to_string(),
        format!("{} v{}", made.computation, made.computation_version),
        format!("{} pages", count(state.pages)),
        state.result_digest.as_ref().map_or_else(
            || "–".to_owned(),
            |digest| digest.chars().take(12).collect(),
        ),
        state.name.clone(),
    ]
}

fn coverage(diff: &Diff) -> String {
    let coverage = &diff.coverage;
    let mut section = Section::new();
    section.row(
        "compared",
        &format!(
            "{} in {} states",
            bytes(coverage.bytes_compared),
            diff.states.len()
        ),
    );
    if !coverage.not_compared_reasons.is_empty() {
        let why = coverage.not_compared_reasons.join("; ");
        let size = bytes(coverage.bytes_not_compared);
        section.row("not compared", &format!("{size} ({why})"));
    }
    section.text()
}
