//! A file system of 101,000 entries, listed with extents and attributes, beside Sleuth Kit's `fls`,
//! which tells neither.

use super::files::{measured, place};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

const DIRECTORIES: usize = 1000;
const FILES: usize = 100;

/// How often each is measured; they take turns.
const TURNS: usize = 5;

const MAX_RATIO: f64 = 0.2;

pub(super) fn run() -> anyhow::Result<()> {
    let out = place("list")?;
    let disk = out.join("many.raw");
    make(&out, &disk)?;
    let (mut ours, mut theirs) = (f64::INFINITY, None::<f64>);
    let mut entries = 0;
    for _ in 0..TURNS {
        let one = measured("list", &[&disk])?;
        ours = ours.min(one.cpu_s);
        entries = one.count;
        if let Some(cpu_s) = fls(&disk)? {
            theirs = Some(theirs.map_or(cpu_s, |least| least.min(cpu_s)));
        }
    }
    std::fs::remove_dir_all(&out).context("cannot remove the disk")?;
    let Some(theirs) = theirs else {
        crate::put_out(&format!(
            "list: {entries} entries in {ours:.3} s of CPU time"
        ))?;
        anyhow::bail!("fls is not installed (Debian: sleuthkit), so that there is no comparison");
    };
    let ratio = ours / theirs;
    let is_met = ratio <= MAX_RATIO;
    let met = if is_met { "met" } else { "not met" };
    crate::put_out(&format!(
        "{entries} entries: {ours:.3} s of CPU time, fls {theirs:.3} s"
    ))?;
    crate::put_out(&format!("list: {ratio:.2} (bound {MAX_RATIO}): {met}"))?;
    ensure!(is_met, "the promise is not met");
    Ok(())
}

/// Makes the file system, of small files and links; one in ten has an attribute.
fn make(out: &Path, disk: &Path) -> anyhow::Result<()> {
    let tree = out.join("tree");
    for directory in 0..DIRECTORIES {
        let directory = tree.join(format!("area{}/part{directory}", directory % 20));
        std::fs::create_dir_all(&directory)?;
        for file in 0..FILES {
            let path = directory.join(format!("a file of some length {file}.txt"));
            std::fs::write(path, vec![b'x'; file * 29])?;
        }
    }
    let arguments = ["-q", "-F", "-t", "ext4", "-b", "4096", "-N", "110000", "-d"];
    let made = Command::new("mke2fs")
        .args(arguments)
        .args([&tree, disk])
        .arg("1G")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .status()
        .context("cannot start mke2fs")?;
    ensure!(made.success(), "mke2fs has failed");
    std::fs::remove_dir_all(&tree)?;
    let mut script = String::new();
    for directory in 0..DIRECTORIES {
        let path = format!("/area{}/part{directory}", directory % 20);
        for file in (0..FILES).step_by(10) {
            let path = format!("{path}/a file of some length {file}.txt");
            script.push_str(&format!("ea_set \"{path}\" user.origin \"bench {file}\"\n"));
        }
    }
    let commands = out.join("script");
    std::fs::write(&commands, script)?;
    let changed = Command::new("debugfs")
        .args(["-w", "-f"])
        .args([&commands, disk])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .context("cannot start debugfs")?;
    ensure!(changed.status.success(), "debugfs has failed");
    Ok(())
}

/// The CPU time that `fls` takes for a listing; none if there is no `fls`.
fn fls(disk: &Path) -> anyhow::Result<Option<f64>> {
    let script = "TIMEFORMAT='%U %S'; time fls -r -p -l \"$1\" >/dev/null";
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(disk)
        .env("LC_ALL", "C")
        .output()
        .context("cannot start bash")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Ok(None);
    }
    let last = said.lines().last().unwrap_or_default();
    let times = last.split_whitespace().map(str::parse::<f64>);
    let times: Vec<f64> = times
        .collect::<Result<_, _>>()
        .context("bash tells no times")?;
    Ok(Some(times.iter().sum()))
}
