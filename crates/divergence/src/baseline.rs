//! What metrics of earlier clean runs say of how far apart replicas lie when nothing is the matter.
//!
//! Replicas of one run share the host's other work, and so what counts is how far one lies from its
//! siblings, never from other runs. Of three replicas that is hardly known; of the last dozens of runs
//! together it is. Each run gives its values' distances from their own mean, on a logarithmic scale;
//! the pooled variance of a metric is drawn towards that of all metrics (see [`stats::moderated`]). A
//! host that pauses a machine makes tails that no normal distribution has, so what lies no farther off
//! than something in the history did is never out of the ordinary.

use crate::metric::MAX_METRICS;
use stats::Prior;
use std::collections::BTreeMap;

/// Fewer degrees of freedom than this say too little: two for each run of three replicas.
pub const LEAST_DEGREES: usize = 16;

/// Fewer values than this have no middle one.
const LEAST_SIBLINGS: usize = 3;

/// The floor of a standard deviation on the logarithmic scale: values closer together than 1 % are
/// not told apart.
const LEAST_SPREAD: f64 = 0.01;

/// Values of one metric, run by run: each of at least two replicas.
type Runs = Vec<Vec<f64>>;

/// Statistical metrics of the replicas of earlier clean runs of the same work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricHistory {
    by_name: BTreeMap<String, Runs>,
}

impl MetricHistory {
    /// Adds a run: its replicas' statistical metrics, by name. What is not finite is left out.
    pub fn add_run<'a>(&mut self, metrics: impl IntoIterator<Item = (&'a str, f64)>) {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, value) in metrics {
            if value.is_finite() {
                values.entry(name).or_default().push(value);
            }
        }
        for (name, values) in values {
            let is_known = self.by_name.contains_key(name);
            if values.len() > 1 && (is_known || self.by_name.len() < MAX_METRICS) {
                self.by_name
                    .entry(name.to_owned())
                    .or_default()
                    .push(values);
            }
        }
    }

    /// What is known of all metrics.
    pub(crate) fn baselines(&self) -> BTreeMap<&str, Baseline> {
        let each = self.by_name.iter();
        let each = each.filter_map(|(name, runs)| Some((name.as_str(), Pooled::of(runs)?)));
        let pooled: BTreeMap<&str, Pooled> = each.collect();
        // Variances can be compared where they are known equally well: metrics that all replicas have.
        let most = pooled.values().map(|one| one.degrees).max().unwrap_or(0);
        let alike = pooled.values().filter(|one| one.degrees == most);
        let variances: Vec<f64> = alike.map(|one| one.variance).collect();
        let prior = stats::prior(&variances, most as f64);
        let mut baselines = BTreeMap::new();
        for (name, pooled) in pooled {
            let mut baseline = Baseline {
                pooled,
                farthest: 0.0,
                prior,
            };
            for run in self.by_name.get(name).into_iter().flatten() {
                let distances = (0..run.len()).filter_map(|place| baseline.distance(run, place));
                let farthest = distances
                    .map(|one| one.deviations.abs())
                    .fold(0.0, f64::max);
                baseline.farthest = baseline.farthest.max(farthest);
            }
            baselines.insert(name, baseline);
        }
        baselines
    }
}

/// How values are brought to a scale on which they scatter alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Times and rates.
    Logarithm,
    /// Counts, which may be 0.
    LogarithmOfOneMore,
}

impl Scale {
    fn bring(self, value: f64) -> Option<f64> {
        let brought = match self {
            Self::Logarithm => value.ln(),
            Self::LogarithmOfOneMore => value.ln_1p(),
        };
        brought.is_finite().then_some(brought)
    }
}

/// How one metric scatters within runs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pooled {
    scale: Scale,
    variance: f64,
    degrees: usize,
    runs: usize,
}

impl Pooled {
    /// `None` of values below 0, or of too few runs.
    fn of(runs: &[Vec<f64>]) -> Option<Self> {
        let least = runs.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let scale = match least {
            least if least > 0.0 => Scale::Logarithm,
            0.0 => Scale::LogarithmOfOneMore,
            _ => return None,
        };
        let (mut squares, mut degrees) = (0.0, 0);
        for run in runs {
            let brought = run.iter().map(|value| scale.bring(*value));
            let brought: Vec<f64> = brought.collect::<Option<_>>()?;
            let mean = brought.iter().sum::<f64>() / brought.len() as f64;
            squares += brought.iter().map(|one| (one - mean).powi(2)).sum::<f64>();
            degrees += brought.len().saturating_sub(1);
        }
        (degrees >= LEAST_DEGREES).then(|| Self {
            scale,
            variance: (squares / degrees as f64).max(LEAST_SPREAD * LEAST_SPREAD),
            degrees,
            runs: runs.len(),
        })
    }
}

/// What is known of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Baseline {
    pooled: Pooled,
    /// The farthest that a value of the history lies from its siblings.
    farthest: f64,
    /// What all metrics have in common, where that is known.
    prior: Option<Prior>,
}

/// How far one replica lies from its siblings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distance {
    /// In standard deviations of the history.
    pub(crate) deviations: f64,
    /// How likely it is to lie at least so far off if nothing is the matter.
    pub(crate) probability: f64,
    /// Degrees of freedom of the standard deviation.
    pub(crate) degrees: f64,
}

impl Baseline {
    /// How many runs it is of.
    pub(crate) const fn runs(&self) -> usize {
        self.pooled.runs
    }

    /// The farthest that a value of the history lies from its siblings, in standard deviations.
    pub(crate) const fn farthest(&self) -> f64 {
        self.farthest
    }

    /// How far the value at `place` lies from the median of its run: one that is out of the ordinary
    /// must not make its siblings so. `None` of fewer than three: of two nobody says which is odd.
    pub(crate) fn distance(&self, values: &[f64], place: usize) -> Option<Distance> {
        let scale = self.pooled.scale;
        let brought = values.iter().map(|value| scale.bring(*value));
        let brought: Vec<f64> = brought.collect::<Option<_>>()?;
        if brought.len() < LEAST_SIBLINGS {
            return None;
        }
        let (value, centre) = (brought.get(place)?, stats::median(&brought)?);
        let (variance, degrees) = match self.prior {
            Some(prior) => prior.moderate(self.pooled.variance, self.pooled.degrees as f64),
            None => (self.pooled.variance, self.pooled.degrees as f64),
        };
        // A value and the median that it is part of lie a little closer together than this: for three
        // values the variance is 0.78 of it, for many all of it.
        let spread = variance.max(LEAST_SPREAD * LEAST_SPREAD).sqrt();
        let deviations = (value - centre) / spread;
        let probability = stats::two_sided_probability(deviations, degrees)?;
        Some(Distance {
            deviations,
            probability,
            degrees,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that scatter by some 5 %, around a level that differs from run to run.
    fn history(runs: u32) -> MetricHistory {
        let mut state = 7_u64;
        let mut scatter = || {
            let mut sum = 0.0;
            for _ in 0..12 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                sum += (state >> 11) as f64 / (1_u64 << 53) as f64;
            }
            (0.05 * (sum - 6.0)).exp()
        };
        let mut history = MetricHistory::default();
        for run in 0..runs {
            let level = 1.0 + f64::from(run % 5);
            let mut metrics = Vec::new();
            for _ in 0..3 {
                metrics.push(("wall_s", level * scatter()));
                metrics.push(("cpu_s", 0.3 * level * scatter()));
                metrics.push(("faults", (200.0 * scatter()).round()));
                metrics.push(("odd", f64::NAN));
            }
            history.add_run(metrics);
        }
        history
    }

    #[test]
    fn few_runs_say_nothing() {
        assert!(history(7).baselines().is_empty());
        let history = history(8);
        let baselines = history.baselines();
        assert_eq!(
            baselines.keys().collect::<Vec<_>>(),
            [&"cpu_s", &"faults", &"wall_s"]
        );
        let wall = baselines["wall_s"];
        assert_eq!(wall.runs(), 8);
        assert!((1.0..5.0).contains(&wall.farthest()), "{}", wall.farthest());
    }

    #[test]
    fn the_level_of_a_run_says_nothing_and_the_scatter_within_does() {
        let history = history(30);
        let wall = history.baselines()["wall_s"];
        for level in [0.1, 1.0, 50.0] {
            let near = wall.distance(&[level, 1.05 * level, level], 1).unwrap();
            assert!(near.probability > 0.1, "{near:?}");
            let far = wall.distance(&[level, 2.0 * level, level], 1).unwrap();
            assert!(far.probability < 1e-9 && far.deviations > 8.0, "{far:?}");
            // Its siblings are not the worse for it.
            let values = [level, 2.0 * level, level, 1.01 * level];
            let sibling = wall.distance(&values, 0).unwrap();
            assert!(sibling.probability > 0.1, "{sibling:?}");
        }
        assert_eq!(wall.distance(&[1.0, f64::NAN, 1.0], 0), None);
        assert_eq!(wall.distance(&[1.0, 0.0, 1.0], 0), None);
        assert_eq!(wall.distance(&[1.0, 9.0], 0), None);
    }

    #[test]
    fn counts_may_be_none() {
        let mut history = MetricHistory::default();
        for run in 0..20 {
            history.add_run([
                ("faults", f64::from(run % 3)),
                ("faults", 0.0),
                ("faults", 0.0),
            ]);
            history.add_run([("below", -1.0), ("below", 1.0)]);
        }
        let baselines = history.baselines();
        assert_eq!(baselines.len(), 1);
        let distance = baselines["faults"].distance(&[0.0, 1.0, 0.0], 1).unwrap();
        assert!(distance.probability > 0.05);
        let distance = baselines["faults"]
            .distance(&[0.0, 5000.0, 0.0], 1)
            .unwrap();
        assert!(distance.probability < 1e-3);
    }
}
