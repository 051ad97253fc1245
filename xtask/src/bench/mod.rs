//! `cargo xtask bench NAME`: measures a promise and says whether it is met.
//!
//! | name | promise | where it is measured |
//! |---|---|---|
//! | `restore` | a replica is ready for ≥ 25 times less CPU time than a cold boot | `crates/control/benches` |
//! | `compare` | comparing costs little more than reading | `crates/control/benches` |
//! | `majority` | the vote of five memories is as fast as the loop in C | `crates/control/benches` |
//! | `explain` | ≥ 95 % of flipped kernel bytes are explained, ≥ 98 % of that as drgn says where it answers | `crates/control/benches`, with what [`oracle`] fetches |
//! | `shelf` | a check of stored bytes is as fast as hashing them; a block of any version is read in 50 ms | `crates/store/benches` |
//! | `versions` | two versions of a disk take less room and CPU time than in borg and restic | `crates/store/benches` |
//! | `records` | what changed under a path since a time is told out of 10 million records in 10 ms (p99); 500,000 are put in a second | `crates/store/benches` |
//! | `packages` | 99.9 % of the files that an upgrade of 200 packages changes are explained, and nothing else | [`packages`], in a guest |
//! | `files` | what happened to files costs at most 1.5 times reading both disks and listing them; every block that differs is classed, as debugfs does | [`files`], [`classes`], on disks of [`gen_image`](crate::gen_image) |
//! | `list` | listing 101,000 entries costs at most a fifth of what `fls` takes | [`list`] |
//! | `pause` | a capture of its disk holds a guest up for ≤ 10 ms more | `crates/hypervisor/benches` |
//! | `clean` | 50 trials without a fault, none deviates | [`clean`], by the program itself |
//!
//! The last line is `NAME: figure (bound …): met` or `… not met`; the exit code is 1 if not met.
//! Everything is built in the same profile as the product, so that nothing compiles twice.

mod classes;
mod clean;
mod files;
mod list;
mod oracle;
mod packages;

use crate::gen_image;
use anyhow::{Context, ensure};
use clap::ValueEnum;
use std::ffi::OsStr;

/// What can be measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Bench {
    /// CPU time of a restore, against a cold boot
    Restore,
    /// CPU time of a comparison, against reading
    Compare,
    /// Five memories by majority, against the same loop in C
    Majority,
    /// Flipped bytes of kernel memory: how many are explained, and whether drgn agrees
    Explain,
    /// Histories of disks in the store: what checking and a first read take
    Shelf,
    /// Two versions of a disk, beside borg and restic
    Versions,
    /// What the package database explains of an upgrade of 200 packages
    Packages,
    /// What changed under a path since a time, out of 10 million change records
    Records,
    /// What happened to the files of a disk of 4 GiB: CPU time, memory, right and wrong
    Files,
    /// A listing of 101,000 entries with extents and attributes, beside `fls`
    List,
    /// The longest gap in a guest's tick while its disk is captured, beyond that without
    Pause,
    /// 50 trials without a fault: how many deviate
    Clean,
}

/// Measures one promise.
pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Restore => measure("restore"),
        Bench::Compare => measure("compare"),
        Bench::Majority => measure("majority"),
        Bench::Explain => explain(),
        Bench::Shelf => measure("shelf"),
        Bench::Versions => versions(),
        Bench::Packages => packages::run(),
        Bench::Records => measure("records"),
        Bench::Files => files::run(),
        Bench::List => list::run(),
        Bench::Pause => measure("pause"),
        Bench::Clean => clean::run(),
    }
}

/// Explains flipped bytes, and asks drgn about them. Without drgn the promise is not met.
fn explain() -> anyhow::Result<()> {
    match oracle::prepare() {
        Ok(oracle) => {
            let words = [oracle.python.as_os_str(), oracle.vmlinux.as_os_str()];
            measure_with("explain", &words)
        }
        Err(error) => {
            measure("explain")?;
            Err(error.context("drgn could not be asked, so that half of the promise is unchecked"))
        }
    }
}

/// Keeps the disks before and after the attack in the store, and in borg and restic.
fn versions() -> anyhow::Result<()> {
    let out = files::place("versions")?;
    let made = gen_image::make(&gen_image::GenImage::full(out.clone()))?;
    crate::put_out(&format!("the disks: {}", made.about))?;
    let pair = [&made.disks[0], &made.disks[2]].map(|disk| disk.as_os_str());
    let measured = measure_with("versions", &pair);
    std::fs::remove_dir_all(&out).context("cannot remove the disks")?;
    measured
}

/// Runs a bench of the workspace that needs nothing.
fn measure(bench: &str) -> anyhow::Result<()> {
    measure_with(bench, &[])
}

/// Runs a bench of the workspace. All of the workspace is named for its features to be the same as
/// in its tests; only the bench is built.
fn measure_with(bench: &str, words: &[&OsStr]) -> anyhow::Result<()> {
    crate::guest::run()?;
    let status = crate::cargo()
        .args(["bench", "--quiet", "--workspace", "--profile", "dev"])
        .args(["--bench", bench, "--"])
        .args(words)
        .status()
        .context("cannot start cargo bench")?;
    ensure!(status.success(), "bench {bench} ended with {status}");
    Ok(())
}
