//! The message: what Alertmanager posts to a webhook, version 4, as its documentation
//! (*Configuration, webhook_config*) describes it. Receivers of Alertmanager take it as it is.

use model::{Finding, Run};
use serde::Serialize;
use std::collections::BTreeMap;

/// Alerts in one message; how many more there are is said in it. A run has one finding for each
/// replica that deviates, and some for its metrics.
const MAX_ALERTS: usize = 64;

/// Hints that an alert tells.
const HINTS: usize = 3;

/// What ends an alert that has not ended: Go's zero of time.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// The offset and the prime of FNV-1a with 64 bits, by which Alertmanager makes fingerprints.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

type Labels = BTreeMap<&'static str, String>;

/// One webhook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'static str,
    receiver: &'static str,
    group_labels: Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    alerts: Vec<Alert>,
}

/// One finding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: &'static str,
    labels: Labels,
    annotations: Labels,
    starts_at: String,
    ends_at: &'static str,
    #[serde(rename = "generatorURL")]
    generator_url: &'static str,
    fingerprint: String,
}

/// The message that tells of a run's findings.
pub(super) fn of(run: &Run, findings: &[Finding]) -> Message {
    let group_labels = Labels::from([
        ("alertname", "VardogerFinding".to_owned()),
        ("computation", run.provenance.computation.clone()),
    ]);
    let alerts: Vec<Alert> = findings
        .iter()
        .take(MAX_ALERTS)
        .map(|finding| alert(finding, &group_labels))
        .collect();
    Message {
        version: "4",
        group_key: format!("{{}}:{}", selector(&group_labels)),
        truncated_alerts: findings.len() - alerts.len(),
        status: "firing",
        receiver: "vardoger",
        common_labels: common(alerts.iter().map(|alert| &alert.labels)),
        common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
        group_labels,
        external_url: "",
        alerts,
    }
}

/// Labels as Alertmanager writes them: `{name="value", …}`, sorted.
fn selector(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn alert(finding: &Finding, group: &Labels) -> Alert {
    let mut labels = group.clone();
    labels.insert("engine", "divergence".to_owned());
    labels.insert("kind", finding.kind.to_string());
    labels.insert("severity", finding.severity.to_string());
    labels.insert("instance", finding.node.to_string());
    let mut annotations = Labels::from([
        ("summary", finding.summary.clone()),
        ("description", causes(finding)),
        ("finding", finding.id.to_string()),
        ("score", finding.score.to_string()),
    ]);
    if let Some(run) = finding.run {
        annotations.insert("run", run.to_string());
    }
    Alert {
        status: "firing",
        fingerprint: format!("{:016x}", fingerprint(&labels)),
        labels,
        annotations,
        starts_at: finding.at.to_string(),
        ends_at: NOT_ENDED,
        generator_url: "",
    }
}

/// The likeliest causes, one a line.
fn causes(finding: &Finding) -> String {
    let hints = finding.hints.iter().take(HINTS);
    let lines: Vec<String> = hints
        .map(|hint| {
            let share = hint.probability.unwrap_or_default() * 100.0;
            format!("{share:.0} % {}: {}", hint.cause, hint.reason)
        })
        .collect();
    lines.join("\n")
}

/// What all of them share.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut shared = all.next().cloned().unwrap_or_default();
    for labels in all {
        shared.retain(|name, value| labels.get(name) == Some(value));
    }
    shared
}

/// FNV-1a over sorted names and values, each ended by a byte that no text holds.
fn fingerprint(labels: &Labels) -> u64 {
    let texts = labels
        .iter()
        .flat_map(|(name, value)| [*name, value.as_str()]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(FNV_OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_fnv_1a() {
        assert_eq!(fingerprint(&Labels::new()), FNV_OFFSET);
        // FNV-1a of "a" is af63dc4c8601ec8c; here a ff, and an empty value with its ff, follow it.
        let a = 0xaf63_dc4c_8601_ec8c_u64;
        let step = |hash: u64| (hash ^ 0xff).wrapping_mul(FNV_PRIME);
        let labels = Labels::from([("a", String::new())]);
        assert_eq!(fingerprint(&labels), step(step(a)));
    }

    #[test]
    fn what_is_common_is_in_all() {
        let one = Labels::from([("a", "1".to_owned()), ("b", "2".to_owned())]);
        let other = Labels::from([("a", "1".to_owned()), ("b", "3".to_owned())]);
        assert_eq!(
            common([&one, &other].into_iter()),
            Labels::from([("a", "1".to_owned())])
        );
        assert!(common(std::iter::empty()).is_empty());
    }
}
