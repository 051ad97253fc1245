//! Many questions at once: which of many small probabilities are discoveries.

/// The probabilities of many tests, adjusted so that those of at most `q` can be called discoveries
/// with at most a share `q` of false ones among them on average (Benjamini and Hochberg, Controlling
/// the false discovery rate, 1995). In the order of the input; what is not finite counts as 1.
#[must_use]
pub fn false_discovery_adjusted(probabilities: &[f64]) -> Vec<f64> {
    let count = probabilities.len() as f64;
    let value = |place: usize| {
        let value = probabilities.get(place).copied().unwrap_or(1.0);
        if value.is_finite() {
            value.clamp(0.0, 1.0)
        } else {
            1.0
        }
    };
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|one, other| value(*one).total_cmp(&value(*other)));
    let mut adjusted = vec![1.0; probabilities.len()];
    let mut least: f64 = 1.0;
    for (rank, place) in order.iter().enumerate().rev() {
        // The ratio first: rounded, it is still not below 1.
        least = least.min(value(*place) * (count / (rank as f64 + 1.0)));
        if let Some(adjusted) = adjusted.get_mut(*place) {
            *adjusted = least;
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_what_others_compute() {
        // By scipy 1.15, `stats.false_discovery_control`; the values of Benjamini and Hochberg's kind.
        let given = [
            0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216,
        ];
        let expected = [
            0.01,
            0.04,
            0.084,
            0.084,
            0.084,
            0.1,
            0.105_714_3,
            0.216,
            0.216,
            0.216,
        ];
        for (one, other) in false_discovery_adjusted(&given).iter().zip(expected) {
            assert!((one - other).abs() < 1e-6, "{one} {other}");
        }
        assert_eq!(false_discovery_adjusted(&[]), [0.0; 0]);
        assert_eq!(false_discovery_adjusted(&[f64::NAN, 0.01]), [1.0, 0.02]);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_none_gets_smaller(
            given in proptest::collection::vec(0.0..1.0f64, 1..40),
        ) {
            let adjusted = false_discovery_adjusted(&given);
            let mut turned: Vec<f64> = given.clone();
            turned.reverse();
            let mut again = false_discovery_adjusted(&turned);
            again.reverse();
            prop_assert_eq!(&adjusted, &again);
            for (one, other) in given.iter().zip(&adjusted) {
                prop_assert!(one <= other && *other <= 1.0);
            }
        }
    }
}
