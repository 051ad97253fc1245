//! What happened to the files of a disk of 4 GiB with 30,000 of them: is it right, and what does it
//! cost beside reading both disks past the page cache and listing them?
//!
//! Each figure is of a process of its own; the three kinds take turns, and the least of each counts.

use super::classes::classes;
use crate::gen_image::{self, GenImage};
use crate::measure;
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How often each kind is measured.
const TURNS: usize = 3;

/// The most that it may cost beside reading and listing, how long it may take beside a plain reading
/// of both disks, and the memory that it may take.
const MAX_RATIO: f64 = 1.5;
const MAX_WALL_RATIO: f64 = 1.25;
const MAX_MEMORY_BYTES: u64 = 128 << 20;

/// What a measurement prints.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) cpu_s: f64,
    pub(super) wall_s: f64,
    pub(super) memory_bytes: u64,
}

impl Measured {
    /// The least of each figure of two measurements of the same, and the most memory.
    fn least(self, other: Self) -> Self {
        Self {
            count: self.count,
            cpu_s: self.cpu_s.min(other.cpu_s),
            wall_s: self.wall_s.min(other.wall_s),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

pub(super) fn run() -> anyhow::Result<()> {
    let out = place("files")?;
    let made = gen_image::make(&GenImage::full(out.clone()))?;
    crate::put_out(&format!("the disks: {}", made.about))?;
    let disks = [&made.disks[0], &made.disks[2]].map(PathBuf::as_path);
    let wrong = compare(&made, &disks)?;
    let classes = classes(disks[0], disks[1])?;
    let mut least: [Option<Measured>; 5] = [const { None }; 5];
    for _ in 0..TURNS {
        for (least, what) in least
            .iter_mut()
            .zip(["read", "scan", "list", "diff", "known"])
        {
            let measured = measured(what, &disks)?;
            eprintln!(
                "{what}: {:.2} s of CPU time, {:.2} s",
                measured.cpu_s, measured.wall_s
            );
            *least = Some(match least.take() {
                Some(least) => least.least(measured),
                None => measured,
            });
        }
    }
    match virt_diff(&disks)? {
        Some(seconds) => crate::put_out(&format!("virt-diff took {seconds:.0} s of CPU time"))?,
        None => crate::put_out("virt-diff is not installed, and not measured beside this")?,
    }
    std::fs::remove_dir_all(&out).context("cannot remove the disks")?;
    let [Some(read), Some(scan), Some(list), Some(diff), Some(known)] = least else {
        anyhow::bail!("nothing was measured");
    };
    let bound = scan.cpu_s + list.cpu_s;
    let ratio = diff.cpu_s / bound;
    let classed = classes.classed_bytes == classes.bytes && classes.agree == classes.drawn;
    let wall_ratio = diff.wall_s / read.wall_s;
    let is_met = wrong == 0
        && classed
        && ratio <= MAX_RATIO
        && wall_ratio <= MAX_WALL_RATIO
        && diff.memory_bytes <= MAX_MEMORY_BYTES;
    crate::put_out(&format!(
        "{} events, {wrong} missing or wrong; {} MB differ; scan {:.2} s, listing both {:.2} s, \
         all {:.2} s of CPU time; with known blocks {:.2} s; {} MiB",
        diff.count,
        scan.count / 1_000_000,
        scan.cpu_s,
        list.cpu_s,
        diff.cpu_s,
        known.cpu_s,
        diff.memory_bytes >> 20
    ))?;
    crate::put_out(&format!(
        "past the page cache: {:.2} s, a plain reading of both {:.2} s: {wall_ratio:.2} (bound {MAX_WALL_RATIO})",
        diff.wall_s, read.wall_s
    ))?;
    let by_class = classes.by_class.iter();
    let by_class = by_class.map(|(class, bytes)| format!("{class} {}", bytes / 4096));
    crate::put_out(&format!(
        "classed: {} of {} blocks ({}); {} of {} drawn agree with debugfs",
        classes.classed_bytes / 4096,
        classes.bytes / 4096,
        by_class.collect::<Vec<_>>().join(", "),
        classes.agree,
        classes.drawn
    ))?;
    let met = if is_met { "met" } else { "not met" };
    crate::put_out(&format!("files: {ratio:.2} (bound {MAX_RATIO}): {met}"))?;
    ensure!(is_met, "the promise is not met");
    Ok(())
}

/// The CPU time that virt-diff takes for the same, where it is installed. Its appliance is a machine
/// of its own, whose emulator's time counts.
fn virt_diff(disks: &[&Path; 2]) -> anyhow::Result<Option<f64>> {
    let mut command = Command::new("virt-diff");
    command
        .args(["--format=raw", "-a"])
        .arg(disks[0])
        .args(["--format=raw", "-A"])
        .arg(disks[1]);
    let before = children_cpu_s()?;
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output.context("cannot start virt-diff")?,
    };
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "virt-diff: {complained}");
    Ok(Some(children_cpu_s()? - before))
}

/// The CPU time of processes that were started here and have ended, in seconds.
fn children_cpu_s() -> anyhow::Result<f64> {
    let stat = procfs::process::Process::myself()?.stat()?;
    Ok((stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64)
}

/// How many events are missing or wrong.
fn compare(made: &gen_image::Made, disks: &[&Path; 2]) -> anyhow::Result<usize> {
    let sources = disks.iter().map(|disk| measure::open(disk));
    let sources: Vec<_> = sources.collect::<anyhow::Result<_>>()?;
    let found: BTreeSet<_> = measure::happened(&sources, None)?.into_iter().collect();
    let expected = made.events(0, 2);
    let wrong: Vec<_> = found.symmetric_difference(&expected).collect();
    for event in wrong.iter().take(20) {
        eprintln!("missing or wrong: {event:?}");
    }
    Ok(wrong.len())
}

/// Measures in a process of its own.
pub(super) fn measured(what: &str, disks: &[&Path]) -> anyhow::Result<Measured> {
    let program = std::env::current_exe().context("this program has no path")?;
    let output = Command::new(program)
        .args(["measure", what])
        .args(disks)
        .output()
        .context("cannot start a measurement")?;
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {complained}");
    serde_json::from_slice(&output.stdout).context("a measurement has said something else")
}

/// An empty directory for disks, on a disk.
pub(super) fn place(name: &str) -> anyhow::Result<PathBuf> {
    let target = crate::workspace()?.target_directory.into_std_path_buf();
    let place = target.join("bench").join(name);
    if place.exists() {
        std::fs::remove_dir_all(&place).context("cannot remove an older bench's disks")?;
    }
    std::fs::create_dir_all(&place).context("cannot make a directory for disks")?;
    Ok(place)
}
