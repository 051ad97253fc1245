//! The finding: the one type in which any engine says anything.

use crate::clock::Timestamp;
use crate::difference::Difference;
use crate::fleet::NodeRef;
use crate::hint::{Hint, NextExperiment};
use crate::id::{FindingId, RunId};
use crate::severity::Severity;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which engine says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// N identical machines, one repeatable computation.
    Divergence,
    /// A live copy fed the same inputs.
    Shadow,
    /// A learned model and a small machine that replays the workload.
    Twin,
    /// The graph of who depends on whom.
    Propagation,
    /// The disk as a history of changesets.
    Image,
}

/// What it is. The kind sets the floor of the severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The result is wrong, and nothing but the comparison says so.
    SilentWrongOutput,
    /// The state differs, the result is equal.
    LatentDifference,
    /// A replica crashed and its doubles did not.
    Crash,
    /// A replica hung and its doubles did not.
    Hang,
    /// Only a metric deviates.
    MetricDeviation,
    /// The replicas differ and no majority says which is right.
    Undecided,
    /// All replicas agree with each other and contradict the golden value.
    GoldenMismatch,
}

impl FindingKind {
    /// The least severity of this kind.
    #[must_use]
    pub const fn floor(self) -> Severity {
        match self {
            Self::SilentWrongOutput | Self::GoldenMismatch => Severity::Critical,
            Self::LatentDifference | Self::Undecided => Severity::High,
            Self::Crash | Self::Hang => Severity::Medium,
            Self::MetricDeviation => Severity::Low,
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SilentWrongOutput => "silent-wrong-output",
            Self::LatentDifference => "latent-difference",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::MetricDeviation => "metric-deviation",
            Self::Undecided => "undecided",
            Self::GoldenMismatch => "golden-mismatch",
        })
    }
}

/// What an engine says: what, where, when, how bad, on which evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its id.
    pub id: FindingId,
    /// When it was found.
    pub at: Timestamp,
    /// Who says it.
    pub engine: Engine,
    /// The version of the engine, or of its model.
    pub engine_version: String,
    /// What it is.
    pub kind: FindingKind,
    /// Where it is.
    pub node: NodeRef,
    /// How bad.
    pub severity: Severity,
    /// 0 to 100.
    pub score: u8,
    /// The probability behind the score, where one was computed.
    pub probability: Option<f64>,
    /// One sentence for people.
    pub summary: String,
    /// The exact differences, bounded.
    pub evidence: Vec<Difference>,
    /// Keys of the blobs that hold the evidence whole.
    pub evidence_blobs: Vec<String>,
    /// Ranked causes.
    pub hints: Vec<Hint>,
    /// What would tell the likeliest of them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_experiment: Option<NextExperiment>,
    /// The run that it came from.
    pub run: Option<RunId>,
}
