//! The evidence: blobs come before their events, are private, checked, swept and pruned.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use model::{Event, Severity};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use store::{EventFilter, Limits, Store, StoreError};
use support::{ended, failed, moment, open, recorded, started};

/// All files below a directory.
fn files(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

#[tokio::test]
async fn a_blob_is_what_was_put_and_private() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let key = "runs/1/majority.state";
    let info = store.put_blob(key, b"evidence".to_vec()).await.unwrap();
    assert_eq!((info.bytes, info.key.as_str()), (8, key));
    assert_eq!(info.digest, blake3::hash(b"evidence").to_hex().as_str());
    store.append(started(1), moment(0)).await.unwrap();
    store.append(ended(1, Some(key)), moment(1)).await.unwrap();
    let other = open(place.path()).await;
    assert_eq!(other.get_blob(key).await.unwrap(), b"evidence");
    let path = other.blob_path(key).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"evidence");
    for ancestor in path.ancestors().skip(1).take(4) {
        assert_eq!(fs::metadata(ancestor).unwrap().mode() & 0o777, 0o700);
    }
    for file in files(place.path()) {
        let mode = fs::metadata(&file).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn an_event_names_only_durable_blobs() {
    let place = tempfile::tempdir().unwrap();
    let (store, other) = (open(place.path()).await, open(place.path()).await);
    store.append(started(1), moment(0)).await.unwrap();
    let early = store.append(ended(1, Some("runs/1/a")), moment(1)).await;
    assert!(matches!(early, Err(StoreError::BlobMissing { .. })));
    // Another handle's blob may be swept with that handle, so it does not count.
    other.put_blob("runs/1/a", vec![1]).await.unwrap();
    let foreign = store.append(ended(1, Some("runs/1/a")), moment(1)).await;
    assert!(matches!(foreign, Err(StoreError::BlobMissing { .. })));
    assert_eq!(store.usage().await.unwrap().events, 1);
    assert!(matches!(
        store.get_blob("runs/1/a").await,
        Err(StoreError::BlobMissing { .. })
    ));
    other
        .append(ended(1, Some("runs/1/a")), moment(1))
        .await
        .unwrap();
    assert_eq!(store.get_blob("runs/1/a").await.unwrap(), [1]);
}

#[tokio::test]
async fn a_named_blob_is_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let (store, other) = (open(place.path()).await, open(place.path()).await);
    store.put_blob("a", vec![1]).await.unwrap();
    let taken = other.put_blob("a", vec![2]).await;
    assert!(matches!(taken, Err(StoreError::BlobTaken { .. })));
    store.put_blob("a", vec![3]).await.unwrap();
    assert_eq!(store.get_blob("a").await.unwrap(), [3]);
    store.append(started(1), moment(0)).await.unwrap();
    store.append(ended(1, Some("a")), moment(0)).await.unwrap();
    let named = store.put_blob("a", vec![4]).await;
    assert!(matches!(named, Err(StoreError::BlobTaken { .. })));
    assert_eq!(store.get_blob("a").await.unwrap(), [3]);
}

#[tokio::test]
async fn hostile_keys_touch_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store")).await;
    for key in ["../escaped", "/tmp/escaped", "a/../../escaped", "", "a\0b"] {
        let outcome = store.put_blob(key, vec![1]).await;
        assert!(matches!(outcome, Err(StoreError::Key(_))), "{key:?}");
        let outcome = store.get_blob(key).await;
        assert!(matches!(outcome, Err(StoreError::Key(_))), "{key:?}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(store.usage().await.unwrap().blobs, 0);
}

#[tokio::test]
async fn a_changed_blob_is_not_returned() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    store.put_blob("a", b"evidence".to_vec()).await.unwrap();
    fs::write(store.blob_path("a").await.unwrap(), b"evidemce").unwrap();
    assert!(matches!(
        store.get_blob("a").await,
        Err(StoreError::BlobCorrupt { .. })
    ));
    fs::remove_file(store.blob_path("a").await.unwrap()).unwrap();
    assert!(matches!(
        store.get_blob("a").await,
        Err(StoreError::BlobMissing { .. })
    ));
}

#[tokio::test]
async fn a_sparse_file_stays_sparse() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("image");
    let mut image = fs::File::create(&source).unwrap();
    image.seek(SeekFrom::Start(100 << 20)).unwrap();
    image.write_all(b"end").unwrap();
    image.set_len((256 << 20) + 5).unwrap();
    let store = open(&place.path().join("store")).await;
    let info = store.put_blob_file("image", &source).await.unwrap();
    assert_eq!(info.bytes, (256 << 20) + 5);
    assert!(info.allocated_bytes <= 1 << 20, "{}", info.allocated_bytes);
    let content = store.get_blob("image").await.unwrap();
    assert_eq!(content.len() as u64, info.bytes);
    assert_eq!(content.get(100 << 20..(100 << 20) + 3), Some(&b"end"[..]));
}

#[tokio::test]
async fn an_absent_file_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let outcome = store.put_blob_file("a", &place.path().join("none")).await;
    assert!(matches!(outcome, Err(StoreError::Io { .. })));
    assert!(files(&place.path().join("staging")).is_empty());
    store.put_blob("a", vec![1]).await.unwrap();
}

#[tokio::test]
async fn a_sweep_takes_only_what_the_dead_left() {
    let place = tempfile::tempdir().unwrap();
    let (living, dying) = (open(place.path()).await, open(place.path()).await);
    living.put_blob("living/a", vec![1]).await.unwrap();
    dying.put_blob("dying/a", vec![2]).await.unwrap();
    dying.append(started(1), moment(0)).await.unwrap();
    dying.put_blob("dying/named", vec![3]).await.unwrap();
    let event = recorded(1, Severity::High, Some("dying/named"));
    dying.append(event, moment(0)).await.unwrap();
    assert_eq!(living.sweep_orphans().await.unwrap(), 0);
    drop(dying);
    assert_eq!(living.sweep_orphans().await.unwrap(), 1);
    assert!(!place.path().join("blobs/dying/a").exists());
    assert_eq!(living.get_blob("living/a").await.unwrap(), [1]);
    assert_eq!(living.get_blob("dying/named").await.unwrap(), [3]);
    assert_eq!(files(&place.path().join("writers")).len(), 1);
}

#[tokio::test]
async fn directories_that_a_sweep_left_empty_are_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let (living, dying) = (open(place.path()).await, open(place.path()).await);
    dying.put_blob("a/b", vec![1]).await.unwrap();
    drop(dying);
    assert_eq!(living.sweep_orphans().await.unwrap(), 1);
    for key in ["a/b", "c"] {
        living.put_blob(key, vec![2]).await.unwrap();
        assert_eq!(living.get_blob(key).await.unwrap(), [2]);
    }
    for directory in ["blobs", "blobs/a"] {
        let mode = fs::metadata(place.path().join(directory)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

/// A store with `runs` runs, each ended with one blob of 64 KiB.
async fn with_runs(path: &Path, runs: u64, max_bytes: u64) -> Store {
    let store = Store::open(path, Limits { max_bytes }).await.unwrap();
    for number in 1..=runs {
        let key = format!("runs/{number}/state");
        store.append(started(number), moment(0)).await.unwrap();
        store.put_blob(&key, vec![0xa5; 64 << 10]).await.unwrap();
        store
            .append(ended(number, Some(&key)), moment(1))
            .await
            .unwrap();
    }
    store
}

#[tokio::test]
async fn pruning_starts_with_the_oldest_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let store = with_runs(place.path(), 4, 300 << 10).await;
    let records = store.prune_to_limit(moment(9)).await.unwrap();
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    let Event::Pruned { blobs, freed_bytes } = &record.event else {
        panic!("{record:?}");
    };
    assert_eq!(blobs.first().unwrap(), "runs/1/state");
    assert_eq!(*freed_bytes, (blobs.len() as u64) * (64 << 10));
    assert!(store.usage().await.unwrap().bytes <= 300 << 10);
    assert!(matches!(
        store.get_blob("runs/1/state").await,
        Err(StoreError::Pruned { .. })
    ));
    assert!(!place.path().join("blobs/runs/1").exists());
    assert!(store.get_blob("runs/4/state").await.is_ok());
    let last = store.events(EventFilter::default()).await.unwrap();
    assert_eq!(last.last(), Some(record));
    assert_eq!(store.prune_to_limit(moment(9)).await.unwrap(), []);
}

#[tokio::test]
async fn the_newest_run_and_runs_at_work_keep_their_blobs() {
    let place = tempfile::tempdir().unwrap();
    let store = with_runs(place.path(), 2, 0).await;
    store.append(started(3), moment(0)).await.unwrap();
    store.put_blob("runs/3/found", vec![1; 4096]).await.unwrap();
    let mut found = support::finding(1, Severity::High, Some("runs/3/found"));
    found.run = Some(support::run_id(3));
    let event = Event::FindingRecorded {
        finding: Box::new(found),
    };
    store.append(event, moment(0)).await.unwrap();
    store.append(started(4), moment(0)).await.unwrap();
    store.prune_to_limit(moment(9)).await.unwrap();
    assert!(store.get_blob("runs/2/state").await.is_err());
    assert!(store.get_blob("runs/3/found").await.is_ok());
    store.append(failed(3), moment(9)).await.unwrap();
    store.prune_to_limit(moment(9)).await.unwrap();
    assert!(store.get_blob("runs/3/found").await.is_err());
    let only = with_runs(&place.path().join("only"), 1, 0).await;
    assert_eq!(only.prune_to_limit(moment(9)).await.unwrap(), []);
}

#[tokio::test]
async fn a_prune_that_was_broken_off_is_finished_at_the_next_opening() {
    let place = tempfile::tempdir().unwrap();
    let store = with_runs(place.path(), 2, 0).await;
    let path = store.blob_path("runs/1/state").await.unwrap();
    store.prune_to_limit(moment(9)).await.unwrap();
    drop(store);
    // As a crash leaves it between the commit and the removal of the file.
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "left").unwrap();
    let database = rusqlite::Connection::open(place.path().join("events.sqlite")).unwrap();
    let rewound = "UPDATE blobs SET state = 'pruned' WHERE key = 'runs/1/state'";
    assert_eq!(database.execute(rewound, []).unwrap(), 1);
    drop(database);
    let store = open(place.path()).await;
    assert!(!path.exists());
    assert!(matches!(
        store.get_blob("runs/1/state").await,
        Err(StoreError::Pruned { .. })
    ));
}
