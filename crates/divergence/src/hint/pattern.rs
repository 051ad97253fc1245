//! Defects that leave a pattern in the bits: a mask, a field of floats, a lane.

use super::Subject;
use super::history::follows_core;
use super::looks::looks;
use super::shape::{CommonMask, Form, Shape, Word};
use super::source;
use super::weight::Weight;
use model::{Conflict, ConflictingFigure};

/// Patterns of one, two and more bits in 64-bit floats (Wang et al.).
const PATTERN_BITS: [f64; 3] = [0.90, 0.08, 0.02];

/// The same for masks that chance makes common; ours.
const BACKGROUND_BITS: f64 = 1.0 / 3.0;

/// What the fields of a float say at most, however many words there are: they are not independent.
const FIELD_LIMIT: f64 = 20.0;

/// A data path that flips the same bits.
pub(super) fn fixed_mask(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Mask, 0.79),
        (Form::Flood, 0.08),
        (Form::Column, 0.005),
        (Form::Scatter, 0.08),
        (Form::Floats, 0.02),
        (Form::Condition, 0.01),
    ];
    let mut weights = vec![looks(&table, shape).from(source::ALIBABA)];
    if let (Form::Mask, Some(common)) = (shape.form, shape.common) {
        weights.push(bits_of(common));
        weights.push(direction(common));
    }
    if let (Form::Scatter, Some(common)) = (shape.form, shape.common) {
        weights.push(repeated(common));
    }
    weights.extend(follows_core(subject));
    weights
}

/// Masks of several bits that chance draws are hardly ever the same.
fn repeated(common: CommonMask) -> Weight {
    if common.count >= 2 {
        let reason = format!("{} words share the mask {:#x}", common.count, common.mask);
        return Weight::new(4.0, reason).from(source::ALIBABA);
    }
    Weight::new(0.4, "no two words share a mask").from(source::ALIBABA)
}

fn bits_of(common: CommonMask) -> Weight {
    let [one, two, more] = PATTERN_BITS;
    let share = match common.mask.count_ones() {
        0 | 1 => one,
        2 => two,
        _ => more,
    };
    let reason = format!("{:.0} % of known patterns have so many bits", share * 100.0);
    // A mask of many bits that recurs is no chance at all, so that its rarity says little.
    Weight::new((share / BACKGROUND_BITS).max(0.5), reason).from(source::ALIBABA)
}

/// A data path flips both ways, a weak cell mostly one way.
fn direction(common: CommonMask) -> Weight {
    let CommonMask { rising, flips, .. } = common;
    let reason =
        format!("{rising} of its {flips} flips go from 0 to 1, and about half are expected");
    let both = rising > 0 && rising < flips;
    let ratio = if both { 1.5 } else { 0.3 };
    Weight::new(ratio, reason).from(source::ALIBABA)
}

/// One field of floats.
pub(super) fn float_field(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Floats, 0.74),
        (Form::Flood, 0.08),
        (Form::Row, 0.03),
        (Form::Mask, 0.03),
        (Form::Condition, 0.02),
        (Form::FewUnits, 0.02),
        (Form::LowBits, 0.01),
        (Form::OneBit, 0.02),
        (Form::Scatter, 0.01),
    ];
    let mut weights = vec![looks(&table, shape)];
    weights.extend(fields(shape));
    weights.extend(follows_core(subject));
    weights
}

/// The share of flips in each part of a double, by one study.
struct Fields {
    low_mantissa: f64,
    middle_mantissa: f64,
    high_mantissa: f64,
    exponent: f64,
    sign: f64,
}

/// Wang et al.: the error of 99.9 % of wrong doubles is below 0.02 %, so that bits 40 and above
/// hardly flip; which of those below, evenly.
const BY_ALIBABA: Fields = Fields {
    low_mantissa: 0.65 * 0.999,
    middle_mantissa: 0.35 * 0.999,
    high_mantissa: 0.0006,
    exponent: 0.0002,
    sign: 0.0002,
};

/// SEVI: 62, 61 and 178 of 301 cases with low, larger and high errors, of which 65 are flipped signs.
/// Low, larger and high are read as low mantissa, middle mantissa and all above.
const BY_SEVI: Fields = Fields {
    low_mantissa: 62.0 / 301.0,
    middle_mantissa: 61.0 / 301.0,
    high_mantissa: 57.0 / 301.0,
    exponent: 56.0 / 301.0,
    sign: 65.0 / 301.0,
};

/// Where fields begin: 26 bits, 14, 12, 11 and one.
const STARTS: [u32; 4] = [26, 40, 52, 63];

impl Fields {
    /// The share of flips that a bit gets, against one of 64.
    fn ratio(&self, bit: u32) -> f64 {
        let (share, bits) = match bit {
            ..26 => (self.low_mantissa, 26.0),
            26..40 => (self.middle_mantissa, 14.0),
            40..52 => (self.high_mantissa, 12.0),
            52..63 => (self.exponent, 11.0),
            _ => (self.sign, 1.0),
        };
        share / bits * 64.0
    }

    /// The ratio over words: the mean over a word's flips, and a product over words, bounded.
    fn over(&self, words: &[Word]) -> f64 {
        let of_word = |word: &Word| {
            let mask = word.mask();
            let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
            let all: f64 = bits.map(|bit| self.ratio(bit)).sum();
            all / f64::from(mask.count_ones().max(1))
        };
        let product: f64 = words.iter().map(of_word).product();
        product.clamp(1.0 / FIELD_LIMIT, FIELD_LIMIT)
    }
}

/// What the fields of wrong doubles say, by either study: they contradict each other.
fn fields(shape: &Shape) -> Option<Weight> {
    let doubles = shape.words.iter().filter(|word| word.was_double());
    let doubles: Vec<Word> = doubles.copied().collect();
    // Elsewhere the form has counted the bits already.
    let bits_are_open = matches!(
        shape.form,
        Form::Floats | Form::Row | Form::OneBit | Form::OneNibble
    );
    if !bits_are_open {
        return None;
    }
    if doubles.is_empty() || doubles.len() * 5 < shape.len() * 4 {
        return None;
    }
    let (alibaba, sevi) = (BY_ALIBABA.over(&doubles), BY_SEVI.over(&doubles));
    let count = |low: u32, high: u32| {
        let mask = (u64::MAX >> (63 - (high - low))) << low;
        let hit = doubles.iter().filter(|word| word.mask() & mask != 0);
        hit.count()
    };
    let [middle, high, exponent, sign] = STARTS;
    let reason = format!(
        "of {} doubles {} differ in the lower mantissa, {} in its upper bits, {} in the exponent, {} \
         in the sign",
        doubles.len(),
        count(0, high - 1),
        count(high, exponent - 1),
        count(exponent, sign - 1),
        count(sign, 63),
    );
    let figure = |figure: &str, likelihood_ratio: f64, source: &str| ConflictingFigure {
        figure: figure.to_owned(),
        likelihood_ratio,
        source: source.to_owned(),
    };
    let conflict = Conflict {
        about: format!(
            "which bits of doubles a defect flips (bits from {middle} up are larger errors)"
        ),
        figures: vec![
            figure(
                "the error of 99.9 % of wrong doubles is below 0.02 %: bits of the lower mantissa",
                alibaba,
                source::ALIBABA,
            ),
            figure(
                "178 of 301 cases have large errors, 65 a flipped sign",
                sevi,
                source::SEVI,
            ),
        ],
    };
    let weight = Weight::new(f64::midpoint(alibaba, sevi), reason)
        .from(source::ALIBABA)
        .from(source::SEVI);
    Some(weight.contested(conflict))
}

/// One lane of a vector unit.
pub(super) fn vector_lane(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let table = [
        (Form::Lane, 0.83),
        (Form::Flood, 0.08),
        (Form::OneWord, 0.01),
        (Form::Scatter, 0.02),
        (Form::Line, 0.01),
        (Form::Block, 0.01),
        (Form::Condition, 0.01),
    ];
    let mut weights = vec![
        looks(&table, shape)
            .from(source::SEVI)
            .from(source::PINDROP),
    ];
    if let Some((_, one)) = shape.place.lane().filter(|_| shape.form == Form::Lane) {
        // One lane in 98.5 % of events; of the others, neighbours in 96 %.
        let (ratio, reason) = if one {
            (1.0, "98.5 % of events are of one lane")
        } else {
            (
                0.5,
                "1.5 % of events are of several lanes, 96 % of those of neighbours",
            )
        };
        weights.push(Weight::new(ratio, reason).from(source::SEVI));
    }
    weights.extend(follows_core(subject));
    weights
}
