//! Which bits differ: a mask that words share, and a bit that all words have which went wrong.

use super::word::Word;
use std::collections::{BTreeMap, BTreeSet};

/// The mask that most words share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::hint) struct CommonMask {
    pub(in crate::hint) mask: u64,
    pub(in crate::hint) count: usize,
    /// Of the flips in those words, how many go from 0 to 1, and how many there are.
    pub(in crate::hint) rising: u32,
    pub(in crate::hint) flips: u32,
}

pub(super) fn common_mask(words: &[Word]) -> Option<CommonMask> {
    // Copies of one wrong value have one mask of course: values count once.
    let mut values: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for word in words {
        values.entry(word.mask()).or_default().insert(word.expected);
    }
    let counts = values
        .into_iter()
        .map(|(mask, values)| (mask, values.len()));
    let (mask, count) = counts.max_by_key(|(_, count)| *count)?;
    let sharing = || words.iter().filter(|word| word.mask() == mask);
    Some(CommonMask {
        mask,
        count,
        rising: sharing().map(|word| (word.found & mask).count_ones()).sum(),
        flips: sharing().map(|_| mask.count_ones()).sum(),
    })
}

/// A bit that all words which went wrong have, and others have not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::hint) struct Condition {
    pub(in crate::hint) bit: u32,
    /// The share of all words there that have it.
    pub(in crate::hint) share: f64,
    /// The binary logarithm of the chance that so many words have it by accident, negated, after
    /// as many bits were looked at.
    pub(in crate::hint) surprise_bits: f64,
}

/// Bits that are looked at: those of a mantissa. The field above tells what kind of word it is.
const LOOKED_AT: usize = 52;

/// The bit that is least likely to be set in all of them by accident.
pub(super) fn condition(words: &[Word], ones: Option<&[f64]>) -> Option<Condition> {
    let all = words.iter().fold(u64::MAX, |all, word| all & word.expected);
    let ones = ones?;
    let surprise = |share: f64| {
        let one = -share.clamp(0.01, 1.0).log2();
        words.len() as f64 * one - (LOOKED_AT as f64).log2()
    };
    let set = ones.iter().take(LOOKED_AT).zip(0_u32..);
    set.filter(|(_, bit)| all >> bit & 1 == 1)
        .map(|(&share, bit)| Condition {
            bit,
            share,
            surprise_bits: surprise(share),
        })
        .max_by(|one, other| one.surprise_bits.total_cmp(&other.surprise_bits))
}
