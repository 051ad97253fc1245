//! `vardoger/campaign/1` and `vardoger/campaign-list/1`.

use crate::document::Payload;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A campaign: many trials of the detector against known truth.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CampaignDocument {
    /// Its id: a UUIDv7.
    pub id: String,
    /// When it was begun.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// How far it has come.
    #[schemars(extend("examples" = ["running", "stopped", "complete"]))]
    pub state: String,
    /// What its trials are.
    #[schemars(extend("examples" = ["fault", "clean"]))]
    pub kind: String,
    /// The seed of all draws.
    #[schemars(extend("examples" = ["0x2a"]))]
    pub seed: String,
    /// How many replicas are compared in each trial.
    pub replicas: u32,
    /// The computations, by name.
    pub computations: Vec<String>,
    /// How many trials were planned.
    pub trials: u64,
    /// How many have ended.
    pub trials_ended: u64,
    /// How many came out in each way.
    #[schemars(extend("examples" = [{"detected": 17, "masked": 3}]))]
    pub outcomes: BTreeMap<String, u64>,
    /// The same for each part and mode of faults.
    pub by_fault: Vec<FaultOutcomesDocument>,
    /// How many trials the detector failed in.
    pub failures: u64,
    /// Upper 95 % confidence bound on the rate of failures when there was none; masked faults do
    /// not count.
    pub upper_bound: Option<f64>,
    /// The trials that the detector failed in, the first of them.
    pub failed: Vec<TrialDocument>,
    /// The BLAKE3 digest of the truth, known before the first trial.
    pub seal: String,
    /// The file that holds the truth, once all trials have ended.
    pub truth: Option<String>,
}

/// What became of one kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FaultOutcomesDocument {
    /// Part and mode.
    #[schemars(extend("examples" = ["ram flip", "reg stuck-1", "none"]))]
    pub fault: String,
    /// How many came out in each way.
    pub outcomes: BTreeMap<String, u64>,
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TrialDocument {
    /// Its number, from 0.
    pub number: u32,
    /// The computation's name.
    pub computation: String,
    /// Part and mode of its fault.
    pub fault: String,
    /// What became of it.
    pub outcome: String,
    /// What there is to know besides, for people.
    pub detail: String,
}

/// The campaigns of a store.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CampaignListDocument {
    /// They, newest first.
    pub campaigns: Vec<CampaignDocument>,
}

impl Payload for CampaignDocument {
    const SCHEMA: &'static str = "vardoger/campaign/1";
}

impl Payload for CampaignListDocument {
    const SCHEMA: &'static str = "vardoger/campaign-list/1";
}
