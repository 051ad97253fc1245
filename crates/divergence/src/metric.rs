//! Metrics that are statistical, each replica against the median of all.
//!
//! They never vote on a verdict: the time that a replica took says as much about the host's other
//! work. A replica's deviation is its robust z; the baseline is the limit that chance alone keeps
//! for so many replicas; above baseline × multiplier it is out of the ordinary. Below
//! [`LEAST_REPLICAS`] values the limit is so wide that nothing is judged, only reported.

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
    /// What chance alone keeps, in the same unit; `None` where there are too few replicas.
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
    deterministic: bool,
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
    values
        .into_iter()
        .take(MAX_METRICS)
        .flat_map(|(name, held)| report_one(name, &held, risk, options))
        .collect()
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
        ..
    } = report;
    Some(FindingDraft {
        kind,
        severity: kind.floor(),
        // How many times the limit of chance: whole numbers suffice for its logarithm.
        score: score_of(kind.floor(), report.score.unwrap_or_default() as u64),
        replica: Some(*replica),
        summary: format!(
            "replica {replica} has {name} {value}, {robust_z:+.1} robust standard deviations from \
             the median {median}"
        ),
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
    })
}
