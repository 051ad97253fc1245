//! `vardoger/finding/1` and `vardoger/finding-list/1`.

use crate::difference::DifferenceDocument;
use crate::document::Payload;
use crate::format;
use model::{Conflict, Finding, Hint, NextExperiment};
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
    /// What would tell the likeliest of them apart; nothing where nothing would.
    pub next_experiment: Option<NextExperimentDocument>,
    /// The run that it came from.
    pub run: Option<String>,
}

/// A possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HintDocument {
    /// Its class, where it has one.
    #[schemars(extend("examples" = [
        "core-local-defect", "fixed-bit-mask", "float-field", "vector-lane", "wrong-address",
        "coherence", "control-flow", "string-undershoot", "register-only", "data-dependent",
        "thermal-power", "ageing", "memory-cell", "storage", "nondeterminism", "software-race",
        "version-drift", "code-path", "emulator-bug", "self-inverse", "other"
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
    /// Published figures that contradict each other; the ratio is the mean of theirs.
    pub conflicts: Vec<ConflictDocument>,
}

/// Two published figures that do not go together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConflictDocument {
    /// What they are about.
    pub about: String,
    /// Each figure.
    pub figures: Vec<ConflictingFigureDocument>,
}

/// One of two figures that do not go together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConflictingFigureDocument {
    /// The figure in words.
    pub figure: String,
    /// How many times likelier the evidence is by it than under no cause in particular.
    pub likelihood_ratio: f64,
    /// Who published it.
    pub source: String,
}

/// The experiment that tells the two likeliest causes apart.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NextExperimentDocument {
    /// Its word.
    #[schemars(extend("examples" = [
        "run-again", "swap-cores", "other-seed", "cores-at-once", "other-cpu-model"
    ]))]
    pub experiment: String,
    /// What is done, in plain words.
    pub says: String,
    /// The classes that it is to separate.
    pub separates: Vec<String>,
    /// The information that it is expected to bring about which of them it is, in bits.
    pub information_bits: f64,
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
            next_experiment: finding.next_experiment.as_ref().map(Into::into),
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
            conflicts: hint.conflicts.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Conflict> for ConflictDocument {
    fn from(conflict: &Conflict) -> Self {
        let figures = conflict.figures.iter();
        Self {
            about: conflict.about.clone(),
            figures: figures
                .map(|one| ConflictingFigureDocument {
                    figure: one.figure.clone(),
                    likelihood_ratio: one.likelihood_ratio,
                    source: one.source.clone(),
                })
                .collect(),
        }
    }
}

impl From<&NextExperiment> for NextExperimentDocument {
    fn from(next: &NextExperiment) -> Self {
        Self {
            experiment: next.experiment.to_string(),
            says: next.experiment.says().to_owned(),
            separates: next.separates.iter().map(ToString::to_string).collect(),
            information_bits: next.information_bits,
        }
    }
}
