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
    #[schemars(extend("examples" = ["fault", "clean", "hints"]))]
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
    /// How good the hints were, in a campaign of hints in which some fault showed.
    pub hints: Option<HintReportDocument>,
    /// The lists of changed pages held against all memory, in a campaign with `--check-pages`.
    pub pages: Option<PageTallyDocument>,
    /// The BLAKE3 digest of the truth, known before the first trial.
    pub seal: String,
    /// The file that holds the truth, once all trials have ended.
    pub truth: Option<String>,
}

/// Lists of changed pages, held against each other and against a comparison of all memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PageTallyDocument {
    /// Replicas that were checked.
    pub replicas: u64,
    /// How many ways of listing pages the kernel has.
    pub ways: u64,
    /// Pages that were listed, over all replicas.
    pub listed: u64,
    /// Pages that one list held and another did not.
    pub disputed: u64,
    /// Pages that differed from the snapshot.
    pub differing: u64,
    /// Of those the ones that a list did not hold.
    pub missed: u64,
}

/// How good hints were, over trials whose fault showed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HintReportDocument {
    /// All trials.
    pub all: HintSharesDocument,
    /// Those from the usual priors and studies.
    pub usual: HintSharesDocument,
    /// Those from shifted priors and from the other study.
    pub shifted: HintSharesDocument,
    /// Those whose fault struck before the end, so that what was wrong was computed with.
    pub early: HintSharesDocument,
    /// By true cause, in the order of the classes.
    pub by_class: Vec<HintClassDocument>,
    /// How sure the first hint was, and how often it was right, in bins of equal counts.
    pub reliability: Vec<ReliabilityBinDocument>,
    /// The expected calibration error over these bins.
    pub calibration_error: f64,
    /// Its 95 % interval by bootstrap: the lower and the upper end.
    pub calibration_interval: [f64; 2],
}

/// Some trials' figures.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HintSharesDocument {
    /// How many trials.
    pub trials: u64,
    /// The share in which the true cause came first.
    pub first: f64,
    /// The share in which it was among the first three.
    pub among_three: f64,
}

/// One row of the confusion matrix.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HintClassDocument {
    /// The true cause.
    pub class: String,
    /// Its figures.
    pub shares: HintSharesDocument,
    /// How often each cause was said first.
    #[schemars(extend("examples" = [{"memory-cell": 17, "core-local-defect": 3}]))]
    pub said: BTreeMap<String, u64>,
}

/// Some hints that were about equally sure.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReliabilityBinDocument {
    /// How many.
    pub count: u64,
    /// How sure they were, on average.
    pub said: f64,
    /// The share of them that was right.
    pub right: f64,
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
