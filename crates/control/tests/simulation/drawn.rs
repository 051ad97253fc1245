//! What is drawn from a seed: the request of a run, and its troubles.

use control::injection::Injection;
use control::{Keep, RunRequest};
use hypervisor::sim::{Span, Trouble};

/// Calls that can fail: from the boot to the saved machine, and of a replica, with a fault or
/// without.
const CALLS_OF_BOOT: u64 = 5;
const CALLS_OF_REPLICA: u64 = 9;

/// What a replica may take, and its steps in that, about.
const BUDGET_S: f64 = 0.005;
const STEPS: u64 = 32;

/// Faults that are ordered, from one seed in three on.
const FAULTS: [&str; 5] = [
    "ram=live",
    "reg=r13",
    "reg=r12:9",
    "hang",
    "ram=0x3f0008:3@start",
];

/// A run that is drawn.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) replicas: u32,
    /// The fault that is ordered, and the replica that gets it.
    pub(crate) fault: Option<(String, u64)>,
    pub(crate) troubles: Vec<Trouble>,
    seed: u64,
    keep: Keep,
}

impl Drawn {
    pub(crate) fn from(seed: u64) -> Self {
        let replicas = 2 + seed % 4;
        let fault = seed.is_multiple_of(3).then(|| {
            let which = usize::try_from(seed / 3).unwrap_or(0) % FAULTS.len();
            let replica = seed / 5 % replicas;
            (format!("{},replica={replica}", FAULTS[which]), replica)
        });
        let within = Span {
            calls: CALLS_OF_BOOT + CALLS_OF_REPLICA * replicas,
            replicas,
            steps: STEPS,
        };
        Self {
            replicas: u32::try_from(replicas).unwrap_or(2),
            fault,
            troubles: Trouble::draw(seed, &within),
            seed,
            keep: if seed.is_multiple_of(7) {
                Keep::All
            } else {
                Keep::Differing
            },
        }
    }

    pub(crate) fn put_into(&self, request: &mut RunRequest) {
        request.replicas = self.replicas;
        request.keep = self.keep;
        request.budget_s = Some(BUDGET_S);
        // No golden digest is shipped for it.
        request.seed = 1_000_003 + self.seed;
        let faults = self.fault.iter();
        request.injections = faults
            .map(|(fault, _)| Injection::parse(fault).expect("a fault of the grammar"))
            .collect();
    }
}
