//! Deeds done by a kernel: a guest boots the disk, a program of ours does them there by system calls,
//! and the disk is unmounted. So the reuse of inodes, the journal and delayed allocation are the
//! kernel's own.
//!
//! ```text
//!  plan.json, new files ─► a small disk ─► /given ┐
//!                              the disk ─► /disk  ├─ xtask carry-out ─► unmount ─► end
//!                       xtask, libraries ─► /     ┘
//! ```
//!
//! What is done is the plan's; this program reads no file system but through the guest's kernel.

use super::deeds::{Coding, Deed, lines};
use super::tools::{Image, tool};
use anyhow::{Context, ensure};
use rustix::fs::XattrFlags;
use rustix::time::{ClockId, Timespec, clock_settime};
use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use workshop::{Disk, Workshop};

/// Memory of the guest: this program comes with all that it can say of itself.
const MEMORY_MIB: u32 = 1024;

/// Where the program lies in the guest.
#[cfg(not(test))]
const PROGRAM: &str = "/work/xtask";

/// Where the plan lies there, and the disk.
pub(crate) const PLAN: &str = "/given/plan.json";
pub(crate) const ROOT: &str = "/disk";

/// How a disk comes before the script of a guest, and what is given to it.
pub(super) const MOUNT: &str = "mkdir -p /disk /given\n\
    mount -t ext4 -o noatime,noinit_itable /dev/vda2 /disk\n\
    mount -t ext4 -o ro,noload /dev/vdb /given\n";

/// Does what a plan says, below a directory. What a guest starts.
#[derive(Debug, clap::Args)]
pub(crate) struct CarryOut {
    /// The plan; what new files hold lies beside it
    plan: PathBuf,
    /// Where the disk is mounted
    root: PathBuf,
}

/// Has a guest's kernel do deeds, from a time on; `given` is where the files beside the plan are.
pub(super) fn by_guest(
    image: &Image,
    deeds: &[Deed],
    given: &Path,
    now: u64,
) -> anyhow::Result<()> {
    fs::write(given.join("plan.json"), serde_json::to_vec(deeds)?)?;
    let given_disk = tempfile::NamedTempFile::new().context("cannot make a disk")?;
    pack(given, given_disk.path())?;
    let guest = Workshop::new()
        .disk(Disk::raw(&image.path))
        .disk(Disk::raw(given_disk.path()))
        .memory_mib(MEMORY_MIB);
    let (guest, line) = with_program(guest)?;
    let said = guest
        .run(&format!("{MOUNT}date -s @{now} >/dev/null\n{line}\n"))?
        .good()?;
    let said = String::from_utf8_lossy(&said);
    let expected = deeds.len().to_string();
    ensure!(
        said.trim() == expected,
        "of {expected} deeds a guest did {said}"
    );
    Ok(())
}

/// Takes this program along; the line of a script that starts it.
#[cfg(not(test))]
fn with_program(guest: Workshop) -> anyhow::Result<(Workshop, String)> {
    let program = std::env::current_exe().context("this program has no path")?;
    let line = format!("{PROGRAM} carry-out {PLAN} {ROOT}");
    Ok((guest.program_as(&program, PROGRAM), line))
}

/// A test's program has no commands, but one test that does the same.
#[cfg(test)]
fn with_program(guest: Workshop) -> anyhow::Result<(Workshop, String)> {
    Ok((guest.hand()?, "hand".to_owned()))
}

/// A file system of what is in a directory.
pub(super) fn pack(directory: &Path, disk: &Path) -> anyhow::Result<()> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len().next_multiple_of(4096);
    }
    let size = format!("{}k", (bytes + bytes / 4 + (16 << 20)) >> 10);
    let (directory, disk) = (directory.to_str(), disk.to_str());
    let (directory, disk) = directory.zip(disk).context("the path is not UTF-8")?;
    let words = ["-q", "-F", "-t", "ext4", "-d", directory, disk, &size];
    tool("mke2fs", &words, 0).map(drop)
}

/// Does all deeds of a plan, and says how many these were.
///
/// # Errors
/// One of them cannot be done; the error says which.
pub(crate) fn run(what: &CarryOut) -> anyhow::Result<()> {
    let done = carry_out(&what.plan, &what.root)?;
    crate::put_out(&done.to_string())
}

/// Does all deeds of a plan below a directory. Says how many these were.
pub(crate) fn carry_out(plan: &Path, root: &Path) -> anyhow::Result<usize> {
    let text = fs::read(plan).context("cannot read the plan")?;
    let deeds: Vec<Deed> = serde_json::from_slice(&text).context("the plan is damaged")?;
    let given = plan.parent().context("the plan has no directory")?;
    let kernel = Kernel { root, given };
    for deed in &deeds {
        kernel
            .carry_out(deed)
            .with_context(|| format!("{deed:?}"))?;
    }
    Ok(deeds.len())
}

struct Kernel<'a> {
    root: &'a Path,
    given: &'a Path,
}

impl Kernel<'_> {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn carry_out(&self, deed: &Deed) -> anyhow::Result<()> {
        match deed {
            Deed::Clock { at } => {
                let time = Timespec {
                    tv_sec: i64::try_from(*at)?,
                    tv_nsec: 0,
                };
                clock_settime(ClockId::Realtime, time)?;
            }
            Deed::Remove { path } => fs::remove_file(self.at(path))?,
            Deed::Rename { from, to } => fs::rename(self.at(from), self.at(to))?,
            Deed::Mode { path, mode } => {
                fs::set_permissions(self.at(path), Permissions::from_mode(*mode))?;
            }
            Deed::Owner { path, uid, gid } => chown(self.at(path), Some(*uid), Some(*gid))?,
            Deed::Attribute { path, name, value } => {
                let flags = XattrFlags::empty();
                rustix::fs::setxattr(self.at(path), name, value.as_bytes(), flags)?;
            }
            Deed::Touch { path } => {
                let times = FileTimes::new().set_modified(SystemTime::now());
                File::open(self.at(path))?.set_times(times)?;
            }
            Deed::Write { path, from } => {
                let content = fs::read(self.given.join(from))?;
                File::create_new(self.at(path))?.write_all(&content)?;
            }
            Deed::Turn {
                path,
                bytes,
                part,
                seed,
            } => {
                let file = File::options().read(true).write(true).open(self.at(path))?;
                let there = file.metadata()?.len();
                ensure!(there == *bytes, "{there} bytes are there");
                let ranges = part.ranges(*bytes);
                let (first, last) = (ranges.first(), ranges.last());
                let (first, last) = first.zip(last).context("nothing is to be turned")?;
                let mut content = vec![0; (last.end - first.start) as usize];
                file.read_exact_at(&mut content, first.start)?;
                part.turn(*bytes, &mut content, first.start, *seed);
                for range in &ranges {
                    let within = (range.start - first.start) as usize;
                    let end = (range.end - first.start) as usize;
                    file.write_all_at(&content[within..end], range.start)?;
                }
            }
            Deed::Append { path, range, seed } => {
                let mut file = File::options().append(true).open(self.at(path))?;
                let there = file.metadata()?.len();
                ensure!(there == range.start, "{there} bytes are there");
                file.write_all(&lines(range, *seed))?;
            }
            Deed::Rewrite {
                path,
                to,
                coding,
                seed,
            } => self.rewrite(path, to, *coding, *seed)?,
        }
        Ok(())
    }

    fn rewrite(&self, path: &str, to: &str, coding: Coding, seed: u64) -> anyhow::Result<()> {
        let content = coding.made_of(fs::read(self.at(path))?, seed);
        let between = self.at(&format!("{to}.new"));
        File::create_new(&between)?.write_all(&content)?;
        fs::rename(between, self.at(to))?;
        if path != to {
            fs::remove_file(self.at(path))?;
        }
        Ok(())
    }
}
