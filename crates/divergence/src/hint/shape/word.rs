//! One differing word, and what its two values look like.

use crate::hint::traces::KeptWord;
use model::{Difference, Locus, Part};

/// Two doubles are a few units in the last place apart up to here.
const FEW_UNITS: u64 = 4;

/// Exponents of doubles that numbers of a computation have: 2^-200 to 2^200. Small integers and
/// addresses, read as doubles, lie far outside.
const EXPONENTS: std::ops::RangeInclusive<u64> = 823..=1223;

/// Times and counters differ by less than this: 2^40 ns are 18 minutes.
const CLOCK_BITS: u32 = 40;

/// One differing word.
#[derive(Debug, Clone, Copy)]
pub(in crate::hint) struct Word {
    pub(in crate::hint) address: Option<u64>,
    pub(in crate::hint) expected: u64,
    pub(in crate::hint) found: u64,
}

impl From<&KeptWord> for Word {
    fn from(kept: &KeptWord) -> Self {
        Self {
            address: Some(kept.address),
            expected: kept.expected,
            found: kept.found,
        }
    }
}

impl Word {
    pub(in crate::hint) const fn mask(self) -> u64 {
        self.expected ^ self.found
    }

    pub(in crate::hint) const fn flips(self) -> u32 {
        self.mask().count_ones()
    }

    /// Both are addresses of the kernel, or both of a program.
    pub(in crate::hint) fn is_pointer(self) -> bool {
        let kernel = |value: u64| value >> 47 == 0x1_ffff;
        let program = |value: u64| (0x5000_0000_0000..0x8000_0000_0000).contains(&value);
        (kernel(self.expected) && kernel(self.found))
            || (program(self.expected) && program(self.found))
    }

    /// Another page, and the same place in it.
    pub(super) fn is_moved_pointer(self) -> bool {
        self.is_pointer() && self.mask().trailing_zeros() >= 12
    }

    /// A little earlier or later, by more than one flipped bit would make it.
    pub(super) fn is_moved_clock(self) -> bool {
        let apart = self.expected.abs_diff(self.found);
        let near = apart < 1 << CLOCK_BITS && self.mask().leading_zeros() >= 64 - CLOCK_BITS - 1;
        near && self.flips() > 1 && self.expected >= 1 << 16 && !self.is_double()
    }

    pub(in crate::hint) fn is_double(self) -> bool {
        let plausible = |value: u64| EXPONENTS.contains(&(value >> 52 & 0x7ff));
        plausible(self.expected) && plausible(self.found)
    }

    /// What is expected is a double of ordinary magnitude, whatever was found.
    pub(in crate::hint) fn was_double(self) -> bool {
        EXPONENTS.contains(&(self.expected >> 52 & 0x7ff))
    }

    pub(super) fn is_few_units_off(self) -> bool {
        self.is_double() && self.expected.abs_diff(self.found) <= FEW_UNITS
    }

    /// The flips are all of one group of four bits, as of one DRAM chip of four lines.
    pub(super) fn is_nibble(self) -> bool {
        let nibble = self.mask().trailing_zeros() / 4 * 4;
        self.mask() != 0 && (self.mask() >> nibble) >> 4 == 0
    }

    /// The byte addresses at which it differs, ascending.
    pub(in crate::hint) fn bytes(self) -> impl Iterator<Item = u64> {
        let address = self.address.unwrap_or(0);
        let mask = self.mask();
        (0..8_u64)
            .filter(move |byte| mask >> (byte * 8) & 0xff != 0)
            .map(move |byte| address.saturating_add(byte))
    }
}

/// The words of memory and files of which both sides are known.
pub(in crate::hint) fn words_of(differences: &[Difference]) -> Vec<Word> {
    differences.iter().filter_map(word).collect()
}

/// Both sides of a word; of two replicas without a majority, the first stands for what is expected.
fn word(difference: &Difference) -> Option<Word> {
    let address = match (&difference.part, &difference.locus) {
        (Part::Memory, Locus::Address(address)) => Some(address.0),
        (Part::File, Locus::Name(_)) => None,
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
