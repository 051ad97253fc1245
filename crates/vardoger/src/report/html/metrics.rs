//! Metrics with their baseline: a replica that deviates against the others, or, where none does,
//! the spread of all.

use super::text::Inert;
use maud::{Markup, html};
use model::{ReplicaIndex, Run};
use stats::{median, median_absolute_deviation};
use std::collections::BTreeMap;

/// Metrics that are shown; replicas report some dozens.
const MAX_METRICS: usize = 64;

/// Replicas that are shown against the others.
const MAX_REPLICAS: usize = 4;

/// One metric: whether it must be equal, and who holds what.
struct Metric<'a> {
    exact: bool,
    values: Vec<(ReplicaIndex, f64)>,
    name: &'a str,
}

pub(super) fn of(run: &Run) -> Markup {
    let metrics = collect(run);
    let named = run.deviations.iter().filter_map(|one| one.replica);
    let mut named: Vec<Option<ReplicaIndex>> = named.map(Some).take(MAX_REPLICAS).collect();
    if named.is_empty() {
        named.push(None);
    }
    html! {
        @if !metrics.is_empty() {
            (super::card(
                "Metrics",
                "Exact ones must be equal. Statistical ones say as much about the host's other work: they never vote.",
                &html! {
                    @for who in named { (table(&metrics, who)) }
                    (super::more(metrics.len().saturating_sub(MAX_METRICS) as u64, "metrics"))
                },
            ))
        }
    }
}

fn collect(run: &Run) -> Vec<Metric<'_>> {
    let mut metrics: BTreeMap<&str, Metric<'_>> = BTreeMap::new();
    for record in &run.replicas {
        for sample in &record.metrics {
            let metric = metrics.entry(&sample.name).or_insert_with(|| Metric {
                exact: sample.exact && run.deterministic,
                values: Vec::new(),
                name: &sample.name,
            });
            metric.values.push((record.index, sample.value));
        }
    }
    metrics.into_values().collect()
}

/// One replica against the others; or all, where nobody is named.
fn table(metrics: &[Metric<'_>], who: Option<ReplicaIndex>) -> Markup {
    let name = match who {
        Some(replica) => format!("Metrics of replica {replica} against the others"),
        None => "Metrics of all replicas".to_owned(),
    };
    let own = who.map(|replica| format!("replica {replica}"));
    let others = if who.is_some() {
        "of the others"
    } else {
        "of all"
    };
    let table = html! {
        table {
            caption.unseen { (name) }
            thead { tr {
                th scope="col" { "metric" } th scope="col" { "kind" }
                @if let Some(own) = &own { th.number scope="col" { (own) } }
                th.number scope="col" { "median " (others) } th.number scope="col" { "MAD " (others) }
                @if own.is_some() { th scope="col" { "state" } } @else { th.number scope="col" { "least" } th.number scope="col" { "greatest" } }
            } }
            tbody { @for metric in metrics.iter().take(MAX_METRICS) { (row(metric, who)) } }
        }
    };
    html! { h3 { (name) } (super::wide(&name, &table)) }
}

fn row(metric: &Metric<'_>, who: Option<ReplicaIndex>) -> Markup {
    let is_own = |&&(replica, _): &&(ReplicaIndex, f64)| Some(replica) == who;
    let own = metric.values.iter().find(is_own).map(|(_, value)| *value);
    let others = metric.values.iter().filter(|one| !is_own(one));
    let others: Vec<f64> = others.map(|(_, value)| *value).collect();
    let centre = median(&others);
    let spread = median_absolute_deviation(&others);
    let least = others.iter().copied().reduce(f64::min);
    let greatest = others.iter().copied().reduce(f64::max);
    let differs = metric.exact && own.is_some() && own != centre;
    html! {
        tr.differs[differs] {
            th scope="row" { code { (Inert::up_to(metric.name, 96)) } }
            td { @if metric.exact { "exact" } @else { "statistical" } }
            @if who.is_some() { td.number { (shown(own)) } }
            td.number { (shown(centre)) }
            td.number { (shown(spread)) }
            @if who.is_some() {
                (state(metric.exact, own, centre, spread))
            } @else {
                td.number { (shown(least)) } td.number { (shown(greatest)) }
            }
        }
    }
}

/// How a value stands to the others: equal or not where it must be, else how far it lies from them.
fn state(exact: bool, own: Option<f64>, centre: Option<f64>, spread: Option<f64>) -> Markup {
    html! {
        @match (own, centre, spread) {
            (Some(own), Some(centre), _) if own == centre => td.equal { "equal" },
            (Some(_), Some(_), _) if exact => td.bad { strong { "differs" } },
            (Some(own), Some(centre), Some(spread)) if spread > 0.0 => {
                td.calm { (format!("{:+.1} MAD", (own - centre) / spread)) }
            },
            (Some(own), Some(centre), _) => td.calm { (format!("{:+}", rounded(own - centre))) },
            _ => td.calm { "–" },
        }
    }
}

fn shown(value: Option<f64>) -> String {
    match value {
        Some(value) if value.fract() == 0.0 && (0.0..1e15).contains(&value) => {
            crate::report::count(value as u64)
        }
        Some(value) => rounded(value).to_string(),
        None => "–".to_owned(),
    }
}

/// A figure with at most four places.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
