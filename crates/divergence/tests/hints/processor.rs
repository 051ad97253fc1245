//! Examples of defects of processors that leave a pattern.

use crate::draw::Random;
use crate::generate::{PAGES, anywhere, named, word};
use divergence::hint::traces::Traces;
use model::{Difference, Part};

fn double(random: &mut Random) -> u64 {
    let sign = if random.chance(0.5) { -1.0 } else { 1.0 };
    (sign * 10_f64.powf(random.unit() * 8.0 - 4.0)).to_bits()
}

fn scrambled(value: u64, random: &mut Random) -> u64 {
    let bits = random.between(2, 12) as u32;
    value ^ random.mask(bits, 0, 63)
}

/// Wang et al. where chance says so, else SEVI: 62, 61, 113 and 65 of 301 cases.
pub(crate) fn float_field(random: &mut Random) -> Vec<Difference> {
    let sevi = random.chance(0.5);
    (0..random.magnitude(2, 24))
        .map(|_| {
            let bit = match random.between(0, 300) {
                _ if !sevi => random.between(0, 39),
                0..62 => random.between(0, 25),
                62..123 => random.between(26, 39),
                123..236 => random.between(40, 62),
                _ => 63,
            };
            let value = double(random);
            word(anywhere(random), value, value ^ 1 << bit)
        })
        .collect()
}

pub(crate) fn lane(random: &mut Random) -> Vec<Difference> {
    let width = 16 << random.between(0, 2);
    let start = random.between(0, PAGES - 1) * 4096 + random.between(0, width / 8 - 1) * 8;
    let neighbours = width > 16 && random.chance(0.015 * 0.96);
    let mut differences = Vec::new();
    for vector in 0..random.magnitude(4, 32) {
        for lane in 0..=u64::from(neighbours) {
            let value = random.bits();
            let address = start + vector * width + lane * 8;
            differences.push(word(address, value, scrambled(value, random)));
        }
    }
    differences
}

pub(crate) fn wrong_address(random: &mut Random, traces: &mut Traces) -> Vec<Difference> {
    let page = random.between(0, PAGES - 1) * 4096;
    (0..random.magnitude(2, 16))
        .map(|_| {
            let address = page + random.between(0, 511) * 8;
            let value = random.bits();
            if random.chance(0.76) {
                traces.echoes.insert(address);
                word(address, value, random.bits())
            } else {
                word(address, value, scrambled(value, random))
            }
        })
        .collect()
}

pub(crate) fn line(random: &mut Random, traces: &mut Traces) -> Vec<Difference> {
    let line = random.between(0, PAGES * 64 - 1) * 64;
    let before = random.chance(0.5);
    let words = random.between(2, 8);
    let first = random.between(0, 8 - words);
    (first..first + words)
        .map(|at| {
            let address = line + at * 8;
            if before {
                traces.unwritten.insert(address);
            }
            word(address, random.bits(), random.bits())
        })
        .collect()
}

pub(crate) fn control_flow(random: &mut Random) -> Vec<Difference> {
    if random.chance(1.0 / 12.0) {
        return (0..200)
            .map(|_| word(anywhere(random), random.bits(), random.bits()))
            .collect();
    }
    let found = if random.chance(0.3) {
        "hung"
    } else {
        "crashed"
    };
    vec![named(Part::Outcome, "outcome", "ended", found)]
}

pub(crate) fn tail(random: &mut Random) -> Vec<Difference> {
    let length = random.between(2, 31);
    let end = random.between(0, PAGES - 2) * 4096 + random.between(64, 4096);
    let mut differences: Vec<(u64, u64)> = Vec::new();
    for byte in end - length..end {
        let (address, shift) = (byte & !7, byte % 8 * 8);
        let flips = random.between(1, 255) << shift;
        match differences.last_mut() {
            Some((last, mask)) if *last == address => *mask |= flips,
            _ => differences.push((address, flips)),
        }
    }
    differences
        .into_iter()
        .map(|(address, mask)| {
            let value = random.bits();
            word(address, value, value ^ mask)
        })
        .collect()
}

pub(crate) fn registers(random: &mut Random) -> Vec<Difference> {
    (0..random.between(1, 4))
        .map(|at| named(Part::Register, &format!("r{at}"), "0246", "0a46"))
        .collect()
}

pub(crate) fn conditional(random: &mut Random) -> Vec<Difference> {
    let bit = random.between(0, 39);
    (0..random.magnitude(12, 48))
        .map(|_| {
            let value =
                double(random) & !0xff_ffff_ffff | random.bits() & 0xff_ffff_ffff | 1 << bit;
            let bits = random.between(2, 8) as u32;
            word(anywhere(random), value, value ^ random.mask(bits, 0, 24))
        })
        .collect()
}
