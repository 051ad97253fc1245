//! What was done to files of XFS, btrfs and FAT in a guest, and to those of NTFS by its tools, is told
//! by name between two captures.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::World;
use workshop::{Disk, Workshop};

fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program)
        .args(arguments)
        // Tools for disks are where a user who is not root does not look.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
}

/// A file system that a guest's kernel mounts.
struct Kind {
    name: &'static str,
    mkfs: &'static str,
    mount: &'static str,
    mebibytes: u64,
    module: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "xfs",
        mkfs: "mkfs.xfs -q",
        mount: "-t xfs",
        mebibytes: 320,
        module: "xfs",
    },
    Kind {
        name: "btrfs",
        mkfs: "mkfs.btrfs -q",
        mount: "-t btrfs -o compress=zstd",
        mebibytes: 128,
        module: "btrfs",
    },
    Kind {
        name: "fat",
        mkfs: "mkfs.fat -F 32",
        mount: "-t vfat -o utf8=1,tz=UTC",
        mebibytes: 64,
        module: "vfat",
    },
];

const BEFORE: &str = "
    mkdir /mnt/stays /mnt/goes
    for name in stays renamed deleted changed grows; do
        yes \"the content of $name\" | head -c 20000 >\"/mnt/stays/$name-file.txt\"
        echo $name >/mnt/goes/$name
    done";

const AFTER: &str = "
    printf X | dd of='/mnt/stays/changed-file.txt' bs=1 seek=5000 conv=notrunc 2>/dev/null
    yes more | head -c 3000 >>'/mnt/stays/grows-file.txt'
    mv '/mnt/stays/renamed-file.txt' '/mnt/stays/other name'
    mv /mnt/goes /mnt/gone
    rm '/mnt/stays/deleted-file.txt'
    echo new >'/mnt/stays/created größe'";

const EXPECTED: [&str; 6] = [
    "appended /stays/grows-file.txt",
    "created /stays/created größe",
    "deleted /stays/deleted-file.txt",
    "modified /stays/changed-file.txt",
    "renamed /gone",
    "renamed /stays/other name",
];

/// In one guest, does the same on each disk.
fn in_a_guest(place: &Path, deeds: &str) {
    let mut workshop = Workshop::new().module("nls_utf8");
    let mut script = String::new();
    for (kind, device) in KINDS.iter().zip('a'..) {
        workshop = workshop
            .module(kind.module)
            .disk(Disk::raw(&place.join(kind.name).with_extension("raw")));
        let mount = kind.mount;
        script += &format!("mount {mount} /dev/vd{device} /mnt\n{deeds}\numount /mnt\n");
    }
    let ended = workshop.run(&script).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// What the last capture tells, but for times and directories whose content has changed.
fn events(world: &World, name: &str) -> BTreeSet<String> {
    let data = world.data(&format!("image diff {name}"));
    let events = data["events"].as_array();
    let events = events.unwrap_or_else(|| panic!("{data:#}"));
    let told = |one: &Value| {
        let text = |key: &str| one[key].as_str().unwrap().to_owned();
        format!("{} {}", text("change"), text("path"))
    };
    let each = events.iter().filter(|one| one["change"] != "metadata");
    each.map(told).collect()
}

#[test]
fn what_a_guest_did_to_files_is_told_by_name() {
    let world = World::cold();
    let place = world.path("disks");
    std::fs::create_dir_all(&place).unwrap();
    for kind in &KINDS {
        let path = place.join(kind.name).with_extension("raw");
        Disk::create(&path, kind.mebibytes << 20).unwrap();
        let mut words = kind.mkfs.split(' ').chain([path.to_str().unwrap()]);
        let program = words.next().unwrap();
        run(program, &words.collect::<Vec<_>>());
    }
    in_a_guest(&place, BEFORE);
    for kind in &KINDS {
        let path = place.join(kind.name).with_extension("raw");
        world
            .run(&format!("image add {}", path.display()))
            .expect(0);
    }
    in_a_guest(&place, AFTER);
    for kind in &KINDS {
        let name = kind.name;
        world.run(&format!("image capture {name}")).expect(0);
        // What is read is what was written, by the same words of the shell.
        let before: String = "the content of grows\n"
            .chars()
            .cycle()
            .take(20_000)
            .collect();
        let more: String = "more\n".chars().cycle().take(3000).collect();
        for (version, expected) in [("@-1", before.clone()), ("", before + &more)] {
            let read = world.run(&format!("image cat {name}{version} /stays/grows-file.txt"));
            let read = read.expect(0).stdout;
            let differs = read
                .bytes()
                .zip(expected.bytes())
                .position(|(one, other)| one != other);
            assert_eq!(
                (read.len(), differs),
                (expected.len(), None),
                "{name}{version}"
            );
        }
        let told: Vec<_> = events(&world, name).into_iter().collect();
        assert_eq!(
            told,
            EXPECTED,
            "{name}: {:#}",
            world.data(&format!("image diff {name}"))
        );
        let read = world.run(&format!("image cat {name}@-1 /stays/deleted-file.txt"));
        let read = read.expect(0).stdout;
        assert!(read.starts_with("the content of deleted\n"), "{name}");
        assert_eq!(read.len(), 20_000, "{name}");
    }
    world.assert_clean();
}

#[test]
fn what_was_done_to_files_of_ntfs_is_told_by_name() {
    let world = World::cold();
    let disk = world.path("ntfs.raw");
    let (path, from) = (disk.to_str().unwrap(), world.path("from"));
    let copy = |content: &[u8], to: &str| {
        std::fs::write(&from, content).unwrap();
        run("ntfscp", &["-q", path, from.to_str().unwrap(), to]);
    };
    run("truncate", &["-s", "20M", path]);
    run("mkntfs", &["-F", "-Q", "-q", path]);
    let content: Vec<u8> = (0..20_000_u32).map(|at| (at % 251) as u8).collect();
    for name in ["stays", "changed", "grows", "small"] {
        copy(&content, name);
    }
    world.run(&format!("image add {path}")).expect(0);
    let mut changed = content.clone();
    changed[5000] ^= 1;
    copy(&changed, "changed");
    copy(&[&content[..], b"more"].concat(), "grows");
    copy(b"now it is small", "small");
    copy(b"new", "created");
    world.run("image capture ntfs").expect(0);
    let told: Vec<_> = events(&world, "ntfs").into_iter().collect();
    let files: Vec<_> = told.iter().filter(|one| !one.contains("/$")).collect();
    let expected = [
        "appended /grows",
        "created /created",
        "modified /changed",
        "modified /small",
    ];
    assert_eq!(files, expected);
    world.assert_clean();
}
