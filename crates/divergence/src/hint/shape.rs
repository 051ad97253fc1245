//! What differences look like, in numbers.

use super::Subject;
use model::{Difference, Locus, PAGE_BYTES, Part};
use std::collections::{BTreeMap, BTreeSet};

/// Two doubles are a few units in the last place apart up to here.
const FEW_UNITS: u64 = 4;

/// Exponents of doubles that numbers of a computation have: 2^-200 to 2^200. Small integers and
/// addresses, read as doubles, lie far outside.
const EXPONENTS: std::ops::RangeInclusive<u64> = 823..=1223;

/// Times and counters differ by less than this: 2^40 ns are 18 minutes.
const CLOCK_BITS: u32 = 40;

/// Values that are found again elsewhere, from which on the others are by-work.
const PERMUTED_SHARE: f64 = 0.8;

/// Parts of names of kernel symbols that hold times, counters of events and random numbers.
const NOISY_SYMBOLS: [&str; 8] = [
    "jiffies",
    "tick",
    "timekeeper",
    "tk_core",
    "clock",
    "random",
    "crng",
    "entropy",
];

/// One differing word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) address: Option<u64>,
    pub(super) expected: u64,
    pub(super) found: u64,
}

impl Word {
    pub(super) const fn mask(self) -> u64 {
        self.expected ^ self.found
    }

    /// Both are addresses of the kernel, or both of a program.
    fn is_pointer(self) -> bool {
        let kernel = |value: u64| value >> 47 == 0x1_ffff;
        let program = |value: u64| (0x5000_0000_0000..0x8000_0000_0000).contains(&value);
        (kernel(self.expected) && kernel(self.found))
            || (program(self.expected) && program(self.found))
    }

    /// Another page, and the same place in it.
    fn is_moved_pointer(self) -> bool {
        self.is_pointer() && self.mask().trailing_zeros() >= 12
    }

    /// A little earlier or later, by more than one flipped bit would make it.
    fn is_moved_clock(self) -> bool {
        let apart = self.expected.abs_diff(self.found);
        let near = apart < 1 << CLOCK_BITS && self.mask().leading_zeros() >= 64 - CLOCK_BITS - 1;
        near && self.mask().count_ones() > 1 && self.expected >= 1 << 16 && !self.is_double()
    }

    fn is_double(self) -> bool {
        let plausible = |value: u64| EXPONENTS.contains(&(value >> 52 & 0x7ff));
        plausible(self.expected) && plausible(self.found)
    }

    fn is_few_units_off(self) -> bool {
        self.is_double() && self.expected.abs_diff(self.found) <= FEW_UNITS
    }
}

/// The mask that most words share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CommonMask {
    pub(super) mask: u64,
    pub(super) count: usize,
    /// Of the flips in those words, how many go from 0 to 1, and how many there are.
    pub(super) rising: u32,
    pub(super) flips: u32,
}

/// The numbers that the evidence is drawn from.
#[derive(Debug)]
pub(super) struct Shape {
    /// Words of memory and files of which both sides are known.
    pub(super) words: Vec<Word>,
    pub(super) pages: BTreeSet<u64>,
    pub(super) common: Option<CommonMask>,
    pub(super) one_bit: usize,
    pub(super) moved_pointers: usize,
    /// Moved clocks, and words in symbols that hold times or random numbers.
    pub(super) moving: usize,
    pub(super) few_units: usize,
    pub(super) zeros: usize,
    pub(super) in_code: usize,
    /// The same words in another order.
    pub(super) permuted: bool,
    /// Whether those are addresses.
    pub(super) pointers: usize,
    pub(super) registers: usize,
    pub(super) lines: usize,
    pub(super) lines_permuted: bool,
    pub(super) lines_but_digits: usize,
    pub(super) outcomes: usize,
}

impl Shape {
    pub(super) fn of(subject: &Subject<'_>) -> Self {
        let differences = subject.differences;
        let words: Vec<Word> = differences.iter().filter_map(word).collect();
        let noisy = differences
            .iter()
            .filter(|one| in_noisy_symbol(one))
            .count();
        let count = |is: &dyn Fn(&Word) -> bool| words.iter().filter(|word| is(word)).count();
        let code = |word: &Word| match (&subject.code, word.address) {
            (Some(code), Some(address)) => code.contains(&address),
            _ => false,
        };
        let lines: Vec<(&str, &str)> = differences.iter().filter_map(line).collect();
        let part = |part| differences.iter().filter(|one| one.part == part).count();
        Self {
            pages: words.iter().filter_map(|word| page(*word)).collect(),
            common: common_mask(&words),
            one_bit: count(&|word| word.mask().count_ones() == 1),
            moved_pointers: count(&|word| word.is_moved_pointer()),
            moving: noisy.max(count(&|word| word.is_moved_clock())),
            few_units: count(&|word| word.is_few_units_off()),
            zeros: count(&|word| word.found == 0),
            in_code: count(&code),
            permuted: is_permuted(words.iter().map(|word| (word.expected, word.found))),
            pointers: count(&|word| word.is_pointer()),
            registers: part(Part::Register),
            lines: lines.len(),
            lines_permuted: is_permuted(lines.iter().copied()),
            lines_but_digits: lines.iter().filter(|line| but_digits(line)).count(),
            outcomes: part(Part::Outcome),
            words,
        }
    }

    /// How many words there are.
    pub(super) const fn len(&self) -> usize {
        self.words.len()
    }

    /// The share of words that have some property.
    pub(super) fn share(&self, count: usize) -> f64 {
        count as f64 / self.len().max(1) as f64
    }

    /// Many words, many bits, no order to be seen.
    pub(super) fn is_scattered(&self) -> bool {
        let patterned = self.common.is_some_and(|common| common.count >= 3);
        let ordered = self.moved_pointers + self.moving + self.few_units + self.zeros;
        !patterned && !self.permuted && self.share(ordered) < 0.5 && self.share(self.one_bit) < 0.5
    }
}

fn page(word: Word) -> Option<u64> {
    Some(word.address? / PAGE_BYTES as u64)
}

/// Both sides of a word; of two replicas without a majority, the first stands for what is expected.
fn word(difference: &Difference) -> Option<Word> {
    let address = match (&difference.part, &difference.locus) {
        (Part::Memory, Locus::Address(address)) => Some(address.0),
        (Part::File | Part::Memory, Locus::Name(_)) => None,
        _ => return None,
    };
    let (expected, found) = match &difference.expected {
        Some(expected) => (expected.as_str(), difference.found.as_str()),
        None => difference.found.split_once('/')?,
    };
    Some(Word {
        address,
        expected: little_endian(expected)?,
        found: little_endian(found)?,
    })
}

/// A whole word in hexadecimal, in the order of memory.
fn little_endian(digits: &str) -> Option<u64> {
    let whole = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let value = u64::from_str_radix(digits, 16).ok().filter(|_| whole)?;
    Some(value.swap_bytes())
}

fn line(difference: &Difference) -> Option<(&str, &str)> {
    let expected = difference.expected.as_deref()?;
    (difference.part == Part::Log).then_some((expected, difference.found.as_str()))
}

fn but_digits((expected, found): &(&str, &str)) -> bool {
    let rest = |text: &str| text.replace(|character: char| character.is_ascii_digit(), "");
    expected != found && rest(expected) == rest(found)
}

fn in_noisy_symbol(difference: &Difference) -> bool {
    let symbol = difference.symbol.as_deref().unwrap_or_default();
    let differs = difference.part == Part::Memory;
    differs && NOISY_SYMBOLS.iter().any(|part| symbol.contains(part))
}

/// At least two values, nearly all of which are found again in another place.
fn is_permuted<T: Ord>(pairs: impl Iterator<Item = (T, T)>) -> bool {
    let (mut expected, mut found): (Vec<T>, Vec<T>) = pairs.unzip();
    expected.sort_unstable();
    found.sort_unstable();
    let count = expected.len();
    let (mut again, mut ahead) = (0, found.into_iter().peekable());
    for value in expected {
        while ahead.next_if(|other| *other < value).is_some() {}
        again += usize::from(ahead.next_if_eq(&value).is_some());
    }
    count >= 2 && again as f64 >= PERMUTED_SHARE * count as f64
}

fn common_mask(words: &[Word]) -> Option<CommonMask> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for word in words {
        *counts.entry(word.mask()).or_default() += 1;
    }
    let (mask, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let sharing = || words.iter().filter(|word| word.mask() == mask);
    Some(CommonMask {
        mask,
        count,
        rising: sharing().map(|word| (word.found & mask).count_ones()).sum(),
        flips: sharing().map(|_| mask.count_ones()).sum(),
    })
}
