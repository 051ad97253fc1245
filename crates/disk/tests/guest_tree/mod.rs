//! What a guest's kernel is made to do: a tree with everything that a file system stores in a way of
//! its own, and files that are durable but not yet in their place.

#![allow(dead_code, reason = "each program of tests uses a part of it")]

use crate::common::Draw;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, fallocate,
    lsetxattr, makedev, mknodat, utimensat,
};
use rustix::io::Errno;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::Path;

/// Entries that every variant has at least.
pub(crate) const ENTRIES_MIN: usize = 3_282;

/// Files in the long directory, of which some are deleted and some renamed.
const FILES: usize = 650;

/// Further names of one file: they make a directory long at little cost.
const NAMES: usize = 2_620;

/// How many files are new when the power is lost.
pub(crate) const NEW: usize = 500;

/// Makes a tree. What not every variant has room for is left out where it has none.
pub(crate) fn make(root: &Path, seed: u64, variant: &str) {
    let mut draw = Draw(seed);
    sizes(root, &mut draw);
    holes(root, &mut draw, variant);
    long_directories(root, &mut draw);
    let mut deep = root.join("deep");
    for level in 0..20 {
        deep.push(format!("level{level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"20").unwrap();
    fs::write(root.join("n".repeat(255)), b"a long name").unwrap();
    fs::write(root.join("Größe\n\u{1}"), b"odd").unwrap();
    for bytes in [1, 59, 60, 61, 155, 200, 1000] {
        symlink("t".repeat(bytes), root.join(format!("link{bytes}"))).unwrap();
    }
    nodes(root, variant);
    owners_and_times(root, &mut draw, variant);
    attributes(root, &mut draw, variant);
}

fn sizes(root: &Path, draw: &mut Draw) {
    for bytes in [
        0, 1, 59, 60, 61, 159, 160, 161, 4095, 4096, 4097, 100_000, 1_500_000,
    ] {
        fs::write(root.join(format!("bytes{bytes}")), draw.bytes(bytes)).unwrap();
    }
    texts(root);
    // Two that grow in turn lie in pieces.
    let pair = ["one", "other"].map(|name| File::create(root.join(name)).unwrap());
    for piece in 0..40 {
        for file in &pair {
            file.write_all_at(&draw.bytes(5000), piece * 5000).unwrap();
            file.sync_data().unwrap();
        }
    }
    // One that shrinks, and grows again by a hole.
    let cut = File::create(root.join("cut")).unwrap();
    cut.write_all_at(&draw.bytes(30_000), 0).unwrap();
    cut.set_len(10_001).unwrap();
    cut.set_len(50_000).unwrap();
}

/// What can be compressed, and ends within a block: noise is stored as it is, whatever is asked for.
fn texts(root: &Path) {
    for bytes in [3000, 5000, 20_000, 131_072, 300_001] {
        let text: Vec<u8> = (0..bytes).map(|at| (at % 97 + at / 500) as u8).collect();
        fs::write(root.join(format!("text{bytes}")), text).unwrap();
    }
}

fn holes(root: &Path, draw: &mut Draw, variant: &str) {
    // Blocks far out need two lists, and three where blocks are small.
    let far = File::create(root.join("far")).unwrap();
    let small = ["ext3", "lists-in-ext4", "1-KiB-blocks"].contains(&variant);
    let step = if small { 24 << 20 } else { 2 << 20 };
    for piece in 0..4 {
        far.write_all_at(&draw.bytes(3000), piece * step).unwrap();
    }
    // Every second block: more pieces than an inode has room for.
    let sieve = File::create(root.join("sieve")).unwrap();
    for piece in 0..400 {
        sieve.write_all_at(&draw.bytes(1000), piece * 8192).unwrap();
    }
    // Blocks that are taken away, and some that are only promised: not every variant has them.
    let punched = File::create(root.join("punched")).unwrap();
    punched.write_all_at(&draw.bytes(200_000), 0).unwrap();
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for piece in 0..6 {
        where_known(fallocate(&punched, hole, piece * 32_768 + 16_384, 16_384));
    }
    let promised = File::create(root.join("promised")).unwrap();
    where_known(fallocate(&promised, FallocateFlags::empty(), 0, 100_000));
    promised.write_all_at(b"in the middle", 50_000).unwrap();
    where_known(fallocate(
        &promised,
        FallocateFlags::KEEP_SIZE,
        100_000,
        65_536,
    ));
}

/// Lists of blocks can promise nothing.
fn where_known(done: rustix::io::Result<()>) {
    assert!(matches!(done, Ok(()) | Err(Errno::OPNOTSUPP)), "{done:?}");
}

fn long_directories(root: &Path, draw: &mut Draw) {
    texts(root);
    let long = root.join("long");
    fs::create_dir(&long).unwrap();
    let name = |number: usize| long.join(format!("{number}-{}", "x".repeat(number % 60)));
    for number in 0..FILES {
        let bytes = draw.below(120);
        fs::write(name(number), draw.bytes(bytes)).unwrap();
    }
    for number in (0..FILES).step_by(17) {
        fs::remove_file(name(number)).unwrap();
    }
    for number in (1..FILES).step_by(17) {
        fs::rename(name(number), root.join(format!("moved{number}"))).unwrap();
    }
    let names = root.join("names");
    fs::create_dir(&names).unwrap();
    for number in 0..NAMES {
        let name = format!("{number}-{}", "y".repeat(number % 50));
        fs::hard_link(root.join("bytes100000"), names.join(name)).unwrap();
    }
}

fn nodes(root: &Path, variant: &str) {
    let make = |name: &str, kind, device| {
        mknodat(
            CWD,
            root.join(name),
            kind,
            Mode::from_raw_mode(0o640),
            device,
        )
        .unwrap();
    };
    // XFS has room for 512.
    let major = if variant.starts_with("xfs") { 500 } else { 700 };
    make("sda1", FileType::BlockDevice, makedev(8, 1));
    make(
        "far-device",
        FileType::CharacterDevice,
        makedev(major, 60_000),
    );
    make("pipe", FileType::Fifo, 0);
    make("socket", FileType::Socket, 0);
}

fn owners_and_times(root: &Path, draw: &mut Draw, variant: &str) {
    let mode = |name: &str, mode| {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("bytes1", 0o4751);
    mode("bytes59", 0o0000);
    mode("deep", 0o3777);
    lchown(root.join("bytes60"), Some(70_001), Some(70_002)).unwrap();
    lchown(root.join("link60"), Some(1), Some(4_000_000_000)).unwrap();
    // From 1901 to 2446; to 2038 where there is no place for more.
    let last = if variant == "128-byte-inodes" {
        0x7fff_ffff
    } else {
        0x3_7fff_ffff
    };
    for (name, seconds) in [("bytes61", -0x7fff_ffff), ("bytes159", last), ("names", -1)] {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: draw.below(1_000_000_000) as i64,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, root.join(name), &times, AtFlags::empty()).unwrap();
    }
}

fn attributes(root: &Path, draw: &mut Draw, variant: &str) {
    let mut set = |path: &str, name: &str, bytes: usize| {
        let value = draw.bytes(bytes);
        lsetxattr(root.join(path), name, &value, XattrFlags::empty())
            .unwrap_or_else(|error| panic!("{variant}: {path} {name} {bytes}: {error}"));
    };
    set("bytes0", "user.short", 5);
    set("bytes0", "user.empty", 0);
    set("bytes4096", "trusted.one", 20);
    set("bytes4096", "security.selinux", 30);
    set("bytes4097", "user.long", 700);
    set("bytes4097", "user.other", 40);
    set("deep", "user.directory", 300);
    set("link1000", "trusted.link", 10);
    // Two files with the same attributes may share a block.
    for path in ["one", "other"] {
        let same = [7; 500];
        lsetxattr(root.join(path), "user.same", &same, XattrFlags::empty()).unwrap();
    }
    if variant == "ea_inode" {
        set("bytes4095", "user.huge", 60_000);
        set("bytes4095", "user.large", 5000);
    }
}

/// What is there, in its place, before the files that are new.
pub(crate) fn before(root: &Path) {
    fs::create_dir(root.join("named")).unwrap();
    fs::write(root.join("named/kept"), b"kept").unwrap();
    fs::create_dir(root.join("new")).unwrap();
}

/// The path of a new file.
pub(crate) fn new_path(number: usize) -> String {
    format!("/new/file-{number}")
}

/// Its data: up to two blocks.
pub(crate) fn new_data(number: usize) -> Vec<u8> {
    let mut draw = Draw(number as u64);
    let bytes = draw.below(8000);
    draw.bytes(bytes)
}

/// Makes the new files and gives a directory another name; the `fsync` of one more file makes all of
/// it durable, for one transaction holds it.
pub(crate) fn new_files(root: &Path) {
    for number in 0..NEW {
        fs::write(root.join(&new_path(number)[1..]), new_data(number)).unwrap();
    }
    fs::rename(root.join("named"), root.join("renamed")).unwrap();
    let last = File::create(root.join("last")).unwrap();
    last.write_all_at(b"last", 0).unwrap();
    last.sync_all().unwrap();
}

/// Entries that a plain tree has more than.
pub(crate) const PLAIN_MIN: usize = 500;

/// A tree for file systems that have neither links nor owners.
pub(crate) fn make_plain(root: &Path, seed: u64) {
    let mut draw = Draw(seed);
    for bytes in [0, 1, 511, 512, 513, 4096, 100_000, 1_500_000] {
        fs::write(root.join(format!("bytes{bytes}")), draw.bytes(bytes)).unwrap();
    }
    let long = root.join("long");
    fs::create_dir(&long).unwrap();
    let name = |number: usize| long.join(format!("{number} {}.Txt", "ä".repeat(number % 60)));
    for number in 0..FILES {
        let bytes = draw.below(900);
        fs::write(name(number), draw.bytes(bytes)).unwrap();
    }
    for number in (0..FILES).step_by(17) {
        fs::remove_file(name(number)).unwrap();
    }
    for number in (1..FILES).step_by(17) {
        fs::rename(name(number), root.join(format!("moved{number}"))).unwrap();
    }
    let mut deep = root.join("deep");
    for level in 0..20 {
        deep.push(format!("LEVEL{level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom.txt"), b"20").unwrap();
    fs::write(root.join("n".repeat(255)), b"a long name").unwrap();
    for (name, data) in [
        ("UPPER.TXT", 1),
        ("lower.txt", 2),
        ("Mixed.Txt", 3),
        ("漢字", 4),
    ] {
        fs::write(root.join(name), [data]).unwrap();
    }
    let pair = ["one", "other"].map(|name| File::create(root.join(name)).unwrap());
    for piece in 0..40 {
        for file in &pair {
            file.write_all_at(&draw.bytes(5000), piece * 5000).unwrap();
            file.sync_data().unwrap();
        }
    }
    fs::set_permissions(root.join("bytes1"), fs::Permissions::from_mode(0o444)).unwrap();
}
