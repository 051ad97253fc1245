//! Captures of a running Linux guest that writes, its file systems frozen by QEMU's own agent: each
//! must be the disk at one moment.
//!
//! A trial is a capture. The trials are the test `live_guest` of the crate `vardoger`, one guest for
//! every few captures: what it does and what must hold is told there. It stops at the first capture
//! that is wrong, so that all of its guest count as failed.

use super::record::{Record, Trial};
use crate::product::Product;
use anyhow::{Context, ensure};

/// How many captures are made of one guest: enough that they are of a disk that is long in use, and
/// few enough that little is lost when a campaign is stopped.
const CAPTURES_A_GUEST: usize = 5;

/// How much of what a failed test says is kept: its last lines name what was wrong.
const LINES_KEPT: usize = 12;

/// What the test prints when it has run, and has not been filtered away.
const RAN: &str = "test result: ok. 1 passed";

/// The name of the test.
const TEST: &str = "a_writing_guest_is_captured_at_one_moment_and_thaws_whatever_becomes_of_us";

/// Does the trials that are missing.
pub(super) fn trials(_: &Product, record: &mut Record, trials: u32) -> anyhow::Result<()> {
    for numbers in record.missing(trials).chunks(CAPTURES_A_GUEST) {
        let failures = captures(numbers.len())?;
        let verdict = if failures.is_empty() {
            "passed"
        } else {
            "FAILED"
        };
        eprintln!("{} captures of a guest: {verdict}", numbers.len());
        for (capture, number) in numbers.iter().enumerate() {
            record.add(Trial {
                number: *number,
                what: format!("capture {capture} of a guest that writes"),
                failures: failures.clone(),
            })?;
        }
    }
    Ok(())
}

/// Has the test make some captures of a guest. Says what went wrong.
fn captures(count: usize) -> anyhow::Result<Vec<String>> {
    let built = crate::cargo()
        .args([
            "test",
            "--quiet",
            "-p",
            "vardoger",
            "--test",
            "live_guest",
            "--no-run",
        ])
        .status()
        .context("cannot start cargo test")?;
    ensure!(
        built.success(),
        "the test live_guest cannot be built: {built}"
    );
    let ended = crate::cargo()
        .args(["test", "-p", "vardoger", "--test", "live_guest"])
        .args(["--", "--exact", TEST])
        .env("VARDOGER_TEST_LIVE_CAPTURES", count.to_string())
        .output()
        .context("cannot start cargo test")?;
    let said = String::from_utf8_lossy(&ended.stdout);
    if ended.status.success() {
        ensure!(said.contains(RAN), "the test {TEST} has not run: {said}");
        return Ok(Vec::new());
    }
    let complained = String::from_utf8_lossy(&ended.stderr).into_owned();
    let lines: Vec<&str> = said.lines().chain(complained.lines()).collect();
    let last = lines.iter().rev().take(LINES_KEPT).rev();
    let last: Vec<&str> = last.copied().collect();
    Ok(vec![format!("{}: {}", ended.status, last.join("\n"))])
}
