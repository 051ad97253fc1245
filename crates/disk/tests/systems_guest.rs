//! XFS, btrfs and FAT as a Linux kernel makes them, in a guest that loses its power: what we read of such a
//! disk must be what the same kernel tells after it has mounted a copy of it, which replays what has
//! a journal; and what we read of that copy, once it is unmounted, the same again.
//!
//! ```text
//! mkfs ─► guest 1: mount, make a tree, sync, power loss ─┬─► our reader ─► list ─┐
//!                                                        └─► copy                ├─ equal
//!                      guest 2: mount the copy, list, unmount ◄──┘ ─► list ──────┤
//!                                                    └─► our reader ─► list ─────┘
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;
mod guest_tree;

use common::{FileSource, run, tree};
use disk::system::{FileKind, FileSystem, FileTime, Object};
use disk::volume::VolumeKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use workshop::inside::{self, Entry};
use workshop::{Disk, Workshop};

struct Variant {
    name: &'static str,
    kind: VolumeKind,
    mkfs: &'static str,
    mount: &'static str,
    mebibytes: u64,
}

const VARIANTS: &[Variant] = &[
    Variant {
        name: "xfs",
        kind: VolumeKind::Xfs,
        mkfs: "mkfs.xfs -q",
        mount: "-t xfs",
        mebibytes: 320,
    },
    Variant {
        name: "xfs-4",
        kind: VolumeKind::Xfs,
        mkfs: "mkfs.xfs -q -m crc=0 -n ftype=0",
        mount: "-t xfs",
        mebibytes: 320,
    },
    Variant {
        name: "xfs-1-KiB-blocks",
        kind: VolumeKind::Xfs,
        mkfs: "mkfs.xfs -q -b size=1024 -m rmapbt=1 -n size=4096 -l version=2,su=32k",
        mount: "-t xfs -o logbsize=256k",
        mebibytes: 320,
    },
    Variant {
        name: "xfs-many-extents",
        kind: VolumeKind::Xfs,
        mkfs: "mkfs.xfs -q -i nrext64=1,size=1024 -n size=16384 -m bigtime=1,reflink=1",
        mount: "-t xfs",
        mebibytes: 320,
    },
    Variant {
        name: "btrfs",
        kind: VolumeKind::Btrfs,
        mkfs: "mkfs.btrfs -q -m dup",
        mount: "-t btrfs",
        mebibytes: 256,
    },
    Variant {
        name: "btrfs-zlib",
        kind: VolumeKind::Btrfs,
        mkfs: "mkfs.btrfs -q -n 4096 -m single",
        mount: "-t btrfs -o compress-force=zlib,max_inline=0",
        mebibytes: 256,
    },
    Variant {
        name: "btrfs-lzo",
        kind: VolumeKind::Btrfs,
        mkfs: "mkfs.btrfs -q",
        mount: "-t btrfs -o compress-force=lzo",
        mebibytes: 256,
    },
    Variant {
        name: "btrfs-zstd",
        kind: VolumeKind::Btrfs,
        mkfs: "mkfs.btrfs -q -O ^no-holes",
        mount: "-t btrfs -o compress-force=zstd",
        mebibytes: 256,
    },
    Variant {
        name: "fat-16",
        kind: VolumeKind::Fat,
        mkfs: "mkfs.fat -F 16",
        mount: "-t vfat -o iocharset=utf8,tz=UTC",
        mebibytes: 32,
    },
    Variant {
        name: "fat-32",
        kind: VolumeKind::Fat,
        mkfs: "mkfs.fat -F 32 -s 1",
        mount: "-t vfat -o utf8=1,tz=UTC",
        mebibytes: 64,
    },
];

impl Variant {
    fn make(&self, path: &Path) -> Disk {
        let disk = Disk::create(path, self.mebibytes << 20).unwrap();
        let mut words = self.mkfs.split(' ').chain([path.to_str().unwrap()]);
        let program = words.next().unwrap();
        run(program, &words.collect::<Vec<_>>());
        disk
    }

    fn open(&self, image: &Path) -> Arc<dyn FileSystem> {
        let opened = disk::system::open(self.kind, FileSource::open(image));
        opened.unwrap().unwrap()
    }
}

fn device(number: usize) -> char {
    char::from(b'a' + number as u8)
}

/// Each disk is mounted at a place of its own, so that none is unmounted before the power is lost.
fn making() -> String {
    let mut script = String::new();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let (disk, mount, name) = (device(number), variant.mount, variant.name);
        script += &format!(
            "mkdir /mnt/{name}
             mount {mount} /dev/vd{disk} /mnt/{name}
             hand make {number} {name}\n"
        );
    }
    script + "sync\nmark made\nsleep 1000"
}

fn listing() -> String {
    let mut script = String::new();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let (disk, mount, name) = (device(number), variant.mount, variant.name);
        script += &format!(
            "mkdir -p /mnt/{name}
             mount {mount} /dev/vd{disk} /mnt/{name}
             umount /mnt/{name}
             mount {mount} -o ro,noatime /dev/vd{disk} /mnt/{name}
             hand list {name}
             umount /mnt/{name}
             mark {name}\n"
        );
    }
    script
}

/// Runs inside the guest: see `workshop::inside`.
#[test]
#[ignore = "runs inside a guest, which another test boots"]
fn inside_a_guest() {
    let order = inside::order();
    let root = |name: &str| Path::new("/mnt").join(name);
    match &order.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", number, name] if name.starts_with("fat") => {
            guest_tree::make_plain(&root(name), number.parse().unwrap());
        }
        ["make", number, name] => guest_tree::make(&root(name), number.parse().unwrap(), name),
        ["list", name] => {
            let listed = inside::list(&root(name)).unwrap();
            let lines: Vec<_> = listed.iter().map(|entry| format!("{entry}\n")).collect();
            inside::tell(lines.concat().as_bytes()).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// The same list by our own reader.
fn listed(system: &dyn FileSystem) -> Vec<String> {
    let objects = tree::objects(system);
    let paths = tree::paths(system, &objects).into_iter();
    let listed = paths.map(|(path, number)| told(system, path, &objects[&number]));
    listed.map(|entry| entry.to_string()).collect()
}

fn told(system: &dyn FileSystem, path: Vec<u8>, object: &Object) -> Entry {
    let time = |time: FileTime| (time.seconds, time.nanoseconds);
    let sum = || inside::sum(&tree::content(system, object).unwrap()[..]).unwrap();
    let attributes = object.attributes.iter();
    Entry {
        path,
        inode: object.number,
        mode: object.mode.into(),
        owner: (object.uid, object.gid),
        size_bytes: object.size_bytes,
        links: object.links,
        device: object.device,
        times: [object.modified, object.changed, object.accessed].map(time),
        born: object.born.map(time),
        attributes: attributes
            .map(|one| (one.name.clone(), one.value.clone()))
            .collect(),
        target: (object.kind == FileKind::Symlink).then(|| object.target.clone()),
        sum: (object.kind == FileKind::File).then(sum),
    }
}

/// What FAT has no place for is made up by who reads it: numbers and links, and of the root all but
/// its kind.
fn comparable(variant: &Variant, line: &str) -> String {
    if variant.kind != VolumeKind::Fat {
        return line.to_owned();
    }
    let is_root = line.starts_with("/ ");
    let is_told = |word: &&str| {
        let made_up = ["#", "links=", "change=", "born="];
        let of_root = word.contains('=') || word.parse::<u64>().is_ok();
        let is_made_up = made_up.iter().any(|prefix| word.starts_with(prefix));
        !(is_made_up || is_root && of_root)
    };
    let words = line.split(' ').filter(is_told);
    words.collect::<Vec<_>>().join(" ")
}

fn check(variant: &Variant, what: &str, found: &[String], said: &[String]) {
    let name = variant.name;
    for (found, said) in found.iter().zip(said) {
        let (found, said) = (comparable(variant, found), comparable(variant, said));
        assert_eq!(found, said, "{name}: {what}");
    }
    assert_eq!(found.len(), said.len(), "{name}: {what}");
}

#[test]
fn what_a_kernel_has_made_reads_as_the_kernel_reads_it() {
    let place = tempfile::Builder::new()
        .disable_cleanup(true)
        .prefix("fsguest")
        .tempdir()
        .unwrap();
    let path = |number: usize, copy: &str| -> PathBuf {
        place.path().join(format!("disk{number}{copy}.raw"))
    };
    let workshop = || {
        let modules = ["nls_utf8", "xfs", "vfat", "btrfs"];
        let workshop = Workshop::new().hand().unwrap();
        modules.into_iter().fold(workshop, Workshop::module)
    };
    let mut first = workshop();
    for (number, variant) in VARIANTS.iter().enumerate() {
        first = first.disk(variant.make(&path(number, "")));
    }
    let mut guest = first.boot(&making()).unwrap();
    guest.wait_for("made").unwrap();
    guest.cut_off();
    let mut second = workshop();
    for number in 0..VARIANTS.len() {
        let (from, to) = (path(number, ""), path(number, "copy"));
        let (from, to_path) = (from.to_str().unwrap(), to.to_str().unwrap());
        run("cp", &["--sparse=always", from, to_path]);
        second = second.disk(Disk::raw(&to));
    }
    let mut guest = second.boot(&listing()).unwrap();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let said = guest.wait_for(variant.name).unwrap();
        let said = std::str::from_utf8(&said).unwrap().lines();
        let said: Vec<String> = said.map(str::to_owned).collect();
        assert!(said.len() > guest_tree::PLAIN_MIN, "{}", said.len());
        let dirty = variant.open(&path(number, ""));
        if variant.kind == VolumeKind::Xfs {
            assert!(
                !dirty.displaced().is_empty(),
                "{} {:?}",
                variant.name,
                dirty.notes()
            );
            assert!(dirty.notes().is_empty(), "{:?}", dirty.notes());
        }
        check(variant, "as it was cut off", &listed(&*dirty), &said);
        let clean = variant.open(&path(number, "copy"));
        assert!(clean.displaced().is_empty(), "{}", variant.name);
        assert!(clean.notes().is_empty(), "{:?}", clean.notes());
        check(variant, "as it was unmounted", &listed(&*clean), &said);
        for system in [dirty, clean] {
            let classes = tree::classes(&*system);
            let unowned = classes.get("Unowned").copied().unwrap_or(0);
            // btrfs keeps the rest of an extent that was overwritten in part.
            let is_exact = variant.kind != VolumeKind::Btrfs;
            assert!(unowned == 0 || !is_exact, "{}: {classes:?}", variant.name);
        }
    }
    guest.end().unwrap();
}
