//! Sums of metadata: those that e2fsprogs writes hold, and where a byte is changed we tell it as
//! e2fsck does, and read all the same.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::ext::{check_and_repair, debugfs, make, make_tree};
use common::{Draw, FileSource, TOOLS_PATH};
use disk::ext::{Class, Ext, WrongSums};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Without and with a seed of its own, with short and long descriptors; directories with hashes are
/// of one level and of two.
const KINDS: [&str; 3] = [
    "-t ext4 -b 4096",
    "-t ext4 -b 1024 -O metadata_csum_seed,^64bit",
    "-t ext4 -b 1024 -O large_dir",
];

/// Reads all that has sums.
fn wrong(image: &Path) -> (WrongSums, BTreeSet<u32>) {
    let ext = Ext::open(FileSource::open(image)).unwrap();
    let mut inodes = BTreeSet::new();
    for inode in ext.inodes().unwrap() {
        let inode = inode.unwrap();
        if inode.has_wrong_sum && inode.mode != 0 {
            inodes.insert(inode.number);
        }
        ext.map(&inode).unwrap();
        ext.attributes(&inode).unwrap();
    }
    let paths = ext.walk().filter(Result::is_ok).count();
    assert!(paths > 400, "{paths}");
    ext.check_bitmaps();
    (ext.wrong_sums(), inodes)
}

/// e2fsck finds something wrong with a sum.
fn e2fsck_complains(image: &Path, what: &str) {
    let mut command = Command::new("e2fsck");
    command.args(["-fn", image.to_str().unwrap()]);
    let output = command.env("PATH", TOOLS_PATH).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_ne!(output.status.code(), Some(0), "{what}: {said}");
    assert!(said.contains("checksum"), "{what}: {said}");
}

/// A block, the byte of it that is changed, and what is to be told.
type Case = (&'static str, u64, usize, WrongSums);

fn cases(ext: &Ext) -> Vec<Case> {
    let layout = ext.layout().unwrap();
    let blocks = 0..ext.superblock().blocks;
    let first = |class: Class| {
        blocks
            .clone()
            .find(|block| layout.at(*block).class == class)
            .unwrap()
    };
    let block_bytes = ext.superblock().block_bytes as usize;
    let node = blocks
        .clone()
        .find(|block| layout.at(*block).class == Class::Map && layout.at(*block).inode > Some(10))
        .unwrap();
    let many = ext.find(b"/many").unwrap();
    let map = ext.map(&many).unwrap();
    let of_many = |logical: u64| {
        let extent = map
            .extents
            .iter()
            .find(|one| (one.logical..one.end()).contains(&logical));
        let extent = extent.unwrap();
        extent.physical + logical - extent.logical
    };
    let directory = WrongSums {
        directories: BTreeSet::from([many.number]),
        ..WrongSums::default()
    };
    let bits = |of: fn(&mut WrongSums) -> &mut BTreeSet<u32>| {
        let mut told = WrongSums::default();
        of(&mut told).insert(0);
        told
    };
    let attributes = first(Class::Attributes);
    vec![
        (
            "block bitmap",
            first(Class::BlockBitmap),
            900,
            bits(|told| &mut told.block_bitmaps),
        ),
        (
            "inode bitmap",
            first(Class::InodeBitmap),
            20,
            bits(|told| &mut told.inode_bitmaps),
        ),
        (
            "extents",
            node,
            9,
            WrongSums {
                maps: BTreeSet::from([layout.at(node).inode.unwrap()]),
                ..WrongSums::default()
            },
        ),
        // The hash of the second entry.
        ("hashes", of_many(0), 32 + 8, directory.clone()),
        ("names", of_many(1), block_bytes - 3, directory),
        (
            "attributes",
            attributes,
            block_bytes - 2,
            WrongSums {
                attributes: BTreeSet::from([attributes]),
                ..WrongSums::default()
            },
        ),
    ]
}

#[test]
fn a_byte_that_was_changed_is_told_whatever_has_its_sum() {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    make_tree(&tree, &mut Draw(3), 2500);
    let value = place.path().join("value");
    std::fs::write(&value, vec![b'v'; 700]).unwrap();
    for options in KINDS {
        let image = place.path().join("image");
        make(&image, &tree, &format!("{options} -N 4096"), "48M");
        let attribute = format!("ea_set -f {} bytes20000 user.long", value.display());
        debugfs(&image, true, &[attribute]);
        check_and_repair(&image);
        assert_eq!(
            wrong(&image),
            (WrongSums::default(), BTreeSet::new()),
            "{options}"
        );
        let sound = std::fs::read(&image).unwrap();
        let ext = Ext::open(FileSource::open(&image)).unwrap();
        for (what, block, byte, expected) in cases(&ext) {
            let what = format!("{options}: {what}");
            let mut bytes = sound.clone();
            bytes[block as usize * ext.superblock().block_bytes as usize + byte] ^= 0x10;
            let damaged = place.path().join("damaged");
            std::fs::write(&damaged, bytes).unwrap();
            assert_eq!(wrong(&damaged), (expected, BTreeSet::new()), "{what}");
            e2fsck_complains(&damaged, &what);
        }
    }
}
