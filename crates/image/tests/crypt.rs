//! Encrypted blobs: histories come back, nothing is read with another key or after any change, and
//! nothing that was put can be seen in what is stored.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use image::blobs::{BlobError, Blobs, MemoryBlobs};
use image::check::{Level, check};
use image::crypt::{CryptError, EncryptedBlobs};
use image::history::History;
use proptest::prelude::*;
use std::num::NonZeroUsize;
use std::sync::Arc;
use support::{BLOCK, Shadow, read, whole};

const CHUNK: usize = 64 << 10;

fn encrypted(blobs: &Arc<MemoryBlobs>, secret: u8) -> EncryptedBlobs<Arc<MemoryBlobs>> {
    EncryptedBlobs::new(Arc::clone(blobs), &[secret; 32])
}

fn reason(error: BlobError) -> CryptError {
    match error {
        BlobError::Failed { source, .. } => *source.downcast_ref().unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn an_encrypted_history_reads_as_the_disk_was() {
    let stored: Arc<MemoryBlobs> = Arc::default();
    let sink: Arc<dyn Blobs> = Arc::new(encrypted(&stored, 1));
    let mut shadow = Shadow::into(1, 300 * BLOCK, Arc::clone(&stored), Arc::clone(&sink));
    for _ in 0..3 {
        shadow.step();
    }
    let history = History::open(&*sink).unwrap();
    assert_eq!(history.changesets(), shadow.history.changesets());
    for (sequence, expected) in shadow.versions.iter().enumerate() {
        let version = history.version(Arc::clone(&sink), sequence as u64).unwrap();
        assert!(read(&version, 0..expected.len()) == *expected);
    }
    let report = check(&*sink, Level::Deep, NonZeroUsize::MIN).unwrap();
    assert_eq!((report.damages.len(), report.readable.len()), (0, 4));
    // Without the key there is nothing but names.
    assert!(History::open(&*stored).is_err());
    let report = check(&encrypted(&stored, 2), Level::ReadData, NonZeroUsize::MIN).unwrap();
    assert!(report.readable.is_empty());
    assert!(
        report.damages[0].what.contains("another key"),
        "{:?}",
        report.damages[0]
    );
}

#[test]
fn the_reason_is_told() {
    let stored: Arc<MemoryBlobs> = Arc::default();
    let blobs = encrypted(&stored, 1);
    blobs.put("packs/a", b"content").unwrap();
    let outcome = encrypted(&stored, 2).read("packs/a", 0..7);
    assert_eq!(reason(outcome.unwrap_err()), CryptError::WrongKey);
    stored.put("packs/plain", &[7; 100]).unwrap();
    assert_eq!(
        reason(blobs.length("packs/plain").unwrap_err()),
        CryptError::Plain
    );
    let bytes = whole(&*stored, "packs/a");
    stored.put("packs/b", &bytes).unwrap();
    let outcome = blobs.read("packs/b", 0..7);
    assert_eq!(
        reason(outcome.unwrap_err()),
        CryptError::Damaged,
        "another one's name"
    );
    let mut newer = bytes;
    newer[8] = 2;
    stored.put("packs/a", &newer).unwrap();
    assert_eq!(
        reason(blobs.length("packs/a").unwrap_err()),
        CryptError::Version(2)
    );
    assert!(matches!(
        blobs.length("packs/none"),
        Err(BlobError::Missing(_))
    ));
    let error = encrypted(&stored, 2)
        .length("packs/b")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "could not decrypt packs/b: it was encrypted with another key"
    );
}

#[test]
fn equal_content_looks_different_under_every_name_and_key() {
    let stored: Arc<MemoryBlobs> = Arc::default();
    let content = vec![0_u8; 3 * CHUNK];
    for (name, secret) in [("a/x", 1), ("a/y", 1), ("a/z", 2)] {
        encrypted(&stored, secret).put(name, &content).unwrap();
    }
    let mut pieces = std::collections::HashSet::new();
    for name in ["a/x", "a/y", "a/z"] {
        let bytes = whole(&*stored, name);
        // Behind the header, no 16 bytes come twice, of one blob or of several.
        for piece in bytes[60..].chunks_exact(16) {
            assert!(pieces.insert(piece.to_vec()), "{name}");
        }
    }
    // The same again is the same: nothing is drawn.
    let before = whole(&*stored, "a/x");
    encrypted(&stored, 1).put("a/x", &content).unwrap();
    assert_eq!(whole(&*stored, "a/x"), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_part_comes_back(
        length in prop_oneof![0_usize..200, CHUNK - 2..CHUNK + 3, 2 * CHUNK - 2..2 * CHUNK + 3],
        parts in prop::collection::vec((0.0_f64..=1.0, 0.0_f64..=1.0), 8),
    ) {
        let content: Vec<u8> = (0..length).map(|at| (at * 7 + at / 256) as u8).collect();
        let stored: Arc<MemoryBlobs> = Arc::default();
        let blobs = encrypted(&stored, 1);
        blobs.put("a/x", &content).unwrap();
        prop_assert_eq!(blobs.length("a/x").unwrap(), length as u64);
        prop_assert!(whole(&blobs, "a/x") == content);
        for (one, other) in parts {
            let place = |part: f64| (part * length as f64) as usize;
            let (start, end) = (place(one).min(place(other)), place(one).max(place(other)));
            let part = blobs.read("a/x", start as u64..end as u64).unwrap();
            prop_assert!(part == content[start..end]);
        }
        let end = length as u64;
        prop_assert!(blobs.read("a/x", end..end).unwrap().is_empty());
        let is_short = matches!(blobs.read("a/x", 0..end + 1), Err(BlobError::Short { .. }));
        prop_assert!(is_short);
    }

    #[test]
    fn no_change_passes(
        length in prop_oneof![0_usize..200, CHUNK - 2..CHUNK + 3, 2 * CHUNK - 2..2 * CHUNK + 3],
        place in 0.0_f64..1.0,
        bit in 0_u32..8,
        cut in 0.0_f64..1.0,
    ) {
        let content = vec![9_u8; length];
        let stored: Arc<MemoryBlobs> = Arc::default();
        let blobs = encrypted(&stored, 1);
        blobs.put("a/x", &content).unwrap();
        let sound = whole(&*stored, "a/x");
        let at = (place * sound.len() as f64) as usize;
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << bit;
        let cut = sound[..(cut * sound.len() as f64) as usize].to_vec();
        let longer = [sound.as_slice(), &[0]].concat();
        // A whole number of chunks less, too.
        let chunk = sound[..sound.len().min(60 + CHUNK + 16)].to_vec();
        for damaged in [flipped, cut, longer, chunk] {
            if damaged == sound {
                continue;
            }
            stored.put("a/x", &damaged).unwrap();
            let outcome = blobs.length("a/x").and_then(|length| blobs.read("a/x", 0..length));
            prop_assert!(outcome.is_err(), "{} of {} bytes", damaged.len(), sound.len());
        }
    }
}
