//! The text of an order: `PART[=WHERE][:BIT][@WHEN][,replica=K|,cpu=C][,mode=MODE][,PATTERN…]`.

use crate::injection::{
    DiskWhere, FaultMode, FaultPart, Injection, MAX_INJECTIONS, Pattern, RamWhere,
};
use computation::job::Mark;

/// Why an order cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// The part is not one that exists.
    #[error("unknown part {0:?}: it is ram, reg, disk, log, metric or hang")]
    UnknownPart(String),
    /// The machine has no such part.
    #[error("there is no disk to inject into: only a command with --disk or --rootfs has one")]
    NoDisk,
    /// Where a disk is said to be struck is no place of it.
    #[error("{0:?} is no place on a disk: it is live, or the address of a byte such as 0x100000")]
    UnknownDiskPlace(String),
    /// A disk's faults are put into what has been written.
    #[error("disk is struck when all has been written: its faults take only @end")]
    DiskOnlyAtEnd,
    /// The place within the part is none.
    #[error(
        "{0:?} is no place in memory: it is live, written, doubles, text, buffer, user, any or an address such as 0x1f0000"
    )]
    UnknownPlace(String),
    /// A register is named by its name.
    #[error("reg needs the name of a register, such as reg=rax")]
    NoRegister,
    /// A line of the log is named by its number.
    #[error("{0:?} is no line of a log: lines are counted from 1, such as log=2")]
    BadLine(String),
    /// A hang has no place and no bit.
    #[error("hang takes neither a place nor a bit")]
    HangTakesNothing,
    /// The bit is no number, or too large for the part.
    #[error(
        "{0:?} is no bit: a byte of memory has bits 0 to 7, a character of a log 0 to 6, \
         a metric 0 to 51, a register 0 to 511"
    )]
    BadBit(String),
    /// Whole lines and pages have no bit to choose.
    #[error("mode={0} takes no bit: it is about a stretch, a line or a page")]
    ModeTakesNoBit(FaultMode),
    /// The mark is none of the computation's.
    #[error("{0:?} is no mark: it is start, half, end or step:K")]
    BadMark(String),
    /// Logs and metrics are complete only at the end.
    #[error("{0} is told until the end: its faults take only @end")]
    OnlyAtEnd(&'static str),
    /// What a machine wrote since a mark is lost, and after the end it writes nothing.
    #[error("mode={0} needs a mark before the end: what is written after it is lost")]
    NothingAfterEnd(FaultMode),
    /// A mark that a user's program does not have.
    #[error(
        "a program has no mark {0}: where it is at a step cannot be known; it has start (before its \
         first instruction) and end (as it exits)"
    )]
    NotOfProgram(Mark),
    /// Something that only wall-clock time can say.
    #[error(
        "@time is not repeatable and is not supported: use start, half, end or step:K, or of a \
         program start or end"
    )]
    TimeNotYet,
    /// An option after a comma is unknown.
    #[error(
        "unknown option {0:?}: it is replica=K, cpu=C, mask=0xM, words=N, stride=B, bits=LO-HI, \
         where-bit=B, or mode=flip, stuck-0, stuck-1, lost-write, stale, undershoot, scramble, \
         misread or zero"
    )]
    UnknownOption(String),
    /// The mode means nothing in this part.
    #[error(
        "mode={mode} means nothing for {part}: stuck bits are of ram, reg and disk; lost-write, stale \
         and zero of ram and disk; all but these and flips of ram alone"
    )]
    ModeOfPart {
        /// The mode.
        mode: FaultMode,
        /// The part.
        part: &'static str,
    },
    /// The replica does not exist.
    #[error("there is no replica {replica}: this run has replicas 0 to {}", .replicas.saturating_sub(1))]
    NoSuchReplica {
        /// What was asked for.
        replica: u32,
        /// How many there are.
        replicas: u32,
    },
    /// A fault has one victim: a replica, or all that run on a CPU.
    #[error("replica=K and cpu=C exclude each other")]
    TwoVictims,
    /// No replica runs on that CPU.
    #[error("no replica of this run is on cpu {0}")]
    NoSuchCpu(u32),
    /// A piece of a pattern is out of its range.
    #[error(
        "{0:?} is no pattern: mask=0xM is not zero, words=N is 1 to {most}, stride=B a multiple of 8 \
         up to 1048576, bits=LO-HI and where-bit=B are bits 0 to 63",
        most = super::pattern::MAX_WORDS
    )]
    BadPattern(String),
    /// A pattern is of whole words of memory.
    #[error(
        "a pattern (mask, words, stride, bits, where-bit) is of ram, with mode=flip, stuck-0, \
         stuck-1, scramble or misread, and takes no bit beside it; written and doubles are of whole \
         words too"
    )]
    PatternMeansNothing,
    /// More faults than one run takes.
    #[error("a run takes at most {MAX_INJECTIONS} injections")]
    TooMany,
}

/// Reads an order; faults that take any mark have `on_the_way` where none is named.
pub(super) fn parse(text: &str, on_the_way: Mark) -> Result<Injection, InjectionError> {
    let mut options = text.split(',');
    let head = options.next().unwrap_or_default();
    let (head, when) = match head.split_once('@') {
        Some((head, when)) => (head, Some(parse_mark(when)?)),
        None => (head, None),
    };
    let (place, bit) = split_bit(head)?;
    let (part, place) = match place.split_once('=') {
        Some((part, place)) => (part, Some(place)),
        None => (place, None),
    };
    let part = parse_part(part, place)?;
    let mut injection = Injection {
        when: when.unwrap_or(part.usual_mark(on_the_way)),
        part,
        bit,
        replica: None,
        cpu: None,
        mode: FaultMode::Flip,
        pattern: Pattern::default(),
    };
    for option in options {
        take_option(&mut injection, option)?;
    }
    check(&injection)?;
    check_pattern(&injection)?;
    Ok(injection)
}

/// Refuses what makes no sense together.
fn check(injection: &Injection) -> Result<(), InjectionError> {
    let Injection {
        part, mode, bit, ..
    } = injection;
    let widest = match part {
        FaultPart::Ram(_) | FaultPart::Disk(_) => 7,
        FaultPart::Register(_) => 511,
        FaultPart::Log(_) => 6,
        FaultPart::Metric(_) => 51,
        FaultPart::Hang if bit.is_some() => return Err(InjectionError::HangTakesNothing),
        FaultPart::Hang => 0,
    };
    if let Some(bit) = bit.filter(|&bit| bit > widest) {
        return Err(InjectionError::BadBit(bit.to_string()));
    }
    let possible = match mode {
        FaultMode::Flip => true,
        FaultMode::Stuck(_) => !matches!(
            part,
            FaultPart::Log(_) | FaultPart::Metric(_) | FaultPart::Hang
        ),
        FaultMode::LostWrite | FaultMode::Stale | FaultMode::Zero => {
            matches!(part, FaultPart::Ram(_) | FaultPart::Disk(_))
        }
        FaultMode::Undershoot | FaultMode::Scramble | FaultMode::Misread => {
            matches!(part, FaultPart::Ram(_))
        }
    };
    if !possible {
        let (mode, part) = (*mode, part.name());
        return Err(InjectionError::ModeOfPart { mode, part });
    }
    if !mode.takes_bits() && bit.is_some() {
        return Err(InjectionError::ModeTakesNoBit(*mode));
    }
    match part {
        FaultPart::Disk(_) if injection.when != Mark::End => Err(InjectionError::DiskOnlyAtEnd),
        // What the image holds below is what was there before.
        FaultPart::Disk(_) => Ok(()),
        _ if mode.puts_back() && injection.when == Mark::End => {
            Err(InjectionError::NothingAfterEnd(*mode))
        }
        FaultPart::Log(_) | FaultPart::Metric(_) if injection.when != Mark::End => {
            Err(InjectionError::OnlyAtEnd(part.name()))
        }
        _ => Ok(()),
    }
}

/// Refuses patterns of what has no words, and words of which one bit alone was ordered.
fn check_pattern(injection: &Injection) -> Result<(), InjectionError> {
    let Injection {
        part, mode, bit, ..
    } = injection;
    if injection.replica.is_some() && injection.cpu.is_some() {
        return Err(InjectionError::TwoVictims);
    }
    let words = mode.takes_bits() || mode.is_of_words();
    let possible = words && bit.is_none() && matches!(part, FaultPart::Ram(_));
    if !(possible || injection.pattern.is_plain()) {
        return Err(InjectionError::PatternMeansNothing);
    }
    let of_words = matches!(part, FaultPart::Ram(place) if place.is_written());
    if of_words && (bit.is_some() || !words) {
        return Err(InjectionError::PatternMeansNothing);
    }
    Ok(())
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
        ("log", None) => Ok(FaultPart::Log(None)),
        ("log", Some(line)) => match line.parse() {
            Ok(number) if number > 0 => Ok(FaultPart::Log(Some(number))),
            _ => Err(InjectionError::BadLine(line.to_owned())),
        },
        ("metric", name) => Ok(FaultPart::Metric(name.map(str::to_owned))),
        ("hang", None) => Ok(FaultPart::Hang),
        ("hang", Some(_)) => Err(InjectionError::HangTakesNothing),
        ("disk", place) => parse_disk(place.unwrap_or("live")).map(FaultPart::Disk),
        _ => Err(InjectionError::UnknownPart(part.to_owned())),
    }
}

fn parse_disk(place: &str) -> Result<DiskWhere, InjectionError> {
    match place {
        "live" => Ok(DiskWhere::Live),
        address => model::address::parse_u64(address)
            .map(DiskWhere::Address)
            .map_err(|_| InjectionError::UnknownDiskPlace(address.to_owned())),
    }
}

fn parse_ram(place: &str) -> Result<RamWhere, InjectionError> {
    Ok(match place {
        "live" => RamWhere::Live,
        "written" => RamWhere::Written,
        "doubles" => RamWhere::Doubles,
        "text" => RamWhere::Text,
        "buffer" => RamWhere::Buffer,
        "user" => RamWhere::User,
        "any" => RamWhere::Any,
        address => RamWhere::Address(
            model::address::parse_u64(address)
                .map_err(|_| InjectionError::UnknownPlace(address.to_owned()))?,
        ),
    })
}

fn take_option(injection: &mut Injection, option: &str) -> Result<(), InjectionError> {
    let unknown = || InjectionError::UnknownOption(option.to_owned());
    match option.split_once('=').ok_or_else(unknown)? {
        ("replica", number) => injection.replica = Some(number.parse().map_err(|_| unknown())?),
        ("cpu", number) => injection.cpu = Some(number.parse().map_err(|_| unknown())?),
        ("mode", name) => injection.mode = FaultMode::named(name).ok_or_else(unknown)?,
        (name, value) => {
            if !injection.pattern.take(name, value)? {
                return Err(unknown());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Injection) {
        assert_eq!(Injection::parse(text), Ok(expected), "{text}");
    }

    fn ram(place: RamWhere, when: Mark) -> Injection {
        Injection {
            part: FaultPart::Ram(place),
            bit: None,
            when,
            replica: None,
            cpu: None,
            mode: FaultMode::Flip,
            pattern: Pattern::default(),
        }
    }

    #[test]
    fn places_bits_marks_and_replicas_are_read() {
        check("ram", ram(RamWhere::Live, Mark::Half));
        check(
            "ram=0x1f0000:3@start,replica=2",
            Injection {
                bit: Some(3),
                replica: Some(2),
                ..ram(RamWhere::Address(0x1f_0000), Mark::Start)
            },
        );
        check(
            "ram=text@step:7,mode=flip",
            ram(RamWhere::Text, Mark::Step(7)),
        );
        check(
            "reg=RAX:63@end",
            Injection {
                part: FaultPart::Register("rax".to_owned()),
                bit: Some(63),
                ..ram(RamWhere::Live, Mark::End)
            },
        );
    }

    #[test]
    fn parts_have_their_usual_marks() {
        let part = |part, when| Injection {
            part,
            ..ram(RamWhere::Live, when)
        };
        check("hang", part(FaultPart::Hang, Mark::Half));
        check("log", part(FaultPart::Log(None), Mark::End));
        check("log=2@end", part(FaultPart::Log(Some(2)), Mark::End));
        let name = Some("page_faults".to_owned());
        check(
            "metric=page_faults",
            part(FaultPart::Metric(name), Mark::End),
        );
    }

    #[test]
    fn modes_are_read() {
        let mode = |mode| Injection {
            mode,
            ..ram(RamWhere::Live, Mark::Half)
        };
        check("ram,mode=stuck-0", mode(FaultMode::Stuck(false)));
        check("ram,mode=stuck-1", mode(FaultMode::Stuck(true)));
        check("ram,mode=lost-write", mode(FaultMode::LostWrite));
        check("ram,mode=stale", mode(FaultMode::Stale));
        check("ram,mode=scramble", mode(FaultMode::Scramble));
        check("ram,mode=misread", mode(FaultMode::Misread));
        check("ram,mode=undershoot", mode(FaultMode::Undershoot));
        check("ram,mode=zero", mode(FaultMode::Zero));
    }

    #[test]
    fn patterns_are_read() {
        let pattern = Pattern {
            mask: Some(0x30),
            words: Some(8),
            stride_bytes: Some(32),
            bits: Some((20, 45)),
            where_bit: Some(23),
        };
        check(
            "ram=doubles@end,cpu=1,mask=0x30,words=8,stride=32,bits=20-45,where-bit=23",
            Injection {
                cpu: Some(1),
                pattern,
                ..ram(RamWhere::Doubles, Mark::End)
            },
        );
    }

    #[test]
    fn wrong_orders_say_what_is_right() {
        let wrong = |text: &str| Injection::parse(text).unwrap_err().to_string();
        assert!(wrong("tape").contains("ram, reg, disk"));
        assert!(wrong("disk=here").contains("live, or the address"));
        assert!(wrong("disk@half").contains("only @end"));
        assert!(wrong("disk:8").contains("0 to 7"));
        assert!(wrong("disk,mode=misread").contains("means nothing for disk"));
        assert!(wrong("disk,words=2").contains("a pattern"));
        assert!(wrong("ram=here").contains("live, written, doubles, text, buffer"));
        assert!(wrong("ram:8").contains("0 to 7"));
        assert!(wrong("metric:52").contains("0 to 51"));
        assert!(wrong("log:7").contains("0 to 6"));
        assert!(wrong("log=0").contains("from 1"));
        assert!(wrong("log@half").contains("only @end"));
        assert!(wrong("reg").contains("reg=rax"));
        assert!(wrong("hang:1").contains("neither"));
        assert!(wrong("ram@noon").contains("half"));
        assert!(wrong("ram@time:3").contains("not repeatable"));
        assert!(wrong("ram,mode=wet").contains("stale"));
        assert!(wrong("hang,mode=stuck-1").contains("means nothing for hang"));
        assert!(wrong("reg=rax,mode=stale").contains("means nothing for reg"));
        assert!(wrong("ram@end,mode=stale").contains("before the end"));
        assert!(wrong("ram:3,mode=lost-write").contains("no bit"));
        assert!(wrong("ram,colour=red").contains("replica=K"));
        assert!(wrong("ram,replica=1,cpu=1").contains("exclude each other"));
        for pattern in [
            "mask=0",
            "words=0",
            "words=129",
            "stride=7",
            "bits=9-8",
            "bits=9",
            "where-bit=64",
        ] {
            assert!(
                wrong(&format!("ram,{pattern}")).contains("is no pattern"),
                "{pattern}"
            );
        }
        for meaningless in [
            "ram:3,words=2",
            "hang,words=2",
            "ram,mode=stale,words=2",
            "ram=doubles:1",
            "ram=written:3",
            "ram=written,mode=lost-write",
            "ram=written,mode=zero",
            "ram,mode=zero,mask=1",
        ] {
            assert!(wrong(meaningless).contains("a pattern"), "{meaningless}");
        }
        assert!(wrong("reg=rax,mode=misread").contains("means nothing for reg"));
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
