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

/// The most that it may cost beside reading and listing, and the memory that it may take.
const MAX_RATIO: f64 = 1.5;
const MAX_MEMORY_BYTES: u64 = 128 << 20;

/// What a measurement prints.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) cpu_s: f64,
    pub(super) wall_s: f64,
    pub(super) memory_bytes: u64,
}

pub(super) fn run() -> anyhow::Result<()> {
    let out = place("files")?;
    let made = gen_image::make(&GenImage {
        out: out.clone(),
        mib: 4096,
        seed: 1,
    })?;
    let disks = [&made.disks[0], &made.disks[2]].map(PathBuf::as_path);
    let wrong = compare(&made, &disks)?;
    let classes = classes(disks[0], disks[1])?;
    let mut least: [Option<Measured>; 4] = [const { None }; 4];
    for _ in 0..TURNS {
        for (least, what) in least.iter_mut().zip(["scan", "list", "diff", "known"]) {
            let measured = measured(what, &disks)?;
            let better = least
                .as_ref()
                .is_none_or(|least| measured.cpu_s < least.cpu_s);
            eprintln!(
                "{what}: {:.2} s of CPU time, {:.2} s",
                measured.cpu_s, measured.wall_s
            );
            if better {
                *least = Some(measured);
            }
        }
    }
    std::fs::remove_dir_all(&out).context("cannot remove the disks")?;
    let [Some(scan), Some(list), Some(diff), Some(known)] = least else {
        anyhow::bail!("nothing was measured");
    };
    let bound = scan.cpu_s + list.cpu_s;
    let ratio = diff.cpu_s / bound;
    let classed = classes.classed_bytes == classes.bytes && classes.agree == classes.drawn;
    let is_met =
        wrong == 0 && classed && ratio <= MAX_RATIO && diff.memory_bytes <= MAX_MEMORY_BYTES;
    crate::put_out(&format!(
        "{} events, {wrong} missing or wrong; {} MB differ; scan {:.2} s, listing both {:.2} s, \
         all {:.2} s of CPU time ({:.2} s wall, scan {:.2} s); with known blocks {:.2} s; {} MiB",
        diff.count,
        scan.count / 1_000_000,
        scan.cpu_s,
        list.cpu_s,
        diff.cpu_s,
        diff.wall_s,
        scan.wall_s,
        known.cpu_s,
        diff.memory_bytes >> 20
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
