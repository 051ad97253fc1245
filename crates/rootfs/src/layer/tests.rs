use super::*;
use tar::{Builder, Header};

/// An entry of an archive that was made up, with a name that no check has seen.
fn add(archive: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, content: &str) {
    let mut header = Header::new_gnu();
    let bytes = name.as_bytes();
    header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory {
        0o555
    } else {
        0o640
    });
    header.set_mtime(1_700_000_000);
    header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
    header.set_gid(u64::from(rustix::process::getegid().as_raw()));
    let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
    if is_link {
        header.set_link_name_literal(content).unwrap();
    }
    let content = if is_link { "" } else { content };
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append(&header, content.as_bytes()).unwrap();
}

fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        add(&mut archive, name, *kind, content);
    }
    archive.into_inner().unwrap()
}

fn apply(tree: &Path, entries: &[(&str, EntryType, &str)]) -> Result<(), RootfsError> {
    let layer = Layer::new(Path::new("layer.tar"), tree, true)?;
    layer.apply(archive(entries).as_slice())
}

use EntryType::{Block, Char, Directory as Dir, Fifo, Link, Regular as File, Symlink};

#[test]
fn files_links_and_modes_are_unpacked_and_devices_are_not() {
    let tree = tempfile::tempdir().unwrap();
    apply(
        tree.path(),
        &[
            ("./", Dir, ""),
            ("usr/", Dir, ""),
            ("usr/bin/", Dir, ""),
            ("usr/bin/tool", File, "a tool"),
            ("bin", Symlink, "usr/bin"),
            ("bin/other", File, "through a link"),
            ("same", Link, "usr/bin/tool"),
            ("/etc/name", File, "absolute"),
            ("dev/null", Char, ""),
            ("dev/vda", Block, ""),
            ("run/pipe", Fifo, ""),
        ],
    )
    .unwrap();
    let read = |name: &str| fs::read_to_string(tree.path().join(name)).unwrap();
    assert_eq!(read("usr/bin/tool"), "a tool");
    assert_eq!(read("usr/bin/other"), "through a link");
    assert_eq!(read("same"), "a tool");
    assert_eq!(read("etc/name"), "absolute");
    let mode = |name: &str| {
        let metadata = fs::metadata(tree.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!((mode("usr/bin"), mode("usr/bin/tool")), (0o555, 0o640));
    assert!(!tree.path().join("dev/null").exists());
    assert!(!tree.path().join("run/pipe").exists());
}

#[test]
fn a_layer_takes_away_and_replaces_what_lies_below() {
    let tree = tempfile::tempdir().unwrap();
    apply(
        tree.path(),
        &[
            ("a/one", File, "1"),
            ("a/two", File, "2"),
            ("b/three", File, "3"),
            ("b/deep/four", File, "4"),
            ("was-file", File, "5"),
            ("was-directory/six", File, "6"),
        ],
    )
    .unwrap();
    apply(
        tree.path(),
        &[
            ("a/.wh.one", File, ""),
            ("b/new", File, "new"),
            ("b/.wh..wh..opq", File, ""),
            ("was-file/", Dir, ""),
            ("was-file/inside", File, "7"),
            ("was-directory", File, "8"),
            ("nowhere/.wh.nothing", File, ""),
        ],
    )
    .unwrap();
    let is_there = |name: &str| tree.path().join(name).symlink_metadata().is_ok();
    assert!(!is_there("a/one") && is_there("a/two"));
    assert!(!is_there("b/three") && !is_there("b/deep") && is_there("b/new"));
    assert!(is_there("was-file/inside"));
    assert_eq!(fs::read(tree.path().join("was-directory")).unwrap(), b"8");
    assert!(!is_there("nowhere"));
}

#[test]
fn nothing_is_written_or_taken_away_outside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "kept").unwrap();
    let outside_name = outside.path().to_str().unwrap();
    let cases: [&[(&str, EntryType, &str)]; 6] = [
        &[("../escaped", File, "x")],
        &[("a/../../escaped", File, "x")],
        &[("out", Symlink, outside_name), ("out/escaped", File, "x")],
        &[("out", Symlink, outside_name), ("out/deep/er/", Dir, "")],
        &[("out", Symlink, outside_name), ("out/.wh.kept", File, "")],
        &[
            ("out", Symlink, outside_name),
            ("out/.wh..wh..opq", File, ""),
        ],
    ];
    for entries in cases {
        let tree = tempfile::tempdir().unwrap();
        let refused = apply(tree.path(), entries).unwrap_err().to_string();
        assert!(refused.contains("out of the root"), "{refused}");
    }
    // A hard link to a file outside would be a way to it.
    let tree = tempfile::tempdir().unwrap();
    let kept = format!("{outside_name}/kept");
    let linked = apply(tree.path(), &[("stolen", Link, &kept)]);
    assert!(linked.is_err() || fs::read(tree.path().join("stolen")).is_err());
    let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn what_is_cut_off_or_no_archive_is_told() {
    let tree = tempfile::tempdir().unwrap();
    let whole = archive(&[("file", File, &"x".repeat(3000))]);
    for bytes in [&whole[..1200], &[7; 2048][..]] {
        let layer = Layer::new(Path::new("layer.tar"), tree.path(), false).unwrap();
        assert!(layer.apply(bytes).is_err());
    }
}
