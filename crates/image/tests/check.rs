//! Damage is found, named, and told for what it costs.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use disk::ReadAt;
use image::blobs::{Blobs, MemoryBlobs};
use image::changeset;
use image::check::{Level, Report, check};
use image::history::History;
use image::pack::{PREFIX, PackId, PackReader};
use std::num::NonZeroUsize;
use std::sync::Arc;
use support::{BLOCK, Shadow, whole};

const LEVELS: [Level; 3] = [Level::Structure, Level::ReadData, Level::Deep];

fn look(blobs: &dyn Blobs, level: Level) -> Report {
    check(blobs, level, NonZeroUsize::new(2).unwrap()).unwrap()
}

fn shadow(seed: u64, steps: usize) -> Shadow {
    let mut shadow = Shadow::new(seed, 300 * BLOCK);
    for _ in 0..steps {
        shadow.step();
    }
    shadow
}

/// Which versions read as the disk was, by reading them.
fn truly_readable(shadow: &Shadow, history: &History) -> Vec<u64> {
    let sequences = 0..shadow.versions.len() as u64;
    let reads = |sequence: &u64| {
        let expected = &shadow.versions[*sequence as usize];
        let version = history.version(shadow.source(), *sequence);
        version.is_ok_and(|version| {
            let mut bytes = vec![0; expected.len()];
            let read = version.read_exact_at(0, &mut bytes);
            read.is_ok() && bytes == *expected
        })
    };
    sequences.filter(reads).collect()
}

#[test]
fn a_sound_history_has_no_damage() {
    let shadow = shadow(1, 3);
    for level in LEVELS {
        let report = look(&*shadow.blobs, level);
        assert_eq!(report.damages, []);
        assert_eq!(report.strays, Vec::<String>::new());
        assert_eq!(report.readable, [0, 1, 2, 3]);
        assert_eq!(report.bytes, shadow.blobs.bytes());
        assert_eq!(report.blobs, shadow.blobs.list("").unwrap().len() as u64);
    }
    let nothing = look(&MemoryBlobs::default(), Level::Deep);
    assert_eq!(nothing, Report::default());
}

#[test]
fn what_a_damaged_pack_costs_is_told_exactly() {
    let mut shadow = shadow(2, 5);
    let history = History::open(&*shadow.blobs).unwrap();
    let mut costs = Vec::new();
    for _ in 0..60 {
        let names = shadow.blobs.list(PREFIX).unwrap();
        let name = names[shadow.draw(names.len() as u64) as usize].clone();
        let sound = whole(&*shadow.blobs, &name);
        let mut damaged = sound.clone();
        let at = shadow.draw(sound.len() as u64) as usize;
        damaged[at] ^= 1 << shadow.draw(8);
        shadow.blobs.put(&name, &damaged).unwrap();
        let truth = truly_readable(&shadow, &history);
        for level in [Level::ReadData, Level::Deep] {
            let report = look(&*shadow.blobs, level);
            assert_eq!(report.readable, truth, "byte {at} of {name}");
            let [damage] = &report.damages[..] else {
                panic!("{:?}", report.damages);
            };
            assert_eq!(damage.blob, name);
            assert_eq!(damage.unreadable.len() + truth.len(), shadow.versions.len());
        }
        costs.push(shadow.versions.len() - truth.len());
        shadow.blobs.put(&name, &sound).unwrap();
    }
    // Some damage costs all versions, some but a few.
    assert!(
        costs.contains(&6) && costs.iter().any(|cost| (1..6).contains(cost)),
        "{costs:?}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let shadow = shadow(3, 3);
    let changesets = shadow.blobs.list(changeset::PREFIX).unwrap();
    for (index, name) in changesets.iter().enumerate().take(3) {
        let sound = whole(&*shadow.blobs, name);
        shadow.blobs.remove(name).unwrap();
        for level in LEVELS {
            let report = look(&*shadow.blobs, level);
            let before: Vec<u64> = (0..index as u64).collect();
            assert_eq!(report.readable, before);
            assert_eq!(report.damages.len(), 1, "{:?}", report.damages);
            assert_eq!(&report.damages[0].blob, name);
            let after: Vec<u64> = (index as u64 + 1..4).collect();
            assert_eq!(report.damages[0].unreadable, after);
        }
        shadow.blobs.put(name, &sound).unwrap();
    }
    let pack = shadow.blobs.list(PREFIX).unwrap().remove(0);
    shadow.blobs.remove(&pack).unwrap();
    let report = look(&*shadow.blobs, Level::Structure);
    assert_eq!(report.damages.len(), 1);
    assert_eq!(report.damages[0].blob, pack);
}

#[test]
fn a_damaged_changeset_leaves_those_before_it() {
    let shadow = shadow(4, 3);
    let names = shadow.blobs.list(changeset::PREFIX).unwrap();
    let mut damaged = whole(&*shadow.blobs, &names[2]);
    damaged[30] ^= 1;
    shadow.blobs.put(&names[2], &damaged).unwrap();
    let report = look(&*shadow.blobs, Level::Structure);
    assert_eq!(report.readable, [0, 1]);
    assert_eq!(report.damages.len(), 1);
    assert_eq!(report.damages[0].blob, names[2]);
    assert_eq!(report.damages[0].unreadable, [2, 3]);
    assert_eq!(
        report.strays.len(),
        1,
        "a pack that only the damaged one names"
    );
    // What was before can still be read, and nothing can be added.
    assert!(History::open(&*shadow.blobs).is_err());
    let (history, error) = History::open_sound(&*shadow.blobs).unwrap();
    assert!(error.unwrap().to_string().contains(&names[2]));
    let before = &shadow.history.changesets()[..2];
    assert_eq!(history.changesets(), before);
    shadow.check_versions(&history);
}

#[test]
fn what_belongs_to_nothing_is_told_and_no_damage() {
    let shadow = shadow(5, 1);
    shadow
        .blobs
        .put("packs/of-a-broken-off-capture", b"half")
        .unwrap();
    let report = look(&*shadow.blobs, Level::Deep);
    assert_eq!(report.damages, []);
    assert_eq!(report.strays, ["packs/of-a-broken-off-capture"]);
}

#[test]
fn a_unit_that_a_pack_lacks_is_damage() {
    let shadow = shadow(6, 1);
    // Another pack in the place of one, whole and sealed with its name.
    let name = shadow.blobs.list(PREFIX).unwrap().remove(0);
    let id = PackId::of_blob(&name).unwrap();
    let units = PackReader::open(&*shadow.blobs, id).unwrap();
    assert!(units.directory().units.len() > 1);
    let blobs = Arc::clone(&shadow.blobs);
    let mut history = History::open(&*blobs).unwrap().changesets()[0]
        .changeset
        .clone();
    for run in &mut history.runs {
        if let image::changeset::Content::Units { first, .. } = &mut run.content {
            *first += 100_000;
        }
    }
    let (id, bytes) = changeset::encode(&history).unwrap();
    let forged = MemoryBlobs::default();
    for pack in blobs.list(PREFIX).unwrap() {
        forged.put(&pack, &whole(&*blobs, &pack)).unwrap();
    }
    forged.put(&changeset::blob(0, id), &bytes).unwrap();
    let report = look(&forged, Level::Structure);
    assert_eq!(report.readable, Vec::<u64>::new());
    assert!(
        report
            .damages
            .iter()
            .any(|damage| damage.what.contains("lacks units"))
    );
    let history = History::open(&forged).unwrap();
    let version = history.version(Arc::new(forged), 0).unwrap();
    let mut bytes = vec![0; 300 * BLOCK];
    assert!(version.read_exact_at(0, &mut bytes).is_err());
}
