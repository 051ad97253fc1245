//! `vardoger/diff/1` and `vardoger/export/1`: saved states, compared and written out.

use crate::document::Payload;
use crate::format::{self, hexadecimal};
use crate::run::{CoverageDocument, DeviationDocument, ProvenanceDocument};
use model::{Diff, StateSummary};
use schemars::JsonSchema;
use serde::Serialize;

/// Saved states against each other. `replica` of a deviation is the index of a state.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DiffDocument {
    /// What it says: `pass` where all that was compared is equal.
    #[schemars(extend("examples" = ["pass", "deviates", "inconclusive", "skipped"]))]
    pub verdict: String,
    /// Why, in one sentence.
    pub reason: String,
    /// The states, in the order in which they were named.
    pub states: Vec<StateDocument>,
    /// Which states deviate, and how.
    pub deviations: Vec<DeviationDocument>,
    /// What was looked at.
    pub coverage: CoverageDocument,
    /// Words of memory that no majority decided.
    pub undecided_words: u64,
}

/// One of the states that were compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateDocument {
    /// Which, counted from 0.
    pub index: u32,
    /// How it was named: a path, or a run and one of its states.
    pub name: String,
    /// How its machine ended.
    #[schemars(extend("examples" = ["ended", "hung", "crashed"]))]
    pub outcome: String,
    /// How it crashed.
    pub outcome_detail: Option<String>,
    /// The computation's name.
    pub computation: String,
    /// The computation's version.
    pub computation_version: u32,
    /// The seed of its input.
    #[schemars(extend("examples" = ["0x2a"]))]
    pub seed: String,
    /// How many steps it was to take.
    pub steps: u64,
    /// What executed the guest's instructions.
    #[schemars(extend("examples" = ["tcg", "kvm"]))]
    pub accelerator: String,
    /// The guest's CPU model.
    pub cpu_model: String,
    /// What else made it.
    pub provenance: ProvenanceDocument,
    /// The digest of the snapshot that its changed pages are relative to.
    pub base_digest: String,
    /// The digest of the result that its computation reported, in hexadecimal.
    pub result_digest: Option<String>,
    /// Pages of memory that it holds.
    pub pages: u64,
    /// Registers that it holds.
    pub registers: u64,
    /// Lines of its log.
    pub log_lines: u64,
    /// Files that it holds.
    pub files: u64,
}

/// States of a run, written out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExportDocument {
    /// The run's id: a UUIDv7.
    pub run: String,
    /// The files.
    pub files: Vec<ExportedDocument>,
}

/// One state file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExportedDocument {
    /// Which replica's state it is; `null` for what the majority holds.
    pub replica: Option<u32>,
    /// Where it is.
    pub path: String,
    /// How long it is.
    pub size_bytes: u64,
    /// Its BLAKE3 digest, in hexadecimal.
    pub digest: String,
}

impl Payload for DiffDocument {
    const SCHEMA: &'static str = "vardoger/diff/1";
}

impl Payload for ExportDocument {
    const SCHEMA: &'static str = "vardoger/export/1";
}

impl From<&Diff> for DiffDocument {
    fn from(diff: &Diff) -> Self {
        let states = (0..).zip(&diff.states);
        Self {
            verdict: diff.verdict.to_string(),
            reason: diff.reason.clone(),
            states: states.map(|(index, one)| state(index, one)).collect(),
            deviations: diff.deviations.iter().map(Into::into).collect(),
            coverage: (&diff.coverage).into(),
            undecided_words: diff.undecided_words,
        }
    }
}

fn state(index: u32, state: &StateSummary) -> StateDocument {
    let (outcome, outcome_detail) = format::outcome(&state.outcome);
    let made = &state.provenance;
    StateDocument {
        index,
        name: state.name.clone(),
        outcome: outcome.to_owned(),
        outcome_detail,
        computation: made.computation.clone(),
        computation_version: made.computation_version,
        seed: hexadecimal(made.seed),
        steps: made.steps,
        accelerator: made.accelerator.clone(),
        cpu_model: made.cpu_model.clone(),
        provenance: made.into(),
        base_digest: state.base_digest.clone(),
        result_digest: state.result_digest.clone(),
        pages: state.pages,
        registers: state.registers,
        log_lines: state.log_lines,
        files: state.files,
    }
}
