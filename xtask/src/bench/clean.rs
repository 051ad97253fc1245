//! Trials without a fault: how many of them deviate. Every one that does is a false alarm.
//!
//! The product's own campaign carries them out: the computations of the library take turns, order
//! and CPUs vary, and every second trial shares the machine with a load that keeps all CPUs busy.
//! What the host's scheduler does must not show.

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::product::Product;

/// How many trials.
const TRIALS: u64 = 50;

/// CPU time of a replica.
const BUDGET: &str = "300ms";

/// What the campaign came to; of its document, what is needed here.
#[derive(Debug, Deserialize)]
struct Campaign {
    trials_ended: u64,
    outcomes: Outcomes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcomes {
    clean: u64,
}

impl Campaign {
    fn met(&self) -> bool {
        self.trials_ended == TRIALS && self.outcomes.clean == TRIALS
    }

    fn line(&self) -> String {
        let bound = match stats::upper_bound_of_none(self.trials_ended) {
            Some(bound) if self.met() => {
                format!(", with 95 % confidence below {:.1} %", bound * 1e2)
            }
            _ => String::new(),
        };
        let verdict = if self.met() { "met" } else { "not met" };
        format!(
            "clean: {} of {} trials deviate, {} of {TRIALS} did not end{bound} (bound 0): {verdict}",
            self.trials_ended.saturating_sub(self.outcomes.clean),
            self.trials_ended,
            TRIALS.saturating_sub(self.trials_ended),
        )
    }
}

/// Carries the trials out.
pub(super) fn run() -> anyhow::Result<()> {
    let product = Product::build("clean")?;
    let trials = TRIALS.to_string();
    let output = product.execute(&[
        "campaign", "start", "--clean", "--trials", &trials, "--budget", BUDGET, "--seed", "3",
    ])?;
    let data = crate::product::data(&output)
        .with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let campaign: Campaign =
        serde_json::from_value(data).context("cannot understand the campaign's document")?;
    crate::put_out(&campaign.line())?;
    ensure!(campaign.met(), "trials without a fault must find nothing");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(trials_ended: u64, clean: u64, met: bool, line: &str) {
        let campaign = Campaign {
            trials_ended,
            outcomes: Outcomes { clean },
        };
        assert_eq!(campaign.met(), met, "{campaign:?}");
        assert_eq!(campaign.line(), line);
    }

    #[test]
    fn only_clean_trials_meet_the_bound() {
        check(
            50,
            50,
            true,
            "clean: 0 of 50 trials deviate, 0 of 50 did not end, with 95 % confidence below 5.8 % \
             (bound 0): met",
        );
        check(
            50,
            49,
            false,
            "clean: 1 of 50 trials deviate, 0 of 50 did not end (bound 0): not met",
        );
        check(
            20,
            20,
            false,
            "clean: 0 of 20 trials deviate, 30 of 50 did not end (bound 0): not met",
        );
        check(
            0,
            0,
            false,
            "clean: 0 of 0 trials deviate, 50 of 50 did not end (bound 0): not met",
        );
    }

    #[test]
    fn a_campaign_that_says_nothing_of_clean_trials_has_none() -> serde_json::Result<()> {
        let campaign: Campaign =
            serde_json::from_str(r#"{"trials_ended":50,"outcomes":{"false-alarm":50}}"#)?;
        assert!(!campaign.met());
        Ok(())
    }
}
