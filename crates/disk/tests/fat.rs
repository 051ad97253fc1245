//! FAT, held to what mkfs.fat and mtools made.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::tree::{self, Node};
use common::{FileSource, run};
use disk::fat::Fat;
use disk::system::{FileSystem, SystemError};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Makes an image of a directory by two tools.
fn make(image: &Path, from: &Path, options: &[&str], kibibytes: &str) {
    let image = image.to_str().unwrap();
    let mut arguments = vec!["-C"];
    arguments.extend(options);
    arguments.extend([image, kibibytes]);
    run("mkfs.fat", &arguments);
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        // Names are in the machine's own encoding, which must be one that has them.
        let arguments = ["LC_ALL=C.UTF-8", "mcopy", "-s", "-m", "-Q", "-i", image];
        run(
            "env",
            &[&arguments[..], &[entry.to_str().unwrap(), "::"]].concat(),
        );
    }
}

const KINDS: [(&[&str], &str); 6] = [
    (&["-F", "12", "-s", "8"], "8000"),
    (&["-F", "16"], "20000"),
    (&["-F", "16", "-S", "2048", "-f", "1"], "40000"),
    (&["-F", "32", "-s", "1"], "40000"),
    (&["-F", "32", "-S", "4096", "-s", "1"], "280000"),
    (&["-F", "32", "-s", "2", "-n", "LABEL"], "80000"),
];

#[test]
fn what_was_copied_is_told() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    std::fs::create_dir(&from).unwrap();
    tree::fill(&from, 1, 300);
    let expected = tree::on_host(&from);
    for (index, (options, kibibytes)) in KINDS.into_iter().enumerate() {
        let image = directory.path().join(format!("image{index}"));
        make(&image, &from, options, kibibytes);
        let fat = Fat::open(FileSource::open(&image)).unwrap();
        assert!(fat.notes().is_empty(), "{options:?}");
        tree::assert_same_nodes(&tree::told(&fat), &expected);
        let classes = tree::classes(&fat);
        for class in ["Superblock", "Map", "Directory", "File", "Free"] {
            assert!(
                classes.contains_key(class),
                "{options:?}: no {class} in {classes:?}"
            );
        }
        free_space(&image, &fat, &classes);
        std::fs::remove_file(&image).unwrap();
    }
}

/// Holds the free blocks to the clusters that fsck.fat counts.
fn free_space(image: &Path, fat: &Fat, classes: &std::collections::BTreeMap<String, u64>) {
    let said = run("fsck.fat", &["-n", "-v", image.to_str().unwrap()]);
    let number = |before: &str| {
        let line = said.lines().find(|line| line.contains(before)).unwrap();
        let line = line.replace(before, "");
        let words = line.split_whitespace();
        words
            .filter_map(|word| word.parse::<u64>().ok())
            .next()
            .unwrap()
    };
    let counts = said.lines().last().unwrap();
    let (used, all) = counts
        .split_whitespace()
        .filter_map(|word| word.split_once('/'))
        .next_back()
        .unwrap();
    let free: u64 = all.parse::<u64>().unwrap() - used.parse::<u64>().unwrap();
    let cluster = number("bytes per cluster");
    assert_eq!(
        classes["Free"] * fat.block_bytes(),
        free * cluster,
        "{said}"
    );
}

#[test]
fn times_and_marks_are_told() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    std::fs::create_dir(&from).unwrap();
    let file = from.join("Times.txt");
    std::fs::write(&file, b"x").unwrap();
    // mcopy takes the time from the file, in the zone of the machine: `run` leaves that as it is.
    run(
        "touch",
        &["-d", "2001-02-03T04:05:06", file.to_str().unwrap()],
    );
    let image = directory.path().join("image");
    make(&image, &from, &["-F", "16"], "20000");
    run(
        "mattrib",
        &["+r", "+h", "-i", image.to_str().unwrap(), "::Times.txt"],
    );
    let fat = Fat::open(FileSource::open(&image)).unwrap();
    let objects = tree::objects(&fat);
    let paths = tree::paths(&fat, &objects);
    let object = &objects[&paths[b"/Times.txt".as_slice()]];
    assert_eq!(object.modified.seconds, 981_173_106);
    assert_eq!((object.mode, object.flags & 3), (0o100_555, 3));
    assert_eq!(object.size_bytes, 1);
}

#[test]
fn deleted_files_are_not_told() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    std::fs::create_dir(&from).unwrap();
    tree::fill(&from, 2, 50);
    let image = directory.path().join("image");
    make(&image, &from, &["-F", "32", "-s", "1"], "40000");
    let path = image.to_str().unwrap();
    for number in (0..50).step_by(2) {
        run(
            "mdel",
            &["-i", path, &format!("::many/file number {number}.dat")],
        );
    }
    run(
        "mren",
        &[
            "-i",
            path,
            "::many/file number 1.dat",
            "::many/another name.dat",
        ],
    );
    run("mdeltree", &["-i", path, "::Some Directory"]);
    let mut expected = tree::on_host(&from);
    let gone = |path: &[u8]| {
        let path = std::str::from_utf8(path).unwrap();
        let number = path.strip_prefix("/many/file number ");
        let number = number.and_then(|rest| rest.strip_suffix(".dat")?.parse::<u32>().ok());
        path.starts_with("/Some Directory") || number.is_some_and(|number| number % 2 == 0)
    };
    expected.retain(|path, _| !gone(path));
    let renamed = expected
        .remove(b"/many/file number 1.dat".as_slice())
        .unwrap();
    expected.insert(b"/many/another name.dat".to_vec(), renamed);
    let fat = Fat::open(FileSource::open(&image)).unwrap();
    tree::assert_same_nodes(&tree::told(&fat), &expected);
    assert!(matches!(expected[b"/empty".as_slice()], Node::Directory));
}

#[test]
fn what_is_no_fat_is_said() {
    for bytes in [vec![0; 512], vec![0xff; 4096], b"FAT".to_vec()] {
        let error = Fat::open(Arc::new(bytes)).unwrap_err();
        assert!(
            matches!(error, SystemError::Not { .. } | SystemError::Read { .. }),
            "{error}"
        );
    }
}
