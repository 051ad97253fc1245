//! btrfs, on one device.
//!
//! ```text
//!  superblock ─┬─► chunks: addresses ─► places on devices
//!              └─► roots ─┬─► a tree for each subvolume: inodes, names, attributes, extents
//!                         └─► extents: what is in use, and whether it is of a tree
//! ```
//!
//! A file's number is that of its inode, and from bit 40 on that of its subvolume; the first
//! subvolume has 0 there. Subvolumes are directories where their names stand.
//!
//! All copies of a tree are whole: what a machine had not written when it was cut off is in no tree,
//! but what `fsync` has made durable since stands in a tree of its own, the log, which is not replayed;
//! that there is one is said. Of several devices only those parts are read that are whole on the one
//! that is given.

mod compressed;
mod extent;
mod inode;
mod superblock;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::{Fields, saturate};
use crate::cache::Cache;
use crate::ext::Class;
use crate::read_at::{ReadAt as _, ReadError, Source};
use crate::system::{FileSystem, Layout, Object, Packed, Says, SystemError, TakeName, TakeObject};
use compressed::Unit;
use inode::{DIRECTORY_INDEX, Gathered, ROOT_ITEM};
use superblock::{Chunks, Superblock};
use tree::{Key, Root};

pub(crate) const BTRFS: Says = Says("btrfs");

/// The first subvolume, and the first directory of each.
const FIRST_TREE: u64 = 5;
const FIRST_INODE: u64 = 256;

/// Trees of subvolumes have numbers from here on; those of the file system itself count down from
/// the greatest number.
const LAST_TREE: u64 = u64::MAX - 256;

const EXTENTS_TREE: u64 = 2;

/// Numbers of subvolumes stand from this bit on.
const TREE_BITS: u32 = 40;

/// How many subvolumes are told of.
const MAX_TREES: u64 = 100_000;

/// How many nodes are kept: 8 MiB of 16 KiB each.
const NODES_KEPT: usize = 512;

/// How many compressed extents are known at once: of half a terabyte.
const MAX_UNITS: u64 = 4 << 20;

/// A btrfs file system.
#[derive(Debug)]
pub struct Btrfs {
    source: Source,
    superblock: Superblock,
    chunks: Chunks,
    /// The roots of subvolumes, by their numbers.
    trees: BTreeMap<u64, Root>,
    /// Which subvolume stands in which directory of which other.
    places: BTreeSet<(u64, u64, u64)>,
    nodes: Cache<Arc<[u8]>>,
    units: Mutex<BTreeMap<u64, Unit>>,
    unpacked: Cache<Arc<[u8]>>,
    notes: Vec<String>,
}

impl Btrfs {
    /// Opens the file system that fills `source`.
    ///
    /// # Errors
    ///
    /// When it is none, has features that are not known, or its chunks and roots cannot be read.
    pub fn open(source: Source) -> Result<Self, SystemError> {
        let (superblock, chunks) = Superblock::read(&*source)?;
        let mut btrfs = Self {
            source,
            chunks,
            trees: BTreeMap::new(),
            places: BTreeSet::new(),
            nodes: Cache::new(NODES_KEPT),
            units: Mutex::default(),
            unpacked: Cache::new(16),
            notes: Vec::new(),
            superblock,
        };
        btrfs.read_chunks()?;
        btrfs.read_roots()?;
        if btrfs.superblock.log_root != 0 {
            let note = "its log holds changes that are not shown";
            btrfs.notes.push(note.to_owned());
        }
        if btrfs.superblock.devices > 1 {
            btrfs.notes.push(format!(
                "it lies on {} devices, of which only this one is read",
                btrfs.superblock.devices
            ));
        }
        Ok(btrfs)
    }

    fn read_chunks(&mut self) -> Result<(), SystemError> {
        let mut chunks = std::mem::take(&mut self.chunks);
        let device = self.superblock.device;
        // While they are read, those that the superblock tells of are enough.
        self.chunks = chunks.clone();
        let root = self.superblock.chunk_root;
        self.each_item(root, Key::MIN..=Key::MAX, &mut |key, item| {
            if key.kind == superblock::CHUNK {
                chunks.add(key.offset, Fields(item), device)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.chunks = chunks;
        Ok(())
    }

    fn read_roots(&mut self) -> Result<(), SystemError> {
        let mut trees = BTreeMap::new();
        let mut places = BTreeSet::new();
        let root = self.superblock.root;
        self.each_item(root, Key::MIN..=Key::MAX, &mut |key, item| {
            let short = BTRFS.short("a root");
            let fields = Fields(item);
            let is_subvolume = key.object == FIRST_TREE
                || (FIRST_INODE..LAST_TREE).contains(&key.object)
                || key.object == EXTENTS_TREE;
            match key.kind {
                inode::ROOT_ITEM if is_subvolume => {
                    // One that is being deleted has no references.
                    let uses = fields.le32(216).map_err(&short)?;
                    let at = fields.le64(176).map_err(&short)?;
                    let level = fields.byte(238).map_err(&short)?;
                    if uses > 0 {
                        trees.insert(key.object, Root { at, level });
                    }
                }
                inode::ROOT_BACK => {
                    let directory = fields.le64(0).map_err(&short)?;
                    places.insert((key.object, key.offset, directory));
                }
                _ => {}
            }
            let count = trees.len() as u64;
            BTRFS.limited("subvolumes", count, MAX_TREES)?;
            Ok(ControlFlow::Continue(()))
        })?;
        (self.trees, self.places) = (trees, places);
        Ok(())
    }

    /// The subvolume of a number, and the inode in it.
    fn parts(number: u64) -> (u64, u64) {
        let inode = number & 1u64.wrapping_shl(TREE_BITS).wrapping_sub(1);
        match number.wrapping_shr(TREE_BITS) {
            0 => (FIRST_TREE, inode),
            tree => (tree, inode),
        }
    }

    fn number(tree: u64, inode: u64) -> u64 {
        match tree {
            FIRST_TREE => inode,
            tree => tree.wrapping_shl(TREE_BITS) | inode,
        }
    }

    fn root_of(&self, tree: u64) -> Result<Root, SystemError> {
        let root = self.trees.get(&tree).copied();
        root.ok_or_else(|| BTRFS.object(tree, "there is no such subvolume"))
    }

    /// Gives `take` the objects of a subvolume; true if it broke off.
    fn objects_of(&self, tree: u64, take: &mut TakeObject<'_>) -> Result<bool, SystemError> {
        let root = self.root_of(tree)?;
        let mut gathered: Option<Gathered> = None;
        let mut broken = false;
        let mut finish = |gathered: Option<Gathered>| match gathered {
            Some(one) if one.is_whole() => take(Ok(self.finish(tree, one))),
            _ => ControlFlow::Continue(()),
        };
        let read = self.each_item(root, Key::MIN..=Key::MAX, &mut |key, item| {
            if gathered.as_ref().is_none_or(|one| one.inode != key.object) {
                let before = gathered.replace(Gathered::new(key.object));
                if finish(before).is_break() {
                    broken = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            if let Some(one) = &mut gathered {
                one.add(key, item);
            }
            Ok(ControlFlow::Continue(()))
        });
        if !broken {
            broken = finish(gathered.take()).is_break();
        }
        read.map(|()| broken)
    }

    /// Makes an object of what was gathered of an inode.
    fn finish(&self, tree: u64, gathered: Gathered) -> Object {
        let mut object = gathered.object(Self::number(tree, gathered.inode));
        let extents = self.extents_of(&gathered, &mut object);
        object.extents = object.keep(extents);
        object
    }

    fn unit(&self, first: u64) -> Option<Unit> {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.get(&first).copied()
    }

    /// Where the data of a compressed extent are read: behind the end, with room for each.
    fn behind(&self, unit: Unit) -> Result<u64, SystemError> {
        let first = unit
            .at
            .checked_div(self.superblock.sector_bytes)
            .unwrap_or(0);
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        let count = (units.len() as u64).saturating_add(1);
        BTRFS.limited("compressed extents", count, MAX_UNITS)?;
        units.insert(first, unit);
        let room = first.checked_mul(self.unit_sectors());
        let end = self.end();
        let place = room.and_then(|room| end.checked_add(room));
        let wrong = || BTRFS.place("a compressed extent", unit.at, "it lies too far out");
        place
            .filter(|place| place.checked_mul(self.superblock.sector_bytes).is_some())
            .ok_or_else(wrong)
    }

    fn unit_sectors(&self) -> u64 {
        let sectors = compressed::MAX_UNIT_BYTES.checked_div(self.superblock.sector_bytes);
        sectors.unwrap_or(1).max(1)
    }

    /// The first block behind the volume.
    fn end(&self) -> u64 {
        self.source
            .size_bytes()
            .div_ceil(self.superblock.sector_bytes.max(1))
    }

    fn read_packed(&self, place: u64, buffer: &mut [u8]) -> Result<usize, SystemError> {
        let sector = self.superblock.sector_bytes.max(1);
        let room = self.unit_sectors().saturating_mul(sector).max(1);
        let behind = place.saturating_sub(self.end().saturating_mul(sector));
        let first = behind.checked_div(room).unwrap_or(0);
        let within = saturate(behind.checked_rem(room).unwrap_or(0));
        let bytes = self.unpacked.get_or(first, || {
            let unit = self.unit(first);
            let unit = unit.ok_or_else(|| BTRFS.not("nothing compressed lies there"))?;
            let mut packed = vec![0; saturate(unit.stored_bytes)];
            let place = self.chunks.place(unit.at, unit.stored_bytes);
            let place =
                place.ok_or_else(|| BTRFS.place("an extent", unit.at, superblock::NOWHERE))?;
            let read = self.source.read_exact_at(place, &mut packed);
            read.map_err(BTRFS.read("a compressed extent"))?;
            compressed::unpack(&packed, &unit, saturate(sector)).map(Arc::from)
        })?;
        let there = bytes.get(within..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        match (buffer.get_mut(..count), there.get(..count)) {
            (Some(target), Some(from)) if count > 0 => target.copy_from_slice(from),
            _ => return Err(BTRFS.not("compressed data end early")),
        }
        Ok(count)
    }

    /// Claims what the tree of extents says of trees, and what no extent has.
    fn claim_extents(&self, layout: &mut Layout) -> Result<(), SystemError> {
        let root = self.root_of(EXTENTS_TREE)?;
        let mut used: Vec<(u64, u64)> = Vec::new();
        let node_bytes = self.superblock.node_bytes;
        let sector = self.superblock.sector_bytes.max(1);
        let blocks = |bytes: u64| bytes.checked_div(sector).unwrap_or(0);
        self.each_item(root, Key::MIN..=Key::MAX, &mut |key, item| {
            let bytes = match key.kind {
                extent::EXTENT => key.offset,
                extent::METADATA => node_bytes,
                _ => return Ok(ControlFlow::Continue(())),
            };
            let is_tree = Fields(item).le64(16).is_ok_and(|flags| flags & 2 != 0);
            used.push((key.object, bytes));
            if is_tree {
                for place in self.chunks.places(key.object) {
                    layout.put(Class::Map, None, blocks(place), blocks(bytes))?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (start, end) in self.chunks.gaps(&used) {
            for place in self.chunks.places(start) {
                let bytes = end.saturating_sub(start);
                layout.put(Class::Free, None, blocks(place), blocks(bytes))?;
            }
        }
        for (start, end) in self.chunks.outside(self.superblock.device_bytes) {
            layout.put(
                Class::Free,
                None,
                blocks(start),
                blocks(end.saturating_sub(start)),
            )?;
        }
        Ok(())
    }
}

impl FileSystem for Btrfs {
    fn block_bytes(&self) -> u64 {
        self.superblock.sector_bytes
    }

    fn source_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn root(&self) -> u64 {
        FIRST_INODE
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn objects(&self, take: &mut TakeObject<'_>) -> Result<(), SystemError> {
        let trees = self.trees.keys().filter(|tree| **tree != EXTENTS_TREE);
        for tree in trees {
            match self.objects_of(*tree, take) {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => {
                    if take(Err(error)).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn object(&self, number: u64) -> Result<Object, SystemError> {
        let (tree, inode) = Self::parts(number);
        let root = self.root_of(tree)?;
        let mut gathered = Gathered::new(inode);
        self.each_item(root, Key::all_of(inode), &mut |key, item| {
            gathered.add(key, item);
            Ok(ControlFlow::Continue(()))
        })?;
        match gathered.is_whole() {
            true => Ok(self.finish(tree, gathered)),
            false => Err(BTRFS.object(number, "it is not in use")),
        }
    }

    fn names(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        let (tree, inode) = Self::parts(directory);
        let root = self.root_of(tree)?;
        let range = Key::kind_of(inode, DIRECTORY_INDEX);
        self.each_item(root, range, &mut |_, item| {
            BTRFS.spend(budget, item.len() as u64)?;
            let name = inode::name(Fields(item)).map_err(BTRFS.short("a name"))?;
            let number = match name.location.kind {
                ROOT_ITEM => {
                    let other = name.location.object;
                    // In a snapshot stand the names of subvolumes that are none of its own.
                    if !self.places.contains(&(other, tree, inode)) {
                        return Ok(ControlFlow::Continue(()));
                    }
                    Self::number(other, FIRST_INODE)
                }
                _ => Self::number(tree, name.location.object),
            };
            take(name.bytes, number);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = self.end().saturating_mul(self.superblock.sector_bytes);
        if place < end {
            return self.source.read_exact_at(place, buffer);
        }
        let (mut at, mut rest) = (place, buffer);
        while !rest.is_empty() {
            let count = self.read_packed(at, rest);
            let count = count.map_err(|error| ReadError::Format {
                offset: at,
                source: Box::new(error),
            })?;
            at = at.saturating_add(count as u64);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    fn packed(&self) -> Vec<Packed> {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        let sector = self.superblock.sector_bytes;
        let each = units.iter().filter_map(|(first, unit)| {
            let place = self.chunks.place(unit.at, unit.stored_bytes)?;
            let start = self
                .end()
                .saturating_add(first.checked_mul(self.unit_sectors())?);
            let start = start.checked_mul(sector)?;
            Some(Packed {
                read: start..start.saturating_add(unit.bytes),
                stored: place..place.saturating_add(unit.stored_bytes),
            })
        });
        each.collect()
    }

    fn claim(&self, layout: &mut Layout) -> Result<(), SystemError> {
        let sector = self.superblock.sector_bytes.max(1);
        let blocks = |bytes: u64| bytes.checked_div(sector).unwrap_or(0);
        layout.end_at(blocks(self.superblock.device_bytes));
        self.claim_extents(layout)?;
        layout.put(Class::Boot, None, 0, blocks(superblock::PLACES[0]))?;
        for place in superblock::PLACES {
            if place < self.superblock.device_bytes {
                layout.put(Class::Superblock, None, blocks(place), 1)?;
            }
        }
        Ok(())
    }
}
