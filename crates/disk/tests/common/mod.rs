//! What the tests of this crate share: files as sources, tools that are the truth, draws from a
//! seed.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program of tests uses a part of it"
)]

use disk::{ReadAt, ReadError, Source};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

pub mod ext;
pub mod qcow2;
pub mod small;
pub mod sparse;
pub mod tree;

/// Tools for disks are where a user who is not root does not look.
pub const TOOLS_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file as a source.
#[derive(Debug)]
pub struct FileSource(File);

impl FileSource {
    pub fn open(path: &Path) -> Source {
        Arc::new(Self(File::open(path).unwrap()))
    }
}

impl ReadAt for FileSource {
    fn size_bytes(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = self.0.read_exact_at(buffer, offset);
        read.map_err(|source| ReadError::Io { offset, source })
    }
}

/// Reads a source from its start to its end.
pub struct Reader<'a> {
    source: &'a dyn ReadAt,
    at: u64,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, at: 0 }
    }
}

impl std::io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.source.size_bytes() - self.at;
        let length = buffer.len().min(left as usize);
        let read = self.source.read_exact_at(self.at, &mut buffer[..length]);
        read.map_err(std::io::Error::other)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Runs a tool, which must succeed, and gives what it says.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        // Tools for disks are where a user who is not root does not look.
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}: {complained}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All bytes of a source.
pub fn read_all(source: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; source.size_bytes() as usize];
    source.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

/// Fails with the first place that differs, and not with megabytes of it.
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: size");
    let place = found
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other);
    if let Some(place) = place {
        panic!(
            "{what}: byte {place} is {:#04x} and should be {:#04x}",
            found[place], expected[place]
        );
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): numbers from a seed.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn one<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
