//! What differences look like, in numbers: taken once, and read by all classes.
//!
//! | module | holds |
//! |---|---|
//! | `word` | one differing word, and what its two values look like |
//! | `bits` | masks that words share, bits that all of them have |
//! | `place` | where words lie to each other |
//! | `form` | the one form that all of it amounts to |

mod bits;
mod form;
mod place;
mod word;

use super::Subject;
use super::traces::{COMPUTED_WITH_WORDS, FLOOD_WORDS, Stretch};
pub(super) use bits::{CommonMask, Condition};
pub(super) use form::Form;
use model::{Difference, PAGE_BYTES, Part};
use place::Place;
use std::collections::BTreeSet;
pub(super) use word::{Word, words_of};

/// Values that are found again elsewhere, from which on the others are by-work.
const PERMUTED_SHARE: f64 = 0.8;

/// Bits of a double below this one make errors below 10^-8.
const LOW_MANTISSA: u64 = 1 << 26;

/// Values that have nothing to do with each other differ in half of their 64 bits; in no more than so
/// many by chance in one of three million.
const CORRUPT_FLIPS: u32 = 12;

/// From this share of such words on, values were replaced: those that are small differ in few bits.
const REPLACED_SHARE: f64 = 0.3;

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

/// The numbers that the evidence is drawn from.
#[derive(Debug)]
pub(super) struct Shape {
    /// Words of memory and files of which both sides are known, as listed; or, of what was computed
    /// with, those that stand as they were struck.
    pub(super) words: Vec<Word>,
    /// Whether they are those.
    pub(super) kept: bool,
    /// All words that differ, listed or not.
    pub(super) words_total: u64,
    pub(super) pages: BTreeSet<u64>,
    pub(super) common: Option<CommonMask>,
    pub(super) condition: Option<Condition>,
    pub(super) place: Place,
    pub(super) one_bit: usize,
    pub(super) moved_pointers: usize,
    /// Moved clocks, and words in symbols that hold times or random numbers.
    pub(super) moving: usize,
    pub(super) noisy: usize,
    pub(super) few_units: usize,
    pub(super) doubles: usize,
    /// Words of which only bits of the lower mantissa differ.
    pub(super) low_bits: usize,
    /// Words that differ in so many bits that another value stands there.
    pub(super) replaced: usize,
    /// Whether one mask is that of all.
    pub(super) one_mask: bool,
    pub(super) echoes: usize,
    pub(super) unwritten: usize,
    /// Words that nothing has written since the snapshot; none where that is not known.
    pub(super) untouched: Option<usize>,
    pub(super) stretch: Option<Stretch>,
    pub(super) zeros: usize,
    pub(super) in_code: usize,
    /// The same words in another order.
    pub(super) permuted: bool,
    /// Words both of whose values are addresses.
    pub(super) pointers: usize,
    pub(super) registers: usize,
    /// Registers of a machine that is bit-exact differ as well as many words.
    pub(super) computed_with: bool,
    pub(super) lines: usize,
    pub(super) lines_permuted: bool,
    pub(super) lines_but_digits: usize,
    pub(super) outcomes: usize,
    pub(super) metrics: usize,
    /// What all of it amounts to.
    pub(super) form: Form,
}

impl Shape {
    pub(super) fn of(subject: &Subject<'_>) -> Self {
        let differences = subject.differences;
        let traces = subject.traces;
        let part = |part| differences.iter().filter(|one| one.part == part).count();
        let listed = words_of(differences);
        let words_total = traces.words.max(listed.len() as u64);
        let computed_with =
            subject.deterministic && part(Part::Register) > 0 && words_total >= COMPUTED_WITH_WORDS;
        let code = |word: &Word| match (&subject.code, word.address) {
            (Some(code), Some(address)) => code.contains(&address),
            _ => false,
        };
        let kept = (computed_with || words_total > FLOOD_WORDS)
            && part(Part::Outcome) == 0
            && !traces.kept.is_empty()
            && !listed.iter().all(code);
        let mut words = if kept {
            traces.kept.iter().map(Word::from).collect()
        } else {
            listed
        };
        words.sort_by_key(|word| word.address);
        let noisy = differences
            .iter()
            .filter(|one| !kept && in_noisy_symbol(one));
        let noisy = noisy.count();
        let count = |is: &dyn Fn(&Word) -> bool| words.iter().filter(|word| is(word)).count();
        let among = |set: &BTreeSet<u64>, word: &Word| {
            let address = word.address;
            address.is_some_and(|address| set.contains(&address))
        };
        let lines: Vec<(&str, &str)> = differences.iter().filter_map(line).collect();
        let mut shape = Self {
            words_total,
            kept,
            pages: words.iter().filter_map(|word| page(*word)).collect(),
            common: bits::common_mask(&words),
            condition: bits::condition(&words, traces.ones.as_deref()),
            place: Place::of(&words),
            one_bit: count(&|word| word.flips() == 1),
            moved_pointers: count(&|word| word.is_moved_pointer()),
            moving: noisy.max(count(&|word| word.is_moved_clock())),
            noisy,
            few_units: count(&|word| word.is_few_units_off()),
            doubles: count(&|word| word.was_double()),
            low_bits: count(&|word| word.mask() < LOW_MANTISSA),
            replaced: count(&|word| word.flips() > CORRUPT_FLIPS),
            one_mask: one_mask(&words),
            echoes: count(&|word| {
                among(&traces.echoes, word) && !among(&traces.unwritten, word) && !word.is_nibble()
            }),
            unwritten: count(&|word| among(&traces.unwritten, word)),
            untouched: (traces.held_against_snapshot > 0)
                .then(|| count(&|word| among(&traces.untouched, word))),
            stretch: traces.stretch,
            zeros: count(&|word| word.found == 0),
            in_code: count(&code),
            permuted: is_permuted(words.iter().map(|word| (word.expected, word.found))),
            pointers: count(&|word| word.is_pointer()),
            registers: part(Part::Register),
            computed_with,
            lines: lines.len(),
            lines_permuted: is_permuted(lines.iter().copied()),
            lines_but_digits: lines.iter().filter(|line| but_digits(line)).count(),
            outcomes: part(Part::Outcome),
            metrics: part(Part::Metric),
            words,
            form: Form::Nothing,
        };
        shape.form = Form::of(&shape);
        shape
    }

    /// How many words there are.
    pub(super) const fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether other values stand there, not the right ones with wrong bits.
    pub(super) fn is_replaced(&self) -> bool {
        self.share(self.replaced) >= REPLACED_SHARE
    }

    /// The share of words that have some property.
    pub(super) fn share(&self, count: usize) -> f64 {
        count as f64 / self.len().max(1) as f64
    }
}

fn one_mask(words: &[Word]) -> bool {
    let mut masks = words.iter().map(|word| word.mask());
    let first = masks.next();
    first.is_some() && masks.all(|mask| Some(mask) == first)
}

fn page(word: Word) -> Option<u64> {
    Some(word.address? / PAGE_BYTES as u64)
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
