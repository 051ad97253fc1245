//! Fast commits of ext4, against the kernel's own replay of them.
//!
//! ```text
//! mke2fs -O fast_commit ─► guest: files, links, names, fsync, power loss ─► disk ─┬─► our reader ─► list
//!                                                  copy, guest: mount, list ──────┴───────────────► list
//! ```
//!
//! A kernel that replays gives directories whose names it changes the time of the replay, and the
//! blocks that they need then: of them, times and sizes are not compared. e2fsck 1.47 is no second
//! witness: it gives up at the first new directory, for which it has no room.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::{Draw, FileSource, Reader, run};
use disk::ext::{Class, Ext, FileKind, FileTime};
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use workshop::inside::{self, Entry};
use workshop::{Disk, Workshop};

/// What mke2fs is told of each disk.
const KINDS: [&str; 3] = [
    "-t ext4 -b 4096 -O fast_commit -J size=8,fast_commit_size=2048",
    "-t ext4 -b 1024 -O fast_commit,inline_data -J size=8,fast_commit_size=1024",
    "-t ext4 -b 1024 -O fast_commit,^metadata_csum -J size=8,fast_commit_size=1024",
];

/// How often the guest makes something durable after the last whole commit.
const ROUNDS: usize = 25;

/// Files that were there before, and how many are new in each round.
const FILES: usize = 300;
const NEW: usize = 12;

fn old(number: usize) -> String {
    format!("old{}/file-{number}", number % 3)
}

/// What is there before, and committed in the usual way.
fn before(root: &Path) {
    let mut draw = Draw(1);
    for number in 0..3 {
        fs::create_dir(root.join(format!("old{number}"))).unwrap();
    }
    for number in 0..FILES {
        let bytes = draw.below(9000);
        fs::write(root.join(old(number)), draw.bytes(bytes)).unwrap();
    }
    for number in 0..40 {
        fs::hard_link(
            root.join(old(number)),
            root.join(format!("old0/link-{number}")),
        )
        .unwrap();
    }
}

/// Something of all that a fast commit can hold; the last of it makes it durable.
fn round(root: &Path, number: usize, draw: &mut Draw) {
    let next = |kind: usize| root.join(old(number * 8 + kind));
    let new = |number: usize| root.join(format!("new{}", number / 5));
    let directory = new(number);
    if number.is_multiple_of(5) {
        fs::create_dir(&directory).unwrap();
    }
    for file in 0..NEW {
        let bytes = [draw.below(200), draw.below(20_000)][file % 2];
        fs::write(
            directory.join(format!("{number}-{file}")),
            draw.bytes(bytes),
        )
        .unwrap();
    }
    let appended = File::options().append(true).open(next(0)).unwrap();
    std::io::Write::write_all(&mut &appended, &draw.bytes(7000)).unwrap();
    let shorter = File::options().write(true).open(next(1)).unwrap();
    shorter.set_len(draw.below(3000) as u64).unwrap();
    let longer = File::options().write(true).open(next(2)).unwrap();
    longer.set_len(40_000).unwrap();
    longer.write_all_at(b"far out", 30_000).unwrap();
    fs::rename(next(3), directory.join(format!("renamed-{number}"))).unwrap();
    // Over another file.
    fs::rename(next(4), next(5)).unwrap();
    fs::remove_file(next(6)).unwrap();
    let changed = next(7);
    fs::set_permissions(&changed, fs::Permissions::from_mode(0o4751)).unwrap();
    lchown(&changed, Some(70_001), Some(number as u32)).unwrap();
    fs::hard_link(&changed, directory.join(format!("second-{number}"))).unwrap();
    fs::remove_file(root.join(format!("old0/link-{number}"))).unwrap();
    // There for less than a commit, and one whose number goes to another at once.
    fs::write(directory.join("short-lived"), b"gone").unwrap();
    fs::remove_file(directory.join("short-lived")).unwrap();
    fs::remove_file(directory.join(format!("{number}-0"))).unwrap();
    fs::write(directory.join(format!("{number}-again")), b"again").unwrap();
    if number > 0 && number.is_multiple_of(5) {
        fs::remove_file(new(number - 1).join(format!("{}-1", number - 1))).unwrap();
    }
    let mapped = File::create(directory.join(format!("{number}-pieces"))).unwrap();
    let pieces = [(0, 0u64), (1, 20_000), (2, 60_000)];
    for (seed, place) in pieces {
        mapped.write_all_at(&Draw(seed).bytes(5000), place).unwrap();
    }
    fallocate(&mapped, FallocateFlags::KEEP_SIZE, 100_000, 30_000).unwrap();
    mapped.sync_all().unwrap();
}

/// Runs inside the guest: see `workshop::inside`.
#[test]
#[ignore = "runs inside a guest, which another test boots"]
fn inside_a_guest() {
    let order = inside::order();
    match &order.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["before", root] => before(Path::new(root)),
        ["fast", root] => {
            let root = Path::new(root);
            // There is a transaction of which fast commits can be.
            fs::write(root.join("first"), b"first").unwrap();
            rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
            let mut draw = Draw(2);
            for number in 0..ROUNDS {
                round(root, number, &mut draw);
            }
        }
        ["list", root] => {
            let listed = inside::list(Path::new(root)).unwrap();
            let lines: Vec<_> = listed
                .iter()
                .map(|entry| format!("{}\n", told(entry)))
                .collect();
            inside::tell(lines.concat().as_bytes()).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// An entry without what a replay makes anew of a directory.
fn told(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if entry.mode >> 12 == 0x4 {
        entry.times = [(0, 0); 3];
        entry.size_bytes = 0;
    }
    entry
}

fn open(image: &Path) -> Ext {
    Ext::open(FileSource::open(image)).unwrap()
}

fn listed(ext: &Ext) -> Vec<Entry> {
    let mut listed: Vec<_> = ext
        .walk()
        .map(|entry| entry_of(ext, entry.unwrap()))
        .collect();
    listed.sort();
    listed.iter().map(told).collect()
}

fn entry_of(ext: &Ext, entry: disk::ext::Entry) -> Entry {
    let inode = entry.inode;
    let time = |time: FileTime| (time.seconds, time.nanoseconds);
    assert!(!inode.has_wrong_sum, "inode {}", inode.number);
    Entry {
        path: entry.path,
        inode: inode.number.into(),
        mode: inode.mode.into(),
        owner: (inode.uid, inode.gid),
        size_bytes: inode.size_bytes,
        links: inode.links.into(),
        device: inode.device(),
        times: [inode.modified, inode.changed, inode.accessed].map(time),
        born: inode.born.map(time),
        attributes: Default::default(),
        target: None,
        sum: (inode.kind() == FileKind::File).then(|| {
            let file = ext.open_file(&inode).unwrap();
            inside::sum(Reader::new(&file)).unwrap()
        }),
    }
}

fn assert_same(ours: &[Entry], theirs: &[String], what: &str) {
    let ours: Vec<_> = ours.iter().map(Entry::to_string).collect();
    let differing: Vec<_> = ours
        .iter()
        .filter(|line| !theirs.contains(line))
        .zip(theirs.iter().filter(|line| !ours.contains(line)))
        .take(5)
        .collect();
    assert!(
        differing.is_empty(),
        "{what}: ours and theirs: {differing:#?}"
    );
    assert_eq!(ours.len(), theirs.len(), "{what}");
    assert!(ours.len() > 600, "{what}: {}", ours.len());
}

/// Each block of a file is its own in both.
fn assert_same_owners(ours: &Ext, theirs: &Ext) {
    let (one, other) = (ours.layout().unwrap(), theirs.layout().unwrap());
    assert!(one.damaged().is_empty() && other.damaged().is_empty());
    let mut files = 0;
    for block in 0..ours.superblock().blocks {
        let (one, other) = (one.at(block), other.at(block));
        if one.class == Class::File || other.class == Class::File {
            assert_eq!(one, other, "block {block}");
            files += 1;
        }
        assert_ne!(one.class, Class::Unowned, "block {block}: {other:?}");
    }
    assert!(files > 300, "{files}");
}

#[test]
fn fast_commits_are_replayed_as_the_kernel_replays_them() {
    let place = tempfile::tempdir().unwrap();
    let path = |number: usize| -> PathBuf { place.path().join(format!("disk{number}.raw")) };
    let mut workshop = Workshop::new().hand().unwrap();
    let (mut make, mut list) = (String::new(), String::new());
    for (number, options) in KINDS.iter().enumerate() {
        let disk = Disk::create(&path(number), 64 << 20).unwrap();
        let image = path(number);
        let mut arguments = vec!["-q", "-F", "-N", "2048"];
        arguments.extend(options.split(' '));
        arguments.push(image.to_str().unwrap());
        run("mke2fs", &arguments);
        workshop = workshop.disk(disk);
        let device = char::from(b'a' + number as u8);
        let root = format!("/disk{number}");
        let mount = format!("mount -t ext4 -o noatime,commit=1000 /dev/vd{device} {root}");
        make += &format!(
            "mkdir {root}\n{mount}\nhand before {root}\numount {root}\n{mount}\nhand fast {root}\n"
        );
        list += &format!("mkdir {root}\n{mount}\nhand list {root}\numount {root}\nmark {number}\n");
    }
    let mut guest = workshop.boot(&(make + "mark durable\nsleep 1000")).unwrap();
    guest.wait_for("durable").unwrap();
    guest.cut_off();

    let recovered = |number: usize| path(number).with_extension("recovered");
    let mut workshop = Workshop::new().hand().unwrap();
    for number in 0..KINDS.len() {
        fs::copy(path(number), recovered(number)).unwrap();
        workshop = workshop.disk(Disk::raw(&recovered(number)));
    }
    let mut guest = workshop.boot(&list).unwrap();
    let said = (0..KINDS.len()).map(|number| guest.wait_for(&number.to_string()).unwrap());
    let said: Vec<_> = said.map(|said| String::from_utf8(said).unwrap()).collect();
    assert_eq!(guest.end().unwrap().code, 0);
    for (number, options) in KINDS.iter().enumerate() {
        let kernels: Vec<_> = said[number].lines().map(str::to_owned).collect();
        let ext = open(&path(number));
        let replay = ext.replay().unwrap();
        assert!(replay.fast_commits >= 20, "{options}: {replay:?}");
        assert_eq!(
            (
                replay.fast_left_out,
                replay.ends_damaged,
                replay.damaged_blocks
            ),
            (0, false, 0)
        );
        let ours = listed(&ext);
        assert_same(&ours, &kernels, options);
        assert_same_owners(&ext, &open(&recovered(number)));
        let names: BTreeSet<_> = ext.walk().map(|entry| entry.unwrap().path).collect();
        assert!(names.contains(b"/new4/24-pieces".as_slice()), "{options}");
    }
}
