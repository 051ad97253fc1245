//! Words that a fault struck and that nothing has computed with since: they tell what kind of fault it
//! was even where what was wrong was used further and thousands of words differ.
//!
//! A value that was computed from a wrong one differs in about half of its bits, and fills whole
//! buffers; one that was struck differs in few, or is another word's, and stands alone. Left out is what
//! differs in few bits for other reasons: small numbers and times, addresses, text, and a wrong value
//! that was copied. Where too many are left, they are no fault's but what a smooth computation makes
//! of it, and none is kept.

use super::shape::Word;
use super::traces::{COMMON_VALUE, page};
use model::PAGE_BYTES;
use state::{Base, Memory, Page};
use std::collections::{BTreeMap, BTreeSet};

/// A struck word differs in at most so many bits: fewer of the half that chance makes are one in three
/// million.
const FEW_FLIPS: u32 = 12;

/// A page in which more words differ was computed: a row of memory or a lane of vectors has at most 64
/// in one.
const MOST_IN_PAGE: usize = 72;

/// More are not of one fault.
const MOST_KEPT: usize = 96;

/// Values below this are sizes, counts and times of up to 18 minutes in nanoseconds.
const LEAST_VALUE: u64 = 1 << 40;

/// Numbers below this, four or two in a word, are small as well.
const SMALL_PARTS: [(u32, u64); 2] = [(16, 1 << 10), (32, 1 << 20)];

/// The struck words of a replica's memory, by address, held against another replica's.
pub(super) fn kept(wrong: &Memory, right: &Memory, base: Base<'_>) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    for number in numbers(wrong, right) {
        let (one, other) = (page(wrong, base, number), page(right, base, number));
        if one != other {
            found.extend(of_page(number, (one, other), base.page(number)));
        }
    }
    let mut times: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for word in &found {
        *times.entry((word.expected, word.found)).or_default() += 1;
    }
    found.retain(|word| times.get(&(word.expected, word.found)) == Some(&1));
    if found.len() > MOST_KEPT {
        found.clear();
    }
    found
}

/// The pages that either has changed.
fn numbers(one: &Memory, other: &Memory) -> BTreeSet<u64> {
    let of = |memory: &Memory| -> Vec<u64> {
        match memory {
            Memory::Changed(changed) => changed.numbers().to_vec(),
            Memory::Full(_) => (0..memory.pages()).collect(),
        }
    };
    of(one).into_iter().chain(of(other)).collect()
}

fn of_page(number: u64, (wrong, right): (&Page, &Page), before: &Page) -> Vec<Word> {
    let words = |page: &Page| -> Vec<u64> {
        let words = page.as_chunks::<8>().0.iter();
        words.map(|word| u64::from_le_bytes(*word)).collect()
    };
    let (wrong, right, before) = (words(wrong), words(right), words(before));
    let mut held: BTreeMap<u64, usize> = BTreeMap::new();
    for value in &right {
        *held.entry(*value).or_default() += 1;
    }
    let pairs = wrong.iter().zip(&right).zip(&before);
    let differing: Vec<(Word, u64)> = (0_u64..)
        .zip(pairs)
        .filter(|(_, ((found, expected), _))| found != expected)
        .map(|(index, ((&found, &expected), &before))| {
            let address = Some(number * PAGE_BYTES as u64 + index * 8);
            let word = Word {
                address,
                expected,
                found,
            };
            (word, before)
        })
        .collect();
    if differing.len() > MOST_IN_PAGE {
        return Vec::new();
    }
    let is_others = |word: &Word, before: u64| {
        let times = held.get(&word.found).copied().unwrap_or(0);
        (1..=COMMON_VALUE).contains(&times) && word.found != before
    };
    differing
        .into_iter()
        .filter(|(word, before)| word.flips() <= FEW_FLIPS || is_others(word, *before))
        .filter(|(word, _)| tells(*word))
        .map(|(word, _)| word)
        .collect()
}

/// Whether few differing bits of a word are nothing usual.
fn tells(word: Word) -> bool {
    let small = |value: u64| {
        value < LEAST_VALUE
            || SMALL_PARTS.iter().any(|&(bits, limit)| {
                let mask = u64::MAX >> (64 - bits);
                (0..64 / bits).all(|part| (value >> (part * bits) & mask) < limit)
            })
    };
    let both_small = small(word.expected) && small(word.found);
    !both_small && !word.is_pointer() && !is_text(word)
}

/// Whether both sides are characters all through.
fn is_text(word: Word) -> bool {
    let character = |byte: u8| matches!(byte, 0 | b'\n' | b' '..=b'~');
    [word.expected, word.found]
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .all(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use state::ChangedPages;

    /// A page of high entropy, by number.
    fn noise(number: u64) -> Vec<u64> {
        let mut state = number;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let value = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            value ^ value >> 31
        };
        (0..512).map(|_| next()).collect()
    }

    fn memory(pages: &[Vec<u64>]) -> Memory {
        let bytes = pages.iter().flatten().flat_map(|word| word.to_le_bytes());
        let numbers = (0..pages.len() as u64).collect();
        Memory::Changed(ChangedPages::new(numbers, bytes.collect()).unwrap())
    }

    fn kept_of(wrong: &[Vec<u64>], right: &[Vec<u64>]) -> Vec<u64> {
        let base = Base::new(&[], 16 * PAGE_BYTES as u64).unwrap();
        let words = kept(&memory(wrong), &memory(right), base);
        words.iter().filter_map(|word| word.address).collect()
    }

    #[test]
    fn what_was_struck_is_told_from_what_was_computed_with_it() {
        let right = vec![noise(1), noise(2), noise(3)];
        let mut wrong = vec![noise(1), noise(2), noise(4)];
        wrong[0][7] ^= 1 << 50;
        wrong[1][9] ^= 0x8010_0002;
        wrong[1][11] = right[1][100];
        // Computed with: half of the bits differ.
        wrong[1][300] = right[0][0];
        assert_eq!(kept_of(&wrong, &right), [0x38, 0x1048, 0x1058]);
    }

    #[test]
    fn what_differs_in_few_bits_for_other_reasons_is_left_out() {
        let mut right = vec![noise(1)];
        let usual = [
            (0x1_6c44_e410, 0x1_6c45_1470),
            (0x0007_0007_0005_0006, 0x0007_0005_0005_0007),
            (0xffff_8880_0123_4560, 0xffff_8880_0123_5560),
            (0x3061_6235_3766_3039, 0x3061_6335_3766_3139),
        ];
        for (at, (one, _)) in usual.iter().enumerate() {
            right[0][at * 20] = *one;
        }
        let mut wrong = right.clone();
        for (at, (_, other)) in usual.iter().enumerate() {
            wrong[0][at * 20] = *other;
        }
        assert_eq!(kept_of(&wrong, &right), [0_u64; 0]);
        // A wrong value and its copy.
        for at in [200, 300] {
            right[0][at] = 0x1234_5678_9abc_def0;
            wrong[0][at] = 0x1234_5678_9abc_def1;
        }
        assert_eq!(kept_of(&wrong, &right), [0_u64; 0]);
        wrong[0][400] ^= 4;
        assert_eq!(kept_of(&wrong, &right), [400 * 8]);
    }

    #[test]
    fn too_many_are_no_faults() {
        let right: Vec<Vec<u64>> = (0..4).map(noise).collect();
        let mut wrong = right.clone();
        for page in &mut wrong {
            for word in page.iter_mut().step_by(20) {
                *word ^= 1 << 45;
            }
        }
        assert_eq!(kept_of(&wrong, &right), [0_u64; 0]);
        assert_eq!(kept_of(&wrong[..2], &right[..2]).len(), 52);
    }
}
