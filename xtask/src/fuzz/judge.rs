//! Whether an input that the fuzzer has put aside is a finding.
//!
//! A process that runs on CPU time that nobody else wants is slow by the clock on the wall, so what was
//! put aside for that is read again, by itself, and judged by the CPU time that it takes.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::Places;
use super::driver::Driver;

/// CPU seconds that no input may take. A second is what is promised of the product; this program is
/// instrumented, checks more, and has to start.
const SECONDS_MAX: f64 = 3.0;

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was put aside of a parser.
pub(super) fn put_aside(places: &Places, parser: &str) -> anyhow::Result<Vec<PathBuf>> {
    let directory = places.found(parser);
    let listed = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let listed = listed.with_context(|| format!("cannot list {}", directory.display()))?;
    let mut paths: Vec<_> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Reads again what was put aside only for being slow, and removes what was not; says how much is left.
pub(super) fn sift(driver: &Driver, places: &Places, parser: &str) -> anyhow::Result<usize> {
    let is_slow = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("slow-unit-") || name.starts_with("timeout-")
    };
    judge(driver, places, parser, &is_slow)
}

/// Reads again all that an earlier start has put aside: what is mended is removed; says how much is
/// left.
pub(super) fn again(driver: &Driver, places: &Places, parser: &str) -> anyhow::Result<usize> {
    judge(driver, places, parser, &|_| true)
}

fn judge(
    driver: &Driver,
    places: &Places,
    parser: &str,
    is_asked: &dyn Fn(&Path) -> bool,
) -> anyhow::Result<usize> {
    let mut left = 0;
    for path in put_aside(places, parser)? {
        if is_asked(&path) && !is_finding(driver, parser, &path)? {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else {
            left += 1;
        }
    }
    Ok(left)
}

/// Whether an input ends the program, or takes too long.
fn is_finding(driver: &Driver, parser: &str, path: &Path) -> anyhow::Result<bool> {
    let mut command = driver.reading(parser);
    // Nothing that it may leave is kept. The fuzzer wants a directory that is there.
    let leavings =
        tempfile::tempdir().context("cannot make a directory for a fuzzer's leavings")?;
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(leavings.path().join(""));
    command.arg(prefix).arg(path);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let pid = Pid::from_child(&child);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        let ended = waitid(WaitId::Pid(pid), options).context("cannot wait for the fuzzer")?;
        let is_long = cpu_seconds(pid)? > SECONDS_MAX;
        if is_long {
            // It has ended, or would hardly ever.
            let _ended_meanwhile = child.kill();
        }
        if ended.is_some() || is_long {
            let status = child.wait().context("cannot wait for the fuzzer")?;
            return Ok(is_long || !status.success());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How much CPU time a process has had; one that has ended is told of until it was waited for.
pub(super) fn cpu_seconds(pid: Pid) -> anyhow::Result<f64> {
    let process = procfs::process::Process::new(pid.as_raw_nonzero().get());
    let stat = process.and_then(|process| process.stat());
    let stat = stat.context("cannot tell the CPU time of a fuzzer")?;
    let ticks = stat.utime.saturating_add(stat.stime);
    Ok(ticks as f64 / procfs::ticks_per_second() as f64)
}
