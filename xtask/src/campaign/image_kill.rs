//! Captures that are killed: at drawn moments, and at every system call that writes; captures of
//! which every such call fails once; and captures on a machine that loses its power.
//!
//! The trials are the tests `image_crash` of the crate `store`, with more moments and every call, and
//! `power_loss` of the crate `vardoger`, with more losses: what they do and what must hold is told
//! there.

use super::Options;
use anyhow::{Context, ensure};

/// How many losses of power there are beside a number of moments: 100 beside 200.
const MOMENTS_A_LOSS: u32 = 2;

/// Carries it out. It is not continued: all of it takes minutes.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let losses = options.trials.div_ceil(MOMENTS_A_LOSS);
    eprintln!(
        "campaign image-kill: seed {}, {} moments, every call that writes, {losses} losses of power",
        options.seed, options.trials
    );
    let seed = ("VARDOGER_TEST_IMAGE_SEED", options.seed.to_string());
    let moments = ("VARDOGER_TEST_IMAGE_MOMENTS", options.trials.to_string());
    let every = ("VARDOGER_TEST_IMAGE_STEP", "1".to_owned());
    test("store", "image_crash", &[seed.clone(), moments, every])?;
    crate::guest::run()?;
    test(
        "vardoger",
        "power_loss",
        &[seed, ("VARDOGER_TEST_POWER_LOSSES", losses.to_string())],
    )?;
    crate::put_out(&format!(
        "image-kill: 0 of {} moments failed, 0 at every call that writes, 0 of {losses} losses of \
         power (bound 0)",
        options.trials
    ))
}

fn test(krate: &str, name: &str, variables: &[(&str, String)]) -> anyhow::Result<()> {
    let status = crate::cargo()
        .args([
            "test",
            "--quiet",
            "-p",
            krate,
            "--test",
            name,
            "--",
            "--nocapture",
        ])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .status()
        .context("cannot start cargo test")?;
    ensure!(status.success(), "the test {name} ended with {status}");
    Ok(())
}
