//! What the hints of a trial were ranked from, kept beside what they were worth, so that another
//! ranking is held against the same trials without any machine.
//!
//! It is what a report sees, and nothing else: neither the fault nor its class is in it.

use divergence::hint::traces::Traces;
use divergence::hint::{Machine, Subject, rank};
use divergence::{Analysis, Surroundings};
use model::{Difference, Hint, ReplicaIndex};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What hints were ranked from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HintEvidence {
    /// The replica that deviates, where one is named.
    pub replica: Option<ReplicaIndex>,
    /// The differences, as listed; which bits they are is told by their values.
    pub differences: Vec<Difference>,
    /// What the memory around them says.
    pub traces: Traces,
    /// Whether the machine is bit-exact.
    pub deterministic: bool,
    /// Where the guest kernel's code lies, guest-physical.
    pub code: Option<Range<u64>>,
    /// What is known besides.
    pub surroundings: Surroundings,
}

impl HintEvidence {
    /// The evidence on the first deviation of an analysis; nothing where none deviates.
    pub(super) fn of(
        analysis: &Analysis,
        machine: Machine,
        surroundings: Surroundings,
    ) -> Option<Self> {
        let deviation = analysis.deviations.first()?;
        let differences = deviation.differences.iter().map(|one| Difference {
            flipped_bits: Vec::new(),
            ..one.clone()
        });
        Some(Self {
            replica: deviation.replica,
            differences: differences.collect(),
            traces: analysis.traces.first().cloned().unwrap_or_default(),
            deterministic: machine.deterministic,
            code: machine.code,
            surroundings,
        })
    }

    /// The causes, the likeliest first.
    #[must_use]
    pub fn rank(&self) -> Vec<Hint> {
        let core = self.replica.and_then(|who| self.surroundings.core_of(who));
        rank(&Subject {
            differences: &self.differences,
            traces: &self.traces,
            deterministic: self.deterministic,
            code: self.code.clone(),
            core,
            surroundings: &self.surroundings,
        })
    }
}
