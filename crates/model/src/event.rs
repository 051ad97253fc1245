//! Events: the append-only record. Runs, findings and actions are never changed, only followed by
//! further events; everything that a user sees is derived from them.

use crate::action::Action;
use crate::clock::Timestamp;
use crate::finding::Finding;
use crate::id::{EventId, ImageId, ReplicaIndex, RunId};
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
    /// A disk was captured. The changeset is durable before this event; one that was captured when its
    /// process was killed may lack it.
    ImageCaptured {
        /// Which disk's history it is.
        image: ImageId,
        /// The name that the image had then.
        name: String,
        /// The changeset's id in the chain, and its place there.
        changeset: String,
        /// Its number.
        sequence: u64,
        /// The moment of the disk that it holds.
        taken: Timestamp,
        /// How large the disk was.
        disk_bytes: u64,
        /// How much of it was not as before.
        changed_bytes: u64,
        /// What was added to the store.
        stored_bytes: u64,
    },
    /// A history was checked.
    ImageChecked {
        /// Whose.
        image: ImageId,
        /// The name that the image had then.
        name: String,
        /// How deep was looked: `structure`, `read-data` or `deep`.
        level: String,
        /// Whether all was there and what it was.
        sound: bool,
        /// How many blobs were damaged, and how many seals did not hold.
        faults: u64,
    },
    /// A history was made shorter.
    ImageForgotten {
        /// Whose.
        image: ImageId,
        /// The name that the image had then.
        name: String,
        /// The number of the changeset that it begins with now.
        first: u64,
        /// How many changesets are kept.
        kept: u64,
        /// Bytes that became free.
        freed_bytes: u64,
    },
    /// An image and all of its history were removed.
    ImageRemoved {
        /// Whose.
        image: ImageId,
        /// The name that the image had then.
        name: String,
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
            Self::ActionRecorded { .. }
            | Self::ImageCaptured { .. }
            | Self::ImageChecked { .. }
            | Self::ImageForgotten { .. }
            | Self::ImageRemoved { .. }
            | Self::Pruned { .. } => None,
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
            // Histories hold their own blobs, and need no event to be kept.
            | Self::ImageCaptured { .. }
            | Self::ImageChecked { .. }
            | Self::ImageForgotten { .. }
            | Self::ImageRemoved { .. }
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
