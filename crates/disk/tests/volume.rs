//! Volumes of disks that others have made, against what blkid says of each of them.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::{Draw, FileSource, TOOLS_PATH, assert_same, read_all, run};
use disk::Source;
use disk::ext::Ext;
use disk::volume::{Place, Volume, VolumeError, VolumeKind, Volumes, volumes};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// What blkid finds in a file by its signature alone.
fn blkid(path: &Path) -> BTreeMap<String, String> {
    let output = Command::new("blkid")
        .args([
            "--probe",
            "--usages",
            "filesystem,crypto,raid,other",
            "-o",
            "export",
        ])
        .arg(path)
        .env("PATH", TOOLS_PATH)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.replace('\\', "")))
        .collect()
}

/// Fields of a structure, at their places.
fn fields(size: u64, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

/// What tools of this machine cannot make, by the fields that tell it.
fn by_hand() -> Vec<(&'static str, Vec<u8>)> {
    let uuid = b"0b2c3d4e-1111-4222-8333-abcdefabcdef";
    let fat16: &[(usize, &[u8])] = &[
        (0, &[0xeb, 0x3c, 0x90]),
        (3, b"mkfs.fat"),
        (11, &512u16.to_le_bytes()),
        (13, &[4, 1, 0, 2, 0, 2]),
        (19, &16384u16.to_le_bytes()),
        (21, &[0xf8]),
        (22, &16u16.to_le_bytes()),
        (38, &[0x29, 0x78, 0x56, 0x34, 0x12]),
        (43, b"FATNAME    FAT16   "),
        (510, &[0x55, 0xaa]),
    ];
    let btrfs = MIB as usize / 16;
    vec![
        (
            "luks1",
            fields(4 * MIB, &[(0, b"LUKS\xba\xbe\0\x01"), (168, uuid)]),
        ),
        ("fat", fields(8 * MIB, fat16)),
        (
            "bitlocker",
            fields(
                4 * MIB,
                &[
                    (0, b"\xeb\x58\x90-FVE-FS-"),
                    (
                        160,
                        b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01",
                    ),
                    (176, &MIB.to_le_bytes()),
                    (MIB as usize, b"-FVE-FS-\x70\0\x02\0"),
                ],
            ),
        ),
        (
            "btrfs",
            fields(
                4 * MIB,
                &[
                    (btrfs + 32, &Draw(9).bytes(16)),
                    (btrfs + 48, &65_536u64.to_le_bytes()),
                    (btrfs + 64, b"_BHRfS_M"),
                    (btrfs + 144, &4096u32.to_le_bytes()),
                    (btrfs + 299, b"a btrfs"),
                ],
            ),
        ),
    ]
}

/// Makes what a volume can hold, one file each.
fn contents(directory: &Path) -> Vec<&'static str> {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    run(
        "mke2fs",
        &["-q", "-F", "-L", "the root", &path("ext4"), "8M"],
    );
    std::fs::write(path("swap"), vec![0; 4 << 20]).unwrap();
    run("mkswap", &["-q", "-L", "room", &path("swap")]);
    std::fs::write(path("zeros"), vec![0; 1 << 20]).unwrap();
    let mut names = vec!["ext4", "swap", "zeros"];
    for (name, bytes) in by_hand() {
        std::fs::write(path(name), bytes).unwrap();
        names.push(name);
    }
    names
}

/// A disk with a partition for each of these files.
fn assembled(directory: &Path, names: &[&str], label: &str) -> Source {
    let path = directory.join(format!("{label}.disk"));
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(64 * MIB).unwrap();
    let mut script = format!("label: {label}\n");
    let mut start = 1u64;
    for (index, name) in names.iter().enumerate() {
        let bytes = std::fs::read(directory.join(name)).unwrap();
        let mib = bytes.len() as u64 / MIB;
        // A table of the old kind has three partitions, and a container with the others.
        if label == "dos" && index == 3 {
            script.push_str(&format!("start={}, type=5\n", start * 2048));
        }
        start += u64::from(label == "dos" && index >= 3);
        script.push_str(&format!("start={}, size={}\n", start * 2048, mib * 2048));
        file.write_all_at(&bytes, start * MIB).unwrap();
        start += mib;
    }
    let mut sfdisk = Command::new("sfdisk")
        .args([
            "--quiet",
            "--no-reread",
            "--no-tell-kernel",
            "--wipe",
            "never",
        ])
        .arg(&path)
        .env("PATH", TOOLS_PATH)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = sfdisk.stdin.take().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    drop(input);
    assert!(sfdisk.wait().unwrap().success(), "{script}");
    FileSource::open(&path)
}

/// Holds a volume to what blkid says of the file that it was made of.
fn check(volume: &Volume, path: &Path) {
    let told = blkid(path);
    let kind = match told.get("TYPE").map(String::as_str) {
        Some("ext2" | "ext3" | "ext4") => VolumeKind::Ext,
        Some("btrfs") => VolumeKind::Btrfs,
        Some("vfat") => VolumeKind::Fat,
        Some("swap") => VolumeKind::Swap,
        Some("crypto_LUKS") => VolumeKind::Luks,
        Some("BitLocker") => VolumeKind::BitLocker,
        None => VolumeKind::Unknown,
        Some(other) => panic!("{other}"),
    };
    assert_eq!(volume.kind, kind, "{} {told:?}", path.display());
    assert_eq!(volume.label.as_ref(), told.get("LABEL"), "{}", volume.name);
    assert_eq!(volume.id.as_ref(), told.get("UUID"), "{}", volume.name);
    let source = volume.source.as_ref().unwrap();
    assert_same(
        &read_all(&**source),
        &std::fs::read(path).unwrap(),
        &volume.name,
    );
}

/// Every byte of a disk is in the volume that says so, and nowhere else.
fn check_places(disk: &Source, found: &Volumes) {
    let bytes = read_all(&**disk);
    for volume in &found.volumes {
        let Ok(source) = &volume.source else { continue };
        let mut joined = Vec::new();
        for place in &volume.places {
            joined.extend(&bytes[place.start as usize..place.end() as usize]);
        }
        assert_same(&read_all(&**source), &joined, &volume.name);
    }
}

#[test]
fn partitions_hold_what_blkid_says() {
    let directory = TempDir::new().unwrap();
    let names = contents(directory.path());
    for label in ["gpt", "dos"] {
        let disk = assembled(directory.path(), &names, label);
        let found = volumes(std::slice::from_ref(&disk));
        assert!(found.damage.is_empty());
        assert_eq!(found.volumes.len(), names.len(), "{label}");
        for (index, (volume, name)) in found.volumes.iter().zip(&names).enumerate() {
            let number = match label {
                "dos" if index >= 3 => index + 2,
                _ => index + 1,
            };
            assert_eq!(volume.name, format!("p{number}"));
            check(volume, &directory.path().join(name));
        }
        check_places(&disk, &found);
        // What is no zero and in no volume is in the table.
        let mut rest = read_all(&*disk);
        let held = found.volumes.iter().flat_map(|volume| &volume.places);
        for place in held.chain(&found.metadata) {
            rest[place.start as usize..place.end() as usize].fill(0);
        }
        let lost = rest.iter().position(|byte| *byte != 0);
        assert_eq!(lost, None, "{label}: {:?}", found.metadata);
    }
}

#[test]
fn a_disk_without_a_table_is_one_volume() {
    let directory = TempDir::new().unwrap();
    for name in contents(directory.path()) {
        let path = directory.path().join(name);
        let disk = FileSource::open(&path);
        let found = volumes(&[disk]);
        assert_eq!(found.volumes.len(), 1, "{name}");
        assert_eq!(found.volumes[0].name, "disk");
        check(&found.volumes[0], &path);
        assert!(found.metadata.is_empty());
    }
}

#[test]
fn a_partition_past_the_end_leaves_the_others() {
    let directory = TempDir::new().unwrap();
    contents(directory.path());
    let disk = assembled(directory.path(), &["ext4", "swap"], "gpt");
    let mut bytes = read_all(&*disk);
    bytes.truncate(10 << 20);
    let found = volumes(&[Arc::new(bytes)]);
    let [first, second] = found.volumes.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(first.kind, VolumeKind::Ext);
    assert!(Ext::open(Arc::clone(first.source.as_ref().unwrap())).is_ok());
    assert!(matches!(&second.source, Err(VolumeError::Read { name, .. }) if name == "p2"));
}

/// The two disks of a group, as they are kept.
fn group(index: usize) -> Vec<u8> {
    const DISKS: [&[u8]; 2] = [
        include_bytes!("golden/lvm-pv1.zst"),
        include_bytes!("golden/lvm-pv2.zst"),
    ];
    let mut bytes = zstd::bulk::decompress(DISKS[index], 1 << 20).unwrap();
    bytes.resize(6 << 20, 0);
    bytes
}

const EXTENT: u64 = 256 << 10;

#[test]
fn volumes_of_lvm_are_put_together_over_disks() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ext");
    run(
        "mke2fs",
        &["-q", "-F", "-L", "on lvm", path.to_str().unwrap(), "2M"],
    );
    let ext = std::fs::read(&path).unwrap();
    let mut disks = [group(0), group(1)];
    // The volume "root" has extents 2 to 6 and 9 to 11 of the first disk, as lvs tells it.
    let at = |extent: u64| (MIB + extent * EXTENT) as usize;
    let (one, other) = ext.split_at(5 * EXTENT as usize);
    disks[0][at(2)..at(2) + one.len()].copy_from_slice(one);
    disks[0][at(9)..at(9) + other.len()].copy_from_slice(other);
    let sources: Vec<Source> = disks
        .into_iter()
        .map(|disk| Arc::new(disk) as Source)
        .collect();
    let found = volumes(&sources);
    let names: Vec<_> = found.volumes.iter().map(|one| one.name.as_str()).collect();
    let of_group = ["data-vg/big_one", "data-vg/root", "data-vg/striped"];
    assert_eq!(names, [&["disk", "disk2"][..], &of_group].concat());
    for disk in ["disk", "disk2"] {
        let volume = found.named(disk).unwrap();
        assert_eq!(volume.kind, VolumeKind::PhysicalVolume);
        assert_eq!(volume.label.as_deref(), Some("data-vg"));
    }
    let root = found.named("data-vg/root").unwrap();
    assert_eq!(
        (root.kind, root.label.as_deref()),
        (VolumeKind::Ext, Some("on lvm"))
    );
    let place = |extent: u64, extents: u64| Place {
        disk: 0,
        start: MIB + extent * EXTENT,
        bytes: extents * EXTENT,
    };
    assert_eq!(root.places, [place(2, 5), place(9, 3)]);
    assert_same(&read_all(&**root.source.as_ref().unwrap()), &ext, "root");
    let striped = found.named("data-vg/striped").unwrap();
    assert!(matches!(&striped.source, Err(VolumeError::Lvm { .. })));
    assert_eq!(found.metadata.len(), 2);
    assert_eq!(
        found.metadata[1],
        Place {
            disk: 1,
            start: 0,
            bytes: MIB
        }
    );
}

#[test]
fn a_missing_disk_is_said_and_the_others_stay() {
    let found = volumes(&[Arc::new(group(0))]);
    let big = found.named("data-vg/big_one").unwrap();
    let said = big.source.as_ref().unwrap_err().to_string();
    assert!(said.contains("RcnlKtwifbBnFj2pDGmm6j01cgImWHie"), "{said}");
    assert!(big.places.is_empty());
    assert!(found.named("data-vg/root").unwrap().source.is_ok());
}

#[test]
fn damaged_metadata_of_lvm_are_said() {
    let mut disk = group(0);
    disk[4096 + 100] ^= 1;
    let found = volumes(&[Arc::new(disk)]);
    let [only] = found.volumes.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(only.kind, VolumeKind::PhysicalVolume);
    assert!(matches!(&only.damage, Some(VolumeError::Lvm { .. })));
}
