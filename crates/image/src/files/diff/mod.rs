//! What happened to files between two times.
//!
//! ```text
//!  names    of each object that is there both times: kept, gone, new
//!             one gone and one new ──► renamed        new only ──► linked      gone only ──► unlinked
//!           of an object that is gone ──► deleted ─┐  same path:
//!           of one that is new        ──► created ─┴─────────────► replaced
//!  data     of files that are there both times      ──► modified, appended
//!  fields   what is not explained by the above      ──► metadata
//! ```
//!
//! A name is kept if it stands in the same directory under the same bytes, whatever that
//! directory's own name is: so a renamed directory is one event. What follows from another event is
//! no event: new times of a modified file, or of a directory in which names came or went, and the
//! time of change of a renamed file. Reading is none.

mod data;
mod names;

use crate::files::differences::Differences;
use crate::files::event::{Change, Field, FileEvent};
use crate::files::tree::Parts;
use crate::files::{Content, FileKind, Files, FilesError, Object, ObjectId, Ranges};
use data::Pieces;
use names::Names;

/// What happened, and what could not be told.
#[derive(Debug, Default)]
pub struct Diff {
    /// What happened, by path, and of one path in the order of [`Change::rank`].
    pub events: Vec<FileEvent>,
    /// Files whose data could not be compared. One of them counts as modified if its size or its
    /// times differ.
    pub damage: Vec<FilesError>,
}

/// Tells what happened between two times of a file system. `dirty` are the parts of it that may
/// differ; what lies elsewhere is taken to be the same, and is not read.
///
/// # Errors
/// More would have to be compared than the file systems have, or more paths told than the limit.
pub fn diff(before: &Files, after: &Files, dirty: &Differences) -> Result<Diff, FilesError> {
    let names = Names::new(&before.tree, &after.tree)?;
    let mut work = Work {
        before,
        after,
        dirty: with_displaced(before, after, dirty),
        pieces: Pieces::new(
            before
                .system
                .bytes_max()
                .saturating_add(after.system.bytes_max()),
        ),
        names,
        found: Diff::default(),
    };
    for object in after.tree.objects() {
        work.object(object.id)?;
    }
    let Work { names, found, .. } = work;
    let mut found = found;
    found.events.extend(names.events);
    found.events.sort_by(|one, other| {
        let order = |event: &FileEvent| event.change.rank();
        let paths = one.path.cmp(&other.path);
        paths.then_with(|| order(one).cmp(&order(other)))
    });
    Ok(found)
}

/// Adds the blocks that may have changed though the disk did not change in their place.
fn with_displaced(before: &Files, after: &Files, dirty: &Differences) -> Differences {
    let mut ranges = Vec::new();
    for files in [before, after] {
        let bytes = files.tree.block_bytes();
        let blocks = files.system.displaced().into_iter();
        ranges.extend(blocks.map(|block| {
            let start = block.saturating_mul(bytes);
            start..start.saturating_add(bytes)
        }));
        let packed = files.system.packed().into_iter();
        let differing = packed.filter(|one| dirty.blocks.meets(one.stored.clone()));
        ranges.extend(differing.map(|one| one.read));
    }
    dirty.with_unknown(ranges)
}

struct Work<'a> {
    before: &'a Files,
    after: &'a Files,
    dirty: Differences,
    pieces: Pieces,
    names: Names,
    found: Diff,
}

impl Work<'_> {
    /// Tells what happened to the data and fields of an object that is there both times.
    fn object(&mut self, id: ObjectId) -> Result<(), FilesError> {
        if !self.names.is_same(id) {
            return Ok(());
        }
        let (before, after) = (self.before, self.after);
        let (Some(one), Some(other)) = (before.tree.parts(id), after.tree.parts(id)) else {
            return Ok(());
        };
        let data = match other.object.kind {
            FileKind::File => self.data(one, other)?,
            FileKind::Symlink => self.target(id),
            _ => None,
        };
        let fields = self.fields(one.object, other.object, data.is_some());
        let metadata = (!fields.is_empty()).then_some(Change::Metadata { fields });
        if data.is_none() && metadata.is_none() {
            return Ok(());
        }
        let names = after.tree.names_of(id).map(|entry| entry.path());
        let mut paths: Vec<Vec<u8>> = names.collect();
        if paths.is_empty() {
            paths.extend(after.tree.path(id));
        }
        for path in paths {
            for change in data.iter().chain(&metadata) {
                self.found.events.push(FileEvent {
                    path: path.clone(),
                    change: change.clone(),
                    before: Some(Box::new(one.object.clone())),
                    after: Some(Box::new(other.object.clone())),
                });
            }
        }
        Ok(())
    }

    fn data(&mut self, one: Parts<'_>, other: Parts<'_>) -> Result<Option<Change>, FilesError> {
        let before = Content::of(&self.before.tree, &*self.before.system, one);
        let after = Content::of(&self.after.tree, &*self.after.system, other);
        match data::change(&before, &after, &self.dirty, &mut self.pieces) {
            Err(limit @ FilesError::Limit { .. }) => Err(limit),
            Err(damage) => {
                self.found.damage.push(damage);
                let (one, other) = (one.object, other.object);
                let told = |object: &Object| (object.size_bytes, object.modified, object.changed);
                Ok((told(one) != told(other)).then(|| Change::Modified {
                    ranges: Ranges::all(other.size_bytes).iter().collect(),
                }))
            }
            done => done,
        }
    }

    fn target(&self, id: ObjectId) -> Option<Change> {
        let (before, after) = (self.before.tree.target(id), self.after.tree.target(id));
        (before != after).then(|| Change::Modified {
            ranges: Ranges::all(after.len() as u64).iter().collect(),
        })
    }

    /// The fields that differ, without those that follow from something else.
    fn fields(&self, before: &Object, after: &Object, data: bool) -> Vec<Field> {
        let (renamed, entries) = (
            self.names.is_renamed(after.id),
            self.names.has_other_entries(after.id),
        );
        let follows = |field: &Field| match field {
            Field::Modified => data || entries,
            Field::Changed => data || entries || renamed,
            _ => false,
        };
        let mut fields = differing(before, after);
        fields.retain(|field| !follows(field));
        match fields.as_slice() {
            [Field::Accessed] => Vec::new(),
            _ => fields,
        }
    }
}

fn differing(before: &Object, after: &Object) -> Vec<Field> {
    let fields = [
        (Field::Mode, before.mode != after.mode),
        (Field::Uid, before.uid != after.uid),
        (Field::Gid, before.gid != after.gid),
        (Field::Attributes, before.attributes != after.attributes),
        (Field::Flags, before.flags != after.flags),
        (Field::Device, before.device != after.device),
        (Field::Modified, before.modified != after.modified),
        (Field::Changed, before.changed != after.changed),
        (Field::Accessed, before.accessed != after.accessed),
    ];
    let differing = fields.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(field, _)| field).collect()
}
