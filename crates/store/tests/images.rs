//! Images as files: whole under their names or not there, for one writer at a time.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use image::blobs::{BlobError, Blobs};
use model::Timestamp;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use store::{ImageRecord, ImageSource, Images, StoreError};
use tempfile::TempDir;
use uuid::Uuid;

fn record(name: &str) -> ImageRecord {
    ImageRecord {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        created: Timestamp::from_unix_ns(1_700_000_000_000_000_000),
        source: ImageSource::Machine {
            vm: "web1".to_owned(),
            disk: "drive0".to_owned(),
        },
        format: "qcow2".to_owned(),
        notes: [("bitmap".to_owned(), "vardoger-0".to_owned())].into(),
    }
}

fn images() -> (TempDir, Images) {
    let place = tempfile::tempdir().unwrap();
    let images = Images::open(&place.path().join("store")).unwrap();
    (place, images)
}

/// Every file and directory below a path.
fn all_below(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(all_below(&entry.unwrap().path()));
        }
    }
    all
}

fn left_aside(images: &Images, shelf: &Path) -> Vec<PathBuf> {
    let names = images.names().unwrap();
    let parent = shelf.parent().unwrap();
    let entries = fs::read_dir(parent)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        names.iter().any(|known| known == name)
    };
    entries.filter(|path| !is_image(path)).collect()
}

#[test]
fn an_image_is_made_read_written_and_removed() {
    let (_place, images) = images();
    assert_eq!(images.names().unwrap(), Vec::<String>::new());
    let record = record("web1");
    let shelf = images.create("web1", &record).unwrap();
    shelf.put("packs/a", b"one").unwrap();
    shelf.put("packs/b", &vec![7; 100_000]).unwrap();
    shelf.put("packs/a", b"two").unwrap();
    let mut changed = record.clone();
    changed.notes.clear();
    shelf.set_record(&changed).unwrap();
    let path = shelf.path().to_owned();
    drop(shelf);
    assert_eq!(images.names().unwrap(), ["web1"]);
    let shelf = images.read("web1").unwrap();
    assert_eq!(shelf.record(), changed);
    assert_eq!(shelf.read("packs/a", 0..3).unwrap(), b"two");
    assert_eq!(shelf.read("packs/b", 99_999..100_000).unwrap(), [7]);
    assert_eq!(shelf.length("packs/b").unwrap(), 100_000);
    assert_eq!(shelf.list("").unwrap(), ["packs/a", "packs/b"]);
    assert_eq!(shelf.list("packs/b").unwrap(), ["packs/b"]);
    assert_eq!(shelf.list("changesets/").unwrap(), Vec::<String>::new());
    images.remove("web1").unwrap();
    assert_eq!(images.names().unwrap(), Vec::<String>::new());
    assert_eq!(left_aside(&images, &path), Vec::<PathBuf>::new());
    let gone = images.read("web1");
    assert!(matches!(gone, Err(StoreError::ImageMissing { .. })));
}

#[test]
fn what_is_not_there_is_told() {
    let (_place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    assert!(matches!(shelf.length("packs/x"), Err(BlobError::Missing(name)) if name == "packs/x"));
    shelf.put("packs/x", b"abc").unwrap();
    for (start, end) in [(0, 4), (3, 2), (4, 5), (0, u64::MAX)] {
        let part = start..end;
        let outcome = shelf.read("packs/x", part.clone());
        assert!(matches!(outcome, Err(BlobError::Short { .. })), "{part:?}");
    }
    shelf.remove("packs/x").unwrap();
    shelf.remove("packs/x").unwrap();
    shelf.remove("nowhere/x").unwrap();
    assert_eq!(shelf.list("").unwrap(), Vec::<String>::new());
}

#[test]
fn files_are_their_owners_alone() {
    let (place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    shelf.put("packs/x", b"abc").unwrap();
    shelf.put("changesets/y", b"abc").unwrap();
    for path in all_below(&place.path().join("store")) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = if metadata.is_dir() { 0o700 } else { 0o600 };
        let found = metadata.permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{}", path.display());
    }
}

#[test]
fn names_are_taken_once() {
    let (_place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    let again = images.create("a", &record("a"));
    assert!(matches!(again, Err(StoreError::ImageTaken { name }) if name == "a"));
    let other = images.create("b", &record("a"));
    assert!(matches!(other, Err(StoreError::ImageName { .. })));
    for name in ["", "..", "a/b", "A", ".new-1"] {
        let outcome = images.create(name, &record(name));
        assert!(
            matches!(outcome, Err(StoreError::ImageName { .. })),
            "{name:?}"
        );
        let outcome = images.read(name);
        assert!(
            matches!(outcome, Err(StoreError::ImageName { .. })),
            "{name:?}"
        );
    }
    assert_eq!(left_aside(&images, shelf.path()), Vec::<PathBuf>::new());
}

#[test]
fn one_writes_at_a_time_and_readers_do_not_wait() {
    let (_place, images) = images();
    let writer = images.create("a", &record("a")).unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    for outcome in [images.write("a").map(drop), images.remove("a")] {
        let error = outcome.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, StoreError::ImageBusy { name, pid: Some(pid) } if name == "a" && pid == own)
        );
        assert_eq!(
            text,
            format!("image a is being written to by process {own}")
        );
    }
    let reader = images.read("a").unwrap();
    writer.put("packs/x", b"abc").unwrap();
    assert_eq!(reader.read("packs/x", 0..3).unwrap(), b"abc");
    drop(writer);
    images.write("a").unwrap();
}

#[test]
fn a_reader_changes_nothing() {
    let (_place, images) = images();
    drop(images.create("a", &record("a")).unwrap());
    let reader = images.read("a").unwrap();
    for outcome in [reader.put("packs/x", b"abc"), reader.remove("packs/x")] {
        let text = outcome.unwrap_err().to_string();
        assert!(
            text.contains("image a was opened for reading only"),
            "{text}"
        );
    }
    let changed = reader.set_record(&reader.record());
    assert!(matches!(changed, Err(StoreError::ImageReadOnly { .. })));
}

#[test]
fn names_of_blobs_lead_nowhere_else() {
    let (place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    let before = all_below(place.path());
    for name in [
        "",
        "x",
        "image.json",
        "lock",
        "/etc/passwd",
        "../b/x",
        "packs/../../x",
        "packs/",
        "a//b",
        "staging/0",
        ".a/b",
        "packs/.x",
        "a/b/c/d/e",
        "pa cks/x",
        "packs/x\n",
    ] {
        assert!(shelf.put(name, b"x").is_err(), "{name:?}");
        assert!(shelf.read(name, 0..0).is_err(), "{name:?}");
        assert!(shelf.remove(name).is_err(), "{name:?}");
    }
    assert_eq!(all_below(place.path()), before);
}

#[test]
fn links_are_not_followed() {
    let (place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    shelf.put("packs/x", b"abc").unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(outside.join("secret"), shelf.path().join("packs/link")).unwrap();
    symlink(&outside, shelf.path().join("linked")).unwrap();
    symlink(&outside, shelf.path().parent().unwrap().join("linked")).unwrap();
    assert!(shelf.read("packs/link", 0..6).is_err());
    assert!(shelf.read("linked/secret", 0..6).is_err());
    assert!(shelf.put("linked/new", b"x").is_err());
    assert!(!outside.join("new").exists());
    assert_eq!(images.names().unwrap(), ["a"]);
    assert!(images.read("linked").is_err());
    // In its place a file may be put: the link goes, what it named stays.
    shelf.put("packs/link", b"abc").unwrap();
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    // A pipe holds nobody up.
    let pipe = shelf.path().join("packs/pipe");
    let mode = rustix::fs::Mode::RWXU;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    assert!(shelf.length("packs/pipe").is_err());
}

#[test]
fn the_next_writer_tidies_up() {
    let (_place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    let path = shelf.path().to_owned();
    drop(shelf);
    fs::write(path.join("staging/0"), "half").unwrap();
    let all = path.parent().unwrap();
    fs::create_dir_all(all.join(".new-1/packs")).unwrap();
    fs::create_dir_all(all.join(".gone-2/packs")).unwrap();
    let shelf = images.write("a").unwrap();
    assert_eq!(fs::read_dir(path.join("staging")).unwrap().count(), 0);
    shelf.put("packs/x", b"abc").unwrap();
    assert_eq!(shelf.list("").unwrap(), ["packs/x"]);
    let _other = images.create("b", &record("b")).unwrap();
    assert_eq!(left_aside(&images, &path), Vec::<PathBuf>::new());
    assert_eq!(images.names().unwrap(), ["a", "b"]);
}

#[test]
fn records_are_held_against_their_image_and_version() {
    let (_place, images) = images();
    let shelf = images.create("a", &record("a")).unwrap();
    let path = shelf.path().join("image.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(shelf.set_record(&record("a")).is_err(), "another id");
    fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let newer = images.read("a");
    assert!(matches!(
        newer,
        Err(StoreError::NewerVersion { found: 2, .. })
    ));
    for damaged in [text.replace("\"a\"", "\"b\""), text[..20].to_owned()] {
        fs::write(&path, damaged).unwrap();
        let outcome = images.read("a");
        assert!(matches!(outcome, Err(StoreError::ImageDamaged { .. })));
    }
    fs::remove_file(&path).unwrap();
    let outcome = images.read("a");
    assert!(matches!(outcome, Err(StoreError::ImageMissing { .. })));
}
