//! A possible cause of a finding: its class, the evidence, and how likely it is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The classes of causes that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HintClass {
    /// One core computes wrongly: deviations follow it.
    CoreLocalDefect,
    /// A unit or a line that flips the same bits again and again.
    FixedBitMask,
    /// A cell, row or column of memory: the place stays, whatever core runs.
    MemoryCell,
    /// No fault: times, addresses, random numbers, the order of a list.
    Nondeterminism,
    /// Two activities of the software itself, in another order.
    SoftwareRace,
    /// Other instructions or another build compute the last digits otherwise.
    CodePath,
    /// None of these.
    Other,
}

impl HintClass {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::CoreLocalDefect,
        Self::FixedBitMask,
        Self::MemoryCell,
        Self::Nondeterminism,
        Self::SoftwareRace,
        Self::CodePath,
        Self::Other,
    ];

    /// The cause in plain words.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::CoreLocalDefect => "one core computes wrongly",
            Self::FixedBitMask => "a data path that flips the same bits",
            Self::MemoryCell => "a cell, row or column of memory",
            Self::Nondeterminism => "no fault: what differs from run to run anyway",
            Self::SoftwareRace => "a race in the software",
            Self::CodePath => "other instructions for the same computation",
            Self::Other => "something else",
        }
    }
}

impl fmt::Display for HintClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CoreLocalDefect => "core-local-defect",
            Self::FixedBitMask => "fixed-bit-mask",
            Self::MemoryCell => "memory-cell",
            Self::Nondeterminism => "nondeterminism",
            Self::SoftwareRace => "software-race",
            Self::CodePath => "code-path",
            Self::Other => "other",
        })
    }
}

/// A possible cause, with its reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hint {
    /// Its class; records of before there were classes have none.
    #[serde(default)]
    pub class: Option<HintClass>,
    /// The cause, in the field's words.
    pub cause: String,
    /// The evidence for and against it, with its numbers.
    pub reason: String,
    /// Its probability among all classes, where one was computed; these add up to 1.
    pub probability: Option<f64>,
    /// How many times likelier the evidence is under this cause than under a background that knows
    /// nothing.
    #[serde(default)]
    pub likelihood_ratio: Option<f64>,
    /// Where the figures behind the ratio were published.
    #[serde(default)]
    pub sources: Vec<String>,
}
