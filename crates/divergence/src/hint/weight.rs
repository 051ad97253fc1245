//! One piece of evidence, and the ranking that all of them make.

use model::{Conflict, Hint, HintClass};

/// The most that a class's evidence may count, either way: the pieces are not wholly independent.
const RATIO_LIMIT: f64 = 1e4;

/// Probabilities are ratio × prior to this power, normalised. The pieces of evidence are stated with
/// caution, and together they were right more often than they said: of the powers from 1 to 2 this one
/// gave the truth the greatest mean logarithm of its probability over the faults of two campaigns (seeds
/// 4101 and 4102), which are not those that the guide's figures are of.
const SHARPNESS: f64 = 1.2;

/// One piece of evidence for or against a class.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    /// How many times likelier it is under the class than under the background.
    pub(super) ratio: f64,
    /// What was seen, with its numbers.
    reason: String,
    /// Where the figure was published; none where it is ours.
    sources: Vec<&'static str>,
    /// Figures that contradict each other, where the ratio is the mean of theirs.
    conflict: Option<Conflict>,
}

impl Weight {
    pub(super) fn new(ratio: f64, reason: impl Into<String>) -> Self {
        Self {
            ratio,
            reason: reason.into(),
            sources: Vec::new(),
            conflict: None,
        }
    }

    pub(super) fn from(mut self, source: &'static str) -> Self {
        self.sources.push(source);
        self
    }

    pub(super) fn contested(self, conflict: Conflict) -> Self {
        Self {
            conflict: Some(conflict),
            ..self
        }
    }
}

/// A class with its prior and its evidence.
pub(super) type Weighed = (HintClass, f64, Vec<Weight>);

/// The classes by probability: ratio × prior, sharpened and normalised.
pub(super) fn ranked(weighed: Vec<Weighed>) -> Vec<Hint> {
    let ratio = |weights: &[Weight]| {
        let product: f64 = weights.iter().map(|weight| weight.ratio).product();
        product.clamp(1.0 / RATIO_LIMIT, RATIO_LIMIT)
    };
    let weight = |prior: f64, weights: &[Weight]| (prior * ratio(weights)).powf(SHARPNESS);
    let total: f64 = weighed
        .iter()
        .map(|(_, prior, weights)| weight(*prior, weights))
        .sum();
    let mut hints: Vec<Hint> = weighed
        .into_iter()
        .map(|(class, prior, weights)| {
            let probability = weight(prior, &weights) / total;
            hint(class, ratio(&weights), probability, weights)
        })
        .collect();
    hints.sort_by(|one, other| f64::total_cmp(&likely(other), &likely(one)));
    hints
}

fn likely(hint: &Hint) -> f64 {
    hint.probability.unwrap_or_default()
}

fn hint(class: HintClass, ratio: f64, probability: f64, weights: Vec<Weight>) -> Hint {
    let mut sources: Vec<String> = Vec::new();
    for source in weights.iter().flat_map(|weight| &weight.sources) {
        if !sources.iter().any(|known| known == source) {
            sources.push((*source).to_owned());
        }
    }
    let reasons: Vec<&str> = weights
        .iter()
        .map(|weight| weight.reason.as_str())
        .collect();
    Hint {
        class: Some(class),
        cause: class.cause().to_owned(),
        reason: if reasons.is_empty() {
            "nothing speaks for it or against it".to_owned()
        } else {
            reasons.join("; ")
        },
        probability: Some(probability),
        likelihood_ratio: Some(ratio),
        sources,
        conflicts: weights
            .into_iter()
            .filter_map(|weight| weight.conflict)
            .collect(),
    }
}
