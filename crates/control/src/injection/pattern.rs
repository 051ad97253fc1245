//! Faults of more than one bit: which words of memory they take, and which bits of each.
//!
//! | option | meaning | unless given |
//! |---|---|---|
//! | `mask=0xM` | the bits that are struck, the same in every word | drawn for each word |
//! | `words=N` | how many aligned 64-bit words | 1 |
//! | `stride=B` | bytes from one word to the next: a row, a column, one lane of vectors | drawn one by one |
//! | `bits=LO-HI` | where in a word drawn bits lie | 0-63 |
//! | `where-bit=B` | only words in which this bit is set | any that are not zero |

use super::grammar::InjectionError;
use std::fmt;

/// The most words of one fault: each is written through the debugger, and a report lists no more of
/// them than people read.
pub const MAX_WORDS: u32 = 128;

/// The longest way from one word to the next: more than a row of DRAM, less than any machine.
const MAX_STRIDE_BYTES: u32 = 1 << 20;

/// Which words, and which bits of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pattern {
    /// The bits that are struck in every word.
    pub mask: Option<u64>,
    /// How many words; one where absent.
    pub words: Option<u32>,
    /// Bytes from one word to the next.
    pub stride_bytes: Option<u32>,
    /// The lowest and the highest bit that are drawn from.
    pub bits: Option<(u32, u32)>,
    /// A bit that is set in every word that is struck.
    pub where_bit: Option<u32>,
}

impl Pattern {
    /// Whether nothing of it was ordered.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// How many words it takes.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.unwrap_or(1)
    }

    /// The lowest and the highest bit that are drawn from.
    #[must_use]
    pub fn range(&self) -> (u32, u32) {
        self.bits.unwrap_or((0, u64::BITS - 1))
    }

    /// Reads one option; says whether it is one of a pattern's.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, InjectionError> {
        let wrong = || InjectionError::BadPattern(format!("{name}={value}"));
        match name {
            "mask" => self.mask = Some(mask(value).ok_or_else(wrong)?),
            "words" => self.words = Some(within(value, 1, MAX_WORDS).ok_or_else(wrong)?),
            "stride" => {
                let stride = within(value, 8, MAX_STRIDE_BYTES).filter(|bytes| bytes % 8 == 0);
                self.stride_bytes = Some(stride.ok_or_else(wrong)?);
            }
            "bits" => {
                let (low, high) = value.split_once('-').ok_or_else(wrong)?;
                let bit = |text| within(text, 0, u64::BITS - 1).ok_or_else(wrong);
                let range = (bit(low)?, bit(high)?);
                self.bits = Some(range);
                if range.0 > range.1 {
                    return Err(wrong());
                }
            }
            "where-bit" => {
                self.where_bit = Some(within(value, 0, u64::BITS - 1).ok_or_else(wrong)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn within(text: &str, low: u32, high: u32) -> Option<u32> {
    let number = text.parse().ok()?;
    (low..=high).contains(&number).then_some(number)
}

fn mask(text: &str) -> Option<u64> {
    model::address::parse_u64(text)
        .ok()
        .filter(|mask| *mask != 0)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mask) = self.mask {
            write!(f, ",mask={mask:#x}")?;
        }
        if let Some(words) = self.words {
            write!(f, ",words={words}")?;
        }
        if let Some(stride) = self.stride_bytes {
            write!(f, ",stride={stride}")?;
        }
        if let Some((low, high)) = self.bits {
            write!(f, ",bits={low}-{high}")?;
        }
        match self.where_bit {
            Some(bit) => write!(f, ",where-bit={bit}"),
            None => Ok(()),
        }
    }
}
