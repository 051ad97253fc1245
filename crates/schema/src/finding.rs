//! `vardoger/finding/1` and `vardoger/finding-list/1`.

use crate::difference::DifferenceDocument;
use crate::document::Payload;
use crate::format;
use model::{Finding, Hint};
use schemars::JsonSchema;
use serde::Serialize;

/// What an engine says.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FindingDocument {
    /// Its id: a UUIDv7.
    pub id: String,
    /// When it was found.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// Who says it.
    #[schemars(extend("examples" = ["divergence", "shadow", "twin", "propagation", "image"]))]
    pub engine: String,
    /// The version of the engine, or of its model.
    pub engine_version: String,
    /// What it is.
    #[schemars(extend("examples" = [
        "silent-wrong-output", "latent-difference", "crash", "hang", "metric-deviation",
        "undecided", "golden-mismatch"
    ]))]
    pub kind: String,
    /// How large the thing is that it speaks of.
    #[schemars(extend("examples" = ["component", "system", "group"]))]
    pub level: String,
    /// What it speaks of: for a replica `RUN/replica-K`.
    pub node: String,
    /// How bad.
    #[schemars(extend("examples" = ["info", "low", "medium", "high", "critical"]))]
    pub severity: String,
    /// 0 to 100.
    pub score: u8,
    /// The probability behind the score, where one was computed.
    pub probability: Option<f64>,
    /// One sentence for people.
    pub summary: String,
    /// The exact differences, bounded.
    pub evidence: Vec<DifferenceDocument>,
    /// Keys of the blobs in the store that hold the evidence whole.
    pub evidence_blobs: Vec<String>,
    /// Ranked causes.
    pub hints: Vec<HintDocument>,
    /// The run that it came from.
    pub run: Option<String>,
}

/// A possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HintDocument {
    /// Its class, where it has one.
    #[schemars(extend("examples" = [
        "core-local-defect", "fixed-bit-mask", "memory-cell", "nondeterminism", "software-race",
        "code-path", "other"
    ]))]
    pub class: Option<String>,
    /// The cause.
    pub cause: String,
    /// The evidence for and against it, with its numbers.
    pub reason: String,
    /// Its probability among all classes, where one was computed; these add up to 1.
    pub probability: Option<f64>,
    /// How many times likelier the evidence is under this cause than under a background that knows
    /// nothing.
    pub likelihood_ratio: Option<f64>,
    /// Where the figures behind the ratio were published.
    pub sources: Vec<String>,
}

/// Findings, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FindingListDocument {
    /// The findings.
    pub findings: Vec<FindingDocument>,
}

impl Payload for FindingDocument {
    const SCHEMA: &'static str = "vardoger/finding/1";
}

impl Payload for FindingListDocument {
    const SCHEMA: &'static str = "vardoger/finding-list/1";
}

impl From<&Finding> for FindingDocument {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.to_string(),
            at: finding.at.to_string(),
            engine: format::engine(finding.engine).to_owned(),
            engine_version: finding.engine_version.clone(),
            kind: finding.kind.to_string(),
            level: format::level(finding.node.level).to_owned(),
            node: finding.node.to_string(),
            severity: finding.severity.to_string(),
            score: finding.score,
            probability: finding.probability,
            summary: finding.summary.clone(),
            evidence: finding.evidence.iter().map(Into::into).collect(),
            evidence_blobs: finding.evidence_blobs.clone(),
            hints: finding.hints.iter().map(Into::into).collect(),
            run: finding.run.map(|run| run.to_string()),
        }
    }
}

impl From<&Hint> for HintDocument {
    fn from(hint: &Hint) -> Self {
        Self {
            class: hint.class.map(|class| class.to_string()),
            cause: hint.cause.clone(),
            reason: hint.reason.clone(),
            probability: hint.probability,
            likelihood_ratio: hint.likelihood_ratio,
            sources: hint.sources.clone(),
        }
    }
}
