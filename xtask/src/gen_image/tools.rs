//! The tools that make and change file systems: those of e2fsprogs and util-linux.

use anyhow::{Context, ensure};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tools for disks are where a user who is not root does not look.
const TOOLS_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) const BLOCK_BYTES: u64 = 4096;

/// Runs a tool at a time of its clock, and gives what it says.
pub(crate) fn tool(program: &str, arguments: &[&str], now: u64) -> anyhow::Result<String> {
    let output = command(program, now)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program}: {}: {complained}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command(program: &str, now: u64) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("PATH", TOOLS_PATH)
        .env("SOURCE_DATE_EPOCH", now.to_string())
        .env("E2FSPROGS_FAKE_TIME", now.to_string());
    command
}

/// A disk with a table of partitions, of which the second is an ext4 file system.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    /// Where the file system starts.
    pub(super) offset: u64,
    /// The size of the partition for the firmware, before it.
    pub(super) firmware_mib: u64,
}

/// Where that starts.
pub(super) const FIRMWARE_OFFSET: u64 = 1 << 20;

impl Image {
    /// Makes a disk whose file system holds what lies below `tree`.
    pub(super) fn make(
        path: &Path,
        mib: u64,
        tree: &Path,
        inodes: u64,
        now: u64,
    ) -> anyhow::Result<Self> {
        // A partition for the firmware first, as installers make it.
        let first_mib = (mib / 32).clamp(2, 128);
        let offset = (1 + first_mib) << 20;
        let kib = (mib - first_mib - 2) << 10;
        let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
        file.set_len(mib << 20)?;
        drop(file);
        let place = path.to_str().context("the path is not UTF-8")?;
        let options = format!(
            "offset={offset},root_owner=0:0,hash_seed=6b8b4567-327b-43c6-a43c-986966334873"
        );
        let (inodes, size) = (inodes.to_string(), format!("{kib}k"));
        let tree = tree.to_str().context("the path is not UTF-8")?;
        let mut arguments = vec![
            "-q", "-F", "-t", "ext4", "-b", "4096", "-N", &inodes, "-L", "root",
        ];
        arguments.extend(["-U", "74b0dc51-19b1-4b0e-a7d1-0f2a1b2c3d4e", "-E", &options]);
        arguments.extend(["-d", tree, place, &size]);
        tool("mke2fs", &arguments, now)?;
        let script = format!(
            "label: gpt\nlabel-id: 5d9b1f6a-0c1d-4e2f-8a3b-4c5d6e7f8091\n\
             start=2048, size={}, type=U, uuid=0f0e0d0c-0b0a-4908-8706-050403020100\n\
             start={}, size={}, type=L, uuid=1f1e1d1c-1b1a-4918-9716-151413121110\n",
            first_mib * 2048,
            offset / 512,
            kib * 2
        );
        let mut sfdisk = command("sfdisk", now)
            .args([
                "--quiet",
                "--no-reread",
                "--no-tell-kernel",
                "--wipe",
                "never",
            ])
            .arg(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // It tells of the file system that is there already.
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sfdisk")?;
        if let Some(mut input) = sfdisk.stdin.take() {
            input.write_all(script.as_bytes())?;
        }
        ensure!(sfdisk.wait()?.success(), "sfdisk has failed");
        Ok(Self {
            path: path.to_owned(),
            offset,
            firmware_mib: first_mib,
        })
    }

    /// The size of the file system.
    pub(super) fn bytes(&self) -> anyhow::Result<u64> {
        let disk = std::fs::metadata(&self.path)?.len();
        // What lies behind it is the second table of partitions.
        Ok(disk - self.offset - (1 << 20))
    }

    /// A copy, with holes where it has some.
    pub(super) fn copy(&self, path: &Path) -> anyhow::Result<Self> {
        let (from, to) = (self.path.to_str(), path.to_str());
        let (from, to) = from.zip(to).context("the path is not UTF-8")?;
        tool("cp", &["--sparse=always", "--reflink=auto", from, to], 0)?;
        Ok(Self {
            path: path.to_owned(),
            ..self.clone()
        })
    }

    /// Lets debugfs carry out a script, and gives what it says.
    pub(super) fn debugfs(&self, script: &[String], now: u64) -> anyhow::Result<String> {
        let mut file = tempfile::NamedTempFile::new().context("cannot make a script")?;
        for line in script {
            writeln!(file, "{line}")?;
        }
        let commands = file.path().to_str().context("the path is not UTF-8")?;
        let place = format!("{}?offset={}", self.path.display(), self.offset);
        tool("debugfs", &["-w", "-f", commands, &place], now)
    }

    /// Changes bytes of files in their place: `turn` gets what is there, by path and place in the
    /// file, and makes it what it will be. No part may reach past the blocks that its file has.
    pub(super) fn edit(
        &self,
        parts: &[(String, std::ops::Range<u64>)],
        mut turn: impl FnMut(usize, &mut [u8]),
    ) -> anyhow::Result<()> {
        let blocks =
            |part: &std::ops::Range<u64>| part.start / BLOCK_BYTES..part.end.div_ceil(BLOCK_BYTES);
        let mut asked = Vec::new();
        for (path, part) in parts {
            asked.extend(blocks(part).map(|block| format!("bmap \"{path}\" {block}")));
        }
        let said = self.debugfs(&asked, 0)?;
        let places: Vec<u64> = said.lines().filter_map(|line| line.parse().ok()).collect();
        ensure!(
            places.len() == asked.len(),
            "debugfs knows {} of {} blocks",
            places.len(),
            asked.len()
        );
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&self.path)?;
        let mut places = places.into_iter();
        for (index, (path, part)) in parts.iter().enumerate() {
            let range = blocks(part);
            let mut bytes = vec![0; ((range.end - range.start) * BLOCK_BYTES) as usize];
            let mut at = Vec::new();
            for chunk in bytes.chunks_mut(BLOCK_BYTES as usize) {
                let block = places.next().filter(|block| *block != 0);
                let block = block.with_context(|| format!("{path} has a hole"))?;
                at.push(self.offset + block * BLOCK_BYTES);
                file.read_exact_at(chunk, self.offset + block * BLOCK_BYTES)?;
            }
            let start = (part.start - range.start * BLOCK_BYTES) as usize;
            let length = (part.end - part.start) as usize;
            turn(index, &mut bytes[start..start + length]);
            for (chunk, place) in bytes.chunks(BLOCK_BYTES as usize).zip(at) {
                file.write_all_at(chunk, place)?;
            }
        }
        Ok(())
    }
}
