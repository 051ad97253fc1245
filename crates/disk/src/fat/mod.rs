//! FAT with entries of 12, 16 and 32 bits: EFI partitions, sticks, cards.
//!
//! ```text
//!  boot sector │ more reserved │ table │ its copy │ root (12, 16) │ cluster 2, 3, 4 …
//!     │                           │                                   │
//!     └ geometry                  └ of each cluster the next ◄── first ┴── entry of a directory
//! ```
//!
//! FAT numbers no files. A file's number is here its first cluster, which it keeps when it is renamed
//! or grows; a file without clusters is numbered by the place of its entry. A file that was emptied
//! and written again has another number, and is another file; one that begins where a deleted one
//! did is told from that by its time of birth only.
//!
//! No cluster belongs to two files. Whatever comes second to one that does, is damaged.

mod boot;
mod directory;
mod table;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::ext::{Class, Extent, FileKind};
use crate::read_at::{ReadAt as _, ReadError, Source};
use crate::system::{FileSystem, Layout, Object, Says, SystemError, TakeName, TakeObject};
use boot::Boot;
use directory::{Entry, READ_ONLY};
use table::{Seen, Table};

pub(crate) const FAT: Says = Says("FAT");

/// The number of the first directory.
const ROOT: u64 = 1;

/// Numbers from here on are places of entries.
const BY_PLACE: u64 = 1 << 32;

/// How many entries are kept in memory: 2 million take some 400 MB.
const MAX_ENTRIES: u64 = 2_000_000;

/// How long a directory may be: the kernel's limit is 65,536 entries of 32 bytes.
const MAX_DIRECTORY_BYTES: u64 = 4 << 20;

/// A FAT file system.
#[derive(Debug)]
pub struct Fat {
    source: Source,
    boot: Boot,
    table: Table,
    /// All files by their numbers.
    files: BTreeMap<u64, Entry>,
    /// The numbers in each directory.
    names: BTreeMap<u64, Vec<u64>>,
    /// Directories that cannot be read, or not to their end.
    damage: BTreeMap<u64, SystemError>,
}

impl Fat {
    /// Opens the file system that fills `source`, and reads its directories.
    ///
    /// # Errors
    ///
    /// When it is none, or has more entries than the limit.
    pub fn open(source: Source) -> Result<Self, SystemError> {
        let boot = Boot::read(&*source)?;
        let table = Table::new(source.clone(), &boot);
        let mut fat = Self {
            source,
            boot,
            table,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            damage: BTreeMap::new(),
        };
        fat.walk()?;
        Ok(fat)
    }

    fn walk(&mut self) -> Result<(), SystemError> {
        let mut seen = Seen::new(self.boot.clusters);
        let mut waiting = vec![ROOT];
        while let Some(directory) = waiting.pop() {
            let (entries, damage) = self.entries(directory, &mut seen);
            if let Some(damage) = damage {
                self.damage.insert(directory, damage);
            }
            let mut names = Vec::new();
            for entry in entries {
                let count = (self.files.len() as u64).saturating_add(1);
                FAT.limited("entries of directories", count, MAX_ENTRIES)?;
                let by_place = BY_PLACE.saturating_add(entry.place);
                let number = match u64::from(entry.cluster) {
                    0 | 1 => by_place,
                    taken if self.files.contains_key(&taken) => by_place,
                    cluster => cluster,
                };
                names.push(number);
                if entry.is_directory() {
                    waiting.push(number);
                }
                self.files.insert(number, entry);
            }
            self.names.insert(directory, names);
        }
        Ok(())
    }

    /// The entries of a directory, and what hid the others.
    fn entries(&self, directory: u64, seen: &mut Seen) -> (Vec<Entry>, Option<SystemError>) {
        let mut entries = Vec::new();
        let (extents, mut damage) = match self.files.get(&directory) {
            Some(entry) => self.table.chain(entry.cluster, seen),
            None => self.root_extents(seen),
        };
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for extent in extents {
            let start = extent.physical.saturating_mul(self.boot.sector_bytes);
            let length = u64::from(extent.blocks).saturating_mul(self.boot.sector_bytes);
            let room = MAX_DIRECTORY_BYTES.saturating_sub(bytes.len() as u64);
            let length = length.min(room);
            match crate::read_at::read_new(&*self.source, start, crate::bytes::saturate(length)) {
                Ok(part) => {
                    places.push((bytes.len() as u64, start));
                    bytes.extend(part);
                }
                Err(error) => {
                    damage = Some(FAT.read("a directory")(error));
                    break;
                }
            }
        }
        directory::parse(&bytes, &places, self.boot.has_high_clusters(), &mut entries);
        (entries, damage)
    }

    fn root_extents(&self, seen: &mut Seen) -> (Vec<Extent>, Option<SystemError>) {
        match self.boot.root_cluster {
            Some(cluster) => self.table.chain(cluster, seen),
            None => (self.boot.root_area().into_iter().collect(), None),
        }
    }

    fn describe(&self, number: u64, seen: &mut Seen) -> Option<Object> {
        if number == ROOT {
            let mut root = Object::new(ROOT, FileKind::Directory);
            root.mode |= 0o755;
            (root.extents, root.damage) = self.root_extents(seen);
            return Some(root);
        }
        let entry = self.files.get(&number)?;
        let kind = match entry.is_directory() {
            true => FileKind::Directory,
            false => FileKind::File,
        };
        let mut object = Object::new(number, kind);
        object.mode |= match entry.attributes & READ_ONLY {
            0 => 0o755,
            _ => 0o555,
        };
        object.flags = entry.attributes.into();
        object.accessed = entry.accessed;
        object.modified = entry.modified;
        object.changed = entry.modified;
        object.born = Some(entry.born);
        if entry.cluster != 0 {
            (object.extents, object.damage) = self.table.chain(entry.cluster, seen);
        }
        let blocks = object.extents.iter().map(|one| u64::from(one.blocks));
        let there = blocks
            .fold(0, u64::saturating_add)
            .saturating_mul(self.boot.sector_bytes);
        object.size_bytes = match kind {
            FileKind::Directory => there,
            _ => entry.size_bytes.into(),
        };
        if object.size_bytes > there && object.damage.is_none() {
            object.damage = Some(FAT.object(number, "it has fewer clusters than bytes"));
        }
        Some(object)
    }
}

impl FileSystem for Fat {
    fn block_bytes(&self) -> u64 {
        self.boot.sector_bytes
    }

    fn source_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn notes(&self) -> Vec<String> {
        match self.table.is_clean() {
            true => Vec::new(),
            false => {
                vec!["it was not unmounted cleanly: what was last written may be missing".into()]
            }
        }
    }

    fn objects(&self, take: &mut TakeObject<'_>) -> Result<(), SystemError> {
        let mut seen = Seen::new(self.boot.clusters);
        for number in std::iter::once(ROOT).chain(self.files.keys().copied()) {
            let object = self.describe(number, &mut seen);
            let object = object.ok_or_else(|| FAT.object(number, "is not there"));
            if take(object) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn object(&self, number: u64) -> Result<Object, SystemError> {
        let mut seen = Seen::new(self.boot.clusters);
        let object = self.describe(number, &mut seen);
        object.ok_or_else(|| FAT.object(number, "is not there"))
    }

    fn names(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        let numbers = self.names.get(&directory);
        let numbers = numbers.ok_or_else(|| FAT.object(directory, "is no directory"))?;
        for number in numbers {
            if let Some(entry) = self.files.get(number) {
                FAT.spend(budget, directory::ENTRY_BYTES as u64)?;
                take(&entry.name, *number);
            }
        }
        match self.damage.get(&directory) {
            Some(_) => Err(FAT.object(directory, "its clusters cannot all be read")),
            None => Ok(()),
        }
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(place, buffer)
    }

    fn claim(&self, layout: &mut Layout) -> Result<(), SystemError> {
        let boot = &self.boot;
        layout.end_at(boot.sectors);
        layout.put(Class::Boot, None, 0, boot.reserved)?;
        layout.put(Class::Superblock, None, 0, 1)?;
        if let Some(copy) = boot.copy {
            layout.put(Class::Superblock, None, copy, 1)?;
        }
        if let Some(sector) = boot.counts {
            layout.put(Class::Descriptors, None, sector, 1)?;
        }
        let tables = boot.tables.saturating_mul(boot.table_sectors);
        layout.put(Class::Map, None, boot.reserved, tables)?;
        self.table
            .each_free(&mut |start, sectors| layout.put(Class::Free, None, start, sectors))
    }
}
