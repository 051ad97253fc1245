//! The past of a trial: earlier deviations as a store would tell them. Nobody can let a host fail for
//! weeks in a campaign, so that they are drawn; what ranks causes sees them as it sees any.
//!
//! A defect of a processor is bound to its core in 70 % (SiliFuzz), or always (SEVI, 18 of 18) where
//! the other study is drawn from; a cell of memory is seen again in its page in half of the later
//! runs; nothing else is bound to anything.

use crate::campaign::cause::KnownCause;
use divergence::hint::surroundings::{Core, EarlierDeviation};
use model::HintClass;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;

/// Cores of the host that is drawn.
const CORES: u64 = 32;

/// Pages of a machine that a run changes.
const PAGES: u64 = 4_000;

/// The most earlier deviations.
const MOST_EARLIER: u64 = 4;

/// Pages in which an earlier run deviated, at most.
const MOST_PAGES: u64 = 32;

/// The core of the replica that deviates, and the past.
pub(super) struct Past {
    pub(super) core: Core,
    pub(super) earlier: Vec<EarlierDeviation>,
}

/// Draws the past of a trial whose fault fell into this page, if it fell into memory.
pub(super) fn draw(cause: &KnownCause, seed: u64, page: Option<u64>) -> Past {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7061_7374);
    let mut below = |choices: u64| random.next_u64() % choices.max(1);
    let here = core(below(CORES));
    let bound = is_of_processor(cause.class) && (cause.shifted || below(100) < 70);
    let count = below(MOST_EARLIER + 1);
    let earlier = (0..count)
        .map(|_| {
            let mut cores: Vec<Core> = (0..4).map(|_| core(below(CORES))).collect();
            // The suspect core took part in half of the runs that are remembered.
            if bound || below(2) == 0 {
                cores[0] = here.clone();
            }
            let culprit = if bound { 0 } else { below(4) as usize };
            let again = cause.class == HintClass::MemoryCell && below(2) == 0;
            let pages = (0..below(MOST_PAGES) + 1).map(|_| below(PAGES));
            let mut pages: BTreeSet<u64> = pages.collect();
            pages.extend(page.filter(|_| again));
            EarlierDeviation {
                core: cores[culprit].clone(),
                cores,
                pages,
            }
        })
        .collect();
    Past {
        core: here,
        earlier,
    }
}

fn core(number: u64) -> Core {
    let number = u32::try_from(number).unwrap_or(0);
    Core {
        host: "drawn".to_owned(),
        socket: Some(number / 16),
        core: number % 16,
    }
}

fn is_of_processor(class: HintClass) -> bool {
    !matches!(
        class,
        HintClass::MemoryCell | HintClass::Storage | HintClass::Other
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(class: HintClass, shifted: bool) -> KnownCause {
        KnownCause {
            class,
            shifted,
            early: false,
            orders: Vec::new(),
        }
    }

    /// The share of trials with a past in which all of it is on the same core.
    fn bound(class: HintClass, shifted: bool) -> f64 {
        let pasts = (0..2_000).map(|seed| draw(&cause(class, shifted), seed, None));
        let pasts: Vec<Past> = pasts.filter(|past| past.earlier.len() >= 2).collect();
        let all = |past: &&Past| past.earlier.iter().all(|one| one.core == past.core);
        pasts.iter().filter(all).count() as f64 / pasts.len() as f64
    }

    #[test]
    fn defects_follow_their_core_as_often_as_was_published() {
        let usual = bound(HintClass::VectorLane, false);
        assert!((0.66..0.76).contains(&usual), "{usual}");
        assert!((bound(HintClass::VectorLane, true) - 1.0).abs() < 1e-9);
        assert!(bound(HintClass::MemoryCell, true) < 0.1);
    }

    #[test]
    fn a_cell_is_seen_again_in_half_of_the_runs() {
        let cause = cause(HintClass::MemoryCell, false);
        let earlier = (0..2_000).flat_map(|seed| draw(&cause, seed, Some(9_999)).earlier);
        let again: Vec<bool> = earlier.map(|one| one.pages.contains(&9_999)).collect();
        let share = again.iter().filter(|again| **again).count() as f64 / again.len() as f64;
        assert!((0.46..0.54).contains(&share), "{share}");
    }
}
