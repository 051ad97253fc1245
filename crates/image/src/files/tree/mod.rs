//! All objects and names of a file system, as data.
//!
//! ```text
//!  objects   ascending by number        names  ascending by (directory, text)
//!    extents ──► one list for all         text ──► one list of bytes for all
//!    inline, target ──► the bytes         object, directory: places in the list of objects
//! ```
//!
//! A name has 24 bytes besides its text, an object some 250: the tree of a server with 36,000 files
//! takes 12 MiB. Paths are composed when they are asked for. Every directory is entered by the first
//! of its names only, so that no path goes round.

mod read;

use crate::files::system::FilesError;
use crate::files::{Extent, Object, ObjectId, length};
use std::collections::BTreeMap;
use std::ops::Range;

/// How many objects, and how many names, are told of: those of the largest servers. More would take
/// gigabytes.
pub const MAX_OBJECTS: u64 = 10_000_000;

/// How long a path may be: Linux's limit.
pub const MAX_PATH_BYTES: usize = 4096;

/// A place in one of the lists.
type Index = u32;

/// An object, and where what belongs to it stands.
#[derive(Debug)]
struct Stored {
    object: Object,
    extents: Range<Index>,
    target: Range<Index>,
    inline: Option<Range<Index>>,
    /// Whether its data are not known.
    damaged: bool,
    /// Of a directory, the name by which it was entered.
    entered: Option<Index>,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
struct Name {
    directory: Index,
    object: Index,
    start: Index,
    bytes: Index,
}

/// All objects and names of a file system.
#[derive(Debug, Default)]
pub struct Tree {
    block_bytes: u64,
    root: Option<Index>,
    objects: Vec<Stored>,
    /// The numbers of the objects that were found in order: the first of the list.
    numbers: Vec<u64>,
    /// Those that only a name has led to.
    late: BTreeMap<u64, Index>,
    extents: Vec<Extent>,
    text: Vec<u8>,
    names: Vec<Name>,
    /// Names in the order of their objects.
    by_object: Vec<Index>,
    damage: Vec<FilesError>,
}

/// A name and what it leads to.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    tree: &'a Tree,
    name: Index,
    /// What it leads to.
    pub object: &'a Object,
    /// The name itself.
    pub name_bytes: &'a [u8],
}

/// An object, and where its data lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) object: &'a Object,
    pub(super) extents: &'a [Extent],
    pub(super) inline: Option<&'a [u8]>,
    pub(super) damaged: bool,
}

impl Entry<'_> {
    /// The directory that the name stands in.
    #[must_use]
    pub fn directory(&self) -> Option<ObjectId> {
        let name = self.tree.names.get(place(self.name))?;
        let directory = self.tree.objects.get(place(name.directory))?;
        Some(directory.object.id)
    }

    /// The path from the root, which itself is `/`.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        self.tree.path_of_name(self.name)
    }
}

impl Tree {
    /// The places of a directory's names.
    fn range_of(&self, directory: Index) -> Range<usize> {
        let start = self
            .names
            .partition_point(|name| name.directory < directory);
        let rest = self.names.get(start..).unwrap_or_default();
        let count = rest.partition_point(|name| name.directory == directory);
        start..start.saturating_add(count)
    }

    fn text_of(&self, name: &Name) -> &[u8] {
        let end = name.start.saturating_add(name.bytes);
        self.bytes(&(name.start..end))
    }

    fn bytes(&self, range: &Range<Index>) -> &[u8] {
        let part = self.text.get(place(range.start)..place(range.end));
        part.unwrap_or_default()
    }

    fn path_of_name(&self, name: Index) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut above = Some(name);
        // Names that are entered lead up to the root; their number bounds the way all the same.
        while let Some(name) = above.and_then(|name| self.names.get(place(name))) {
            parts.push(self.text_of(name));
            let directory = self.objects.get(place(name.directory));
            above = directory.and_then(|directory| directory.entered);
            if parts.len() > MAX_PATH_BYTES {
                break;
            }
        }
        let bytes = parts.iter().map(|part| part.len().saturating_add(1));
        let mut path = Vec::with_capacity(bytes.fold(0, usize::saturating_add));
        for part in parts.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        path
    }

    fn names_of_index(&self, object: Index) -> &[Index] {
        let object_of = |name: &Index| self.names.get(place(*name)).map(|name| name.object);
        let start = self
            .by_object
            .partition_point(|name| object_of(name) < Some(object));
        let rest = self.by_object.get(start..).unwrap_or_default();
        let count = rest.partition_point(|name| object_of(name) == Some(object));
        rest.get(..count).unwrap_or_default()
    }

    fn index_of(&self, id: ObjectId) -> Option<Index> {
        match self.numbers.binary_search(&id.0) {
            Ok(place) => Some(index(place)),
            Err(_) => self.late.get(&id.0).copied(),
        }
    }

    fn stored(&self, id: ObjectId) -> Option<&Stored> {
        self.objects.get(place(self.index_of(id)?))
    }

    fn entry(&self, name: usize) -> Option<Entry<'_>> {
        let found = self.names.get(name)?;
        Some(Entry {
            tree: self,
            name: index(name),
            object: &self.objects.get(place(found.object))?.object,
            name_bytes: self.text_of(found),
        })
    }

    /// The size of the file system's blocks.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// All objects, those without a name too.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().map(|stored| &stored.object)
    }

    /// An object by its number.
    #[must_use]
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        Some(&self.stored(id)?.object)
    }

    /// The first directory.
    #[must_use]
    pub fn root(&self) -> Option<&Object> {
        let root = self.objects.get(place(self.root?))?;
        Some(&root.object)
    }

    /// Where an object's data lie, in blocks of the file system, in the order of the file.
    #[must_use]
    pub fn extents(&self, id: ObjectId) -> &[Extent] {
        self.parts(id).map_or(&[], |parts| parts.extents)
    }

    /// Where a symbolic link leads. The bytes are not followed.
    #[must_use]
    pub fn target(&self, id: ObjectId) -> &[u8] {
        let stored = self.stored(id);
        stored.map_or(&[], |stored| self.bytes(&stored.target))
    }

    /// All names, by directory; the root has none.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.names.len()).filter_map(|name| self.entry(name))
    }

    /// How many names there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// The names of a directory, sorted.
    pub fn children(&self, directory: ObjectId) -> impl Iterator<Item = Entry<'_>> {
        let range = self.index_of(directory).map(|found| self.range_of(found));
        range
            .unwrap_or_default()
            .filter_map(|name| self.entry(name))
    }

    /// The names of an object; none for the root, and for one that is deleted but still open.
    pub fn names_of(&self, id: ObjectId) -> impl Iterator<Item = Entry<'_>> {
        let names = self.index_of(id).map(|found| self.names_of_index(found));
        let names = names.unwrap_or_default().iter();
        names.filter_map(|name| self.entry(place(*name)))
    }

    /// The first path of an object.
    #[must_use]
    pub fn path(&self, id: ObjectId) -> Option<Vec<u8>> {
        if self.root().is_some_and(|root| root.id == id) {
            return Some(b"/".to_vec());
        }
        self.names_of(id).next().map(|entry| entry.path())
    }

    /// All of an object at once.
    pub(super) fn parts(&self, id: ObjectId) -> Option<Parts<'_>> {
        let stored = self.stored(id)?;
        let extents = place(stored.extents.start)..place(stored.extents.end);
        Some(Parts {
            object: &stored.object,
            extents: self.extents.get(extents).unwrap_or_default(),
            inline: stored.inline.as_ref().map(|range| self.bytes(range)),
            damaged: stored.damaged,
        })
    }

    /// What a path leads to. Links are not followed; slashes may be doubled or missing at the ends.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<&Object> {
        let mut found = self.root?;
        let parts = path.split(|byte| *byte == b'/');
        for part in parts.filter(|part| !part.is_empty()) {
            let range = self.range_of(found);
            let names = self.names.get(range).unwrap_or_default();
            let at = names.partition_point(|name| self.text_of(name) < part);
            let name = names.get(at).filter(|name| self.text_of(name) == part)?;
            found = name.object;
        }
        let stored = self.objects.get(place(found))?;
        Some(&stored.object)
    }

    /// What could not be read: the first thousand.
    #[must_use]
    pub fn damage(&self) -> &[FilesError] {
        &self.damage
    }
}

fn place(index: Index) -> usize {
    length(index.into())
}

/// A place as it is stored. All lists are held to limits that fit.
fn index(place: usize) -> Index {
    Index::try_from(place).unwrap_or(Index::MAX)
}
