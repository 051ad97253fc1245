//! Captures of a running Linux guest that writes, its file systems frozen by QEMU's own agent: each
//! must be the disk at one moment.
//!
//! The trials are the test `live_guest` of the crate `vardoger`, with more captures: what it does and
//! what must hold is told there.

use super::Options;
use anyhow::{Context, ensure};

/// Carries it out. It is not continued: all captures are of one guest.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    eprintln!("campaign live: {} captures", options.trials);
    crate::guest::run()?;
    let status = crate::cargo()
        .args(["test", "--quiet", "-p", "vardoger", "--test", "live_guest"])
        .args(["--", "--nocapture"])
        .env("VARDOGER_TEST_LIVE_CAPTURES", options.trials.to_string())
        .status()
        .context("cannot start cargo test")?;
    ensure!(status.success(), "the test live_guest ended with {status}");
    crate::put_out(&format!(
        "live: 0 of {} captures failed (bound 0)",
        options.trials
    ))
}
