//! Another instance at work, which nothing may disturb.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::leftovers::Leftovers;
use crate::product::{Product, data};

/// What it does: a run without a fault, several times as long as those beside it.
const RUN: &[&str] = &[
    "run",
    "start",
    "sha256",
    "--replicas",
    "5",
    "--budget",
    "3s",
];

/// How long it may take until its first machine runs, on a busy host.
const BEGINS: Duration = Duration::from_secs(60);

/// How often a look is taken meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// An instance at work.
#[derive(Debug)]
pub(super) struct Other {
    child: Child,
    files: Vec<PathBuf>,
}

impl Other {
    /// Starts it, where nothing else is at work, and waits until its first machine runs.
    pub(super) fn start(product: &Product) -> anyhow::Result<Self> {
        let child = product.start(RUN, Stdio::piped())?;
        let since = Instant::now();
        loop {
            let there = Leftovers::look(product);
            if !there.emulators.is_empty() {
                let files = there.files;
                return Ok(Self { child, files });
            }
            ensure!(
                since.elapsed() < BEGINS,
                "another instance did not begin within {BEGINS:?}"
            );
            thread::sleep(LOOK);
        }
    }

    /// What belongs to it.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether it is still at work: otherwise a check beside it shows nothing.
    pub(super) fn check_at_work(&mut self) -> anyhow::Result<Option<String>> {
        let ended = self.child.try_wait().context("cannot look at a run")?;
        Ok(ended.map(|status| format!("the other instance was over ({status}) before the check")))
    }

    /// Waits for its end, which must be what it would have been.
    pub(super) fn end(self) -> anyhow::Result<Option<String>> {
        let output = self
            .child
            .wait_with_output()
            .context("cannot wait for a run")?;
        let verdict = data(&output).unwrap_or_default()["verdict"].take();
        let passed = output.status.success() && verdict == "pass";
        Ok((!passed).then(|| {
            let status = output.status;
            format!("the other instance ended with {status}, verdict {verdict}")
        }))
    }
}
