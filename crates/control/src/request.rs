//! What the user asks for, and what it means: [`RunRequest`] as typed, [`RunPlan`] as it will be
//! done. Pure: the plan is made from the request, the library and the host's figures.

use crate::command::{self, Command};
use crate::error::ControlError;
use crate::injection::{FaultPart, Injection, InjectionError, PlannedInjection, bind, plan};
use crate::machine::MachineRequest;
use crate::program::{self, Program};
use computation::Descriptor;
use computation::job::Mark;
use std::sync::Arc;
use std::time::Duration;

/// The most replicas of one run.
pub const MAX_REPLICAS: u32 = 64;

/// The longest budget of one run.
pub const MAX_BUDGET_S: f64 = 86_400.0;

/// Instructions that QEMU's translator executes in a second of CPU time under an instruction
/// count, on integer code: what budgets are scaled by.
pub const TCG_INSTRUCTIONS_PER_S: f64 = 700e6;

/// The CPU time after which a user's program counts as hung, where nothing else is said: nobody
/// knows how long it is to take.
pub const PROGRAM_DEADLINE: Duration = Duration::from_secs(60);

/// What replicas compute.
#[derive(Debug, Clone)]
pub enum Computation {
    /// An entry of the library.
    Library(&'static Descriptor),
    /// A program of the user's.
    Program(Arc<Program>),
    /// A command in a disk of the user's.
    Command(Arc<Command>),
}

impl Computation {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Library(descriptor) => descriptor.name.to_owned(),
            Self::Program(program) => program.computation_name(),
            Self::Command(command) => command.computation_name(),
        }
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        match self {
            Self::Library(descriptor) => descriptor.version,
            Self::Program(_) => program::VERSION,
            Self::Command(_) => command::VERSION,
        }
    }

    /// Units of the processor that it is known to exercise.
    #[must_use]
    pub fn units(&self) -> Vec<String> {
        match self {
            Self::Library(descriptor) => {
                let units = descriptor.units.iter();
                units.map(ToString::to_string).collect()
            }
            Self::Program(_) | Self::Command(_) => Vec::new(),
        }
    }

    /// Whether its result is known to be the same on every class of instruction sets.
    #[must_use]
    pub const fn is_portable(&self) -> bool {
        match self {
            Self::Library(descriptor) => descriptor.portable,
            // It may ask the processor what it has.
            Self::Program(_) | Self::Command(_) => false,
        }
    }

    /// The user's program, if it is one.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        match self {
            Self::Program(program) => Some(program),
            Self::Library(_) | Self::Command(_) => None,
        }
    }

    /// The user's command, if it is one.
    #[must_use]
    pub fn command(&self) -> Option<&Command> {
        match self {
            Self::Command(command) => Some(command),
            Self::Library(_) | Self::Program(_) => None,
        }
    }

    /// Whether it is the user's own, of which nothing is known.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        !matches!(self, Self::Library(_))
    }
}

impl From<&'static Descriptor> for Computation {
    fn from(descriptor: &'static Descriptor) -> Self {
        Self::Library(descriptor)
    }
}

/// Which evidence stays in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Differing pages and one majority copy.
    #[default]
    Differing,
    /// Every replica's state and whole memory image.
    All,
}

/// A run as the user asks for it.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The computation.
    pub computation: Computation,
    /// Why it was chosen, where we chose it.
    pub choice: Option<String>,
    /// How many replicas.
    pub replicas: u32,
    /// The seed of input and injections.
    pub seed: u64,
    /// CPU time of one replica, in seconds; the computation's default where absent.
    pub budget_s: Option<f64>,
    /// Replicas that run at once; one less than the host's CPUs where absent.
    pub jobs: Option<u32>,
    /// The host CPU of each replica; in turn where absent.
    pub cpus: Option<Vec<u32>>,
    /// Faults to inject.
    pub injections: Vec<Injection>,
    /// What to keep.
    pub keep: Keep,
    /// The longest CPU time of a replica; where absent, three times the budget and ten seconds, or
    /// [`PROGRAM_DEADLINE`].
    pub timeout: Option<Duration>,
    /// What a statistical deviation is held against, times its baseline.
    pub multiplier: f64,
    /// The machine that replicas are.
    pub machine: MachineRequest,
    /// Whether experiments are carried out on a deviation.
    pub investigate: bool,
}

/// A run as it will be done.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The computation.
    pub computation: Computation,
    /// Why it was chosen, where we chose it.
    pub choice: Option<String>,
    /// How many replicas.
    pub replicas: u32,
    /// The seed of input and injections.
    pub seed: u64,
    /// How many steps each replica takes.
    pub steps: u64,
    /// How many replicas run at once.
    pub jobs: u32,
    /// The host CPUs of each replica, by vCPU in turn.
    pub cpus: Vec<Vec<u32>>,
    /// Faults to inject, in the order of their marks.
    pub injections: Vec<PlannedInjection>,
    /// The marks at which every replica stops, in order: the same for all, or they would differ.
    pub stops: Vec<Mark>,
    /// What to keep.
    pub keep: Keep,
    /// The longest CPU time of a replica.
    pub deadline: Duration,
    /// What a statistical deviation is held against, times its baseline.
    pub multiplier: f64,
    /// What was asked for, where experiments are to be carried out on a deviation: they are the same
    /// run, but for what they vary.
    pub origin: Option<Box<RunRequest>>,
    /// Whether the lists of changed pages are held against a comparison of all memory.
    pub check_pages: bool,
}

impl RunRequest {
    /// Settles everything that was left open.
    ///
    /// # Errors
    /// A figure is out of range, or an injection cannot be done.
    pub fn plan(self, host_cpus: &[u32]) -> Result<RunPlan, ControlError> {
        self.check()?;
        let origin = self.investigate.then(|| Box::new(self.clone()));
        let (steps, deadline) = self.size();
        let host_cpus = if host_cpus.is_empty() {
            &[0]
        } else {
            host_cpus
        };
        if self.computation.command().is_some() && self.machine != MachineRequest::default() {
            return Err(ControlError::OutOfRange(
                "a command in a disk is recorded and followed: one vCPU, with an instruction count"
                    .to_owned(),
            ));
        }
        if self.investigate && !self.machine.is_deterministic() {
            return Err(ControlError::OutOfRange(
                "experiments need bit-exact machines: an investigation takes one vCPU and an instruction count"
                    .to_owned(),
            ));
        }
        let width = self.machine.host_cpus(host_cpus.len());
        let most = u32::try_from(host_cpus.len() / width).unwrap_or(u32::MAX);
        let jobs = self.jobs.unwrap_or_else(|| most.saturating_sub(1).max(1));
        let cpus = match self.cpus {
            Some(cpus) => cpus.into_iter().map(|cpu| vec![cpu]).collect(),
            None => placements(host_cpus, width, 0, self.replicas as usize),
        };
        let first_cpus: Vec<u32> = cpus
            .iter()
            .flatten()
            .step_by(width.max(1))
            .copied()
            .collect();
        let injections = bind(&self.injections, &first_cpus)?;
        let injections = plan(&injections, self.seed, self.replicas, steps)?;
        if self.computation.is_foreign() {
            check_program_marks(&self.injections)?;
        }
        let of_disk = |one: &Injection| matches!(one.part, FaultPart::Disk(_));
        if self.computation.command().is_none() && self.injections.iter().any(of_disk) {
            return Err(InjectionError::NoDisk.into());
        }
        let stops = stops(&injections, steps)?;
        Ok(RunPlan {
            computation: self.computation,
            choice: self.choice,
            replicas: self.replicas,
            seed: self.seed,
            steps,
            jobs: jobs.min(most).min(self.replicas),
            cpus,
            injections,
            stops,
            keep: self.keep,
            deadline,
            multiplier: self.multiplier,
            origin,
            check_pages: false,
        })
    }

    /// Steps, and the longest CPU time of a replica. A program is one step.
    fn size(&self) -> (u64, Duration) {
        let Computation::Library(descriptor) = self.computation else {
            return (1, self.timeout.unwrap_or(PROGRAM_DEADLINE));
        };
        let budget_s = self.budget_s.unwrap_or(descriptor.default_budget_s);
        let steps = computation::steps_for(descriptor, budget_s, TCG_INSTRUCTIONS_PER_S);
        // Where time is not counted in instructions, what a host of one's host did not give counts as
        // CPU time too.
        let patience_s = match self.machine.is_deterministic() {
            true => 10.0,
            false => 60.0,
        };
        let three_times = || Duration::from_secs_f64(budget_s * 3.0 + patience_s);
        (steps, self.timeout.unwrap_or_else(three_times))
    }

    fn check(&self) -> Result<(), ControlError> {
        self.machine.check()?;
        if !(1..=MAX_REPLICAS).contains(&self.replicas) {
            return Err(ControlError::Replicas {
                replicas: self.replicas,
                most: MAX_REPLICAS,
            });
        }
        let budget_s = match &self.computation {
            Computation::Library(descriptor) => {
                self.budget_s.unwrap_or(descriptor.default_budget_s)
            }
            Computation::Program(_) | Computation::Command(_) => PROGRAM_DEADLINE.as_secs_f64(),
        };
        if !(budget_s > 0.0 && budget_s <= MAX_BUDGET_S) {
            return Err(ControlError::OutOfRange(format!(
                "a budget of {budget_s} s: it must lie between 0 and {MAX_BUDGET_S} s"
            )));
        }
        if self.jobs == Some(0) {
            return Err(ControlError::OutOfRange(
                "0 jobs: at least one replica must run".to_owned(),
            ));
        }
        if !(self.multiplier.is_finite() && self.multiplier > 0.0) {
            return Err(ControlError::OutOfRange(format!(
                "a multiplier of {}: it must be greater than 0",
                self.multiplier
            )));
        }
        Ok(())
    }
}

/// The host CPUs of each of so many replicas, which take them in turn from the `turn`-th on, `width`
/// each.
pub(crate) fn placements(
    host_cpus: &[u32],
    width: usize,
    turn: usize,
    replicas: usize,
) -> Vec<Vec<u32>> {
    let count = host_cpus.len().max(1);
    let of_replica = |replica: usize| {
        let first = (turn + replica * width) % count;
        let cpus = host_cpus.iter().cycle().skip(first);
        cpus.copied().take(width).collect()
    };
    (0..replicas).map(of_replica).collect()
}

/// Refuses marks that only a computation of the library has.
fn check_program_marks(injections: &[Injection]) -> Result<(), InjectionError> {
    let mut marks = injections.iter().map(|injection| injection.when);
    match marks.find(|mark| !matches!(mark, Mark::Start | Mark::End)) {
        Some(mark) => Err(InjectionError::NotOfProgram(mark)),
        None => Ok(()),
    }
}

/// The marks of all injections, in the order in which a replica passes them.
fn stops(injections: &[PlannedInjection], steps: u64) -> Result<Vec<Mark>, ControlError> {
    let mut stops: Vec<Mark> = Vec::new();
    for mark in injections.iter().flat_map(|planned| &planned.marks) {
        if mark.at(steps) > steps {
            return Err(ControlError::OutOfRange(format!(
                "mark {mark}: this run has {steps} steps"
            )));
        }
        if *mark != Mark::End && !stops.contains(mark) {
            stops.push(*mark);
        }
    }
    stops.sort_by_key(|mark| mark.at(steps));
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_take_the_cpus_in_turn() {
        let cpus = [4, 5, 6];
        let one = placements(&cpus, 1, 1, 4);
        assert_eq!(one, [[5], [6], [4], [5]]);
        let two = placements(&cpus, 2, 0, 3);
        assert_eq!(two, [[4, 5], [6, 4], [5, 6]]);
        assert_eq!(placements(&[7], 1, 3, 2), [[7], [7]]);
    }
}
