//! The life of one replica:
//!
//! ```text
//!  slot ─► restored ─► job in the mailbox ─► running ──signal: mark──► inject ─► running …
//!                        └─ of a program: running ─► payload written ─┘
//!                                              │ signal: end │ failed
//!                                              │ shutdown    │ deadline
//!                                              ▼
//!                              stopped ─► faults at the end ─► captured ─► gone
//! ```
//!
//! The guest is not trusted: a signal without a line that explains it, or a mark that nobody asked
//! for, ends the replica as crashed; a line is text to compare, never a command.

use crate::campaign::oracle::Whole;
use crate::command::{Command, CommandError};
use crate::error::ControlError;
use crate::inject::{Fault, distort, strike};
use crate::machine::PreparedMachine;
use crate::overlay;
use crate::program::Program;
use crate::progress::{Progress, ProgressSink};
use crate::request::{Keep, RunPlan};
use crate::stall::Stall;
use computation::job::{
    self, Buffer, Extent, FileAssembler, Job, JobResult, LineReader, Mark, Message, Metric,
    ProgramEnd, StopBy, StreamEnd,
};
use hypervisor::{
    Course, CpuSlot, Domain, HostInfo, Hypervisor, PageCheck, Recording, RunRoot, Stop, Usage,
    WaitLimits,
};
use model::{
    Elapsed, GuestPhysicalAddress, InjectionRecord, InstructionCount, MetricSample, Outcome,
    PAGE_BYTES, PageNumber, Placement, ReplicaIndex, ReplicaRecord,
};
use state::{ChangedPages, Memory, Registers, TerminalState};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wall time of a replica over its CPU time: emulators are nice, and hosts are busy.
const WALL_PER_CPU: u32 = 20;

/// Named buffers of one replica: more than any computation has.
const MAX_BUFFERS: usize = 64;

/// What all replicas of a run share.
pub(crate) struct ReplicaContext<'a> {
    pub(crate) hypervisor: &'a Arc<dyn Hypervisor>,
    pub(crate) root: &'a RunRoot,
    pub(crate) host: &'a HostInfo,
    pub(crate) machine: &'a PreparedMachine,
    pub(crate) plan: &'a RunPlan,
    pub(crate) progress: &'a dyn ProgressSink,
    /// Where whole images are written, where all is kept.
    pub(crate) export: Option<PathBuf>,
    /// Whether the whole machine is read at its end, changed or not.
    pub(crate) whole: bool,
    /// Which replica is held up on its way; of runs that noise is learned from.
    pub(crate) stall: Option<Stall>,
}

/// A replica that has ended, with its state.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) record: ReplicaRecord,
    pub(crate) state: TerminalState,
    pub(crate) injections: Vec<InjectionRecord>,
    pub(crate) exported: Option<Exported>,
    pub(crate) whole: Option<Whole>,
    /// The lists of its changed pages, held against its memory, where that was asked for.
    pub(crate) pages: Option<PageCheck>,
    pub(crate) dropped_bytes: u64,
    /// Memory of the computation, as the guest named it: untrusted.
    pub(crate) buffers: Vec<Buffer>,
    /// What of a program's output was left out, in words.
    pub(crate) cut: Vec<String>,
    /// What it has written to its disk, as an image that outlives its machine; not where it is what
    /// the first replica has written.
    pub(crate) changes: Option<File>,
}

/// Files that the hypervisor itself wrote.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) memory: PathBuf,
    pub(crate) registers: PathBuf,
}

/// Runs one replica from its restore to its captured state. One with a disk follows a recording.
pub(crate) async fn run_replica(
    context: &ReplicaContext<'_>,
    index: u32,
    recording: Option<&Recording>,
) -> Result<Captured, ControlError> {
    let course = recording.map(Course::Follow);
    let (captured, domain, slots) = run_to_end(context, index, course).await?;
    domain.destroy().await;
    drop(slots);
    let outcome = captured.record.outcome.clone();
    context
        .progress
        .step(Progress::Done(ReplicaIndex(index), outcome));
    Ok(captured)
}

/// Runs one replica with a disk in the same way, and records it for the others.
///
/// # Errors
/// As for any replica; or it did not come to its end, so that there is nothing to follow.
pub(crate) async fn record_replica(
    context: &ReplicaContext<'_>,
    index: u32,
) -> Result<(Captured, Recording), ControlError> {
    let (captured, domain, slots) = run_to_end(context, index, Some(Course::Record)).await?;
    if captured.record.outcome != Outcome::Ended {
        return Err(CommandError::not_recorded(&captured.state).into());
    }
    let limits = limits(context.plan, domain.usage());
    let recording = domain.recording(limits).await?;
    drop(slots);
    let outcome = captured.record.outcome.clone();
    context
        .progress
        .step(Progress::Done(ReplicaIndex(index), outcome));
    Ok((captured, recording))
}

/// Restores the machine of one replica: with the disk that the computation is about, or without any.
async fn restore(
    context: &ReplicaContext<'_>,
    cpus: &[u32],
    course: Option<Course<'_>>,
) -> Result<Box<dyn Domain>, ControlError> {
    let PreparedMachine { spec, snapshot, .. } = context.machine;
    let hypervisor = context.hypervisor;
    let disk = context.plan.computation.command().map(Command::disk);
    Ok(match disk.zip(course) {
        None => hypervisor.restore(spec, snapshot, cpus).await?,
        Some(disk) => {
            let restored = hypervisor.restore_with_disk(spec, snapshot, cpus, disk);
            restored.await?
        }
    })
}

/// Runs one replica to its captured state; its machine stands there still.
async fn run_to_end(
    context: &ReplicaContext<'_>,
    index: u32,
    course: Option<Course<'_>>,
) -> Result<(Captured, Box<dyn Domain>, Vec<CpuSlot>), ControlError> {
    let name = ReplicaIndex(index);
    let cpus = context.plan.cpus.get(index as usize);
    let cpus = cpus.map_or(&[0][..], Vec::as_slice);
    let slots = CpuSlot::take_all(context.root, cpus).await?;
    let machine = context.machine;
    let mut domain = restore(context, cpus, course).await?;
    context.progress.step(Progress::Restored(name));
    order(domain.as_mut(), context)?;
    let before = domain.usage();
    let started = Instant::now();
    context.progress.step(Progress::Running(name));
    let mut life = Life::with(context.plan, index);
    let stall = context.stall.filter(|stall| stall.replica == index);
    let stalled = stall.and_then(|stall| stall.begin(domain.pid()));
    let outcome = live(domain.as_mut(), context, &mut life).await?;
    drop(stalled);
    let wall = Elapsed::from(started.elapsed());
    let cpu_ns = domain
        .usage()
        .vcpu_cpu
        .ns()
        .saturating_sub(before.vcpu_cpu.ns());
    context.progress.step(Progress::Capturing(name));
    let host_faults = domain
        .usage()
        .host_page_faults
        .saturating_sub(before.host_page_faults);
    let timing = Timing {
        cpu: Elapsed::from_ns(cpu_ns),
        wall,
        host_faults,
    };
    let placement = context.host.placement(cpus);
    // An emulator that stood still itself was ended: there is nothing more to ask it.
    let exported = if domain.is_there() {
        export(domain.as_mut(), context, index).await?
    } else {
        None
    };
    let command = context.plan.computation.command();
    life.distort(domain.as_mut(), command, &outcome).await?;
    let changes = match outcome {
        Outcome::Ended => domain.disk_changes()?,
        Outcome::Hung | Outcome::Crashed(_) => None,
    };
    let state = capture(domain.as_mut(), &life, outcome).await?;
    let whole = if context.whole {
        Some(Whole::read(domain.as_mut(), machine.spec.memory_bytes).await?)
    } else {
        None
    };
    let pages = if context.plan.check_pages && domain.is_there() {
        Some(domain.check_page_lists()?)
    } else {
        None
    };
    let captured = assemble(
        name,
        state,
        life,
        (placement, timing),
        machine.spec.deterministic,
    );
    let captured = Captured {
        exported,
        whole,
        pages,
        changes,
        ..captured
    };
    Ok((captured, domain, slots))
}

/// What a replica said and underwent.
#[derive(Debug, Default)]
struct Life<'a> {
    reader: LineReader,
    log: Vec<String>,
    files: FileAssembler,
    metrics: Vec<Metric>,
    result: Option<JobResult>,
    faults: Vec<Fault<'a>>,
    payload: Vec<Extent>,
    buffers: Vec<Buffer>,
    end: Option<ProgramEnd>,
}

struct Timing {
    cpu: Elapsed,
    wall: Elapsed,
    host_faults: u64,
}

/// What a batch of lines amounts to.
#[derive(Debug, PartialEq)]
enum Said {
    Mark(Mark),
    Payload,
    Failed(String),
    Nothing,
}

impl<'a> Life<'a> {
    fn with(plan: &'a RunPlan, index: u32) -> Self {
        let own = plan.injections.iter();
        let own = own.filter(|planned| planned.replica == index);
        Self {
            faults: own.map(Fault::new).collect(),
            ..Self::default()
        }
    }

    /// Distorts disk and what was told, where that was ordered; a replica that told no end told nothing
    /// whole, and flushed nothing.
    async fn distort(
        &mut self,
        domain: &mut dyn Domain,
        command: Option<&Command>,
        outcome: &Outcome,
    ) -> Result<(), ControlError> {
        if *outcome == Outcome::Ended {
            for fault in &mut self.faults {
                strike(fault, domain, command).await?;
                distort(fault, &mut self.log, &mut self.metrics)?;
            }
        }
        Ok(())
    }

    /// The faults that something was done of.
    fn injections(&mut self) -> Vec<InjectionRecord> {
        let faults = self.faults.drain(..);
        faults
            .map(|fault| fault.record)
            .filter(|record| record.part == "hang" || record.before.is_some())
            .collect()
    }

    /// Takes lines; the last one that steers says why the guest stopped.
    fn listen(&mut self, bytes: &[u8]) -> Said {
        let mut said = Said::Nothing;
        for message in self.reader.feed(bytes) {
            self.files.take(&message);
            match message {
                Message::Mark(mark) => said = Said::Mark(mark.name),
                Message::Failed(why) => {
                    self.log.push(why.clone());
                    said = Said::Failed(why);
                }
                Message::Log(text) | Message::Foreign(text) => self.log.push(text),
                Message::Metric(metric) => self.metrics.push(metric),
                Message::Result(result) => self.result = Some(result),
                Message::Payload(extents) => {
                    self.payload.extend(extents);
                    said = Said::Payload;
                }
                Message::Buffer(buffer) if self.buffers.len() < MAX_BUFFERS => {
                    self.buffers.push(buffer);
                }
                Message::Exit(end) => self.end = Some(*end),
                Message::Hello(_)
                | Message::Ready
                | Message::Buffer(_)
                | Message::File(_)
                | Message::Data(_) => {}
            }
        }
        said
    }
}

/// Writes the job into the mailbox: the same bytes for every replica.
fn order(domain: &mut dyn Domain, context: &ReplicaContext<'_>) -> Result<(), ControlError> {
    let plan = context.plan;
    let job = Job {
        protocol: job::PROTOCOL,
        computation: job::safe_name(&plan.computation.name()),
        seed: plan.seed,
        steps: plan.steps,
        stops: plan.stops.clone(),
        stop_by: stop_by(context.machine),
        program: plan
            .computation
            .program()
            .map(|program| program.job().clone()),
        command: plan
            .computation
            .command()
            .map(|command| command.job().clone()),
    };
    let bytes = job::encode_job(&job).map_err(|error| ControlError::Protocol {
        detail: error.to_string(),
    })?;
    let mailbox = &context.machine.hello.mailbox;
    for (page, part) in mailbox.iter().zip(bytes.chunks(PAGE_BYTES)) {
        domain.write_memory(GuestPhysicalAddress(page.0), part)?;
    }
    Ok(())
}

/// On a deterministic machine a stop on the way must be a breakpoint, or replicas would differ. What
/// such a stop does to time is in a recording, so that there the guest may signal.
fn stop_by(machine: &PreparedMachine) -> StopBy {
    if machine.spec.deterministic && !machine.spec.recorded {
        StopBy::Waypoint
    } else {
        StopBy::Signal
    }
}

/// How many stops a replica makes on its way: a program has one more, for its payload.
fn stops_on_the_way(plan: &RunPlan) -> usize {
    plan.stops.len() + usize::from(plan.computation.program().is_some())
}

/// Sets the breakpoint of a stop, counted from 0, and takes away the one where the replica stands.
async fn arm(
    domain: &mut dyn Domain,
    context: &ReplicaContext<'_>,
    stop: usize,
) -> Result<(), ControlError> {
    let stops = stops_on_the_way(context.plan);
    if stop_by(context.machine) == StopBy::Signal || stops == 0 {
        return Ok(());
    }
    let [first, second] = context.machine.hello.waypoints;
    let (next, here) = if stop.is_multiple_of(2) {
        (first, second)
    } else {
        (second, first)
    };
    if stop > 0 {
        domain.clear_breakpoint(here).await?;
    }
    if stop < stops {
        domain.set_breakpoint(next).await?;
    }
    Ok(())
}

/// How long a replica that has used some may run.
fn limits(plan: &RunPlan, used: Usage) -> WaitLimits {
    WaitLimits {
        cpu: plan
            .deadline
            .saturating_add(Duration::from_nanos(used.vcpu_cpu.ns())),
        wall: plan.deadline.saturating_mul(WALL_PER_CPU),
    }
}

/// Lets a replica run to its end, injecting at marks.
async fn live(
    domain: &mut dyn Domain,
    context: &ReplicaContext<'_>,
    life: &mut Life<'_>,
) -> Result<Outcome, ControlError> {
    let plan = context.plan;
    let limits = limits(plan, domain.usage());
    let mut passed = 0;
    if let Some(program) = plan.computation.program() {
        arm(domain, context, passed).await?;
        passed += 1;
        domain.resume().await?;
        let stop = domain.wait_stop(limits).await?;
        let said = life.listen(&domain.take_console());
        match (stop, said) {
            (Stop::Deadline, _) => return Ok(Outcome::Hung),
            (Stop::Shutdown(how) | Stop::OutOfStep(how), _) => return Ok(Outcome::Crashed(how)),
            (_, Said::Failed(why)) => return Ok(Outcome::Crashed(why)),
            (_, Said::Payload) => hand_over(domain, program, &life.payload)?,
            (_, Said::Mark(_) | Said::Nothing) => {
                return Ok(Outcome::Crashed("it took no program".to_owned()));
            }
        }
    }
    // Every stop is one of the plan's, or the end: a guest cannot make this loop longer.
    let stops = plan.stops.iter().copied().chain([Mark::End]);
    for (stop, expected) in (passed..).zip(stops) {
        arm(domain, context, stop).await?;
        domain.resume().await?;
        let stop = domain.wait_stop(limits).await?;
        let said = life.listen(&domain.take_console());
        match (stop, said) {
            (Stop::Deadline, _) => return Ok(Outcome::Hung),
            (Stop::Shutdown(how), _) => return Ok(Outcome::Crashed(how)),
            (Stop::OutOfStep(how), _) => {
                life.log
                    .push(format!("out of step with the recording: {how}"));
                return Ok(Outcome::Hung);
            }
            (_, Said::Failed(why)) => return Ok(Outcome::Crashed(why)),
            (_, Said::Mark(mark)) if mark == expected => {}
            (_, Said::Mark(mark)) => {
                return Ok(Outcome::Crashed(format!("it reached {mark} out of order")));
            }
            (_, Said::Nothing | Said::Payload) => {
                return Ok(Outcome::Crashed("it stopped without a mark".to_owned()));
            }
        }
        for fault in &mut life.faults {
            let at = (expected, life.buffers.as_slice());
            fault.visit(domain, context.machine, at).await?;
        }
    }
    Ok(Outcome::Ended)
}

/// Lays a program's bytes into the pages that the guest offers: the same for every replica.
fn hand_over(
    domain: &mut dyn Domain,
    program: &Program,
    offered: &[Extent],
) -> Result<(), ControlError> {
    let pages = || {
        offered.iter().flat_map(|extent| {
            let first = PageNumber::of(extent.0).0;
            (first..first.saturating_add(extent.1)).map(|number| PageNumber(number).address())
        })
    };
    let offered: u64 = offered.iter().map(|extent| extent.1).sum();
    let needed = program.job().payload_pages();
    if offered != needed {
        return Err(ControlError::Protocol {
            detail: format!("it offers {offered} pages for a program of {needed}"),
        });
    }
    let pieces = program.parts().flat_map(|part| part.chunks(PAGE_BYTES));
    for (page, piece) in pages().zip(pieces) {
        domain.write_memory(page, piece)?;
    }
    Ok(())
}

/// Has the hypervisor write the whole image, where all is kept.
async fn export(
    domain: &mut dyn Domain,
    context: &ReplicaContext<'_>,
    index: u32,
) -> Result<Option<Exported>, ControlError> {
    let Some(directory) = context
        .export
        .as_ref()
        .filter(|_| context.plan.keep == Keep::All)
    else {
        return Ok(None);
    };
    let exported = Exported {
        memory: directory.join(format!("replica-{index}.memory")),
        registers: directory.join(format!("replica-{index}.registers")),
    };
    domain.export(&exported.memory, &exported.registers).await?;
    Ok(Some(exported))
}

async fn capture(
    domain: &mut dyn Domain,
    life: &Life<'_>,
    outcome: Outcome,
) -> Result<TerminalState, ControlError> {
    let registers = match domain.registers().await {
        // Its emulator gave up when it was out of step: what it said is all that is left.
        Err(_) if outcome == Outcome::Hung && !domain.is_there() => return Ok(told(life, outcome)),
        registers => registers?,
    };
    let registers =
        Registers::try_from(registers).map_err(|error| ControlError::Compare(error.to_string()))?;
    let changed = domain.changed_pages()?;
    let changed = ChangedPages::new(changed.numbers, changed.bytes)
        .map_err(|error| ControlError::Compare(error.to_string()))?;
    Ok(TerminalState {
        memory: Memory::Changed(changed),
        registers,
        disk: match outcome {
            // Else the guest has not flushed what it wrote.
            Outcome::Ended => overlay::blocks(domain)?,
            Outcome::Hung | Outcome::Crashed(_) => BTreeMap::new(),
        },
        ..told(life, outcome)
    })
}

/// What a replica said, without its machine.
fn told(life: &Life<'_>, outcome: Outcome) -> TerminalState {
    let files = life.files.files().iter();
    TerminalState {
        log: life.log.clone(),
        files: files
            .map(|file| (file.name.clone(), file.content.clone()))
            .collect(),
        outcome,
        result_digest: life.result.as_ref().map(|result| result.digest.to_string()),
        exit_status: life.end.as_ref().map(|end| end.status.to_string()),
        ..TerminalState::default()
    }
}

fn assemble(
    index: ReplicaIndex,
    mut state: TerminalState,
    mut life: Life<'_>,
    (placement, timing): (Placement, Timing),
    deterministic: bool,
) -> Captured {
    let instructions = life
        .result
        .as_ref()
        .filter(|_| deterministic && life.end.is_none())
        .map(|result| instructions(result, stop_ticks(&life.metrics)));
    let steps = life.result.as_ref().map_or(0, |result| result.steps);
    state.metrics = metrics(&life, &timing, instructions, deterministic);
    Captured {
        record: ReplicaRecord {
            index,
            outcome: state.outcome.clone(),
            placement,
            cpu: timing.cpu,
            wall: timing.wall,
            instructions,
            steps,
            changed_pages: state.memory.pages(),
            result_digest: state.result_digest.clone(),
            exit_status: state.exit_status.clone(),
            metrics: state.metrics.clone(),
            image: None,
            state: None,
        },
        state,
        cut: life.end.as_ref().map(cut).unwrap_or_default(),
        injections: life.injections(),
        exported: None,
        whole: None,
        pages: None,
        dropped_bytes: life.reader.loss().dropped_bytes,
        buffers: life.buffers,
        changes: None,
    }
}

/// What of a program's output did not come, in words.
fn cut(end: &ProgramEnd) -> Vec<String> {
    let streams = [("stdout", &end.stdout), ("stderr", &end.stderr)];
    let streams = streams
        .into_iter()
        .filter(|(_, stream)| stream.bytes_not_sent > 0);
    let mut cut: Vec<String> = streams
        .map(|(name, StreamEnd { bytes, bytes_not_sent })| {
            format!("{name}: {bytes_not_sent} of {bytes} bytes are not in the log, only in the digest")
        })
        .collect();
    if end.files_not_sent > 0 {
        let (not_sent, files) = (end.files_not_sent, end.files);
        cut.push(format!(
            "{not_sent} of {files} files are only in the digest"
        ));
    }
    cut
}

/// Virtual time that went by while the replica stood still.
fn stop_ticks(metrics: &[Metric]) -> u64 {
    metrics
        .iter()
        .find(|metric| metric.name == "stop_ticks")
        .map_or(0, |metric| metric.value as u64)
}

/// Under an instruction count the time-stamp counter is virtual time.
fn instructions(result: &JobResult, stop_ticks: u64) -> InstructionCount {
    let virtual_ns = result
        .tsc
        .saturating_sub(result.tsc_start)
        .saturating_sub(stop_ticks);
    InstructionCount(hypervisor::qemu::command_line::instructions_in(virtual_ns))
}

/// Virtual time of a user's program. Where it sleeps, no instructions go by with the time.
fn program_time(life: &Life<'_>) -> Option<Elapsed> {
    let result = life.result.as_ref().filter(|_| life.end.is_some())?;
    let ticks = result.tsc.saturating_sub(result.tsc_start);
    Some(Elapsed::from_ns(
        ticks.saturating_sub(stop_ticks(&life.metrics)),
    ))
}

fn metrics(
    life: &Life<'_>,
    timing: &Timing,
    instructions: Option<InstructionCount>,
    deterministic: bool,
) -> Vec<MetricSample> {
    let sample = |name: &str, value: f64, exact: bool| MetricSample {
        name: name.to_owned(),
        value,
        exact,
    };
    let mut metrics: Vec<MetricSample> = life
        .metrics
        .iter()
        .map(|metric| sample(&metric.name, metric.value, metric.exact && deterministic))
        .collect();
    if let Some(instructions) = instructions {
        metrics.push(sample("instructions", instructions.0 as f64, true));
    }
    if let Some(virtual_time) = program_time(life).filter(|_| deterministic) {
        metrics.push(sample("virtual_time_s", virtual_time.seconds(), true));
    }
    metrics.push(sample("vcpu_cpu_s", timing.cpu.seconds(), false));
    metrics.push(sample("wall_s", timing.wall.seconds(), false));
    metrics.push(sample("host_page_faults", timing.host_faults as f64, false));
    if let Some(result) = &life.result
        && timing.cpu.ns() > 0
    {
        let rate = result.steps as f64 / timing.cpu.seconds();
        metrics.push(sample("steps_per_s", rate, false));
    }
    metrics
}
