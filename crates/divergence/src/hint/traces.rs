//! What the memory around a difference says, taken once when the states are at hand: whether a wrong
//! value is another element's, or an old one, whether anything had been written there at all, how far
//! what was written reaches around it, and which bits the words there have in general.
//!
//! It is taken from a replica other than the one that deviates. Without such a replica, or where
//! nobody in particular deviates, there are no traces, and hints go without.

use super::kept::kept;
use super::shape::{Word, words_of};
use crate::input::Replica;
use model::{Difference, PAGE_BYTES, Part, ReplicaIndex};
use serde::{Deserialize, Serialize};
use state::{Base, Memory, Page};
use std::collections::{BTreeMap, BTreeSet};

/// A value that so many words of a few pages hold says nothing of where it was read.
pub(super) const COMMON_VALUE: usize = 8;

/// Values below this are found everywhere: small numbers.
const SMALL_VALUE: u64 = 1 << 20;

/// So many words are no single fault's where registers differ too.
pub(super) const COMPUTED_WITH_WORDS: u64 = 16;

/// So many words are no single fault's at all.
pub(super) const FLOOD_WORDS: u64 = 256;

/// A byte that was written with what it held does not end a stretch, up to so many in a row.
const WRITTEN_ALIKE_BYTES: usize = 3;

/// A stretch is followed so far: longer than the longest tail and a line of the cache.
const MOST_STRETCH_BYTES: usize = 256;

/// What memory around a deviation says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Traces {
    /// Addresses of words whose wrong value another word of the same pages rightly holds.
    pub echoes: BTreeSet<u64>,
    /// Addresses of words whose wrong value is that of the snapshot, before anything was computed.
    pub unwritten: BTreeSet<u64>,
    /// Addresses of words that nothing has written since the snapshot: they rightly hold what they
    /// held in it.
    pub untouched: BTreeSet<u64>,
    /// How many words were held against the snapshot: none where it is not known.
    pub held_against_snapshot: u64,
    /// What was written around them, where all lie in one page.
    pub stretch: Option<Stretch>,
    /// For each of the 64 bits, the share of the words of those pages that have it; nothing where there
    /// are none.
    pub ones: Option<Vec<f64>>,
    /// Of words that were wrong and computed with, those that still stand as they were struck.
    #[serde(default)]
    pub kept: Vec<KeptWord>,
    /// All words of memory that differ, listed or not.
    pub words: u64,
}

/// A word as a fault left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWord {
    /// Its guest-physical address.
    pub address: u64,
    /// What it rightly holds.
    pub expected: u64,
    /// What it holds.
    pub found: u64,
}

/// What was written since the snapshot, around the bytes that differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Bytes that were written right before the first that differs, at most 256.
    pub bytes_before: u32,
    /// Bytes that were written right after the last that differs, at most 256.
    pub bytes_after: u32,
}

impl Traces {
    /// The traces of one replica's differences.
    #[must_use]
    pub fn of(
        (replica, differences, words): (Option<ReplicaIndex>, &[Difference], u64),
        replicas: &[Replica<'_>],
        base: Base<'_>,
    ) -> Self {
        let empty = Self {
            words,
            ..Self::default()
        };
        let other = replicas.iter().find(|one| Some(one.index) != replica);
        let (Some(_), Some(other)) = (replica, other) else {
            return empty;
        };
        let wrong_memory = replicas.iter().find(|one| Some(one.index) == replica);
        let registers = differences.iter().any(|one| one.part == Part::Register);
        let computed_with = (registers && words >= COMPUTED_WITH_WORDS) || words > FLOOD_WORDS;
        let kept = match wrong_memory {
            Some(wrong) if computed_with => kept(&wrong.state.memory, &other.state.memory, base),
            _ => Vec::new(),
        };
        let mut wrong = words_of(differences);
        let telling = if kept.is_empty() { &wrong } else { &kept };
        let stretch = stretch(telling, &other.state.memory, base);
        let numbers: BTreeSet<u64> = telling
            .iter()
            .filter_map(|word| Some(word.address? / PAGE_BYTES as u64))
            .filter(|number| *number < base.total_pages())
            .collect();
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        let mut bits = Bits::default();
        for &number in &numbers {
            for word in in_words(page(&other.state.memory, base, number)) {
                *held.entry(word).or_default() += 1;
                bits.add(word);
            }
        }
        let listed: BTreeSet<Option<u64>> = wrong.iter().map(|word| word.address).collect();
        let unlisted = kept.iter().filter(|word| !listed.contains(&word.address));
        wrong.extend(unlisted.copied());
        let addressed = || wrong.iter().filter_map(|word| Some((word.address?, word)));
        let echo = |found: u64, mask: u64| {
            let times = held.get(&found).copied().unwrap_or(0);
            (1..=COMMON_VALUE).contains(&times) && found >= SMALL_VALUE && mask.count_ones() > 2
        };
        Self {
            echoes: addressed()
                .filter(|(_, word)| echo(word.found, word.mask()))
                .map(|(address, _)| address)
                .collect(),
            unwritten: addressed()
                .filter(|(address, word)| before(base, *address) == Some(word.found))
                .map(|(address, _)| address)
                .collect(),
            untouched: addressed()
                .filter(|(address, word)| before(base, *address) == Some(word.expected))
                .map(|(address, _)| address)
                .collect(),
            held_against_snapshot: addressed()
                .filter(|(address, _)| before(base, *address).is_some())
                .count() as u64,
            stretch,
            ones: bits.shares(),
            kept: kept.iter().filter_map(|word| KeptWord::of(*word)).collect(),
            words,
        }
    }
}

impl KeptWord {
    fn of(word: Word) -> Option<Self> {
        Some(Self {
            address: word.address?,
            expected: word.expected,
            found: word.found,
        })
    }
}

/// What was written around words that all lie in one page.
fn stretch(wrong: &[Word], memory: &Memory, base: Base<'_>) -> Option<Stretch> {
    let mut bytes: Vec<u64> = wrong
        .iter()
        .filter(|word| word.address.is_some())
        .flat_map(|word| word.bytes())
        .collect();
    bytes.sort_unstable();
    let (first, last) = (*bytes.first()?, *bytes.last()?);
    let number = first / PAGE_BYTES as u64;
    if last / PAGE_BYTES as u64 != number || number >= base.total_pages() {
        return None;
    }
    let (now, then) = (page(memory, base, number), base.page(number));
    let written: Vec<bool> = now
        .iter()
        .zip(then)
        .map(|(now, then)| now != then)
        .collect();
    let within = |byte: u64| (byte % PAGE_BYTES as u64) as usize;
    let (before, after) = (
        written.get(..within(first))?,
        written.get(within(last) + 1..)?,
    );
    Some(Stretch {
        bytes_before: reach(before.iter().rev()),
        bytes_after: reach(after.iter()),
    })
}

/// How far a stretch of written bytes reaches.
fn reach<'a>(written: impl Iterator<Item = &'a bool>) -> u32 {
    let (mut length, mut alike) = (0, 0);
    for (at, written) in (1_u32..).zip(written.take(MOST_STRETCH_BYTES)) {
        if *written {
            (length, alike) = (at, 0);
        } else {
            alike += 1;
            if alike > WRITTEN_ALIKE_BYTES {
                break;
            }
        }
    }
    length
}

/// How often each bit is set.
struct Bits {
    counts: [u64; 64],
    words: u64,
}

impl Default for Bits {
    fn default() -> Self {
        Self {
            counts: [0; 64],
            words: 0,
        }
    }
}

impl Bits {
    /// Counts a word that holds something.
    fn add(&mut self, word: u64) {
        if word == 0 {
            return;
        }
        self.words += 1;
        for (bit, count) in self.counts.iter_mut().enumerate() {
            *count += word >> bit & 1;
        }
    }

    fn shares(&self) -> Option<Vec<f64>> {
        let share = |count: u64| count as f64 / self.words as f64;
        (self.words > 0).then(|| self.counts.map(share).to_vec())
    }
}

pub(super) fn page<'a>(memory: &'a Memory, base: Base<'a>, number: u64) -> &'a Page {
    let own = match memory {
        Memory::Changed(changed) => changed.page(number),
        Memory::Full(image) => usize::try_from(number)
            .ok()
            .and_then(|number| image.as_chunks().0.get(number)),
    };
    own.unwrap_or_else(|| base.page(number))
}

fn in_words(page: &Page) -> impl Iterator<Item = u64> {
    page.as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
}

/// What the snapshot holds in a word.
fn before(base: Base<'_>, address: u64) -> Option<u64> {
    let number = address / PAGE_BYTES as u64;
    if number >= base.total_pages() {
        return None;
    }
    let index = (address % PAGE_BYTES as u64 / 8) as usize;
    in_words(base.page(number)).nth(index)
}
