//! A window on the history: what is kept reads as before, whatever happens while the rest goes.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use image::blobs::{BlobError, Blobs, MemoryBlobs};
use image::changeset;
use image::check::{Level, check};
use image::forget::{Window, merge, sweep, until};
use image::history::History;
use image::pack;
use image::seal::{Anchor, AnchorState, SealingBlobs, SealingKey, Trust, verify};
use model::Timestamp;
use proptest::prelude::*;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{BLOCK, Shadow};
use uuid::Uuid;

const IMAGE: Uuid = Uuid::from_u128(7);

fn sealing(blobs: &Arc<MemoryBlobs>) -> Arc<dyn Blobs> {
    let now = Box::new(|| Timestamp::from_unix_ns(5));
    let key = SealingKey::from_secret(&[1; 32]);
    Arc::new(SealingBlobs::new(Arc::clone(blobs), IMAGE, key, now))
}

fn shadow(seed: u64, disk_bytes: usize, steps: usize) -> Shadow {
    let blobs: Arc<MemoryBlobs> = Arc::default();
    let sink = sealing(&blobs);
    let mut shadow = Shadow::into(seed, disk_bytes, blobs, sink);
    for _ in 0..steps {
        shadow.step();
    }
    shadow
}

fn is_clean(blobs: &dyn Blobs) -> bool {
    let report = check(blobs, Level::Deep, NonZeroUsize::MIN).unwrap();
    report.damages.is_empty() && report.strays.is_empty()
}

fn anchored(history: &History, anchor: &Anchor) -> Option<AnchorState> {
    let keys = [SealingKey::from_secret(&[1; 32]).public()];
    let trust = Trust {
        image: IMAGE,
        keys: &keys,
    };
    let verification = verify(history, trust, Some(anchor));
    assert_eq!(verification.faults, []);
    verification.anchor
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn kept_versions_read_as_before(
        seed in any::<u64>(),
        disk_bytes in 1_usize..500 * BLOCK,
        resized in 1_usize..500 * BLOCK,
        first in 0_u64..4,
        second in 0_u64..8,
    ) {
        let mut shadow = shadow(seed, disk_bytes, 3);
        let anchor = Anchor::of(IMAGE, &shadow.history).unwrap();
        for (until, sequence) in [(first, 3), (second.max(first), 7)] {
            let head = shadow.history.head();
            let blobs = Arc::clone(&shadow.sink);
            let merged = merge(&blobs, &shadow.history, until.min(sequence)).unwrap();
            sweep(&*blobs, &merged).unwrap();
            let merged = History::open(&*blobs).unwrap();
            prop_assert_eq!(merged.head(), head);
            let kept: Vec<u64> = merged.changesets().iter().map(|one| one.changeset.sequence).collect();
            prop_assert_eq!(kept, (until.min(sequence)..=sequence).collect::<Vec<_>>());
            shadow.check_versions(&merged);
            prop_assert!(is_clean(&*blobs));
            let state = anchored(&merged, &anchor);
            prop_assert!(matches!(state, Some(AnchorState::Holds | AnchorState::HoldsByMerge)));
            // And it goes on from there.
            shadow.history = merged;
            shadow.known = shadow.history.known_units(&*shadow.blobs).unwrap();
            shadow.resize(resized);
            for _ in 0..3 {
                shadow.step();
            }
            let history = History::open(&*blobs).unwrap();
            prop_assert_eq!(history.changesets(), shadow.history.changesets());
            shadow.check_versions(&history);
        }
    }
}

/// Blobs that fail from a call that writes on, as if the process had been killed before it.
struct Killed {
    blobs: Arc<dyn Blobs>,
    left: AtomicUsize,
}

impl Killed {
    fn step(&self, name: &str) -> Result<(), BlobError> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(BlobError::Missing(name.to_owned()));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }
}

impl Blobs for Killed {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        self.step(name)?;
        self.blobs.put(name, bytes)
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        self.blobs.length(name)
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        self.blobs.read(name, part)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        self.blobs.list(prefix)
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        self.step(name)?;
        self.blobs.remove(name)
    }
}

#[test]
fn whenever_it_is_killed_the_old_or_the_new_is_there() {
    let (mut old, mut new) = (0, 0);
    for steps in 0.. {
        let shadow = shadow(9, 200 * BLOCK, 5);
        let killed: Arc<dyn Blobs> = Arc::new(Killed {
            blobs: Arc::clone(&shadow.sink),
            left: AtomicUsize::new(steps),
        });
        let done = merge(&killed, &shadow.history, 3)
            .and_then(|history| sweep(&*killed, &history))
            .is_ok();
        let history = History::open(&*shadow.blobs).unwrap();
        match history.changesets()[0].changeset.sequence {
            0 => old += 1,
            3 => new += 1,
            other => panic!("it begins with {other}"),
        }
        assert_eq!(history.head(), shadow.history.head());
        shadow.check_versions(&history);
        // The next one finishes it.
        let blobs = Arc::clone(&shadow.sink);
        let history = merge(&blobs, &history, 3).unwrap();
        sweep(&*blobs, &history).unwrap();
        let history = History::open(&*shadow.blobs).unwrap();
        shadow.check_versions(&history);
        assert!(is_clean(&*shadow.blobs), "killed before step {steps}");
        if done {
            break;
        }
    }
    assert!(old > 1 && new > 3, "{old} old, {new} new");
}

#[test]
fn what_is_dropped_gives_its_room_back() {
    let mut shadow = shadow(10, 400 * BLOCK, 0);
    for _ in 0..30 {
        shadow.step();
    }
    let before = shadow.blobs.bytes();
    let blobs = Arc::clone(&shadow.sink);
    let history = merge(&blobs, &shadow.history, 30).unwrap();
    let swept = sweep(&*blobs, &history).unwrap();
    assert_eq!(
        swept.changesets, 31,
        "all, the last one too: the base stands for it"
    );
    let after = shadow.blobs.bytes();
    // No version is kept but the last: little more than the disk itself.
    assert!(
        after < 400 * BLOCK as u64 + 20_000,
        "{before} bytes, then {after}"
    );
    assert_eq!(shadow.blobs.list(changeset::PREFIX).unwrap().len(), 1);
    assert!(shadow.blobs.list(pack::PREFIX).unwrap().len() < 4);
    shadow.check_versions(&history);
}

#[test]
fn the_window_is_by_count_age_and_size() {
    let shadow = shadow(11, 100 * BLOCK, 9);
    let decide = |window| until(&*shadow.blobs, &shadow.history, window).unwrap();
    let none = Window::default();
    assert_eq!(decide(none), None);
    for (count, expected) in [
        (20, None),
        (10, None),
        (9, Some(1)),
        (1, Some(9)),
        (0, Some(9)),
    ] {
        let window = Window {
            count_max: Some(count),
            ..none
        };
        assert_eq!(decide(window), expected, "{count}");
    }
    // Changesets are taken at 0 to 9 ns; at 5 ns the disk was as changeset 5 says.
    for (since, expected) in [
        (-1, None),
        (0, None),
        (5, Some(5)),
        (9, Some(9)),
        (50, Some(9)),
    ] {
        let since = Some(Timestamp::from_unix_ns(since));
        assert_eq!(decide(Window { since, ..none }), expected, "{since:?}");
    }
    let all = shadow.blobs.bytes();
    assert_eq!(
        decide(Window {
            bytes_max: Some(all * 2),
            ..none
        }),
        None
    );
    assert_eq!(
        decide(Window {
            bytes_max: Some(0),
            ..none
        }),
        Some(9)
    );
    let half = decide(Window {
        bytes_max: Some(all / 2),
        ..none
    })
    .unwrap();
    assert!((1..9).contains(&half));
    let blobs = Arc::clone(&shadow.sink);
    let history = merge(&blobs, &shadow.history, half).unwrap();
    sweep(&*blobs, &history).unwrap();
    let left = shadow.blobs.bytes();
    assert!(left <= all / 2 + all / 10, "{left} of {all}");
}

#[test]
fn anchors_of_merged_changesets_hold_by_the_seal() {
    let shadow = shadow(12, 60 * BLOCK, 0);
    let early = Anchor::of(IMAGE, &shadow.history).unwrap();
    let mut shadow = shadow;
    for _ in 0..4 {
        shadow.step();
    }
    let late = Anchor::of(IMAGE, &shadow.history).unwrap();
    let blobs = Arc::clone(&shadow.sink);
    let history = merge(&blobs, &shadow.history, 2).unwrap();
    assert_eq!(anchored(&history, &early), Some(AnchorState::HoldsByMerge));
    assert_eq!(anchored(&history, &late), Some(AnchorState::Holds));
    // Whoever has no key to ask believes no merge.
    let trust = Trust {
        image: IMAGE,
        keys: &[],
    };
    for anchor in [early, late] {
        let verification = verify(&history, trust, Some(&anchor));
        assert_eq!(verification.anchor, Some(AnchorState::Unknown));
    }
    let other = Anchor {
        head: late.head,
        ..early
    };
    let keys = [SealingKey::from_secret(&[1; 32]).public()];
    let trust = Trust {
        image: IMAGE,
        keys: &keys,
    };
    let verification = verify(&history, trust, Some(&other));
    assert_eq!(verification.anchor, Some(AnchorState::Broken));
}

#[test]
fn what_no_base_vouches_for_is_not_removed() {
    let shadow = shadow(13, 60 * BLOCK, 3);
    let blobs = Arc::clone(&shadow.sink);
    let history = merge(&blobs, &shadow.history, 2).unwrap();
    // Another history's changeset among those that were merged.
    let mut forged = shadow.history.changesets()[1].changeset.clone();
    forged.taken = Timestamp::from_unix_ns(77);
    let (id, bytes) = changeset::encode(&forged).unwrap();
    let name = changeset::blob(1, id);
    shadow.blobs.put(&name, &bytes).unwrap();
    let history_now = History::open(&*blobs).unwrap();
    assert_eq!(history_now.changesets(), history.changesets());
    let swept = sweep(&*blobs, &history_now).unwrap();
    assert_eq!((swept.changesets, swept.packs), (3, 0));
    assert_eq!(
        shadow.blobs.list("changesets/000000000001").unwrap(),
        [name]
    );
    shadow.check_versions(&history_now);
}
