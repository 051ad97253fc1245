//! NTFS, held to what mkntfs and wimlib made, and to what ntfs-3g's tools tell.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::tree::{self, Node};
use common::{Draw, FileSource, run};
use disk::ntfs::Ntfs;
use disk::system::{Class, FileSystem, SystemError};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Makes an image of a directory: wimlib puts it in with ntfs-3g's library, without mounting.
fn make(image: &Path, from: &Path, options: &[&str]) {
    std::fs::File::create(image)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let path = image.to_str().unwrap();
    let mut arguments = vec!["-F", "-Q", "-q"];
    arguments.extend(options);
    arguments.push(path);
    run("mkntfs", &arguments);
    let wim = image.with_extension("wim");
    let wim = wim.to_str().unwrap();
    run(
        "wimcapture",
        &[from.to_str().unwrap(), wim, "--compress=none"],
    );
    // Names are in the machine's own encoding, which must be one that has them.
    run("env", &["LC_ALL=C.UTF-8", "wimapply", wim, "1", path]);
    std::fs::remove_file(wim).unwrap();
}

fn fill(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    tree::fill(directory, 5, 700);
    std::fs::write(directory.join("half 😀"), Draw(6).bytes(600)).unwrap();
    std::fs::hard_link(
        directory.join("README.TXT"),
        directory.join("a second name of it"),
    )
    .unwrap();
}

const KINDS: [&[&str]; 4] = [
    &["-c", "4096"],
    &["-c", "512"],
    &["-c", "65536"],
    &["-c", "2048", "-s", "512"],
];

#[test]
fn what_was_put_in_is_told() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    fill(&from);
    let expected = tree::on_host(&from);
    for (index, options) in KINDS.into_iter().enumerate() {
        let image = directory.path().join(format!("image{index}"));
        make(&image, &from, options);
        let ntfs = Ntfs::open(FileSource::open(&image)).unwrap();
        assert!(ntfs.notes().is_empty(), "{options:?}: {:?}", ntfs.notes());
        tree::assert_same_nodes(&tree::told(&ntfs), &expected);
        let classes = tree::classes(&ntfs);
        let said = run("ntfsinfo", &["-m", image.to_str().unwrap()]);
        let line = said.lines().find(|line| line.contains("Free Clusters:"));
        let free = line.unwrap().split_whitespace().nth(2).unwrap();
        assert_eq!(classes["Free"].to_string(), free, "{options:?}");
        // The last sector is a copy of the first, and in no cluster.
        assert_eq!(classes.get("Unowned"), None, "{options:?}: {classes:?}");
        numbers(&image, &ntfs);
        std::fs::remove_file(&image).unwrap();
    }
}

/// Holds numbers and times to what ntfsinfo says of them.
fn numbers(image: &Path, ntfs: &Ntfs) {
    let objects = tree::objects(ntfs);
    let paths = tree::paths(ntfs, &objects);
    for (path, number) in paths.iter().step_by(97) {
        let object = &objects[number];
        let number = number.to_string();
        let said = run("ntfsinfo", &["-i", &number, image.to_str().unwrap()]);
        let field = |name: &str| {
            let line = said.lines().find(|line| line.contains(name));
            line.map(|line| line.split_once(':').unwrap().1.trim().to_owned())
        };
        let what = String::from_utf8_lossy(path);
        // ntfsinfo tells the name of the first link.
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
        if object.links == 1 && *path != b"/" && name.is_ascii() {
            let name = String::from_utf8_lossy(name);
            assert!(said.contains(&*name), "{what}: {said}");
        }
        let generation = field("MFT Record Sequence Number").or(field("Sequence Number"));
        if let Some(generation) = generation {
            let generation = generation.split_whitespace().next().unwrap().to_owned();
            assert_eq!(generation, object.generation.to_string(), "{what}");
        }
    }
    assert!(paths.len() > 700);
}

#[test]
fn blocks_are_whose_ntfscluster_says() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    fill(&from);
    let image = directory.path().join("image");
    make(&image, &from, &["-c", "4096"]);
    let ntfs = Ntfs::open(FileSource::open(&image)).unwrap();
    let layout = ntfs.layout().unwrap();
    let mut owned = 0;
    for cluster in (0..16_383u64).step_by(613) {
        let range = format!("{cluster}-{cluster}");
        let said = run("ntfscluster", &["-c", &range, image.to_str().unwrap()]);
        let owner = layout.at(cluster);
        // "Inode 64 /path/$DATA"
        let inodes: Vec<u64> = said
            .lines()
            .filter_map(|line| line.strip_prefix("Inode ")?.split(' ').next()?.parse().ok())
            .collect();
        match (owner.class, owner.object) {
            (Class::Free, _) => assert!(inodes.is_empty(), "{cluster}: {said}"),
            (_, Some(number)) => {
                assert!(inodes.contains(&number), "{cluster}: {owner:?} {said}");
                owned += 1;
            }
            (class, None) => panic!("{cluster}: {class:?} {said}"),
        }
    }
    assert!(owned > 2, "{owned}");
}

#[test]
fn streams_and_compressed_files_are_read() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"data").unwrap();
    let image = directory.path().join("image");
    let made = std::fs::File::create(&image).unwrap();
    made.set_len(64 << 20).unwrap();
    let path = image.to_str().unwrap();
    // What is made in a compressed root is compressed.
    run("mkntfs", &["-F", "-Q", "-q", "-C", "-c", "4096", path]);
    run("ntfscp", &["-q", path, file.to_str().unwrap(), "file"]);
    let stream = directory.path().join("stream");
    let bytes = Draw(9).bytes(100_000);
    std::fs::write(&stream, &bytes).unwrap();
    let stream = stream.to_str().unwrap();
    run("ntfscp", &["-q", "-N", "other", path, stream, "file"]);
    let text: Vec<u8> = (0..60_000u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let packed = directory.path().join("packed");
    std::fs::write(&packed, &text).unwrap();
    run("ntfscp", &["-q", path, packed.to_str().unwrap(), "packed"]);
    let ntfs = Ntfs::open(FileSource::open(&image)).unwrap();
    // Streams are objects that only names lead to.
    let mut names = Vec::new();
    let mut budget = 1 << 20;
    let mut take = |name: &[u8], number| names.push((name.to_vec(), number));
    ntfs.names(ntfs.root(), &mut budget, &mut take).unwrap();
    let read = |wanted: &str| {
        let (_, number) = names
            .iter()
            .find(|(name, _)| name == wanted.as_bytes())
            .unwrap();
        let object = ntfs.object(*number).unwrap();
        assert!(object.damage.is_none(), "{wanted}: {:?}", object.damage);
        (tree::content(&ntfs, &object).unwrap(), object)
    };
    assert_eq!(read("file").0, b"data");
    common::assert_same(&read("file:other").0, &bytes, "stream");
    let (found, object) = read("packed");
    common::assert_same(&found, &text, "compressed");
    let stored: u64 = object.others.iter().map(|(_, run)| run.blocks).sum();
    let packed = ntfs.packed();
    assert!(stored * 4096 < text.len() as u64 / 2, "{stored}");
    assert!(packed.len() > 8);
    let end = 64 << 20;
    for one in &packed {
        assert!(
            one.stored.end <= end && one.read.start + 4096 >= end,
            "{one:?}"
        );
    }
    // What is stored is the file's, too.
    let layout = ntfs.layout().unwrap();
    let owner = layout.at(packed[3].stored.start / 4096);
    assert_eq!(
        (owner.class, owner.object),
        (Class::File, Some(object.number))
    );
    assert!(matches!(
        tree::told(&Hidden(ntfs))[b"/file".as_slice()],
        Node::File(_)
    ));
}

/// The same without streams, which no list of objects has.
#[derive(Debug)]
struct Hidden(Ntfs);

impl FileSystem for Hidden {
    fn block_bytes(&self) -> u64 {
        self.0.block_bytes()
    }
    fn source_bytes(&self) -> u64 {
        self.0.source_bytes()
    }
    fn root(&self) -> u64 {
        self.0.root()
    }
    fn objects(&self, take: &mut disk::system::TakeObject<'_>) -> Result<(), SystemError> {
        self.0.objects(take)
    }
    fn object(&self, number: u64) -> Result<disk::system::Object, SystemError> {
        self.0.object(number)
    }
    fn names(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut disk::system::TakeName<'_>,
    ) -> Result<(), SystemError> {
        self.0.names(directory, budget, &mut |name, number| {
            if !name.contains(&b':') {
                take(name, number);
            }
        })
    }
    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), disk::ReadError> {
        self.0.read(place, buffer)
    }
    fn claim(&self, layout: &mut disk::system::Layout) -> Result<(), SystemError> {
        self.0.claim(layout)
    }
}

#[test]
fn what_is_no_ntfs_is_said() {
    for bytes in [vec![0; 512], vec![0xff; 4096]] {
        let error = Ntfs::open(Arc::new(bytes)).unwrap_err();
        assert!(matches!(error, SystemError::Not { .. }), "{error}");
    }
}
