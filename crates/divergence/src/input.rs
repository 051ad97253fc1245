//! What the engine is given.

use crate::align::Aligned;
use crate::baseline::MetricHistory;
use introspection::KernelMap;
use model::ReplicaIndex;
use state::{Base, Limits, TerminalState};
use thiserror::Error;

/// How many differences are listed for each replica unless asked otherwise.
pub const DEFAULT_LISTED_DIFFERENCES: usize = 256;

/// The most differences that can be listed for each replica: more is not read by people, and the
/// digests cover all of them.
pub const MAX_LISTED_DIFFERENCES: usize = 65_536;

/// Why options were refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum OptionsError {
    /// The multiplier is not a number above 0.
    #[error("set the sensitivity multiplier to {multiplier}: it must be a number above 0")]
    Multiplier {
        /// What was asked for.
        multiplier: f64,
    },
    /// Too many or no differences are to be listed.
    #[error("list {listed} differences: it must be 1 to {MAX_LISTED_DIFFERENCES}")]
    Listed {
        /// What was asked for.
        listed: usize,
    },
}

/// What the user can set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    multiplier: f64,
    listed_differences: usize,
}

impl Options {
    /// Takes the sensitivity multiplier and how many differences are listed for each replica.
    ///
    /// A baseline times the multiplier is what a deviation must exceed; it moves nothing where
    /// the baseline is 0.
    ///
    /// # Errors
    /// The multiplier is not a number above 0, or the length of the list is out of its range.
    pub fn new(multiplier: f64, listed_differences: usize) -> Result<Self, OptionsError> {
        if !(multiplier.is_finite() && multiplier > 0.0) {
            return Err(OptionsError::Multiplier { multiplier });
        }
        if !(1..=MAX_LISTED_DIFFERENCES).contains(&listed_differences) {
            return Err(OptionsError::Listed {
                listed: listed_differences,
            });
        }
        Ok(Self {
            multiplier,
            listed_differences,
        })
    }

    /// The sensitivity multiplier.
    #[must_use]
    pub const fn multiplier(&self) -> f64 {
        self.multiplier
    }

    /// The most differences that are listed for each replica.
    #[must_use]
    pub const fn listed_differences(&self) -> usize {
        self.listed_differences
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            listed: self.listed_differences,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            multiplier: 1.0,
            listed_differences: DEFAULT_LISTED_DIFFERENCES,
        }
    }
}

/// One replica's terminal state.
#[derive(Debug, Clone, Copy)]
pub struct Replica<'a> {
    /// Which replica it is of the run.
    pub index: ReplicaIndex,
    /// Its state.
    pub state: &'a TerminalState,
}

/// Bytes of the machine that were not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// What they are and why, for people.
    pub reason: String,
    /// How many, over all replicas.
    pub bytes: u64,
}

/// What is known of the run besides its states.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The common snapshot's memory.
    pub base: Base<'a>,
    /// Whether the machine is bit-exact: equal replicas end in equal states.
    pub deterministic: bool,
    /// The guest kernel's symbols, where the guest gave them.
    pub symbols: Option<&'a KernelMap>,
    /// The result that the computation is known to have, where one is known.
    pub golden: Option<&'a str>,
    /// Units of the processor that the computation exercises.
    pub units: Vec<String>,
    /// Whether units of the host's processor executed the guest's instructions.
    pub host_units_exercised: bool,
    /// What was left out.
    pub not_compared: Vec<NotCompared>,
    /// Metrics of earlier clean runs of the same work, where there are any.
    pub history: Option<&'a MetricHistory>,
    /// The machines place by place, where they are not bit-exact and could be aligned. Memory and
    /// registers are then compared by this alone.
    pub aligned: Option<&'a Aligned>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_ranges() {
        assert!(Options::new(0.5, 1).is_ok());
        for multiplier in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = Options::new(multiplier, 1);
            assert!(matches!(refused, Err(OptionsError::Multiplier { .. })));
        }
        for listed in [0, MAX_LISTED_DIFFERENCES + 1] {
            let refused = Options::new(1.0, listed);
            assert_eq!(refused, Err(OptionsError::Listed { listed }));
        }
    }
}
