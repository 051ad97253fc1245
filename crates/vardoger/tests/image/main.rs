//! Disk images as a user has them: made by the tools of their field, captured, changed, and looked
//! into, against what those tools say and what the test itself has put in.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod places;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::World;

/// Where the first partition begins.
const START: u64 = 1 << 20;

/// A disk with a partition table, an ext4 file system in its first partition, and what is in it.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Makes one out of files of many sizes, links and odd names.
    fn new(world: &World) -> Self {
        let disk = Self {
            directory: world.path("disk"),
        };
        let tree = disk.tree();
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::create_dir_all(tree.join("home/ann/deep/deeper")).unwrap();
        fs::write(tree.join("etc/passwd"), "root:x:0:0\n").unwrap();
        symlink("/etc/passwd", tree.join("etc/link")).unwrap();
        for size in [0, 1, 59, 4096, 4097, 70_000, 3_000_000] {
            fs::write(tree.join(format!("home/ann/{size}")), content(size)).unwrap();
        }
        // Names are a guest's: they are bytes, and may try to speak to a terminal.
        let hostile = std::ffi::OsStr::from_bytes(b"\x1b[31m<script>\xff\n");
        fs::write(tree.join("home/ann/deep").join(hostile), "x").unwrap();
        let (tree, image) = (tree.to_str().unwrap(), disk.path("fs.img"));
        run("mke2fs", &["-q", "-t", "ext4", "-d", tree, &image, "48M"]);
        run("truncate", &["-s", "52M", &disk.path("disk.raw")]);
        let mut table = Command::new("sfdisk")
            .args(["-q", &disk.path("disk.raw")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut script = table.stdin.take().unwrap();
        script
            .write_all(b"label: gpt\nstart=2048,type=linux\n")
            .unwrap();
        drop(script);
        assert!(table.wait().unwrap().success());
        disk.put();
        disk
    }

    fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Puts the file system into the disk, and the disk into an image.
    fn put(&self) {
        let bytes = fs::read(self.path("fs.img")).unwrap();
        let disk = fs::OpenOptions::new()
            .write(true)
            .open(self.path("disk.raw"));
        std::os::unix::fs::FileExt::write_all_at(&disk.unwrap(), &bytes, START).unwrap();
        let (raw, image) = (self.path("disk.raw"), self.path("web1.qcow2"));
        run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "qcow2", &raw, &image],
        );
    }

    /// Has debugfs change the file system.
    fn change(&self, commands: &[String]) {
        for command in commands {
            run("debugfs", &["-w", "-R", command, &self.path("fs.img")]);
        }
        self.put();
    }

    fn image(&self) -> String {
        self.path("web1.qcow2")
    }
}

/// Bytes that are not like others of the same file.
fn content(size: usize) -> Vec<u8> {
    let mut state = size as u32 | 1;
    let next = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    next.take(size).collect()
}

fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
}

fn list<'v>(data: &'v Value, key: &str) -> &'v Vec<Value> {
    data[key].as_array().unwrap()
}

/// Events or changes as path and change, and of what was renamed its path before.
fn events(data: &Value) -> BTreeMap<String, String> {
    let each = list(data, "events").iter().map(|event| {
        let path = event["path"].as_str().unwrap().to_owned();
        (path, event["change"].as_str().unwrap().to_owned())
    });
    each.collect()
}

#[test]
fn a_disk_is_captured_and_told_file_by_file() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let added = world.data(&format!("image add {}", disk.image()));
    assert_eq!(
        (&added["image"], &added["kind"]),
        (&"web1".into(), &"base".into())
    );

    // All that was put in is there, as it was put in.
    let found = world.data("image files web1");
    let mut there = BTreeMap::new();
    for file in list(&found, "files") {
        there.insert(bytes_of(file), file.clone());
    }
    let mut expected = Vec::new();
    walk(&disk.tree(), &mut expected);
    for path in &expected {
        let at = disk.tree().join(path);
        let metadata = at.symlink_metadata().unwrap();
        let name = [b"/", path.as_os_str().as_bytes()].concat();
        let file = there
            .remove(&name)
            .unwrap_or_else(|| panic!("{path:?} is missing"));
        assert_eq!(file["mode"], format!("{:o}", metadata.mode()), "{path:?}");
        if !metadata.is_dir() {
            assert_eq!(file["size_bytes"], metadata.len(), "{path:?}");
        }
    }
    let left: Vec<_> = there
        .keys()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    assert!(
        left.iter()
            .all(|name| name == "/" || name.starts_with("/lost+found")),
        "{left:?}"
    );
    // To people a name is text, whatever it tries to be.
    let shown = world
        .run("image files web1 /home/ann/deep")
        .expect(0)
        .stdout;
    assert!(
        shown.contains("<script>") && !shown.contains('\x1b'),
        "{shown}"
    );

    // What happens to it is told.
    fs::write(disk.path("new"), content(5000)).unwrap();
    let new = disk.path("new");
    disk.change(&[
        // First, so that it is not given the other's inode: debugfs gives no generations.
        format!("write {new} /home/ann/new"),
        "rm /home/ann/59".to_owned(),
        "set_inode_field /home/ann/4096 uid 1000".to_owned(),
        "mkdir /srv".to_owned(),
    ]);
    let second = world.data("image capture web1");
    assert_eq!(second["kind"], "resync");
    assert!(
        second["changed_bytes"].as_u64().unwrap() < 1 << 20,
        "{second}"
    );
    let told = events(&world.data("image diff web1"));
    let expected = [
        ("/home/ann/59", "deleted"),
        ("/home/ann/new", "created"),
        ("/home/ann/4096", "metadata"),
        ("/srv", "created"),
    ];
    for (path, change) in expected {
        assert_eq!(told.get(path).map(String::as_str), Some(change), "{told:?}");
    }
    let others: Vec<_> = told
        .iter()
        .filter(|(path, _)| expected.iter().all(|(known, _)| known != path))
        .collect();
    // Directories have new times where a name came or went.
    assert!(
        others.iter().all(|(_, change)| *change == "metadata"),
        "{others:?}"
    );
    // The image file and what was captured of it are one and the same.
    let same = world.data(&format!("image diff web1 {}", disk.image()));
    assert_eq!(list(&same, "events").len(), 0, "{same}");
    world.assert_clean();
}

fn bytes_of(file: &Value) -> Vec<u8> {
    match file["path_bytes"].as_str() {
        Some(digits) => (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect(),
        None => file["path"].as_str().unwrap().as_bytes().to_vec(),
    }
}

/// Paths below a directory, relative to it.
fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
    fn below(root: &Path, at: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(at).unwrap().flatten() {
            into.push(entry.path().strip_prefix(root).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                below(root, &entry.path(), into);
            }
        }
    }
    below(directory, directory, into);
}

#[test]
fn changes_are_told_capture_by_capture() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let first = world.data(&format!("image add {}", disk.image()));
    let mut captured = vec![first["taken"].as_str().unwrap().to_owned()];
    let steps = [
        "rm /home/ann/59",
        "set_inode_field /etc/passwd uid 7",
        "mkdir /home/ann/deep/new",
        "rm /home/ann/70000",
    ];
    for step in steps {
        disk.change(&[step.to_owned()]);
        let taken = world.data("image capture web1");
        captured.push(taken["taken"].as_str().unwrap().to_owned());
    }
    // Each step, by the capture that has it; directories have new times besides.
    let told = |flags: &str| -> Vec<(u64, String, String)> {
        let data = world.data(&format!("image diff web1 {flags}"));
        let each = list(&data, "changes").iter().map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            assert_eq!(
                one["until"],
                captured[one["sequence"].as_u64().unwrap() as usize]
            );
            (
                one["sequence"].as_u64().unwrap(),
                text("change"),
                text("path"),
            )
        });
        each.filter(|(_, change, path)| change != "metadata" || path == "/etc/passwd")
            .collect()
    };
    let at =
        |sequence: u64, change: &str, path: &str| (sequence, change.to_owned(), path.to_owned());
    let all = [
        at(2, "metadata", "/etc/passwd"),
        at(1, "deleted", "/home/ann/59"),
        at(4, "deleted", "/home/ann/70000"),
        at(3, "created", "/home/ann/deep/new"),
    ];
    let since = |place: usize| format!("--since {}", captured[place]);
    assert_eq!(told(&since(0)), all);
    assert_eq!(told(&since(2)), all[2..]);
    assert_eq!(
        told(&format!("{} --path /home/ann/deep", since(0))),
        all[3..]
    );
    assert_eq!(
        told(&format!("{} --until {}", since(0), captured[1])),
        all[1..2]
    );
    // A line for each, and a list for people.
    let lines = world.run(&format!("image diff web1 -o ndjson {}", since(0)));
    let lines = lines.expect(0).stdout;
    assert!(
        lines.lines().count() >= 4 && lines.contains("vardoger/change/1"),
        "{lines}"
    );
    let shown = world
        .run(&format!("image diff web1 {}", since(0)))
        .expect(0)
        .stdout;
    assert!(shown.contains("/home/ann/deep/new"), "{shown}");

    // Damaged records are made again; those of what was forgotten go with it.
    let folder = world.store().join("images/web1/records");
    for run in fs::read_dir(&folder).unwrap().flatten() {
        let mut bytes = fs::read(run.path()).unwrap();
        bytes[20] ^= 1;
        fs::write(run.path(), bytes).unwrap();
    }
    assert_eq!(told(&since(0)), all);
    world.run("image check web1 --deep").expect(0);
    world.run("image forget web1 --keep-last 2").expect(0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(told(&since(0)), all[2..3]);
    world.assert_clean();
}

#[test]
fn old_versions_come_back_as_they_were() {
    let world = World::cold();
    let disk = Disk::new(&world);
    world
        .run(&format!("image add {} --name w", disk.image()))
        .expect(0);
    let first = fs::read(disk.path("disk.raw")).unwrap();
    disk.change(&["rm /home/ann/70000".to_owned(), "rm /etc/passwd".to_owned()]);
    world.run("image capture w").expect(0);

    // The disk of then and of now.
    for (version, expected) in [
        ("w@-1", first),
        ("w", fs::read(disk.path("disk.raw")).unwrap()),
    ] {
        let to = disk.path(&format!("{version}.raw"));
        world
            .run(&format!("image restore {version} --to {to}"))
            .expect(0);
        assert!(fs::read(&to).unwrap() == expected, "{version}");
    }
    // One file, bytes only; a directory with all below it.
    assert_eq!(
        world.run("image cat w@-1 /etc/passwd").expect(0).stdout,
        "root:x:0:0\n"
    );
    assert!(
        world
            .run("image cat w /etc/passwd")
            .expect(1)
            .stderr
            .contains("/etc/passwd")
    );
    let to = disk.path("out");
    world
        .run(&format!("image restore w@-1 /home --to {to}"))
        .expect(0);
    let mut paths = Vec::new();
    walk(&disk.tree().join("home"), &mut paths);
    for path in paths {
        let (was, is) = (
            disk.tree().join("home").join(&path),
            Path::new(&to).join("home").join(&path),
        );
        if was.is_file() {
            assert!(
                fs::read(&was).unwrap() == fs::read(&is).unwrap(),
                "{path:?}"
            );
        }
        let (was, is) = (
            was.symlink_metadata().unwrap(),
            is.symlink_metadata().unwrap(),
        );
        assert_eq!(was.mode() & 0o777, is.mode() & 0o777, "{path:?}");
    }
    // Nothing is written over.
    let again = world
        .run(&format!("image restore w@-1 /home --to {to}"))
        .expect(1);
    assert!(again.stderr.contains("exists"), "{}", again.stderr);

    // A shorter history reads the same.
    let anchor = world.data("image anchor w")["anchor"]
        .as_str()
        .unwrap()
        .to_owned();
    world.run("image forget w --keep-last 1").expect(0);
    let checked = world.data(&format!("image check w --deep --anchor {anchor}"));
    assert_eq!(
        (&checked["sound"], &checked["anchor"]),
        (&true.into(), &"holds-by-merge".into())
    );
    let to = disk.path("kept.raw");
    world.run(&format!("image restore w --to {to}")).expect(0);
    assert!(fs::read(&to).unwrap() == fs::read(disk.path("disk.raw")).unwrap());
    world.run("image cat w@-1 /etc/passwd").expect(2);
    world.run("image rm w").expect(2);
    world.run("image rm w --yes").expect(0);
    assert_eq!(list(&world.data("image ls"), "images").len(), 0);
    world.assert_clean();
}

#[test]
fn damage_and_tampering_are_found() {
    let world = World::cold();
    let disk = Disk::new(&world);
    world.run(&format!("image add {}", disk.image())).expect(0);
    disk.change(&["rm /home/ann/1".to_owned()]);
    world.run("image capture web1").expect(0);
    let anchor = world.data("image anchor web1")["anchor"]
        .as_str()
        .unwrap()
        .to_owned();
    let anchored = format!("image check web1 --anchor {anchor}");
    assert_eq!(world.data(&anchored)["anchor"], "holds");

    // The last capture cut off: sound by itself, but not what it was.
    let changesets = world.store().join("images/web1/changesets");
    let mut names: Vec<PathBuf> = fs::read_dir(&changesets)
        .unwrap()
        .flatten()
        .map(|one| one.path())
        .collect();
    names.sort();
    let last = names.pop().unwrap();
    let kept = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    world.run("image check web1").expect(0);
    let cut = world.run(&anchored).expect(3);
    assert!(cut.stdout.contains("the history was cut"), "{}", cut.stdout);
    fs::write(&last, &kept).unwrap();

    // One bit of a pack.
    let packs = world.store().join("images/web1/packs");
    let pack = fs::read_dir(packs)
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&pack, bytes).unwrap();
    let checked = world
        .run("image check web1 --read-data --json")
        .expect(3)
        .data();
    let named = list(&checked, "damages")[0]["blob"].as_str().unwrap();
    assert!(
        pack.ends_with(named.rsplit('/').next().unwrap()),
        "{checked}"
    );
    world.assert_clean();
}

#[test]
fn an_encrypted_history_is_nothing_without_its_key() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let add = format!("image add {} --encrypt", disk.image());
    world.run(&add).expect(0);
    disk.change(&["rm /home/ann/70000".to_owned()]);
    world.run("image capture web1").expect(0);
    let listed = world.data("image ls");
    assert_eq!(list(&listed, "images")[0]["encrypted"], true);
    let changes = events(&world.data("image diff web1"));
    assert_eq!(changes["/home/ann/70000"], "deleted");
    let restored = world.path("restored");
    let restore = format!(
        "image restore web1@-1 /home/ann/70000 --to {}",
        restored.display()
    );
    world.run(&restore).expect(0);
    assert_eq!(fs::read(restored.join("70000")).unwrap(), content(70_000));
    world
        .run("image diff web1 --since 2020-01-01T00:00Z")
        .expect(0);
    world.run("image check web1 --deep").expect(0);

    // Whatever lies in the store of what was on the disk, records of changes too, is encrypted.
    let mut files = Vec::new();
    let directory = world.store().join("images/web1");
    walk(&directory, &mut files);
    let is_kept = |file: &PathBuf| {
        let name = file.file_name().unwrap();
        file.is_file() && name != "image.json" && name != "lock"
    };
    let all = files.iter().map(|file| directory.join(file));
    let kept: Vec<_> = all.filter(is_kept).collect();
    assert!(kept.len() >= 4, "{kept:?}");
    for file in &kept {
        assert!(fs::read(file).unwrap().starts_with(b"VDGRCRPT"), "{file:?}");
    }

    let key = world.path("config/vardoger/encryption.key");
    let text = fs::read_to_string(&key).unwrap();
    fs::write(&key, text.replace(['0', '1', '2'], "9")).unwrap();
    let refused = world.run("image check web1").expect(1);
    assert!(refused.stderr.contains("another key"), "{}", refused.stderr);
    fs::remove_file(&key).unwrap();
    for verb in ["log web1", "cat web1 /etc/passwd", "capture web1"] {
        let refused = world.run(&format!("image {verb}")).expect(1);
        assert!(
            refused.stderr.contains("its key"),
            "{verb}: {}",
            refused.stderr
        );
    }
    // Others do not need it.
    world
        .run(&format!("image add {} --name plain", disk.image()))
        .expect(0);
    world.assert_clean();
}

#[test]
fn what_is_not_to_be_read_is_refused() {
    let world = World::cold();
    let disk = Disk::new(&world);
    let (image, raw) = (disk.image(), disk.path("disk.raw"));
    let refused = |arguments: &str, code: i32, words: &str| {
        let ended = world.run(arguments).expect(code);
        assert!(
            ended.stderr.contains(words),
            "{arguments}: {}",
            ended.stderr
        );
    };
    // The format is never a guest's to tell.
    fs::copy(&image, disk.path("disk.img")).unwrap();
    refused(&format!("image add {}", disk.path("disk.img")), 2, "format");
    refused("image add /nowhere/x.qcow2", 1, "/nowhere/x.qcow2");
    refused(
        "image add /dev/null --format raw --name x",
        1,
        "neither a file nor a block device",
    );
    // An image below is followed only where that is allowed.
    fs::create_dir(disk.path("other")).unwrap();
    let top = disk.path("other/top.qcow2");
    run(
        "qemu-img",
        &[
            "create", "-q", "-f", "qcow2", "-b", &image, "-F", "qcow2", &top,
        ],
    );
    refused(&format!("image add {top}"), 1, "not allowed");
    let allowed = disk.path("");
    let files = world.data(&format!("image files {top} /etc --allow {allowed}"));
    assert_eq!(list(&files, "files").len(), 3, "{files}");
    // Encrypted, cut off, and nonsense.
    let secret = "secret,id=s,data=abc";
    let luks = disk.path("luks.qcow2");
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    run(
        "qemu-img",
        &[
            "create", "-q", "--object", secret, "-f", "qcow2", "-o", options, &luks, "8M",
        ],
    );
    refused(&format!("image add {luks}"), 1, "encrypted");
    let bytes = fs::read(&image).unwrap();
    fs::write(disk.path("cut.qcow2"), &bytes[..bytes.len() / 2]).unwrap();
    refused(
        &format!("image add {}", disk.path("cut.qcow2")),
        1,
        "could not be read",
    );
    fs::write(disk.path("noise.qcow2"), content(100_000)).unwrap();
    refused(
        &format!("image add {}", disk.path("noise.qcow2")),
        1,
        "not a qcow2 image",
    );
    // Nothing of what was refused is in the store.
    assert_eq!(list(&world.data("image ls"), "images").len(), 0);
    // What holds no file system that is known is still a disk.
    fs::write(disk.path("noise.raw"), content(300_000)).unwrap();
    world
        .run(&format!("image add {}", disk.path("noise.raw")))
        .expect(0);
    let found = world.data("image files noise");
    assert_eq!(list(&found, "volumes")[0]["kind"], "unknown", "{found}");

    // Somebody writes to it.
    let held = fs::OpenOptions::new().write(true).open(&raw).unwrap();
    let mut writer = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(held)
        .spawn()
        .unwrap();
    refused(&format!("image add {raw} --name held"), 1, "in use by cat");
    drop(writer.stdin.take());
    writer.wait().unwrap();
    world.run(&format!("image add {raw} --name held")).expect(0);
    refused(&format!("image add {raw} --name held"), 2, "held");
    refused(&format!("image add {raw} --name ../x"), 2, "../x");
    refused("image capture nobody", 2, "nobody");
    refused("image files held etc", 2, "etc");
    world.assert_clean();
}

/// What is done to a history is told in the store's record, in order, as runs are.
#[test]
fn captures_checks_and_forgettings_are_events() {
    let world = World::cold();
    let image = world.path("small.raw");
    fs::write(&image, vec![1; 1 << 20]).unwrap();
    world
        .run(&format!("image add {} --name s", image.display()))
        .expect(0);
    fs::write(&image, [vec![1; 1 << 19], vec![2; 1 << 19]].concat()).unwrap();
    world.run("image capture s").expect(0);
    world.run("image check s --read-data").expect(0);
    world.run("image forget s --keep-last 1").expect(0);
    let listed = world.data("image ls");
    world.run("image rm s --yes").expect(0);

    let record = events_of(&world);
    let of = |key: &str| -> Vec<Value> { record.iter().map(|event| event[key].clone()).collect() };
    let types = [
        "image-captured",
        "image-captured",
        "image-checked",
        "image-forgotten",
        "image-removed",
    ];
    assert_eq!(of("type"), types, "{record:#?}");
    assert_eq!(of("sequence")[..2], [0, 1]);
    assert_eq!(of("changed_bytes")[..2], [1 << 20, 1 << 19]);
    assert_eq!(
        (&record[2]["level"], &record[2]["sound"]),
        (&"read-data".into(), &true.into())
    );
    assert_eq!(
        (&record[3]["first"], &record[3]["kept"]),
        (&1.into(), &1.into())
    );
    assert!(of("name").iter().all(|name| name == "s"));
    assert!(
        of("image")
            .iter()
            .all(|id| *id == listed["images"][0]["id"]),
        "{record:#?}"
    );
}

/// The events of a store, in the order of their commits.
fn events_of(world: &World) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let events = runtime.block_on(async {
        let store = store::Store::open(world.store(), store::Limits::default())
            .await
            .unwrap();
        store.events(store::EventFilter::default()).await.unwrap()
    });
    let json = |one: &model::EventRecord| serde_json::to_value(&one.event).unwrap();
    events.iter().map(json).collect()
}
