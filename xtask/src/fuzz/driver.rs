//! The instrumented program: one for all parsers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Places;

/// Coverage of each edge and of what is compared, as libFuzzer reads it.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// Seconds after which the clock on the wall puts an input aside, to be looked at by its CPU time:
/// on CPU time that nobody wants, an honest input may take long.
const SLOW_SECONDS: u32 = 3;

/// Seconds after which it ends the process.
const HANG_SECONDS: u32 = 120;

/// What no parser may have of memory, what the fuzzer itself needs included.
const MEMORY_MIB_MAX: u32 = 1024;

/// The longest input: the largest seed, and room to grow.
const INPUT_BYTES_MAX: u32 = 192 << 10;

/// The program, built.
#[derive(Debug)]
pub(super) struct Driver {
    program: PathBuf,
}

impl Driver {
    /// Builds it. The target is named so that what runs during the build is not instrumented.
    pub(super) fn build(places: &Places) -> anyhow::Result<Self> {
        let target = host()?;
        let status = crate::cargo()
            .args(["build", "--release", "--target", &target, "--manifest-path"])
            .arg(places.root.join("fuzz/driver/Cargo.toml"))
            .arg("--target-dir")
            .arg(&places.made)
            .env("RUSTFLAGS", INSTRUMENTATION)
            .status()
            .context("cannot start cargo build")?;
        ensure!(
            status.success(),
            "cargo build of the fuzzer ended with {status}"
        );
        let program = places.made.join(target).join("release/fuzz-driver");
        Ok(Self { program })
    }

    /// A process that makes inputs until it is told to end.
    pub(super) fn fuzzing(&self, parser: &str, places: &Places) -> Command {
        let mut command = self.reading(parser);
        command
            .args([places.corpus(parser), places.seeds(parser)])
            .arg(format!("-timeout={HANG_SECONDS}"))
            .arg(format!("-report_slow_units={SLOW_SECONDS}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!(
                "-artifact_prefix={}/",
                places.found(parser).display()
            ))
            .arg("-print_final_stats=1")
            .stderr(Stdio::piped());
        command
    }

    /// A process that reads the inputs that are still to be named, and dies with us.
    pub(super) fn reading(&self, parser: &str) -> Command {
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0", "setpriv", "--pdeathsig", "KILL"])
            .arg(&self.program)
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .env("VARDOGER_FUZZ", parser)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// This machine's target, as rustc names it.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = String::from_utf8(output.context("cannot start rustc")?.stdout)?;
    let host = output.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

/// The commit that is fuzzed; not known where there is no git.
pub(super) fn commit(root: &Path) -> String {
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(root)
        .output();
    let said = git.ok().filter(|output| output.status.success());
    let said = said.and_then(|output| String::from_utf8(output.stdout).ok());
    said.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
