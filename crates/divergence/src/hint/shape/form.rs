//! The one form that differences amount to. The forms exclude each other: they are tried in the
//! order in which they stand here, the most telling first, so that each class needs no more than
//! how often its faults look so.

use super::Shape;
use crate::hint::traces::FLOOD_WORDS;

/// From this share on, a property is that of the whole.
const MOST: f64 = 0.5;

/// Nearly all.
const NEARLY_ALL: f64 = 0.9;

/// A page of which so many words are wrong in many bits was not written word by word.
const BLOCK_WORDS: usize = 24;

/// How much less likely than chance a bit that all words have must be, in bits.
const CONDITION_BITS: f64 = 6.0;

/// From this share of the single bits on, a mask of one bit is common.
const MASK_SHARE: f64 = 0.3;

/// From this share of the words on, a mask of several bits is a pattern (Wang et al.).
const PATTERN_SHARE: f64 = 0.05;

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::hint) enum Form {
    /// It ended otherwise.
    Ending,
    /// Log lines in another order.
    LineOrder,
    /// Log lines that differ in digits.
    LineDigits,
    /// Nothing but what was told: log, figures.
    Told,
    /// Registers, and nothing in memory.
    Registers,
    /// Many words of the kernel's code.
    Code,
    /// The same values in another order.
    Permuted,
    /// The same addresses in another order.
    PermutedPointers,
    /// Values that other words rightly hold.
    Echo,
    /// A block of zeros.
    Zeros,
    /// Addresses that moved by whole pages.
    MovedPointers,
    /// Doubles that are a few units in the last place off.
    FewUnits,
    /// One bit of one word.
    OneBit,
    /// Some bits of one group of four of one word.
    OneNibble,
    /// A run of bytes, askew to words.
    Tail,
    /// Several bits of one word.
    OneWord,
    /// A regular way of whole pages from one bit to the next.
    Column,
    /// One mask again and again.
    Mask,
    /// One lane of vectors that follow each other.
    Lane,
    /// Words of one cache line.
    Line,
    /// Many words of one page.
    Block,
    /// One bit of each of many words of a page or two.
    Row,
    /// Words all of which have one bit set that others have not.
    Condition,
    /// A few bits of doubles here and there.
    Floats,
    /// Several low bits of each of some doubles.
    LowBits,
    /// Times, counters, random numbers.
    Moving,
    /// Some words, in many bits and without order.
    Scatter,
    /// Very many words.
    Flood,
    /// Nothing that has a form.
    Nothing,
}

impl Form {
    pub(super) fn of(shape: &Shape) -> Self {
        match shape.len() {
            _ if shape.outcomes > 0 => Self::Ending,
            // What was wrong was computed with, wherever it began.
            _ if shape.computed_with && !shape.kept => Self::Flood,
            0 => Self::without_words(shape),
            1 => Self::of_values(shape).unwrap_or_else(|| Self::of_one(shape)),
            _ => Self::of_values(shape)
                .or_else(|| Self::of_places(shape))
                .unwrap_or_else(|| Self::of_bits(shape)),
        }
    }

    fn without_words(shape: &Shape) -> Self {
        if shape.registers > 0 && shape.lines == 0 {
            Self::Registers
        } else if shape.lines_permuted {
            Self::LineOrder
        } else if shape.lines > 0 && shape.lines_but_digits == shape.lines {
            Self::LineDigits
        } else if shape.lines + shape.metrics > 0 {
            Self::Told
        } else {
            Self::Nothing
        }
    }

    /// Forms that the values have.
    fn of_values(shape: &Shape) -> Option<Self> {
        let most = |count: usize| shape.share(count) >= MOST;
        // One bit of each is a row or column of memory, wherever it lies.
        let bits = shape.share(shape.one_bit) >= NEARLY_ALL;
        if shape.in_code == shape.len() && shape.len() > 8 && !bits {
            return Some(Self::Code);
        }
        if shape.permuted {
            return Some(if most(shape.pointers) {
                Self::PermutedPointers
            } else {
                Self::Permuted
            });
        }
        if shape.len() >= 2 && most(shape.few_units) {
            return Some(Self::FewUnits);
        }
        if most(shape.echoes) && shape.len() >= 2 {
            return Some(Self::Echo);
        }
        // A line of zeros is one that was not written yet.
        let zeros = shape.share(shape.zeros) >= NEARLY_ALL && !shape.place.line;
        if shape.len() >= 8 && zeros && shape.pages.len() == 1 {
            return Some(Self::Zeros);
        }
        let nibble = shape.words.iter().all(|word| word.is_nibble());
        if most(shape.moved_pointers) && shape.share(shape.one_bit) < MOST && !nibble {
            return Some(Self::MovedPointers);
        }
        most(shape.noisy).then_some(Self::Moving)
    }

    fn of_one(shape: &Shape) -> Self {
        let Some(word) = shape.words.first() else {
            return Self::Nothing;
        };
        if word.flips() == 1 {
            Self::OneBit
        } else if word.is_nibble() {
            Self::OneNibble
        } else if shape.place.tail_bytes.is_some() && word.flips() >= 4 {
            Self::Tail
        } else {
            Self::OneWord
        }
    }

    /// Forms that the places have.
    fn of_places(shape: &Shape) -> Option<Self> {
        let place = shape.place;
        let bits = shape.share(shape.one_bit) >= NEARLY_ALL;
        if place.column.is_some() && shape.one_mask {
            return Some(Self::Column);
        }
        if is_common(shape) {
            return Some(Self::Mask);
        }
        if bits && shape.pages.len() <= 2 && shape.share(shape.doubles) < NEARLY_ALL {
            return Some(Self::Row);
        }
        if place.lane.is_some() && !bits {
            return Some(Self::Lane);
        }
        if place.tail_bytes.is_some() && !bits {
            return Some(Self::Tail);
        }
        if place.line && !bits {
            return Some(Self::Line);
        }
        let old = shape.len() >= BLOCK_WORDS || place.sector || shape.is_replaced();
        let block = shape.pages.len() == 1 && old;
        (block && !bits && shape.len() >= 4).then_some(Self::Block)
    }

    /// Forms that the bits have.
    fn of_bits(shape: &Shape) -> Self {
        let condition = shape.condition;
        let flips: u32 = shape.words.iter().map(|word| word.flips()).sum();
        let few_flips = f64::from(flips) <= 3.0 * shape.len() as f64;
        let bits = shape.share(shape.one_bit) >= NEARLY_ALL;
        if shape.words_total > FLOOD_WORDS && !shape.kept {
            Self::Flood
        } else if condition.is_some_and(|one| one.surprise_bits >= CONDITION_BITS) {
            Self::Condition
        } else if few_flips && shape.share(shape.doubles) >= 0.8 {
            Self::Floats
        } else if shape.low_bits >= shape.len() && shape.share(shape.doubles) >= 0.8 {
            Self::LowBits
        } else if bits && shape.pages.len() <= 2 {
            Self::Row
        } else if shape.share(shape.moving) >= MOST {
            Self::Moving
        } else {
            Self::Scatter
        }
    }
}

/// Whether words share a mask by more than chance: masks of one bit are few.
fn is_common(shape: &Shape) -> bool {
    let Some(common) = shape.common.filter(|common| common.count >= 3) else {
        return false;
    };
    let share = shape.share(common.count);
    // Three of a dozen single bits may agree by chance, of three or four hardly all.
    let of_bits = common.count as f64 / shape.one_bit.max(1) as f64;
    match common.mask.count_ones() {
        1 if common.count == 3 => of_bits >= 0.75 || share >= 0.6,
        1 => (of_bits >= MASK_SHARE && share > PATTERN_SHARE) || share >= MASK_SHARE,
        _ => share > PATTERN_SHARE,
    }
}
