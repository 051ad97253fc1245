//! qcow2 images that QEMU has made, against QEMU's own reading of them.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::qcow2::{Place, check_reading, write_text};
use common::{FileSource, assert_same, read_all, run};
use disk::qcow2::{Backing, Compression, Header, MapKind, Parts, Qcow2, Qcow2Error};
use disk::{Absent, Content, ReadAt, Source};
use std::path::Path;
use std::sync::Arc;

/// Whatever is told to be zeros is; the stretches cover the disk.
fn check_stretches(image: &dyn ReadAt, expected: &[u8], what: &str) {
    let mut at = 0;
    while at < image.size_bytes() {
        let stretch = image.stretch_at(at).unwrap();
        assert!(stretch.bytes > 0);
        let range = at as usize..(at + stretch.bytes) as usize;
        if stretch.content == Content::Zero {
            assert!(
                expected[range].iter().all(|byte| *byte == 0),
                "{what}: {at}"
            );
        }
        at += stretch.bytes;
    }
    assert_eq!(at, image.size_bytes());
}

/// What `qemu-img map` tells of one image, in our words; for each byte's sector.
fn qemu_map(path: &Path) -> Vec<Option<MapKind>> {
    let path = path.to_str().unwrap();
    let said = run("qemu-img", &["map", "-f", "qcow2", "--output=json", path]);
    let extents: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    let mut sectors = Vec::new();
    for extent in extents {
        let number = |key: &str| extent[key].as_u64();
        let is = |key: &str| extent[key].as_bool().unwrap();
        for sector in 0..number("length").unwrap() / 512 {
            sectors.push(if !is("present") {
                Some(MapKind::Unallocated)
            } else if is("zero") {
                Some(MapKind::Zero)
            } else if is("compressed") {
                Some(MapKind::Compressed)
            } else {
                number("offset").map(|offset| MapKind::Data {
                    host_offset: offset + sector * 512,
                })
            });
        }
    }
    sectors
}

fn check_map(image: &Qcow2, path: &Path, what: &str) {
    let mut sectors = Vec::new();
    for extent in image.map(0..u64::MAX) {
        let extent = extent.unwrap();
        assert_eq!(extent.offset, sectors.len() as u64 * 512, "{what}");
        for sector in 0..extent.bytes / 512 {
            sectors.push(Some(match extent.kind {
                MapKind::Data { host_offset } => MapKind::Data {
                    host_offset: host_offset + sector * 512,
                },
                other => other,
            }));
        }
    }
    let expected = qemu_map(path);
    assert_eq!(sectors.len(), expected.len(), "{what}");
    for (sector, (found, expected)) in sectors.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "{what}: sector {sector}");
    }
}

#[test]
fn every_kind_of_image_reads_as_qemu_reads_it() {
    let mut place = Place::new(1);
    write_text(&place);
    let mut kinds = Vec::new();
    for cluster in [512, 4096, 65_536, 2 << 20] {
        kinds.push((cluster, "compat=0.10".to_owned()));
        for compression in ["zlib", "zstd"] {
            let options = format!("compat=1.1,compression_type={compression}");
            if cluster >= 65_536 {
                kinds.push((cluster, format!("{options},extended_l2=on")));
            }
            kinds.push((cluster, options));
        }
    }
    for (cluster, options) in kinds {
        let size = (300 << 10) + 512 + 4 * cluster;
        let options = format!("{options},cluster_size={cluster}");
        place.create("image", &options, size);
        let changes = place.changes(60, size, cluster);
        place.try_to_write("image", &changes);
        let expected = place.raw("image", &[]);
        let image = place.open("image", Parts::default());
        check_reading(&image, &expected, &mut place.draw, &options);
        check_stretches(&image, &expected, &options);
        check_map(&image, &place.path("image"), &options);
    }
}

#[test]
fn an_image_that_is_compressed_as_a_whole_reads_as_before() {
    let mut place = Place::new(2);
    write_text(&place);
    let size = 3 << 20;
    place.create("image", "cluster_size=65536", size);
    let changes = place.changes(40, size, 65_536);
    place.try_to_write("image", &changes);
    let expected = place.raw("image", &[]);
    let kinds = [
        (512, "zlib", Compression::Deflate),
        (65_536, "zlib", Compression::Deflate),
        (4096, "zstd", Compression::Zstd),
        (2 << 20, "zstd", Compression::Zstd),
    ];
    for (cluster, compression, kind) in kinds {
        let (from, to) = (place.text("image"), place.text("compressed"));
        let options = format!("compression_type={compression},cluster_size={cluster}");
        let arguments = [
            "convert", "-c", "-t", "unsafe", "-O", "qcow2", "-o", &options, &from, &to,
        ];
        run("qemu-img", &arguments);
        let image = place.open("compressed", Parts::default());
        assert_eq!(image.header().compression, kind);
        check_reading(&image, &expected, &mut place.draw, compression);
        check_map(&image, &place.path("compressed"), compression);
    }
}

#[test]
fn a_chain_reads_through_all_of_its_images() {
    let mut place = Place::new(3);
    write_text(&place);
    // Each overlay is larger than what it stands on, and the base does not end with a cluster.
    let sizes = [(1 << 20) + 1536, (1 << 20) + (256 << 10), 2 << 20];
    let kinds = [
        "cluster_size=4096",
        "cluster_size=65536,extended_l2=on",
        "cluster_size=512,compat=0.10",
    ];
    let mut below: Option<Source> = None;
    for (level, (size, kind)) in sizes.into_iter().zip(kinds).enumerate() {
        let name = format!("level{level}");
        let backing = match level {
            0 => String::new(),
            _ => format!(",backing_file=level{},backing_fmt=qcow2", level - 1),
        };
        place.create(&name, &format!("{kind}{backing}"), size);
        let cluster = [4096, 65_536, 512][level];
        let changes = place.changes(30, size, cluster);
        place.try_to_write(&name, &changes);
        let header = place.header(&name).unwrap();
        let expected_backing = (level > 0).then(|| Backing {
            name: format!("level{}", level - 1),
            format: Some("qcow2".to_owned()),
        });
        assert_eq!(header.backing, expected_backing);
        let image = place.open(
            &name,
            Parts {
                backing: below.take(),
                data_file: None,
            },
        );
        let expected = place.raw(&name, &[]);
        check_reading(&image, &expected, &mut place.draw, &name);
        check_stretches(&image, &expected, &name);
        assert_eq!(image.depth() as usize, level + 1);
        below = Some(Arc::new(image));
    }
}

#[test]
fn a_chain_has_an_end() {
    let place = Place::new(4);
    place.create("base", "cluster_size=4096", 8192);
    place.create(
        "top",
        "cluster_size=4096,backing_file=base,backing_fmt=qcow2",
        8192,
    );
    let file = FileSource::open(&place.path("top"));
    let header = Header::read(&*file).unwrap();
    let without = Qcow2::open(Arc::clone(&file), header.clone(), Parts::default());
    assert!(matches!(without, Err(Qcow2Error::NoBacking(name)) if name == "base"));
    // The same image again and again, as in a chain that closes on itself.
    let mut below: Source = Arc::new(place.open("base", Parts::default()));
    for _ in 1..8 {
        let parts = Parts {
            backing: Some(below),
            data_file: None,
        };
        below = Arc::new(Qcow2::open(Arc::clone(&file), header.clone(), parts).unwrap());
    }
    assert_eq!(read_all(&below), [0; 8192]);
    let parts = Parts {
        backing: Some(below),
        data_file: None,
    };
    let ninth = Qcow2::open(file, header, parts).unwrap_err();
    assert!(
        ninth.to_string().contains("more than the limit of 8"),
        "{ninth}"
    );
}

#[test]
fn what_lies_below_is_not_made_up() {
    let place = Place::new(11);
    place.create("base", "cluster_size=4096", 16_384);
    place.write("base", &["write -q -P 3 0 16k".to_owned()]);
    let options = "cluster_size=4096,backing_file=base,backing_fmt=qcow2";
    place.create("top", options, 16_384);
    place.write("top", &["write -q -P 5 4k 4k".to_owned()]);
    let parts = Parts {
        backing: Some(Arc::new(Absent)),
        data_file: None,
    };
    let image = place.open("top", parts);
    let mut buffer = vec![0; 4096];
    image.read_exact_at(4096, &mut buffer).unwrap();
    assert_eq!(buffer, [5; 4096]);
    for offset in [0, 8192] {
        assert!(image.read_exact_at(offset, &mut buffer).is_err());
        assert!(image.stretch_at(offset).is_err());
    }
    let own: Vec<_> = image
        .map(0..u64::MAX)
        .map(|extent| extent.unwrap().bytes)
        .collect();
    assert_eq!(own, [4096, 4096, 8192]);
}

#[test]
fn data_may_lie_in_a_file_of_its_own() {
    let mut place = Place::new(5);
    for raw in [false, true] {
        let data = place.text("data");
        let raw_option = if raw { "on" } else { "off" };
        let options = format!("data_file={data},data_file_raw={raw_option}");
        let size = 1 << 20;
        place.create("image", &options, size);
        let writes = place.writes(20, size);
        let commands: Vec<_> = writes.into_iter().map(|(_, command)| command).collect();
        place.write("image", &commands);
        let header = place.header("image").unwrap();
        assert_eq!(header.data_file.as_ref(), Some(&data));
        assert_eq!(header.data_file_raw, raw);
        let file = FileSource::open(&place.path("image"));
        let refused = Qcow2::open(file, header, Parts::default());
        assert!(matches!(refused, Err(Qcow2Error::NoDataFile(name)) if name == data));
        let data = FileSource::open(&place.path("data"));
        let parts = Parts {
            backing: None,
            data_file: Some(Arc::clone(&data)),
        };
        let image = place.open("image", parts);
        let expected = place.raw("image", &[]);
        check_reading(&image, &expected, &mut place.draw, "data file");
        check_map(&image, &place.path("image"), "data file");
        if raw {
            assert_same(&read_all(&*data), &expected, "raw data file");
        }
    }
}
