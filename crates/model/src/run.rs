//! A run: one computation, N replicas, one verdict.

use crate::address::GuestPhysicalAddress;
use crate::clock::{Elapsed, InstructionCount, Timestamp};
use crate::difference::Difference;
use crate::hint::{Hint, Investigation, NextExperiment};
use crate::id::{ReplicaIndex, RunId};
use crate::severity::Severity;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run says. Nothing compared is never a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that was compared is equal.
    Pass,
    /// At least one replica deviates.
    Deviates,
    /// Something differs, and no majority says what is right.
    Inconclusive,
    /// Nothing was compared; the reason says why.
    Skipped,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Deviates => "deviates",
            Self::Inconclusive => "inconclusive",
            Self::Skipped => "skipped",
        })
    }
}

/// How a replica ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It reached its terminal mark.
    Ended,
    /// It reached no terminal mark within its deadline.
    Hung,
    /// It powered off, reset, panicked or its program failed; the text says which.
    Crashed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("ended"),
            Self::Hung => f.write_str("hung"),
            Self::Crashed(how) => write!(f, "crashed ({how})"),
        }
    }
}

/// Where a replica ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The host's name.
    pub host: String,
    /// The host CPU that each vCPU thread was bound to, by vCPU.
    pub cpus: Vec<u32>,
    /// The physical socket of the first of them, where the host says.
    pub socket: Option<u32>,
    /// The physical core of the first of them, where the host says.
    pub core: Option<u32>,
    /// The processor's microcode revision, as the host prints it.
    pub microcode: Option<String>,
}

/// Runs that were recorded without a number of processors had one.
const fn one_vcpu() -> u32 {
    1
}

/// Runs that were recorded without saying so counted instructions.
const fn counted() -> bool {
    true
}

/// What made a result: the key of every baseline, golden value and mask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// Our version.
    pub vardoger: String,
    /// The hypervisor and its version, such as `qemu 10.0.2`.
    pub hypervisor: String,
    /// What executes the guest's instructions: `tcg` or `kvm`.
    pub accelerator: String,
    /// The guest's CPU model.
    pub cpu_model: String,
    /// The guest's virtual processors.
    #[serde(default = "one_vcpu")]
    pub vcpus: u32,
    /// Whether the guest's time was counted in instructions.
    #[serde(default = "counted")]
    pub icount: bool,
    /// The guest kernel's release.
    pub kernel: String,
    /// The digest of the guest kernel's image.
    pub kernel_digest: String,
    /// The digest of the initramfs, and so of the guest program.
    pub guest_digest: String,
    /// Guest memory, in bytes.
    pub memory_bytes: u64,
    /// The computation's name.
    pub computation: String,
    /// The computation's version.
    pub computation_version: u32,
    /// The seed of its input.
    pub seed: u64,
    /// How many steps it took.
    pub steps: u64,
    /// The user's program, where it was no computation of the library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramProvenance>,
    /// The command in a disk of the user's, where that was the computation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandProvenance>,
}

/// A command in a disk of the user's as the key of a result: the same words and the same disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommandProvenance {
    /// Its words: the program and its arguments.
    pub words: Vec<String>,
    /// The image of the disk, as it was before the run.
    pub disk: ContentProvenance,
    /// The replica that was recorded; the others followed its recording.
    pub recorded: ReplicaIndex,
}

/// A user's program as the key of a result: the same bytes, arguments and input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProgramProvenance {
    /// The executable.
    pub executable: ContentProvenance,
    /// Its arguments, without the zeroth.
    pub arguments: Vec<String>,
    /// Its standard input, where one was given.
    pub stdin: Option<ContentProvenance>,
    /// Its input files, in their order.
    pub files: Vec<ContentProvenance>,
}

/// Bytes that went into a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentProvenance {
    /// The name of the file that they came from, without directories.
    pub name: String,
    /// How many there are.
    pub bytes: u64,
    /// Their BLAKE3 digest, in hexadecimal.
    pub digest: String,
}

/// One measured figure of a replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    /// Its name, with its unit last.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Whether equal replicas must show equal values: true only for what the guest counts itself
    /// on a deterministic machine. Host metrics are statistical and never vote.
    pub exact: bool,
}

/// One replica of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Which replica.
    pub index: ReplicaIndex,
    /// How it ended.
    pub outcome: Outcome,
    /// Where it ran.
    pub placement: Placement,
    /// CPU time of its vCPU threads from start to terminal state.
    pub cpu: Elapsed,
    /// Wall time from start to terminal state.
    pub wall: Elapsed,
    /// Instructions from start to terminal state, where the machine counts them.
    pub instructions: Option<InstructionCount>,
    /// Steps of the computation that were completed.
    pub steps: u64,
    /// Pages of its memory that changed since the common snapshot.
    pub changed_pages: u64,
    /// The digest of the result that the computation itself reports.
    pub result_digest: Option<String>,
    /// How the user's program ended, where there is one: its exit code, or `signal 11 (SIGSEGV)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<String>,
    /// All its metrics.
    pub metrics: Vec<MetricSample>,
    /// The key of its full memory image in the store, where all was to be kept.
    pub image: Option<String>,
    /// The key of its state file in the store, where it was kept.
    pub state: Option<String>,
}

/// Whether an injected fault is still to be seen in the terminal state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The injected replica's terminal state differs.
    Live,
    /// The terminal states are equal: the fault was overwritten or never read.
    Masked,
}

/// The mode of faults that were recorded without one.
fn flip() -> String {
    "flip".to_owned()
}

/// How often a fault was done that was recorded without saying so.
const fn once() -> u32 {
    1
}

/// A fault that the user ordered, as a check of the detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectionRecord {
    /// Which replica got it.
    pub replica: ReplicaIndex,
    /// The part of the machine: `ram`, `reg`, `disk`, `log`, `metric`, `hang`.
    pub part: String,
    /// What it did: `flip`, `stuck-0`, `stuck-1`, `lost-write`, `stale`.
    #[serde(default = "flip")]
    pub mode: String,
    /// Guest-physical address of the byte, for RAM; for a disk the byte of it.
    pub address: Option<GuestPhysicalAddress>,
    /// The register's name, for a register.
    pub register: Option<String>,
    /// The line of the log, as `line N`, or the metric's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The bit: of the byte for RAM, else of the register, character or figure.
    pub bit: Option<u32>,
    /// What was there before: byte, register or figure in hexadecimal, a line as it is, and of a
    /// lost write or a stale page the first 16 digits of the BLAKE3 digest.
    pub before: Option<String>,
    /// What was there after, in the same form.
    pub after: Option<String>,
    /// The mark of the computation at which it was first done.
    pub when: String,
    /// How often it changed something: a stuck bit may have had its value at some marks already.
    #[serde(default = "once")]
    pub times: u32,
    /// What became of it.
    pub fate: Fate,
    /// The order, of a fault that strikes many words or many bits: with the run's seed it draws the
    /// same ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// How one replica differs from its doubles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deviation {
    /// Who deviates; nothing where it can only be said *that* the replicas differ (N = 2).
    pub replica: Option<ReplicaIndex>,
    /// The largest, over parts, of deviation ÷ (baseline × multiplier); the count of differences
    /// for an exact part.
    pub score: f64,
    /// The baseline that the score was taken against: 0 for an exact part.
    pub baseline: f64,
    /// How bad.
    pub severity: Severity,
    /// The first difference in the order of parts and addresses.
    pub first: Option<Difference>,
    /// The differences, bounded; see `differences_total`.
    pub differences: Vec<Difference>,
    /// How many differences there are in all, over all parts.
    pub differences_total: u64,
    /// Differing aligned 64-bit words of memory.
    pub differing_words: u64,
    /// Differing pages of memory.
    pub differing_pages: u64,
    /// BLAKE3 over `address, expected, found` (three little-endian 64-bit values) of every
    /// differing word in ascending order of address: all of them, however many are listed.
    pub words_digest: Option<String>,
    /// Differing registers.
    pub differing_registers: u64,
    /// Differing log lines.
    pub differing_lines: u64,
    /// Ranked causes.
    #[serde(default)]
    pub hints: Vec<Hint>,
    /// What would tell the likeliest of them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_experiment: Option<NextExperiment>,
}

/// What was looked at, and what the silence of a pass is worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Bytes compared, over all replicas: memory, registers, logs and files.
    pub bytes_compared: u64,
    /// Bytes left out by a mask, with the reasons in `masked_reasons`.
    pub bytes_masked: u64,
    /// Bytes that exist and were not compared, with the reasons in `not_compared_reasons`.
    pub bytes_not_compared: u64,
    /// Why bytes were masked.
    pub masked_reasons: Vec<String>,
    /// Why bytes were not compared.
    pub not_compared_reasons: Vec<String>,
    /// Units of the processor that the computation exercises, in the guest.
    pub units: Vec<String>,
    /// Whether units of the *host's* processor executed the guest's instructions.
    pub host_units_exercised: bool,
    /// Upper 95 % confidence bound on the rate of deviating replicas when none was found.
    pub upper_bound: Option<f64>,
}

/// What was known of the noise of a run's machines, and what of it came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseRecord {
    /// Clean runs that noise was learned from.
    pub runs: u64,
    /// Places that are known as noise.
    pub places: u64,
    /// How many more the next run is expected to show; nothing before the first run.
    pub expected_new: Option<f64>,
    /// Whether enough was learned.
    pub settled: bool,
    /// Words in which replicas differ by known noise.
    pub noisy_words: u64,
    /// Words outside of named buffers in which they differ besides.
    pub unexplained_words: u64,
    /// The first of those.
    pub unexplained: Vec<Difference>,
    /// Buffers that the first replica's guest has named, with their lengths, or why they are refused.
    pub buffers: Vec<(String, String)>,
}

/// How replicas with a disk were kept equal: one was recorded, and the others did as it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingRecord {
    /// The replica that was recorded; all others followed it.
    pub replica: ReplicaIndex,
    /// Events that were recorded, from the snapshot until the machine was off.
    pub events: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Instructions that they span.
    pub instructions: InstructionCount,
}

/// One run, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What made it.
    pub provenance: Provenance,
    /// Whether the machine is bit-exact: equal replicas end in equal states.
    pub deterministic: bool,
    /// What it says.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// Why this computation was chosen, where we chose.
    pub choice: Option<String>,
    /// The replicas.
    pub replicas: Vec<ReplicaRecord>,
    /// The faults that were ordered.
    pub injections: Vec<InjectionRecord>,
    /// Who deviates, and how.
    pub deviations: Vec<Deviation>,
    /// What was looked at.
    pub coverage: Coverage,
    /// The golden digest that holds for this provenance, where one is known.
    pub golden: Option<String>,
    /// Words of memory that no majority decided.
    pub undecided_words: u64,
    /// The noise of machines that are not bit-exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseRecord>,
    /// The recording that replicas with a disk followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingRecord>,
    /// What the user should know besides.
    pub warnings: Vec<String>,
    /// Experiments that were carried out on its first deviation, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub investigation: Option<Investigation>,
}
