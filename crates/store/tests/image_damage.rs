//! Flipped bits in the files of an image: every one is found, and named by its file.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod image_support;

use image::check::{Level, check};
use image_support::{Acknowledged, NAME, check_store, script};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use store::{Images, Shelf};

const FLIPS: usize = 1000;

/// All blobs of an image and their lengths.
fn files(shelf: &Shelf) -> Vec<(String, u64)> {
    let names = image::blobs::Blobs::list(shelf, "").unwrap();
    let length = |name: &String| image::blobs::Blobs::length(shelf, name).unwrap();
    names
        .into_iter()
        .map(|name| (name.clone(), length(&name)))
        .collect()
}

fn flip(path: &Path, at: u64, bit: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

#[test]
fn every_flipped_bit_on_disk_is_found() {
    let place = tempfile::tempdir().unwrap();
    script(place.path(), 6, |_, _| {}).unwrap();
    let images = Images::open(place.path()).unwrap();
    let shelf = images.read(NAME).unwrap();
    let files = files(&shelf);
    let all: u64 = files.iter().map(|(_, length)| length).sum();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut packs, mut changesets) = (0, 0);
    for round in 0..FLIPS {
        // Half of them anywhere; half in any file, since most bytes are in few.
        let mut at = random.next_u64() % all;
        let mut file = files.iter().position(|(_, length)| {
            let here = at < *length;
            at -= if here { 0 } else { *length };
            here
        });
        if round % 2 == 0 {
            let number = random.next_u64() as usize % files.len();
            file = Some(number);
            at = random.next_u64() % files[number].1;
        }
        let (name, _) = &files[file.unwrap()];
        let path: PathBuf = shelf.path().join(name);
        let bit = random.next_u64() % 8;
        flip(&path, at, bit);
        let report = check(&shelf, Level::ReadData, NonZeroUsize::MIN).unwrap();
        assert!(
            report.damages.iter().any(|damage| damage.blob == *name),
            "byte {at} of {name}"
        );
        flip(&path, at, bit);
        packs += usize::from(name.starts_with("packs/"));
        changesets += usize::from(name.starts_with("changesets/"));
    }
    assert!(
        packs > 300 && changesets > 200,
        "{packs} in packs, {changesets} in changesets"
    );
    assert_eq!(check_store(place.path(), Acknowledged::default()), Ok(()));
}
