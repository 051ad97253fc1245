//! Examples of each class.
//!
//! | class | drawn from |
//! |---|---|
//! | core-local defect | 70 % bound to one core (SiliFuzz); several bits commoner than one, 60 to 40 (PinDrop); four of ten one element, else a value used further; 0 to 4 earlier deviations |
//! | fixed bit mask | 5 to 100 % of the records share a mask; one, two, three bits 90, 8, 2 %; bits of the middle of the mantissa (SOSP 2023) |
//! | memory cell | 55 % one bit; else a nibble of one word, a row, a column (HPCA 2023); cells lose charge, so one way in nine of ten; seen again in the page in half of the later runs, whatever the core |
//! | nondeterminism | addresses that move by pages, clocks, random numbers in the kernel's pool, list order, log times |
//! | software race | values or log lines in another order, up to 10 % other words beside |
//! | code path | each of many doubles 1 to 4 units in the last place off, a tenth of them further |
//! | float field | one bit of each of 2 to 24 doubles: below bit 40, or by SEVI's cases |
//! | vector lane | one lane of 4 to 32 vectors, two neighbours in 1.5 % (SEVI) |
//! | wrong address | 2 to 16 words, 76 % with another element's value (SEVI) |
//! | coherence | 2 to 8 words of a line, in half of the examples with what was there before |
//! | control flow | a hang or a crash; one in twelve goes on with many wrong words |
//! | string undershoot | 2 to 31 bytes, askew to words |
//! | register only | 1 to 4 registers |
//! | data-dependent | 12 to 48 words with one bit set, wrong in their low bits (FCOS) |
//! | thermal, ageing | as a core-local defect, with rates by heat, or with runs that passed before |
//! | storage | a sector of zeros, or many words of a page |
//! | version drift | many words of code |
//! | emulator bug | as other instructions or as a flood, with replicas on another accelerator |
//! | self-inverse | a flood, with another core that could not undo it |
//! | other | a character of the log, a figure |
//!
//! Of what must be known besides (heat, age, builds, accelerators, another core), one example in ten
//! knows nothing.

use crate::draw::Random;
use crate::processor;
use divergence::Surroundings;
use divergence::hint::surroundings::{Age, Core, Crossed, EarlierDeviation, Heat};
use divergence::hint::traces::Traces;
use model::{Difference, GuestPhysicalAddress, HintClass, Locus, Part};

/// Pages that a run changes.
pub(crate) const PAGES: u64 = 4_000;

/// Where the kernel's code lies.
pub(crate) const CODE: std::ops::Range<u64> = 0x200_0000..0x280_0000;

pub(crate) struct Example {
    pub(crate) differences: Vec<Difference>,
    pub(crate) traces: Traces,
    pub(crate) deterministic: bool,
    pub(crate) core: Option<Core>,
    pub(crate) surroundings: Surroundings,
}

pub(crate) fn example(class: HintClass, random: &mut Random) -> Example {
    let deterministic = match class {
        HintClass::Nondeterminism => random.chance(0.1),
        HintClass::SoftwareRace => random.chance(0.3),
        _ => random.chance(0.9),
    };
    let mut traces = Traces {
        ones: Some(vec![0.5; 64]),
        ..Traces::default()
    };
    let differences = match class {
        HintClass::CoreLocalDefect | HintClass::ThermalPower | HintClass::Ageing => {
            core_local(random)
        }
        HintClass::FloatField => processor::float_field(random),
        HintClass::VectorLane => processor::lane(random),
        HintClass::WrongAddress => processor::wrong_address(random, &mut traces),
        HintClass::Coherence => processor::line(random, &mut traces),
        HintClass::ControlFlow => processor::control_flow(random),
        HintClass::StringUndershoot => processor::tail(random),
        HintClass::RegisterOnly => processor::registers(random),
        HintClass::DataDependent => processor::conditional(random),
        HintClass::Storage => storage(random),
        HintClass::VersionDrift => drift(random),
        HintClass::EmulatorBug if random.chance(0.3) => code_path(random),
        HintClass::EmulatorBug | HintClass::SelfInverse => flood(random),
        HintClass::FixedBitMask => fixed_mask(random),
        HintClass::MemoryCell => memory_cell(random),
        HintClass::Nondeterminism => nondeterminism(random),
        HintClass::SoftwareRace => race(random),
        HintClass::CodePath => code_path(random),
        HintClass::Other => other(random),
    };
    let core = core(random.between(0, 31));
    let mut surroundings = Surroundings {
        earlier: earlier(class, &core, &differences, random),
        ..Surroundings::default()
    };
    if class == HintClass::CodePath {
        surroundings.classes_differ = random.chance(0.5);
    } else {
        surroundings.portable = random.chance(0.75);
    }
    know(class, &mut surroundings, random);
    traces.words = traces.words.max(differences.len() as u64);
    Example {
        differences,
        traces,
        deterministic,
        core: Some(core),
        surroundings,
    }
}

/// What is known of the cause besides the differences, in nine of ten examples.
fn know(class: HintClass, surroundings: &mut Surroundings, random: &mut Random) {
    let known = random.chance(0.9);
    match class {
        HintClass::ThermalPower if known => {
            let hot = random.between(6, 20) as u32;
            surroundings.heat = Some(Heat {
                runs_hot: hot,
                deviations_hot: (f64::from(hot) * (0.5 + 0.5 * random.unit())) as u32,
                runs_cool: random.between(6, 20) as u32,
                deviations_cool: random.between(0, 1) as u32,
            });
        }
        HintClass::Ageing if known => {
            let since = random.between(4, 20) as u32;
            surroundings.age = Some(Age {
                clean_before: random.between(50, 800) as u32,
                runs_since: since,
                deviations_since: (f64::from(since) * (0.3 + 0.6 * random.unit())).ceil() as u32,
            });
        }
        HintClass::VersionDrift => surroundings.builds_differ = known,
        HintClass::EmulatorBug => surroundings.accelerators_differ = known,
        HintClass::SelfInverse if known => {
            surroundings.crossed = Some(Crossed {
                own_is_right: true,
                others_is_right: false,
            });
        }
        _ => {}
    }
}

fn core(number: u64) -> Core {
    Core {
        host: "h".to_owned(),
        socket: Some(number as u32 / 16),
        core: number as u32 % 16,
    }
}

/// Earlier deviations: bound to the core, to the page, or to nothing.
fn earlier(
    class: HintClass,
    here: &Core,
    differences: &[Difference],
    random: &mut Random,
) -> Vec<EarlierDeviation> {
    let page = differences.first().and_then(page_of);
    let core_bound = match class {
        HintClass::MemoryCell
        | HintClass::Storage
        | HintClass::Nondeterminism
        | HintClass::SoftwareRace
        | HintClass::VersionDrift
        | HintClass::CodePath
        | HintClass::EmulatorBug
        | HintClass::Other => false,
        _ => random.chance(0.70),
    };
    (0..random.between(0, 4))
        .map(|_| {
            // The suspect core took part in half of the earlier runs that are remembered.
            let mut cores: Vec<Core> = (0..4).map(|_| core(random.between(0, 31))).collect();
            if core_bound || random.chance(0.5) {
                cores[0] = here.clone();
            }
            let culprit = if core_bound {
                0
            } else {
                random.between(0, 3) as usize
            };
            let again = class == HintClass::MemoryCell && random.chance(0.5);
            let count = random.magnitude(1, 32);
            let mut pages: std::collections::BTreeSet<u64> =
                (0..count).map(|_| random.between(0, PAGES - 1)).collect();
            pages.extend(page.filter(|_| again));
            EarlierDeviation {
                core: cores[culprit].clone(),
                cores,
                pages,
            }
        })
        .collect()
}

fn page_of(difference: &Difference) -> Option<u64> {
    match &difference.locus {
        Locus::Address(address) => Some(address.0 / 4096),
        Locus::Name(_) => None,
    }
}

pub(crate) fn word(address: u64, expected: u64, found: u64) -> Difference {
    let shown = |value: u64| {
        let bytes = value.to_le_bytes();
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    Difference {
        part: Part::Memory,
        locus: Locus::Address(GuestPhysicalAddress(address)),
        expected: Some(shown(expected)),
        found: shown(found),
        flipped_bits: Vec::new(),
        symbol: None,
        explanation: None,
    }
}

pub(crate) fn named(part: Part, name: &str, expected: &str, found: &str) -> Difference {
    Difference {
        part,
        locus: Locus::Name(name.to_owned()),
        expected: Some(expected.to_owned()),
        found: found.to_owned(),
        flipped_bits: Vec::new(),
        symbol: None,
        explanation: None,
    }
}

pub(crate) fn anywhere(random: &mut Random) -> u64 {
    random.between(0, PAGES - 1) * 4096 + random.between(0, 511) * 8
}

fn core_local(random: &mut Random) -> Vec<Difference> {
    if random.chance(0.4) {
        let bits = if random.chance(0.6) {
            random.between(2, 12) as u32
        } else {
            1
        };
        let value = random.bits();
        let mask = random.mask(bits, 0, 63);
        return vec![word(anywhere(random), value, value ^ mask)];
    }
    let count = random.magnitude(2, 256);
    let one = |_| word(anywhere(random), random.bits(), random.bits());
    (0..count).map(one).collect()
}

fn fixed_mask(random: &mut Random) -> Vec<Difference> {
    let count = random.magnitude(8, 256);
    let sharing = 0.05 + 0.95 * random.unit();
    let bits = match random.unit() {
        ..0.90 => 1,
        ..0.98 => 2,
        _ => 3,
    };
    let mask = random.mask(bits, 12, 45);
    let one = |_| {
        let value = random.bits();
        let others = random.between(1, 8) as u32;
        let flips = if random.chance(sharing) {
            mask
        } else {
            random.mask(others, 0, 51)
        };
        word(anywhere(random), value, value ^ flips)
    };
    (0..count).map(one).collect()
}

fn memory_cell(random: &mut Random) -> Vec<Difference> {
    let value = random.bits();
    let address = anywhere(random);
    if random.chance(0.55) {
        return vec![word(address, value, value ^ random.mask(1, 0, 63))];
    }
    let page = address & !4095;
    let one_way = random.chance(0.9);
    let bit = random.between(0, 63);
    match random.between(0, 2) {
        0 => {
            let nibble = random.between(0, 15) * 4;
            let bits = random.between(2, 4) as u32;
            vec![word(
                address,
                value,
                value ^ random.mask(bits, nibble, nibble + 3),
            )]
        }
        1 => {
            let flips = |random: &mut Random| 1 << random.between(0, 63);
            (0..random.magnitude(2, 64))
                .map(|at| {
                    let (value, flip) = (random.bits(), flips(random));
                    word(
                        page + at * 8,
                        if one_way { value | flip } else { value },
                        value & !flip,
                    )
                })
                .filter(|one| one.expected.as_deref() != Some(&one.found))
                .collect()
        }
        _ => (0..random.magnitude(4, 64))
            .map(|at| {
                let value = random.bits();
                let expected = if one_way { value | 1 << bit } else { value };
                word(page + at * 8192, expected, expected ^ 1 << bit)
            })
            .collect(),
    }
}

fn nondeterminism(random: &mut Random) -> Vec<Difference> {
    let count = random.magnitude(2, 64);
    match random.between(0, 4) {
        0 => {
            let slide = random.between(1, 1 << 18) << 12;
            let one = |_| {
                let value = 0xffff_8880_0000_0000 + random.between(0, 1 << 32);
                word(anywhere(random), value, value + slide)
            };
            (0..count).map(one).collect()
        }
        1 => (0..count)
            .map(|_| {
                let now = random.between(1 << 32, 1 << 60);
                let later = now + random.magnitude(100, 1 << 32);
                word(anywhere(random), now, later)
            })
            .collect(),
        2 => (0..count)
            .map(|at| Difference {
                symbol: Some(format!("input_pool_entropy+{:#x}", at * 8)),
                ..word(0x20_0000 + at * 8, random.bits(), random.bits())
            })
            .collect(),
        3 => {
            let list =
                |random: &mut Random| 0xffff_8880_0000_0000 + random.between(0, 1 << 24) * 64;
            let values: Vec<u64> = (0..count).map(|_| list(random)).collect();
            rotated(&values, random)
        }
        _ => (0..count)
            .map(|line| {
                let time = |random: &mut Random| format!("[{:>6}] ready", random.between(100, 999));
                let (expected, found) = (time(random), time(random));
                named(Part::Log, &format!("line {line}"), &expected, &found)
            })
            .filter(|one| one.expected.as_deref() != Some(&one.found))
            .chain([named(Part::Log, "line 99", "up 100", "up 101")])
            .collect(),
    }
}

/// The same values, each in the place of the next.
fn rotated(values: &[u64], random: &mut Random) -> Vec<Difference> {
    let next = values.iter().cycle().skip(1);
    values
        .iter()
        .zip(next)
        .map(|(expected, found)| word(anywhere(random), *expected, *found))
        .collect()
}

fn race(random: &mut Random) -> Vec<Difference> {
    let count = random.magnitude(2, 64);
    if random.chance(0.4) {
        let lines: Vec<String> = (0..count)
            .map(|line| format!("worker {line:x} is done"))
            .collect();
        let next = lines.iter().cycle().skip(1);
        return lines
            .iter()
            .zip(next)
            .map(|(expected, found)| named(Part::Log, "line", expected, found))
            .collect();
    }
    let values: Vec<u64> = (0..count).map(|_| random.bits()).collect();
    let mut differences = rotated(&values, random);
    for _ in 0..random.between(0, count / 10) {
        differences.push(word(anywhere(random), random.bits(), random.bits()));
    }
    differences
}

fn code_path(random: &mut Random) -> Vec<Difference> {
    (0..random.magnitude(8, 256))
        .map(|at| {
            let sign = if random.chance(0.5) { -1.0 } else { 1.0 };
            let value = (sign * 10_f64.powf(random.unit() * 8.0 - 4.0)).to_bits();
            let units = if random.chance(0.9) {
                random.between(1, 4)
            } else {
                random.magnitude(5, 1024)
            };
            let found = if random.chance(0.5) {
                value + units
            } else {
                value - units
            };
            word(0x40_0000 + at * 8, value, found)
        })
        .collect()
}

fn storage(random: &mut Random) -> Vec<Difference> {
    let page = random.between(0, PAGES - 1) * 4096;
    let mut differences = Vec::new();
    if random.chance(0.5) {
        let sector = page + random.between(0, 7) * 512;
        for at in 0..64 {
            differences.push(word(sector + at * 8, random.bits() | 1, 0));
        }
        return differences;
    }
    for at in 0..512 {
        if random.chance(0.4) && differences.len() < 256 {
            differences.push(word(page + at * 8, random.bits(), random.bits()));
        }
    }
    differences
}

fn drift(random: &mut Random) -> Vec<Difference> {
    let words = (CODE.end - CODE.start) / 8 - 1;
    let mut differences = Vec::new();
    for _ in 0..random.magnitude(16, 256) {
        let address = CODE.start + random.between(0, words) * 8;
        differences.push(word(address, random.bits(), random.bits()));
    }
    differences
}

/// What was wrong was computed with.
fn flood(random: &mut Random) -> Vec<Difference> {
    let count = random.magnitude(16, 256);
    (0..count)
        .map(|_| word(anywhere(random), random.bits(), random.bits()))
        .collect()
}

fn other(random: &mut Random) -> Vec<Difference> {
    if random.chance(0.5) {
        return vec![named(Part::Metric, "hashed", "4096", "4100")];
    }
    let letter = char::from(b'b' + random.between(0, 9) as u8);
    let line = format!("line {}", random.between(1, 9));
    vec![named(
        Part::Log,
        &line,
        "a step is done",
        &format!("a step is {letter}one"),
    )]
}
