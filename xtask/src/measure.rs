//! `cargo xtask measure WHAT DISK…`: one measurement in a process of its own, so that its CPU time
//! and memory are those of the work alone. Prints one line of JSON.

use crate::gen_image::Event;
use anyhow::{Context, ensure};
use block::DirectFile;
use clap::ValueEnum;
use disk::{AlignedBuffer, Source};
use image::files::{
    Change, Compared, Differences, DiskFiles, FileEvent, Ranges, compare_disks, differing,
    on_a_thread,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// All that the disks' files hold is read, and nothing else
    Read,
    /// Both disks are read and compared by blocks, and nothing else
    Scan,
    /// Every disk's files are listed, with extents and attributes
    List,
    /// What happened to files between two disks, of which nothing is known before
    Diff,
    /// Likewise, but the blocks that differ are known
    Known,
}

/// A measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct Measure {
    #[arg(value_enum)]
    what: What,
    disks: Vec<PathBuf>,
}

/// Measures, and prints the result.
pub(crate) fn run(measure: &Measure) -> anyhow::Result<()> {
    let disks = measure.disks.iter().map(|path| open(path));
    let disks: Vec<Source> = disks.collect::<anyhow::Result<_>>()?;
    let known = match measure.what {
        What::Known => Some(compared(&disks)?.blocks),
        _ => None,
    };
    let (cpu, wall) = (cpu()?, Instant::now());
    let count = match measure.what {
        What::Read => disks.iter().map(read_all).sum::<anyhow::Result<u64>>()? as usize,
        What::Scan => compared(&disks)?.blocks.bytes() as usize,
        What::List => disks.iter().map(entries).sum(),
        What::Diff | What::Known => happened(&disks, known)?.len(),
    };
    let cpu = self::cpu()?.saturating_sub(cpu);
    let line = json!({
        "count": count,
        "cpu_s": cpu.as_secs_f64(),
        "wall_s": wall.elapsed().as_secs_f64(),
        "memory_bytes": memory()?,
    });
    crate::put_out(&line.to_string())
}

/// Opens a disk past the page cache.
pub(crate) fn open(path: &Path) -> anyhow::Result<Source> {
    let file = DirectFile::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Arc::new(file))
}

/// Reads a disk from its beginning to its end, but for holes, and says how much that was.
fn read_all(disk: &Source) -> anyhow::Result<u64> {
    let mut memory = AlignedBuffer::new(1 << 20);
    let (mut at, mut bytes) = (0, 0);
    while at < disk.size_bytes() {
        let stretch = disk.stretch_at(at)?;
        let end = at + stretch.bytes;
        if stretch.content == disk::Content::Zero {
            at = end;
            continue;
        }
        let piece = (end - at).min(1 << 20);
        disk.read_exact_at(at, memory.first(piece as usize))?;
        (at, bytes) = (at + piece, bytes + piece);
    }
    Ok(bytes)
}

fn compared(disks: &[Source]) -> anyhow::Result<Differences> {
    let [before, after] = disks else {
        anyhow::bail!("two disks are needed");
    };
    Ok(differing(before, after, &on_a_thread)?)
}

fn entries(disk: &Source) -> usize {
    let files = DiskFiles::read(std::slice::from_ref(disk));
    let each = files.readable().map(|(_, files)| files.tree.names());
    each.sum()
}

/// What happened between two disks; `dirty` is found out if it is not known.
pub(crate) fn happened(disks: &[Source], dirty: Option<Ranges>) -> anyhow::Result<Vec<Event>> {
    let [before, after] = disks else {
        anyhow::bail!("two disks are needed");
    };
    let read = |disk: &Source| DiskFiles::read(std::slice::from_ref(disk));
    let compared = match dirty {
        Some(dirty) => Compared {
            before: read(before),
            after: read(after),
            dirty: dirty.into(),
        },
        None => compare_disks(before, after, &on_a_thread)?,
    };
    let mut found = Vec::new();
    for volume in compared.diff() {
        let Ok(diff) = volume.files else { continue };
        ensure!(diff.damage.is_empty(), "{:?}", diff.damage);
        found.extend(diff.events.iter().map(event));
    }
    Ok(found)
}

fn event(event: &FileEvent) -> Event {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pair = |range: &std::ops::Range<u64>| (range.start, range.end);
    let (mut from, mut ranges, mut fields) = (None, Vec::new(), Vec::new());
    match &event.change {
        Change::Renamed { from: was } => from = Some(text(was)),
        Change::Modified { ranges: parts } => ranges = parts.iter().map(pair).collect(),
        Change::Appended { range } => ranges.push(pair(range)),
        Change::Metadata { fields: told } => {
            fields = told.iter().map(|field| field.name()).collect();
        }
        _ => {}
    }
    Event {
        path: text(&event.path),
        change: event.change.name(),
        from,
        ranges,
        fields,
    }
}

fn cpu() -> anyhow::Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?)
}

/// The most memory that this process has had.
fn memory() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number.context("the kernel does not tell")?.parse()?;
    Ok(kib << 10)
}
