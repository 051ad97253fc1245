//! Location and scale that a minority of wild values cannot move.

/// Makes the median absolute deviation of a normal distribution comparable with its standard
/// deviation: the third quartile of the standard normal distribution.
const NORMAL_QUARTILE: f64 = 0.6745;

/// The median: the middle value, or the mean of the two middle ones.
///
/// `None` for no values, or where one is not finite.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    // Halved before they are added: the sum of two large values could overflow.
    Some(lower / 2.0 + upper / 2.0)
}

/// The median absolute deviation: the median distance of the values from their median.
///
/// `None` for no values, or where one is not finite.
#[must_use]
pub fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    let distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&distances)
}

/// How many robust standard deviations `value` lies from the median of `values`:
/// `0.6745 · (value − median) / MAD` (Iglewicz and Hoaglin, 1993).
///
/// `least_deviation` is the floor of the median absolute deviation, in the unit of the values: few
/// values that happen to be equal have a deviation of 0, and everything would be infinitely far
/// from them. `None` where a value is not finite or the floor is not above 0.
#[must_use]
pub fn robust_z(value: f64, values: &[f64], least_deviation: f64) -> Option<f64> {
    if !value.is_finite() || !least_deviation.is_finite() || least_deviation <= 0.0 {
        return None;
    }
    let centre = median(values)?;
    let deviation = median_absolute_deviation(values)?.max(least_deviation);
    let z = NORMAL_QUARTILE * (value - centre) / deviation;
    z.is_finite().then_some(z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn medians_of_known_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn the_deviation_ignores_one_wild_value() {
        let values = [1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0];
        assert_eq!(median_absolute_deviation(&values), Some(1.0));
        assert_eq!(
            median_absolute_deviation(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9e9]),
            Some(1.0)
        );
    }

    #[test]
    fn robust_z_of_known_values() {
        let values = [1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0];
        let z = robust_z(9.0, &values, 1e-9).unwrap();
        assert!((z - 0.6745 * 7.0).abs() < 1e-12);
    }

    #[test]
    fn equal_values_are_measured_by_the_floor() {
        assert_eq!(robust_z(5.0, &[5.0; 4], 0.1), Some(0.0));
        let z = robust_z(6.0, &[5.0; 4], 0.1).unwrap();
        assert!((z - 6.745).abs() < 1e-9);
        assert_eq!(robust_z(6.0, &[5.0; 4], 0.0), None);
    }

    proptest! {
        #[test]
        fn the_median_splits_the_values(values in prop::collection::vec(-1e6_f64..1e6, 1..40)) {
            let centre = median(&values).unwrap();
            let below = values.iter().filter(|value| **value < centre).count();
            let above = values.iter().filter(|value| **value > centre).count();
            prop_assert!(below <= values.len() / 2 && above <= values.len() / 2);
        }
    }
}
