//! A run: N identical machines, one computation, one verdict.
//!
//! ```text
//!  requested ─► planned ─► machine ready ─► replicas run ─► compared ─► evidence ─► ended
//!                  │            │                │              │       durable
//!                  └────────────┴────────────────┴──────────────┴─► failed (recorded)
//! ```
//!
//! `requested → planned` is pure and refuses what cannot be done before anything is started.
//! `RunStarted` is recorded before the first machine runs, so that a killed process leaves a run
//! that the next command settles. Evidence is durable before the events that name it; `RunEnded`
//! comes last and carries the run whole.
//!
//! Replicas run `jobs` at a time, each on a CPU of its own; dropping the run ends all of them.

use crate::alignment::align_all;
use crate::command::RECORDED;
use crate::error::ControlError;
use crate::evidence::{self, ExportDirectory};
use crate::explain;
use crate::golden::known_digest;
use crate::injection::{FaultPart, RamWhere};
use crate::investigate;
use crate::machine::{self, PreparedMachine};
use crate::noise;
use crate::progress::{Progress, ProgressSink};
use crate::provenance::provenance;
use crate::replica::{Captured, ReplicaContext, record_replica, run_replica};
use crate::request::{Keep, RunPlan, RunRequest};
use crate::session::{Session, new_finding_id, new_run_id, now};
use crate::surroundings::{metric_history, surroundings};
use crate::{overlay, owners};
use divergence::hint::Machine;
use divergence::{
    Aligned, Analysis, Context, FindingDraft, MetricHistory, NoiseModel, NotCompared, Options,
    Replica, Surroundings,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use hypervisor::host::need_space;
use hypervisor::{Accelerator, HypervisorError};
use model::{
    Engine, Event, Fate, Finding, InjectionRecord, InstructionCount, Level, NodeRef, NoiseRecord,
    RecordingRecord, ReplicaIndex, Run, RunId, Timestamp, Verdict,
};
use state::Base;

/// Room in the store that a run needs before it starts, besides whole images.
const STORE_SPACE_BYTES: u64 = 64 << 20;

/// Carries a run out and records it. When `interruption` comes first, all its machines end and it
/// is recorded as failed.
///
/// # Errors
/// The request cannot be done, something that it needs failed, or it was interrupted; what had
/// begun is recorded as failed.
pub async fn start(
    session: &Session,
    request: RunRequest,
    progress: &dyn ProgressSink,
    interruption: impl Future<Output = ()>,
) -> Result<Run, ControlError> {
    let request_machine = request.machine;
    let plan = request.plan(&session.host.cpus)?;
    let spec = match plan.computation.command() {
        None => request_machine.spec()?,
        Some(_) => machine::disk_spec()?,
    };
    carry_out_and_record(session, plan, spec, progress, interruption).await
}

/// Carries a run out as [`start`] does, on machines of another kind than the standard one.
///
/// # Errors
/// As for [`start`].
pub async fn start_on(
    session: &Session,
    spec: hypervisor::MachineSpec,
    request: RunRequest,
    progress: &dyn ProgressSink,
    interruption: impl Future<Output = ()>,
) -> Result<Run, ControlError> {
    let plan = request.plan(&session.host.cpus)?;
    carry_out_and_record(session, plan, spec, progress, interruption).await
}

pub(crate) async fn carry_out_and_record(
    session: &Session,
    plan: RunPlan,
    spec: hypervisor::MachineSpec,
    progress: &dyn ProgressSink,
    interruption: impl Future<Output = ()>,
) -> Result<Run, ControlError> {
    check_room(session, &plan, spec.memory_bytes)?;
    check_addresses(&plan, spec.memory_bytes)?;
    let id = new_run_id();
    let started = now();
    session
        .store
        .append(
            Event::RunStarted {
                run: id,
                computation: plan.computation.name(),
                replicas: plan.replicas,
            },
            started,
        )
        .await?;
    let outcome = tokio::select! {
        outcome = carry_out(session, &plan, spec, (id, started), progress) => outcome,
        () = interruption => Err(ControlError::Interrupted),
    };
    if let Err(error) = &outcome {
        let reason = error.to_string();
        let failed = Event::RunFailed { run: id, reason };
        if let Err(unrecorded) = session.store.append(failed, now()).await {
            tracing::error!(run = %id, error = %unrecorded, "a failed run could not be recorded");
        }
    }
    outcome
}

/// Refuses to inject where no memory is.
fn check_addresses(plan: &RunPlan, memory_bytes: u64) -> Result<(), ControlError> {
    for planned in &plan.injections {
        match planned.injection.part {
            FaultPart::Ram(RamWhere::Address(address)) if address >= memory_bytes => {
                return Err(HypervisorError::OutsideMemory {
                    address,
                    memory_bytes,
                }
                .into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses to begin what would run out of space or memory.
fn check_room(session: &Session, plan: &RunPlan, memory_bytes: u64) -> Result<(), ControlError> {
    let images = match plan.keep {
        Keep::Differing => 0,
        Keep::All => memory_bytes.saturating_mul(u64::from(plan.replicas)),
    };
    let needed = STORE_SPACE_BYTES.saturating_add(images);
    need_space(&session.store_path, needed, "a run's evidence")?;
    let needed_bytes = memory_bytes.saturating_mul(u64::from(plan.jobs) + 1);
    let free_bytes = session.host.memory_available_bytes;
    if free_bytes < needed_bytes {
        return Err(HypervisorError::NoSpace {
            path: "/proc/meminfo".into(),
            free_bytes,
            needed_bytes,
            what: "guest memory",
        }
        .into());
    }
    Ok(())
}

async fn carry_out(
    session: &Session,
    plan: &RunPlan,
    spec: hypervisor::MachineSpec,
    (id, started): (RunId, Timestamp),
    progress: &dyn ProgressSink,
) -> Result<Run, ControlError> {
    let cache = session.store_path.join("cache/machines");
    let cpus = plan.cpus.first().map_or(&[0][..], Vec::as_slice);
    machine::see_usable(&session.hypervisor, &spec, cpus).await?;
    let machine = machine::prepare(&session.hypervisor, &cache, spec, cpus, progress).await?;
    let export = match plan.keep {
        Keep::Differing => None,
        Keep::All => Some(ExportDirectory::create(session, id)?),
    };
    let context = ReplicaContext {
        hypervisor: &session.hypervisor,
        root: &session.root,
        host: &session.host,
        machine: &machine,
        plan,
        progress,
        export: export
            .as_ref()
            .map(|directory| directory.path().to_path_buf()),
        whole: false,
        stall: None,
    };
    let (captured, recording) = run_replicas(&context).await?;
    progress.step(Progress::Comparing);
    let golden = known_digest(session, plan, machine.hello.isa_class)?;
    let replicas: Vec<Replica<'_>> = captured
        .iter()
        .map(|replica| Replica {
            index: replica.record.index,
            state: &replica.state,
        })
        .collect();
    let dropped_bytes = captured.iter().map(|replica| replica.dropped_bytes).sum();
    let golden_digest = golden.as_deref();
    let history = metric_history(session, &provenance(plan, &machine, session)).await;
    let noise = Noise::of(session, plan, &machine, &captured)?;
    let aligned = noise.as_ref().and_then(|noise| noise.aligned.as_ref().ok());
    let known = Known {
        golden: golden_digest,
        history: Some(&history),
        aligned,
    };
    let mut analysis = analyse(&replicas, dropped_bytes, &machine, plan, known)?;
    let injections = injections(&captured, &analysis, aligned);
    if machine.spec.deterministic {
        evidence::list_injected_words(&mut analysis, &injections, &captured, &machine);
    }
    explain::explain(&mut analysis, &captured, &machine);
    if let Some(command) = plan.computation.command() {
        owners::name(&mut analysis, &captured, command.reader()).await;
    }
    let mut investigation = None;
    if !analysis.findings.is_empty() {
        let known = explain(session, &mut analysis, &captured, &machine, plan).await;
        if plan.origin.is_some() && !analysis.deviations.is_empty() {
            let subject = investigate::Subject {
                session,
                plan,
                machine: &machine,
                result: agreed(&captured),
                progress,
            };
            investigation = Some(investigate::investigate(&subject, &mut analysis, known).await);
        }
    }
    progress.step(Progress::Storing);
    let blobs = evidence::keep(session, id, &captured, &analysis, &machine, plan).await?;
    let findings: Vec<Finding> = analysis
        .findings
        .iter()
        .map(|draft| finding(draft, id, &blobs.for_finding(draft)))
        .collect();
    if let Some(noise) = &noise {
        noise.adapt(session, &analysis, &injections)?;
    }
    let run = assemble(
        (id, started),
        plan,
        &machine,
        captured,
        (analysis, golden, injections, noise.as_ref()),
        &blobs,
        session,
    );
    let run = Run {
        investigation,
        recording,
        ..run
    };
    record(session, &run, &findings, &blobs).await?;
    Ok(run)
}

/// What is known of a run besides its states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The result that it must have.
    pub(crate) golden: Option<&'a str>,
    /// Metrics of earlier clean runs.
    pub(crate) history: Option<&'a MetricHistory>,
    /// Its machines place by place, where they are not bit-exact.
    pub(crate) aligned: Option<&'a Aligned>,
}

/// The noise of machines that are not bit-exact.
struct Noise {
    model: NoiseModel,
    /// The machines place by place, or why that is not known.
    aligned: Result<Aligned, ControlError>,
}

impl Noise {
    /// Of machines that are not bit-exact what is known of their noise, and the machines aligned.
    fn of(
        session: &Session,
        plan: &RunPlan,
        machine: &PreparedMachine,
        captured: &[Captured],
    ) -> Result<Option<Self>, ControlError> {
        if machine.spec.deterministic {
            return Ok(None);
        }
        let key = noise::key(plan, machine, session);
        let model = noise::load(&session.store_path, key)?;
        let aligned = align_all(machine, captured, &model.mask());
        Ok(Some(Self { model, aligned }))
    }

    /// A run that passed, and into which nothing was injected, is one more clean run.
    fn adapt(
        &self,
        session: &Session,
        analysis: &Analysis,
        injections: &[InjectionRecord],
    ) -> Result<(), ControlError> {
        match &self.aligned {
            Ok(aligned) if analysis.verdict == Verdict::Pass && injections.is_empty() => {
                let mut model = self.model.clone();
                model.learn(aligned.noise.iter());
                noise::save(&session.store_path, &model)
            }
            _ => Ok(()),
        }
    }

    /// As runs are recorded.
    fn record(&self, analysis: &Analysis) -> NoiseRecord {
        let summary = self.model.summary();
        let aligned = self.aligned.as_ref().ok();
        NoiseRecord {
            runs: summary.runs,
            places: summary.places,
            expected_new: summary.expected_new,
            settled: summary.settled,
            noisy_words: aligned.map_or(0, |aligned| aligned.noise.len() as u64),
            unexplained_words: aligned.map_or(0, |aligned| aligned.unexplained_total),
            unexplained: analysis.unexplained.clone(),
            buffers: aligned
                .and_then(|aligned| aligned.registered.first())
                .map(|names| names.clone().into_iter().collect())
                .unwrap_or_default(),
        }
    }

    /// Why bytes were masked.
    fn reasons(&self) -> Vec<String> {
        let by_reason = self.model.summary().by_reason;
        let reasons = by_reason.into_iter();
        reasons
            .map(|(reason, places)| format!("noise of clean runs, {reason}: {places} places"))
            .collect()
    }
}

/// Runs all replicas, and gives them in their order. Where there is a disk the first is recorded
/// from its start to its end, and the others follow.
async fn run_replicas(
    context: &ReplicaContext<'_>,
) -> Result<(Vec<Captured>, Option<RecordingRecord>), ControlError> {
    let plan = context.plan;
    let mut captured = Vec::new();
    let mut recording = None;
    if let Some(command) = plan.computation.command() {
        let (first, of_first) = record_replica(context, RECORDED).await?;
        captured.push(first);
        command.check_unchanged()?;
        recording = Some(of_first);
    }
    let first = captured.len() as u32;
    let others: Vec<Captured> = stream::iter(first..plan.replicas)
        .map(|index| run_replica(context, index, recording.as_ref()))
        .buffer_unordered(plan.jobs as usize)
        .map_ok(|mut one| {
            let like_first = |first: &Captured| first.state.disk == one.state.disk;
            if captured.first().is_some_and(like_first) {
                one.changes = None;
            }
            one
        })
        .try_collect()
        .await?;
    captured.extend(others);
    captured.sort_by_key(|replica| replica.record.index);
    if let Some(command) = plan.computation.command() {
        overlay::level(&mut captured, command.reader()).await?;
        command.check_unchanged()?;
    }
    let recording = recording.map(|recording| RecordingRecord {
        replica: ReplicaIndex(RECORDED),
        events: recording.events(),
        bytes: recording.bytes(),
        instructions: InstructionCount(recording.instructions()),
    });
    Ok((captured, recording))
}

/// Compares terminal states of one plan's replicas.
pub(crate) fn analyse(
    replicas: &[Replica<'_>],
    dropped_bytes: u64,
    machine: &PreparedMachine,
    plan: &RunPlan,
    known: Known<'_>,
) -> Result<Analysis, ControlError> {
    let compare = |error: String| ControlError::Compare(error);
    let base = Base::new(&machine.base, machine.spec.memory_bytes)
        .map_err(|error| compare(error.to_string()))?;
    let context = Context {
        base,
        deterministic: machine.spec.deterministic,
        symbols: machine.symbols.as_ref(),
        golden: known.golden,
        units: plan.computation.units(),
        host_units_exercised: machine.spec.accelerator != Accelerator::Tcg,
        not_compared: not_compared(replicas.len(), dropped_bytes),
        history: known.history,
        aligned: known.aligned,
    };
    let options = Options::new(
        plan.multiplier,
        divergence::input::DEFAULT_LISTED_DIFFERENCES,
    )
    .map_err(|error| compare(error.to_string()))?;
    divergence::analyse(replicas, &context, &options).map_err(|error| compare(error.to_string()))
}

/// Gives an analysis its hints, with what is known of cores and of earlier runs.
async fn explain(
    session: &Session,
    analysis: &mut Analysis,
    captured: &[Captured],
    machine: &PreparedMachine,
    plan: &RunPlan,
) -> Surroundings {
    let records = captured.iter().map(|replica| &replica.record);
    let known = surroundings(session, records, plan.computation.is_portable()).await;
    divergence::explain(analysis, &about(machine), &known);
    known
}

/// The result that most replicas came to.
fn agreed(captured: &[Captured]) -> Option<&str> {
    let results: Vec<Option<&str>> = captured
        .iter()
        .map(|one| one.record.result_digest.as_deref())
        .collect();
    state::majority(&results).copied().flatten()
}

/// What hints must know of a machine.
pub(crate) fn about(machine: &PreparedMachine) -> Machine {
    let symbols = machine.symbols.as_ref();
    Machine {
        deterministic: machine.spec.deterministic,
        code: symbols.and_then(|map| map.text_range()),
        host_units_exercised: machine.spec.accelerator != Accelerator::Tcg,
    }
}

/// What exists in the machines and was not looked at.
fn not_compared(replicas: usize, dropped_bytes: u64) -> Vec<NotCompared> {
    /// The PC's firmware, option ROMs and video memory, each of its own beside main memory.
    const DEVICE_MEMORY_BYTES: u64 = 384 << 10;
    let mut left_out = vec![NotCompared {
        reason: "memory of devices and ROMs beside main memory".to_owned(),
        bytes: DEVICE_MEMORY_BYTES * replicas as u64,
    }];
    if dropped_bytes > 0 {
        left_out.push(NotCompared {
            reason: "console output beyond what is kept".to_owned(),
            bytes: dropped_bytes,
        });
    }
    left_out
}

fn finding(draft: &FindingDraft, run: RunId, blobs: &[String]) -> Finding {
    let id = match draft.replica {
        Some(replica) => format!("{run}/replica-{replica}"),
        None => run.to_string(),
    };
    Finding {
        id: new_finding_id(),
        at: now(),
        engine: Engine::Divergence,
        engine_version: divergence::ENGINE_VERSION.to_owned(),
        kind: draft.kind,
        node: NodeRef {
            level: Level::System,
            id,
        },
        severity: draft.severity,
        score: draft.score,
        probability: None,
        summary: draft.summary.clone(),
        evidence: draft.evidence.clone(),
        evidence_blobs: blobs.to_vec(),
        hints: draft.hints.clone(),
        next_experiment: draft.next_experiment.clone(),
        run: Some(run),
    }
}

fn assemble(
    (id, started): (RunId, Timestamp),
    plan: &RunPlan,
    machine: &PreparedMachine,
    captured: Vec<Captured>,
    (mut analysis, golden, injections, noise): (
        Analysis,
        Option<String>,
        Vec<InjectionRecord>,
        Option<&Noise>,
    ),
    blobs: &evidence::Kept,
    session: &Session,
) -> Run {
    let mut warnings = warnings(&captured);
    let record = noise.map(|noise| noise.record(&analysis));
    if let Some(noise) = noise {
        analysis.coverage.masked_reasons = noise.reasons();
        if let Err(error) = &noise.aligned {
            warnings.push(error.to_string());
        }
    }
    let replicas = captured
        .into_iter()
        .map(|replica| blobs.name_in(replica.record))
        .collect();
    Run {
        id,
        started,
        ended: now(),
        provenance: provenance(plan, machine, session),
        deterministic: machine.spec.deterministic,
        verdict: analysis.verdict,
        reason: analysis.reason,
        choice: plan.choice.clone(),
        replicas,
        injections,
        deviations: analysis.deviations,
        coverage: analysis.coverage,
        golden,
        undecided_words: analysis.undecided_words,
        noise: record,
        recording: None,
        warnings,
        investigation: None,
    }
}

/// What was left out of what replicas said; alike where they are.
fn warnings(captured: &[Captured]) -> Vec<String> {
    let dropped = captured.iter().filter(|replica| replica.dropped_bytes > 0);
    let mut warnings: Vec<String> = dropped
        .map(|replica| {
            let Captured {
                record,
                dropped_bytes,
                ..
            } = replica;
            format!(
                "replica {} sent {dropped_bytes} bytes more than are kept",
                record.index
            )
        })
        .collect();
    for replica in captured {
        let cut = replica.cut.iter();
        warnings.extend(cut.map(|what| format!("replica {}: {what}", replica.record.index)));
    }
    warnings
}

/// The faults, with what became of them.
fn injections(
    captured: &[Captured],
    analysis: &Analysis,
    aligned: Option<&Aligned>,
) -> Vec<InjectionRecord> {
    let differs = |record: &InjectionRecord| {
        analysis
            .replicas
            .iter()
            .any(|summary| summary.index == record.replica && summary.differs)
    };
    // Outside of named buffers a word does not vote, and is still seen.
    let is_told = |record: &InjectionRecord| {
        let position = record.replica.0 as usize;
        let address = record.address.filter(|_| record.part == "ram");
        let address = address.map(|address| address.0 & !7);
        aligned.is_some_and(|aligned| {
            let mut words = aligned.unexplained.iter();
            address.is_some() && words.any(|word| word.addresses.get(position) == Some(&address))
        })
    };
    captured
        .iter()
        .flat_map(|replica| replica.injections.iter().cloned())
        .map(|mut record| {
            if differs(&record) || is_told(&record) {
                record.fate = Fate::Live;
            }
            record
        })
        .collect()
}

/// Events, in the order in which a reader may rely on them: evidence, findings, the end.
async fn record(
    session: &Session,
    run: &Run,
    findings: &[Finding],
    blobs: &evidence::Kept,
) -> Result<(), ControlError> {
    for (replica, key) in blobs.of_replicas() {
        let captured = Event::StateCaptured {
            run: run.id,
            replica,
            blob: Some(key.to_owned()),
        };
        session.store.append(captured, now()).await?;
    }
    for finding in findings {
        let finding = Box::new(finding.clone());
        let found = Event::FindingRecorded { finding };
        session.store.append(found, now()).await?;
    }
    let ended = Event::RunEnded {
        run: Box::new(run.clone()),
    };
    session.store.append(ended, now()).await?;
    session.store.prune_to_limit(now()).await?;
    Ok(())
}
