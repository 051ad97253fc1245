//! Hostile disks: 20,000 that are damaged with intent are told of by volumes and files, compared with
//! what they were, and every block of them is classed, with little memory and time.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

#[path = "../../disk/tests/common/mod.rs"]
mod common;

use common::Draw;
use common::ext::make;
use common::small::{confine, damage, in_a_process_of_its_own, timed};
use disk::Source;
use image::files::{DiskFiles, Ranges, attribute, diff_disks};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const DISKS: u64 = 20_000;

const KINDS: [&str; 3] = [
    "-t ext2 -b 1024",
    "-t ext4 -b 1024 -O ^has_journal",
    "-t ext4 -b 1024 -O inline_data,ea_inode,^has_journal",
];

fn make_all(directory: &Path) {
    let tree = directory.join("tree");
    std::fs::create_dir_all(tree.join("below/below")).unwrap();
    std::fs::write(tree.join("small"), b"small").unwrap();
    std::fs::write(tree.join("below/large"), Draw(1).bytes(20_000)).unwrap();
    for number in 0..20 {
        std::fs::write(tree.join(format!("below/below/name{number}")), b"x").unwrap();
    }
    std::os::unix::fs::symlink("y".repeat(100), tree.join("below/link")).unwrap();
    for (index, options) in KINDS.iter().enumerate() {
        let image = directory.join(format!("image{index}"));
        make(&image, &tree, &format!("{options} -N 64"), "200K");
    }
}

/// The superblock, the first descriptors, the blocks that are neither empty nor noise.
fn places(image: &[u8]) -> Vec<(usize, usize)> {
    let blocks = image.chunks(1024).enumerate();
    let is_structure = |bytes: &[u8]| {
        let zeros = bytes.iter().filter(|byte| **byte == 0).count();
        zeros > 100 && zeros < bytes.len()
    };
    let structures = blocks.filter(|(_, bytes)| is_structure(bytes));
    let mut places: Vec<_> = structures.map(|(index, _)| (index * 1024, 1024)).collect();
    places.extend([(1024, 400), (2048, 128)]);
    places
}

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let directory = std::env::var("VARDOGER_TEST_IMAGES").unwrap();
    let each = (0..KINDS.len()).map(|index| {
        let path = Path::new(&directory).join(format!("image{index}"));
        std::fs::read(path).unwrap()
    });
    let corpus: Vec<Vec<u8>> = each.collect();
    let places: Vec<_> = corpus.iter().map(|image| places(image)).collect();
    confine();
    let sound: Vec<DiskFiles> = corpus
        .iter()
        .map(|image| DiskFiles::read(&[Arc::new(image.clone()) as Source]))
        .collect();
    let (mut readable, mut events) = (0, 0);
    for number in 0..DISKS {
        let mut draw = Draw(number);
        let index = draw.below(KINDS.len());
        let mut image = corpus[index].clone();
        let other = &corpus[draw.below(KINDS.len())];
        damage(&mut image, other, &places[index], &mut draw);
        let bytes = image.len() as u64;
        timed(number, || {
            let files = DiskFiles::read(&[Arc::new(image) as Source]);
            readable += files.readable().count();
            let all = Ranges::all(bytes);
            for (before, after) in [(&sound[index], &files), (&files, &sound[index])] {
                for volume in diff_disks(before, after, &[all.clone().into()]) {
                    events += volume.files.map_or(0, |diff| diff.events.len());
                }
            }
            if let Ok(owned) = attribute(&files, std::slice::from_ref(&all)) {
                let told: u64 = owned
                    .iter()
                    .map(|one| one.bytes.end - one.bytes.start)
                    .sum();
                assert_eq!(told, bytes, "disk {number}: what is told covers all of it");
            }
        });
    }
    // Most damage is told of, and hides nothing else.
    assert!(readable > 5000, "{readable}");
    assert!(events > 5000, "{events}");
}

#[test]
fn no_hostile_disk_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make_all(directory.path());
    in_a_process_of_its_own("in_a_small_process", directory.path());
}
