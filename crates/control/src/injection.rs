//! Faults that the user orders, as a check of the detector: pure parsing and drawing.
//!
//! ```text
//! PART[=WHERE][:BIT][@WHEN][,replica=K][,mode=flip]
//!   ram           WHERE: live (default) | text | any | 0xADDRESS
//!   reg=NAME
//!   hang
//! ```
//!
//! What is left open is drawn from the run's seed and the injection's position, so that the same
//! command line does the same thing again. What the draw falls on is known only when the replica
//! stands at the mark: then the pages that are live are listed.

use computation::job::Mark;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Injections that one run takes: a report with more is not read by anybody.
pub const MAX_INJECTIONS: usize = 64;

/// The part of the machine that a fault is put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultPart {
    /// One bit of guest memory.
    Ram(RamWhere),
    /// One bit of a register of vCPU 0.
    Register(String),
    /// The replica executes nothing but a jump to itself from then on.
    Hang,
}

/// Where in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamWhere {
    /// A page that changed since the snapshot.
    Live,
    /// The kernel's code.
    Text,
    /// Anywhere.
    Any,
    /// The byte at a guest-physical address.
    Address(u64),
}

/// A fault as it was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// Where.
    pub part: FaultPart,
    /// Which bit: of the byte for RAM, of the register for a register. Drawn where absent.
    pub bit: Option<u32>,
    /// At which mark of the computation.
    pub when: Mark,
    /// Which replica. Drawn where absent.
    pub replica: Option<u32>,
}

/// Why an order cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// The part is not one that exists.
    #[error("unknown part {0:?}: it is ram, reg or hang")]
    UnknownPart(String),
    /// The part exists in the grammar and cannot be injected into yet.
    #[error("faults in {0:?} cannot be injected yet: only ram, reg and hang can")]
    NotYet(String),
    /// The place within the part is none.
    #[error("{0:?} is no place in memory: it is live, text, any or an address such as 0x1f0000")]
    UnknownPlace(String),
    /// A register is named by its name.
    #[error("reg needs the name of a register, such as reg=rax")]
    NoRegister,
    /// A hang has no place and no bit.
    #[error("hang takes neither a place nor a bit")]
    HangTakesNothing,
    /// The bit is no number, or too large for a byte.
    #[error("{0:?} is no bit: a byte of memory has bits 0 to 7, a register 0 to 511")]
    BadBit(String),
    /// The mark is none of the computation's.
    #[error("{0:?} is no mark: it is start, half, end or step:K")]
    BadMark(String),
    /// Something that only wall-clock time can say.
    #[error("@time is not repeatable and is not supported yet: use start, half, end or step:K")]
    TimeNotYet,
    /// An option after a comma is unknown.
    #[error("unknown option {0:?}: it is replica=K or mode=flip")]
    UnknownOption(String),
    /// The replica does not exist.
    #[error("there is no replica {replica}: this run has replicas 0 to {}", .replicas.saturating_sub(1))]
    NoSuchReplica {
        /// What was asked for.
        replica: u32,
        /// How many there are.
        replicas: u32,
    },
    /// More faults than one run takes.
    #[error("a run takes at most {MAX_INJECTIONS} injections")]
    TooMany,
}

impl Injection {
    /// Reads an order.
    ///
    /// # Errors
    /// It is not of the grammar, or orders what cannot be done yet.
    pub fn parse(text: &str) -> Result<Self, InjectionError> {
        let mut options = text.split(',');
        let head = options.next().unwrap_or_default();
        let (head, when) = match head.split_once('@') {
            Some((head, when)) => (head, parse_mark(when)?),
            None => (head, Mark::Half),
        };
        let (place, bit) = split_bit(head)?;
        let (part, place) = match place.split_once('=') {
            Some((part, place)) => (part, Some(place)),
            None => (place, None),
        };
        let part = parse_part(part, place)?;
        if part == FaultPart::Hang && bit.is_some() {
            return Err(InjectionError::HangTakesNothing);
        }
        let widest = if matches!(part, FaultPart::Ram(_)) {
            7
        } else {
            511
        };
        if let Some(bit) = bit.filter(|&bit| bit > widest) {
            return Err(InjectionError::BadBit(bit.to_string()));
        }
        Ok(Self {
            part,
            bit,
            when,
            replica: parse_options(options)?,
        })
    }

    /// The part's word in reports.
    #[must_use]
    pub fn part_name(&self) -> &'static str {
        match self.part {
            FaultPart::Ram(_) => "ram",
            FaultPart::Register(_) => "reg",
            FaultPart::Hang => "hang",
        }
    }
}

fn split_bit(head: &str) -> Result<(&str, Option<u32>), InjectionError> {
    match head.split_once(':') {
        None => Ok((head, None)),
        Some((place, bit)) => match bit.parse() {
            Ok(number) => Ok((place, Some(number))),
            Err(_) => Err(InjectionError::BadBit(bit.to_owned())),
        },
    }
}

fn parse_mark(text: &str) -> Result<Mark, InjectionError> {
    if text.starts_with("time") {
        return Err(InjectionError::TimeNotYet);
    }
    text.parse()
        .map_err(|_| InjectionError::BadMark(text.to_owned()))
}

fn parse_part(part: &str, place: Option<&str>) -> Result<FaultPart, InjectionError> {
    match (part, place) {
        ("ram", place) => parse_ram(place.unwrap_or("live")).map(FaultPart::Ram),
        ("reg", Some(name)) if !name.is_empty() => {
            Ok(FaultPart::Register(name.to_ascii_lowercase()))
        }
        ("reg", _) => Err(InjectionError::NoRegister),
        ("hang", None) => Ok(FaultPart::Hang),
        ("hang", Some(_)) => Err(InjectionError::HangTakesNothing),
        ("disk" | "log" | "metric", _) => Err(InjectionError::NotYet(part.to_owned())),
        _ => Err(InjectionError::UnknownPart(part.to_owned())),
    }
}

fn parse_ram(place: &str) -> Result<RamWhere, InjectionError> {
    Ok(match place {
        "live" => RamWhere::Live,
        "text" => RamWhere::Text,
        "any" => RamWhere::Any,
        address => RamWhere::Address(
            model::address::parse_u64(address)
                .map_err(|_| InjectionError::UnknownPlace(address.to_owned()))?,
        ),
    })
}

fn parse_options<'a>(
    options: impl Iterator<Item = &'a str>,
) -> Result<Option<u32>, InjectionError> {
    let mut replica = None;
    for option in options {
        let unknown = || InjectionError::UnknownOption(option.to_owned());
        match option.split_once('=').ok_or_else(unknown)? {
            ("replica", number) => replica = Some(number.parse().map_err(|_| unknown())?),
            ("mode", "flip") => {}
            ("mode", mode @ ("stuck-0" | "stuck-1" | "lost-write" | "stale")) => {
                return Err(InjectionError::NotYet(format!("mode={mode}")));
            }
            _ => return Err(unknown()),
        }
    }
    Ok(replica)
}

/// An injection whose replica is settled and whose other draws are fixed by a seed.
#[derive(Debug, Clone)]
pub struct PlannedInjection {
    /// What was ordered.
    pub injection: Injection,
    /// Which replica gets it.
    pub replica: u32,
    draws: Draws,
}

/// Numbers that were drawn before the run, so that nothing depends on when they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draws {
    place: u64,
    offset: u64,
    bit: u64,
}

/// Settles the replicas of a run's injections.
///
/// # Errors
/// A replica that does not exist, or too many injections.
pub fn plan(
    injections: &[Injection],
    seed: u64,
    replicas: u32,
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

    /// A byte within a page.
    #[must_use]
    pub fn draw_offset(&self) -> u64 {
        self.draws.offset % model::PAGE_BYTES as u64
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
    use proptest::prelude::*;

    fn check(text: &str, part: FaultPart, bit: Option<u32>, when: Mark, replica: Option<u32>) {
        let expected = Injection {
            part,
            bit,
            when,
            replica,
        };
        assert_eq!(Injection::parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn the_grammar_is_read() {
        check(
            "ram",
            FaultPart::Ram(RamWhere::Live),
            None,
            Mark::Half,
            None,
        );
        check(
            "ram=0x1f0000:3@start,replica=2",
            FaultPart::Ram(RamWhere::Address(0x1f_0000)),
            Some(3),
            Mark::Start,
            Some(2),
        );
        check(
            "ram=text@step:7,mode=flip",
            FaultPart::Ram(RamWhere::Text),
            None,
            Mark::Step(7),
            None,
        );
        check(
            "reg=RAX:63@end",
            FaultPart::Register("rax".to_owned()),
            Some(63),
            Mark::End,
            None,
        );
        check("hang@half", FaultPart::Hang, None, Mark::Half, None);
    }

    #[test]
    fn wrong_orders_say_what_is_right() {
        let wrong = |text: &str| Injection::parse(text).unwrap_err().to_string();
        assert!(wrong("tape").contains("ram, reg or hang"));
        assert!(wrong("disk").contains("yet"));
        assert!(wrong("ram=here").contains("live, text, any"));
        assert!(wrong("ram:8").contains("0 to 7"));
        assert!(wrong("reg").contains("reg=rax"));
        assert!(wrong("hang:1").contains("neither"));
        assert!(wrong("ram@noon").contains("half"));
        assert!(wrong("ram@time:3").contains("not repeatable"));
        assert!(wrong("ram,mode=stale").contains("yet"));
        assert!(wrong("ram,colour=red").contains("replica=K"));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let order = [Injection::parse("ram").unwrap()];
        let draw = |seed| {
            let planned = plan(&order, seed, 5).unwrap().remove(0);
            (planned.replica, planned.draw_place(1000), planned.bit(8))
        };
        assert_eq!(draw(7), draw(7));
        let drawn: std::collections::BTreeSet<_> = (0..20).map(draw).collect();
        assert!(drawn.len() > 15, "seeds hardly matter: {drawn:?}");
    }

    #[test]
    fn a_replica_that_does_not_exist_is_refused() {
        let order = [Injection::parse("ram,replica=5").unwrap()];
        assert!(plan(&order, 0, 5).is_err());
        assert!(plan(&order, 0, 6).is_ok());
    }

    proptest! {
        #[test]
        fn any_order_is_survived(text in "[ -~]{0,60}") {
            if let Ok(injection) = Injection::parse(&text) {
                prop_assert!(injection.bit.is_none_or(|bit| bit < 512));
            }
        }
    }
}
