//! Packages, and what they list of the paths that are asked for.

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A digest of content, as a package database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Md5([u8; 16]),
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    pub(super) fn md5(digits: &[u8]) -> Option<Self> {
        bytes(digits).map(Self::Md5)
    }

    pub(super) fn sha256(digits: &[u8]) -> Option<Self> {
        bytes(digits).map(Self::Sha256)
    }

    pub(super) fn sha512(digits: &[u8]) -> Option<Self> {
        bytes(digits).map(Self::Sha512)
    }

    /// Begins a digest of the same kind.
    pub(super) fn hasher(&self) -> Hasher {
        match self {
            Self::Md5(_) => Hasher::Md5(Md5::new()),
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Sha512(_) => Hasher::Sha512(Sha512::new()),
        }
    }
}

/// A digest on its way.
#[derive(Debug)]
pub(super) enum Hasher {
    Md5(Md5),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Md5(hasher) => Digest::Md5(hasher.finalize().into()),
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Digest::Sha512(hasher.finalize().into()),
        }
    }
}

/// Bytes that are written in hexadecimal; nothing if they are more or fewer.
fn bytes<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; BYTES];
    if digits.len() != BYTES.checked_mul(2)? {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = digit(*high)?.checked_mul(16)?.checked_add(digit(*low)?)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

/// A package that is installed, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    /// What it has in common with its other versions.
    pub(super) series: String,
    pub(super) version: String,
    /// Where it stands, as the database says; another one where it was worked on.
    pub(super) state: String,
    /// Whether it is wholly there.
    pub(super) is_installed: bool,
}

/// What a package says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// What the package is known by.
    pub(super) package: String,
    pub(super) digest: Option<Digest>,
    /// Type and permissions, where the database has them.
    pub(super) mode: Option<u16>,
    /// Where a link leads, where the database has that.
    pub(super) target: Option<Vec<u8>>,
    /// Whether it is a configuration file: people edit it.
    pub(super) is_configuration: bool,
    /// Whether nothing is wrong if it is not there.
    pub(super) may_be_absent: bool,
}

/// What package databases say.
#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) packages: BTreeMap<String, Package>,
    /// By the path as it lies on the disk.
    items: HashMap<Vec<u8>, Vec<Item>>,
}

impl Database {
    /// Notes what a package says of a path. What is known already of the two is kept.
    pub(super) fn note(&mut self, path: Vec<u8>, new: Item) {
        let items = self.items.entry(path).or_default();
        match items.iter_mut().find(|item| item.package == new.package) {
            None => items.push(new),
            Some(item) => {
                item.digest = new.digest.or(item.digest);
                item.is_configuration |= new.is_configuration;
            }
        }
    }

    /// Notes what another database says.
    pub(super) fn add(&mut self, other: Self) {
        self.packages.extend(other.packages);
        for (path, items) in other.items {
            for item in items {
                self.note(path.clone(), item);
            }
        }
    }

    /// What packages say of a path.
    pub(super) fn listed(&self, path: &[u8]) -> &[Item] {
        self.items.get(path).map_or(&[], Vec::as_slice)
    }
}

/// The paths that are asked for.
pub(super) type Wanted = HashSet<Vec<u8>>;
