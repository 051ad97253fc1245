//! Partition tables: MBR with its chain of logical partitions, and GPT.
//!
//! ```text
//!  sector 0: no 55 aa at its end, or no table there ──► NoTable
//!    └─ an entry of type ee? ── no ──► mbr
//!                            └─ yes ─► gpt: primary ── broken ──► backup ── broken ──► an error
//! ```
//!
//! What a table claims is told as it claims it: a partition can reach past the end of the disk, and
//! a window on it then fails. A chain that is broken gives what was found, and the reason.

mod gpt;
mod mbr;

use std::fmt;
use std::sync::Arc;

use crate::bytes::Short;
use crate::read_at::{ReadAt, ReadError, Source, Window, read_new};

/// The size of the sectors that a table counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sector {
    /// 512 bytes: nearly all virtual disks.
    #[default]
    Bytes512,
    /// 4096 bytes.
    Bytes4096,
}

impl Sector {
    /// How many bytes it has.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }

    /// The place of a sector; past the greatest disk for one that no disk has.
    fn place(self, number: u64) -> u64 {
        number.saturating_mul(self.bytes())
    }
}

/// Why a partition table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The disk has none: all of it may be one file system.
    #[error("the disk has no partition table")]
    NoTable,
    /// The disk cannot be read there.
    #[error("cannot read {what}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// A structure ends too early.
    #[error("{what} is cut short")]
    Short {
        /// The structure.
        what: &'static str,
        /// Where.
        source: Short,
    },
    /// A structure does not hold what it must.
    #[error("{what} at byte {offset}: {rule}")]
    Broken {
        /// The structure.
        what: &'static str,
        /// Where it lies.
        offset: u64,
        /// What is wrong.
        rule: &'static str,
    },
    /// Both copies of a GPT are broken.
    #[error("both partition tables are broken: {primary}; {backup}")]
    Both {
        /// What is wrong with the first.
        primary: Box<PartitionError>,
        /// What is wrong with the one at the end of the disk.
        backup: Box<PartitionError>,
    },
}

/// A GUID, in the byte order of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    /// The first three groups are little-endian.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        write!(
            formatter,
            "{d:02X}{c:02X}{b:02X}{a:02X}-{f:02X}{e:02X}-{h:02X}{g:02X}-"
        )?;
        for (index, byte) in rest.iter().enumerate() {
            let dash = if index == 2 { "-" } else { "" };
            write!(formatter, "{dash}{byte:02X}")?;
        }
        Ok(())
    }
}

/// What a partition is said to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionKind {
    /// Of an MBR.
    Mbr {
        /// The type; 0x83 is Linux.
        kind: u8,
        /// Whether the machine starts from it.
        active: bool,
    },
    /// Of a GPT.
    Gpt {
        /// The type.
        kind: Guid,
        /// The partition's own id.
        id: Guid,
        /// Its name.
        name: String,
        /// Its attributes, as stored.
        attributes: u64,
    },
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as Linux counts: logical ones from 5.
    pub number: u32,
    /// Where it starts on the disk.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What it is said to hold.
    pub kind: PartitionKind,
}

impl Partition {
    /// The partition as a source.
    ///
    /// # Errors
    ///
    /// When it reaches past the end of the disk.
    pub fn open(&self, disk: &Source) -> Result<Window, ReadError> {
        Window::new(Arc::clone(disk), self.offset, self.bytes)
    }
}

/// Which kind of table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A master boot record.
    Mbr,
    /// A GUID partition table.
    Gpt {
        /// The disk's id.
        disk: Guid,
        /// Whether it is the copy at the end of the disk, because the first is broken.
        is_backup: bool,
    },
}

/// A disk's partitions.
#[derive(Debug)]
pub struct PartitionTable {
    /// Which kind of table it is.
    pub scheme: Scheme,
    /// The partitions, by their numbers.
    pub partitions: Vec<Partition>,
    /// Why it may not be all of them, or not from where they should be.
    pub damage: Option<PartitionError>,
}

/// Reads the partition table of a disk.
///
/// # Errors
///
/// When the disk has none, or both copies of a GPT are broken.
pub fn partitions(disk: &dyn ReadAt, sector: Sector) -> Result<PartitionTable, PartitionError> {
    let first = read(disk, "the first sector", 0, 512)?;
    let Some(entries) = mbr::entries(&first) else {
        return Err(PartitionError::NoTable);
    };
    match entries.iter().any(mbr::Entry::is_protective) {
        true => gpt::read(disk, sector),
        false => mbr::read(disk, sector, &entries),
    }
}

fn read(
    disk: &dyn ReadAt,
    what: &'static str,
    offset: u64,
    bytes: usize,
) -> Result<Vec<u8>, PartitionError> {
    read_new(disk, offset, bytes).map_err(|source| PartitionError::Read { what, source })
}

fn short(what: &'static str) -> impl Fn(Short) -> PartitionError {
    move |source| PartitionError::Short { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_as_others_write_it() {
        let linux = [
            0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47,
            0x7d, 0xe4,
        ];
        let text = Guid(linux).to_string();
        assert_eq!(text, "0FC63DAF-8483-4772-8E79-3D69D8477DE4");
    }

    #[test]
    fn a_disk_without_a_table_says_so() {
        let mut disk = vec![0; 4096];
        let outcome = partitions(&disk, Sector::default());
        assert!(matches!(outcome, Err(PartitionError::NoTable)));
        // The first sector of a file system ends in the same way.
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[446..510].fill(0x20);
        let outcome = partitions(&disk, Sector::default());
        assert!(matches!(outcome, Err(PartitionError::NoTable)));
        let outcome = partitions(&vec![0; 100], Sector::default());
        assert!(matches!(outcome, Err(PartitionError::Read { .. })));
    }
}
