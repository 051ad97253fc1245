//! Hostile qcow2 images: 20,000 that are damaged with intent, read with little memory and time.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::small::{confine, damage, in_a_process_of_its_own, timed};
use common::{Draw, run};
use disk::qcow2::{Header, Parts, Qcow2, Qcow2Error};
use disk::{ReadAt, Source};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const IMAGES: u64 = 20_000;

/// How much is looked at of an image that claims to be large.
const EXTENTS: usize = 300;
const RANGES: usize = 300;

const KINDS: [(&str, &str); 5] = [
    ("cluster_size=512,compat=0.10", "512"),
    ("cluster_size=512,compression_type=zlib", "512"),
    ("cluster_size=4096,compression_type=zstd", "4096"),
    (
        "cluster_size=16384,extended_l2=on,compression_type=zlib",
        "16k",
    ),
    ("cluster_size=512,backing_file=below,backing_fmt=raw", "512"),
];

/// Sound images with everything in them: compressed clusters, a snapshot, a bitmap.
fn make(directory: &Path) {
    std::fs::write(directory.join("below"), vec![3; 40_960]).unwrap();
    for (index, (options, cluster)) in KINDS.iter().enumerate() {
        let path = directory.join(format!("image{index}"));
        let path = path.to_str().unwrap();
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", options, path, "64K"],
        );
        let compressed = format!("write -q -c -P 9 0 {cluster}");
        let zeros = "write -q -z 40k 2k";
        let writes = ["-c", &compressed, "-c", "write -q -P 8 32k 3k", "-c", zeros];
        let mut arguments = vec!["-f", "qcow2"];
        arguments.extend(writes);
        arguments.push(path);
        run("qemu-io", &arguments);
        run("qemu-img", &["snapshot", "-c", "then", path]);
        if !options.contains("0.10") {
            run("qemu-img", &["bitmap", "--add", "-g", "512", path, "since"]);
        }
        run(
            "qemu-io",
            &["-f", "qcow2", "-c", "write -q -P 7 33k 9k", path],
        );
    }
}

fn corpus(directory: &Path) -> Vec<Vec<u8>> {
    let images = 0..KINDS.len();
    let read = |index| std::fs::read(directory.join(format!("image{index}"))).unwrap();
    images.map(read).collect()
}

/// The header, and every cluster that is not all of one byte: the tables are among them.
fn places(image: &[u8]) -> Vec<(usize, usize)> {
    let is_table = |block: &&(usize, &[u8])| block.1.iter().any(|byte| *byte != block.1[0]);
    let blocks: Vec<_> = image.chunks(512).enumerate().collect();
    let tables = blocks.iter().filter(is_table);
    let mut places: Vec<_> = tables.map(|(index, _)| (index * 512, 64)).collect();
    places.extend([(0, 112); 8]);
    places
}

/// Reads everything, as far as it goes, and gives the name of the first error.
fn read_image(bytes: Vec<u8>) -> Result<(), Qcow2Error> {
    let file: Source = Arc::new(bytes);
    let header = Header::read(&*file)?;
    let parts = Parts {
        backing: Some(Arc::new(vec![3; 40_960])),
        data_file: Some(Arc::clone(&file)),
    };
    let image = Qcow2::open(file, header, parts)?;
    let snapshots = image.snapshots();
    let bitmaps = image.bitmaps();
    look_at(&image)?;
    for snapshot in snapshots?.iter().take(3) {
        look_at(&image.at_snapshot(snapshot)?)?;
    }
    for bitmap in bitmaps?.iter().take(3) {
        let mut before = 0;
        for range in image.dirty_ranges(bitmap)?.take(RANGES) {
            let range = range?;
            assert!(range.start >= before && range.end > range.start);
            assert!(range.end <= image.size_bytes());
            before = range.end + 1;
        }
    }
    Ok(())
}

fn look_at(image: &Qcow2) -> Result<(), Qcow2Error> {
    let mut at = 0;
    let mut buffer = vec![0; 8192];
    for extent in image.map(0..u64::MAX).take(EXTENTS) {
        let extent = extent?;
        assert_eq!(extent.offset, at);
        assert!(extent.bytes > 0);
        at += extent.bytes;
        assert!(at <= image.size_bytes());
        let bytes = extent.bytes.min(8192) as usize;
        let _data_or_error = image.read_exact_at(extent.offset, &mut buffer[..bytes]);
        let stretch = image.stretch_at(extent.offset);
        assert!(stretch.is_err() || stretch.is_ok_and(|stretch| stretch.bytes > 0));
    }
    Ok(())
}

fn kind(error: &Qcow2Error) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let directory = std::env::var_os("VARDOGER_TEST_IMAGES").unwrap();
    let corpus = corpus(Path::new(&directory));
    let places: Vec<_> = corpus.iter().map(|image| places(image)).collect();
    confine();
    for (index, image) in corpus.iter().enumerate() {
        read_image(image.clone()).unwrap_or_else(|error| panic!("{index}: {error}"));
    }
    let mut valid = 0;
    let mut kinds = BTreeSet::new();
    for number in 0..IMAGES {
        let mut draw = Draw(number);
        let index = draw.below(corpus.len());
        let other = draw.below(corpus.len());
        let mut image = corpus[index].clone();
        damage(&mut image, &corpus[other], &places[index], &mut draw);
        match timed(number, || read_image(image)) {
            Ok(()) => valid += 1,
            Err(error) => drop(kinds.insert(kind(&error))),
        }
    }
    println!("{valid} of {IMAGES} were read to the end; errors: {kinds:?}");
    assert!((100..IMAGES).contains(&valid), "{valid} are valid");
    for expected in [
        "Read",
        "NotQcow2",
        "Version",
        "Short",
        "Field",
        "Limit",
        "Encrypted",
        "Corrupt",
        "Features",
        "Entry",
    ] {
        assert!(kinds.contains(expected), "no {expected} among {kinds:?}");
    }
}

#[test]
fn no_hostile_image_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make(directory.path());
    in_a_process_of_its_own("in_a_small_process", directory.path());
}
