//! What a campaign will do, drawn before anything is run: pure.
//!
//! All trials of one computation share its seed, its steps and its stops, so that one clean replica
//! stands for all of them. Steps are a multiple of [`GRID`], and every fault strikes at an eighth:
//! all marks of all faults then lie on one grid, at which every replica stops.

use crate::campaign::cause::{self, KnownCause};
use crate::error::ControlError;
use crate::machine::MachineRequest;
use computation::Descriptor;
use computation::job::Mark;
use hypervisor::Accelerator;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Stops of every replica of a campaign with faults, besides the end.
const GRID: u64 = 8;

/// The most trials of one campaign.
pub const MAX_TRIALS: u32 = 1_000_000;

/// Registers that faults fall on: those that programs use, and the first of the vector registers.
const REGISTERS: [&str; 22] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "eflags", "xmm0", "xmm1", "xmm2", "xmm3",
];

/// What faults are drawn from, each with its share in a hundred.
const MIX: [(u64, Kind); 11] = [
    (45, Kind::Ram("live")),
    (10, Kind::Ram("any")),
    (5, Kind::Ram("text")),
    (17, Kind::Register("flip")),
    (4, Kind::Register("stuck-1")),
    (5, Kind::Mode("stuck-0")),
    (4, Kind::Mode("lost-write")),
    (4, Kind::Mode("stale")),
    (2, Kind::Told("log")),
    (2, Kind::Told("metric")),
    (2, Kind::Hang),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ram(&'static str),
    Register(&'static str),
    Mode(&'static str),
    Told(&'static str),
    Hang,
}

/// What the trials of a campaign are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialKind {
    /// One fault in one replica.
    Fault,
    /// No fault: whatever is found is wrong.
    Clean,
    /// One fault of a known cause in one replica, of which the hints are told nothing.
    Hints,
}

/// Where a fault of a machine that is not bit-exact falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPlace {
    /// In a buffer that the computation has named.
    Buffer,
    /// In other memory of a program.
    User,
}

/// A computation of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedComputation {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The seed of its input.
    pub seed: u64,
    /// How many steps it takes.
    pub steps: u64,
}

/// The machine of a campaign; one that does not say has the standard one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMachine {
    /// Its virtual processors.
    pub vcpus: u32,
    /// Whether time is counted in instructions.
    pub icount: bool,
    /// What executes its instructions: `tcg` or `kvm`.
    pub accelerator: String,
}

impl Default for PlannedMachine {
    fn default() -> Self {
        MachineRequest::default().into()
    }
}

impl From<MachineRequest> for PlannedMachine {
    fn from(request: MachineRequest) -> Self {
        Self {
            vcpus: request.vcpus,
            icount: request.is_deterministic(),
            accelerator: request.accelerator.name().to_owned(),
        }
    }
}

impl TryFrom<&PlannedMachine> for MachineRequest {
    type Error = ControlError;

    fn try_from(planned: &PlannedMachine) -> Result<Self, ControlError> {
        let accelerators = [Accelerator::Tcg, Accelerator::Kvm];
        let mut found = accelerators.into_iter();
        let found = found.find(|one| one.name() == planned.accelerator);
        let accelerator = found.ok_or_else(|| ControlError::Protocol {
            detail: format!(
                "the campaign names an accelerator {:?}",
                planned.accelerator
            ),
        })?;
        Ok(Self {
            vcpus: planned.vcpus,
            icount: Some(planned.icount),
            accelerator,
        })
    }
}

/// What a campaign is made of. The same plan draws the same trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignPlan {
    /// The seed of all draws.
    pub seed: u64,
    /// What its trials are.
    pub kind: TrialKind,
    /// How many trials.
    pub trials: u32,
    /// How many replicas are compared in each.
    pub replicas: u32,
    /// The machine that replicas are.
    #[serde(default)]
    pub machine: PlannedMachine,
    /// Where faults of machines that are not bit-exact fall; by turns where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<FaultPlace>,
    /// Whether the lists of changed pages are held against all memory in every replica.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_pages: bool,
    /// The computations, each taking its share of the trials.
    pub computations: Vec<PlannedComputation>,
}

/// One trial, as it was drawn: the truth that nobody who looks for faults is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u32,
    /// Which of the plan's computations.
    pub computation: usize,
    /// The fault, as an order for `--inject`; nothing in a trial that is clean or has a known cause.
    pub order: Option<String>,
    /// The fault of known cause, in a trial of hints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<KnownCause>,
    /// The replica that gets it.
    pub replica: u32,
    /// The seed of what the order leaves open.
    pub draw: u64,
    /// Whether the host is kept busy meanwhile.
    pub loaded: bool,
}

impl PlannedComputation {
    /// A computation at the size that a budget allows, on the grid.
    pub(super) fn of(descriptor: &Descriptor, seed: u64, steps: u64) -> Self {
        Self {
            name: descriptor.name.to_owned(),
            version: descriptor.version,
            seed,
            steps: steps.div_ceil(GRID).saturating_mul(GRID),
        }
    }

    /// Where every replica stops on its way, whatever its fault.
    pub(super) fn stops(&self, kind: TrialKind) -> Vec<Mark> {
        let stride = self.steps / GRID;
        let between = (1..GRID).map(|part| part * stride);
        let last = (kind == TrialKind::Hints).then(|| last_step(self.steps));
        let mut steps: Vec<u64> = between.chain(last).collect();
        steps.dedup();
        let steps = steps.into_iter().map(Mark::Step);
        [Mark::Start].into_iter().chain(steps).collect()
    }

    /// The library's entry.
    ///
    /// # Errors
    /// It is not in the library any more, or in another version.
    pub(super) fn descriptor(&self) -> Result<&'static Descriptor, ControlError> {
        computation::find(&self.name)
            .filter(|found| found.version == self.version)
            .ok_or_else(|| {
                ControlError::Computation(format!(
                    "the library holds no {} of version {}: this campaign was begun by another vardoger",
                    self.name, self.version
                ))
            })
    }
}

impl CampaignPlan {
    /// All trials, computation by computation.
    #[must_use]
    pub fn draw(&self) -> Vec<Trial> {
        let count = self.computations.len().max(1);
        let mut trials: Vec<Trial> = (0..self.trials)
            .map(|number| self.trial(number, number as usize % count))
            .collect();
        if self.kind != TrialKind::Clean {
            trials.sort_by_key(|trial| (trial.computation, trial.number));
        }
        trials
    }

    fn trial(&self, number: u32, computation: usize) -> Trial {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(u64::from(number));
        let replica = below(&mut random, u64::from(self.replicas.max(1)));
        let steps = self
            .computations
            .get(computation)
            .map_or(GRID, |one| one.steps);
        let order = match self.kind {
            TrialKind::Clean | TrialKind::Hints => None,
            TrialKind::Fault if self.machine.icount => Some(order(&mut random, steps)),
            TrialKind::Fault => Some(inexact_order(self.place, number)),
        };
        let cause = (self.kind == TrialKind::Hints).then(|| cause::draw(&mut random, steps));
        Trial {
            number,
            computation,
            order,
            cause,
            replica: u32::try_from(replica).unwrap_or(0),
            draw: random.next_u64(),
            loaded: self.kind == TrialKind::Clean && number % 2 == 1,
        }
    }
}

/// The mark before the last step.
pub(super) fn last_step(steps: u64) -> u64 {
    steps.saturating_sub(1)
}

/// Seals a truth: whoever has this text can tell later whether the truth was changed.
#[must_use]
pub fn seal(truth: &[u8]) -> String {
    blake3::hash(truth).to_hex().to_string()
}

fn below(random: &mut ChaCha8Rng, choices: u64) -> u64 {
    random.next_u64() % choices.max(1)
}

/// A fault at the end of a machine that is not bit-exact: in a named buffer and in other memory of a
/// program by turns, unless it is said where.
fn inexact_order(place: Option<FaultPlace>, number: u32) -> String {
    let by_turns = if number.is_multiple_of(2) {
        FaultPlace::Buffer
    } else {
        FaultPlace::User
    };
    let place = match place.unwrap_or(by_turns) {
        FaultPlace::Buffer => "buffer",
        FaultPlace::User => "user",
    };
    format!("ram={place}@end")
}

/// A fault of the mix, at an eighth of the computation.
fn order(random: &mut ChaCha8Rng, steps: u64) -> String {
    let eighth = below(random, 9);
    let when = match eighth {
        0 => "start".to_owned(),
        8 => "end".to_owned(),
        part => format!("step:{}", part * (steps / 8)),
    };
    // What lasts begins early enough to show.
    let early = match eighth % 4 {
        0 => "start".to_owned(),
        part => format!("step:{}", part * (steps / 8) * 2),
    };
    let register = REGISTERS.get(below(random, REGISTERS.len() as u64) as usize);
    let register = register.copied().unwrap_or("rax");
    match kind(below(random, 100)) {
        Kind::Ram(place) => format!("ram={place}@{when}"),
        Kind::Register("flip") => format!("reg={register}@{when}"),
        Kind::Register(mode) => format!("reg={register}@{early},mode={mode}"),
        Kind::Mode(mode) => format!("ram=live@{early},mode={mode}"),
        Kind::Told(part) => part.to_owned(),
        Kind::Hang => format!("hang@{early}"),
    }
}

fn kind(mut share: u64) -> Kind {
    for (weight, kind) in MIX {
        match share.checked_sub(weight) {
            Some(rest) => share = rest,
            None => return kind,
        }
    }
    Kind::Ram("live")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::{Injection, plan};
    use std::collections::BTreeMap;

    fn campaign(kind: TrialKind, trials: u32) -> CampaignPlan {
        let one = |name: &str, steps: u64| PlannedComputation {
            name: name.to_owned(),
            version: 1,
            seed: 1,
            steps,
        };
        CampaignPlan {
            seed: 9,
            kind,
            trials,
            replicas: 3,
            machine: PlannedMachine::default(),
            place: None,
            check_pages: false,
            computations: vec![one("sha256", 128), one("matmul", 8)],
        }
    }

    #[test]
    fn the_shares_make_a_hundred() {
        assert_eq!(MIX.iter().map(|(share, _)| share).sum::<u64>(), 100);
    }

    #[test]
    fn every_order_is_understood_and_stops_on_the_grid() {
        let campaign = campaign(TrialKind::Fault, 3000);
        let mut parts = BTreeMap::new();
        for trial in campaign.draw() {
            let computation = &campaign.computations[trial.computation];
            let order = Injection::parse(&trial.order.unwrap()).unwrap();
            *parts.entry(order.part.name()).or_insert(0) += 1;
            let planned = plan(&[order], trial.draw, 3, computation.steps).unwrap();
            let stops = computation.stops(TrialKind::Fault);
            for mark in &planned[0].marks {
                assert!(
                    *mark == Mark::End || stops.contains(mark),
                    "{mark} of {planned:?}"
                );
            }
        }
        assert_eq!(parts.len(), 5, "{parts:?}");
        assert!(parts.values().all(|&count| count > 20), "{parts:?}");
    }

    #[test]
    fn every_fault_of_known_cause_stops_on_its_grid() {
        let campaign = campaign(TrialKind::Hints, 3000);
        for trial in campaign.draw() {
            let computation = &campaign.computations[trial.computation];
            let orders = trial.cause.unwrap().orders;
            let orders: Vec<Injection> = orders
                .iter()
                .map(|order| Injection::parse(order).unwrap())
                .collect();
            let stops = computation.stops(TrialKind::Hints);
            for planned in plan(&orders, trial.draw, 3, computation.steps).unwrap() {
                for mark in &planned.marks {
                    assert!(
                        *mark == Mark::End || stops.contains(mark),
                        "{mark} of {planned:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_same_plan_draws_the_same_and_other_seeds_others() {
        let campaign = campaign(TrialKind::Fault, 50);
        let other = CampaignPlan {
            seed: 10,
            ..campaign.clone()
        };
        assert_eq!(campaign.draw(), campaign.draw());
        assert_ne!(campaign.draw(), other.draw());
    }

    #[test]
    fn faults_of_machines_that_are_not_bit_exact_fall_where_it_was_said() {
        let orders = |place| {
            let plan = CampaignPlan {
                machine: PlannedMachine {
                    icount: false,
                    ..PlannedMachine::default()
                },
                place,
                ..campaign(TrialKind::Fault, 10)
            };
            let trials = plan.draw().into_iter();
            let in_buffer = trials.filter(|one| one.order.as_deref() == Some("ram=buffer@end"));
            in_buffer.count()
        };
        assert_eq!(orders(None), 5);
        assert_eq!(orders(Some(FaultPlace::Buffer)), 10);
        assert_eq!(orders(Some(FaultPlace::User)), 0);
    }

    #[test]
    fn half_of_the_clean_trials_are_loaded() {
        let trials = campaign(TrialKind::Clean, 100).draw();
        assert_eq!(trials.iter().filter(|trial| trial.loaded).count(), 50);
        assert!(trials.iter().all(|trial| trial.order.is_none()));
    }
}
