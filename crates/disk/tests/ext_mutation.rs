//! Hostile ext file systems: 20,000 that are damaged with intent, read with little memory and time.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::ext::{debugfs, make};
use common::small::{confine, damage, in_a_process_of_its_own, timed};
use common::{Draw, run};
use disk::ReadAt;
use disk::ext::{Ext, ExtError, FileKind, Inode};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const IMAGES: u64 = 20_000;

/// How much is looked at of what claims to be large.
const ENTRIES: usize = 200;
const READ_BYTES: u64 = 64 << 10;

const KINDS: [&str; 5] = [
    "-t ext2 -b 1024",
    "-t ext4 -b 1024 -O ^has_journal",
    "-t ext4 -b 1024 -O inline_data,ea_inode,^has_journal",
    "-t ext4 -b 1024 -g 256 -O meta_bg,^resize_inode,^has_journal",
    "-t ext4 -b 1024 -J size=1",
];

/// A disk of 3 MiB with fast commits of all kinds, as a guest's kernel left it that lost its power.
const FAST: &[u8] = include_bytes!("golden/ext-fast.zst");

const SIZES: [&str; 5] = ["200K", "200K", "200K", "600K", "3M"];

fn make_all(directory: &Path) {
    let tree = directory.join("tree");
    std::fs::create_dir_all(tree.join("below/below")).unwrap();
    std::fs::write(tree.join("small"), b"small").unwrap();
    std::fs::write(tree.join("below/large"), Draw(1).bytes(20_000)).unwrap();
    for number in 0..30 {
        std::fs::write(tree.join(format!("below/below/name{number}")), b"x").unwrap();
    }
    std::os::unix::fs::symlink("below/large", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("y".repeat(100), tree.join("below/link")).unwrap();
    let value = directory.join("value");
    std::fs::write(&value, vec![b'v'; 900]).unwrap();
    for (index, options) in KINDS.iter().enumerate() {
        let image = directory.join(format!("image{index}"));
        // The journal's smallest size is 1,024 blocks.
        let options = format!("{options} -N 64");
        make(&image, &tree, &options, SIZES[index]);
        let script = [
            "ea_set small user.short hello".to_owned(),
            format!("ea_set -f {} small user.long", value.display()),
            // Holes need a tree that is deeper than the inode.
            "punch below/large 3 3".to_owned(),
            "punch below/large 5 5".to_owned(),
            "punch below/large 7 7".to_owned(),
            "punch below/large 9 9".to_owned(),
        ];
        debugfs(&image, true, &script);
    }
    let last = directory.join("image4");
    let noise = directory.join("noise");
    std::fs::write(&noise, Draw(2).bytes(2048)).unwrap();
    let write = format!("jw -b 1500,1501 {}", noise.display());
    let script = ["jo -c -v 3", &write, "jw -r 1500", "jc"].map(str::to_owned);
    debugfs(&last, true, &script);
    let said = run("dumpe2fs", &["-h", last.to_str().unwrap()]);
    assert!(said.contains("needs_recovery"), "{said}");
    let fast = zstd::decode_all(FAST).unwrap();
    std::fs::write(directory.join(format!("image{}", KINDS.len())), fast).unwrap();
}

/// Gives fast commits the sums that they must have, or hardly one would be replayed.
fn sum_fast_commits(image: &mut [u8]) {
    let goes_on = |sum: u32, part: &[u8]| !crc32c::crc32c_append(!sum, part);
    let mut sum = 0;
    for block in image.chunks_mut(1024) {
        if block.starts_with(&[9, 0, 8, 0]) {
            sum = 0;
        }
        let mut at = 0;
        while at + 12 <= block.len() && block[at + 1] == 0 && (1..=9).contains(&block[at]) {
            let end = at + 4 + usize::from(u16::from_le_bytes([block[at + 2], block[at + 3]]));
            if end > block.len() {
                break;
            }
            if block[at] == 8 {
                let found = goes_on(sum, &block[at..at + 8]);
                block[at + 8..at + 12].copy_from_slice(&found.to_le_bytes());
                sum = 0;
                break;
            }
            sum = goes_on(sum, &block[at..end]);
            at = end;
        }
    }
}

/// The superblock, the first descriptors, the blocks that are neither empty nor noise.
fn places(image: &[u8]) -> Vec<(usize, usize)> {
    let blocks = image.chunks(1024).enumerate();
    let is_structure = |bytes: &[u8]| {
        let zeros = bytes.iter().filter(|byte| **byte == 0).count();
        zeros > 100 && zeros < bytes.len()
    };
    let structures = blocks.filter(|(_, bytes)| is_structure(bytes));
    let mut places: Vec<_> = structures.map(|(index, _)| (index * 1024, 1024)).collect();
    places.extend([(1024, 400), (1024, 400), (2048, 128)]);
    places
}

/// An image of ext2 whose structures can be pointed elsewhere.
struct Forged(Vec<u8>);

impl Forged {
    fn word(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }

    fn put(&mut self, at: usize, word: usize) {
        self.0[at..at + 4].copy_from_slice(&(word as u32).to_le_bytes());
    }

    /// Where an inode lies. The image has one group.
    fn inode(&self, number: u32) -> usize {
        let bytes = usize::from(self.0[1024 + 88]) | usize::from(self.0[1024 + 89]) << 8;
        self.word(2048 + 8) * 1024 + (number as usize - 1) * bytes
    }

    /// Where an inode's pointers are kept.
    fn point(&mut self, number: u32, pointers: &[(usize, usize)]) {
        let at = self.inode(number) + 40;
        self.0[at..at + 60].fill(0);
        for (index, block) in pointers {
            self.put(at + 4 * index, *block);
        }
        // As large as can be.
        self.put(self.inode(number) + 4, 0xffff_fc00);
    }

    /// A new block that is full of one pointer.
    fn list(&mut self, block: usize) -> usize {
        let new = self.0.len() / 1024;
        for _ in 0..256 {
            self.0.extend((block as u32).to_le_bytes());
        }
        self.put(1024 + 4, new + 1);
        new
    }
}

/// Small images that claim to be very large.
fn read_bombs(sound: &[u8]) {
    let ext = Ext::open(Arc::new(sound.to_vec())).unwrap();
    let file = ext.find(b"/below/large").unwrap().number;
    let directory = ext.find(b"/below").unwrap();
    let names = ext.map(&directory).unwrap().extents[0].physical as usize;
    let forge = || Forged(sound.to_vec());

    // Lists of lists of empty lists: 64 million blocks, none of which is there.
    let mut empty = forge();
    let list = empty.list(0);
    let list = empty.list(list);
    let list = empty.list(list);
    empty.point(file, &[(14, list)]);
    // A list that contains itself.
    let mut own = forge();
    let itself = own.0.len() / 1024;
    let list = own.list(itself);
    own.point(file, &[(12, list), (13, list), (14, list)]);
    // A directory of the same block again and again, one with names and one without.
    let mut again = forge();
    let list = again.list(names);
    let list = again.list(list);
    again.point(directory.number, &[(13, list)]);
    let mut nameless = forge();
    let list = nameless.list(itself);
    nameless.0[itself * 1024..].fill(0);
    nameless.0[itself * 1024 + 5] = 4;
    let list = nameless.list(list);
    nameless.point(directory.number, &[(13, list)]);

    let bombs = [(empty, false), (own, true), (again, true), (nameless, true)];
    for (number, (bomb, must_fail)) in (0..).zip(bombs) {
        let outcome = timed(number, || read_all(bomb.0));
        assert!(outcome.is_err() || !must_fail, "bomb {number}");
    }
}

fn read_all(bytes: Vec<u8>) -> Result<(), ExtError> {
    let ext = Ext::open(Arc::new(bytes))?;
    let mut outcome = Ok(());
    let mut paths = BTreeSet::new();
    for entry in ext.walk().take(ENTRIES) {
        match entry {
            Ok(entry) => {
                assert!(entry.path.starts_with(b"/") && entry.path.len() <= 4096);
                paths.insert(entry.path);
                outcome = outcome.and(look_at(&ext, &entry.inode));
            }
            Err(error) => outcome = Err(error),
        }
    }
    let layout = ext.layout()?;
    for block in 0..3000 {
        let owner = layout.at(block);
        assert!(owner.logical.is_none() || owner.inode.is_some());
    }
    outcome
}

fn look_at(ext: &Ext, inode: &Inode) -> Result<(), ExtError> {
    let attributes = ext.attributes(inode);
    if inode.kind() == FileKind::Symlink {
        ext.link_target(inode)?;
    }
    let file = ext.open_file(inode)?;
    let bytes = file.size_bytes().min(READ_BYTES);
    let mut buffer = vec![0; bytes as usize];
    let start = file.size_bytes() - bytes;
    let _data_or_error = file.read_exact_at(start, &mut buffer);
    let _data_or_error = file.read_exact_at(0, &mut buffer);
    let mut before = 0;
    for extent in ext.map(inode)?.extents {
        assert!(extent.logical >= before && extent.blocks > 0);
        before = extent.end();
    }
    attributes.map(drop)
}

fn kind(error: &ExtError) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let directory = std::env::var_os("VARDOGER_TEST_IMAGES").unwrap();
    let image = |index| std::fs::read(Path::new(&directory).join(format!("image{index}"))).unwrap();
    let corpus: Vec<_> = (0..=KINDS.len()).map(image).collect();
    let places: Vec<_> = corpus.iter().map(|image| places(image)).collect();
    confine();
    for (index, image) in corpus.iter().enumerate() {
        read_all(image.clone()).unwrap_or_else(|error| panic!("{index}: {error}"));
    }
    read_bombs(&corpus[0]);
    let (mut valid, mut fast) = (0, 0);
    let mut kinds = BTreeSet::new();
    for number in 0..IMAGES {
        let mut draw = Draw(number);
        // Those with a journal are large: they come less often.
        let index = [0, 0, 1, 1, 2, 2, 3, 3, 4, 5][draw.below(10)];
        let other = draw.below(corpus.len());
        let mut image = corpus[index].clone();
        damage(&mut image, &corpus[other], &places[index], &mut draw);
        if index == KINDS.len() {
            sum_fast_commits(&mut image);
            let replay = Ext::open(Arc::new(image.clone()))
                .ok()
                .and_then(|it| it.replay());
            fast += u64::from(replay.is_some_and(|it| it.fast_commits > 0));
        }
        match timed(number, || read_all(image)) {
            Ok(()) => valid += 1,
            Err(error) => drop(kinds.insert(kind(&error))),
        }
    }
    println!("{valid} of {IMAGES} were read to the end; errors: {kinds:?}");
    assert!((100..IMAGES).contains(&valid), "{valid} are valid");
    assert!(fast > 300, "{fast} had fast commits");
    for expected in [
        "Read",
        "NotExt",
        "Features",
        "JournalDevice",
        "Short",
        "Field",
        "Limit",
        "Block",
        "Inode",
    ] {
        assert!(kinds.contains(expected), "no {expected} among {kinds:?}");
    }
}

#[test]
fn no_hostile_file_system_makes_it_panic_hang_or_grow() {
    let directory = TempDir::new().unwrap();
    make_all(directory.path());
    in_a_process_of_its_own("in_a_small_process", directory.path());
}
