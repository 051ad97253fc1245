//! What computations there are, and what each is good for.
//!
//! The catalogue is fixed at compile time and sorted by name. An entry stands beside its code; its
//! version changes whenever its digests do.

use crate::coverage::{Algorithm, DataType, Unit};
use crate::job::MAX_STEPS;
use crate::kernel::Kernel;
use crate::kernels::{
    aes, bigint, compress, copy, core, crc, decompose, elementary, fft, fused, gather, hashes,
    images, interpreter, kernel_paths, linpack, mappings, matmul, memory, multiply, products,
    sha256, sort, sqlite, stream, text, threads, vectors, video, x87, zstd,
};
use crate::system::{Model, System};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How likely a wrong bit is to survive into what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Nearly every wrong bit shows: stress of memory, floating point, cryptography.
    High,
    /// Most wrong results show: ordinary benchmarks.
    Medium,
    /// Only severe faults show: a base line.
    Low,
}

/// The text names no variant; what there is stands in `known`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{text}`: one of {known}")]
pub struct ParseNameError {
    /// What was to be read: `sensitivity` or `target`.
    pub what: &'static str,
    /// What stood there.
    pub text: String,
    /// All names, with commas between.
    pub known: String,
}

impl Sensitivity {
    /// All of them, highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sensitivity {
    type Err = ParseNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        by_name("sensitivity", text, &Self::ALL, Self::name)
    }
}

/// A part of a machine that a computation exercises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Floating-point units.
    #[serde(rename = "cpu.fpu")]
    CpuFpu,
    /// Units for cryptography.
    #[serde(rename = "cpu.crypto")]
    CpuCrypto,
    /// Integer units.
    #[serde(rename = "cpu.integer")]
    CpuInteger,
    /// Memory, and the path to it.
    #[serde(rename = "memory")]
    Memory,
    /// The guest's kernel.
    #[serde(rename = "kernel")]
    Kernel,
}

impl Target {
    /// All of them, in the order of this enumeration.
    pub const ALL: [Self; 5] = [
        Self::CpuFpu,
        Self::CpuCrypto,
        Self::CpuInteger,
        Self::Memory,
        Self::Kernel,
    ];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuFpu => "cpu.fpu",
            Self::CpuCrypto => "cpu.crypto",
            Self::CpuInteger => "cpu.integer",
            Self::Memory => "memory",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = ParseNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        by_name("target", text, &Self::ALL, Self::name)
    }
}

fn by_name<T: Copy>(
    what: &'static str,
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, ParseNameError> {
    let known = || all.iter().map(|one| name(*one)).collect::<Vec<_>>();
    let found = all.iter().find(|one| name(**one) == text);
    found.copied().ok_or_else(|| ParseNameError {
        what,
        text: text.to_owned(),
        known: known().join(", "),
    })
}

/// One entry of the catalogue.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// Its name on the command line.
    pub name: &'static str,
    /// Changes whenever its digests do.
    pub version: u32,
    /// What it does, in one line.
    pub title: &'static str,
    /// How likely a wrong bit is to show.
    pub sensitivity: Sensitivity,
    /// What it exercises.
    pub targets: &'static [Target],
    /// The units of the processor, of memory and of the kernel that it exercises.
    pub units: &'static [Unit],
    /// The types of the values that it computes with.
    pub data_types: &'static [DataType],
    /// What it computes, as others name it.
    pub algorithms: &'static [Algorithm],
    /// The extensions of the instruction set that it executes where the processor has them, by
    /// their names in [`crate::coverage::EXTENSIONS`].
    pub extensions: &'static [&'static str],
    /// Whether its result is bit-equal on every instruction-set class.
    pub portable: bool,
    /// Instructions of a step, as counted under QEMU's TCG with the CPU model `max`. An estimate:
    /// another CPU model may take another path.
    pub instructions_per_step: u64,
    /// How much longer one of its instructions takes under TCG than one of plain loads and stores:
    /// TCG computes floating point and cryptography in subroutines; code that stays in registers
    /// takes less. Measured.
    pub emulation_weight: f64,
    /// The time budget where the user names none, in seconds of vCPU time.
    pub default_budget_s: f64,
    /// Fewer steps than this do not exercise what the entry promises.
    pub minimum_steps: u64,
    pub(crate) start: Start,
}

/// How an entry is started from a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// With nothing but memory.
    Alone(fn(u64) -> Box<dyn Kernel>),
    /// With an operating system.
    On(fn(u64, Box<dyn System>) -> Box<dyn Kernel>),
}

impl Descriptor {
    /// Starts it natively: allocates its memory and fills it from the seed. Where it asks something
    /// of an operating system, that is a model of one that works.
    #[must_use]
    pub fn start(&self, seed: u64) -> Box<dyn Kernel> {
        self.start_on(seed, || Box::new(Model::default()))
    }

    /// Starts it where it is to run. The operating system is made only if it is needed.
    #[must_use]
    pub fn start_on(&self, seed: u64, system: impl FnOnce() -> Box<dyn System>) -> Box<dyn Kernel> {
        match self.start {
            Start::Alone(start) => start(seed),
            Start::On(start) => start(seed, system()),
        }
    }
}

static CATALOGUE: [Descriptor; 31] = [
    aes::ENTRY,
    bigint::ENTRY,
    compress::ENTRY,
    copy::ENTRY,
    core::ENTRY,
    crc::ENTRY,
    decompose::ENTRY,
    elementary::ENTRY,
    fft::ENTRY,
    fused::ENTRY,
    gather::ENTRY,
    hashes::ENTRY,
    images::ENTRY,
    interpreter::ENTRY,
    kernel_paths::ENTRY,
    linpack::ENTRY,
    mappings::ENTRY,
    matmul::ENTRY,
    memory::ENTRY,
    multiply::ENTRY,
    products::ENTRY,
    sha256::ENTRY,
    sort::ENTRY,
    sqlite::ENTRY,
    stream::ENTRY,
    text::ENTRY,
    threads::ENTRY,
    vectors::ENTRY,
    video::ENTRY,
    x87::ENTRY,
    zstd::ENTRY,
];

/// All computations, by name.
#[must_use]
pub fn catalogue() -> &'static [Descriptor] {
    &CATALOGUE
}

/// The computation of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Descriptor> {
    CATALOGUE.iter().find(|descriptor| descriptor.name == name)
}

/// How many steps fill a budget: `budget_seconds · instructions_per_second ÷
/// (instructions_per_step · emulation_weight)`, where the rate is that of integer code; rounded
/// down, at least the entry's minimum and at most [`MAX_STEPS`]. A budget or a rate that is not a
/// positive number gives the minimum.
#[must_use]
pub fn steps_for(
    descriptor: &Descriptor,
    budget_seconds: f64,
    instructions_per_second: f64,
) -> u64 {
    let cost = descriptor.instructions_per_step as f64 * descriptor.emulation_weight;
    // The cast saturates, and takes what is not a number to 0.
    let steps = (budget_seconds * instructions_per_second / cost) as u64;
    steps.clamp(descriptor.minimum_steps, MAX_STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_catalogue_is_sorted_and_its_entries_are_whole() {
        assert!(catalogue().is_sorted_by_key(|entry| entry.name));
        for entry in catalogue() {
            assert_eq!(find(entry.name).map(|found| found.name), Some(entry.name));
            assert_eq!(crate::job::safe_name(entry.name), entry.name);
            assert!(!entry.targets.is_empty() && !entry.units.is_empty());
            assert!(entry.minimum_steps > 0 && entry.instructions_per_step > 0);
            assert!(entry.emulation_weight > 0.0);
        }
        assert!(find("nothing").is_none());
    }

    #[test]
    fn names_read_what_they_print() {
        for target in Target::ALL {
            assert_eq!(target.to_string().parse(), Ok(target));
            let json = serde_json::to_string(&target).unwrap();
            assert_eq!(json, format!("\"{target}\""));
        }
        for sensitivity in Sensitivity::ALL {
            assert_eq!(sensitivity.to_string().parse(), Ok(sensitivity));
        }
        let error = "gpu".parse::<Target>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown target `gpu`: one of cpu.fpu, cpu.crypto, cpu.integer, memory, kernel"
        );
    }

    #[test]
    fn a_budget_that_is_no_number_gives_the_minimum() {
        for descriptor in catalogue() {
            for budget in [f64::NAN, -1.0, 0.0, f64::NEG_INFINITY] {
                assert_eq!(steps_for(descriptor, budget, 7e8), descriptor.minimum_steps);
            }
            assert_eq!(steps_for(descriptor, f64::INFINITY, 7e8), MAX_STEPS);
        }
    }

    proptest! {
        #[test]
        fn a_larger_budget_never_gives_fewer_steps(budget in 0.0..1e6, more in 0.0..1e6) {
            for descriptor in catalogue() {
                let steps = steps_for(descriptor, budget, 7e8);
                prop_assert!(steps >= descriptor.minimum_steps);
                prop_assert!(steps_for(descriptor, budget + more, 7e8) >= steps);
            }
        }
    }
}
