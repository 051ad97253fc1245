//! Faults of known cause, for campaigns that try the hints: which class, and which orders make a
//! fault of it in a machine. It shares nothing with the code that ranks causes; the figures are those
//! of the studies, and of two that contradict each other either is drawn from.
//!
//! | class | how its fault is made | drawn from |
//! |---|---|---|
//! | core-local defect | several bits of one word (four of ten), or of 2 to 64; in one word one bit in four of ten | PinDrop: several bits commoner than one |
//! | fixed bit mask | 8 to 64 words, of which 5 to 100 % share a mask of one, two or three bits (90, 8, 2 %); the others have bits of their own | SOSP 2023 |
//! | float field | 2 to 24 doubles, a bit of each: below bit 40; or low, middle, high bits and sign as 62, 61, 113, 65 of 301 | SOSP 2023; SEVI |
//! | vector lane | one lane of 4 to 32 vectors of 16, 32 or 64 bytes | SEVI: one lane in 98.5 % |
//! | wrong address | 2 to 16 words, 76 % of which hold another element of the page, 24 % are corrupt | SEVI |
//! | coherence | a line that was written in the last step, as before | SOSP 2023: 8 of 27 |
//! | control flow | a bit of the instruction pointer on the way, or a stop | |
//! | string undershoot | the last 1 to 31 bytes of a stretch that was written in the last step, as before | SiliFuzz |
//! | register only | a bit of a flag, general or vector register at the end | SiliFuzz |
//! | data-dependent | low bits of 12 to 48 doubles all of which have one bit set | FCOS |
//! | memory cell | one bit (55 %); else a nibble, a row, a column, one way in nine of ten; a tenth in the kernel's code | HPCA 2023 |
//! | storage | a sector of zeros, or a page as before the last step | |
//! | other | a character of the log, a bit of a figure | |
//!
//! What a processor got wrong was written by it: those faults fall on words that are not as in the
//! snapshot. Memory and storage go wrong anywhere.
//!
//! Most faults strike at the end: what studies publish are records of tests whose result is looked at
//! at once. One in ten of those that can strikes an eighth of the computation before it, so that what
//! was wrong is computed with.

use model::HintClass;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

/// Faults of which one in so many strikes before the end.
const EARLY_ONE_IN: u64 = 10;

/// One trial in so many is drawn from shifted priors and from the other study.
const SHIFTED_ONE_IN: u64 = 3;

/// The classes that a fault in a machine can be made of, and their shares in a hundred: units of
/// processors as 1 : 2 : 2 : 1 (arithmetic, vectors, floats, caches), the others ours.
const SHARES: [(HintClass, u64); 13] = [
    (HintClass::FloatField, 15),
    (HintClass::VectorLane, 8),
    (HintClass::FixedBitMask, 6),
    (HintClass::DataDependent, 5),
    (HintClass::CoreLocalDefect, 4),
    (HintClass::ControlFlow, 4),
    (HintClass::WrongAddress, 4),
    (HintClass::RegisterOnly, 2),
    (HintClass::StringUndershoot, 2),
    (HintClass::Coherence, 10),
    (HintClass::MemoryCell, 25),
    (HintClass::Storage, 8),
    (HintClass::Other, 7),
];

/// The same where priors are shifted: the shares in another order, so that what is rare elsewhere is
/// common there.
const SHIFTED_SHARES: [u64; 13] = [2, 4, 4, 8, 25, 5, 7, 8, 10, 2, 6, 4, 15];

/// Registers that a fault at the end falls on: flags, and registers of numbers and vectors.
const REGISTERS: [&str; 12] = [
    "eflags", "rax", "rbx", "r8", "r12", "r15", "xmm0", "xmm1", "xmm4", "xmm9", "xmm15", "rdx",
];

/// A fault of known cause: what nobody who ranks causes is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCause {
    /// Its class.
    pub class: HintClass,
    /// Whether it was drawn from shifted priors, and from the other study.
    pub shifted: bool,
    /// Whether it strikes before the end, so that what is wrong is computed with.
    pub early: bool,
    /// The faults, as orders for `--inject`.
    pub orders: Vec<String>,
}

/// Draws a cause and the orders that make it, for a computation of so many steps.
pub(super) fn draw(random: &mut ChaCha8Rng, steps: u64) -> KnownCause {
    let shifted = below(random, SHIFTED_ONE_IN) == 0;
    let class = class(random, shifted);
    let mut making = Making {
        random,
        steps,
        shifted,
        early: false,
    };
    let orders = making.orders(class);
    KnownCause {
        class,
        shifted,
        early: making.early,
        orders,
    }
}

fn class(random: &mut ChaCha8Rng, shifted: bool) -> HintClass {
    let mut share = below(random, 100);
    for ((class, usual), other) in SHARES.into_iter().zip(SHIFTED_SHARES) {
        let width = if shifted { other } else { usual };
        match share.checked_sub(width) {
            Some(rest) => share = rest,
            None => return class,
        }
    }
    HintClass::Other
}

/// What orders are made with.
struct Making<'a> {
    random: &'a mut ChaCha8Rng,
    steps: u64,
    shifted: bool,
    early: bool,
}

impl Making<'_> {
    fn orders(&mut self, class: HintClass) -> Vec<String> {
        match class {
            HintClass::CoreLocalDefect => self.core_local(),
            HintClass::FixedBitMask => self.fixed_mask(),
            HintClass::FloatField => self.float_field(),
            HintClass::VectorLane => self.lane(),
            HintClass::WrongAddress => self.wrong_address(),
            HintClass::Coherence => vec![self.before("lost-write")],
            HintClass::ControlFlow => self.control_flow(),
            HintClass::StringUndershoot => vec![self.before("undershoot")],
            HintClass::RegisterOnly => {
                let register = self.one_of(&REGISTERS);
                vec![format!("reg={register}@end")]
            }
            HintClass::DataDependent => self.data_dependent(),
            HintClass::MemoryCell => self.memory_cell(),
            HintClass::Storage if self.chance(50) => vec!["ram=live@end,mode=zero".to_owned()],
            HintClass::Storage => vec![self.before("stale")],
            _ => vec![self.one_of(&["log", "metric"]).to_owned()],
        }
    }

    /// The mark of a fault that can strike at the end.
    fn when(&mut self) -> String {
        self.early = below(self.random, EARLY_ONE_IN) == 0;
        if self.early {
            format!("step:{}", self.steps / 8 * 7)
        } else {
            "end".to_owned()
        }
    }

    /// What was written in the last step is undone at the end.
    fn before(&mut self, mode: &str) -> String {
        let step = super::plan::last_step(self.steps);
        format!("ram=live@step:{step},mode={mode}")
    }

    fn core_local(&mut self) -> Vec<String> {
        let when = self.when();
        if self.chance(60) {
            let words = self.magnitude(2, 64);
            return vec![format!("ram=written@{when},mode=scramble,words={words}")];
        }
        if self.chance(60) {
            return vec![format!("ram=written@{when},mode=scramble")];
        }
        vec![format!("ram=written@{when},words=1")]
    }

    fn fixed_mask(&mut self) -> Vec<String> {
        let when = self.when();
        let words = self.magnitude(8, 64);
        let bits = match below(self.random, 100) {
            0..90 => 1,
            90..98 => 2,
            _ => 3,
        };
        let mask = self.mask(bits, 0, 51);
        let percent = 5 + below(self.random, 96);
        let sharing = (words * percent / 100).clamp(1, words);
        let mut orders = vec![format!("ram=written@{when},mask={mask:#x},words={sharing}")];
        let others = words - sharing;
        if others > 0 {
            orders.push(format!("ram=written@{when},mode=scramble,words={others}"));
        }
        orders
    }

    fn float_field(&mut self) -> Vec<String> {
        let when = self.when();
        let words = self.magnitude(2, 24);
        if !self.shifted {
            let order = format!("ram=doubles@{when},words={words},bits=0-39");
            return vec![order];
        }
        let mut counts = [0_u64; 4];
        for _ in 0..words {
            let field = match below(self.random, 301) {
                0..62 => 0,
                62..123 => 1,
                123..236 => 2,
                _ => 3,
            };
            counts[field] += 1;
        }
        let fields = ["bits=0-25", "bits=26-39", "bits=40-62", "bits=63-63"];
        let orders = fields.iter().zip(counts).filter(|(_, count)| *count > 0);
        orders
            .map(|(field, count)| format!("ram=doubles@{when},words={count},{field}"))
            .collect()
    }

    fn lane(&mut self) -> Vec<String> {
        let when = self.when();
        let words = self.magnitude(4, 32);
        let width = self.one_of(&["16", "32", "64"]);
        let order = format!("ram=written@{when},mode=scramble,words={words},stride={width}");
        vec![order]
    }

    fn wrong_address(&mut self) -> Vec<String> {
        let when = self.when();
        let words = self.magnitude(2, 16);
        let valid = (0..words).filter(|_| below(self.random, 100) < 76).count() as u64;
        let mut orders = Vec::new();
        if valid > 0 {
            orders.push(format!("ram=written@{when},mode=misread,words={valid}"));
        }
        if words > valid {
            let corrupt = words - valid;
            orders.push(format!("ram=written@{when},mode=scramble,words={corrupt}"));
        }
        orders
    }

    fn control_flow(&mut self) -> Vec<String> {
        let eighth = below(self.random, 7) + 1;
        let step = self.steps / 8 * eighth;
        if self.chance(20) {
            return vec![format!("hang@step:{step}")];
        }
        // A skipped instruction is a jump by a few bytes, one elsewhere by any number.
        let bit = if self.chance(30) {
            below(self.random, 4)
        } else {
            below(self.random, 47)
        };
        vec![format!("reg=rip:{bit}@step:{step}")]
    }

    fn data_dependent(&mut self) -> Vec<String> {
        let words = self.magnitude(12, 48);
        let bit = below(self.random, 40);
        let when = self.when();
        vec![format!(
            "ram=doubles@{when},mode=scramble,words={words},bits=0-24,where-bit={bit}"
        )]
    }

    fn memory_cell(&mut self) -> Vec<String> {
        let when = self.when();
        let place = if self.chance(10) { "text" } else { "live" };
        if self.chance(55) {
            return vec![format!("ram={place}@{when}")];
        }
        let mode = if self.chance(90) {
            self.one_of(&["mode=stuck-0", "mode=stuck-1"])
        } else {
            "mode=flip"
        };
        match below(self.random, 3) {
            0 => {
                let nibble = below(self.random, 16) * 4;
                let bits = below(self.random, 3) + 2;
                let mask = self.mask(bits, nibble, nibble + 3);
                vec![format!("ram={place}@{when},mask={mask:#x}")]
            }
            1 => {
                let words = self.magnitude(2, 64);
                vec![format!("ram={place}@{when},{mode},words={words},stride=8")]
            }
            _ => {
                let words = self.magnitude(4, 64);
                let mask = self.mask(1, 0, 63);
                vec![format!(
                    "ram={place}@{when},{mode},mask={mask:#x},words={words},stride=8192"
                )]
            }
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        below(self.random, 100) < percent
    }

    fn one_of(&mut self, among: &[&'static str]) -> &'static str {
        let index = below(self.random, among.len() as u64) as usize;
        among.get(index).copied().unwrap_or_default()
    }

    /// A number from `low` to `high`, small ones as often as large ones.
    fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let unit = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let ratio = high as f64 / low as f64;
        (low as f64 * ratio.powf(unit)).round() as u64
    }

    /// A word in which so many different bits from `low` to `high` are set.
    fn mask(&mut self, bits: u64, low: u64, high: u64) -> u64 {
        let mut mask = 0_u64;
        while u64::from(mask.count_ones()) < bits {
            mask |= 1 << (low + below(self.random, high - low + 1));
        }
        mask
    }
}

fn below(random: &mut ChaCha8Rng, choices: u64) -> u64 {
    random.next_u64() % choices.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::{Injection, plan};
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::BTreeMap;

    #[test]
    fn the_shares_make_a_hundred() {
        let usual: u64 = SHARES.iter().map(|(_, share)| share).sum();
        assert_eq!((usual, SHIFTED_SHARES.iter().sum::<u64>()), (100, 100));
    }

    #[test]
    fn every_cause_is_drawn_as_often_as_is_said_and_understood() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut counts: BTreeMap<(HintClass, bool), u64> = BTreeMap::new();
        for _ in 0..9_000 {
            let cause = draw(&mut random, 128);
            *counts.entry((cause.class, cause.shifted)).or_default() += 1;
            let orders: Vec<Injection> = cause
                .orders
                .iter()
                .map(|order| {
                    Injection::parse(order).unwrap_or_else(|error| panic!("{order}: {error}"))
                })
                .collect();
            plan(&orders, 1, 3, 128).unwrap();
        }
        let shifted: u64 = counts
            .iter()
            .filter(|((_, shifted), _)| *shifted)
            .map(|(_, count)| count)
            .sum();
        assert!((2_800..3_200).contains(&shifted), "{shifted}");
        for (class, share) in SHARES {
            let found = counts.get(&(class, false)).copied().unwrap_or(0) as f64 / 6_000.0;
            assert!(
                (found - share as f64 / 100.0).abs() < 0.02,
                "{class} {found}"
            );
        }
    }
}
