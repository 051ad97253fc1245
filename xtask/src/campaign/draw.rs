//! Draws that follow from a seed and two numbers alone.

/// The step of the sequence: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One value of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014): the one that follows a state.
fn split_mix(state: u64) -> u64 {
    let mut value = state.wrapping_add(GOLDEN);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number in `0.0..1.0` for an attempt at a trial.
pub(super) fn fraction(seed: u64, trial: u32, attempt: u32) -> f64 {
    let place = u64::from(trial) << 32 | u64::from(attempt);
    let drawn = split_mix(split_mix(seed).wrapping_add(split_mix(place)));
    // The upper 53 bits are all that such a number can hold.
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let state = 1_234_567_u64;
        assert_eq!(split_mix(state), 6_457_827_717_110_365_317);
        assert_eq!(
            split_mix(state.wrapping_add(GOLDEN)),
            3_203_168_211_198_807_973
        );
    }

    #[test]
    fn draws_spread_over_the_whole_range() {
        let mut tenths = [0_u32; 10];
        for trial in 0..1000 {
            tenths[(fraction(1, trial, 0) * 10.0) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|&count| (60..140).contains(&count)),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn a_draw_is_repeatable_and_within_its_range(seed: u64, trial: u32, attempt: u32) {
            let drawn = fraction(seed, trial, attempt);
            prop_assert!((0.0..1.0).contains(&drawn));
            prop_assert_eq!(drawn, fraction(seed, trial, attempt));
            prop_assert_ne!(drawn, fraction(seed, trial, attempt.wrapping_add(1)));
        }
    }
}
