//! Packages, and what they list of the paths that are asked for.

use std::collections::{BTreeMap, HashMap, HashSet};

/// A digest of content, as a package database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Md5([u8; 16]),
}

/// A package that is installed, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) version: String,
    /// Where it stands, as the database says.
    pub(super) state: String,
}

/// What a package says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The package, with its architecture where there may be several.
    pub(super) package: String,
    pub(super) digest: Option<Digest>,
    /// Whether it is a configuration file: people edit it.
    pub(super) is_configuration: bool,
}

/// What a package database says.
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

    /// What packages say of a path.
    pub(super) fn listed(&self, path: &[u8]) -> &[Item] {
        self.items.get(path).map_or(&[], Vec::as_slice)
    }
}

/// The paths that are asked for.
pub(super) type Wanted = HashSet<Vec<u8>>;
