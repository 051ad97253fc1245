//! How a [`Tree`] is read: all objects first, in the order in which they lie on the disk, then the
//! names of all directories that the root leads to.

use crate::files::system::{FileSystem, FilesError, Found};
use crate::files::tree::{Index, MAX_OBJECTS, MAX_PATH_BYTES, Name, Stored, Tree, index, place};
use crate::files::{FileKind, ObjectId};
use std::ops::{ControlFlow, Range};

/// How much text all names, link targets and inline data may have together.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// How many extents all files may have together: they take 768 MiB.
const MAX_EXTENTS: u64 = 32 << 20;

/// How much damage is told of by name.
const MAX_DAMAGE: usize = 1000;

impl Tree {
    /// Reads all objects and names.
    ///
    /// # Errors
    /// The root cannot be read, or there is more than the limits allow.
    pub fn read(system: &dyn FileSystem) -> Result<Self, FilesError> {
        Self::read_with(system, &mut |_| ())
    }

    /// Likewise. `prepare` is told where the directories lie before they are read, one after the
    /// other as paths go.
    pub(crate) fn read_with(
        system: &dyn FileSystem,
        prepare: &mut dyn FnMut(Vec<Range<u64>>),
    ) -> Result<Self, FilesError> {
        let mut tree = Self {
            block_bytes: system.block_bytes(),
            ..Self::default()
        };
        tree.read_objects(system)?;
        prepare(tree.directories());
        tree.read_names(system)?;
        tree.names.sort_unstable_by(|one, other| {
            sorting(&tree.text, one).cmp(&sorting(&tree.text, other))
        });
        // Entered by names whose places have changed by sorting.
        tree.enter_again(system.root());
        let mut by_object: Vec<Index> = (0..index(tree.names.len())).collect();
        let object_of = |name: &Index| tree.names.get(place(*name)).map(|name| name.object);
        by_object.sort_unstable_by_key(|name| (object_of(name), *name));
        tree.by_object = by_object;
        Ok(tree)
    }

    fn read_objects(&mut self, system: &dyn FileSystem) -> Result<(), FilesError> {
        let mut ended = Ok(());
        let mut last = None;
        system.objects(&mut |found| {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    self.hurt(error);
                    return ControlFlow::Continue(());
                }
            };
            let number = found.object.id.0;
            // What is out of order would not be found again.
            if last.is_some_and(|last| number <= last) {
                return ControlFlow::Continue(());
            }
            last = Some(number);
            match self.add(found) {
                Ok(_) => {
                    self.numbers.push(number);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    ended = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        ended
    }

    /// Where directories lie in the file system, in bytes.
    fn directories(&self) -> Vec<Range<u64>> {
        let bytes = |block: u64| block.saturating_mul(self.block_bytes);
        let is_directory = |stored: &&Stored| stored.object.kind == FileKind::Directory;
        let directories = self.objects.iter().filter(is_directory);
        let extents = directories.flat_map(|stored| {
            let extents = place(stored.extents.start)..place(stored.extents.end);
            self.extents.get(extents).unwrap_or_default()
        });
        let places = extents.map(|extent| {
            let end = extent.physical.saturating_add(extent.blocks.into());
            bytes(extent.physical)..bytes(end)
        });
        places.collect()
    }

    fn add(&mut self, found: Found) -> Result<Index, FilesError> {
        limited("objects of a file system", self.objects.len(), MAX_OBJECTS)?;
        let more = self.extents.len().saturating_add(found.extents.len());
        limited("extents of all files", more, MAX_EXTENTS)?;
        let start = index(self.extents.len());
        self.extents.extend(found.extents);
        let extents = start..index(self.extents.len());
        let target = self.put_text(&found.target)?;
        let inline = match &found.inline {
            Some(bytes) => Some(self.put_text(bytes)?),
            None => None,
        };
        let damaged = found.damage.is_some();
        if let Some(damage) = found.damage {
            self.hurt(damage);
        }
        let place = index(self.objects.len());
        self.objects.push(Stored {
            object: found.object,
            extents,
            target,
            inline,
            damaged,
            entered: None,
        });
        Ok(place)
    }

    fn put_text(&mut self, bytes: &[u8]) -> Result<Range<Index>, FilesError> {
        let start = self.text.len();
        let end = start.saturating_add(bytes.len());
        limited("bytes of all names", end, MAX_TEXT_BYTES)?;
        self.text.extend_from_slice(bytes);
        Ok(index(start)..index(end))
    }

    fn read_names(&mut self, system: &dyn FileSystem) -> Result<(), FilesError> {
        let root = self.find_or_read(system, system.root())?;
        self.root = Some(root);
        let mut entered = vec![false; self.objects.len()];
        mark(&mut entered, root);
        let mut waiting = vec![(root, 0usize)];
        let mut budget = system.bytes_max();
        while let Some((directory, path_bytes)) = waiting.pop() {
            let first = self.names.len();
            self.read_directory(system, directory, path_bytes, &mut budget)?;
            for name in first..self.names.len() {
                let Some(name) = self.names.get(name).copied() else {
                    break;
                };
                let is_directory = self
                    .objects
                    .get(place(name.object))
                    .is_some_and(|stored| stored.object.kind == FileKind::Directory);
                if is_directory && mark(&mut entered, name.object) {
                    let bytes = place(name.bytes).saturating_add(1);
                    waiting.push((name.object, path_bytes.saturating_add(bytes)));
                }
            }
        }
        Ok(())
    }

    /// Adds the names of a directory. One that is damaged has those before the damage.
    fn read_directory(
        &mut self,
        system: &dyn FileSystem,
        directory: Index,
        path_bytes: usize,
        budget: &mut u64,
    ) -> Result<(), FilesError> {
        let Some(id) = self.objects.get(place(directory)).map(|it| it.object.id) else {
            return Ok(());
        };
        let mut names: Vec<(Range<Index>, ObjectId)> = Vec::new();
        let mut ended = Ok(());
        let mut wrong = None;
        let read = system.names(id, budget, &mut |name, object| {
            if ended.is_err() {
                return;
            }
            let total = self.names.len().saturating_add(names.len());
            if let Some(what) = unfit(name, path_bytes) {
                wrong = Some(what);
                return;
            }
            let put = limited("names of a file system", total, MAX_OBJECTS)
                .and_then(|()| self.put_text(name));
            match put {
                Ok(text) => names.push((text, object)),
                Err(error) => ended = Err(error),
            }
        });
        ended?;
        let wrong = wrong.map(|what| FilesError::Name {
            directory: id.0,
            what,
        });
        for damage in read.err().into_iter().chain(wrong) {
            self.hurt(damage);
        }
        for (text, object) in names {
            match self.find_or_read(system, object) {
                Ok(object) => self.names.push(Name {
                    directory,
                    object,
                    start: text.start,
                    bytes: text.end.saturating_sub(text.start),
                }),
                Err(limit @ FilesError::Limit { .. }) => return Err(limit),
                Err(damage) => self.hurt(damage),
            }
        }
        Ok(())
    }

    fn find_or_read(&mut self, system: &dyn FileSystem, id: ObjectId) -> Result<Index, FilesError> {
        if let Some(place) = self.index_of(id) {
            return Ok(place);
        }
        let found = system.object(id)?;
        let place = self.add(found)?;
        self.late.insert(id.0, place);
        Ok(place)
    }

    /// Lets every directory know the name by which it is entered, in the order of sorted names.
    fn enter_again(&mut self, root: ObjectId) {
        let Some(root) = self.index_of(root) else {
            return;
        };
        let mut entered = vec![false; self.objects.len()];
        mark(&mut entered, root);
        let mut waiting = vec![root];
        while let Some(directory) = waiting.pop() {
            for name in self.range_of(directory) {
                let Some(object) = self.names.get(name).map(|name| name.object) else {
                    break;
                };
                let Some(stored) = self.objects.get_mut(place(object)) else {
                    break;
                };
                if stored.object.kind == FileKind::Directory && mark(&mut entered, object) {
                    stored.entered = Some(index(name));
                    waiting.push(object);
                }
            }
        }
    }

    fn hurt(&mut self, damage: FilesError) {
        if self.damage.len() < MAX_DAMAGE {
            self.damage.push(damage);
        }
    }
}

/// What names are sorted by.
fn sorting<'a>(text: &'a [u8], name: &Name) -> (Index, &'a [u8], Index) {
    let end = name.start.saturating_add(name.bytes);
    let bytes = text.get(place(name.start)..place(end));
    (name.directory, bytes.unwrap_or_default(), name.object)
}

/// Why something cannot be a name, if it cannot.
fn unfit(name: &[u8], path_bytes: usize) -> Option<&'static str> {
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Some("is empty, or has a slash or a zero in it");
    }
    let length = path_bytes.saturating_add(name.len());
    (length >= MAX_PATH_BYTES).then_some("makes a path longer than 4096 bytes")
}

/// Marks an object as entered; false if it was, or came after the list was made.
fn mark(entered: &mut Vec<bool>, object: Index) -> bool {
    let at = place(object);
    if at >= entered.len() {
        entered.resize(at.saturating_add(1), false);
    }
    entered
        .get_mut(at)
        .is_some_and(|entered| !std::mem::replace(entered, true))
}

fn limited(what: &'static str, count: usize, limit: u64) -> Result<(), FilesError> {
    match count as u64 > limit {
        true => Err(FilesError::Limit { what, limit }),
        false => Ok(()),
    }
}
