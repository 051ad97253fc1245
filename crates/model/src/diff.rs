//! Saved states against each other, wherever they come from.

use crate::run::{Coverage, Deviation, Outcome, Provenance, Verdict};
use serde::{Deserialize, Serialize};

/// One of the states that were compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateSummary {
    /// How the user named it: a path, or a run and one of its states.
    pub name: String,
    /// What made it.
    pub provenance: Provenance,
    /// The digest of the snapshot that its changed pages are relative to.
    pub base_digest: String,
    /// How its machine ended.
    pub outcome: Outcome,
    /// The digest of the result that its computation reported.
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

/// What the comparison of saved states says. The `replica` of a deviation is the position of a
/// state, counted from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The states, in the order in which they were named.
    pub states: Vec<StateSummary>,
    /// What it says.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// Which states deviate, and how.
    pub deviations: Vec<Deviation>,
    /// What was looked at.
    pub coverage: Coverage,
    /// Words of memory that no majority decided.
    pub undecided_words: u64,
    /// In what the states are of different kinds, and what the user should know besides.
    pub warnings: Vec<String>,
}
