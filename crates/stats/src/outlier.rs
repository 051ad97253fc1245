//! How far one of N values may lie from the others before chance no longer explains it.
//!
//! N alone is too few: left-one-out of 3 values may lie 780 standard deviations away once in a
//! thousand, of 5 values 14.5, of 8 values 6.4, of 32 values 3.7. Below about 8 values a metric
//! can therefore be reported but not judged without a history.

/// Bisection steps: each halves the interval, and 200 go below the precision of `f64`.
const BISECTIONS: u32 = 200;

/// The widest limit that is looked for, in standard deviations: for N = 3 a risk of 1 in 10⁶ lies
/// at about 780,000.
const WIDEST: f64 = 1e9;

/// The most values for which the limit is computed; beyond it the limit no longer moves in the
/// fourth digit, so the limit of this many is returned.
const MOST_VALUES: usize = 10_000;

/// The two-sided limit, in standard deviations of the others, for one of `count` values left out:
/// `t(1 − risk/2; N − 2) · √(1 + 1/(N − 1))`.
///
/// The others' mean and standard deviation are estimated from N − 1 values, so that the distance
/// of one more value follows Student's t with N − 2 degrees of freedom. `None` below 3 values, or
/// where the risk is not between 0 and 1.
#[must_use]
pub fn leave_one_out_limit(count: usize, risk: f64) -> Option<f64> {
    if count < 3 || !(risk > 0.0 && risk < 1.0) {
        return None;
    }
    let count = count.min(MOST_VALUES);
    let quantile = two_sided_quantile(count - 2, risk);
    Some(quantile * (1.0 + 1.0 / (count - 1) as f64).sqrt())
}

/// The `t` beyond which Student's distribution holds `risk`, on both sides together.
fn two_sided_quantile(degrees: usize, risk: f64) -> f64 {
    let (mut low, mut high) = (0.0, WIDEST);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if probability_within(middle, degrees) < 1.0 - risk {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// `P(|T| ≤ t)` of Student's distribution with a whole number of degrees of freedom: the finite
/// sums 26.7.3 and 26.7.4 of Abramowitz and Stegun, Handbook of Mathematical Functions.
fn probability_within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = if degrees == 1 { 0.0 } else { term };
    let mut factor = if odd { 2.0 } else { 1.0 };
    while factor + 2.0 < degrees as f64 {
        term *= cosine * cosine * factor / (factor + 1.0);
        sum += term;
        factor += 2.0;
    }
    if odd {
        std::f64::consts::FRAC_2_PI * (angle + sine * sum)
    } else {
        sine * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(degrees: usize, risk: f64, tabled: f64) {
        let t = two_sided_quantile(degrees, risk);
        assert!((t / tabled - 1.0).abs() < 1e-3, "{degrees}: {t}");
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        check(1, 0.05, 12.706);
        check(2, 0.05, 4.303);
        check(3, 0.05, 3.182);
        check(4, 0.05, 2.776);
        check(10, 0.05, 2.228);
        check(1, 0.001, 636.619);
        check(3, 0.001, 12.924);
        check(6, 0.001, 5.959);
        check(30, 0.001, 3.646);
    }

    #[test]
    fn few_values_say_almost_nothing() {
        let limit = |count| leave_one_out_limit(count, 0.001).unwrap();
        for (count, expected) in [(3, 780.0), (5, 14.5), (8, 6.4), (16, 4.3), (32, 3.7)] {
            assert!((limit(count) / expected - 1.0).abs() < 0.015, "{count}");
        }
    }

    #[test]
    fn what_cannot_be_judged_has_no_limit() {
        assert_eq!(leave_one_out_limit(2, 0.001), None);
        assert_eq!(leave_one_out_limit(5, 0.0), None);
        assert_eq!(leave_one_out_limit(5, f64::NAN), None);
        assert!(leave_one_out_limit(usize::MAX, 0.001).is_some());
    }
}
