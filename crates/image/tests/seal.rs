//! Sealed histories: whatever is changed, taken away or put in another place is named.

mod support;

use image::blobs::{Blobs, MemoryBlobs};
use image::changeset;
use image::history::History;
use image::seal::{
    Anchor, AnchorState, PublicKey, SealFault, SealingBlobs, SealingKey, Trust, verify,
};
use model::Timestamp;
use proptest::prelude::*;
use std::sync::Arc;
use support::{BLOCK, Shadow, whole};
use uuid::Uuid;

const IMAGE: Uuid = Uuid::from_u128(7);

fn key(number: u8) -> SealingKey {
    SealingKey::from_secret(&[number; 32])
}

/// Blobs into which every changeset goes sealed.
fn sealing(blobs: &Arc<MemoryBlobs>, image: Uuid, number: u8) -> Arc<dyn Blobs> {
    let now = Box::new(|| Timestamp::from_unix_ns(5));
    Arc::new(SealingBlobs::new(
        Arc::clone(blobs),
        image,
        key(number),
        now,
    ))
}

/// A sealed history of some changesets.
fn sealed(seed: u64, steps: usize) -> Shadow {
    let blobs: Arc<MemoryBlobs> = Arc::default();
    let sink = sealing(&blobs, IMAGE, 1);
    let mut shadow = Shadow::into(seed, 40 * BLOCK, blobs, sink);
    for _ in 0..steps {
        shadow.step();
    }
    shadow
}

fn faults(history: &History, anchor: Option<&Anchor>) -> Vec<SealFault> {
    let keys = [key(1).public()];
    let trust = Trust {
        image: IMAGE,
        keys: &keys,
    };
    verify(history, trust, anchor).faults
}

/// Everything that somebody who has been told of the anchor finds wrong.
fn found(blobs: &dyn Blobs, anchor: &Anchor) -> Option<String> {
    match History::open(blobs) {
        Err(error) => Some(error.to_string()),
        Ok(history) => {
            let faults = faults(&history, Some(anchor));
            faults.first().map(ToString::to_string)
        }
    }
}

#[test]
fn a_sealed_history_is_read_and_holds() {
    let shadow = sealed(1, 4);
    let history = History::open(&*shadow.blobs).unwrap();
    shadow.check_versions(&history);
    assert_eq!(history.changesets(), shadow.history.changesets());
    let anchor = Anchor::of(IMAGE, &history).unwrap();
    assert_eq!(anchor.to_string().parse(), Ok(anchor));
    let keys = [key(3).public(), key(1).public()];
    let trust = Trust {
        image: IMAGE,
        keys: &keys,
    };
    let verification = verify(&history, trust, Some(&anchor));
    assert_eq!(verification.faults, []);
    assert_eq!(verification.anchor, Some(AnchorState::Holds));
}

#[test]
fn who_did_not_seal_is_named() {
    let shadow = sealed(2, 2);
    let names = shadow.blobs.list(changeset::PREFIX).unwrap();
    let sequence = 1;
    let sound = whole(&*shadow.blobs, &names[1]);
    let (content, _) = changeset::split(&sound);
    // Without a seal.
    shadow.blobs.put(&names[1], content).unwrap();
    let open = || History::open(&*shadow.blobs).unwrap();
    assert_eq!(faults(&open(), None), [SealFault::Unsealed { sequence }]);
    // With somebody else's.
    let put = |image, number| sealing(&shadow.blobs, image, number).put(&names[1], content);
    put(IMAGE, 2).unwrap();
    let key = key(2).public();
    assert_eq!(
        faults(&open(), None),
        [SealFault::OtherKey { sequence, key }]
    );
    // For another image.
    let image = Uuid::from_u128(8);
    put(image, 1).unwrap();
    assert_eq!(
        faults(&open(), None),
        [SealFault::OtherImage { sequence, image }]
    );
    // With another one's.
    let other = whole(&*shadow.blobs, &names[2]);
    let forged = [content, changeset::split(&other).1].concat();
    shadow.blobs.put(&names[1], &forged).unwrap();
    assert_eq!(faults(&open(), None), [SealFault::Forged { sequence }]);
    shadow.blobs.put(&names[1], &sound).unwrap();
    assert_eq!(faults(&open(), None), []);
}

#[test]
fn only_an_anchor_tells_a_cut_end() {
    let shadow = sealed(3, 3);
    let anchor = Anchor::of(IMAGE, &shadow.history).unwrap();
    let last = shadow.blobs.list(changeset::PREFIX).unwrap().pop().unwrap();
    shadow.blobs.remove(&last).unwrap();
    let history = History::open(&*shadow.blobs).unwrap();
    assert_eq!(faults(&history, None), []);
    let cut = SealFault::Cut {
        anchored: 3,
        last: Some(2),
    };
    assert_eq!(faults(&history, Some(&anchor)), [cut]);
    let earlier = Anchor::of(IMAGE, &history).unwrap();
    assert_eq!(
        faults(&shadow.history, Some(&earlier)).len(),
        4,
        "unsealed, but anchored"
    );
    let foreign = Anchor {
        image: Uuid::nil(),
        ..earlier
    };
    let other = SealFault::OtherAnchor { image: Uuid::nil() };
    assert_eq!(faults(&history, Some(&foreign)), [other]);
}

#[test]
fn what_is_not_what_it_is_named_is_not_sealed() {
    let blobs: Arc<MemoryBlobs> = Arc::default();
    let sink = sealing(&blobs, IMAGE, 1);
    let shadow = sealed(4, 1);
    let names = shadow.blobs.list(changeset::PREFIX).unwrap();
    let bytes = whole(&*shadow.blobs, &names[0]);
    assert!(sink.put(&names[0], &bytes).is_err(), "sealed already");
    let (content, _) = changeset::split(&bytes);
    assert!(sink.put(&names[1], content).is_err(), "another one's name");
    assert!(sink.put("changesets/x", content).is_err());
    assert!(sink.put(&names[0], &content[1..]).is_err());
    assert_eq!(blobs.bytes(), 0);
    sink.put(&names[0], content).unwrap();
    assert_eq!(
        whole(&*blobs, &names[0]),
        bytes,
        "the same key, clock and text"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_flip_removal_or_swap_is_named(seed in any::<u64>(), steps in 2_usize..5) {
        let mut shadow = sealed(seed, steps);
        let anchor = Anchor::of(IMAGE, &shadow.history).unwrap();
        let names = shadow.blobs.list(changeset::PREFIX).unwrap();
        prop_assert_eq!(found(&*shadow.blobs, &anchor), None);
        for name in &names {
            let sound = whole(&*shadow.blobs, name);
            for _ in 0..8 {
                let mut damaged = sound.clone();
                let at = shadow.draw(damaged.len() as u64) as usize;
                damaged[at] ^= 1 << shadow.draw(8);
                shadow.blobs.put(name, &damaged).unwrap();
                prop_assert!(found(&*shadow.blobs, &anchor).is_some(), "byte {} of {}", at, name);
            }
            shadow.blobs.remove(name).unwrap();
            prop_assert!(found(&*shadow.blobs, &anchor).is_some(), "{} removed", name);
            shadow.blobs.put(name, &sound).unwrap();
        }
        let contents: Vec<_> = names.iter().map(|name| whole(&*shadow.blobs, name)).collect();
        for (one, other) in [(0, 1), (1, names.len() - 1)] {
            if one != other {
                shadow.blobs.put(&names[one], &contents[other]).unwrap();
                shadow.blobs.put(&names[other], &contents[one]).unwrap();
                prop_assert!(found(&*shadow.blobs, &anchor).is_some());
                shadow.blobs.put(&names[one], &contents[one]).unwrap();
                shadow.blobs.put(&names[other], &contents[other]).unwrap();
            }
        }
        prop_assert_eq!(found(&*shadow.blobs, &anchor), None);
    }

    #[test]
    fn texts_that_are_no_anchors_are_refused(text in "[0-9a-f:-]{0,120}") {
        if let Ok(anchor) = text.parse::<Anchor>() {
            prop_assert_eq!(anchor.to_string().to_lowercase().len(), text.len());
        }
        if let Ok(key) = text.parse::<PublicKey>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}
