//! Findings and verdicts that the store has shown: it acknowledged them, so they must stay.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::product::Product;

/// More than a campaign ever makes.
const ALL: &str = "1000000";

/// What the store has shown so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    findings: BTreeSet<String>,
    verdicts: BTreeMap<String, String>,
}

impl Seen {
    /// Looks again, and says what is gone or has changed, or why it cannot be seen.
    pub(super) fn look(&mut self, product: &Product) -> Vec<String> {
        let lists = [
            product.ask(&["finding", "ls", "--limit", ALL]),
            product.ask(&["run", "ls", "--limit", ALL]),
        ];
        match lists {
            [Ok(findings), Ok(runs)] => self.compare(&findings, &runs),
            [findings, runs] => [findings, runs]
                .into_iter()
                .filter_map(|list| Some(format!("{:#}", list.err()?)))
                .collect(),
        }
    }

    fn compare(&mut self, findings: &Value, runs: &Value) -> Vec<String> {
        let findings: BTreeSet<String> =
            rows(findings, "findings", "id").map(|(id, _)| id).collect();
        let verdicts: BTreeMap<String, String> = rows(runs, "runs", "verdict").collect();
        let lost = self.findings.difference(&findings);
        let changed = self
            .verdicts
            .iter()
            .filter(|(id, verdict)| verdicts.get(*id) != Some(*verdict));
        let failures = lost
            .map(|id| format!("finding {id} is lost"))
            .chain(changed.map(|(id, _)| format!("the verdict of run {id} is lost")))
            .collect();
        self.findings.extend(findings);
        self.verdicts.extend(verdicts);
        failures
    }
}

/// The id of each row of a list, with one of its values, where that is there.
fn rows(list: &Value, name: &str, value: &str) -> impl Iterator<Item = (String, String)> {
    let rows = list[name].as_array().cloned().unwrap_or_default();
    let value = value.to_owned();
    rows.into_iter().filter_map(move |row| {
        let text = |key: &str| Some(row[key].as_str()?.to_owned());
        Some((text("id")?, text(&value)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_seen_once_must_be_seen_again() {
        let mut seen = Seen::default();
        let findings = json!({"findings": [{"id": "f1"}]});
        let runs = json!({"runs": [
            {"id": "r1", "verdict": "deviates"},
            {"id": "r2", "verdict": null},
        ]});
        assert!(seen.compare(&findings, &runs).is_empty());
        let later = json!({"runs": [
            {"id": "r1", "verdict": "deviates"},
            {"id": "r2", "verdict": "pass"},
        ]});
        assert!(seen.compare(&findings, &later).is_empty());
        let lost = json!({"runs": [{"id": "r1", "verdict": "pass"}]});
        assert_eq!(
            seen.compare(&json!({"findings": []}), &lost),
            [
                "finding f1 is lost",
                "the verdict of run r1 is lost",
                "the verdict of run r2 is lost"
            ]
        );
    }
}
