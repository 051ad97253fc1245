//! Faults that the user orders, as a check of the detector: what they are, and what is drawn.
//!
//! ```text
//! PART[=WHERE][:BIT][@WHEN][,replica=K][,mode=MODE]
//!   ram           WHERE: live (default) | text | buffer | user | any | 0xADDRESS
//!   reg=NAME
//!   log[=LINE]    metric[=NAME]    at the end
//!   hang
//! ```
//!
//! | mode | what happens to the machine |
//! |---|---|
//! | `flip` | one bit changes, once |
//! | `stuck-0`, `stuck-1` | one bit has this value at WHEN and at every later eighth of the computation |
//! | `lost-write` | what was written to 64 bytes between WHEN and half way to the end is undone |
//! | `stale` | the same for a whole page |
//!
//! What is left open is drawn from the run's seed and the injection's position, so that the same
//! command line does the same thing again. What the draw falls on is known only when the replica
//! stands at the mark: then the pages that are live are listed.

mod grammar;

pub use grammar::InjectionError;

use computation::job::Mark;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;

/// Injections that one run takes: a report with more is not read by anybody.
pub const MAX_INJECTIONS: usize = 64;

/// A stuck bit is put back this many times over a whole computation.
const STUCK_PARTS: u64 = 8;

/// The part of the machine that a fault is put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultPart {
    /// Guest memory.
    Ram(RamWhere),
    /// One bit of a register of vCPU 0.
    Register(String),
    /// One character of a line of the log, counted from 1; drawn where absent.
    Log(Option<u64>),
    /// One bit of a figure that the guest counts, by name; drawn where absent.
    Metric(Option<String>),
    /// The replica executes nothing but a jump to itself from then on.
    Hang,
}

impl FaultPart {
    /// Its word in orders and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ram(_) => "ram",
            Self::Register(_) => "reg",
            Self::Log(_) => "log",
            Self::Metric(_) => "metric",
            Self::Hang => "hang",
        }
    }

    /// Where a fault strikes if nothing else is said: `on_the_way`, unless it can only be the end.
    fn usual_mark(&self, on_the_way: Mark) -> Mark {
        match self {
            Self::Log(_) | Self::Metric(_) => Mark::End,
            Self::Ram(_) | Self::Register(_) | Self::Hang => on_the_way,
        }
    }
}

/// Where in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamWhere {
    /// A page that changed since the snapshot.
    Live,
    /// The kernel's code.
    Text,
    /// A buffer that the computation has named.
    Buffer,
    /// A page of a program that changed since the snapshot, outside of named buffers.
    User,
    /// Anywhere.
    Any,
    /// The byte at a guest-physical address.
    Address(u64),
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultMode {
    /// A bit changes, once.
    Flip,
    /// A bit is this value, again and again.
    Stuck(bool),
    /// What was written to a line of the cache does not reach memory.
    LostWrite,
    /// A page is read as it was before.
    Stale,
}

impl FaultMode {
    const ALL: [Self; 5] = [
        Self::Flip,
        Self::Stuck(false),
        Self::Stuck(true),
        Self::LostWrite,
        Self::Stale,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Its word in orders and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Stuck(false) => "stuck-0",
            Self::Stuck(true) => "stuck-1",
            Self::LostWrite => "lost-write",
            Self::Stale => "stale",
        }
    }

    /// Whether it puts memory back as it was at its first mark.
    #[must_use]
    pub fn puts_back(self) -> bool {
        matches!(self, Self::LostWrite | Self::Stale)
    }
}

impl fmt::Display for FaultMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault as it was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// Where.
    pub part: FaultPart,
    /// Which bit: of the byte for RAM, of the register, character or figure. Drawn where absent.
    pub bit: Option<u32>,
    /// At which mark of the computation.
    pub when: Mark,
    /// Which replica. Drawn where absent.
    pub replica: Option<u32>,
    /// What it does.
    pub mode: FaultMode,
}

impl Injection {
    /// Reads an order.
    ///
    /// # Errors
    /// It is not of the grammar, or orders what cannot be done.
    pub fn parse(text: &str) -> Result<Self, InjectionError> {
        grammar::parse(text, Mark::Half)
    }

    /// Reads an order for a user's program, whose half nobody knows: its usual mark is the start.
    ///
    /// # Errors
    /// As for [`Injection::parse`].
    pub fn parse_for_program(text: &str) -> Result<Self, InjectionError> {
        grammar::parse(text, Mark::Start)
    }

    /// The marks at which something is done, in order, in a computation of `steps` steps.
    fn marks(&self, steps: u64) -> Vec<Mark> {
        let first = self.when.at(steps);
        let mut marks = vec![self.when];
        match self.mode {
            FaultMode::Flip => {}
            FaultMode::Stuck(_) if self.when == Mark::End => {}
            FaultMode::Stuck(_) => {
                let eighths = (1..STUCK_PARTS).map(|part| {
                    u64::try_from(u128::from(steps) * u128::from(part) / u128::from(STUCK_PARTS))
                        .unwrap_or(steps)
                });
                marks.extend(eighths.filter(|&step| step > first).map(Mark::Step));
                marks.push(Mark::End);
                marks.dedup();
            }
            FaultMode::LostWrite | FaultMode::Stale => {
                let between = first + steps.saturating_sub(first).div_ceil(2);
                marks.push(if between < steps {
                    Mark::Step(between)
                } else {
                    Mark::End
                });
            }
        }
        marks
    }
}

/// An injection whose replica is settled and whose other draws are fixed by a seed.
#[derive(Debug, Clone)]
pub struct PlannedInjection {
    /// What was ordered.
    pub injection: Injection,
    /// Which replica gets it.
    pub replica: u32,
    /// The marks at which something is done, in order.
    pub marks: Vec<Mark>,
    draws: Draws,
}

/// Numbers that were drawn before the run, so that nothing depends on when they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draws {
    place: u64,
    offset: u64,
    bit: u64,
}

/// Settles the replicas and marks of the injections of a run of `steps` steps.
///
/// # Errors
/// A replica that does not exist, or too many injections.
pub fn plan(
    injections: &[Injection],
    seed: u64,
    replicas: u32,
    steps: u64,
) -> Result<Vec<PlannedInjection>, InjectionError> {
    if injections.len() > MAX_INJECTIONS {
        return Err(InjectionError::TooMany);
    }
    injections
        .iter()
        .zip(0_u64..)
        .map(|(injection, position)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(position);
            let drawn = random.next_u64() % u64::from(replicas.max(1));
            let replica = injection
                .replica
                .unwrap_or_else(|| u32::try_from(drawn).unwrap_or(0));
            if replica >= replicas {
                return Err(InjectionError::NoSuchReplica { replica, replicas });
            }
            Ok(PlannedInjection {
                injection: injection.clone(),
                replica,
                marks: injection.marks(steps),
                draws: Draws {
                    place: random.next_u64(),
                    offset: random.next_u64(),
                    bit: random.next_u64(),
                },
            })
        })
        .collect()
}

impl PlannedInjection {
    /// One of `choices` places, the same for the same seed.
    #[must_use]
    pub fn draw_place(&self, choices: u64) -> u64 {
        self.draws.place % choices.max(1)
    }

    /// One of `choices` places within the place.
    #[must_use]
    pub fn draw_within(&self, choices: u64) -> u64 {
        self.draws.offset % choices.max(1)
    }

    /// The ordered bit, or a drawn one below `width`.
    #[must_use]
    pub fn bit(&self, width: u32) -> u32 {
        self.injection
            .bit
            .unwrap_or_else(|| u32::try_from(self.draws.bit % u64::from(width.max(1))).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str, steps: u64) -> Vec<String> {
        let injection = Injection::parse(text).unwrap();
        injection.marks(steps).iter().map(Mark::to_string).collect()
    }

    #[test]
    fn a_flip_is_done_once() {
        assert_eq!(marks("ram", 80), ["half"]);
        assert_eq!(marks("reg=rax@end", 80), ["end"]);
    }

    #[test]
    fn a_stuck_bit_comes_back_at_every_later_eighth() {
        assert_eq!(
            marks("ram,mode=stuck-1", 80),
            ["half", "step:50", "step:60", "step:70", "end"]
        );
        assert_eq!(marks("ram@step:75,mode=stuck-0", 80), ["step:75", "end"]);
        assert_eq!(marks("ram@end,mode=stuck-0", 80), ["end"]);
        assert_eq!(marks("ram@start,mode=stuck-0", 1), ["start", "end"]);
        assert_eq!(marks("ram@start,mode=stuck-0", u64::MAX).len(), 9);
    }

    #[test]
    fn a_write_is_lost_half_way_to_the_end() {
        assert_eq!(marks("ram,mode=stale", 80), ["half", "step:60"]);
        assert_eq!(marks("ram@start,mode=lost-write", 80), ["start", "step:40"]);
        assert_eq!(marks("ram@step:79,mode=stale", 80), ["step:79", "end"]);
        assert_eq!(marks("ram@start,mode=stale", 1), ["start", "end"]);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let order = [Injection::parse("ram").unwrap()];
        let draw = |seed| {
            let planned = plan(&order, seed, 5, 80).unwrap().remove(0);
            (planned.replica, planned.draw_place(1000), planned.bit(8))
        };
        assert_eq!(draw(7), draw(7));
        let drawn: std::collections::BTreeSet<_> = (0..20).map(draw).collect();
        assert!(drawn.len() > 15, "seeds hardly matter: {drawn:?}");
    }

    #[test]
    fn a_replica_that_does_not_exist_is_refused() {
        let order = [Injection::parse("ram,replica=5").unwrap()];
        assert!(plan(&order, 0, 5, 80).is_err());
        assert!(plan(&order, 0, 6, 80).is_ok());
    }
}
