//! Names that came and went.

use crate::files::event::{Change, FileEvent};
use crate::files::tree::Entry;
use crate::files::{FilesError, Object, ObjectId, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// How long all paths may be together that came or went: a short name in a deep directory has a long
/// path, of which a hostile file system can have any number. A server's 36,000 have 3 MB.
const MAX_PATHS_BYTES: u64 = 256 << 20;

/// Which objects are there both times, and what happened to names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The numbers of objects that are there both times, ascending.
    same: Vec<u64>,
    /// Those of them that have other names.
    renamed: BTreeSet<u64>,
    /// Directories in which names came or went.
    entries: BTreeSet<u64>,
    pub(super) events: Vec<FileEvent>,
}

impl Names {
    /// # Errors
    /// All paths to be told have more bytes than [`MAX_PATHS_BYTES`].
    pub(super) fn new(before: &Tree, after: &Tree) -> Result<Self, FilesError> {
        let mut names = Self {
            same: same(before, after),
            ..Self::default()
        };
        for object in after.objects() {
            if names.is_same(object.id) {
                names.kept(before, after, object.id);
            }
        }
        let mut left = MAX_PATHS_BYTES;
        let gone = names.others(before, &mut left)?;
        let new = names.others(after, &mut left)?;
        names.replaced(gone, new);
        Ok(names)
    }

    /// Whether the object of a number is the same one both times.
    pub(super) fn is_same(&self, id: ObjectId) -> bool {
        self.same.binary_search(&id.0).is_ok()
    }

    pub(super) fn is_renamed(&self, id: ObjectId) -> bool {
        self.renamed.contains(&id.0)
    }

    /// Whether names came or went in a directory.
    pub(super) fn has_other_entries(&self, directory: ObjectId) -> bool {
        self.entries.contains(&directory.0)
    }

    /// Compares the names of an object that is there both times.
    fn kept(&mut self, before: &Tree, after: &Tree, id: ObjectId) {
        let mut gone: Vec<Entry<'_>> = before.names_of(id).collect();
        let mut new: Vec<Entry<'_>> = after.names_of(id).collect();
        if let ([one], [other]) = (gone.as_slice(), new.as_slice())
            && self.is_kept(one, other)
        {
            return;
        }
        // A file has at most tens of thousands of names, which would be too many to compare each
        // with each.
        let of = |entry: &Entry<'_>| Some((entry.directory()?.0, entry.name_bytes.to_vec()));
        let had: BTreeSet<_> = gone.iter().filter_map(of).collect();
        let has: BTreeSet<_> = new.iter().filter_map(of).collect();
        let stays = |entry: &Entry<'_>| {
            of(entry).is_some_and(|name| {
                had.contains(&name) && has.contains(&name) && self.is_same(ObjectId(name.0))
            })
        };
        gone.retain(|entry| !stays(entry));
        new.retain(|entry| !stays(entry));
        if !gone.is_empty() || !new.is_empty() {
            self.renamed.insert(id.0);
            self.pair(&gone, &new, before.object(id), after.object(id));
        }
    }

    fn is_kept(&self, one: &Entry<'_>, other: &Entry<'_>) -> bool {
        let directories = (one.directory(), other.directory());
        one.name_bytes == other.name_bytes
            && directories.0 == directories.1
            && directories
                .0
                .is_some_and(|directory| self.is_same(directory))
    }

    /// Makes renamings of names that went and names that came, as far as both go.
    fn pair(
        &mut self,
        gone: &[Entry<'_>],
        new: &[Entry<'_>],
        before: Option<&Object>,
        after: Option<&Object>,
    ) {
        for entry in gone.iter().chain(new) {
            self.entries.extend(entry.directory().map(|id| id.0));
        }
        let sorted = |entries: &[Entry<'_>]| {
            let mut paths: Vec<Vec<u8>> = entries.iter().map(Entry::path).collect();
            paths.sort_unstable();
            paths
        };
        let (mut gone, mut new) = (sorted(gone).into_iter(), sorted(new).into_iter());
        loop {
            let (path, change) = match (gone.next(), new.next()) {
                // Its directory is another one under the same name.
                (Some(from), Some(path)) if from == path => continue,
                (Some(from), Some(path)) => (path, Change::Renamed { from }),
                (Some(path), None) => (path, Change::Unlinked),
                (None, Some(path)) => (path, Change::Linked),
                (None, None) => return,
            };
            self.events.push(FileEvent {
                path,
                change,
                before: before.cloned().map(Box::new),
                after: after.cloned().map(Box::new),
            });
        }
    }

    /// All names of objects that are not there both times.
    fn others<'a>(&mut self, tree: &'a Tree, left: &mut u64) -> Result<Others<'a>, FilesError> {
        let mut found = Others::new();
        for entry in tree.entries() {
            if self.is_same(entry.object.id) {
                continue;
            }
            let path = entry.path();
            let rest = left.checked_sub(path.len() as u64);
            *left = rest.ok_or(FilesError::Limit {
                what: "bytes of paths that came or went",
                limit: MAX_PATHS_BYTES,
            })?;
            let directory = entry.directory();
            self.entries.extend(directory.map(|id| id.0));
            let kept = directory.filter(|directory| self.is_same(*directory));
            let key = match kept {
                Some(directory) => Key::In(directory.0, entry.name_bytes.to_vec()),
                None => Key::At(path.clone()),
            };
            found.insert(key, (path, entry.object));
        }
        Ok(found)
    }

    /// Tells names of objects that are gone, and of those that are new.
    fn replaced(&mut self, gone: Others<'_>, mut new: Others<'_>) {
        for (key, (was, before)) in gone {
            let (path, change, after) = match new.remove(&key) {
                Some((path, after)) => (path, Change::Replaced, Some(after)),
                None => (was, Change::Deleted, None),
            };
            self.events.push(FileEvent {
                path,
                change,
                before: Some(Box::new(before.clone())),
                after: after.cloned().map(Box::new),
            });
        }
        for (path, after) in new.into_values() {
            self.events.push(FileEvent {
                path,
                change: Change::Created,
                before: None,
                after: Some(Box::new(after.clone())),
            });
        }
    }
}

/// What makes two names the same place: a directory that is there both times, under whatever name of
/// its own; or else the path.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    In(u64, Vec<u8>),
    At(Vec<u8>),
}

/// Names by their place: path, and what they lead to.
type Others<'a> = BTreeMap<Key, (Vec<u8>, &'a Object)>;

/// The objects that are there both times, with a name both times unless they are the root.
fn same(before: &Tree, after: &Tree) -> Vec<u64> {
    let is_root = |tree: &Tree, id| tree.root().is_some_and(|root| root.id == id);
    let has_name = |tree: &Tree, id| is_root(tree, id) || tree.names_of(id).next().is_some();
    let mut same: Vec<u64> = after
        .objects()
        .filter(|object| {
            let id = object.id;
            let was = before.object(id);
            was.is_some_and(|was| was.is_same(object))
                && has_name(before, id)
                && has_name(after, id)
        })
        .map(|object| object.id.0)
        .collect();
    same.sort_unstable();
    same
}
