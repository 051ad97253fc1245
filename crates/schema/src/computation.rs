//! `vardoger/computation/1`, `vardoger/computation-list/1`, `vardoger/computation-coverage/1` and
//! `vardoger/golden/1`.

use crate::document::Payload;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// What it computes, as others name it.
    pub algorithms: Vec<String>,
    /// The extensions of the instruction set that it executes where the processor has them.
    pub extensions: Vec<String>,
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

/// What the computation library exercises, held against the lists of other tools and against the
/// processor at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ComputationCoverageDocument {
    /// Units of the processor, of memory and of the kernel, and classes of instructions.
    pub units: Vec<ExercisedWord>,
    /// Types of data.
    pub data_types: Vec<ExercisedWord>,
    /// Algorithms.
    pub algorithms: Vec<ExercisedWord>,
    /// The classes of other tools' lists, list by list.
    pub classes: Vec<CoveredClass>,
    /// The extensions of the instruction set that the processor has which executes the command.
    pub extensions: Vec<CoveredExtension>,
}

/// A row of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExercisedWord {
    /// The unit, type or algorithm.
    pub name: String,
    /// The computations that exercise it; may be none.
    pub computations: Vec<String>,
    /// Why none does.
    pub reason: Option<String>,
}

/// A class of another tool's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CoveredClass {
    /// The list.
    #[schemars(extend("examples" = ["opendcdiag", "cpu-check", "silifuzz"]))]
    pub list: String,
    /// The class, as its list calls it.
    pub name: String,
    /// Whether it is exercised.
    #[schemars(extend("examples" = ["exercised", "not-exercised", "absent"]))]
    pub standing: String,
    /// The computations that exercise it.
    pub computations: Vec<String>,
    /// Why it is not exercised.
    pub reason: Option<String>,
}

/// An extension of the instruction set that the processor has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CoveredExtension {
    /// Its name.
    #[schemars(extend("examples" = ["avx2", "gfni"]))]
    pub name: String,
    /// What it brings.
    pub brings: String,
    /// The computations that execute it; may be none.
    pub computations: Vec<String>,
    /// Whether equal operands give equal results; what is not repeatable is not exercised.
    pub repeatable: bool,
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

/// What is known of the noise of machines that are not bit-exact, as they do a computation.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NoiseModelDocument {
    /// The computation's name.
    pub computation: String,
    /// The guest's virtual processors.
    pub vcpus: u32,
    /// What executes the guest's instructions.
    #[schemars(extend("examples" = ["tcg", "kvm"]))]
    pub accelerator: String,
    /// Clean runs that were learned from, in all.
    pub runs: u64,
    /// Those of now.
    pub runs_now: u64,
    /// Runs of now that deviated, and were not learned from.
    pub deviating: u64,
    /// Places that are known as noise.
    pub places: u64,
    /// Those that just one run has shown.
    pub seen_once: u64,
    /// How many the next run is expected to show anew (Good and Turing); `null` before the first.
    pub expected_new: Option<f64>,
    /// Whether enough was learned.
    pub settled: bool,
    /// Places by why they are noisy.
    pub by_reason: BTreeMap<String, u64>,
    /// Places that just one run has shown, a few of them.
    pub shown_once: Vec<String>,
}

impl Payload for NoiseModelDocument {
    const SCHEMA: &'static str = "vardoger/noise/1";
}

impl Payload for ComputationDocument {
    const SCHEMA: &'static str = "vardoger/computation/1";
}

impl Payload for ComputationListDocument {
    const SCHEMA: &'static str = "vardoger/computation-list/1";
}

impl Payload for ComputationCoverageDocument {
    const SCHEMA: &'static str = "vardoger/computation-coverage/1";
}

impl Payload for GoldenDocument {
    const SCHEMA: &'static str = "vardoger/golden/1";
}
