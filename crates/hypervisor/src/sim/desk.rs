//! The desk where all calls of one simulated hypervisor are counted, and where it is written down
//! what went wrong and which machines there are.

use super::trouble::{CallTrouble, Plan, Stroke, Struck, Trouble, gone};
use crate::error::HypervisorError;
use computation::Digest;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What all domains of one hypervisor share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    troubles: Vec<Trouble>,
    calls: AtomicU64,
    replicas: AtomicU64,
    /// Machines that nobody has given up yet.
    living: AtomicU64,
    /// Whether all machines were killed.
    killed: AtomicBool,
    struck: Mutex<Vec<Struck>>,
    /// Results that were computed natively: a function of computation, seed and steps.
    results: Mutex<BTreeMap<(String, u64, u64), NativeResult>>,
}

/// What a computation comes to.
#[derive(Debug, Clone)]
pub(super) struct NativeResult {
    pub(super) digest: Digest,
    pub(super) metrics: Vec<(String, f64)>,
}

/// How a call is answered that was not failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// By the truth.
    Sound,
    /// By nonsense; the number says by which.
    Nonsense(u64),
}

impl Desk {
    pub(super) fn with(troubles: Vec<Trouble>) -> Self {
        Self {
            troubles,
            ..Self::default()
        }
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn living(&self) -> u64 {
        self.living.load(Ordering::Relaxed)
    }

    pub(super) fn struck(&self) -> Vec<Struck> {
        let struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        struck.clone()
    }

    pub(super) fn kill_all(&self) {
        self.killed.store(true, Ordering::Relaxed);
    }

    pub(super) fn born(&self) {
        self.living.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn died(&self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }

    /// Writes down what went wrong with whom.
    pub(super) fn strike(&self, replica: Option<u64>, what: Stroke) {
        let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        struck.push(Struck { replica, what });
    }

    /// Counts a call of a replica's machine, or of the one that is booted, and fails it if that was
    /// ordered; nonsense is left to the one who asks.
    pub(super) fn ask(
        &self,
        replica: Option<u64>,
        name: &'static str,
    ) -> Result<Answer, HypervisorError> {
        let now = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.killed.load(Ordering::Relaxed) {
            return Err(gone(name));
        }
        let ordered = self.troubles.iter().find_map(|trouble| match trouble {
            Trouble::Call { number, how } if *number == now => Some(*how),
            _ => None,
        });
        let Some(how) = ordered else {
            return Ok(Answer::Sound);
        };
        self.strike(replica, Stroke::Call { name, how });
        match how {
            CallTrouble::Nonsense => Ok(Answer::Nonsense(now)),
            how => Err(how.error(name)),
        }
    }

    /// The same for a call that is not asked for data: it has no way to answer nonsense but to be
    /// refused.
    pub(super) fn call(
        &self,
        replica: Option<u64>,
        name: &'static str,
    ) -> Result<(), HypervisorError> {
        match self.ask(replica, name)? {
            Answer::Sound => Ok(()),
            Answer::Nonsense(_) => Err(CallTrouble::Nonsense.error(name)),
        }
    }

    /// The trouble of the guest that is booted.
    pub(super) fn boot_trouble(&self) -> Plan {
        let of_boot = self.troubles.iter().filter_map(|trouble| match trouble {
            Trouble::Boot(what) => Some((0, what.clone())),
            _ => None,
        });
        Plan {
            replica: None,
            by_step: of_boot.collect(),
        }
    }

    /// The trouble of the replica that is restored now.
    pub(super) fn next_replica(&self) -> Plan {
        let now = self.replicas.fetch_add(1, Ordering::Relaxed);
        let of_replica = self.troubles.iter().filter_map(|trouble| match trouble {
            Trouble::Replica {
                replica,
                step,
                what,
            } if *replica == now => Some((*step, what.clone())),
            _ => None,
        });
        Plan {
            replica: Some(now),
            by_step: of_replica.collect(),
        }
    }

    /// What a computation comes to, run natively; once for equal jobs.
    pub(super) fn result(&self, name: &str, seed: u64, steps: u64) -> Option<NativeResult> {
        let descriptor = computation::find(name)?;
        let key = (name.to_owned(), seed, steps);
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let known = results.entry(key).or_insert_with(|| {
            let mut kernel = descriptor.start(seed);
            while kernel.steps_done() < steps {
                kernel.step();
            }
            NativeResult {
                digest: Digest(kernel.digest()),
                metrics: kernel.metrics(),
            }
        });
        Some(known.clone())
    }
}
