//! What a use case tells while it works: for progress bars and logs, never for results.

use model::{Outcome, ReplicaIndex};

/// A step of the work.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A machine is booted once, for all replicas of this and later runs.
    Booting,
    /// The machine is ready to make replicas of.
    MachineReady {
        /// Whether it was kept from an earlier run.
        cached: bool,
    },
    /// A replica was restored.
    Restored(ReplicaIndex),
    /// A replica runs.
    Running(ReplicaIndex),
    /// A replica stands still and its state is captured.
    Capturing(ReplicaIndex),
    /// A replica is done.
    Done(ReplicaIndex, Outcome),
    /// The states are compared.
    Comparing,
    /// Evidence and verdict are stored.
    Storing,
}

/// Takes the steps of the work.
pub trait ProgressSink: Send + Sync {
    /// Takes one step. It must not block.
    fn step(&self, progress: Progress);
}

/// Takes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl ProgressSink for Silent {
    fn step(&self, _progress: Progress) {}
}
