//! What was not seen yet: how much noise the next run will show that no run has shown before.
//!
//! Places that were noisy in just one of M runs tell how many there are that were noisy in none
//! (Good, The population frequencies of species and the estimation of population parameters,
//! Biometrika 40, 1953; for whole runs as the unit: Chao and Colwell, 2017).

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// About how many places the next run shows to be noisy that none of `runs` has: `seen_once / runs`,
/// where `seen_once` counts the places that just one run has shown. `None` before the first run.
#[must_use]
pub fn expected_new(seen_once: u64, runs: u64) -> Option<f64> {
    (runs > 0).then(|| seen_once as f64 / runs as f64)
}

/// An upper bound of the same, with `confidence`: a count of rare events is about a Poisson's
/// (Garwood, 1936). `None` before the first run, or if `confidence` is not between 0 and 1.
#[must_use]
pub fn expected_new_bound(seen_once: u64, runs: u64, confidence: f64) -> Option<f64> {
    if runs == 0 || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let degrees = 2.0 * (seen_once as f64 + 1.0);
    let most = 0.5 * ChiSquared::new(degrees).ok()?.inverse_cdf(confidence);
    most.is_finite().then(|| most / runs as f64)
}

/// The most places that the next run can be expected to show anew if there are `places` in all,
/// whatever their rates are: `places / (e (runs + 1))`, reached where each is noisy in one run of
/// `runs + 1`.
#[must_use]
pub fn worst_new(places: u64, runs: u64) -> f64 {
    places as f64 / (std::f64::consts::E * (runs as f64 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Half of the quantiles of chi-squared, by scipy 1.15.
        for (seen, most) in [
            (0, 2.995_732),
            (1, 4.743_865),
            (5, 10.513_035),
            (20, 29.062_019),
        ] {
            let bound = expected_new_bound(seen, 100, 0.95).unwrap();
            assert!((bound * 100.0 - most).abs() < 1e-5, "{seen}: {bound}");
        }
        assert_eq!(expected_new(3, 100), Some(0.03));
        assert_eq!(expected_new(3, 0), None);
        assert_eq!(expected_new_bound(3, 0, 0.95), None);
        assert_eq!(expected_new_bound(3, 9, 1.0), None);
        assert!((worst_new(1000, 10) - 33.44).abs() < 0.01);
    }

    proptest! {
        /// Places with rates of their own are noisy or not, run by run: what the next run shows anew
        /// is on average what was foretold.
        #[test]
        fn what_is_foretold_comes(seed in any::<u64>()) {
            let mut state = seed | 1;
            let mut draw = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let (mut foretold, mut came) = (0.0, 0.0);
            for _ in 0..40 {
                let rates: Vec<f64> = (0..200).map(|_| draw().powi(3)).collect();
                let runs = 20;
                let seen: Vec<u32> = rates
                    .iter()
                    .map(|rate| (0..runs).map(|_| u32::from(draw() < *rate)).sum())
                    .collect();
                let once = seen.iter().filter(|count| **count == 1).count();
                foretold += expected_new(once as u64, runs).unwrap();
                let unseen = rates.iter().zip(&seen).filter(|(_, count)| **count == 0);
                came += unseen.map(|(rate, _)| rate).sum::<f64>();
            }
            prop_assert!((foretold / came - 1.0).abs() < 0.3, "{foretold} {came}");
        }
    }
}
