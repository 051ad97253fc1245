//! What blocks of a disk are, and whose: every byte of it is something.
//!
//! ```text
//!  disk ─┬─ in a volume ─┬─ of a file system that is read ─► its own word for it, and the owner
//!        │               └─ of anything else ─► unread
//!        ├─ in the table of partitions, or LVM2's own ─► disk metadata
//!        └─ elsewhere ─► outside of volumes
//! ```

use crate::files::system::{FilesError, Owners};
use crate::files::{DiskFiles, ObjectId, Ranges};
use disk::volume::{Place, VolumeKind};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockClass {
    /// A partition table, or metadata of LVM2.
    DiskMetadata,
    /// In no volume.
    OutsideVolumes,
    /// In a volume whose files are not told of: swap, encrypted, another file system.
    Unread,
    /// Before a file system's first block.
    Boot,
    /// A superblock, or a copy of it.
    Superblock,
    /// Descriptors of groups, a copy of them, or room for more.
    Descriptors,
    /// A bitmap of blocks or inodes.
    Bitmap,
    /// A table of inodes.
    InodeTable,
    /// The journal.
    Journal,
    /// Names.
    Directory,
    /// The data of a file.
    File,
    /// The target of a symbolic link.
    Symlink,
    /// What tells where a file's data lie.
    Map,
    /// Extended attributes.
    Attributes,
    /// Not in use.
    Free,
    /// In use, but nothing tells by whom.
    Unowned,
    /// In the volume, but past the file system's end.
    Outside,
}

impl BlockClass {
    /// Its name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskMetadata => "disk-metadata",
            Self::OutsideVolumes => "outside-volumes",
            Self::Unread => "unread",
            Self::Boot => "boot",
            Self::Superblock => "superblock",
            Self::Descriptors => "descriptors",
            Self::Bitmap => "bitmap",
            Self::InodeTable => "inode-table",
            Self::Journal => "journal",
            Self::Directory => "directory",
            Self::File => "file",
            Self::Symlink => "symlink",
            Self::Map => "map",
            Self::Attributes => "attributes",
            Self::Free => "free",
            Self::Unowned => "unowned",
            Self::Outside => "outside",
        }
    }
}

/// A part of a disk that is all of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The disk's number.
    pub disk: usize,
    /// Which bytes of it.
    pub bytes: Range<u64>,
    /// What they are.
    pub class: BlockClass,
    /// The volume that they lie in, by its place in [`DiskFiles::volumes`].
    pub volume: Option<usize>,
    /// The object that they belong to.
    pub object: Option<ObjectId>,
    /// The first path of that object; none if it has no name.
    pub path: Option<Vec<u8>>,
}

/// What parts of disks are, and whose: `parts` by the disk's number. What comes back covers them
/// all, in their order.
///
/// # Errors
/// The structures of a file system that tell it are damaged.
pub fn attribute(files: &DiskFiles, parts: &[Ranges]) -> Result<Vec<Owned>, FilesError> {
    let mut owners = Vec::new();
    for one in &files.volumes {
        owners.push(match &one.files {
            Ok(files) => Some(files.system.owners()?),
            Err(_) => None,
        });
    }
    let mut work = Work {
        files,
        owners,
        found: Vec::new(),
        path: None,
    };
    for (disk, parts) in parts.iter().enumerate() {
        let segments = segments(files, disk);
        for part in parts.iter() {
            work.part(disk, &segments, part);
        }
    }
    Ok(work.found)
}

/// What a part of a disk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belongs {
    Metadata,
    /// The volume, and which of its bytes the part starts with.
    Volume(usize, u64),
}

/// Parts of a disk by their start, apart from each other: end, and what they belong to.
type Segments = BTreeMap<u64, (u64, Belongs)>;

/// Cuts a disk into what belongs to its volumes. Where two claim a part, the first has it.
fn segments(files: &DiskFiles, disk: usize) -> Segments {
    let mut segments = Segments::new();
    let held = files.volumes.iter().enumerate();
    let held = held.filter(|(_, one)| one.volume.kind != VolumeKind::PhysicalVolume);
    for (index, one) in held {
        let mut offset = 0u64;
        for place in &one.volume.places {
            if place.disk == disk {
                fill(&mut segments, *place, |skipped| {
                    Belongs::Volume(index, offset.saturating_add(skipped))
                });
            }
            offset = offset.saturating_add(place.bytes);
        }
    }
    for place in files.metadata.iter().filter(|place| place.disk == disk) {
        fill(&mut segments, *place, |_| Belongs::Metadata);
    }
    segments
}

/// Gives what of a place is nobody's yet to somebody, told by how far it lies within the place.
fn fill(segments: &mut Segments, place: Place, belongs: impl Fn(u64) -> Belongs) {
    let before = segments.range(..place.start).next_back();
    let mut at = before.map_or(place.start, |(_, (end, _))| (*end).max(place.start));
    let inside = segments.range(place.start..place.end());
    let mut taken: Vec<(u64, u64)> = inside.map(|(start, (end, _))| (*start, *end)).collect();
    taken.push((place.end(), place.end()));
    for (start, end) in taken {
        if at < start {
            let skipped = at.saturating_sub(place.start);
            segments.insert(at, (start, belongs(skipped)));
        }
        at = at.max(end);
    }
}

struct Work<'a> {
    files: &'a DiskFiles,
    owners: Vec<Option<Box<dyn Owners + 'a>>>,
    found: Vec<Owned>,
    /// The path that was composed last, and of which object of which volume.
    path: Option<(usize, ObjectId, Option<Vec<u8>>)>,
}

impl Work<'_> {
    fn part(&mut self, disk: usize, segments: &Segments, part: Range<u64>) {
        let mut at = part.start;
        while at < part.end {
            let here = segments.range(..=at).next_back();
            let here = here.filter(|(_, (end, _))| *end > at);
            let (end, belongs) = match here {
                Some((start, (end, belongs))) => (*end, Some((at.saturating_sub(*start), belongs))),
                None => {
                    let next = segments.range(at..).next();
                    (next.map_or(part.end, |(start, _)| *start), None)
                }
            };
            let bytes = at..end.min(part.end);
            at = bytes.end;
            match belongs {
                None => self.bare(disk, bytes, BlockClass::OutsideVolumes, None),
                Some((_, Belongs::Metadata)) => {
                    self.bare(disk, bytes, BlockClass::DiskMetadata, None);
                }
                Some((skipped, Belongs::Volume(volume, offset))) => {
                    self.in_volume(disk, bytes, *volume, offset.saturating_add(skipped));
                }
            }
        }
    }

    /// Tells of bytes of a volume, the first of which is `offset` of it.
    fn in_volume(&mut self, disk: usize, bytes: Range<u64>, volume: usize, offset: u64) {
        let files = self.files.volumes.get(volume);
        let files = files.and_then(|one| one.files.as_ref().ok());
        let Some(files) = files else {
            return self.bare(disk, bytes, BlockClass::Unread, Some(volume));
        };
        let block_bytes = files.tree.block_bytes().max(1);
        let mut at = bytes.start;
        while at < bytes.end {
            let place = offset.saturating_add(at.saturating_sub(bytes.start));
            let within = place.checked_rem(block_bytes).unwrap_or(0);
            let block = place.checked_div(block_bytes).unwrap_or(0);
            let end = at.saturating_add(block_bytes.saturating_sub(within));
            let end = end.min(bytes.end);
            let owners = self.owners.get(volume).and_then(Option::as_ref);
            let owner = owners.map(|owners| owners.at(block));
            let Some(owner) = owner else {
                return;
            };
            let path = owner.object.and_then(|object| self.path(volume, object));
            self.push(Owned {
                disk,
                bytes: at..end,
                class: owner.class,
                volume: Some(volume),
                object: owner.object,
                path,
            });
            at = end;
        }
    }

    fn path(&mut self, volume: usize, object: ObjectId) -> Option<Vec<u8>> {
        if let Some((of, id, path)) = &self.path
            && (*of, *id) == (volume, object)
        {
            return path.clone();
        }
        let files = self.files.volumes.get(volume)?.files.as_ref().ok()?;
        let path = files.tree.path(object);
        self.path = Some((volume, object, path.clone()));
        path
    }

    fn bare(&mut self, disk: usize, bytes: Range<u64>, class: BlockClass, volume: Option<usize>) {
        self.push(Owned {
            disk,
            bytes,
            class,
            volume,
            object: None,
            path: None,
        });
    }

    /// Adds a part, or makes the last one longer.
    fn push(&mut self, owned: Owned) {
        if let Some(last) = self.found.last_mut()
            && (last.disk, last.bytes.end) == (owned.disk, owned.bytes.start)
            && (last.class, last.volume, last.object) == (owned.class, owned.volume, owned.object)
        {
            last.bytes.end = owned.bytes.end;
            return;
        }
        self.found.push(owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_that_claims_a_byte_has_it(
            places in proptest::collection::vec((0..50u64, 0..20u64), 1..8),
        ) {
            let mut segments = Segments::new();
            let mut expected = vec![None; 80];
            for (index, (start, bytes)) in places.into_iter().enumerate() {
                let place = Place { disk: 0, start, bytes };
                fill(&mut segments, place, |skipped| Belongs::Volume(index, skipped));
                for skipped in 0..bytes {
                    let byte = &mut expected[(start + skipped) as usize];
                    *byte = byte.or(Some(Belongs::Volume(index, skipped)));
                }
            }
            let mut found = vec![None; 80];
            for (start, (end, belongs)) in segments {
                for byte in start..end {
                    let Belongs::Volume(index, skipped) = belongs else {
                        panic!("only volumes were filled in");
                    };
                    prop_assert_eq!(found[byte as usize], None);
                    found[byte as usize] = Some(Belongs::Volume(index, skipped + byte - start));
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
