//! Groups of LVM, as LVM itself has made them: two disks of 6 MiB with extents of 256 KiB. Kept are
//! their first 20,992 bytes; behind them, but for the extents, a disk has zeros. What lies where is
//! what `lvs -o seg_pe_ranges` has told of them.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::small::{confine, damage, in_a_process_of_its_own, timed};
use common::{Draw, read_all};
use disk::lvm::{LogicalVolume, LvmError, PhysicalVolume, VolumeGroup, physical_volume};
use disk::{ReadAt, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DISKS: [&[u8]; 2] = [
    include_bytes!("golden/lvm-pv1.zst"),
    include_bytes!("golden/lvm-pv2.zst"),
];

const IDS: [&str; 2] = [
    "c2O3gmZh56h3XzCsF7cAK7b08D2hAlOJ",
    "RcnlKtwifbBnFj2pDGmm6j01cgImWHie",
];

const DISK_BYTES: usize = 6 << 20;
const EXTENT: usize = 256 << 10;
const EXTENTS_AT: usize = 1 << 20;
const METADATA_AT: usize = 4096;
const METADATA_BYTES: usize = 1_044_480;

const MUTATIONS: u64 = 20_000;

/// The beginning of a disk, as it is kept.
fn start(index: usize) -> Vec<u8> {
    zstd::bulk::decompress(DISKS[index], 1 << 20).unwrap()
}

/// A whole disk, in which every extent holds its number.
fn disk(index: usize) -> Vec<u8> {
    let mut bytes = start(index);
    bytes.resize(DISK_BYTES, 0);
    for (number, extent) in bytes[EXTENTS_AT..].chunks_mut(EXTENT).enumerate() {
        extent.fill((index * 100 + number + 1) as u8);
    }
    bytes
}

fn group(bytes: &[u8]) -> VolumeGroup {
    physical_volume(&bytes.to_vec()).unwrap().group.unwrap()
}

fn volume<'a>(group: &'a VolumeGroup, name: &str) -> &'a LogicalVolume {
    let mut volumes = group.volumes.iter();
    volumes.find(|volume| volume.name == name).unwrap()
}

/// Extents of a disk: its number, the first, the last.
type Extents = (usize, usize, usize);

fn disks() -> BTreeMap<String, Source> {
    let each = (0..2).map(|index| (IDS[index].to_owned(), Arc::new(disk(index)) as Source));
    each.collect()
}

#[test]
fn linear_volumes_are_read_over_all_disks() {
    for (index, expected_id) in IDS.iter().enumerate() {
        let PhysicalVolume { id, data_at, group } = physical_volume(&disk(index)).unwrap();
        let group = group.unwrap();
        assert_eq!((id.as_str(), data_at), (*expected_id, EXTENTS_AT as u64));
        assert_eq!((group.name.as_str(), group.sequence), ("data-vg", 7));
        let names: Vec<_> = group
            .volumes
            .iter()
            .map(|volume| volume.name.as_str())
            .collect();
        assert_eq!(names, ["big_one", "root", "striped"]);
        // Extents as LVM tells them: of which disk, first and last.
        let expected: [(&str, &[Extents]); 2] = [
            ("big_one", &[(1, 2, 19), (0, 7, 8)]),
            ("root", &[(0, 2, 6), (0, 9, 11)]),
        ];
        for (name, ranges) in expected {
            let opened = volume(&group, name).open(&disks()).unwrap();
            let extents = ranges.iter().flat_map(|(disk, first, last)| {
                (*first..=*last).map(move |extent| (disk * 100 + extent + 1) as u8)
            });
            let bytes: Vec<u8> = extents.flat_map(|value| vec![value; EXTENT]).collect();
            assert!(read_all(&opened) == bytes, "{name}");
            let mut across = [0; 2];
            let boundary = EXTENT as u64 * (ranges[0].2 - ranges[0].1 + 1) as u64;
            opened.read_exact_at(boundary - 1, &mut across).unwrap();
            assert_eq!(across[..], bytes[boundary as usize - 1..][..2]);
            assert_eq!(opened.stretch_at(boundary - 1).unwrap().bytes, 1);
            assert!(
                opened
                    .read_exact_at(bytes.len() as u64 - 1, &mut across)
                    .is_err()
            );
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let group = group(&disk(0));
    let striped = volume(&group, "striped").open(&disks());
    assert!(matches!(striped, Err(LvmError::Type { kind, .. }) if kind == "striped"));
    let mut missing = disks();
    missing.remove(IDS[1]);
    let outcome = volume(&group, "big_one").open(&missing);
    assert!(matches!(outcome, Err(LvmError::NoDisk { id, .. }) if id == IDS[1]));
    assert!(volume(&group, "root").open(&missing).is_ok());
    assert!(matches!(
        physical_volume(&vec![0; 9000]),
        Err(LvmError::NotLvm)
    ));
    // The label, the header of the metadata, their text.
    for place in [512 + 40, METADATA_AT + 100, 18_432 + 100] {
        let mut damaged = disk(0);
        damaged[place] ^= 1;
        let outcome = physical_volume(&damaged);
        assert!(matches!(outcome, Err(LvmError::Broken { .. })), "{place}");
    }
}

/// LVM's sum, bit by bit.
fn sum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = 0xf597_a6cf_u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
        }
    }
    sum.to_le_bytes()
}

/// Makes the sums of a damaged disk fit, or nothing behind them would ever be reached.
fn sign(disk: &mut [u8]) {
    let field = |disk: &[u8], at: usize| {
        let bytes = disk[METADATA_AT + at..][..8].try_into().unwrap();
        u64::from_le_bytes(bytes) as usize
    };
    let start = METADATA_AT.saturating_add(field(disk, 40));
    let end = start.saturating_add(field(disk, 48));
    if let Some(text) = disk.get(start..end) {
        let text = sum(text);
        disk[METADATA_AT + 56..][..4].copy_from_slice(&text);
    }
    let header = sum(&disk[METADATA_AT + 4..METADATA_AT + 512]);
    disk[METADATA_AT..METADATA_AT + 4].copy_from_slice(&header);
    let label = sum(&disk[512 + 20..1024]);
    disk[512 + 16..512 + 20].copy_from_slice(&label);
}

#[test]
fn a_text_that_goes_round_is_put_together() {
    let mut disk = disk(0);
    let expected = group(&disk);
    let field = |at: usize| {
        let bytes = disk[METADATA_AT + at..][..8].try_into().unwrap();
        u64::from_le_bytes(bytes) as usize
    };
    let (offset, length) = (field(40), field(48));
    let text = disk[METADATA_AT + offset..][..length].to_vec();
    // The first 100 bytes at the end of the area, the rest at its start, after the header.
    let at = METADATA_BYTES - 100;
    disk[METADATA_AT + at..METADATA_AT + METADATA_BYTES].copy_from_slice(&text[..100]);
    disk[METADATA_AT + 512..][..length - 100].copy_from_slice(&text[100..]);
    disk[METADATA_AT + 40..][..8].copy_from_slice(&(at as u64).to_le_bytes());
    let header = sum(&disk[METADATA_AT + 4..METADATA_AT + 512]);
    disk[METADATA_AT..METADATA_AT + 4].copy_from_slice(&header);
    assert_eq!(group(&disk), expected);
}

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let corpus = [start(0), start(1)];
    confine();
    // Label, header, text.
    let places = [
        (512, 160),
        (METADATA_AT, 64),
        (18_432, 1900),
        (18_432, 1900),
    ];
    let mut sound = 0;
    let mut kinds = BTreeSet::new();
    for number in 0..MUTATIONS {
        let mut draw = Draw(number);
        let index = draw.below(2);
        let mut disk = corpus[index].clone();
        damage(&mut disk, &corpus[1 - index], &places, &mut draw);
        if draw.below(4) > 0 && disk.len() > 5000 {
            sign(&mut disk);
        }
        match timed(number, || physical_volume(&disk)) {
            Ok(volume) => {
                sound += 1;
                let groups = volume.group.iter();
                let volumes = groups.flat_map(|group| &group.volumes);
                for parts in volumes.filter_map(|volume| volume.parts.as_ref().ok()) {
                    let ends = parts.iter().map(|part| part.offset + part.bytes);
                    assert!(
                        ends.zip(parts.iter().skip(1))
                            .all(|(end, next)| end == next.offset)
                    );
                }
            }
            Err(error) => {
                let text = format!("{error:?}");
                let end = text.find([' ', '(', '{']).unwrap_or(text.len());
                kinds.insert(text[..end].to_owned());
            }
        }
    }
    assert!((100..MUTATIONS).contains(&sound), "{sound} are sound");
    for expected in ["NotLvm", "Read", "Broken", "Text", "Key"] {
        assert!(kinds.contains(expected), "no {expected} among {kinds:?}");
    }
}

#[test]
fn no_hostile_disk_makes_it_panic_hang_or_grow() {
    in_a_process_of_its_own("in_a_small_process", std::path::Path::new("/"));
}
