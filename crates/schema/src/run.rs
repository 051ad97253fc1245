//! `vardoger/run/1` and `vardoger/run-list/1`.

use crate::difference::DifferenceDocument;
use crate::document::Payload;
use crate::finding::{HintDocument, NextExperimentDocument};
use crate::format::{self, hexadecimal};
use model::{
    CommandProvenance, ContentProvenance, Coverage, Deviation, HintClass, InjectionRecord,
    Investigation, InvestigationRound, MetricSample, NoiseRecord, Placement, ProgramProvenance,
    Provenance, RecordingRecord, ReplicaRecord, Run,
};
use schemars::JsonSchema;
use serde::Serialize;

/// One computation, N replicas, one verdict.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunDocument {
    /// Its id: a UUIDv7.
    pub id: String,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub ended: String,
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
    /// The guest's virtual processors.
    pub vcpus: u32,
    /// Whether the guest's time was counted in instructions.
    pub icount: bool,
    /// Whether the machine is bit-exact: equal replicas end in equal states.
    pub deterministic: bool,
    /// What the run says.
    #[schemars(extend("examples" = ["pass", "deviates", "inconclusive", "skipped"]))]
    pub verdict: String,
    /// Why, in one sentence.
    pub reason: String,
    /// Why this computation was chosen, where we chose.
    pub choice: Option<String>,
    /// What else made the result.
    pub provenance: ProvenanceDocument,
    /// The replicas.
    pub replicas: Vec<ReplicaDocument>,
    /// The faults that were ordered.
    pub injections: Vec<InjectionDocument>,
    /// Who deviates, and how.
    pub deviations: Vec<DeviationDocument>,
    /// What was looked at.
    pub coverage: CoverageDocument,
    /// The digest that the computation must end with, where one is known.
    pub golden: Option<String>,
    /// Words of memory that no majority decided.
    pub undecided_words: u64,
    /// The noise of machines that are not bit-exact; `null` of those that are.
    pub noise: Option<NoiseDocument>,
    /// Experiments that were carried out on its first deviation, where that was asked for.
    pub investigation: Option<InvestigationDocument>,
    /// The recording that replicas with a disk followed; `null` where there is none.
    pub recording: Option<RecordingDocument>,
}

/// How replicas with a disk were kept equal: one was recorded, and the others did as it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecordingDocument {
    /// The replica that was recorded; all others followed it.
    pub replica: u32,
    /// Events that were recorded, from the snapshot until the machine was off.
    pub events: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Instructions that they span.
    pub instructions: u64,
}

/// What was known of noise, and what of it came.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NoiseDocument {
    /// Clean runs that noise was learned from.
    pub runs: u64,
    /// Places that are known as noise.
    pub places: u64,
    /// How many more the next run is expected to show (Good and Turing); `null` before the first.
    pub expected_new: Option<f64>,
    /// Whether enough was learned.
    pub settled: bool,
    /// Words in which replicas differ by known noise.
    pub noisy_words: u64,
    /// Words outside of named buffers in which they differ besides.
    pub unexplained_words: u64,
    /// The first of those.
    pub unexplained: Vec<DifferenceDocument>,
    /// Buffers that the guest has named, with their lengths, or why they are refused.
    pub buffers: Vec<BufferDocument>,
}

/// A buffer that a guest has named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BufferDocument {
    /// Its name.
    pub name: String,
    /// Its length, or why it is refused.
    #[schemars(extend("examples" = ["8388608 bytes", "refused: it overlaps another"]))]
    pub what: String,
}

/// What made a result besides the computation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProvenanceDocument {
    /// Our version.
    pub vardoger: String,
    /// The hypervisor and its version.
    pub hypervisor: String,
    /// The guest kernel's release.
    pub kernel: String,
    /// The digest of the guest kernel's image.
    pub kernel_digest: String,
    /// The digest of the initramfs, and so of the guest program.
    pub guest_digest: String,
    /// Guest memory.
    pub memory_bytes: u64,
    /// The user's program, where the computation is one.
    pub program: Option<ProgramDocument>,
    /// The command in a disk of the user's, where that is the computation.
    pub command: Option<CommandDocument>,
}

/// A command in a disk of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommandDocument {
    /// Its words: the program and its arguments.
    pub words: Vec<String>,
    /// The image of the disk, as it was before the run.
    pub disk: ContentDocument,
    /// The replica that was recorded; the others followed its recording.
    pub recorded: u32,
}

/// A user's program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProgramDocument {
    /// The executable.
    pub executable: ContentDocument,
    /// Its arguments, without the zeroth.
    pub arguments: Vec<String>,
    /// Its standard input; `null` where none was given, so that it was empty.
    pub stdin: Option<ContentDocument>,
    /// The files that it found in its working directory.
    pub files: Vec<ContentDocument>,
}

/// Bytes that went into a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContentDocument {
    /// The name of the file that they came from, without directories.
    pub name: String,
    /// How many there are.
    pub bytes: u64,
    /// Their BLAKE3 digest, in hexadecimal.
    pub digest: String,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReplicaDocument {
    /// Which, counted from 0.
    pub index: u32,
    /// How it ended.
    #[schemars(extend("examples" = ["ended", "hung", "crashed"]))]
    pub outcome: String,
    /// How it crashed.
    pub outcome_detail: Option<String>,
    /// Where it ran.
    pub placement: PlacementDocument,
    /// CPU time of its vCPU threads from start to terminal state.
    pub cpu_s: f64,
    /// Wall time from start to terminal state.
    pub wall_s: f64,
    /// Instructions from start to terminal state, where the machine counts them.
    pub instructions: Option<u64>,
    /// Steps of the computation that were completed.
    pub steps: u64,
    /// Pages of its memory that changed since the common snapshot.
    pub changed_pages: u64,
    /// The digest of the result that the computation itself reports, in hexadecimal.
    pub result_digest: Option<String>,
    /// How the user's program ended, where the computation is one: its exit code, or the signal
    /// that ended it.
    #[schemars(extend("examples" = ["0", "1", "signal 11 (SIGSEGV)"]))]
    pub exit_status: Option<String>,
    /// All its metrics.
    pub metrics: Vec<MetricDocument>,
    /// The key of its full memory image in the store, where it was kept.
    pub image: Option<String>,
    /// The key of its state file in the store, where it was kept.
    pub state: Option<String>,
}

/// Where a replica ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlacementDocument {
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

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MetricDocument {
    /// Its name, with its unit last.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Whether equal replicas must show equal values.
    pub exact: bool,
}

/// A fault that the user ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InjectionDocument {
    /// Which replica got it.
    pub replica: u32,
    /// The part of the machine.
    #[schemars(extend("examples" = ["ram", "reg", "disk", "log", "metric", "hang"]))]
    pub part: String,
    /// What it did.
    #[schemars(extend("examples" = ["flip", "stuck-0", "stuck-1", "lost-write", "stale", "undershoot", "scramble", "misread", "zero"]))]
    pub mode: String,
    /// The guest-physical address of the byte, for memory; of a disk the byte of it.
    #[schemars(extend("examples" = ["0x1ff008"]))]
    pub address: Option<String>,
    /// The register's name, for a register.
    pub register: Option<String>,
    /// The line of the log, or the metric's name.
    #[schemars(extend("examples" = ["line 2", "page_faults"]))]
    pub name: Option<String>,
    /// The bit: of the byte for memory, else of the register, character or figure.
    pub bit: Option<u32>,
    /// What was there before: byte, register or figure in hexadecimal, a line as it is, and of a
    /// lost write or a stale page the first 16 digits of the BLAKE3 digest.
    pub before: Option<String>,
    /// What was there after, in the same form.
    pub after: Option<String>,
    /// How often it changed something.
    pub times: u32,
    /// The mark of the computation at which it was first done.
    #[schemars(extend("examples" = ["start", "half", "end", "step:1000"]))]
    pub when: String,
    /// What became of it: `masked` where the terminal states are equal.
    #[schemars(extend("examples" = ["live", "masked"]))]
    pub fate: String,
    /// The order, of a fault that strikes many words or many bits: with the run's seed it draws the
    /// same ones.
    pub order: Option<String>,
}

/// How one replica differs from its doubles.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DeviationDocument {
    /// Who deviates; `null` where it can only be said *that* the replicas differ.
    pub replica: Option<u32>,
    /// The largest, over parts, of deviation ÷ (baseline × multiplier); the count of differences
    /// for an exact part.
    pub score: f64,
    /// The baseline that the score was taken against: 0 for an exact part.
    pub baseline: f64,
    /// How bad.
    #[schemars(extend("examples" = ["info", "low", "medium", "high", "critical"]))]
    pub severity: String,
    /// The first difference in the order of parts and addresses.
    pub first: Option<DifferenceDocument>,
    /// The differences, bounded.
    pub differences: Vec<DifferenceDocument>,
    /// How many differences there are in all.
    pub differences_total: u64,
    /// Differing aligned 64-bit words of memory.
    pub differing_words: u64,
    /// Differing pages of memory.
    pub differing_pages: u64,
    /// BLAKE3 over `address, expected, found` (three little-endian 64-bit values) of every
    /// differing word in ascending order of address, in hexadecimal.
    pub words_digest: Option<String>,
    /// Differing registers.
    pub differing_registers: u64,
    /// Differing log lines.
    pub differing_lines: u64,
    /// Causes, the likeliest first.
    pub hints: Vec<HintDocument>,
    /// What would tell the likeliest of them apart; nothing where nothing would.
    pub next_experiment: Option<NextExperimentDocument>,
}

/// Experiments that were carried out on a run's first deviation.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct InvestigationDocument {
    /// They, in order.
    pub rounds: Vec<InvestigationRoundDocument>,
    /// Why there are no more.
    pub ended: String,
}

/// One experiment that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct InvestigationRoundDocument {
    /// What was done, and why.
    pub experiment: NextExperimentDocument,
    /// The run that it was.
    pub run: String,
    /// What came out.
    #[schemars(extend("examples" = [
        "nothing", "same-core", "same-place", "elsewhere", "result-differs"
    ]))]
    pub outcome: String,
    /// The likeliest causes before.
    pub before: Vec<ProbabilityDocument>,
    /// The likeliest causes after.
    pub after: Vec<ProbabilityDocument>,
}

/// A class of causes and its probability.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProbabilityDocument {
    /// The class.
    pub class: String,
    /// Its probability.
    pub probability: f64,
}

/// What was looked at, and what the silence of a pass is worth.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CoverageDocument {
    /// Bytes compared, over all replicas.
    pub bytes_compared: u64,
    /// Bytes left out by a mask.
    pub bytes_masked: u64,
    /// Bytes that exist and were not compared.
    pub bytes_not_compared: u64,
    /// Why bytes were masked.
    pub masked_reasons: Vec<String>,
    /// Why bytes were not compared.
    pub not_compared_reasons: Vec<String>,
    /// Units that the computation exercises, in the guest.
    pub units: Vec<String>,
    /// Whether units of the host's processor executed the guest's instructions.
    pub host_units_exercised: bool,
    /// Upper 95 % confidence bound on the rate of deviating replicas when none was found.
    pub upper_bound: Option<f64>,
}

/// Runs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunListDocument {
    /// The runs.
    pub runs: Vec<RunRow>,
}

/// One line of the list of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunRow {
    /// Its id: a UUIDv7.
    pub id: String,
    /// The computation's name.
    pub computation: String,
    /// How many replicas were ordered.
    pub replicas: u32,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// When it ended or failed.
    #[schemars(extend("format" = "date-time"))]
    pub ended: Option<String>,
    /// How far it has come.
    #[schemars(extend("examples" = ["running", "abandoned", "ended", "failed"]))]
    pub state: String,
    /// What it says, once it has ended.
    #[schemars(extend("examples" = ["pass", "deviates", "inconclusive", "skipped"]))]
    pub verdict: Option<String>,
    /// Why, once it has ended or failed.
    pub reason: Option<String>,
    /// How many findings it brought.
    pub findings: u64,
}

impl Payload for RunDocument {
    const SCHEMA: &'static str = "vardoger/run/1";
}

impl Payload for RunListDocument {
    const SCHEMA: &'static str = "vardoger/run-list/1";
}

impl From<&Run> for RunDocument {
    fn from(run: &Run) -> Self {
        let provenance = &run.provenance;
        Self {
            id: run.id.to_string(),
            started: run.started.to_string(),
            ended: run.ended.to_string(),
            computation: provenance.computation.clone(),
            computation_version: provenance.computation_version,
            seed: hexadecimal(provenance.seed),
            steps: provenance.steps,
            accelerator: provenance.accelerator.clone(),
            cpu_model: provenance.cpu_model.clone(),
            vcpus: provenance.vcpus,
            icount: provenance.icount,
            deterministic: run.deterministic,
            verdict: run.verdict.to_string(),
            reason: run.reason.clone(),
            choice: run.choice.clone(),
            provenance: provenance.into(),
            replicas: run.replicas.iter().map(Into::into).collect(),
            injections: run.injections.iter().map(Into::into).collect(),
            deviations: run.deviations.iter().map(Into::into).collect(),
            coverage: (&run.coverage).into(),
            golden: run.golden.clone(),
            undecided_words: run.undecided_words,
            noise: run.noise.as_ref().map(Into::into),
            investigation: run.investigation.as_ref().map(Into::into),
            recording: run.recording.as_ref().map(Into::into),
        }
    }
}

impl From<&RecordingRecord> for RecordingDocument {
    fn from(recording: &RecordingRecord) -> Self {
        Self {
            replica: recording.replica.0,
            events: recording.events,
            bytes: recording.bytes,
            instructions: recording.instructions.0,
        }
    }
}

impl From<&NoiseRecord> for NoiseDocument {
    fn from(noise: &NoiseRecord) -> Self {
        let buffers = noise.buffers.iter();
        Self {
            runs: noise.runs,
            places: noise.places,
            expected_new: noise.expected_new,
            settled: noise.settled,
            noisy_words: noise.noisy_words,
            unexplained_words: noise.unexplained_words,
            unexplained: noise.unexplained.iter().map(Into::into).collect(),
            buffers: buffers
                .map(|(name, what)| BufferDocument {
                    name: name.clone(),
                    what: what.clone(),
                })
                .collect(),
        }
    }
}

impl From<&Provenance> for ProvenanceDocument {
    fn from(provenance: &Provenance) -> Self {
        Self {
            vardoger: provenance.vardoger.clone(),
            hypervisor: provenance.hypervisor.clone(),
            kernel: provenance.kernel.clone(),
            kernel_digest: provenance.kernel_digest.clone(),
            guest_digest: provenance.guest_digest.clone(),
            memory_bytes: provenance.memory_bytes,
            program: provenance.program.as_ref().map(Into::into),
            command: provenance.command.as_ref().map(Into::into),
        }
    }
}

impl From<&CommandProvenance> for CommandDocument {
    fn from(command: &CommandProvenance) -> Self {
        Self {
            words: command.words.clone(),
            disk: (&command.disk).into(),
            recorded: command.recorded.0,
        }
    }
}

impl From<&ProgramProvenance> for ProgramDocument {
    fn from(program: &ProgramProvenance) -> Self {
        Self {
            executable: (&program.executable).into(),
            arguments: program.arguments.clone(),
            stdin: program.stdin.as_ref().map(Into::into),
            files: program.files.iter().map(Into::into).collect(),
        }
    }
}

impl From<&ContentProvenance> for ContentDocument {
    fn from(content: &ContentProvenance) -> Self {
        Self {
            name: content.name.clone(),
            bytes: content.bytes,
            digest: content.digest.clone(),
        }
    }
}

impl From<&ReplicaRecord> for ReplicaDocument {
    fn from(replica: &ReplicaRecord) -> Self {
        let (outcome, outcome_detail) = format::outcome(&replica.outcome);
        Self {
            index: replica.index.0,
            outcome: outcome.to_owned(),
            outcome_detail,
            placement: (&replica.placement).into(),
            cpu_s: replica.cpu.seconds(),
            wall_s: replica.wall.seconds(),
            instructions: replica.instructions.map(|count| count.0),
            steps: replica.steps,
            changed_pages: replica.changed_pages,
            result_digest: replica.result_digest.clone(),
            exit_status: replica.exit_status.clone(),
            metrics: replica.metrics.iter().map(Into::into).collect(),
            image: replica.image.clone(),
            state: replica.state.clone(),
        }
    }
}

impl From<&Placement> for PlacementDocument {
    fn from(placement: &Placement) -> Self {
        Self {
            host: placement.host.clone(),
            cpus: placement.cpus.clone(),
            socket: placement.socket,
            core: placement.core,
            microcode: placement.microcode.clone(),
        }
    }
}

impl From<&MetricSample> for MetricDocument {
    fn from(sample: &MetricSample) -> Self {
        Self {
            name: sample.name.clone(),
            value: sample.value,
            exact: sample.exact,
        }
    }
}

impl From<&InjectionRecord> for InjectionDocument {
    fn from(injection: &InjectionRecord) -> Self {
        Self {
            replica: injection.replica.0,
            part: injection.part.clone(),
            mode: injection.mode.clone(),
            address: injection.address.map(|address| address.to_string()),
            register: injection.register.clone(),
            name: injection.name.clone(),
            bit: injection.bit,
            before: injection.before.clone(),
            after: injection.after.clone(),
            times: injection.times,
            when: injection.when.clone(),
            fate: format::fate(injection.fate).to_owned(),
            order: injection.order.clone(),
        }
    }
}

impl From<&Deviation> for DeviationDocument {
    fn from(deviation: &Deviation) -> Self {
        Self {
            replica: deviation.replica.map(|replica| replica.0),
            score: deviation.score,
            baseline: deviation.baseline,
            severity: deviation.severity.to_string(),
            first: deviation.first.as_ref().map(Into::into),
            differences: deviation.differences.iter().map(Into::into).collect(),
            differences_total: deviation.differences_total,
            differing_words: deviation.differing_words,
            differing_pages: deviation.differing_pages,
            words_digest: deviation.words_digest.clone(),
            differing_registers: deviation.differing_registers,
            differing_lines: deviation.differing_lines,
            hints: deviation.hints.iter().map(Into::into).collect(),
            next_experiment: deviation.next_experiment.as_ref().map(Into::into),
        }
    }
}

impl From<&Investigation> for InvestigationDocument {
    fn from(investigation: &Investigation) -> Self {
        Self {
            rounds: investigation.rounds.iter().map(Into::into).collect(),
            ended: investigation.ended.clone(),
        }
    }
}

impl From<&InvestigationRound> for InvestigationRoundDocument {
    fn from(round: &InvestigationRound) -> Self {
        let told = |all: &[(HintClass, f64)]| {
            let one = |(class, probability): &(HintClass, f64)| ProbabilityDocument {
                class: class.to_string(),
                probability: *probability,
            };
            all.iter().map(one).collect()
        };
        Self {
            experiment: (&round.next).into(),
            run: round.run.to_string(),
            outcome: round.outcome.to_string(),
            before: told(&round.before),
            after: told(&round.after),
        }
    }
}

impl From<&Coverage> for CoverageDocument {
    fn from(coverage: &Coverage) -> Self {
        Self {
            bytes_compared: coverage.bytes_compared,
            bytes_masked: coverage.bytes_masked,
            bytes_not_compared: coverage.bytes_not_compared,
            masked_reasons: coverage.masked_reasons.clone(),
            not_compared_reasons: coverage.not_compared_reasons.clone(),
            units: coverage.units.clone(),
            host_units_exercised: coverage.host_units_exercised,
            upper_bound: coverage.upper_bound,
        }
    }
}
