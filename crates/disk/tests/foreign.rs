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
    let beside = |name: &str| FileSource::open(&path.parent().unwrap().join(name));
    Vmdk::open(file, descriptor.files().map(beside).collect())
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

#[test]
fn what_stands_on_another_is_refused() {
    let directory = TempDir::new().unwrap();
    let base = directory.path().join("base.vmdk");
    let (raw, _) = raw(directory.path(), 4 << 20);
    convert(&raw, "vmdk", "subformat=monolithicSparse", &base);
    let above = directory.path().join("above.vmdk");
    let arguments = ["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b"];
    let paths = [base.to_str().unwrap(), above.to_str().unwrap()];
    run("qemu-img", &[&arguments[..], &paths].concat());
    let error = open_vmdk(&above).unwrap_err().to_string();
    assert!(error.contains("stands on another"), "{error}");
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

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let directory = std::env::var_os("VARDOGER_TEST_IMAGES").unwrap();
    let image = |index| std::fs::read(Path::new(&directory).join(format!("image{index}"))).unwrap();
    let corpus: Vec<_> = (0..3)
        .map(|index| Pages::from_file(&image(index)))
        .collect();
    confine();
    let read = |index: usize, image: Sparse| match index {
        2 => Vhdx::open(Arc::new(image)).is_ok_and(|it| read_some(&it)),
        _ => Vmdk::open(Arc::new(image), Vec::new()).is_ok_and(|it| read_some(&it)),
    };
    let mut valid = [0; 3];
    for number in 0..2 * IMAGES {
        let mut draw = Draw(number);
        let index = if number % 2 == 0 { 2 } else { draw.below(2) };
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
    in_a_process_of_its_own("in_a_small_process", directory.path());
}
