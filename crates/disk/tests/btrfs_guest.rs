//! Subvolumes and snapshots of btrfs as its kernel makes them, in a guest that loses its power: what we
//! read of such a disk must be what the same kernel tells of a copy of it.
//!
//! ```text
//!  /            the first subvolume
//!  /one         a subvolume; /one/nested another, below it
//!  /keep/before a snapshot of /one, read-only, before more was done to that
//!  /writable    a snapshot of /one that was written to
//!  /doomed      a subvolume that is deleted
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;
mod guest_tree;

use common::{FileSource, TOOLS_PATH, run, tree};
use disk::btrfs::Btrfs;
use disk::system::{Class, FileKind, FileSystem, FileTime, Object};
use std::path::{Path, PathBuf};
use workshop::inside::{self, Entry};
use workshop::{Disk, Workshop};

/// The inode of the first directory of a subvolume, and the one that a kernel makes up for a subvolume
/// that stands in another snapshot.
const FIRST_INODE: u64 = 256;
const MADE_UP: u64 = 2;

/// What an inode's number in its subvolume is.
const INODE: u64 = (1 << 40) - 1;

const MAKING: &str = "
    mount -t btrfs -o compress=zstd /dev/vda /mnt
    mkdir /mnt/keep
    btrfs subvolume create /mnt/one
    hand make one 1
    btrfs subvolume create /mnt/one/nested
    hand make one/nested 2
    btrfs subvolume create /mnt/doomed
    echo gone >/mnt/doomed/file
    btrfs subvolume snapshot -r /mnt/one /mnt/keep/before
    btrfs subvolume snapshot /mnt/one /mnt/writable
    rm /mnt/one/bytes512
    mv /mnt/one/long /mnt/one/longer
    echo more >>/mnt/one/bytes4096
    dd if=/dev/zero of=/mnt/writable/bytes1500000 bs=4k seek=3 count=2 conv=notrunc 2>/dev/null
    echo new >/mnt/writable/new
    ln /mnt/writable/new /mnt/writable/newer
    btrfs subvolume snapshot /mnt/writable /mnt/keep/again
    rm /mnt/writable/newer
    btrfs subvolume delete -c /mnt/doomed
    sync
    mark made
    sleep 1000";

const LISTING: &str = "
    mount -t btrfs -o subvolid=5,ro,noatime /dev/vda /mnt
    hand list
    umount /mnt
    mark listed";

/// Runs inside the guest: see `workshop::inside`.
#[test]
#[ignore = "runs inside a guest, which another test boots"]
fn inside_a_guest() {
    let order = inside::order();
    match &order.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", name, seed] => {
            guest_tree::make_plain(&Path::new("/mnt").join(name), seed.parse().unwrap());
        }
        ["list"] => {
            let listed = inside::list(Path::new("/mnt")).unwrap();
            let lines: Vec<_> = listed.iter().map(|entry| format!("{entry}\n")).collect();
            inside::tell(lines.concat().as_bytes()).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

fn told(system: &dyn FileSystem, path: Vec<u8>, object: &Object) -> String {
    let time = |time: FileTime| (time.seconds, time.nanoseconds);
    let sum = || inside::sum(&tree::content(system, object).unwrap()[..]).unwrap();
    let attributes = object.attributes.iter();
    let entry = Entry {
        path,
        inode: object.number & INODE,
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
    };
    entry.to_string()
}

fn program(name: &str) -> PathBuf {
    let mut places = TOOLS_PATH
        .split(':')
        .map(|place| Path::new(place).join(name));
    places.find(|path| path.exists()).unwrap()
}

#[test]
fn subvolumes_and_snapshots_read_as_the_kernel_reads_them() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let disk = Disk::create(&path("disk"), 256 << 20).unwrap();
    run("mkfs.btrfs", &["-q", path("disk").to_str().unwrap()]);
    let workshop = || {
        let workshop = Workshop::new().hand().unwrap().module("btrfs");
        workshop.program_as(&program("btrfs"), "/bin/btrfs")
    };
    let mut guest = workshop().disk(disk).boot(MAKING).unwrap();
    guest.wait_for("made").unwrap();
    guest.cut_off();
    let (from, to) = (path("disk"), path("copy"));
    run(
        "cp",
        &[
            "--sparse=always",
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ],
    );
    let mut guest = workshop().disk(Disk::raw(&to)).boot(LISTING).unwrap();
    let said = guest.wait_for("listed").unwrap();
    guest.end().unwrap();

    // A subvolume that stands in a snapshot of another one is not there; the kernel shows a directory
    // in its place, which is nowhere on the disk.
    let said = std::str::from_utf8(&said).unwrap().lines();
    let (made_up, said): (Vec<_>, Vec<_>) =
        said.partition(|line| line.contains(&format!(" #{MADE_UP} ")));
    let places: Vec<_> = made_up
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "/keep/again/nested",
            "/keep/before/nested",
            "/writable/nested"
        ]
    );
    assert!(said.len() > 3 * guest_tree::PLAIN_MIN, "{}", said.len());

    let btrfs = Btrfs::open(FileSource::open(&from)).unwrap();
    assert!(btrfs.notes().is_empty(), "{:?}", btrfs.notes());
    let objects = tree::objects(&btrfs);
    let paths = tree::paths(&btrfs, &objects);
    let found: Vec<_> = paths
        .into_iter()
        .map(|(path, number)| told(&btrfs, path, &objects[&number]))
        .collect();
    for (found, said) in found.iter().zip(&said) {
        assert_eq!(found, said);
    }
    assert_eq!(found.len(), said.len());
    let roots = objects
        .keys()
        .filter(|number| *number & INODE == FIRST_INODE);
    assert_eq!(roots.count(), 6, "the subvolumes that there are");
    owned(&btrfs, &objects.into_values().collect::<Vec<_>>());
}

/// Each block of each file is a file's that has it: of those that share it, one.
fn owned(btrfs: &Btrfs, objects: &[Object]) {
    let layout = btrfs.layout().unwrap();
    let volume_blocks = btrfs.source_bytes() / btrfs.block_bytes();
    let has = |object: &Object, block: u64| {
        let mut extents = object.extents.iter();
        extents.any(|one| (one.physical..one.physical + u64::from(one.blocks)).contains(&block))
    };
    let (mut blocks, mut shared) = (0, 0);
    for object in objects.iter().filter(|one| one.kind == FileKind::File) {
        for extent in &object.extents {
            let block = extent.physical;
            if block >= volume_blocks {
                continue;
            }
            let owner = layout.at(block);
            assert_eq!(owner.class, Class::File, "block {block}");
            let owner = owner.object.unwrap();
            let owner = objects.iter().find(|one| one.number == owner).unwrap();
            assert!(has(owner, block), "block {block} of {}", owner.number);
            blocks += 1;
            shared += u64::from(owner.number != object.number);
        }
    }
    assert!(blocks > 300 && shared > 200, "{blocks} {shared}");
}
