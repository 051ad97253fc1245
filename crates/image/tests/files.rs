//! File events between two images that e2fsprogs has made and changed, against a record of what was
//! done; and what the blocks that differ are, against what debugfs says of them.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

#[path = "../../disk/tests/common/mod.rs"]
mod common;
mod deeds;

use deeds::{History, Variant};
use disk::Source;
use image::files::{
    Change, DiskFiles, FileEvent, Ranges, VolumeDiff, compare_disks, diff, diff_disks, on_a_thread,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An event as the record writes it.
fn told(event: &FileEvent) -> String {
    let path = String::from_utf8_lossy(&event.path);
    let name = event.change.name();
    match &event.change {
        Change::Renamed { from } => format!("{name} {} -> {path}", String::from_utf8_lossy(from)),
        Change::Modified { ranges } => format!("{name} {path} {ranges:?}"),
        Change::Appended { range } => format!("{name} {path} {range:?}"),
        Change::Metadata { fields } => {
            let fields: Vec<_> = fields.iter().map(|field| field.name()).collect();
            format!("{name} {path} {fields:?}")
        }
        _ => format!("{name} {path}"),
    }
}

fn check(history: &History, what: &str, dirty: Ranges) {
    let read = |source: &Source| DiskFiles::read(std::slice::from_ref(source));
    let (before, after) = (read(&history.before()), read(&history.after()));
    check_told(history, what, diff_disks(&before, &after, &[dirty.into()]));
}

fn check_told(history: &History, what: &str, mut volumes: Vec<VolumeDiff>) {
    let found = volumes.pop().unwrap().files.unwrap();
    assert!(found.damage.is_empty(), "{what}: {:?}", found.damage);
    let told: Vec<_> = found.events.iter().map(told).collect();
    let expected = history.expected();
    let set: BTreeSet<_> = told.iter().cloned().collect();
    assert_eq!(set.len(), told.len(), "{what}: an event is told twice");
    let missing: Vec<_> = expected.difference(&set).collect();
    let wrong: Vec<_> = set.difference(&expected).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "{what}: missing {missing:#?}, wrong {wrong:#?}"
    );
    let paths: Vec<_> = found.events.iter().map(|event| &event.path).collect();
    assert!(paths.is_sorted());
    for event in &found.events {
        assert_eq!(event.before.is_none(), event.change == Change::Created);
        assert_eq!(event.after.is_none(), event.change == Change::Deleted);
    }
}

#[test]
fn what_was_done_to_files_is_told_and_nothing_else() {
    for (seed, variant) in Variant::all().into_iter().enumerate() {
        let history = History::new(seed as u64, &variant);
        let (before, after) = (history.before(), history.after());
        let compared = compare_disks(&before, &after, &on_a_thread).unwrap();
        check_told(&history, variant.name, compared.diff());
        // Less is known of what may differ, or nothing: the same is told.
        let dirty = compared.dirty.blocks;
        check(&history, variant.name, dirty.clone());
        let all = Ranges::all(disk::ReadAt::size_bytes(&*after));
        check(&history, variant.name, all);
        attributed(&history, &variant, &dirty);
    }
}

/// Holds the class of every block that differs to what debugfs says of it.
fn attributed(history: &History, variant: &Variant, dirty: &Ranges) {
    let after = history.after();
    let files = DiskFiles::read(std::slice::from_ref(&after));
    let owned = image::files::attribute(&files, std::slice::from_ref(dirty)).unwrap();
    let mut covered = Vec::new();
    let mut blocks = Vec::new();
    for one in &owned {
        covered.push(one.bytes.clone());
        let mut at = one.bytes.start;
        while at < one.bytes.end {
            blocks.push((at / variant.block_bytes, one));
            at = (at / variant.block_bytes + 1) * variant.block_bytes;
        }
    }
    assert_eq!(Ranges::new(covered), *dirty, "{}", variant.name);
    let truth = history.owners(&blocks.iter().map(|(block, _)| *block).collect::<Vec<_>>());
    let paths = owned.iter().filter_map(|one| one.path.as_deref());
    let inodes = history.inodes_of(paths.collect());
    for ((block, one), (inode, used)) in blocks.iter().zip(truth) {
        let what = format!("{}: block {block} {one:?}", variant.name);
        let class = one.class.name();
        match inode {
            // The journal and the file that keeps room for descriptors have no name.
            Some(7) => assert_eq!(class, "descriptors", "{what}"),
            Some(8) => assert_eq!(class, "journal", "{what}"),
            Some(inode) => {
                assert_eq!(one.object.map(|id| id.0), Some(inode), "{what}");
                let named = ["file", "directory", "symlink", "map", "attributes"];
                assert!(named.contains(&class), "{what}");
            }
            None if !used => assert_eq!(class, "free", "{what}"),
            None => {
                let own = ["superblock", "descriptors", "bitmap", "inode-table", "boot"];
                assert!(own.contains(&class) || class == "attributes", "{what}");
            }
        }
        if let Some(path) = &one.path {
            assert_eq!(
                inodes.get(path).copied(),
                one.object.map(|id| id.0),
                "{what}"
            );
        }
    }
}

#[test]
fn an_image_does_not_differ_from_itself() {
    let history = History::new(7, &Variant::all()[0]);
    let read = || DiskFiles::read(&[history.before()]);
    let size = disk::ReadAt::size_bytes(&*history.before());
    let found = diff_disks(&read(), &read(), &[Ranges::all(size).into()]);
    let found = found.into_iter().next().unwrap().files.unwrap();
    assert!(found.events.is_empty(), "{:?}", found.events);
}

#[test]
fn files_that_are_told_can_be_read() {
    let history = History::new(8, &Variant::all()[1]);
    let files = DiskFiles::read(&[history.before()]);
    let (_, files) = files.readable().next().unwrap();
    let mut read = 0;
    for (path, content) in history.contents() {
        let object = files.tree.find(path.as_bytes()).unwrap();
        let source = files.open(object.id).unwrap();
        common::assert_same(&common::read_all(&source), content, path);
        assert_eq!(files.tree.path(object.id).as_deref(), Some(path.as_bytes()));
        read += 1;
    }
    assert!(read > 200);
    assert!(files.tree.find(b"/no/such").is_none());
    let root = files.tree.find(b"/").unwrap();
    assert_eq!(files.tree.children(root.id).count(), 13 + 1);
}

#[test]
fn what_cannot_be_read_is_said() {
    let zeros: Source = Arc::new(vec![0; 1 << 20]);
    let files = DiskFiles::read(&[Arc::clone(&zeros)]);
    let said = files.volumes[0].files.as_ref().unwrap_err().to_string();
    assert!(said.contains("no known file system"), "{said}");
    let owned = image::files::attribute(&files, &[Ranges::all(4096)]).unwrap();
    assert_eq!(owned[0].class.name(), "unread");
    let history = History::new(9, &Variant::all()[0]);
    let other = DiskFiles::read(&[history.before()]);
    let (_, same) = other.readable().next().unwrap();
    assert!(
        diff(same, same, &Ranges::default().into())
            .unwrap()
            .events
            .is_empty()
    );
    let found = diff_disks(&files, &other, &[Ranges::all(1 << 20).into()]);
    assert!(found[0].files.is_err());
}

/// Bytes turned round behind the file system's back: what has another checksum than it says is named,
/// and everything is told all the same.
#[test]
fn wrong_checksums_are_told_and_hide_nothing() {
    let source = History::new(9, &Variant::all()[0]).before();
    let mut bytes = vec![0; source.size_bytes() as usize];
    source.read_exact_at(0, &mut bytes).unwrap();
    let told = |bytes: &[u8]| {
        let disk = DiskFiles::read(&[Arc::new(bytes.to_vec()) as Source]);
        let (_, files) = disk.readable().next().unwrap();
        let number = files.tree.find(b"/d1/f1").unwrap().id.0;
        let entries = files.tree.entries().count();
        (files.system.notes(), number, entries)
    };
    let (notes, number, entries) = told(&bytes);
    assert!(notes.is_empty(), "{notes:?}");
    let image = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(image.path(), &bytes).unwrap();
    let said = common::ext::debugfs(image.path(), false, &[format!("imap <{number}>")]);
    let place = said.split("located at block ").nth(1).unwrap();
    let (block, rest) = place.split_once(", offset 0x").unwrap();
    let within = rest.split_whitespace().next().unwrap();
    let within = usize::from_str_radix(within, 16).unwrap();
    // The inode's group.
    bytes[block.parse::<usize>().unwrap() * 4096 + within + 24] ^= 1;
    let inode = format!("inode {number}");
    let expected = format!("checksums do not match: {inode}");
    assert_eq!(told(&bytes), (vec![expected], number, entries));
    // The name of the file system, and how many blocks of the first group are free.
    bytes[1024 + 120] ^= 1;
    bytes[4096 + 12] ^= 1;
    let expected = format!("checksums do not match: the superblock; group 0; {inode}");
    assert_eq!(told(&bytes), (vec![expected], number, entries));
}
