//! What can be told to go wrong, and the desk where calls are counted.

use crate::error::HypervisorError;
use computation::Digest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The guest that is booted goes wrong before it is ready: at its step 0.
    Boot(GuestTrouble),
    /// A replica's guest goes wrong before a step of its work. Replicas are counted in the order in
    /// which they are restored.
    Replica {
        /// Which replica.
        replica: u64,
        /// Before which step, counted from 0.
        step: u64,
        /// What it does.
        what: GuestTrouble,
    },
    /// A call of the traits fails, whichever it is.
    Call {
        /// Which call that can fail, counted from 1 over all domains.
        number: u64,
        /// How.
        how: CallTrouble,
    },
}

/// How a guest goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestTrouble {
    /// It runs on and gets nowhere.
    Hang,
    /// It shuts down; the text says how.
    Crash(String),
    /// It tells that it cannot go on.
    Fail(String),
    /// It signals without a word.
    Silence,
    /// It says a line of its own making, and goes on.
    Say(Vec<u8>),
    /// A bit of its memory is wrong from now on.
    Flip {
        /// The guest-physical address of the byte.
        address: u64,
        /// The bit of the byte.
        bit: u32,
    },
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallTrouble {
    /// The emulator is gone.
    MonitorLost,
    /// A file operation fails.
    InputOutput,
}

/// The trouble of one replica, by the step before which it comes.
pub(super) type Plan = BTreeMap<u64, GuestTrouble>;

/// What all domains of one hypervisor share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    troubles: Vec<Trouble>,
    calls: AtomicU64,
    replicas: AtomicU64,
    /// Results that were computed natively: a function of computation, seed and steps.
    results: Mutex<BTreeMap<(String, u64, u64), NativeResult>>,
}

/// What a computation comes to.
#[derive(Debug, Clone)]
pub(super) struct NativeResult {
    pub(super) digest: Digest,
    pub(super) metrics: Vec<(String, f64)>,
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

    /// Counts a call, and fails it if that was ordered.
    pub(super) fn call(&self, name: &'static str) -> Result<(), HypervisorError> {
        let now = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let ordered = self.troubles.iter().find_map(|trouble| match trouble {
            Trouble::Call { number, how } if *number == now => Some(*how),
            _ => None,
        });
        match ordered {
            None => Ok(()),
            Some(CallTrouble::MonitorLost) => Err(HypervisorError::Exited {
                doing: name.to_owned(),
                status: "signal: 9".to_owned(),
                detail: String::new(),
            }),
            Some(CallTrouble::InputOutput) => Err(HypervisorError::File {
                doing: name,
                path: PathBuf::from("sim"),
                source: std::io::Error::from_raw_os_error(libc::EIO),
            }),
        }
    }

    /// The trouble of the guest that is booted.
    pub(super) fn boot_trouble(&self) -> Plan {
        let of_boot = self.troubles.iter().filter_map(|trouble| match trouble {
            Trouble::Boot(what) => Some((0, what.clone())),
            _ => None,
        });
        of_boot.collect()
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
        of_replica.collect()
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
