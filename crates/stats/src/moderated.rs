//! Variances of many like things, each known from few values, that lend each other strength.
//!
//! Of few values a variance is badly known, and a metric that happened to be quiet would cry wolf. So
//! each variance is drawn towards that of its class, by as much as the class agrees (Smyth, Linear
//! models and empirical Bayes methods, Statistical Applications in Genetics and Molecular Biology 3,
//! 2004: sections 6.2 and 9).

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::gamma::digamma;

/// Fewer variances say nothing of their class.
const FEWEST: usize = 3;

/// Newton's steps for the inverse of the trigamma function: it converges in a few.
const STEPS: u32 = 50;

/// Bisection steps: each halves the interval, and 200 go below the precision of `f64`.
const BISECTIONS: u32 = 200;

/// The widest limit that is looked for.
const WIDEST: f64 = 1e9;

/// What a class of variances has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// The variance that its members are drawn to.
    pub variance: f64,
    /// How many degrees of freedom that is worth; without end where they do not differ by more than
    /// chance.
    pub degrees: f64,
}

/// What variances of one class, each of `degrees` degrees of freedom, have in common. `None` of fewer
/// than 3, or if one is not above 0 and finite.
#[must_use]
pub fn prior(variances: &[f64], degrees: f64) -> Option<Prior> {
    let is_sound = |value: f64| value.is_finite() && value > 0.0;
    if variances.len() < FEWEST || !is_sound(degrees) || !variances.iter().all(|one| is_sound(*one))
    {
        return None;
    }
    let count = variances.len() as f64;
    let half = degrees / 2.0;
    let shifted = || {
        let shift = half.ln() - digamma(half);
        variances.iter().map(move |variance| variance.ln() + shift)
    };
    let mean = shifted().sum::<f64>() / count;
    let spread = shifted().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let beyond = spread - trigamma(half);
    if beyond <= 0.0 {
        return Some(Prior {
            variance: mean.exp(),
            degrees: f64::INFINITY,
        });
    }
    let half = inverse_trigamma(beyond);
    Some(Prior {
        variance: (mean + digamma(half) - half.ln()).exp(),
        degrees: 2.0 * half,
    })
}

impl Prior {
    /// A variance of `degrees` degrees of freedom, drawn to the class, and what it is worth now.
    #[must_use]
    pub fn moderate(self, variance: f64, degrees: f64) -> (f64, f64) {
        if self.degrees.is_infinite() {
            return (self.variance, f64::INFINITY);
        }
        let all = self.degrees + degrees;
        let moderated = (self.degrees * self.variance + degrees * variance) / all;
        (moderated, all)
    }

    /// How likely a value is to lie at least as far from the mean of `count` others as this one does,
    /// if nothing is the matter. The others' variance is `variance`, of `count - 1` degrees of
    /// freedom. `None` of fewer than two others, or of what is not finite.
    #[must_use]
    pub fn probability(
        self,
        value: f64,
        (mean, variance): (f64, f64),
        count: usize,
    ) -> Option<f64> {
        if count < 2 || ![value, mean, variance].iter().all(|one| one.is_finite()) {
            return None;
        }
        let (moderated, degrees) = self.moderate(variance, count as f64 - 1.0);
        let scale = (moderated * (1.0 + 1.0 / count as f64)).sqrt();
        two_sided_probability((value - mean) / scale, degrees)
    }
}

/// How likely Student's t of so many degrees of freedom (endless ones are allowed) is to lie at least as
/// far from 0, on either side. `None` of what is not finite.
#[must_use]
pub fn two_sided_probability(t: f64, degrees: f64) -> Option<f64> {
    if !t.is_finite() {
        return None;
    }
    // Beyond that it is the normal distribution, to the last digit that matters.
    let tail = StudentsT::new(0.0, 1.0, degrees.min(1e9)).ok()?.sf(t.abs());
    Some((2.0 * tail).clamp(0.0, 1.0))
}

/// The distance from 0 beyond which Student's t of so many degrees of freedom lies with a probability,
/// both sides together. `None` if that is not between 0 and 1.
#[must_use]
pub fn two_sided_limit(probability: f64, degrees: f64) -> Option<f64> {
    if !(probability > 0.0 && probability < 1.0) {
        return None;
    }
    // By bisection: the library's own inverse does not come to an end for all degrees of freedom.
    let (mut low, mut high) = (0.0, WIDEST);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        match two_sided_probability(middle, degrees)? > probability {
            true => low = middle,
            false => high = middle,
        }
    }
    Some(high)
}

/// The second derivative of the logarithm of the gamma function, for positive values: by recurrence up
/// to where the series 6.4.12 of Abramowitz and Stegun is exact to all digits.
fn trigamma(value: f64) -> f64 {
    const FROM: f64 = 12.0;
    let (mut at, mut sum) = (value, 0.0);
    while at < FROM {
        sum += at.powi(-2);
        at += 1.0;
    }
    let inverse = at.powi(-2);
    let series = 1.0 / 6.0
        - inverse
            * (1.0 / 30.0 - inverse * (1.0 / 42.0 - inverse * (1.0 / 30.0 - inverse * 5.0 / 66.0)));
    sum + 1.0 / at + inverse / 2.0 + series * inverse / at
}

/// Where the trigamma function has a positive value (Smyth, appendix).
fn inverse_trigamma(value: f64) -> f64 {
    if value > 1e7 {
        return value.powf(-0.5);
    }
    if value < 1e-6 {
        return 1.0 / value;
    }
    let mut at = 0.5 + 1.0 / value;
    for _ in 0..STEPS {
        let here = trigamma(at);
        let step = here * (1.0 - here / value) / tetragamma(at);
        at += step;
        if (step / at).abs() < 1e-10 {
            break;
        }
    }
    at
}

/// The derivative of the trigamma function, for positive values.
fn tetragamma(value: f64) -> f64 {
    const FROM: f64 = 12.0;
    let (mut at, mut sum) = (value, 0.0);
    while at < FROM {
        sum -= 2.0 * at.powi(-3);
        at += 1.0;
    }
    let inverse = at.powi(-2);
    sum - inverse
        - inverse / at
        - inverse * inverse * (0.5 - inverse * (1.0 / 6.0 - inverse * (1.0 / 6.0 - inverse * 0.3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VARIANCES: [f64; 10] = [0.8, 1.1, 0.4, 2.2, 1.7, 0.9, 0.6, 3.1, 1.3, 0.5];

    fn check(one: f64, other: f64) {
        assert!((one / other - 1.0).abs() < 1e-8, "{one} {other}");
    }

    #[test]
    fn special_functions_are_those_of_the_tables() {
        // By scipy 1.15, `special.polygamma`.
        for (at, value) in [
            (0.1, 101.433_299_150_792_75),
            (0.5, 4.934_802_200_544_68),
            (1.0, 1.644_934_066_848_226_6),
            (2.5, 0.490_357_756_100_234_9),
            (10.0, 0.105_166_335_681_685_76),
            (100.0, 0.010_050_166_663_333_573),
        ] {
            check(trigamma(at), value);
            check(inverse_trigamma(value), at);
        }
    }

    #[test]
    fn a_prior_is_what_others_compute() {
        // Smyth's formulas, solved with scipy 1.15.
        let prior = prior(&VARIANCES, 12.0).unwrap();
        check(prior.degrees, 8.929_320_343_728_305);
        check(prior.variance, 1.005_445_287_256_507_8);
        check(prior.moderate(0.4, 12.0).0, 0.658_308_193_086_385_5);
        let probability = prior.probability(1.9, (0.3, 0.4), 13).unwrap();
        check(probability, 0.071_263_372_356_186_52);
    }

    #[test]
    fn variances_that_differ_by_chance_only_are_one() {
        let prior = prior(&VARIANCES, 4.0).unwrap();
        assert!(prior.degrees.is_infinite());
        assert_eq!(prior.moderate(99.0, 4.0).0, prior.variance);
        assert!(prior.probability(1.0, (1.0, 2.0), 5).unwrap() > 0.999);
    }

    #[test]
    fn what_cannot_be_judged_is_not() {
        assert_eq!(prior(&VARIANCES[..2], 12.0), None);
        assert_eq!(prior(&[1.0, 0.0, 2.0], 12.0), None);
        assert_eq!(prior(&[1.0, f64::NAN, 2.0], 12.0), None);
        let prior = prior(&VARIANCES, 12.0).unwrap();
        assert_eq!(prior.probability(1.0, (0.0, 1.0), 1), None);
        assert_eq!(prior.probability(f64::NAN, (0.0, 1.0), 9), None);
    }

    #[test]
    fn limits_and_probabilities_are_each_others_inverse() {
        for degrees in [2.0, 5.0, 30.0, f64::INFINITY] {
            for probability in [0.5, 0.01, 1e-6] {
                let limit = two_sided_limit(probability, degrees).unwrap();
                let back = two_sided_probability(limit, degrees).unwrap();
                assert!(
                    (back / probability - 1.0).abs() < 1e-4,
                    "{degrees} {probability} {back}"
                );
            }
        }
        // From the tables.
        assert!((two_sided_limit(0.001, 10.0).unwrap() - 4.587).abs() < 1e-3);
        assert_eq!(two_sided_limit(0.0, 10.0), None);
        assert_eq!(two_sided_probability(f64::NAN, 10.0), None);
    }

    proptest! {
        #[test]
        fn inverse_trigamma_is_its_inverse(at in 0.01..1e5f64) {
            let back = inverse_trigamma(trigamma(at));
            prop_assert!((back / at - 1.0).abs() < 1e-6, "{at} {back}");
        }

        #[test]
        fn what_lies_farther_is_less_likely(
            near in 0.0..5.0f64, more in 0.0..5.0f64, variance in 0.01..10.0f64,
        ) {
            let prior = prior(&VARIANCES, 12.0).unwrap();
            let at = |value| prior.probability(value, (0.0, variance), 8).unwrap();
            prop_assert!(at(near + more) <= at(near));
        }
    }
}
