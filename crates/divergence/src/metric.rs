//! Metrics that are statistical, each replica against its siblings.
//!
//! They never vote on a verdict: the time that a replica took says as much about the host's other
//! work. With a history of clean runs of the same work a replica's deviation is its distance from the
//! others in standard deviations of the history, and the baseline is the limit that keeps false
//! discoveries over all metrics and replicas rare. Without one its deviation is the robust z among
//! its siblings, and the baseline what chance alone keeps for so many replicas; below
//! [`LEAST_REPLICAS`] values that limit is so wide that nothing is judged, only reported. Above
//! baseline × multiplier a value is out of the ordinary.

use crate::baseline::{Baseline, Distance, MetricHistory};
use crate::finding::{FindingDraft, score_of};
use crate::input::{Options, Replica};
use model::{Difference, FindingKind, Locus, Part, ReplicaIndex};
use stats::{leave_one_out_limit, median, median_absolute_deviation, robust_z};
use std::collections::BTreeMap;

/// The least number of values from which one is judged: there the limit at a risk of 1 in 1,000 is
/// 6.4 standard deviations; for 5 it is 14.5, for 3 it is 780.
pub const LEAST_REPLICAS: usize = 8;

/// The most metrics that are looked at, in the order of their names: replicas report some dozens.
pub const MAX_METRICS: usize = 1024;

/// The risk that a clean run has any value out of the ordinary.
const RISK: f64 = 0.001;

/// The floor of the median absolute deviation, as a share of the median: values closer together
/// are not told apart.
const LEAST_RELATIVE_DEVIATION: f64 = 0.01;

/// The floor where the median is 0.
const LEAST_DEVIATION: f64 = 1e-9;

/// One value of one replica against those of all.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricReport {
    /// The metric's name, with its unit last.
    pub name: String,
    /// Whose value it is.
    pub replica: ReplicaIndex,
    /// The value.
    pub value: f64,
    /// The median over the replicas.
    pub median: f64,
    /// The median absolute deviation over the replicas, at least its floor.
    pub median_deviation: f64,
    /// How many robust standard deviations the value lies from the median.
    pub robust_z: f64,
    /// How many standard deviations of its history it lies from its siblings, and of how many clean
    /// runs that history is; `None` without one.
    pub history: Option<(f64, usize)>,
    /// What chance alone keeps, in the unit of the history's distance or else of the robust z; `None`
    /// without a history and with too few replicas.
    pub baseline: Option<f64>,
    /// Deviation ÷ (baseline × multiplier); above 1 it is out of the ordinary.
    pub score: Option<f64>,
}

impl MetricReport {
    /// Whether the value is out of the ordinary.
    #[must_use]
    pub fn is_out_of_the_ordinary(&self) -> bool {
        self.score.is_some_and(|score| score > 1.0)
    }
}

/// Reports all metrics that are statistical on this machine, by name and replica.
pub(crate) fn report(
    replicas: &[Replica<'_>],
    (deterministic, history): (bool, Option<&MetricHistory>),
    options: &Options,
) -> Vec<MetricReport> {
    let mut values: BTreeMap<&str, Vec<(ReplicaIndex, f64)>> = BTreeMap::new();
    for replica in replicas {
        for metric in &replica.state.metrics {
            if !(metric.exact && deterministic) && metric.value.is_finite() {
                let held = values.entry(&metric.name).or_default();
                held.push((replica.index, metric.value));
            }
        }
    }
    let looked_at = values.len().min(MAX_METRICS);
    let risk = RISK / (looked_at * replicas.len()).max(1) as f64;
    let mut reports: Vec<MetricReport> = values
        .iter()
        .take(MAX_METRICS)
        .flat_map(|(name, held)| report_one(name, held, risk, options))
        .collect();
    if let Some(history) = history {
        hold_against(&mut reports, &values, history, options);
    }
    reports
}

/// Judges by the history what it knows.
fn hold_against(
    reports: &mut [MetricReport],
    values: &BTreeMap<&str, Vec<(ReplicaIndex, f64)>>,
    history: &MetricHistory,
    options: &Options,
) {
    let baselines = history.baselines();
    let distance = |report: &MetricReport| -> Option<(Distance, Baseline)> {
        let baseline = *baselines.get(report.name.as_str())?;
        let held = values.get(report.name.as_str())?;
        let place = held
            .iter()
            .position(|(replica, _)| *replica == report.replica)?;
        let values: Vec<f64> = held.iter().map(|(_, value)| *value).collect();
        Some((baseline.distance(&values, place)?, baseline))
    };
    let found: Vec<Option<(Distance, Baseline)>> = reports.iter().map(distance).collect();
    let probabilities: Vec<f64> = found
        .iter()
        .flatten()
        .map(|(distance, _)| distance.probability)
        .collect();
    let adjusted = stats::false_discovery_adjusted(&probabilities);
    let discoveries = adjusted.iter().filter(|one| **one <= RISK).count().max(1);
    let limit = RISK * discoveries as f64 / probabilities.len().max(1) as f64;
    for (report, found) in reports.iter_mut().zip(found) {
        let Some((distance, baseline)) = found else {
            continue;
        };
        let limit = stats::two_sided_limit(limit, distance.degrees);
        let limit = limit.map(|limit| limit.max(baseline.farthest()));
        report.history = Some((distance.deviations, baseline.runs()));
        report.baseline = limit;
        report.score =
            limit.map(|limit| distance.deviations.abs() / (limit * options.multiplier()));
    }
}

fn report_one(
    name: &str,
    held: &[(ReplicaIndex, f64)],
    risk: f64,
    options: &Options,
) -> Vec<MetricReport> {
    let values: Vec<f64> = held.iter().map(|(_, value)| *value).collect();
    let (Some(centre), Some(spread)) = (median(&values), median_absolute_deviation(&values)) else {
        return Vec::new();
    };
    let floor = (centre.abs() * LEAST_RELATIVE_DEVIATION).max(LEAST_DEVIATION);
    let judged = values.len() >= LEAST_REPLICAS;
    let baseline = judged
        .then(|| leave_one_out_limit(values.len(), risk))
        .flatten();
    let one = |&(replica, value): &(ReplicaIndex, f64)| {
        let robust_z = robust_z(value, &values, floor)?;
        Some(MetricReport {
            name: name.to_owned(),
            replica,
            value,
            median: centre,
            median_deviation: spread.max(floor),
            robust_z,
            history: None,
            baseline,
            score: baseline.map(|baseline| robust_z.abs() / (baseline * options.multiplier())),
        })
    };
    held.iter().filter_map(one).collect()
}

/// The finding of a value out of the ordinary: information, of the least severity.
pub(crate) fn finding(report: &MetricReport) -> Option<FindingDraft> {
    if !report.is_out_of_the_ordinary() {
        return None;
    }
    let kind = FindingKind::MetricDeviation;
    let MetricReport {
        name,
        replica,
        value,
        median,
        robust_z,
        history,
        ..
    } = report;
    let apart = match history {
        Some((deviations, runs)) => format!(
            "{deviations:+.1} standard deviations from the others, as {runs} clean runs have them"
        ),
        None => format!("{robust_z:+.1} robust standard deviations from the median {median}"),
    };
    Some(FindingDraft {
        kind,
        severity: kind.floor(),
        // How many times the limit of chance: whole numbers suffice for its logarithm.
        score: score_of(kind.floor(), report.score.unwrap_or_default() as u64),
        replica: Some(*replica),
        summary: format!("replica {replica} has {name} {value}, {apart}"),
        evidence: vec![Difference {
            part: Part::Metric,
            locus: Locus::Name(name.clone()),
            expected: Some(median.to_string()),
            found: value.to_string(),
            flipped_bits: Vec::new(),
            symbol: None,
            explanation: None,
        }],
        hints: Vec::new(),
        next_experiment: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MetricSample;
    use state::TerminalState;

    fn states(values: &[f64]) -> Vec<TerminalState> {
        let state = |value: &f64| TerminalState {
            metrics: vec![MetricSample {
                name: "wall_s".to_owned(),
                value: *value,
                exact: false,
            }],
            ..TerminalState::default()
        };
        values.iter().map(state).collect()
    }

    fn judged(
        values: &[f64],
        history: Option<&MetricHistory>,
        multiplier: f64,
    ) -> Vec<MetricReport> {
        let states = states(values);
        let replicas: Vec<Replica<'_>> = (0..)
            .map(ReplicaIndex)
            .zip(&states)
            .map(|(index, state)| Replica { index, state })
            .collect();
        let options = Options::new(multiplier, 1).unwrap();
        report(&replicas, (true, history), &options)
    }

    fn out(reports: &[MetricReport]) -> Vec<u32> {
        let out = reports.iter().filter(|one| one.is_out_of_the_ordinary());
        out.map(|one| one.replica.0).collect()
    }

    #[test]
    fn a_history_judges_a_metric_of_three() {
        let mut history = MetricHistory::default();
        for run in 0..30 {
            let apart = 1.0 + f64::from(run % 7) / 100.0;
            history.add_run([("wall_s", 1.0), ("wall_s", apart), ("wall_s", 1.02)]);
        }
        let check = |values: &[f64], multiplier, expected: &[u32]| {
            let reports = judged(values, Some(&history), multiplier);
            assert_eq!(out(&reports), expected, "{values:?}: {reports:?}");
        };
        check(&[3.0, 3.1, 3.05], 1.0, &[]);
        check(&[3.0, 6.0, 3.05], 1.0, &[1]);
        check(&[3.0, 1.0, 3.05], 1.0, &[1]);
        check(&[3.0, 6.0, 3.05], 100.0, &[]);
        // Without it three are too few.
        assert_eq!(out(&judged(&[3.0, 6.0, 3.05], None, 1.0)), [0_u32; 0]);
        let reports = judged(&[3.0, 6.0, 3.05], Some(&history), 1.0);
        let found = finding(&reports[1]).unwrap();
        assert!(
            found.summary.contains("as 30 clean runs have them"),
            "{}",
            found.summary
        );
    }

    #[test]
    fn what_was_seen_on_clean_runs_is_ordinary() {
        let mut history = MetricHistory::default();
        for run in 0..30 {
            // Once the host stood still.
            let odd = if run == 17 { 9.0 } else { 1.0 };
            history.add_run([("wall_s", 1.0), ("wall_s", odd), ("wall_s", 1.02)]);
        }
        assert_eq!(
            out(&judged(&[1.0, 8.0, 1.0], Some(&history), 1.0)),
            [0_u32; 0]
        );
        assert_eq!(out(&judged(&[1.0, 90.0, 1.0], Some(&history), 1.0)), [1]);
    }
}
