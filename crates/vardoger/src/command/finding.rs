//! `finding ls`, `finding show`, `finding explain`.

use crate::args::{FindingVerb, Global};
use crate::failure::Failure;
use crate::{output, report, session};
use control::ControlError;
use model::Finding;
use schema::{Document, FindingDocument, FindingListDocument};
use std::process::ExitCode;
use store::FindingFilter;

/// Carries one verb out.
pub(crate) async fn execute(global: &Global, verb: &FindingVerb) -> Result<ExitCode, Failure> {
    match verb {
        FindingVerb::Ls { limit } => ls(global, *limit).await?,
        FindingVerb::Show { finding } => show(global, finding, text).await?,
        FindingVerb::Explain { finding } => show(global, finding, explanation).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ls(global: &Global, limit: u32) -> Result<(), Failure> {
    let store = session::store(global).await?;
    let filter = FindingFilter {
        limit: Some(limit),
        ..FindingFilter::default()
    };
    let findings = store.findings(filter).await.map_err(ControlError::from)?;
    if global.json() {
        let findings = findings.iter().map(FindingDocument::from).collect();
        return output::document(global, &Document::new(FindingListDocument { findings }));
    }
    if findings.is_empty() {
        return output::text("no findings\n");
    }
    let head = ["finding", "at", "severity", "score", "kind", "where"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(findings.iter().map(|finding| {
        vec![
            finding.id.to_string(),
            finding.at.to_string().chars().take(19).collect(),
            finding.severity.to_string(),
            finding.score.to_string(),
            finding.kind.to_string(),
            finding.node.to_string(),
        ]
    }));
    output::text(&report::table(&rows))
}

async fn show(
    global: &Global,
    reference: &str,
    text: fn(&Finding) -> String,
) -> Result<(), Failure> {
    let store = session::store(global).await?;
    let finding = store
        .find_finding(reference)
        .await
        .map_err(ControlError::from)?;
    if global.json() {
        return output::document(global, &Document::new(FindingDocument::from(&finding)));
    }
    output::text(&text(&finding))
}

/// What is to be shown: the finding, its likeliest causes, its evidence.
fn text(finding: &Finding) -> String {
    let mut rows = vec![
        ("finding", finding.id.to_string()),
        ("what", format!("{}: {}", finding.kind, finding.summary)),
        ("where", finding.node.to_string()),
        ("when", finding.at.to_string()),
        (
            "how bad",
            format!("{}, score {} of 100", finding.severity, finding.score),
        ),
    ];
    rows.extend(report::hint_rows(&finding.hints));
    if let Some(next) = &finding.next_experiment {
        rows.push(("next", report::next_experiment(next)));
    }
    for blob in &finding.evidence_blobs {
        rows.push(("evidence", blob.clone()));
    }
    let mut text = report::rows(&rows);
    text.push_str(&report::difference_table(&finding.evidence, 0));
    text
}

/// Why: all causes with what speaks for and against them.
fn explanation(finding: &Finding) -> String {
    let what = format!("{}: {}", finding.kind, finding.summary);
    let mut text = report::rows(&[("finding", finding.id.to_string()), ("what", what)]);
    if finding.hints.is_empty() {
        text.push_str("  no causes are known for findings of this kind\n");
    }
    for hint in &finding.hints {
        text.push_str(&report::whole_hint(hint));
    }
    if let Some(next) = &finding.next_experiment {
        text.push_str(&report::rows(&[("next", report::next_experiment(next))]));
    }
    text.push_str(&report::difference_table(&finding.evidence, 0));
    text
}
