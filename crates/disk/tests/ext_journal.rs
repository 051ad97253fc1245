//! Journals that hold what is not yet in its place, against e2fsprogs' own replay of them.
//!
//! ```text
//!  before ──debugfs changes files──► after
//!    └─ the blocks that differ, as transactions of before's journal ──► dirty
//!         dirty ──debugfs replays──► replayed    must equal what is read of dirty
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::ext::{check_and_repair, debugfs, make, make_tree};
use common::{Draw, FileSource, assert_same};
use disk::Source;
use disk::ext::{Ext, Extent, Replay};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// How many files are new.
const NEW: usize = 500;

/// How many blocks a transaction has at most: debugfs reads lines of 8 KiB.
const TRANSACTION: usize = 300;

struct Place {
    directory: TempDir,
    block_bytes: usize,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// A file system with many new files, and others gone.
    fn new(options: &str, block_bytes: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let place = Self {
            directory,
            block_bytes,
        };
        let tree = place.path("tree");
        std::fs::create_dir(&tree).unwrap();
        make_tree(&tree, &mut Draw(1), 200);
        let options = format!("{options} -b {block_bytes} -N 2048");
        make(&place.path("before"), &tree, &options, "32M");
        check_and_repair(&place.path("before"));
        place.copy("before", "after");
        // A block that starts like one of the journal has to be put back as it was.
        let magic = [&[0xc0, 0x3b, 0x39, 0x98][..], &[7; 3000]].concat();
        std::fs::write(place.path("magic"), magic).unwrap();
        std::fs::write(place.path("new"), b"new").unwrap();
        let mut script = vec!["mkdir fresh".to_owned(), "cd fresh".to_owned()];
        for number in 0..NEW {
            let from = if number == 7 { "magic" } else { "new" };
            let from = place.path(from);
            script.push(format!("write {} new{number}", from.display()));
        }
        script.extend(["cd /", "rm bytes300000", "rm pieces"].map(str::to_owned));
        debugfs(&place.path("after"), true, &script);
        place
    }

    /// The blocks in which two images differ, but for the superblock's.
    fn differing(&self, one: &[u8], other: &[u8]) -> Vec<usize> {
        let blocks = one
            .chunks(self.block_bytes)
            .zip(other.chunks(self.block_bytes));
        let differing = blocks.enumerate().filter(|(_, (one, other))| one != other);
        let superblock = 1024 / self.block_bytes;
        differing
            .map(|(block, _)| block)
            .filter(|block| *block != superblock)
            .collect()
    }

    /// Puts what has changed into the journal, and some that must not come out of it again.
    fn make_dirty(&self, open: &str) {
        let (before, after) = (self.bytes("before"), self.bytes("after"));
        let changed = self.differing(&before, &after);
        self.copy("before", "dirty");
        let mut script = vec![open.to_owned()];
        let mut write = |name: &str, blocks: &[usize], bytes: &[u8], flags: &str| {
            std::fs::write(self.path(name), bytes).unwrap();
            let list: Vec<_> = blocks.iter().map(ToString::to_string).collect();
            let list = list.join(",");
            script.push(format!(
                "jw -b {list} {flags} {}",
                self.path(name).display()
            ));
        };
        let garbage = |blocks: usize| vec![0xee; blocks * self.block_bytes];
        // An earlier state of some blocks, which the later transactions replace.
        write("old", &changed[..20], &garbage(20), "");
        for (index, blocks) in changed.chunks(TRANSACTION).enumerate() {
            let bytes: Vec<u8> = blocks
                .iter()
                .flat_map(|block| &after[block * self.block_bytes..(block + 1) * self.block_bytes])
                .copied()
                .collect();
            write(&format!("part{index}"), blocks, &bytes, "");
        }
        // Written, then revoked: it stays as it is in its place.
        let free = free_block(&changed);
        write("revoked", &[free, free + 1], &garbage(2), "");
        script.push(format!("jw -r {free}"));
        script.push(format!("jw -r {}", free + 1));
        // Revoked, then written again: the later counts.
        let mut write = |name: &str, blocks: &[usize], bytes: &[u8], flags: &str| {
            std::fs::write(self.path(name), bytes).unwrap();
            let list = blocks[0];
            script.push(format!(
                "jw -b {list} {flags} {}",
                self.path(name).display()
            ));
        };
        write("again", &[free + 1], &vec![0x77; self.block_bytes], "");
        // Never committed.
        write("open", &[free + 2], &garbage(1), "-c");
        script.push("jc".to_owned());
        debugfs(&self.path("dirty"), true, &script);
        self.copy("dirty", "replayed");
        debugfs(&self.path("replayed"), true, &["jr".to_owned()]);
    }
}

/// Three blocks in a row, near the end, that nothing was written to.
fn free_block(changed: &[usize]) -> usize {
    let mut block = 7000;
    while (block..block + 3).any(|block| changed.contains(&block)) {
        block += 1;
    }
    block
}

fn paths(ext: &Ext) -> BTreeSet<Vec<u8>> {
    ext.walk().map(|entry| entry.unwrap().path).collect()
}

fn open(path: &Path) -> Ext {
    Ext::open(FileSource::open(path)).unwrap()
}

/// Every block as it is read must be as e2fsprogs has put it.
fn check_blocks(place: &Place, ext: &Ext) {
    let replayed = place.bytes("replayed");
    let journal = ext.map(&ext.inode(8).unwrap()).unwrap();
    let is_journal = |block: u64| {
        let holds =
            |one: &Extent| (one.physical..one.physical + u64::from(one.blocks)).contains(&block);
        journal.extents.iter().any(holds)
    };
    let superblock = 1024 / place.block_bytes as u64;
    let mut found = vec![0; place.block_bytes];
    for (block, expected) in (0..).zip(replayed.chunks(place.block_bytes)) {
        if block != superblock && !is_journal(block) {
            ext.read(block * place.block_bytes as u64, &mut found)
                .unwrap();
            assert_same(&found, expected, &format!("block {block}"));
        }
    }
}

fn check(options: &str, block_bytes: usize, open_journal: &str) -> Place {
    let place = Place::new(options, block_bytes);
    place.make_dirty(open_journal);
    let ext = open(&place.path("dirty"));
    let replay = ext.replay().unwrap();
    assert!(
        replay.transactions >= 6 && replay.blocks > 500,
        "{replay:?}"
    );
    assert_eq!((replay.damaged_blocks, replay.fast_commits), (0, 0));
    check_blocks(&place, &ext);
    let expected = paths(&open(&place.path("after")));
    assert_eq!(paths(&ext), expected);
    let new = expected
        .iter()
        .filter(|path| path.starts_with(b"/fresh/new"));
    assert_eq!(new.count(), NEW);
    assert!(!expected.contains(&b"/pieces"[..]));
    place
}

#[test]
fn a_journal_of_ext3_is_replayed() {
    check("-t ext3", 1024, "jo");
}

#[test]
fn a_journal_with_64_bits_is_replayed() {
    check("-t ext4 -O 64bit,^metadata_csum", 4096, "jo");
}

#[test]
fn a_journal_with_sums_of_16_bits_is_replayed() {
    check("-t ext4", 4096, "jo -c -v 2");
    check("-t ext4 -O ^64bit", 2048, "jo -c -v 2");
}

#[test]
fn a_journal_with_sums_of_32_bits_is_replayed_and_damage_is_found() {
    let place = check("-t ext4", 4096, "jo -c -v 3");
    let dirty = place.bytes("dirty");
    let sound = replay_of(dirty.clone()).unwrap();
    // The journal's blocks in the order of the journal: superblock, descriptor, the first data.
    let ext = open(&place.path("dirty"));
    let block = |index| journal_block(&place, &ext, index);
    let damaged = |at: usize| {
        let mut bytes = dirty.clone();
        bytes[at] ^= 1;
        replay_of(bytes).unwrap()
    };
    // That block is written again later, so that as many are read from the journal as before.
    let in_data = damaged(block(2) + 100);
    assert_eq!(in_data.damaged_blocks, 1);
    assert_eq!(in_data.transactions, sound.transactions);
    let in_descriptor = damaged(block(1) + 100);
    assert_eq!(
        (in_descriptor.transactions, in_descriptor.ends_damaged),
        (0, true)
    );
    // 20 blocks of data, then the commit of the first transaction.
    let in_commit = damaged(block(22) + 60);
    assert_eq!((in_commit.transactions, in_commit.ends_damaged), (0, true));
}

/// Where a block of the journal lies in the image.
fn journal_block(place: &Place, ext: &Ext, index: u64) -> usize {
    let extents = ext.map(&ext.inode(8).unwrap()).unwrap().extents;
    let holds = |one: &&Extent| (one.logical..one.end()).contains(&index);
    let extent = extents.iter().find(holds).unwrap();
    (extent.physical + index - extent.logical) as usize * place.block_bytes
}

fn replay_of(bytes: Vec<u8>) -> Option<Replay> {
    let source: Source = Arc::new(bytes);
    Ext::open(source).unwrap().replay()
}
