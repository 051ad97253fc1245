//! VMDK and VHDX, held to what QEMU makes and reads: every byte, and which of them are zeros that need
//! not be read; and damaged with intent.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::small::{confine, damage, in_a_process_of_its_own, timed};
use common::sparse::{Pages, Sparse};
use common::{Draw, FileSource, read_all, run};
use disk::vhdx::Vhdx;
use disk::vmdk::{self, Vmdk};
use disk::{Content, ReadAt as _, Source};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const IMAGES: u64 = 20_000;

/// A disk with data here and there, and zeros that were written.
fn raw(directory: &Path, bytes: u64) -> (PathBuf, Vec<u8>) {
    let path = directory.join("raw");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(bytes).unwrap();
    let mut draw = Draw(4);
    for _ in 0..12 {
        let at = draw.below(bytes as usize - 200_000) as u64;
        let length = draw.below(150_000);
        file.write_all_at(&draw.bytes(length), at).unwrap();
    }
    // What can be compressed, and the last byte.
    file.write_all_at(&[7; 100_000], bytes / 2).unwrap();
    file.write_all_at(b"!", bytes - 1).unwrap();
    let content = std::fs::read(&path).unwrap();
    (path, content)
}

fn convert(raw: &Path, format: &str, options: &str, to: &Path) {
    let (raw, to) = (raw.to_str().unwrap(), to.to_str().unwrap());
    let arguments = ["convert", "-f", "raw", "-O", format, "-o", options, raw, to];
    run("qemu-img", &arguments);
}

fn open_vmdk(path: &Path) -> Result<Vmdk, vmdk::VmdkError> {
    let file = FileSource::open(path);
    let descriptor = vmdk::describe(&*file)?;
    let beside = |name: &str| path.parent().unwrap().join(name);
    let below = match &descriptor.parent {
        None => None,
        Some(parent) => {
            let below = beside(&parent.file);
            vmdk::check_below(parent, &vmdk::describe(&*FileSource::open(&below))?)?;
            Some(Arc::new(open_vmdk(&below)?) as Source)
        }
    };
    let files = descriptor
        .files()
        .map(|name| FileSource::open(&beside(name)));
    Vmdk::open(file, files.collect(), below)
}

/// Holds an image to the bytes of the disk; says how many it knows to be zeros.
fn check(what: &str, image: &dyn disk::ReadAt, content: &[u8]) -> u64 {
    assert_eq!(image.size_bytes(), content.len() as u64, "{what}");
    common::assert_same(&read_all(image), content, what);
    // Pieces of odd sizes at odd places.
    let mut draw = Draw(8);
    for _ in 0..200 {
        let at = draw.below(content.len());
        let length = draw.below(content.len() - at).min(90_001);
        let mut piece = vec![0; length];
        image.read_exact_at(at as u64, &mut piece).unwrap();
        assert!(
            piece == content[at..at + length],
            "{what}: {length} bytes at {at}"
        );
    }
    let (mut at, mut zeros) = (0, 0);
    while at < image.size_bytes() {
        let stretch = image.stretch_at(at).unwrap();
        let end = at + stretch.bytes;
        assert!(stretch.bytes > 0 && end <= image.size_bytes(), "{what}");
        if stretch.content == Content::Zero {
            let part = &content[at as usize..end as usize];
            assert!(part.iter().all(|byte| *byte == 0), "{what}: {at}");
            zeros += stretch.bytes;
        }
        at = end;
    }
    zeros
}

const VMDK: [&str; 5] = [
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
];

#[test]
fn every_kind_is_read_as_qemu_made_it() {
    let directory = TempDir::new().unwrap();
    let (raw, content) = raw(directory.path(), 48 << 20);
    for kind in VMDK {
        let path = directory.path().join(format!("{kind}.vmdk"));
        convert(&raw, "vmdk", &format!("subformat={kind}"), &path);
        let zeros = check(kind, &open_vmdk(&path).unwrap(), &content);
        assert_eq!(zeros > 0, !kind.ends_with("Flat"), "{kind}: {zeros}");
    }
    for kind in ["dynamic", "fixed", "dynamic,block_size=1M"] {
        let path = directory.path().join("image.vhdx");
        convert(&raw, "vhdx", &format!("subformat={kind}"), &path);
        let zeros = check(
            kind,
            &Vhdx::open(FileSource::open(&path)).unwrap(),
            &content,
        );
        assert!(zeros > 0 || kind == "fixed", "{kind}: {zeros}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn extents_of_many_tables_are_found() {
    let directory = TempDir::new().unwrap();
    // More than one table of 32 MiB, and more than one extent of 2 GiB.
    let path = directory.path().join("raw");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(5 << 30).unwrap();
    let places = [0u64, 100 << 20, (2 << 30) - 3, (4 << 30) + 12_345];
    for place in places {
        file.write_all_at(b"here it is", place).unwrap();
    }
    for (format, kind) in [
        ("vmdk", "twoGbMaxExtentSparse"),
        ("vmdk", "monolithicSparse"),
        ("vhdx", "dynamic"),
    ] {
        let image = directory.path().join(format!("{kind}.{format}"));
        convert(&path, format, &format!("subformat={kind}"), &image);
        let disk: Source = match format {
            "vmdk" => Arc::new(open_vmdk(&image).unwrap()),
            _ => Arc::new(Vhdx::open(FileSource::open(&image)).unwrap()),
        };
        assert_eq!(disk.size_bytes(), 5 << 30);
        for place in places {
            let mut found = [0; 10];
            disk.read_exact_at(place, &mut found).unwrap();
            assert_eq!(&found, b"here it is", "{kind} {place}");
        }
    }
}

/// What QEMU reads of an image.
fn as_qemu_reads(image: &Path, format: &str) -> Vec<u8> {
    let raw = image.with_extension("converted");
    let paths = [image.to_str().unwrap(), raw.to_str().unwrap()];
    let convert = ["convert", "-f", format, "-O", "raw"];
    run("qemu-img", &[&convert[..], &paths].concat());
    std::fs::read(raw).unwrap()
}

/// Snapshots: two images on each other, the upper one longer, each with data of its own, and zeros
/// that were written over data below.
#[test]
fn a_chain_of_vmdk_images_is_read_as_qemu_reads_it() {
    let directory = TempDir::new().unwrap();
    let (raw, content) = raw(directory.path(), 8 << 20);
    let path = |name: &str| directory.path().join(name);
    for kind in ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat"] {
        convert(
            &raw,
            "vmdk",
            &format!("subformat={kind}"),
            &path("base.vmdk"),
        );
        for (below, above) in [("base.vmdk", "one.vmdk"), ("one.vmdk", "two.vmdk")] {
            let above = path(above);
            let above = above.to_str().unwrap();
            let options = "subformat=monolithicSparse,zeroed_grain=on";
            let create = [
                "create", "-q", "-f", "vmdk", "-o", options, "-F", "vmdk", "-b",
            ];
            run(
                "qemu-img",
                &[&create[..], &[path(below).to_str().unwrap(), above]].concat(),
            );
            let write = [
                "-f",
                "vmdk",
                "-c",
                "write -q -P 5 300k 100k",
                "-c",
                "write -q -z 4M 256k",
            ];
            run(
                "qemu-io",
                &[&write[..], &["-c", "write -q -P 6 7M 3k", above]].concat(),
            );
        }
        let expected = as_qemu_reads(&path("two.vmdk"), "vmdk");
        assert_ne!(expected, content);
        let zeros = check(kind, &open_vmdk(&path("two.vmdk")).unwrap(), &expected);
        assert!(zeros >= 256 << 10, "{kind}: {zeros}");
        // The image below is not what it was.
        let base = path("base.vmdk");
        run(
            "qemu-io",
            &[
                "-f",
                "vmdk",
                "-c",
                "write -q -P 1 0 64k",
                base.to_str().unwrap(),
            ],
        );
        let error = open_vmdk(&path("two.vmdk")).unwrap_err().to_string();
        assert!(error.contains("was changed since"), "{kind}: {error}");
        let alone = Vmdk::open(FileSource::open(&path("one.vmdk")), Vec::new(), None);
        let error = alone.unwrap_err().to_string();
        assert!(error.contains("stands on another"), "{error}");
    }
}

/// A disk of QEMU's, which crashes after it has written some parts of it.
fn written(image: &Path, parts: &[(u8, &str)]) -> Vec<u8> {
    let path = image.to_str().unwrap();
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "vhdx",
            "-o",
            "block_size=1M",
            path,
            "16M",
        ],
    );
    let mut command = std::process::Command::new("qemu-io");
    command.args(["-f", "vhdx"]);
    for (pattern, place) in parts {
        command.args(["-c", &format!("write -P {pattern} {place} 100k")]);
    }
    command.args(["-c", "flush", "-c", "abort", path]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), None, "it was to crash: {output:?}");
    std::fs::read(image).unwrap()
}

/// Parts of a disk: what they are filled with, and where they begin.
const PARTS: [(u8, &str); 4] = [(1, "0"), (2, "5M"), (3, "1500k"), (4, "15M")];

/// As it is between two writes of QEMU's: the last entry is in the log, which the header says is in
/// use, and what the entry tells of is not in its place yet.
fn crashed(image: &Path) -> Vec<u8> {
    let before = written(image, &PARTS[..3]);
    let mut bytes = written(image, &PARTS);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let entries = (0..bytes.len())
        .step_by(4096)
        .filter(|at| bytes[*at..].starts_with(b"loge"));
    let last = entries.max_by_key(|at| word(&bytes, at + 16)).unwrap();
    let place = word(&bytes, last + 64 + 16) as usize;
    bytes[place..place + 4096].copy_from_slice(&before[place..place + 4096]);
    let header = [64 << 10, 128 << 10]
        .into_iter()
        .max_by_key(|at| word(&bytes, at + 8))
        .unwrap();
    bytes.copy_within(last + 32..last + 48, header + 48);
    let summed = &mut bytes[header..header + 4096];
    summed[4..8].fill(0);
    let sum = crc32c::crc32c(summed);
    summed[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn the_log_of_a_vhdx_is_replayed_as_qemu_replays_it() {
    let directory = TempDir::new().unwrap();
    let image = directory.path().join("image.vhdx");
    let bytes = crashed(&image);
    std::fs::write(&image, &bytes).unwrap();
    let ours = Vhdx::open(FileSource::open(&image)).unwrap();
    let checked = directory.path().join("checked.vhdx");
    std::fs::copy(&image, &checked).unwrap();
    run(
        "qemu-img",
        &[
            "check",
            "-q",
            "-r",
            "all",
            "-f",
            "vhdx",
            checked.to_str().unwrap(),
        ],
    );
    let expected = as_qemu_reads(&checked, "vhdx");
    for (pattern, place) in [(1, 0), (2, 5 << 20), (3, 1500 << 10), (4, 15 << 20)] {
        assert_eq!(expected[place..place + 1000], [pattern; 1000]);
    }
    check("replayed", &ours, &expected);
    // Without its log there is nothing to be trusted.
    let log = bytes.windows(4).position(|bytes| bytes == b"loge").unwrap();
    let mut damaged = bytes.clone();
    for (at, byte) in damaged.iter_mut().enumerate().skip(log).take(1 << 20) {
        *byte ^= u8::from(at % 4096 == 100);
    }
    let error = Vhdx::open(Arc::new(damaged)).unwrap_err().to_string();
    assert!(error.contains("no whole entry"), "{error}");
    let error = Vhdx::open(Arc::new(vec![0; 1 << 20]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("magic"), "{error}");
}

fn read_some(image: &dyn disk::ReadAt) -> bool {
    let mut sound = true;
    let step = (image.size_bytes() / 40).max(1);
    let mut at = 0u64;
    for _ in 0..40 {
        if at + 512 > image.size_bytes() {
            break;
        }
        let mut piece = [0; 512];
        sound &= image.read_exact_at(at, &mut piece).is_ok();
        sound &= image.stretch_at(at).is_ok();
        at += step;
    }
    sound
}

/// An image whose headers, and entries of its log, have the sums that they say.
fn with_sums(mut image: Sparse) -> Sparse {
    for at in (0..image.packed.len()).step_by(4096) {
        let piece = &mut image.packed[at..];
        let length = match piece.first_chunk() {
            Some(b"head") => 4096,
            Some(b"loge") if piece.len() >= 12 => {
                u32::from_le_bytes(piece[8..12].try_into().unwrap()) as usize
            }
            _ => continue,
        };
        if let Some(summed) = piece.get_mut(..length).filter(|it| it.len() >= 8) {
            summed[4..8].fill(0);
            let sum = crc32c::crc32c(summed);
            summed[4..8].copy_from_slice(&sum.to_le_bytes());
        }
    }
    image
}

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let directory = std::env::var_os("VARDOGER_TEST_IMAGES").unwrap();
    let image = |index| std::fs::read(Path::new(&directory).join(format!("image{index}"))).unwrap();
    let corpus: Vec<_> = (0..5)
        .map(|index| Pages::from_file(&image(index)))
        .collect();
    confine();
    let read = |index: usize, image: Sparse| match index {
        2 => Vhdx::open(Arc::new(image)).is_ok_and(|it| read_some(&it)),
        // Sums of entries are made to fit, or hardly one would be replayed.
        3 => Vhdx::open(Arc::new(with_sums(image))).is_ok_and(|it| read_some(&it)),
        _ => {
            let below: Source = Arc::new(vec![7_u8; 3 << 20]);
            let below = vmdk::describe(&image)
                .is_ok_and(|it| it.parent.is_some())
                .then_some(below);
            Vmdk::open(Arc::new(image), Vec::new(), below).is_ok_and(|it| read_some(&it))
        }
    };
    let mut valid = [0; 5];
    for number in 0..2 * IMAGES {
        let mut draw = Draw(number);
        let index = match number % 2 {
            0 => 2 + draw.below(2),
            _ => [0, 1, 4][draw.below(3)],
        };
        let (pages, packed) = &corpus[index];
        let (pages, mut packed) = (pages.clone(), packed.clone());
        let other = &corpus[index].1;
        let end = packed.len();
        let places = [
            (0, 512),
            (512, 4096),
            (0, 20_000.min(end)),
            (end - 1024, 1024),
        ];
        damage(&mut packed, other, &places, &mut draw);
        valid[index] += u64::from(timed(number, || read(index, Sparse { pages, packed })));
    }
    assert!(valid.iter().all(|valid| *valid > 100), "{valid:?}");
}

#[test]
fn no_hostile_image_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    let (raw, _) = raw(directory.path(), 2 << 20);
    let kinds = [
        ("vmdk", "monolithicSparse"),
        ("vmdk", "streamOptimized"),
        ("vhdx", "dynamic"),
    ];
    for (number, (format, kind)) in kinds.into_iter().enumerate() {
        let path = directory.path().join("image");
        convert(&raw, format, &format!("subformat={kind}"), &path);
        let (pages, packed) = Pages::pack(&std::fs::read(&path).unwrap());
        std::fs::write(
            directory.path().join(format!("image{number}")),
            pages.to_file(&packed),
        )
        .unwrap();
        std::fs::remove_file(path).unwrap();
    }
    let keep = |number: usize, bytes: &[u8]| {
        let (pages, packed) = Pages::pack(bytes);
        let path = directory.path().join(format!("image{number}"));
        std::fs::write(path, pages.to_file(&packed)).unwrap();
    };
    keep(3, &crashed(&directory.path().join("crashed.vhdx")));
    let (base, above) = (
        directory.path().join("base.vmdk"),
        directory.path().join("above.vmdk"),
    );
    convert(&raw, "vmdk", "subformat=monolithicSparse", &base);
    let (base, path) = (base.to_str().unwrap(), above.to_str().unwrap());
    run(
        "qemu-img",
        &["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", base, path],
    );
    run(
        "qemu-io",
        &["-f", "vmdk", "-c", "write -q -P 5 300k 100k", path],
    );
    keep(4, &std::fs::read(&above).unwrap());
    in_a_process_of_its_own("in_a_small_process", directory.path());
}
