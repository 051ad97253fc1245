use super::*;
use crate::blobs::{Blobs, MemoryBlobs};
use crate::changeset::Kind;
use crate::history::History;
use crate::writer::{About, ChangesetWriter, Cut, KnownUnits};
use model::Timestamp;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// A history of empty changesets.
fn history(blobs: &MemoryBlobs, count: u64) -> History {
    let mut history = History::default();
    for sequence in 0..count {
        let about = About {
            kind: if sequence == 0 {
                Kind::Base
            } else {
                Kind::Increment
            },
            sequence,
            parent: history.head(),
            disk_bytes: 4096,
        };
        let mut known = KnownUnits::default();
        let writer = ChangesetWriter::new(blobs, &mut known, about, Cut::CHANGE);
        let taken = Timestamp::from_unix_ns(sequence as i64);
        history
            .add(writer.finish(taken, String::new()).unwrap())
            .unwrap();
    }
    history
}

fn drawn(draw: &mut ChaCha8Rng, sequence: u64) -> ChangeRecord {
    let mut number = |below: u64| draw.next_u64() % below;
    let mut path = String::new();
    for depth in 0..=number(4) {
        // Names that sort before and after a `/`.
        let name = ["a", "a!", "ab", "b.d", "lib"][number(5) as usize];
        path.push_str(&format!("/{name}{}", number(3 << depth)));
    }
    let state = FileState {
        size_bytes: number(1 << 40),
        mode: 0o100_644,
        uid: number(70_000) as u32,
        gid: 0,
        modified: (
            number(4_000_000_000) as i64 - 2_000_000_000,
            number(1_000_000_000) as u32,
        ),
        changed: (i64::MIN, 0),
    };
    let change = ChangeKind::ALL[number(9) as usize];
    ChangeRecord {
        sequence,
        volume: ["p1", "p2", "vg/root"][number(3) as usize].into(),
        path: path.into_bytes(),
        change,
        from: (number(9) == 0).then(|| b"/\xff\x01".to_vec()),
        ranges: (0..number(3)).map(|at| at * 10..at * 10 + 5).collect(),
        ranges_all: number(30),
        changed_bytes: number(u64::MAX),
        fields: Fields::named(["mode", "changed"]),
        before: (number(2) == 0).then_some(state),
        after: (number(2) == 0).then_some(state),
        explanation: (number(3) == 0).then(|| Explanation {
            standing: Standing::ALL[number(4) as usize],
            package: "libä".to_owned(),
            before: "1.0-1".to_owned(),
            after: String::new(),
        }),
    }
}

/// What a question asks for, by looking at each record.
fn scanned(all: &[ChangeRecord], question: &Question) -> Vec<ChangeRecord> {
    let is_asked = |record: &&ChangeRecord| {
        let below = question.path.as_ref().is_none_or(|path| {
            let path = path.strip_suffix(b"/").unwrap_or(path);
            let rest = record.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        });
        below
            && question
                .volume
                .as_ref()
                .is_none_or(|volume| **volume == *record.volume)
            && question.first.is_none_or(|first| record.sequence >= first)
            && question.last.is_none_or(|last| record.sequence <= last)
    };
    all.iter().filter(is_asked).cloned().collect()
}

fn in_order(mut records: Vec<ChangeRecord>) -> Vec<ChangeRecord> {
    records.sort_by(|one, other| {
        let place =
            |record: &'_ ChangeRecord| (record.sequence, record.change, record.changed_bytes);
        let names = one
            .volume
            .cmp(&other.volume)
            .then(one.path.cmp(&other.path));
        names.then(place(one).cmp(&place(other)))
    });
    records
}

fn asked(records: &Records, question: &Question) -> Vec<ChangeRecord> {
    records.ask(question).unwrap().map(Result::unwrap).collect()
}

fn question(draw: &mut ChaCha8Rng, all: &[ChangeRecord], changesets: u64) -> Question {
    let some = &all[draw.next_u64() as usize % all.len()];
    let mut path = some.path.clone();
    for _ in 0..draw.next_u64() % 3 {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap();
        path.truncate(end.max(1));
    }
    let bound = |draw: &mut ChaCha8Rng| {
        (draw.next_u64().is_multiple_of(2)).then(|| draw.next_u64() % changesets)
    };
    Question {
        volume: (draw.next_u64().is_multiple_of(2)).then(|| some.volume.to_string()),
        path: (!draw.next_u64().is_multiple_of(8)).then_some(path),
        first: bound(draw),
        last: bound(draw),
    }
}

#[test]
fn two_hundred_thousand_records_are_answered_as_by_a_scan() {
    let memory = MemoryBlobs::default();
    let history = history(&memory, 101);
    let blobs: Arc<dyn Blobs> = Arc::new(memory);
    let mut draw = ChaCha8Rng::seed_from_u64(5);
    let mut records = Records::open(&blobs, &history).unwrap();
    let mut all = Vec::new();
    for sequence in 1..=100 {
        let new: Vec<_> = (0..2000).map(|_| drawn(&mut draw, sequence)).collect();
        records.add(&blobs, sequence, &new).unwrap();
        all.extend(new);
    }
    assert_eq!((records.count(), records.missing().len()), (200_000, 0));
    assert!(records.runs() <= 24, "{} runs", records.runs());
    // What was put is found again.
    let records = Records::open(&blobs, &history).unwrap();
    let mut found = 0;
    for _ in 0..25 {
        let question = question(&mut draw, &all, 101);
        let answers = asked(&records, &question);
        let places: Vec<_> = answers
            .iter()
            .map(|one| (&*one.volume, &one.path, one.sequence))
            .collect();
        assert!(places.is_sorted(), "{question:?}");
        found += answers.len();
        assert!(
            in_order(answers) == in_order(scanned(&all, &question)),
            "{question:?}"
        );
    }
    assert!(found > 10_000, "{found}");
}

#[test]
fn what_is_not_of_this_history_is_made_again() {
    let memory = MemoryBlobs::default();
    let four = history(&memory, 4);
    let blobs: Arc<dyn Blobs> = Arc::new(memory);
    let mut draw = ChaCha8Rng::seed_from_u64(6);
    let mut records = Records::open(&blobs, &four).unwrap();
    assert_eq!(records.missing(), [1, 2, 3]);
    for sequence in [3, 1] {
        records
            .add(&blobs, sequence, &[drawn(&mut draw, sequence)])
            .unwrap();
    }
    assert_eq!(records.missing(), [2]);
    // A changeset that nobody has is not taken.
    records.add(&blobs, 9, &[drawn(&mut draw, 9)]).unwrap();
    let reopened = Records::open(&blobs, &four).unwrap();
    assert_eq!((reopened.missing(), reopened.count()), (vec![2], 2));
    // Another history with the same places: nothing of it counts, and all of it can be swept.
    let other = {
        let memory = MemoryBlobs::default();
        let mut other = History::default();
        let about = |sequence, parent| About {
            kind: if sequence == 0 {
                Kind::Base
            } else {
                Kind::Resync
            },
            sequence,
            parent,
            disk_bytes: 8192,
        };
        for sequence in 0..4 {
            let mut known = KnownUnits::default();
            let about = about(sequence, other.head());
            let writer = ChangesetWriter::new(&memory, &mut known, about, Cut::CHANGE);
            let taken = Timestamp::from_unix_ns(77);
            other
                .add(writer.finish(taken, String::new()).unwrap())
                .unwrap();
        }
        other
    };
    let mut none = Records::open(&blobs, &other).unwrap();
    assert_eq!((none.missing(), none.count()), (vec![1, 2, 3], 0));
    none.sweep(&*blobs).unwrap();
    assert!(blobs.list(PREFIX).unwrap().is_empty());
}

#[test]
fn runs_within_others_are_superfluous() {
    let memory = MemoryBlobs::default();
    let history = history(&memory, 20);
    let blobs: Arc<dyn Blobs> = Arc::new(memory);
    let mut draw = ChaCha8Rng::seed_from_u64(7);
    let mut records = Records::open(&blobs, &history).unwrap();
    let mut all = Vec::new();
    let mut left = Vec::new();
    for sequence in 1..20 {
        let new: Vec<_> = (0..3).map(|_| drawn(&mut draw, sequence)).collect();
        records.add(&blobs, sequence, &new).unwrap();
        all.extend(new);
        for name in blobs.list(PREFIX).unwrap() {
            let bytes = blobs.read(&name, 0..blobs.length(&name).unwrap()).unwrap();
            left.push((name, bytes));
        }
    }
    // As if no run had been removed: somebody was killed before it was.
    for (name, bytes) in left {
        blobs.put(&name, &bytes).unwrap();
    }
    let mut again = Records::open(&blobs, &history).unwrap();
    assert_eq!(again.count(), 57);
    let question = Question::default();
    assert_eq!(in_order(asked(&again, &question)), in_order(all));
    again.sweep(&*blobs).unwrap();
    assert_eq!(blobs.list(PREFIX).unwrap().len(), again.runs());
}

#[test]
fn every_flipped_bit_is_found() {
    let memory = MemoryBlobs::default();
    let history = history(&memory, 2);
    let blobs: Arc<dyn Blobs> = Arc::new(memory);
    let mut draw = ChaCha8Rng::seed_from_u64(8);
    let new: Vec<_> = (0..40).map(|_| drawn(&mut draw, 1)).collect();
    let mut records = Records::open(&blobs, &history).unwrap();
    records.add(&blobs, 1, &new).unwrap();
    let name = blobs.list(PREFIX).unwrap().remove(0);
    let bytes = blobs.read(&name, 0..blobs.length(&name).unwrap()).unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        blobs.put(&name, &damaged).unwrap();
        let records = Records::open(&blobs, &history).unwrap();
        let answers = records.ask(&Question::default());
        let all: Result<Vec<_>, _> = answers.and_then(Iterator::collect);
        assert!(all.is_err(), "byte {place}");
    }
    for length in 0..bytes.len() {
        blobs.put(&name, &bytes[..length]).unwrap();
        let records = Records::open(&blobs, &history).unwrap();
        let answers = records.ask(&Question::default());
        assert!(
            answers
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .is_err()
        );
    }
}

proptest! {
    #[test]
    fn what_is_no_record_is_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(record) = ChangeRecord::decode("p1".into(), b"/a", 1, &bytes) {
            let again = ChangeRecord::decode("p1".into(), b"/a", 1, &record.encode()).unwrap();
            prop_assert_eq!(again.ranges_all, record.ranges_all);
        }
    }

    #[test]
    fn records_come_back(seed in any::<u64>()) {
        let record = drawn(&mut ChaCha8Rng::seed_from_u64(seed), 3);
        let again = ChangeRecord::decode(record.volume.clone(), &record.path, 3, &record.encode());
        prop_assert_eq!(again, Some(record));
    }
}
