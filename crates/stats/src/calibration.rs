//! Whether what is called 80 % sure is right in 80 % of the cases.

/// A claim: how sure it was, between 0 and 1, and whether it was right.
pub type Claim = (f64, bool);

/// Some claims that were about equally sure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// How many.
    pub count: usize,
    /// How sure they were, on average.
    pub confidence: f64,
    /// The share of them that was right.
    pub right: f64,
}

/// Claims by how sure they were, in `bins` bins of equal counts (they differ by one at most): the
/// reliability curve. Fewer bins where there are fewer claims; claims that are not finite are left out.
#[must_use]
pub fn reliability(claims: &[Claim], bins: usize) -> Vec<Bin> {
    let mut sorted: Vec<Claim> = claims
        .iter()
        .copied()
        .filter(|one| one.0.is_finite())
        .collect();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    binned(&sorted, bins)
}

fn binned(sorted: &[Claim], bins: usize) -> Vec<Bin> {
    let bins = bins.min(sorted.len());
    let edge = |bin: usize| bin * sorted.len() / bins.max(1);
    let each = (0..bins).filter_map(|bin| sorted.get(edge(bin)..edge(bin + 1)));
    each.map(|part| {
        let count = part.len() as f64;
        Bin {
            count: part.len(),
            confidence: part.iter().map(|one| one.0).sum::<f64>() / count,
            right: part.iter().filter(|one| one.1).count() as f64 / count,
        }
    })
    .collect()
}

/// The expected calibration error: by how much confidence and truth lie apart, averaged over all claims
/// (Naeini, Cooper and Hauskrecht, 2015; with bins of equal counts: Nixon et al., 2019). `None` without
/// claims.
#[must_use]
pub fn calibration_error(claims: &[Claim], bins: usize) -> Option<f64> {
    error(&reliability(claims, bins))
}

fn error(bins: &[Bin]) -> Option<f64> {
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    let apart = |bin: &Bin| bin.count as f64 * (bin.confidence - bin.right).abs();
    (all > 0).then(|| bins.iter().map(apart).sum::<f64>() / all as f64)
}

/// An interval that holds the expected calibration error with `confidence`, by drawing as many claims
/// as there are, `rounds` times (the percentile bootstrap of Efron, 1979). `below(n)` draws a number
/// below `n`. `None` without claims or rounds.
pub fn calibration_interval(
    claims: &[Claim],
    bins: usize,
    (rounds, confidence): (usize, f64),
    mut below: impl FnMut(usize) -> usize,
) -> Option<(f64, f64)> {
    if claims.is_empty() || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let mut errors = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let drawn = (0..claims.len()).filter_map(|_| claims.get(below(claims.len())).copied());
        let drawn: Vec<Claim> = drawn.collect();
        errors.extend(calibration_error(&drawn, bins));
    }
    errors.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * (errors.len() as f64 - 1.0)).round();
        errors.get(place as usize).copied()
    };
    let tail = (1.0 - confidence) / 2.0;
    Some((at(tail)?, at(1.0 - tail)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_error_is_the_distance_of_confidence_and_truth() {
        // Four claims of 0.9, of which three are right; four of 0.4, of which two are.
        let mut claims = vec![(0.9, true), (0.9, true), (0.9, true), (0.9, false)];
        claims.extend([(0.4, true), (0.4, false), (0.4, true), (0.4, false)]);
        let error = calibration_error(&claims, 2).unwrap();
        assert!((error - (0.15 + 0.1) / 2.0).abs() < 1e-12, "{error}");
        let bins = reliability(&claims, 2);
        assert_eq!((bins[0].count, bins[0].right), (4, 0.5));
        assert_eq!(calibration_error(&[], 10), None);
        assert_eq!(calibration_error(&[(f64::NAN, true)], 10), None);
        assert_eq!(reliability(&claims[..3], 10).len(), 3);
    }

    #[test]
    fn the_interval_holds_the_error() {
        let claims: Vec<Claim> = (0..400)
            .map(|number| {
                (
                    f64::from(number % 10) / 10.0,
                    number * 7 % 100 < number % 10 * 10,
                )
            })
            .collect();
        let mut state = 1u64;
        let below = |count: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % count
        };
        let (low, high) = calibration_interval(&claims, 10, (400, 0.95), below).unwrap();
        let error = calibration_error(&claims, 10).unwrap();
        // Drawing adds noise to each bin, so the interval may lie above the error, never below it.
        assert!(
            low <= high && error <= high && low < 0.1,
            "{low} {error} {high}"
        );
        assert_eq!(calibration_interval(&[], 10, (9, 0.95), |_| 0), None);
        assert_eq!(calibration_interval(&claims, 10, (0, 0.95), |_| 0), None);
    }

    proptest! {
        #[test]
        fn all_claims_are_in_some_bin(
            claims in proptest::collection::vec((0.0..1.0f64, any::<bool>()), 0..60),
            bins in 1..12usize,
        ) {
            let found = reliability(&claims, bins);
            let counts: Vec<usize> = found.iter().map(|bin| bin.count).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), claims.len());
            let least = counts.iter().min().copied().unwrap_or(0);
            prop_assert!(counts.iter().all(|count| *count <= least + 1));
        }
    }
}
