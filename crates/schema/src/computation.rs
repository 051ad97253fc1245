//! `vardoger/computation/1`, `vardoger/computation-list/1` and `vardoger/golden/1`.

use crate::document::Payload;
use schemars::JsonSchema;
use serde::Serialize;

/// An entry of the computation library.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ComputationDocument {
    /// Its name on the command line.
    pub name: String,
    /// Changes whenever its digests do.
    pub version: u32,
    /// What it does, in one line.
    pub title: String,
    /// How likely a wrong bit is to survive into what is compared.
    #[schemars(extend("examples" = ["high", "medium", "low"]))]
    pub sensitivity: String,
    /// The parts of a machine that it serves to check.
    #[schemars(extend("examples" = [["cpu.fpu", "memory"]]))]
    pub targets: Vec<String>,
    /// The units of the processor and of memory that it exercises.
    pub units: Vec<String>,
    /// The types of the values that it computes with.
    pub data_types: Vec<String>,
    /// Whether its result is bit-equal on every instruction-set class.
    pub portable: bool,
    /// The time budget where the user names none: seconds of vCPU time.
    pub default_budget_s: f64,
    /// How many steps that budget comes to.
    pub default_steps: u64,
}

/// The computation library.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ComputationListDocument {
    /// Its entries, by name.
    pub computations: Vec<ComputationDocument>,
}

/// A digest that a computation must end with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GoldenDocument {
    /// The computation's name.
    pub computation: String,
    /// The computation's version.
    pub version: u32,
    /// The seed of its input.
    #[schemars(extend("examples" = ["0x2a"]))]
    pub seed: String,
    /// How many steps it takes.
    pub steps: u64,
    /// The instruction-set class that the digest holds for.
    pub class: String,
    /// The digest, in hexadecimal.
    pub digest: String,
}

impl Payload for ComputationDocument {
    const SCHEMA: &'static str = "vardoger/computation/1";
}

impl Payload for ComputationListDocument {
    const SCHEMA: &'static str = "vardoger/computation-list/1";
}

impl Payload for GoldenDocument {
    const SCHEMA: &'static str = "vardoger/golden/1";
}
