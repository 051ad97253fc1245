//! Faults that the user orders, as a check of the detector: what they are, and what is drawn.
//!
//! ```text
//! PART[=WHERE][:BIT][@WHEN][,replica=K|,cpu=C][,mode=MODE][,PATTERN…]
//!   ram           WHERE: live (default) | written | doubles | text | buffer | user | any | 0xADDRESS
//!   reg=NAME
//!   disk          WHERE: live (default) | 0xADDRESS    at the end
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
//! | `undershoot` | the same for the last bytes of what was written in one stretch |
//! | `scramble` | several bits of each word change, others in each |
//! | `misread` | each word holds what another word holds |
//! | `zero` | an aligned block of 512 bytes is zero |
//!
//! Of a disk a lost write is that of a sector, and a stale page a block of 4096 bytes: both hold
//! what they held before the run.
//!
//! A [`Pattern`] makes a fault of `ram` one of whole words. A fault of a CPU strikes every replica
//! that runs on it.
//!
//! What is left open is drawn from the run's seed and the injection's position, so that the same
//! command line does the same thing again. What the draw falls on is known only when the replica
//! stands at the mark: then the pages that are live are listed.

mod grammar;
mod pattern;

pub use grammar::InjectionError;
pub use pattern::{MAX_WORDS, Pattern};

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
    /// The disk of the replica.
    Disk(DiskWhere),
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
            Self::Disk(_) => "disk",
            Self::Log(_) => "log",
            Self::Metric(_) => "metric",
            Self::Hang => "hang",
        }
    }

    /// Where a fault strikes if nothing else is said: `on_the_way`, unless it can only be the end.
    fn usual_mark(&self, on_the_way: Mark) -> Mark {
        match self {
            Self::Log(_) | Self::Metric(_) | Self::Disk(_) => Mark::End,
            Self::Ram(_) | Self::Register(_) | Self::Hang => on_the_way,
        }
    }
}

/// Where in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamWhere {
    /// A page that changed since the snapshot.
    Live,
    /// A word that was written since the snapshot: what a processor got wrong is in one.
    Written,
    /// Such a word that reads as a double of ordinary magnitude.
    Doubles,
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

/// Where on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskWhere {
    /// A sector that holds another thing than before the run.
    Live,
    /// The byte at an address of the disk.
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
    /// The last bytes of a stretch that was written keep what they held before.
    Undershoot,
    /// Several bits of a word change.
    Scramble,
    /// A word holds what another one holds.
    Misread,
    /// A block of a disk's sector is zero.
    Zero,
}

impl FaultMode {
    const ALL: [Self; 9] = [
        Self::Flip,
        Self::Stuck(false),
        Self::Stuck(true),
        Self::LostWrite,
        Self::Stale,
        Self::Undershoot,
        Self::Scramble,
        Self::Misread,
        Self::Zero,
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
            Self::Undershoot => "undershoot",
            Self::Scramble => "scramble",
            Self::Misread => "misread",
            Self::Zero => "zero",
        }
    }

    /// Whether it puts memory back as it was at its first mark.
    #[must_use]
    pub fn puts_back(self) -> bool {
        matches!(self, Self::LostWrite | Self::Stale | Self::Undershoot)
    }

    /// Whether it takes whole words even where no pattern was ordered.
    const fn is_of_words(self) -> bool {
        matches!(self, Self::Scramble | Self::Misread)
    }

    /// Whether a bit or a pattern can be ordered with it.
    const fn takes_bits(self) -> bool {
        matches!(self, Self::Flip | Self::Stuck(_))
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
    /// The host CPU whose replicas all get it, instead of one replica.
    pub cpu: Option<u32>,
    /// What it does.
    pub mode: FaultMode,
    /// Of memory: which words, and which bits of each.
    pub pattern: Pattern,
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

    /// Whether it strikes whole words of memory.
    #[must_use]
    pub fn is_of_words(&self) -> bool {
        matches!(self.part, FaultPart::Ram(_))
            && (self.mode.is_of_words()
                || !self.pattern.is_plain()
                || matches!(
                    self.part,
                    FaultPart::Ram(RamWhere::Written | RamWhere::Doubles)
                ))
    }

    /// The marks at which something is done, in order, in a computation of `steps` steps.
    fn marks(&self, steps: u64) -> Vec<Mark> {
        let first = self.when.at(steps);
        let mut marks = vec![self.when];
        if matches!(self.part, FaultPart::Disk(_)) {
            return marks;
        }
        match self.mode {
            FaultMode::Flip | FaultMode::Scramble | FaultMode::Misread | FaultMode::Zero => {}
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
            FaultMode::LostWrite | FaultMode::Stale | FaultMode::Undershoot => {
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

impl fmt::Display for Injection {
    /// The order that is read back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.part.name())?;
        match &self.part {
            FaultPart::Ram(place) => write!(f, "={place}")?,
            FaultPart::Disk(place) => write!(f, "={place}")?,
            FaultPart::Register(name) | FaultPart::Metric(Some(name)) => write!(f, "={name}")?,
            FaultPart::Log(Some(line)) => write!(f, "={line}")?,
            FaultPart::Log(None) | FaultPart::Metric(None) | FaultPart::Hang => {}
        }
        if let Some(bit) = self.bit {
            write!(f, ":{bit}")?;
        }
        write!(f, "@{}", self.when)?;
        if let Some(replica) = self.replica {
            write!(f, ",replica={replica}")?;
        }
        if let Some(cpu) = self.cpu {
            write!(f, ",cpu={cpu}")?;
        }
        if self.mode != FaultMode::Flip {
            write!(f, ",mode={}", self.mode)?;
        }
        self.pattern.fmt(f)
    }
}

impl RamWhere {
    /// Whether words there were all written since the snapshot.
    pub(crate) const fn is_written(self) -> bool {
        matches!(self, Self::Written | Self::Doubles)
    }
}

impl fmt::Display for DiskWhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Address(address) => write!(f, "{address:#x}"),
        }
    }
}

impl fmt::Display for RamWhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Written => f.write_str("written"),
            Self::Doubles => f.write_str("doubles"),
            Self::Text => f.write_str("text"),
            Self::Buffer => f.write_str("buffer"),
            Self::User => f.write_str("user"),
            Self::Any => f.write_str("any"),
            Self::Address(address) => write!(f, "{address:#x}"),
        }
    }
}

/// Gives every fault of a CPU to the replicas that run there, as one fault for each: a core that
/// computes wrongly does not do the same wrong twice.
///
/// # Errors
/// No replica runs on that CPU.
pub fn bind(injections: &[Injection], cpus: &[u32]) -> Result<Vec<Injection>, InjectionError> {
    let mut bound = Vec::new();
    for injection in injections {
        let Some(cpu) = injection.cpu else {
            bound.push(injection.clone());
            continue;
        };
        let there = (0_u32..).zip(cpus).filter(|(_, on)| **on == cpu);
        let before = bound.len();
        bound.extend(there.map(|(replica, _)| Injection {
            replica: Some(replica),
            cpu: None,
            ..injection.clone()
        }));
        if bound.len() == before {
            return Err(InjectionError::NoSuchCpu(cpu));
        }
    }
    Ok(bound)
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

    /// A source of draws for faults that need many.
    pub(crate) fn random(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.draws.place ^ self.draws.offset.rotate_left(32))
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
    fn an_order_is_read_back_as_it_was_written() {
        for order in [
            "ram",
            "ram=doubles@end,words=9,bits=20-45",
            "ram=written@end,words=4,stride=64",
            "ram=0x1000:3@start,replica=2,mode=stuck-1",
            "ram@end,cpu=1,mode=scramble,words=8,stride=32",
            "ram=text@step:7,mask=0xff00,where-bit=3",
            "reg=rax:5",
            "log=2",
            "metric=hashed",
            "hang@half",
            "ram@start,mode=undershoot",
            "disk",
            "disk=0x12345:7,replica=1",
            "disk,mode=lost-write",
        ] {
            let injection = Injection::parse(order).unwrap();
            let again = injection.to_string();
            assert_eq!(Injection::parse(&again).unwrap(), injection, "{again}");
        }
    }

    #[test]
    fn a_fault_of_a_cpu_strikes_each_replica_there() {
        let order = [Injection::parse("ram@end,cpu=1,mode=scramble").unwrap()];
        let replicas = |cpus: &[u32]| -> Vec<Option<u32>> {
            let bound = bind(&order, cpus).unwrap();
            bound.iter().map(|one| one.replica).collect()
        };
        assert_eq!(replicas(&[0, 1, 0]), [Some(1)]);
        assert_eq!(replicas(&[1, 0, 1]), [Some(0), Some(2)]);
        assert_eq!(bind(&order, &[0, 0]), Err(InjectionError::NoSuchCpu(1)));
    }

    #[test]
    fn a_replica_that_does_not_exist_is_refused() {
        let order = [Injection::parse("ram,replica=5").unwrap()];
        assert!(plan(&order, 0, 5, 80).is_err());
        assert!(plan(&order, 0, 6, 80).is_ok());
    }
}
