//! What the silence of a test is worth: the upper confidence bound on a rate of which no instance
//! was seen; and of some, between which bounds the rate lies.

use statrs::distribution::{Beta, ContinuousCDF};

/// The risk that a 95 % bound lies too low.
const RISK: f64 = 0.05;

/// Upper 95 % confidence bound on a rate after 0 hits in `trials` trials: `1 − 0.05^(1/n)`.
///
/// It is exact: the one-sided Clopper–Pearson bound for zero hits (Clopper and Pearson,
/// Biometrika 26, 1934). Without a trial nothing is known, and there is no bound.
#[must_use]
pub fn upper_bound_of_none(trials: u64) -> Option<f64> {
    // `exp_m1` keeps the digits that `1 − x` would lose where the bound is tiny.
    (trials > 0).then(|| -(RISK.ln() / trials as f64).exp_m1())
}

/// The bounds between which a rate lies with `confidence` after `hits` in `trials` trials, both sides
/// together: exact, of Clopper and Pearson. `None` without a trial, with more hits than trials, or if
/// `confidence` is not between 0 and 1.
#[must_use]
pub fn rate_interval(hits: u64, trials: u64, confidence: f64) -> Option<(f64, f64)> {
    if trials == 0 || hits > trials || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let tail = (1.0 - confidence) / 2.0;
    let (hits, misses) = (hits as f64, (trials - hits) as f64);
    let quantile = |hits, misses, at| Some(Beta::new(hits, misses).ok()?.inverse_cdf(at));
    let low = match hits > 0.0 {
        true => quantile(hits, misses + 1.0, tail)?,
        false => 0.0,
    };
    let high = match misses > 0.0 {
        true => quantile(hits + 1.0, misses, 1.0 - tail)?,
        false => 1.0,
    };
    Some((low, high))
}

/// The rule of three: `3/n`, the approximation of [`upper_bound_of_none`] that people do in their
/// head (Hanley and Lippman-Hand, JAMA 249, 1983), never above 1.
#[must_use]
pub fn rule_of_three(trials: u64) -> Option<f64> {
    (trials > 0).then(|| (3.0 / trials as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(trials: u64, expected: f64) {
        let bound = upper_bound_of_none(trials).unwrap();
        assert!((bound / expected - 1.0).abs() < 1e-4, "{trials}: {bound}");
    }

    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        check(1, 0.95);
        check(2, 0.776_393);
        check(3, 0.631_597);
        check(5, 0.450_720);
        check(10, 0.258_866);
        check(100, 0.029_513);
        check(1_000, 2.991_3e-3);
        check(1_000_000, 2.995_7e-6);
    }

    #[test]
    fn intervals_are_those_of_clopper_and_pearson() {
        // By scipy 1.15, quantiles of the beta distribution.
        for (hits, trials, low, high) in [
            (0, 10, 0.0, 0.308_497_1),
            (3, 20, 0.032_070_9, 0.378_926_8),
            (290, 300, 0.939_554_7, 0.983_901_8),
            (10, 10, 0.691_502_9, 1.0),
        ] {
            let found = rate_interval(hits, trials, 0.95).unwrap();
            assert!(
                (found.0 - low).abs() < 1e-6 && (found.1 - high).abs() < 1e-6,
                "{found:?}"
            );
        }
        assert_eq!(rate_interval(0, 0, 0.95), None);
        assert_eq!(rate_interval(2, 1, 0.95), None);
        assert_eq!(rate_interval(1, 2, 1.0), None);
    }

    #[test]
    fn without_trials_nothing_is_known() {
        assert_eq!(upper_bound_of_none(0), None);
        assert_eq!(rule_of_three(0), None);
    }

    #[test]
    fn the_rule_of_three_is_never_above_one() {
        assert_eq!(rule_of_three(2), Some(1.0));
        assert_eq!(rule_of_three(300), Some(0.01));
    }

    proptest! {
        #[test]
        fn the_bound_keeps_its_promise(trials in 1_u64..100_000) {
            let bound = upper_bound_of_none(trials).unwrap();
            let silence = (1.0 - bound).powf(trials as f64);
            prop_assert!((silence - RISK).abs() < 1e-9);
            prop_assert!(bound <= rule_of_three(trials).unwrap());
        }
    }
}
