//! Drawn trees, changed by draws: the events, applied to the listing before, must give the listing
//! after; and each of them must say something.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use disk::read_at::ReadAt;
use disk::{ReadError, Source};
use image::files::{
    BlockClass, Change, Extent, FileKind, FileSystem, FileTime, Files, FilesError, Found, Object,
    ObjectId, Owner, Owners, Ranges, diff, differing, on_a_thread,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

const BLOCK: usize = 1024;
const BLOCKS: usize = 400;
const ROOT: u64 = 2;

#[derive(Debug, Clone)]
struct Node {
    generation: u64,
    mode: u16,
    modified: i64,
    bytes: u64,
    is_directory: bool,
    /// For each block of the file, the block of the disk.
    blocks: Vec<Option<u64>>,
    inline: Option<Vec<u8>>,
}

/// A file system in memory.
#[derive(Debug, Clone)]
struct Model {
    disk: Vec<u8>,
    free: Vec<u64>,
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<(u64, Vec<u8>), u64>,
    clock: i64,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            disk: vec![0; BLOCK * BLOCKS],
            free: (0..BLOCKS as u64).rev().collect(),
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            clock: 0,
        };
        model.add(ROOT, true);
        model
    }

    fn add(&mut self, id: u64, is_directory: bool) {
        self.clock += 1;
        let node = Node {
            generation: self.clock as u64,
            mode: 0o644,
            modified: self.clock,
            bytes: 0,
            is_directory,
            blocks: Vec::new(),
            inline: None,
        };
        self.nodes.insert(id, node);
    }

    /// Writes into a file, which grows if need be. What is not written stays a hole.
    fn write(&mut self, id: u64, at: usize, bytes: &[u8]) {
        let mut content = self.content(id);
        let end = at + bytes.len();
        content.resize(content.len().max(end), 0);
        content[at..end].copy_from_slice(bytes);
        let node = self.nodes.get_mut(&id).unwrap();
        node.bytes = content.len() as u64;
        node.inline = None;
        node.blocks.resize(content.len().div_ceil(BLOCK), None);
        for (index, piece) in content.chunks(BLOCK).enumerate() {
            let touched = index * BLOCK < end && (index + 1) * BLOCK > at;
            if touched && node.blocks[index].is_none() {
                node.blocks[index] = self.free.pop();
            }
            if let Some(block) = node.blocks[index] {
                let place = block as usize * BLOCK;
                self.disk[place..place + piece.len()].copy_from_slice(piece);
            }
        }
    }

    fn content(&self, id: u64) -> Vec<u8> {
        let node = &self.nodes[&id];
        if let Some(bytes) = &node.inline {
            return bytes.clone();
        }
        let mut content = Vec::new();
        for block in &node.blocks {
            match block {
                Some(block) => content.extend(&self.disk[*block as usize * BLOCK..][..BLOCK]),
                None => content.extend([0; BLOCK]),
            }
        }
        content.resize(node.bytes as usize, 0);
        content
    }

    /// Moves a file's data elsewhere.
    fn move_data(&mut self, id: u64) {
        let content = self.content(id);
        let node = self.nodes.get_mut(&id).unwrap();
        for (block, piece) in node.blocks.iter_mut().zip(content.chunks(BLOCK)) {
            if let (Some(old), Some(new)) = (*block, self.free.pop()) {
                *block = Some(new);
                let place = new as usize * BLOCK;
                self.disk[place..place + piece.len()].copy_from_slice(piece);
                self.free.insert(0, old);
            }
        }
    }

    fn path(&self, mut directory: u64) -> Vec<u64> {
        let mut above = vec![directory];
        while directory != ROOT {
            let name = self.names.iter().find(|(_, id)| **id == directory);
            directory = name.unwrap().0.0;
            above.push(directory);
        }
        above
    }

    /// Does one thing; draws that make no sense do nothing.
    fn step(&mut self, (what, one, two, bytes): &(u8, usize, usize, Vec<u8>)) {
        let files: Vec<u64> = self.of_kind(false);
        let directories: Vec<u64> = self.of_kind(true);
        let directory = directories[two % directories.len()];
        let name = format!("n{}", two % 7).into_bytes();
        let place = (directory, name);
        let names: Vec<(u64, Vec<u8>)> = self.names.keys().cloned().collect();
        let chosen = (!names.is_empty()).then(|| names[one % names.len()].clone());
        let file = (!files.is_empty()).then(|| files[one % files.len()]);
        let is_free = !self.names.contains_key(&place);
        match (what % 12, chosen, file) {
            (0 | 1, ..) if is_free => self.create(place, *what == 1, *one, bytes),
            (2, Some(name), _) => self.remove(&name),
            (3 | 4, Some(from), _) if is_free => self.rename(from, place),
            (5, _, Some(id)) => {
                self.write(id, one % 3000, bytes);
                self.touch(id);
            }
            (6, _, Some(id)) => {
                let end = self.nodes[&id].bytes as usize;
                self.write(id, end, bytes);
                self.touch(id);
            }
            (7, _, Some(id)) => self.move_data(id),
            (8, _, Some(id)) if is_free => {
                self.names.insert(place, id);
            }
            (9, _, Some(id)) => {
                let node = self.nodes.get_mut(&id).unwrap();
                node.bytes = node.bytes.min(*two as u64 % 3000);
                let kept = (node.bytes as usize).div_ceil(BLOCK);
                node.blocks.truncate(kept);
                if let Some(bytes) = &mut node.inline {
                    bytes.truncate(node.bytes as usize);
                }
                self.touch(id);
            }
            (10, Some((_, name)), _) => {
                let id = names
                    .iter()
                    .find(|one| one.1 == name)
                    .map(|one| self.names[one]);
                self.nodes.get_mut(&id.unwrap()).unwrap().mode ^= 0o111;
            }
            (11, _, Some(id)) => {
                // Small data can move into the object itself.
                let content = self.content(id);
                let node = self.nodes.get_mut(&id).unwrap();
                if content.len() < 200 {
                    node.inline = Some(content);
                    node.blocks.clear();
                }
            }
            _ => {}
        }
    }

    fn of_kind(&self, is_directory: bool) -> Vec<u64> {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|(_, node)| node.is_directory == is_directory);
        nodes.map(|(id, _)| *id).collect()
    }

    fn touch(&mut self, id: u64) {
        self.clock += 1;
        self.nodes.get_mut(&id).unwrap().modified = self.clock;
    }

    fn create(&mut self, place: (u64, Vec<u8>), is_directory: bool, one: usize, bytes: &[u8]) {
        // Numbers are given away again.
        let id = 3 + one as u64 % 20;
        if self.nodes.contains_key(&id) {
            return;
        }
        self.add(id, is_directory);
        self.names.insert(place, id);
        if !is_directory {
            self.write(id, 0, bytes);
        }
    }

    fn remove(&mut self, name: &(u64, Vec<u8>)) {
        let id = self.names[name];
        if self.names.keys().any(|(directory, _)| *directory == id) {
            return;
        }
        self.names.remove(name);
        if !self.names.values().any(|other| *other == id) {
            let node = self.nodes.remove(&id).unwrap();
            self.free.extend(node.blocks.into_iter().flatten());
        }
    }

    fn rename(&mut self, from: (u64, Vec<u8>), to: (u64, Vec<u8>)) {
        let id = self.names[&from];
        if self.nodes[&id].is_directory && self.path(to.0).contains(&id) {
            return;
        }
        self.names.remove(&from);
        self.names.insert(to, id);
    }

    /// All paths, with number, generation, content and mode.
    fn listing(&self) -> BTreeMap<String, (u64, u64, Vec<u8>, u16)> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![(ROOT, String::new())];
        while let Some((directory, above)) = waiting.pop() {
            let names = self.names.iter().filter(|((of, _), _)| *of == directory);
            for ((_, name), id) in names {
                let path = format!("{above}/{}", String::from_utf8_lossy(name));
                let node = &self.nodes[id];
                let entry = (*id, node.generation, self.content(*id), node.mode);
                if node.is_directory {
                    waiting.push((*id, path.clone()));
                }
                found.insert(path, entry);
            }
        }
        found
    }
}

impl FileSystem for Model {
    fn block_bytes(&self) -> u64 {
        BLOCK as u64
    }

    fn root(&self) -> ObjectId {
        ObjectId(ROOT)
    }

    fn objects(
        &self,
        take: &mut dyn FnMut(Result<Found, FilesError>) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        for id in self.nodes.keys() {
            if take(self.object(ObjectId(*id))).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn object(&self, id: ObjectId) -> Result<Found, FilesError> {
        let node = self.nodes.get(&id.0).ok_or(FilesError::NoObject(id.0))?;
        let time = |seconds| FileTime {
            seconds,
            nanoseconds: 0,
        };
        let blocks = (0..).zip(&node.blocks);
        let extents = blocks.filter_map(|(logical, block)| {
            block.map(|physical| Extent {
                logical,
                physical,
                blocks: 1,
                unwritten: false,
            })
        });
        Ok(Found {
            object: Object {
                id,
                generation: node.generation,
                kind: match node.is_directory {
                    true => FileKind::Directory,
                    false => FileKind::File,
                },
                mode: node.mode,
                uid: 0,
                gid: 0,
                size_bytes: node.bytes,
                links: 1,
                flags: 0,
                accessed: time(0),
                changed: time(0),
                modified: time(node.modified),
                born: None,
                device: None,
                attributes: None,
            },
            extents: extents.collect(),
            target: Vec::new(),
            inline: node.inline.clone(),
            damage: None,
        })
    }

    fn bytes_max(&self) -> u64 {
        (BLOCK * BLOCKS) as u64
    }

    fn names(
        &self,
        directory: ObjectId,
        _budget: &mut u64,
        take: &mut dyn FnMut(&[u8], ObjectId),
    ) -> Result<(), FilesError> {
        // In no order, as on a disk.
        let names = self.names.iter().rev();
        for ((_, name), id) in names.filter(|((of, _), _)| *of == directory.0) {
            take(name, ObjectId(*id));
        }
        Ok(())
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.disk.read_exact_at(place, buffer)
    }

    fn displaced(&self) -> Vec<u64> {
        Vec::new()
    }

    fn owners(&self) -> Result<Box<dyn Owners + '_>, FilesError> {
        Ok(Box::new(Nobody))
    }
}

#[derive(Debug)]
struct Nobody;

impl Owners for Nobody {
    fn at(&self, _block: u64) -> Owner {
        Owner {
            class: BlockClass::Unowned,
            object: None,
        }
    }
}

type Steps = Vec<(u8, usize, usize, Vec<u8>)>;

fn steps(count: usize) -> impl Strategy<Value = Steps> {
    let bytes = (any::<u8>(), 0..2500usize).prop_map(|(byte, count)| vec![byte | 1; count]);
    let step = (any::<u8>(), any::<usize>(), any::<usize>(), bytes);
    proptest::collection::vec(step, 0..count)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Where a path is after directories above it, or itself, were renamed.
fn moved(path: &str, renamed: &BTreeMap<String, String>) -> String {
    let mut end = path.len();
    loop {
        if let Some(to) = renamed.get(&path[..end]) {
            return format!("{to}{}", &path[end..]);
        }
        match path[..end].rfind('/') {
            Some(at) if at > 0 => end = at,
            _ => return path.to_owned(),
        }
    }
}

fn check(before: &Model, after: &Model) -> Result<(), TestCaseError> {
    // As found by comparing, and with less known: the same is told.
    let sources = [before, after].map(|model| Arc::new(model.disk.clone()) as Source);
    let exact = differing(&sources[0], &sources[1], &on_a_thread).unwrap();
    let dirty = disk_ranges(&before.disk, &after.disk);
    prop_assert_eq!(&exact.blocks, &dirty);
    let read = |model: &Model| Files::read(Arc::new(model.clone())).unwrap();
    let (one, other) = (read(before), read(after));
    let found = diff(&one, &other, &dirty.into()).unwrap();
    let again = diff(&one, &other, &exact).unwrap();
    prop_assert_eq!(&found.events, &again.events);
    prop_assert!(found.damage.is_empty());
    let (was, is) = (before.listing(), after.listing());
    let renamed: BTreeMap<String, String> = found
        .events
        .iter()
        .filter_map(|event| match &event.change {
            Change::Renamed { from } => Some((text(from), text(&event.path))),
            _ => None,
        })
        .collect();
    let at = |name: &str| -> BTreeSet<String> {
        let events = found.events.iter();
        let events = events.filter(|event| event.change.name() == name);
        events.map(|event| text(&event.path)).collect()
    };
    let gone: BTreeSet<_> = at("deleted").union(&at("unlinked")).cloned().collect();
    let replaced = at("replaced");
    // The listing before, with all that is told done to it.
    let mut predicted = BTreeMap::new();
    for (path, entry) in &was {
        let now = moved(path, &renamed);
        let is_replaced = replaced.contains(&now) && !renamed.contains_key(path);
        if !gone.contains(path) && !is_replaced {
            prop_assert!(predicted.insert(now, entry.clone()).is_none(), "{}", path);
        }
    }
    for name in ["created", "linked", "replaced"] {
        for path in at(name) {
            let now = is[&path].clone();
            // A further name leads to what the file was; what became of it is told by itself.
            let same = was.values().find(|was| (was.0, was.1) == (now.0, now.1));
            prop_assert_eq!(same.is_some(), name == "linked");
            let entry = same.cloned().unwrap_or(now);
            let fresh = predicted.insert(path.clone(), entry);
            prop_assert!(fresh.is_none(), "{} is {} but was there", path, name);
        }
    }
    for event in &found.events {
        let path = text(&event.path);
        match &event.change {
            Change::Renamed { from } => prop_assert_ne!(from, &event.path),
            Change::Metadata { fields } => {
                prop_assert!(!fields.is_empty());
                if let Some(entry) = predicted.get_mut(&path) {
                    entry.3 = is[&path].3;
                }
            }
            Change::Modified { ranges } => {
                patch(&mut predicted, &is, &path, ranges)?;
            }
            Change::Appended { range } => {
                patch(&mut predicted, &is, &path, std::slice::from_ref(range))?;
            }
            _ => {}
        }
    }
    // The root has no path of its own here.
    let equal = predicted == is;
    prop_assert!(
        equal,
        "{:#?}",
        found
            .events
            .iter()
            .map(|one| (text(&one.path), &one.change))
            .collect::<Vec<_>>()
    );
    Ok(())
}

type Listing = BTreeMap<String, (u64, u64, Vec<u8>, u16)>;

/// Takes over the bytes that are told to have changed, and no others.
fn patch(
    predicted: &mut Listing,
    is: &Listing,
    path: &str,
    ranges: &[std::ops::Range<u64>],
) -> Result<(), TestCaseError> {
    let (entry, now) = (predicted.get_mut(path).unwrap(), &is[path].2);
    prop_assert_ne!(&entry.2, now, "nothing has changed in {}", path);
    let old = entry.2.len();
    entry.2.resize(now.len(), 0);
    for range in ranges {
        let range = range.start as usize..range.end as usize;
        if range.end <= old {
            // A range begins and ends with a byte that differs.
            prop_assert_ne!(entry.2[range.start], now[range.start]);
            prop_assert_ne!(entry.2[range.end - 1], now[range.end - 1]);
        }
        entry.2[range.clone()].copy_from_slice(&now[range]);
    }
    Ok(())
}

/// Blocks of 4 KiB that differ.
fn disk_ranges(before: &[u8], after: &[u8]) -> Ranges {
    let blocks = before.chunks(4096).zip(after.chunks(4096));
    let ranges = (0u64..)
        .zip(blocks)
        .filter(|(_, (one, other))| one != other);
    Ranges::new(ranges.map(|(at, _)| at * 4096..(at + 1) * 4096).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn events_lead_from_one_tree_to_the_other(first in steps(40), then in steps(12)) {
        let mut before = Model::new();
        for step in &first {
            before.step(step);
        }
        let mut after = before.clone();
        for step in &then {
            after.step(step);
        }
        check(&before, &after)?;
        check(&after, &before)?;
    }
}
