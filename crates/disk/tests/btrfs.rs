//! btrfs, held to what mkfs.btrfs made and `btrfs inspect-internal` tells.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::{FileSource, run, tree};
use disk::btrfs::Btrfs;
use disk::system::{Class, FileSystem, SystemError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Makes an image of a directory.
fn make(image: &Path, from: &Path, options: &str) {
    let made = std::fs::File::create(image).unwrap();
    made.set_len(300 << 20).unwrap();
    let mut arguments = vec!["-q", "--rootdir", from.to_str().unwrap()];
    arguments.extend(options.split_whitespace());
    arguments.push(image.to_str().unwrap());
    run("mkfs.btrfs", &arguments);
}

const KINDS: [&str; 4] = [
    "",
    "-n 4096 -m single",
    "-m dup -O ^no-holes",
    "--mixed -n 4096 -s 4096 --csum xxhash",
];

#[test]
fn what_was_put_in_is_told() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    std::fs::create_dir(&from).unwrap();
    tree::fill(&from, 7, 700);
    tree::fill_links(&from);
    tree::fill_sparse(&from);
    let expected = tree::on_host(&from);
    for (index, options) in KINDS.into_iter().enumerate() {
        let image = directory.path().join(format!("image{index}"));
        make(&image, &from, options);
        let btrfs = Btrfs::open(FileSource::open(&image)).unwrap();
        assert!(btrfs.notes().is_empty(), "{options}: {:?}", btrfs.notes());
        tree::assert_same_nodes(&tree::told(&btrfs), &expected);
        let classes = tree::classes(&btrfs);
        for class in ["Superblock", "Map", "File", "Free"] {
            assert!(classes.contains_key(class), "{options}: {classes:?}");
        }
        blocks(&image, &btrfs);
        std::fs::remove_file(&image).unwrap();
    }
}

/// Holds trees, and extents with the inodes that they belong to, to the whole of the tool's word.
fn blocks(image: &Path, btrfs: &Btrfs) {
    let path = image.to_str().unwrap();
    let layout = btrfs.layout().unwrap();
    let chunks = chunks(&run(
        "btrfs",
        &["inspect-internal", "dump-tree", "-t", "chunk", path],
    ));
    let place = |address: u64| {
        let (start, to) = chunks.range(..=address).next_back().unwrap();
        (to + address - start) / 4096
    };
    let said = run(
        "btrfs",
        &["inspect-internal", "dump-tree", "-t", "extent", path],
    );
    let (mut trees, mut files) = (0, 0);
    let mut address = 0;
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(key) = words.iter().position(|word| *word == "key")
            && matches!(words.get(key + 2), Some(&"EXTENT_ITEM" | &"METADATA_ITEM"))
        {
            address = words[key + 1].trim_start_matches('(').parse().unwrap();
        }
        if words.contains(&"TREE_BLOCK") || words.contains(&"TREE_BLOCK|FULL_BACKREF") {
            let owner = layout.at(place(address));
            assert_eq!(owner.class, Class::Map, "{line}");
            trees += 1;
        }
        // "extent data backref root FS_TREE objectid 260 offset 0 count 1"
        if line.contains("extent data backref root FS_TREE") {
            let at = words.iter().position(|word| *word == "objectid").unwrap();
            let inode: u64 = words[at + 1].parse().unwrap();
            let owner = layout.at(place(address));
            assert_eq!(
                (owner.class, owner.object),
                (Class::File, Some(inode)),
                "{line}"
            );
            files += 1;
        }
    }
    assert!(trees > 3 && files > 100, "{trees} {files}");
}

/// Where chunks lie: the first copy of each.
fn chunks(said: &str) -> BTreeMap<u64, u64> {
    let mut chunks = BTreeMap::new();
    let mut address = None;
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.contains("CHUNK_ITEM") {
            let word = words.iter().find(|word| word.ends_with(')')).unwrap();
            address = Some(word.trim_end_matches(')').parse().unwrap());
        }
        // "stripe 0 devid 1 offset 22020096"
        if line.contains("stripe 0 devid 1")
            && let Some(address) = address
        {
            chunks.insert(address, words[5].parse().unwrap());
        }
    }
    chunks
}

#[test]
fn what_is_no_btrfs_is_said() {
    let error = Btrfs::open(Arc::new(vec![0; 1 << 20])).unwrap_err();
    assert!(matches!(error, SystemError::Not { .. }), "{error}");
}
