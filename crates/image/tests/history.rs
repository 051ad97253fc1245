//! Histories of drawn disks: every version reads as the disk was, and no damage goes unseen.

mod support;

use disk::{Content, ReadAt};
use image::BLOCK_BYTES;
use image::blobs::Blobs;
use image::changeset::{self, Kind};
use image::compare::changed_blocks;
use image::history::History;
use image::pack::{PackId, verify};
use image::writer::{About, ChangesetWriter, Cut, KnownUnits, Written};
use model::Timestamp;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::Arc;
use support::{BLOCK, Shadow, read};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_version_reads_as_the_disk_was(
        seed in any::<u64>(),
        disk_bytes in 1_usize..600 * BLOCK,
        resized in 1_usize..600 * BLOCK,
        steps in 1_usize..5,
    ) {
        let mut shadow = Shadow::new(seed, disk_bytes);
        for _ in 0..steps {
            shadow.step();
        }
        shadow.resize(resized);
        shadow.step();
        let history = History::open(&*shadow.blobs).unwrap();
        prop_assert_eq!(history.changesets(), shadow.history.changesets());
        for (sequence, expected) in shadow.versions.iter().enumerate() {
            let blobs: Arc<dyn Blobs> = Arc::clone(&shadow.blobs) as Arc<dyn Blobs>;
            let version = history.version(blobs, sequence as u64).unwrap();
            prop_assert_eq!(version.size_bytes(), expected.len() as u64);
            prop_assert!(&read(&version, 0..expected.len()) == expected, "version {}", sequence);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for _ in 0..20 {
                let from = (random.next_u64() % expected.len() as u64) as usize;
                let length = random.next_u64() as usize % (expected.len() - from + 1);
                prop_assert!(read(&version, from..from + length) == expected[from..from + length]);
                let stretch = version.stretch_at(from as u64).unwrap();
                let told = &expected[from..from + stretch.bytes as usize];
                prop_assert!(stretch.bytes > 0);
                prop_assert!(stretch.content == Content::Data || told.iter().all(|byte| *byte == 0));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn what_changed_is_found_without_being_told(
        seed in any::<u64>(),
        disk_bytes in 1_usize..600 * BLOCK,
        resized in 1_usize..600 * BLOCK,
        steps in 1_usize..4,
    ) {
        let mut shadow = Shadow::new(seed, disk_bytes);
        for _ in 0..steps {
            shadow.step();
        }
        shadow.resize(resized);
        shadow.step();
        for (sequence, before) in shadow.versions.iter().enumerate() {
            let blobs: Arc<dyn Blobs> = Arc::clone(&shadow.blobs) as Arc<dyn Blobs>;
            let version = shadow.history.version(blobs, sequence as u64).unwrap();
            for now in &shadow.versions {
                let mut reached = 0;
                let told = changed_blocks(&version, now, |at| reached = at).unwrap();
                prop_assert_eq!(reached, now.len() as u64);
                let told: Vec<u64> = told.into_iter().flatten().collect();
                prop_assert_eq!(&told, &differing(before, now));
            }
        }
    }
}

/// The blocks of `now` that are not as in `before`, block by block.
fn differing(before: &[u8], now: &[u8]) -> Vec<u64> {
    let block = |disk: &[u8], at: usize| {
        let mut bytes = disk.chunks(BLOCK).nth(at).unwrap_or_default().to_vec();
        bytes.resize(BLOCK, 0);
        bytes
    };
    let blocks = 0..now.len().div_ceil(BLOCK);
    let end = before.len().min(now.len());
    let cut = before.len() != now.len() && !end.is_multiple_of(BLOCK);
    // Beyond the end of what was, a block counts if it holds something; the cut one in any case.
    let changed =
        blocks.filter(|at| block(before, *at) != block(now, *at) || cut && *at == end / BLOCK);
    changed.map(|at| at as u64).collect()
}

#[test]
fn equal_content_is_kept_once() {
    let mut shadow = Shadow::new(1, 0);
    shadow.resize(512 * BLOCK);
    let noise: Vec<u8> = {
        let mut noise = vec![0; 64 * BLOCK];
        shadow.random.fill_bytes(&mut noise);
        noise
    };
    shadow.disk[..64 * BLOCK].copy_from_slice(&noise);
    shadow.capture(Kind::Increment, Cut::CHANGE, std::slice::from_ref(&(0..64)));
    let once = shadow.blobs.bytes();
    shadow.disk[128 * BLOCK..192 * BLOCK].copy_from_slice(&noise);
    shadow.disk[300 * BLOCK..364 * BLOCK].copy_from_slice(&noise);
    shadow.capture(Kind::Increment, Cut::CHANGE, &[128..192, 300..364]);
    let added = shadow.blobs.bytes() - once;
    assert!(added < 400, "{added} bytes for what was there already");
    // Also by who comes later, and reads what is known.
    shadow.known = shadow.history.known_units(&*shadow.blobs).unwrap();
    shadow.disk[400 * BLOCK..464 * BLOCK].copy_from_slice(&noise);
    shadow.capture(
        Kind::Increment,
        Cut::CHANGE,
        std::slice::from_ref(&(400..464)),
    );
    let again = shadow.blobs.bytes() - once - added;
    assert!(again < 400, "{again} bytes for what was there already");
}

#[test]
fn every_flipped_bit_is_found() {
    const FLIPS: usize = 1000;
    let mut shadow = Shadow::new(2, 300 * BLOCK);
    shadow.step();
    shadow.step();
    let names: Vec<String> = shadow.blobs.list("").unwrap();
    for _ in 0..FLIPS {
        let name = &names[shadow.draw(names.len() as u64) as usize];
        let length = shadow.blobs.length(name).unwrap();
        let sound = shadow.blobs.read(name, 0..length).unwrap();
        let mut damaged = sound.clone();
        let at = shadow.draw(length) as usize;
        damaged[at] ^= 1 << shadow.draw(8);
        shadow.blobs.put(name, &damaged).unwrap();
        let found = match name.strip_prefix("packs/") {
            Some(_) => verify(&*shadow.blobs, PackId::of_blob(name).unwrap()).is_err(),
            None => History::open(&*shadow.blobs).is_err(),
        };
        assert!(found, "a flip at byte {at} of {name}");
        // And whatever is read meanwhile is an error or right.
        if let Ok(history) = History::open(&*shadow.blobs) {
            let blobs: Arc<dyn Blobs> = Arc::clone(&shadow.blobs) as Arc<dyn Blobs>;
            let version = history.version(blobs, 2).unwrap();
            let from = shadow.draw(299) as usize * BLOCK;
            let mut bytes = vec![0; BLOCK];
            if version.read_exact_at(from as u64, &mut bytes).is_ok() {
                assert!(bytes == shadow.versions[2][from..from + BLOCK]);
            }
        }
        shadow.blobs.put(name, &sound).unwrap();
    }
}

#[test]
fn a_history_that_was_edited_is_refused() {
    let mut shadow = Shadow::new(3, 50 * BLOCK);
    shadow.step();
    shadow.step();
    let name = |written: &Written| changeset::blob(written.changeset.sequence, written.id);
    let names: Vec<String> = shadow.history.changesets().iter().map(name).collect();
    let blob = |name: &String| {
        let length = shadow.blobs.length(name).unwrap();
        shadow.blobs.read(name, 0..length).unwrap()
    };
    // One is taken out of the middle.
    let middle = blob(&names[1]);
    shadow.blobs.remove(&names[1]).unwrap();
    assert!(History::open(&*shadow.blobs).is_err());
    // Another one is put in its place, whole in itself.
    let mut other = shadow.history.changesets()[1].changeset.clone();
    other.taken = Timestamp::from_unix_ns(99);
    let (id, bytes) = changeset::encode(&other).unwrap();
    let forged = changeset::blob(1, id);
    shadow.blobs.put(&forged, &bytes).unwrap();
    assert!(History::open(&*shadow.blobs).is_err());
    shadow.blobs.remove(&forged).unwrap();
    // One is there under another one's name.
    shadow.blobs.put(&names[1], &blob(&names[2])).unwrap();
    assert!(History::open(&*shadow.blobs).is_err());
    shadow.blobs.put(&names[1], &middle).unwrap();
    assert_eq!(
        History::open(&*shadow.blobs).unwrap().head(),
        shadow.history.head()
    );
    // A cut end is a shorter history, which only its head tells.
    shadow.blobs.remove(&names[2]).unwrap();
    let shorter = History::open(&*shadow.blobs).unwrap();
    assert_ne!(shorter.head(), shadow.history.head());
}

#[test]
fn what_was_not_finished_is_not_there() {
    let mut shadow = Shadow::new(4, 300 * BLOCK);
    let about = About {
        kind: Kind::Increment,
        sequence: 1,
        parent: shadow.history.head(),
        disk_bytes: shadow.disk.len() as u64,
    };
    shadow.random.fill_bytes(&mut shadow.disk);
    let mut writer = ChangesetWriter::new(&*shadow.blobs, &mut shadow.known, about, Cut::CHANGE);
    writer.write_from(&shadow.disk, 0..300).unwrap();
    drop(writer);
    let history = History::open(&*shadow.blobs).unwrap();
    assert_eq!(history.changesets(), shadow.history.changesets());
}

#[test]
fn blocks_that_do_not_ascend_are_refused() {
    let shadow = Shadow::new(5, 100 * BLOCK);
    let mut known = KnownUnits::default();
    let about = About {
        kind: Kind::Base,
        sequence: 0,
        parent: None,
        disk_bytes: 100 * BLOCK_BYTES,
    };
    let mut writer = ChangesetWriter::new(&*shadow.blobs, &mut known, about, Cut::CHANGE);
    writer.write(5, &[1; 2 * BLOCK]).unwrap();
    assert!(writer.write(6, &[1; BLOCK]).is_err());
    assert!(writer.zeros(6, 1).is_err());
    assert!(writer.write(8, &[1; 100]).is_err());
    assert!(writer.write(100, &[1; BLOCK]).is_err());
    writer.write(99, &[1; BLOCK]).unwrap();
}
