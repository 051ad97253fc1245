//! What is known besides the differences: where replicas ran, which earlier runs deviated, which
//! instructions were used, and what experiments brought. All of it is data that whoever asks has
//! looked up.

use model::{Experiment, ExperimentOutcome, Placement, ReplicaIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A physical core; siblings of one core fail together and count as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Core {
    /// The host's name.
    pub host: String,
    /// The socket, where the host says.
    pub socket: Option<u32>,
    /// The core in its socket; the number of the CPU where the host names no core.
    pub core: u32,
}

impl Core {
    /// The core of a placement; nothing where it names neither core nor CPU.
    #[must_use]
    pub fn of(placement: &Placement) -> Option<Self> {
        let cpu = placement.cpus.first().copied();
        Some(Self {
            host: placement.host.clone(),
            socket: placement.socket,
            core: placement.core.or(cpu)?,
        })
    }
}

/// An earlier run in which a replica deviated, and no fault was ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlierDeviation {
    /// The core of the replica that deviated.
    pub core: Core,
    /// The cores of all its replicas: what chance had to choose from.
    pub cores: Vec<Core>,
    /// The guest-physical pages in which it differed, as far as they were listed.
    pub pages: BTreeSet<u64>,
}

/// How often runs deviated when it was hot or busy, and when it was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heat {
    /// Runs while it was hot, or while neighbours were busy.
    pub runs_hot: u32,
    /// Those of them that deviated.
    pub deviations_hot: u32,
    /// Runs while it was neither.
    pub runs_cool: u32,
    /// Those of them that deviated.
    pub deviations_cool: u32,
}

/// Runs on this host before it first deviated, and from then on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Age {
    /// Runs that passed before the first deviation.
    pub clean_before: u32,
    /// Runs from the first deviation on.
    pub runs_since: u32,
    /// Those of them that deviated.
    pub deviations_since: u32,
}

/// What was told apart by giving one core's output to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    /// What the suspect core undid of its own work came out right.
    pub own_is_right: bool,
    /// What another core undid of it came out right.
    pub others_is_right: bool,
}

/// What is known besides the differences. The default is: nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The core of each replica of this run.
    pub cores: Vec<(ReplicaIndex, Core)>,
    /// Earlier deviations, newest first.
    pub earlier: Vec<EarlierDeviation>,
    /// Whether replicas, or the golden value, are of different instruction-set classes.
    pub classes_differ: bool,
    /// Whether the computation is bit-equal on every instruction-set class.
    pub portable: bool,
    /// Whether kernel, guest program or configuration of replicas differ.
    pub builds_differ: bool,
    /// Whether replicas on one accelerator agree, and those on another differ from them.
    pub accelerators_differ: bool,
    /// Deviations by heat and load, where that was looked at.
    pub heat: Option<Heat>,
    /// Deviations over time, where there are any.
    pub age: Option<Age>,
    /// What another core made of the suspect core's work, where that was tried.
    pub crossed: Option<Crossed>,
    /// What experiments brought, in order.
    pub experiments: Vec<(Experiment, ExperimentOutcome)>,
}

impl Surroundings {
    /// Where a replica ran.
    #[must_use]
    pub fn core_of(&self, replica: ReplicaIndex) -> Option<&Core> {
        let mut cores = self.cores.iter();
        let found = cores.find(|(index, _)| *index == replica);
        found.map(|(_, core)| core)
    }
}
