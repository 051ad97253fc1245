//! What the tests of histories share: a disk that changes by draws, and its history.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part of this, and a helper of a test may panic"
)]

use disk::ReadAt;
use image::BLOCK_BYTES;
use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::Kind;
use image::history::History;
use image::writer::{About, ChangesetWriter, Cut, KnownUnits};
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::ops::Range;
use std::sync::Arc;

pub const BLOCK: usize = BLOCK_BYTES as usize;

/// A disk and its history, by draws.
pub struct Shadow {
    pub random: ChaCha8Rng,
    pub blobs: Arc<MemoryBlobs>,
    /// What captures are put into: the blobs, or something before them.
    pub sink: Arc<dyn Blobs>,
    pub known: KnownUnits,
    pub disk: Vec<u8>,
    /// The disk at each changeset.
    pub versions: Vec<Vec<u8>>,
    pub history: History,
}

impl Shadow {
    pub fn new(seed: u64, disk_bytes: usize) -> Self {
        let blobs: Arc<MemoryBlobs> = Arc::default();
        Self::into(seed, disk_bytes, Arc::clone(&blobs), blobs)
    }

    pub fn into(
        seed: u64,
        disk_bytes: usize,
        blobs: Arc<MemoryBlobs>,
        sink: Arc<dyn Blobs>,
    ) -> Self {
        let mut shadow = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            blobs,
            sink,
            known: KnownUnits::default(),
            disk: vec![0; disk_bytes],
            versions: Vec::new(),
            history: History::default(),
        };
        shadow.change();
        let blocks = 0..shadow.blocks();
        shadow.capture(Kind::Base, Cut::WHOLE, &[blocks]);
        shadow
    }

    pub fn blocks(&self) -> u64 {
        (self.disk.len() as u64).div_ceil(BLOCK_BYTES)
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below.max(1)
    }

    /// Changes some blocks: to noise, to what is there elsewhere, to zeros. Says which.
    pub fn change(&mut self) -> Vec<Range<u64>> {
        let mut dirty = Vec::new();
        let mut at = self.draw(8);
        while at < self.blocks() {
            let blocks = 1 + self.draw(9);
            let end = (at + blocks).min(self.blocks());
            let how = self.draw(4);
            let other = self.draw(self.blocks()) as usize * BLOCK;
            for block in at..end {
                let place = block as usize * BLOCK;
                let place = place..self.disk.len().min(place + BLOCK);
                match how {
                    0 => self.disk[place].fill(0),
                    1 if other + place.len() <= self.disk.len() => {
                        self.disk
                            .copy_within(other..other + place.len(), place.start);
                    }
                    _ => self.random.fill_bytes(&mut self.disk[place]),
                }
            }
            dirty.push(at..end);
            at = end + 1 + self.draw(40);
        }
        dirty
    }

    pub fn capture(&mut self, kind: Kind, cut: Cut, dirty: &[Range<u64>]) {
        let about = About {
            kind,
            sequence: self.versions.len() as u64,
            parent: self.history.head(),
            disk_bytes: self.disk.len() as u64,
        };
        let mut writer = ChangesetWriter::new(&*self.sink, &mut self.known, about, cut);
        for part in dirty {
            writer.write_from(&self.disk, part.clone()).unwrap();
        }
        let taken = Timestamp::from_unix_ns(self.versions.len() as i64);
        let written = writer.finish(taken, "a test".to_owned()).unwrap();
        self.history.add(written).unwrap();
        self.versions.push(self.disk.clone());
    }

    pub fn step(&mut self) {
        let dirty = self.change();
        self.capture(Kind::Increment, Cut::CHANGE, &dirty);
    }

    pub fn resize(&mut self, disk_bytes: usize) {
        let before = self.blocks();
        self.disk.resize(disk_bytes, 0);
        let grown = before.min(self.blocks())..self.blocks();
        self.capture(Kind::Resync, Cut::CHANGE, &[grown]);
    }
}

impl Shadow {
    /// The blobs, for readers.
    pub fn source(&self) -> Arc<dyn Blobs> {
        Arc::clone(&self.blobs) as Arc<dyn Blobs>
    }

    /// That versions of a history read as the disk was.
    pub fn check_versions(&self, history: &History) {
        for one in history.changesets() {
            let sequence = one.changeset.sequence;
            let expected = &self.versions[sequence as usize];
            let version = history.version(self.source(), sequence).unwrap();
            assert_eq!(version.size_bytes(), expected.len() as u64);
            assert!(
                read(&version, 0..expected.len()) == *expected,
                "version {sequence}"
            );
        }
    }
}

/// A blob as a whole.
pub fn whole(blobs: &dyn Blobs, name: &str) -> Vec<u8> {
    let length = blobs.length(name).unwrap();
    blobs.read(name, 0..length).unwrap()
}

/// A part of a source.
pub fn read(source: &dyn ReadAt, part: Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; part.len()];
    source.read_exact_at(part.start as u64, &mut bytes).unwrap();
    bytes
}
