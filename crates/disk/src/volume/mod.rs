//! Volumes: the parts of disks that hold something, and what each of them holds.
//!
//! ```text
//!  disk ─┬─ partition table ─► partition ─┬─► signature: ext, XFS, swap, LUKS …
//!        └─ none: the whole disk ─────────┘
//!                                         └─► LVM2 ─► its linear volumes, over all disks given
//! ```
//!
//! A volume that is damaged, or that cannot be put together, is told with the reason; the others
//! stay. Which file system lies on it is told by its signature only: whether it is sound, its reader
//! finds out. What is not read is named all the same.

mod groups;
mod probe;

use std::fmt;
use std::sync::Arc;

use crate::lvm::LvmError;
use crate::partition::{Partition, PartitionError, PartitionKind, Scheme, Sector, partitions};
use crate::read_at::{ReadError, Source, Window, check_range};
use groups::Member;
use probe::{Found, probe};

/// How many disks are looked at together: no controller has more.
pub const MAX_DISKS: usize = 256;

/// The first sectors of a disk that a partition table keeps for itself: the protective one, its
/// header and 128 entries.
const TABLE_SECTORS: u64 = 34;

/// Why a volume cannot be read, or not for certain.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// It reaches past the end of its disk, or cannot be read.
    #[error("cannot read the volume {name:?}")]
    Read {
        /// Its name.
        name: String,
        /// Why not.
        source: ReadError,
    },
    /// LVM2 cannot be read, or the volume is of a kind that is not.
    #[error("cannot read the volume {name:?}: {source}")]
    Lvm {
        /// Its name.
        name: String,
        /// Why not.
        source: LvmError,
    },
}

/// What a volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeKind {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs, or a part of one.
    Btrfs,
    /// NTFS.
    Ntfs,
    /// FAT with entries of 12, 16 or 32 bits.
    Fat,
    /// Room for memory that is swapped out.
    Swap,
    /// Encrypted by LUKS.
    Luks,
    /// Encrypted by BitLocker.
    BitLocker,
    /// A physical volume of LVM2, whose volumes are told beside it.
    PhysicalVolume,
    /// Nothing that is known by a signature.
    Unknown,
}

impl VolumeKind {
    /// Its name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext => "ext",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Ntfs => "ntfs",
            Self::Fat => "fat",
            Self::Swap => "swap",
            Self::Luks => "luks",
            Self::BitLocker => "bitlocker",
            Self::PhysicalVolume => "lvm2",
            Self::Unknown => "unknown",
        }
    }

    /// Whether only its blocks can be told of, because the key is elsewhere.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Luks | Self::BitLocker)
    }
}

impl fmt::Display for VolumeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which disk, by its number among those given.
    pub disk: usize,
    /// The first byte on that disk.
    pub start: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Place {
    /// The byte behind its last.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start.saturating_add(self.bytes)
    }
}

/// A part of disks that holds something.
#[derive(Debug)]
pub struct Volume {
    /// `p1` for a partition by its number, `group/volume` for one of LVM2, `disk` for a whole disk;
    /// on the second disk `disk2/p1` and `disk2`.
    pub name: String,
    /// What it holds.
    pub kind: VolumeKind,
    /// The name that it was given inside; of a physical volume its group's.
    pub label: Option<String>,
    /// Its own id, as people write it.
    pub id: Option<String>,
    /// Where it lies, in the order of its bytes.
    pub places: Vec<Place>,
    /// Its bytes, or why they cannot be read.
    pub source: Result<Source, VolumeError>,
    /// What is wrong with it though its bytes can be read.
    pub damage: Option<VolumeError>,
}

impl Volume {
    /// How long it is.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let sizes = self.places.iter().map(|place| place.bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

/// What was found on disks.
#[derive(Debug, Default)]
pub struct Volumes {
    /// The volumes: first by disks and partitions, then by groups of LVM2.
    pub volumes: Vec<Volume>,
    /// Where partition tables and the metadata of LVM2 lie.
    pub metadata: Vec<Place>,
    /// What is wrong with partition tables, by the disk's number.
    pub damage: Vec<(usize, PartitionError)>,
}

impl Volumes {
    /// The volume of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }
}

/// Looks for the volumes of disks that belong together. Of more than [`MAX_DISKS`] the others are
/// not looked at.
#[must_use]
pub fn volumes(disks: &[Source]) -> Volumes {
    let mut found = Volumes::default();
    let mut members = Vec::new();
    for (index, disk) in disks.iter().take(MAX_DISKS).enumerate() {
        of_disk(index, disk, &mut found, &mut members);
    }
    groups::take(members, &mut found);
    found
}

fn of_disk(index: usize, disk: &Source, found: &mut Volumes, members: &mut Vec<Member>) {
    let table = match partitions(&**disk, Sector::Bytes512) {
        // The first sector of a file system can look like a table without partitions.
        Ok(table) if table.partitions.is_empty() && table.scheme == Scheme::Mbr => {
            Err(PartitionError::NoTable)
        }
        table => table,
    };
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            let place = Place {
                disk: index,
                start: 0,
                bytes: disk.size_bytes(),
            };
            add(name(index, "disk"), disk, place, found, members);
            if !matches!(error, PartitionError::NoTable) {
                found.damage.push((index, error));
            }
            return;
        }
    };
    take_table(index, disk, &table.partitions, found);
    found
        .damage
        .extend(table.damage.map(|damage| (index, damage)));
    let held = table.partitions.iter().filter(|one| !is_container(one));
    for partition in held {
        let place = Place {
            disk: index,
            start: partition.offset,
            bytes: partition.bytes,
        };
        let name = name(index, &format!("p{}", partition.number));
        add(name, disk, place, found, members);
    }
}

/// Tells the sectors before the first partition, and of a GPT those after the last one.
fn take_table(index: usize, disk: &Source, table: &[Partition], found: &mut Volumes) {
    let sectors = |count: u64| count.saturating_mul(Sector::Bytes512.bytes());
    let is_gpt = |one: &Partition| matches!(one.kind, PartitionKind::Gpt { .. });
    let first = table.iter().map(|one| one.offset).min();
    let kept = match table.iter().any(is_gpt) {
        true => sectors(TABLE_SECTORS),
        false => sectors(1),
    };
    let bytes = kept.min(first.unwrap_or(kept)).min(disk.size_bytes());
    let start = Place {
        disk: index,
        start: 0,
        bytes,
    };
    found.metadata.push(start);
    if table.iter().any(is_gpt) {
        let ends = table
            .iter()
            .map(|one| one.offset.saturating_add(one.bytes))
            .max();
        let copy = sectors(TABLE_SECTORS.saturating_sub(1));
        let start = disk
            .size_bytes()
            .saturating_sub(copy)
            .max(ends.unwrap_or(0));
        found.metadata.push(Place {
            disk: index,
            start,
            bytes: disk.size_bytes().saturating_sub(start),
        });
    }
    // Of a container, the sectors before each logical partition tell of it.
    let containers: Vec<&Partition> = table.iter().filter(|one| is_container(one)).collect();
    let logical = table.iter().filter(|one| one.number > 4 && !is_gpt(one));
    for one in logical.filter(|_| !containers.is_empty()) {
        let start = containers
            .iter()
            .filter(|container| container.offset < one.offset)
            .map(|container| container.offset);
        let before = table
            .iter()
            .filter(|other| !is_container(other))
            .map(|other| other.offset.saturating_add(other.bytes))
            .filter(|end| *end <= one.offset);
        let start = start.chain(before).max().unwrap_or(one.offset);
        found.metadata.push(Place {
            disk: index,
            start,
            bytes: one.offset.saturating_sub(start),
        });
    }
}

fn is_container(partition: &Partition) -> bool {
    matches!(
        partition.kind,
        PartitionKind::Mbr {
            kind: 0x05 | 0x0f | 0x85,
            ..
        }
    )
}

fn name(disk: usize, what: &str) -> String {
    let number = disk.saturating_add(1);
    match (disk, what) {
        (0, _) => what.to_owned(),
        (_, "disk") => format!("disk{number}"),
        _ => format!("disk{number}/{what}"),
    }
}

/// Adds the volume that fills a part of a disk.
fn add(name: String, disk: &Source, place: Place, found: &mut Volumes, members: &mut Vec<Member>) {
    let source = open(&name, disk, place);
    let Found {
        kind,
        label,
        id,
        physical,
        damage,
    } = match &source {
        Ok(source) => probe(&name, &**source),
        Err(_) => Found::default(),
    };
    if let (Some(volume), Ok(source)) = (physical, &source) {
        found.metadata.push(Place {
            bytes: volume.data_at.min(place.bytes),
            ..place
        });
        members.push(Member {
            volume,
            source: Arc::clone(source),
            place,
        });
    }
    found.volumes.push(Volume {
        name,
        kind,
        label,
        id,
        places: vec![place],
        source,
        damage,
    });
}

fn open(name: &str, disk: &Source, place: Place) -> Result<Source, VolumeError> {
    let read = |source| VolumeError::Read {
        name: name.to_owned(),
        source,
    };
    if place.start == 0 && place.bytes == disk.size_bytes() {
        return Ok(Arc::clone(disk));
    }
    check_range(disk.size_bytes(), place.start, place.bytes).map_err(read)?;
    let window = Window::new(Arc::clone(disk), place.start, place.bytes).map_err(read)?;
    Ok(Arc::new(window))
}
