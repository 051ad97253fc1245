//! What is known besides the differences: where replicas ran, which earlier runs deviated, and
//! which instructions were used. All of it is data that whoever asks has looked up.

use model::{Placement, ReplicaIndex};
use std::collections::BTreeSet;

/// A physical core; siblings of one core fail together and count as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct EarlierDeviation {
    /// The core of the replica that deviated.
    pub core: Core,
    /// The cores of all its replicas: what chance had to choose from.
    pub cores: Vec<Core>,
    /// The guest-physical pages in which it differed, as far as they were listed.
    pub pages: BTreeSet<u64>,
}

/// What is known besides the differences. The default is: nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Surroundings {
    /// The core of each replica of this run.
    pub cores: Vec<(ReplicaIndex, Core)>,
    /// Earlier deviations, newest first.
    pub earlier: Vec<EarlierDeviation>,
    /// Whether replicas, or the golden value, are of different instruction-set classes.
    pub classes_differ: bool,
    /// Whether the computation is bit-equal on every instruction-set class.
    pub portable: bool,
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
