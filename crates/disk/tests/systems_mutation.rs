//! Hostile file systems besides ext: of each kind 20,000 that are damaged with intent, read with
//! little memory and time.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::small::{confine, damage, in_a_process_of_its_own, timed};
use common::sparse::{Pages, Sparse};
use common::{Draw, run};
use disk::system::{FileKind, SystemError};
use disk::volume::VolumeKind;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const IMAGES: u64 = 20_000;

/// How much is looked at of what claims to be large.
const OBJECTS: usize = 150;
const NAMES: usize = 600;
const READ_BYTES: usize = 16 << 10;

/// A disk of 24 MiB that a guest's kernel had written to when it lost its power: 60 files made, some
/// renamed, deleted, with attributes; none of it is in its place.
const XFS_WITH_LOG: &[u8] = include_bytes!("golden/xfs-with-log.zst");

fn unpacked(file: &[u8]) -> Vec<u8> {
    zstd::decode_all(file).unwrap()
}

/// What is small enough, and has something of everything.
fn small_tree(directory: &Path) -> std::path::PathBuf {
    let tree = directory.join("tree");
    std::fs::create_dir_all(tree.join("below/below")).unwrap();
    std::fs::write(tree.join("small"), b"small").unwrap();
    std::fs::write(tree.join("a long name that has blanks in it"), b"x").unwrap();
    std::fs::write(tree.join("below/large"), Draw(1).bytes(20_000)).unwrap();
    for number in 0..40 {
        std::fs::write(tree.join(format!("below/below/name{number}")), b"x").unwrap();
    }
    tree
}

/// Keeps an image as a file that the small process reads.
fn keep(directory: &Path, image: &Path, number: usize) {
    let (pages, packed) = Pages::pack(&std::fs::read(image).unwrap());
    let file = pages.to_file(&packed);
    std::fs::write(directory.join(format!("image{number}")), file).unwrap();
    std::fs::remove_file(image).unwrap();
}

fn make_fat(directory: &Path) {
    let tree = small_tree(directory);
    let kinds = [
        ("12", "1", "400"),
        ("16", "1", "3000"),
        ("32", "1", "34000"),
    ];
    for (number, (width, sectors, kibibytes)) in kinds.into_iter().enumerate() {
        let image = directory.join("image");
        let path = image.to_str().unwrap();
        run(
            "mkfs.fat",
            &["-C", "-F", width, "-s", sectors, path, kibibytes],
        );
        let names = ["small", "a long name that has blanks in it", "below"];
        for name in names {
            let from = tree.join(name);
            run(
                "mcopy",
                &["-s", "-Q", "-i", path, from.to_str().unwrap(), "::"],
            );
        }
        keep(directory, &image, number);
    }
}

fn make_xfs(directory: &Path) {
    // Without their sums, damaged records of the log are replayed like others.
    let mut with_log = unpacked(XFS_WITH_LOG);
    let starts = (0..with_log.len() - 512).step_by(8);
    let records = starts.filter(|at| with_log[*at..*at + 4] == [0xfe, 0xed, 0xba, 0xbe]);
    let records: Vec<_> = records.collect();
    assert!(records.len() > 2);
    for record in records {
        with_log[record + 32..record + 36].fill(0);
    }
    std::fs::write(directory.join("image0"), with_log).unwrap();
    let tree = small_tree(directory);
    let mut proto = "/\n0 0\nd--755 0 0\n".to_owned();
    let file = tree.join("below/large");
    for number in 0..60 {
        proto += &format!("file{number} ---644 0 0 {}\n", tree.join("small").display());
    }
    proto += &format!(
        "large ---644 0 0 {}\nlink l--777 0 0 large\n",
        file.display()
    );
    proto += "below d--755 0 0\n$\n$\n";
    let described = directory.join("proto");
    std::fs::write(&described, proto).unwrap();
    for (number, options) in ["-m crc=0", "-b size=1024 -m rmapbt=1"].iter().enumerate() {
        let image = directory.join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(300 << 20)
            .unwrap();
        let mut arguments = vec!["-q", "-p", described.to_str().unwrap()];
        arguments.extend(options.split(' '));
        arguments.push(image.to_str().unwrap());
        run("mkfs.xfs", &arguments);
        keep(directory, &image, number + 1);
    }
}

fn make_ntfs(directory: &Path) {
    let tree = small_tree(directory);
    for number in 0..2 {
        let image = directory.join("image");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(4 << 20)
            .unwrap();
        let path = image.to_str().unwrap();
        let cluster = ["512", "4096"][number];
        run("mkntfs", &["-F", "-Q", "-q", "-c", cluster, path]);
        let wim = directory.join("wim");
        let wim = wim.to_str().unwrap();
        run(
            "wimcapture",
            &[tree.to_str().unwrap(), wim, "--compress=none"],
        );
        run("wimapply", &[wim, "1", path]);
        std::fs::remove_file(wim).unwrap();
        let stream = tree.join("below/large");
        run(
            "ntfscp",
            &[
                "-q",
                "-N",
                "stream",
                path,
                stream.to_str().unwrap(),
                "small",
            ],
        );
        keep(directory, &image, number);
    }
}

fn make_btrfs(directory: &Path) {
    let tree = small_tree(directory);
    std::os::unix::fs::symlink("below/large", tree.join("link")).unwrap();
    for number in 0..2 {
        let image = directory.join("image");
        let made = std::fs::File::create(&image).unwrap();
        made.set_len(120 << 20).unwrap();
        let options = ["-n 4096 -m single", "-n 16384 -m dup"][number];
        let mut arguments = vec!["-q", "--rootdir", tree.to_str().unwrap()];
        arguments.extend(options.split(' '));
        arguments.push(image.to_str().unwrap());
        run("mkfs.btrfs", &arguments);
        keep(directory, &image, number);
    }
}

/// The pages that are neither empty nor noise, each as a place of structures.
fn places(packed: &[u8]) -> Vec<(usize, usize)> {
    let pages = packed.chunks(512).enumerate();
    let is_structure = |bytes: &[u8]| {
        let zeros = bytes.iter().filter(|byte| **byte == 0).count();
        zeros > 20 && zeros < bytes.len()
    };
    let structures = pages.filter(|(_, bytes)| is_structure(bytes));
    let mut places: Vec<_> = structures.map(|(index, _)| (index * 512, 512)).collect();
    // The first sector more often; btrfs has there what is not zeros first, its superblock.
    places.extend([(0, 256), (0, 256)]);
    places
}

fn read_all(kind: VolumeKind, image: Sparse) -> Result<(), SystemError> {
    let system = disk::system::open(kind, Arc::new(image)).unwrap()?;
    let mut outcome = Ok(());
    let mut directories = vec![system.root()];
    let mut seen = 0;
    system.objects(&mut |object| {
        seen += 1;
        match object {
            Ok(object) => {
                let mut before = 0;
                for extent in &object.extents {
                    assert!(extent.logical >= before && extent.blocks > 0);
                    before = extent.end();
                    let mut buffer = vec![0; READ_BYTES.min(system.block_bytes() as usize)];
                    let place = extent.physical.saturating_mul(system.block_bytes());
                    let _data_or_error = system.read(place, &mut buffer);
                }
                if object.kind == FileKind::Directory {
                    directories.push(object.number);
                }
                if let Some(damage) = object.damage {
                    outcome = Err(damage);
                }
            }
            Err(error) => outcome = Err(error),
        }
        match seen < OBJECTS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    let mut budget = 4 << 20;
    let mut names = 0;
    for directory in directories {
        let mut take = |name: &[u8], number| {
            names += 1;
            if names < NAMES {
                let _object_or_error = system.object(number);
            }
            assert!(name.len() < 4096);
        };
        outcome = outcome.and(system.names(directory, &mut budget, &mut take));
    }
    let layout = system.layout()?;
    for block in 0..2000 {
        let owner = layout.at(block * 7);
        assert!(owner.object.is_none() || owner.class != disk::system::Class::Free);
    }
    outcome
}

fn kind_of(error: &SystemError) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// What runs in the small process.
fn damaged(kind: VolumeKind, images: usize, expected: &[&str]) {
    let directory = std::env::var_os("VARDOGER_TEST_IMAGES").unwrap();
    let image = |index| std::fs::read(Path::new(&directory).join(format!("image{index}"))).unwrap();
    let corpus: Vec<_> = (0..images)
        .map(|index| Pages::from_file(&image(index)))
        .collect();
    let places: Vec<_> = corpus.iter().map(|(_, packed)| places(packed)).collect();
    confine();
    for (index, (pages, packed)) in corpus.iter().enumerate() {
        let (pages, packed) = (pages.clone(), packed.clone());
        let sound = Sparse { pages, packed };
        read_all(kind, sound).unwrap_or_else(|error| panic!("{index}: {error}"));
    }
    let mut valid = 0;
    let mut kinds = BTreeSet::new();
    for number in 0..IMAGES {
        let mut draw = Draw(number);
        let index = draw.below(images);
        let (pages, packed) = &corpus[index];
        let (_, other) = &corpus[draw.below(images)];
        let (pages, mut packed) = (pages.clone(), packed.clone());
        damage(&mut packed, other, &places[index], &mut draw);
        match timed(number, || read_all(kind, Sparse { pages, packed })) {
            Ok(()) => valid += 1,
            Err(error) => drop(kinds.insert(kind_of(&error))),
        }
    }
    eprintln!("{valid} of {IMAGES} were read to the end; errors: {kinds:?}");
    assert!((100..IMAGES).contains(&valid), "{valid} are valid");
    for expected in expected {
        assert!(kinds.contains(*expected), "no {expected} among {kinds:?}");
    }
}

#[test]
#[ignore = "is started by a test below, in a process of its own"]
fn fat_in_a_small_process() {
    damaged(VolumeKind::Fat, 3, &["Read", "Not", "Place", "Object"]);
}

#[test]
#[ignore = "is started by a test below, in a process of its own"]
fn xfs_in_a_small_process() {
    let expected = ["Read", "Not", "Features", "Place", "Object"];
    damaged(VolumeKind::Xfs, 3, &expected);
}

#[test]
fn no_hostile_fat_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make_fat(directory.path());
    in_a_process_of_its_own("fat_in_a_small_process", directory.path());
}

#[test]
fn no_hostile_xfs_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make_xfs(directory.path());
    in_a_process_of_its_own("xfs_in_a_small_process", directory.path());
}

#[test]
#[ignore = "is started by a test below, in a process of its own"]
fn ntfs_in_a_small_process() {
    let expected = ["Read", "Not", "Short", "Place", "Object"];
    damaged(VolumeKind::Ntfs, 2, &expected);
}

#[test]
fn no_hostile_ntfs_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make_ntfs(directory.path());
    in_a_process_of_its_own("ntfs_in_a_small_process", directory.path());
}

#[test]
#[ignore = "is started by a test below, in a process of its own"]
fn btrfs_in_a_small_process() {
    let expected = ["Read", "Features", "Short", "Place", "Object"];
    damaged(VolumeKind::Btrfs, 2, &expected);
}

#[test]
fn no_hostile_btrfs_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make_btrfs(directory.path());
    in_a_process_of_its_own("btrfs_in_a_small_process", directory.path());
}

/// How the disks in `golden` were made; what it writes has to be looked at and kept by hand.
#[test]
#[ignore = "makes test data, in a guest"]
fn make_data() {
    let place = TempDir::new().unwrap();
    let image = place.path().join("image");
    let disk = workshop::Disk::create(&image, 24 << 20).unwrap();
    let path = image.to_str().unwrap();
    // Such small ones are made for tests of XFS only.
    let tests = ["TEST_DIR=x", "TEST_DEV=x", "QA_CHECK_FS=x"];
    let make = ["mkfs.xfs", "-q", "-l", "size=6m", "-d", "agcount=1", path];
    run("env", &[&tests[..], &make].concat());
    let script = "
        mount -t xfs /dev/vda /mnt
        mkdir /mnt/one /mnt/two
        i=0
        while [ $i -lt 60 ]; do
            echo $i >/mnt/one/file-$i
            i=$((i + 1))
        done
        sync
        mv /mnt/one/file-1 /mnt/two/moved
        rm /mnt/one/file-2
        ln -s target /mnt/link
        dd if=/dev/urandom of=/mnt/large bs=4k count=5 2>/dev/null
        sync
        mark made
        sleep 1000";
    let workshop = workshop::Workshop::new().disk(disk).module("xfs");
    let mut guest = workshop.boot(script).unwrap();
    guest.wait_for("made").unwrap();
    guest.cut_off();
    let (pages, packed) = Pages::pack(&std::fs::read(&image).unwrap());
    let file = zstd::encode_all(&pages.to_file(&packed)[..], 19).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("xfs-with-log.zst");
    std::fs::write(&target, file).unwrap();
    eprintln!("{}", target.display());
}
