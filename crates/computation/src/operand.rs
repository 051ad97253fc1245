//! Operands out of random words: floating-point numbers of high entropy, in two ranges of values.
//!
//! A defective multiplier may be wrong for some ranges of operands only, so chains take both.
//! Nothing here is infinite or not a number.

const MANTISSA_64: u64 = (1 << 52) - 1;
const SIGN_64: u64 = 1 << 63;
const MANTISSA_32: u32 = (1 << 23) - 1;
const SIGN_32: u32 = 1 << 31;
/// The exponent fields of numbers in [1, 2).
const ONE_64: u64 = 1023;
const ONE_32: u32 = 127;
/// Near magnitudes lie in [2^-7, 2): no addend of a sum of two vanishes.
const BINADES: u64 = 8;
/// Exponent fields of finite numbers, from the denormal ones up.
const FINITE_64: u64 = 2047;
const FINITE_32: u32 = 255;

/// Random sign and mantissa, magnitude in [2^-7, 2).
pub(crate) const fn near_f64(word: u64) -> f64 {
    let exponent = ONE_64 - (word >> 53) % BINADES;
    f64::from_bits(word & (SIGN_64 | MANTISSA_64) | exponent << 52)
}

/// Any finite number: all exponents are equally likely, the denormal one too.
pub(crate) const fn wide_f64(word: u64, exponent: u64) -> f64 {
    f64::from_bits(word & (SIGN_64 | MANTISSA_64) | (exponent % FINITE_64) << 52)
}

/// As [`near_f64`].
pub(crate) const fn near_f32(word: u64) -> f32 {
    let exponent = ONE_32 - (word >> 32 & (BINADES - 1)) as u32;
    f32::from_bits(word as u32 & (SIGN_32 | MANTISSA_32) | exponent << 23)
}

/// As [`wide_f64`].
pub(crate) const fn wide_f32(word: u64) -> f32 {
    let exponent = (word >> 32) as u32 % FINITE_32;
    f32::from_bits(word as u32 & (SIGN_32 | MANTISSA_32) | exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn operands_are_finite_and_in_their_range(word: u64, exponent: u64) {
            prop_assert!((0.0078125..2.0).contains(&near_f64(word).abs()));
            prop_assert!((0.0078125..2.0).contains(&near_f32(word).abs()));
            prop_assert!(wide_f64(word, exponent).is_finite());
            prop_assert!(wide_f32(word).is_finite());
        }

        #[test]
        fn every_bit_of_the_mantissa_comes_from_the_word(word: u64, bit in 0_u32..52) {
            let flipped = word ^ 1 << bit;
            prop_assert_ne!(near_f64(word).to_bits(), near_f64(flipped).to_bits());
            let bit = bit % 23;
            let flipped = word ^ 1 << bit;
            prop_assert_ne!(near_f32(word).to_bits(), near_f32(flipped).to_bits());
        }
    }
}
