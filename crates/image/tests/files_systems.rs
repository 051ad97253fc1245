//! File events on file systems besides ext, between images that their own tools have made and
//! changed.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

#[path = "../../disk/tests/common/mod.rs"]
mod common;

use common::{Draw, FileSource, run};
use disk::Source;
use image::files::{DiskFiles, FileEvent, diff_disks, differing, on_a_thread};
use std::path::Path;
use tempfile::TempDir;

/// The events between two images of one disk, by kind and path.
fn events(before: &Path, after: &Path) -> Vec<String> {
    let read = |path: &Path| -> (Source, DiskFiles) {
        let source = FileSource::open(path);
        (source.clone(), DiskFiles::read(&[source]))
    };
    let ((one, before), (other, after)) = (read(before), read(after));
    let dirty = differing(&one, &other, &on_a_thread).unwrap();
    let volume = diff_disks(&before, &after, &[dirty]).pop().unwrap();
    let found = volume.files.unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    found.events.iter().map(told).collect()
}

fn told(event: &FileEvent) -> String {
    let path = String::from_utf8_lossy(&event.path);
    format!("{} {path}", event.change.name())
}

#[test]
fn what_was_done_to_files_of_fat_is_told() {
    let directory = TempDir::new().unwrap();
    let (before, after) = (
        directory.path().join("before"),
        directory.path().join("after"),
    );
    let path = before.to_str().unwrap();
    run("mkfs.fat", &["-C", "-F", "16", path, "20000"]);
    let file = directory.path().join("file");
    std::fs::write(&file, Draw(1).bytes(9000)).unwrap();
    let file = file.to_str().unwrap();
    let copy = |image: &str, to: &str| run("mcopy", &["-m", "-i", image, file, to]);
    run("mmd", &["-i", path, "::stays", "::goes"]);
    for name in ["stays", "renamed", "deleted", "changed"] {
        copy(path, &format!("::stays/{name} file.txt"));
        copy(path, &format!("::goes/{name}"));
    }
    std::fs::copy(&before, &after).unwrap();
    let path = after.to_str().unwrap();
    // Before another one's first cluster becomes free: mcopy keeps no time of birth.
    copy(path, "::created");
    run(
        "mren",
        &["-i", path, "::stays/renamed file.txt", "::stays/other name"],
    );
    run("mren", &["-i", path, "::goes", "::gone"]);
    run("mdel", &["-i", path, "::stays/deleted file.txt"]);
    run("mattrib", &["+r", "-i", path, "::stays/stays file.txt"]);
    // A byte of a file, in its place.
    let mut bytes = std::fs::read(&after).unwrap();
    let content = Draw(1).bytes(9000);
    let places = 0..bytes.len() - 9000;
    let mut places = places
        .step_by(512)
        .filter(|at| bytes[*at..*at + 9000] == content[..]);
    let place = places.nth(3).unwrap();
    bytes[place + 700] ^= 1;
    std::fs::write(&after, bytes).unwrap();
    let changed = {
        let files = DiskFiles::read(&[FileSource::open(&after)]);
        let (_, files) = files.readable().next().unwrap();
        let at = |entry: &image::files::Entry<'_>| {
            let extents = files.tree.extents(entry.object.id);
            extents
                .iter()
                .any(|one| one.physical * files.tree.block_bytes() == place as u64)
        };
        let entry = files.tree.entries().find(at).unwrap();
        String::from_utf8(entry.path()).unwrap()
    };
    let mut expected = vec![
        "renamed /stays/other name".to_owned(),
        "renamed /gone".to_owned(),
        "deleted /stays/deleted file.txt".to_owned(),
        "metadata /stays/stays file.txt".to_owned(),
        "created /created".to_owned(),
        format!("modified {changed}"),
    ];
    let mut found = events(&before, &after);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
