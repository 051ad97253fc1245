//! Events: the append-only record. Runs, findings and actions are never changed, only followed by
//! further events; everything that a user sees is derived from them.

use crate::action::Action;
use crate::clock::Timestamp;
use crate::finding::Finding;
use crate::id::{EventId, ReplicaIndex, RunId};
use crate::run::Run;
use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// Which run.
        run: RunId,
        /// The computation's name.
        computation: String,
        /// How many replicas.
        replicas: u32,
    },
    /// A replica's terminal state was captured.
    StateCaptured {
        /// Of which run.
        run: RunId,
        /// Of which replica.
        replica: ReplicaIndex,
        /// The blob that holds it, where it was kept. The blob is durable before this event.
        blob: Option<String>,
    },
    /// A run ended in a verdict.
    RunEnded {
        /// The run, whole.
        run: Box<Run>,
    },
    /// A run ended without a verdict.
    RunFailed {
        /// Which run.
        run: RunId,
        /// Why.
        reason: String,
    },
    /// An engine found something.
    FindingRecorded {
        /// What it found.
        finding: Box<Finding>,
    },
    /// The product did, or would do, something.
    ActionRecorded {
        /// What.
        action: Box<Action>,
    },
    /// Blobs were removed to keep the store within its limit; their events stay.
    Pruned {
        /// The keys of the removed blobs.
        blobs: Vec<String>,
        /// Bytes that became free.
        freed_bytes: u64,
    },
}

impl Event {
    /// The run that an event speaks of.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::RunStarted { run, .. }
            | Self::StateCaptured { run, .. }
            | Self::RunFailed { run, .. } => Some(*run),
            Self::RunEnded { run } => Some(run.id),
            Self::FindingRecorded { finding } => finding.run,
            Self::ActionRecorded { .. } | Self::Pruned { .. } => None,
        }
    }

    /// The keys of the blobs that an event names, which must outlive it.
    #[must_use]
    pub fn blobs(&self) -> Vec<&str> {
        match self {
            Self::StateCaptured { blob, .. } => blob.iter().map(String::as_str).collect(),
            Self::FindingRecorded { finding } => {
                finding.evidence_blobs.iter().map(String::as_str).collect()
            }
            Self::RunEnded { run } => run
                .replicas
                .iter()
                .flat_map(|replica| replica.image.iter().chain(replica.state.iter()))
                .map(String::as_str)
                .collect(),
            Self::RunStarted { .. }
            | Self::RunFailed { .. }
            | Self::ActionRecorded { .. }
            | Self::Pruned { .. } => Vec::new(),
        }
    }
}

/// An event with its id and moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its id: ids sort by the time they were made.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}
