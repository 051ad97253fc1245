//! Captures that are killed: at drawn moments, and at every system call that writes; and captures
//! of which every such call fails once.
//!
//! The trials are the test `image_crash` of the crate `store`, with more moments and every call:
//! what it does and what must hold is told there.

use super::Options;
use anyhow::{Context, ensure};

/// Carries it out. It is not continued: all of it takes minutes.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    eprintln!(
        "campaign image-kill: seed {}, {} moments, and every call that writes",
        options.seed, options.trials
    );
    let status = crate::cargo()
        .args(["test", "--quiet", "-p", "store", "--test", "image_crash"])
        .args(["--", "--nocapture"])
        .env("VARDOGER_TEST_IMAGE_STEP", "1")
        .env("VARDOGER_TEST_IMAGE_SEED", options.seed.to_string())
        .env("VARDOGER_TEST_IMAGE_MOMENTS", options.trials.to_string())
        .status()
        .context("cannot start cargo test")?;
    ensure!(status.success(), "the test image_crash ended with {status}");
    crate::put_out(&format!(
        "image-kill: 0 of {} moments failed, and 0 at every call that writes (bound 0)",
        options.trials
    ))
}
