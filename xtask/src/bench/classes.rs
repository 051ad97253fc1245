//! What the blocks are that differ between two disks: is every one of them classed, and do drawn ones
//! agree with debugfs?

use crate::gen_image::Draw;
use crate::measure;
use anyhow::{Context, ensure};
use disk::volume::VolumeKind;
use image::files::{BlockClass, DiskFiles, Owned, Ranges, attribute, differing, on_a_thread};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// How many blocks are drawn.
const DRAWN: usize = 1000;

/// How many blocks are asked for at once: debugfs reads lines of 8 KiB.
const ASKED: usize = 200;

/// Says how many blocks differ, of which classes, and how many of those drawn agree with debugfs.
pub(super) struct Classes {
    pub(super) by_class: BTreeMap<&'static str, u64>,
    pub(super) bytes: u64,
    pub(super) classed_bytes: u64,
    pub(super) agree: usize,
    pub(super) drawn: usize,
}

pub(super) fn classes(before: &Path, after: &Path) -> anyhow::Result<Classes> {
    let (was, is) = (measure::open(before)?, measure::open(after)?);
    let dirty = differing(&was, &is, &on_a_thread)?.blocks;
    let files = DiskFiles::read(std::slice::from_ref(&is));
    let owned = attribute(&files, std::slice::from_ref(&dirty))?;
    let mut by_class = BTreeMap::new();
    let length = |one: &Owned| one.bytes.end - one.bytes.start;
    for one in &owned {
        *by_class.entry(one.class.name()).or_insert(0) += length(one);
    }
    let classed = owned.iter().filter(|one| one.class != BlockClass::Unowned);
    let covered = Ranges::new(classed.map(|one| one.bytes.clone()).collect());
    // debugfs knows one kind; the firmware's partition is of another.
    let is_ext = |kind: &VolumeKind| matches!(kind, VolumeKind::Ext);
    let ext = files.readable().find(|(volume, _)| is_ext(&volume.kind));
    let (volume, read) = ext.context("no file system of debugfs' kind is read")?;
    let place = volume.places.first().context("the volume has no place")?;
    let block_bytes = read.tree.block_bytes();
    let mut blocks: Vec<(u64, &Owned)> = Vec::new();
    for one in owned.iter().filter(|one| one.volume.is_some()) {
        if !(place.start..place.end()).contains(&one.bytes.start) {
            continue;
        }
        let first = (one.bytes.start - place.start) / block_bytes;
        let end = (one.bytes.end - place.start).div_ceil(block_bytes);
        blocks.extend((first.max(1)..end).map(|block| (block, one)));
    }
    let mut draw = Draw(1);
    let mut drawn = Vec::new();
    while drawn.len() < DRAWN {
        drawn.push(draw.take(&mut blocks).context("too few blocks differ")?);
    }
    let numbers: Vec<u64> = drawn.iter().map(|(block, _)| *block).collect();
    let told = told(after, place.start, &numbers)?;
    let agree = drawn.iter().zip(told);
    let agree = agree.filter(|((block, one), told)| {
        let agrees = agrees(one, *told);
        if !agrees {
            eprintln!("block {block}: {one:?}, debugfs says {told:?}");
        }
        agrees
    });
    Ok(Classes {
        bytes: dirty.bytes(),
        classed_bytes: covered.bytes(),
        agree: agree.count(),
        drawn: drawn.len(),
        by_class,
    })
}

/// What debugfs says of a block: whose it is, and whether it is in use.
type Told = (Option<u64>, bool);

fn agrees(one: &Owned, (inode, is_used): Told) -> bool {
    let owner = one.object.map(|id| id.0);
    match one.class {
        BlockClass::Free => inode.is_none() && !is_used,
        BlockClass::File
        | BlockClass::Directory
        | BlockClass::Symlink
        | BlockClass::Map
        | BlockClass::Attributes
        | BlockClass::Journal => inode.is_some() && owner == inode && is_used,
        // Of these debugfs knows no owner, but inode 7 for room for descriptors.
        BlockClass::Superblock
        | BlockClass::Descriptors
        | BlockClass::Bitmap
        | BlockClass::InodeTable => inode.is_none_or(|inode| inode == 7) && is_used,
        _ => false,
    }
}

fn told(disk: &Path, offset: u64, blocks: &[u64]) -> anyhow::Result<Vec<Told>> {
    let mut owners = BTreeMap::new();
    for some in blocks.chunks(ASKED) {
        let numbers: Vec<String> = some.iter().map(u64::to_string).collect();
        let said = debugfs(disk, offset, &format!("icheck {}", numbers.join(" ")))?;
        for line in said.lines() {
            let pair = line.split_once('\t');
            let pair =
                pair.map(|(block, inode)| (block.parse::<u64>(), inode.trim().parse::<u64>()));
            if let Some((Ok(block), Ok(inode))) = pair {
                owners.insert(block, inode);
            }
        }
    }
    let each: Vec<String> = blocks
        .iter()
        .map(|block| format!("testb {block}"))
        .collect();
    let said = debugfs(disk, offset, &each.join("\n"))?;
    let lines = said.lines().filter(|line| line.starts_with("Block "));
    let used: Vec<bool> = lines.map(|line| !line.contains("not in use")).collect();
    ensure!(
        used.len() == blocks.len(),
        "debugfs tells of {} blocks",
        used.len()
    );
    let each = blocks.iter().zip(used);
    Ok(each
        .map(|(block, used)| (owners.get(block).copied(), used))
        .collect())
}

fn debugfs(disk: &Path, offset: u64, script: &str) -> anyhow::Result<String> {
    let commands = tempfile::NamedTempFile::new().context("cannot make a script")?;
    std::fs::write(commands.path(), format!("{script}\n"))?;
    let output = Command::new("debugfs")
        .arg("-f")
        .arg(commands.path())
        .arg(format!("{}?offset={offset}", disk.display()))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .context("cannot start debugfs")?;
    ensure!(output.status.success(), "debugfs has failed");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
