//! qcow2 images that QEMU has made, against QEMU's own reading of them.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::{Draw, FileSource, assert_same, read_all, run};
use disk::qcow2::{Backing, Compression, Header, MapKind, Parts, Qcow2, Qcow2Error};
use disk::{Content, ReadAt, Source, Window};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// Where a test keeps its images, and random bytes for QEMU to write.
struct Place {
    directory: TempDir,
    draw: Draw,
}

impl Place {
    fn new(seed: u64) -> Self {
        let place = Self {
            directory: TempDir::new().unwrap(),
            draw: Draw(seed),
        };
        let noise = Draw(seed ^ 1).bytes(1 << 20);
        std::fs::write(place.path("noise"), noise).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn create(&self, name: &str, options: &str, size: u64) {
        let (path, size) = (self.text(name), size.to_string());
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", options, &path, &size],
        );
    }

    /// Lets QEMU write: `commands` are those of qemu-io.
    fn write(&self, name: &str, commands: &[String]) {
        let path = self.text(name);
        let mut arguments = vec!["-f", "qcow2", "--discard=unmap", "--cache=unsafe"];
        for command in commands {
            arguments.extend(["-c", command.as_str()]);
        }
        arguments.push(&path);
        let said = run("qemu-io", &arguments);
        assert!(!said.contains("failed"), "{commands:?}: {said}");
    }

    /// Lets QEMU try to write: it refuses compressed clusters where there is something already.
    /// These are written first, and by a process of their own: QEMU 10.0 itself destroys images in
    /// which it frees compressed clusters and then writes others.
    fn try_to_write(&self, name: &str, commands: &[String]) {
        let is_compressed = |command: &&String| command.contains(" -c ");
        let (first, then): (Vec<_>, Vec<_>) = commands.iter().partition(is_compressed);
        self.try_in_one_process(name, &first);
        self.try_in_one_process(name, &then);
    }

    fn try_in_one_process(&self, name: &str, commands: &[&String]) {
        let path = self.text(name);
        let arguments = commands.iter().flat_map(|command| ["-c", command.as_str()]);
        let ended = Command::new("qemu-io")
            .args(["-f", "qcow2", "--discard=unmap", "--cache=unsafe"])
            .args(arguments)
            .arg(path)
            .output()
            .unwrap();
        let complained = String::from_utf8_lossy(&ended.stderr);
        let fine = ended.status.code().is_some() && complained.is_empty();
        assert!(fine, "{commands:?}: {}: {complained}", ended.status);
    }

    /// Random writes of sectors, with bytes that do not compress.
    fn writes(&mut self, count: usize, size: u64) -> Vec<(Range<u64>, String)> {
        let noise = self.text("noise");
        let sectors = size / 512;
        let mut drawn = || {
            let start = self.draw.next() % sectors;
            let most = self.draw.one(&[1, 8, 64, 512]);
            let length = 1 + self.draw.next() % most;
            let range = start * 512..(start + length).min(sectors) * 512;
            let bytes = range.end - range.start;
            let command = format!("write -q -s {noise} {} {bytes}", range.start);
            (range, command)
        };
        (0..count).map(|_| drawn()).collect()
    }

    /// Random writes of all kinds: bytes, compressed clusters, zeros, nothing.
    fn changes(&mut self, count: usize, size: u64, cluster: u64) -> Vec<String> {
        let writes: Vec<_> = self.writes(count, size);
        let clusters = size / cluster;
        let mut commands = Vec::new();
        for (range, command) in writes {
            let pattern = 1 + self.draw.below(255);
            let whole = self.draw.next() % clusters * cluster;
            let (start, bytes) = (range.start, range.end - range.start);
            commands.push(match self.draw.below(6) {
                0 => format!("write -q -c -P {pattern} {whole} {cluster}"),
                1 => format!("write -q -c -s {} {whole} {cluster}", self.text("text")),
                2 => format!("write -q -z {start} {bytes}"),
                3 => format!("write -q -z -u {whole} {cluster}"),
                4 => format!("discard -q {whole} {cluster}"),
                _ => command,
            });
        }
        commands
    }

    /// The disk as QEMU reads it.
    fn raw(&self, name: &str, more: &[&str]) -> Vec<u8> {
        let (path, raw) = (self.text(name), self.text("raw"));
        let mut arguments = vec!["convert", "-t", "unsafe", "-f", "qcow2", "-O", "raw"];
        arguments.extend(more);
        arguments.extend([path.as_str(), raw.as_str()]);
        run("qemu-img", &arguments);
        std::fs::read(self.path("raw")).unwrap()
    }

    fn header(&self, name: &str) -> Result<Header, Qcow2Error> {
        Header::read(&*FileSource::open(&self.path(name)))
    }

    fn open(&self, name: &str, parts: Parts) -> Qcow2 {
        let file = FileSource::open(&self.path(name));
        Qcow2::open(file, self.header(name).unwrap(), parts).unwrap()
    }
}

/// A text that compresses well, but not to nothing.
fn write_text(place: &Place) {
    let text: String = (0..)
        .map(|line| format!("line {line}\n"))
        .take(100_000)
        .collect();
    std::fs::write(place.path("text"), text).unwrap();
}

/// Reads pieces of all lengths at all places, and the whole.
fn check_reading(image: &dyn ReadAt, expected: &[u8], draw: &mut Draw, what: &str) {
    assert_same(&read_all(image), expected, what);
    for _ in 0..50 {
        let start = draw.below(expected.len());
        let most = draw.one(&[1, 600, 70_000]);
        let end = (start + draw.below(most)).min(expected.len());
        let mut piece = vec![0; end - start];
        image.read_exact_at(start as u64, &mut piece).unwrap();
        assert_same(&piece, &expected[start..end], what);
    }
    assert!(
        image
            .read_exact_at(expected.len() as u64, &mut [0])
            .is_err()
    );
}

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
