//! A possible cause of a finding: its class, the evidence, and how likely it is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Makes the classes, each with its word and its cause in plain words.
macro_rules! classes {
    ($($(#[$doc:meta])+ $class:ident => $name:literal, $cause:literal;)+) => {
        /// The classes of causes that are told apart: each is the narrowest that fits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum HintClass {
            $($(#[$doc])+ $class,)+
        }

        impl HintClass {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$class),+];

            /// The cause in plain words.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self {
                    $(Self::$class => $cause),+
                }
            }

            /// Its word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name),+
                }
            }
        }
    };
}

classes! {
    /// One core computes wrongly: deviations follow it, and nothing narrower is seen.
    CoreLocalDefect => "core-local-defect", "one core computes wrongly";
    /// A unit or a line that flips the same bits again and again.
    FixedBitMask => "fixed-bit-mask", "a data path that flips the same bits";
    /// A field of floats: sign, exponent or some bits of the mantissa.
    FloatField => "float-field", "a float unit that gets one field wrong";
    /// One lane of a vector unit, or of its fused multiply-add.
    VectorLane => "vector-lane", "one lane of a vector unit";
    /// A load from a wrong address: a right value of another element.
    WrongAddress => "wrong-address", "a load from a wrong address";
    /// A line of a cache that another one's write did not reach.
    Coherence => "coherence", "a cache that kept an old line";
    /// A trap, a jump or a stop that nothing in the program asks for.
    ControlFlow => "control-flow", "an instruction that was skipped, trapped or jumped elsewhere";
    /// A string instruction that stopped before its end.
    StringUndershoot => "string-undershoot", "a copy that stopped before its end";
    /// A flag or a register, and nothing in memory.
    RegisterOnly => "register-only", "a flag or register that kept or lost a bit";
    /// A unit that fails for operands of one kind only.
    DataDependent => "data-dependent", "a unit that fails for some operands only";
    /// Heat, or the current that busy neighbours draw.
    ThermalPower => "thermal-power", "heat, or the load of neighbours";
    /// Wear: it began late, and gets worse.
    Ageing => "ageing", "wear: a defect that began late";
    /// A cell, row or column of memory: the place stays, whatever core runs.
    MemoryCell => "memory-cell", "a cell, row or column of memory";
    /// A sector or a page of storage that is zero, or old.
    Storage => "storage", "a sector or page that storage lost, or gave old";
    /// No fault: times, addresses, random numbers, the order of a list.
    Nondeterminism => "nondeterminism", "no fault: what differs from run to run anyway";
    /// Two activities of the software itself, in another order.
    SoftwareRace => "software-race", "a race in the software";
    /// Another build or configuration runs.
    VersionDrift => "version-drift", "another build or configuration";
    /// Other instructions or another build compute the last digits otherwise.
    CodePath => "code-path", "other instructions for the same computation";
    /// The emulator or hypervisor itself computes wrongly.
    EmulatorBug => "emulator-bug", "a bug of the emulator or hypervisor";
    /// A unit whose wrong results cancel each other on the same core.
    SelfInverse => "self-inverse", "an inverse that is wrong alike on the same core";
    /// None of these.
    Other => "other", "something else";
}

impl fmt::Display for HintClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Two published figures that do not go together, and what each makes of the evidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// What they are about.
    pub about: String,
    /// Each figure, in its source's order.
    pub figures: Vec<ConflictingFigure>,
}

/// One of two figures that do not go together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConflictingFigure {
    /// The figure in words.
    pub figure: String,
    /// How many times likelier the evidence is by it than under no cause in particular.
    pub likelihood_ratio: f64,
    /// Who published it.
    pub source: String,
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
    /// Published figures that contradict each other; the ratio is the mean of theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
}

/// Something to do that tells causes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    /// The same run once more, everything where it was.
    RunAgain,
    /// The same run, the suspect replica on another core and another replica on the suspect core.
    SwapCores,
    /// The same run with other input.
    OtherSeed,
    /// The same run on another CPU model.
    OtherCpuModel,
    /// The same run with all cores busy at once.
    CoresAtOnce,
}

impl Experiment {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 5] = [
        Self::RunAgain,
        Self::SwapCores,
        Self::OtherSeed,
        Self::CoresAtOnce,
        Self::OtherCpuModel,
    ];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunAgain => "run-again",
            Self::SwapCores => "swap-cores",
            Self::OtherSeed => "other-seed",
            Self::OtherCpuModel => "other-cpu-model",
            Self::CoresAtOnce => "cores-at-once",
        }
    }

    /// What is done, in plain words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::RunAgain => "run it again as it was",
            Self::SwapCores => "run it again with the suspect core given to another replica",
            Self::OtherSeed => "run it again with other input",
            Self::OtherCpuModel => "run it again on another CPU model",
            Self::CoresAtOnce => "run it again with all cores busy at once",
        }
    }
}

impl fmt::Display for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came out of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExperimentOutcome {
    /// No replica deviates.
    Nothing,
    /// A replica on the suspect core deviates, and none elsewhere.
    SameCore,
    /// A replica on another core deviates, in a page of memory that was wrong before.
    SamePlace,
    /// A replica on another core deviates, in other places.
    Elsewhere,
    /// The replicas agree with each other, and not with what the majority held before.
    ResultDiffers,
}

impl ExperimentOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nothing,
        Self::SameCore,
        Self::SamePlace,
        Self::Elsewhere,
        Self::ResultDiffers,
    ];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::SameCore => "same-core",
            Self::SamePlace => "same-place",
            Self::Elsewhere => "elsewhere",
            Self::ResultDiffers => "result-differs",
        }
    }
}

impl fmt::Display for ExperimentOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The experiment that tells most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextExperiment {
    /// Which.
    pub experiment: Experiment,
    /// The two likeliest causes, which it is to separate.
    pub separates: [HintClass; 2],
    /// The information that its outcome is expected to bring about which of them it is, in bits.
    pub information_bits: f64,
}

/// One experiment that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvestigationRound {
    /// What was done, and why.
    pub next: NextExperiment,
    /// The run that it was.
    pub run: crate::id::RunId,
    /// What came out.
    pub outcome: ExperimentOutcome,
    /// The likeliest causes before, and their probabilities.
    pub before: Vec<(HintClass, f64)>,
    /// The likeliest causes after.
    pub after: Vec<(HintClass, f64)>,
}

/// Experiments that were carried out on one deviation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Investigation {
    /// They, in order.
    pub rounds: Vec<InvestigationRound>,
    /// Why there are no more.
    pub ended: String,
}
