//! What a qcow2 image keeps of its past: snapshots and bitmaps, as QEMU has made them; and images
//! that are refused.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::qcow2::{Place, check_reading, write_text};
use common::{FileSource, assert_same, read_all, run};
use disk::qcow2::{Header, Parts, Qcow2, Qcow2Error};
use disk::{ReadAt, Source, Window};
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;

#[test]
fn the_disk_is_read_as_of_each_snapshot() {
    let mut place = Place::new(6);
    write_text(&place);
    for options in [
        "cluster_size=4096,compat=0.10",
        "cluster_size=65536",
        "cluster_size=65536,extended_l2=on,compression_type=zstd",
    ] {
        let size = 1 << 20;
        place.create("image", options, size);
        let path = place.text("image");
        let mut expected = Vec::new();
        for name in ["one", "zwei", "trois"] {
            let changes = place.changes(15, size, 65_536);
            place.try_to_write("image", &changes);
            run("qemu-img", &["snapshot", "-c", name, &path]);
            expected.push(place.raw("image", &[]));
        }
        let changes = place.changes(15, size, 65_536);
        place.try_to_write("image", &changes);
        let image = place.open("image", Parts::default());
        let snapshots = image.snapshots().unwrap();
        let names: Vec<_> = snapshots.iter().map(|one| (&*one.id, &*one.name)).collect();
        assert_eq!(names, [("1", "one"), ("2", "zwei"), ("3", "trois")]);
        for (snapshot, expected) in snapshots.iter().zip(&expected) {
            assert_eq!(snapshot.disk_bytes, Some(size));
            assert_eq!(snapshot.vm_state_bytes, 0);
            let disk = image.at_snapshot(snapshot).unwrap();
            check_reading(&disk, expected, &mut place.draw, &snapshot.name);
            let option = format!("snapshot.id={}", snapshot.id);
            assert_same(
                &place.raw("image", &["-l", &option]),
                expected,
                "QEMU itself",
            );
        }
        assert_same(&read_all(&image), &place.raw("image", &[]), "present");
    }
}

/// The ranges that a bitmap must tell: what was written, in whole grains, joined.
fn grains(writes: &[(Range<u64>, String)], grain: u64, size: u64) -> Vec<Range<u64>> {
    let mut set = vec![false; size.div_ceil(grain) as usize];
    for (range, _) in writes {
        set[(range.start / grain) as usize..range.end.div_ceil(grain) as usize].fill(true);
    }
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (index, _) in set.iter().enumerate().filter(|(_, set)| **set) {
        let start = index as u64 * grain;
        let end = (start + grain).min(size);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

#[test]
fn bitmaps_tell_what_was_written() {
    let mut place = Place::new(7);
    for (cluster, size) in [
        (512, (4 << 20) + 512),
        (65_536, 1 << 20),
        (65_536, 40 << 20),
    ] {
        place.create("image", &format!("cluster_size={cluster}"), size);
        let path = place.text("image");
        let before = place.writes(10, size);
        let commands: Vec<_> = before.into_iter().map(|(_, command)| command).collect();
        place.write("image", &commands);
        let grains_of = [("fine", 512), ("vardoger-äöü", 4096), ("coarse", 1 << 20)];
        for (name, grain) in grains_of {
            let grain = grain.to_string();
            run("qemu-img", &["bitmap", "--add", "-g", &grain, &path, name]);
        }
        run(
            "qemu-img",
            &["bitmap", "--add", "--disable", &path, "stopped"],
        );
        let writes = place.writes(25, size);
        let commands: Vec<_> = writes.iter().map(|(_, command)| command.clone()).collect();
        place.write("image", &commands);
        let image = place.open("image", Parts::default());
        let bitmaps = image.bitmaps().unwrap();
        assert_eq!(bitmaps.len(), 4);
        for bitmap in &bitmaps {
            let found: Result<Vec<_>, _> = image.dirty_ranges(bitmap).unwrap().collect();
            let found = found.unwrap();
            assert!(!bitmap.in_use);
            assert_eq!(bitmap.auto, bitmap.name != "stopped");
            let grain = grains_of.iter().find(|(name, _)| *name == bitmap.name);
            let expected = match grain {
                Some((_, grain)) => {
                    assert_eq!(bitmap.granularity_bytes, *grain);
                    grains(&writes, *grain, size)
                }
                None => Vec::new(),
            };
            assert_eq!(found, expected, "{} with {cluster}", bitmap.name);
        }
    }
}

#[test]
fn a_bitmap_of_a_program_that_died_says_so() {
    let place = Place::new(8);
    place.create("image", "cluster_size=65536", 1 << 20);
    run(
        "qemu-img",
        &["bitmap", "--add", &place.text("image"), "left"],
    );
    // The sigkill of qemu-io ends it before it can put its bitmaps back.
    let path = place.text("image");
    let ended = Command::new("qemu-io")
        .args([
            "-f",
            "qcow2",
            "-c",
            "write 0 64k",
            "-c",
            "sigraise 9",
            &path,
        ])
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let image = place.open("image", Parts::default());
    let bitmaps = image.bitmaps().unwrap();
    assert_eq!(bitmaps.len(), 1);
    assert!(bitmaps[0].in_use);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let place = Place::new(9);
    let (image, secret) = (place.text("image"), "secret,id=s,data=geheim");
    for (options, name) in [
        (
            "encrypt.format=luks,encrypt.iter-time=10,encrypt.key-secret=s",
            "LUKS",
        ),
        ("encrypt.format=aes,encrypt.key-secret=s", "AES"),
    ] {
        run(
            "qemu-img",
            &[
                "create", "-q", "--object", secret, "-f", "qcow2", "-o", options, &image, "1M",
            ],
        );
        let refused = place.header("image").unwrap_err();
        assert!(matches!(refused, Qcow2Error::Encrypted(found) if found == name));
    }
    place.create("image", "cluster_size=4096", 1 << 20);
    let sound = std::fs::read(place.path("image")).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] ^= byte;
        Header::read(&bytes)
    };
    assert!(with(79, 1).unwrap().dirty);
    assert!(matches!(with(79, 2), Err(Qcow2Error::Corrupt)));
    let unknown = with(78, 0x10).unwrap_err();
    assert!(unknown.to_string().contains("bit 12"), "{unknown}");
    assert!(matches!(with(7, 7), Err(Qcow2Error::Version(4))));
    assert!(matches!(with(0, 1), Err(Qcow2Error::NotQcow2 { .. })));
    let raw: Vec<u8> = vec![0; 100];
    assert!(matches!(
        Header::read(&raw),
        Err(Qcow2Error::NotQcow2 { .. })
    ));
}

#[test]
fn a_cut_image_is_an_error_and_not_zeros() {
    let place = Place::new(10);
    place.create("image", "cluster_size=65536", 1 << 20);
    place.write("image", &["write -q -P 5 0 1M".to_owned()]);
    let whole = FileSource::open(&place.path("image"));
    let header = Header::read(&*whole).unwrap();
    for missing in [1, 65_536, 200_000] {
        let bytes = whole.size_bytes() - missing;
        let cut: Source = Arc::new(Window::new(Arc::clone(&whole), 0, bytes).unwrap());
        let image = Qcow2::open(cut, header.clone(), Parts::default()).unwrap();
        let mut buffer = vec![0; 1 << 20];
        assert!(image.read_exact_at(0, &mut buffer).is_err());
        assert!(image.read_exact_at(0, &mut buffer[..65_536]).is_ok());
    }
}
