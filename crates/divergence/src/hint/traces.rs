//! What the memory around a difference says, taken once when the states are at hand: whether a wrong
//! value is another element's, or an old one, and which bits the words there have in general.
//!
//! It is taken from a replica other than the one that deviates. Without such a replica, or where
//! nobody in particular deviates, there are no traces, and hints go without.

use super::shape::words_of;
use crate::input::Replica;
use model::{Difference, PAGE_BYTES, ReplicaIndex};
use state::{Base, Memory, Page};
use std::collections::{BTreeMap, BTreeSet};

/// A value that so many words of a few pages hold says nothing of where it was read.
const COMMON_VALUE: usize = 8;

/// Values below this are found everywhere: small numbers.
const SMALL_VALUE: u64 = 1 << 20;

/// What memory around a deviation says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    /// Addresses of words whose wrong value another word of the same pages rightly holds.
    pub echoes: BTreeSet<u64>,
    /// Addresses of words whose wrong value is that of the snapshot, before anything was computed.
    pub unwritten: BTreeSet<u64>,
    /// For each bit, the share of the words of those pages that have it; nothing where there are none.
    pub ones: Option<[f64; 64]>,
    /// All words of memory that differ, listed or not.
    pub words: u64,
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
        let wrong = words_of(differences);
        let numbers: BTreeSet<u64> = wrong
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
            ones: bits.shares(),
            words,
        }
    }
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

    fn shares(&self) -> Option<[f64; 64]> {
        let share = |count: u64| count as f64 / self.words as f64;
        (self.words > 0).then(|| self.counts.map(share))
    }
}

fn page<'a>(memory: &'a Memory, base: Base<'a>, number: u64) -> &'a Page {
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
