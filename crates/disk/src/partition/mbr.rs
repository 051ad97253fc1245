//! The master boot record.
//!
//! ```text
//!  446  four entries of 16 bytes:  0 80 active, 00 not    8  first sector, 32 bits
//!  510  55 aa                      4 type                12  sectors, 32 bits
//!
//!  An entry of type 05, 0f or 85 is a container: its first sector has a table with one logical
//!  partition, counted from that sector, and a link to the next, counted from the container's start.
//! ```
//!
//! All little-endian.

use crate::bytes::Fields;
use crate::partition::{Partition, PartitionError, PartitionKind, PartitionTable, Scheme, Sector};
use crate::read_at::ReadAt;

const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const SIGNATURE_AT: usize = 510;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// How many links of a chain are followed. Linux ends at 255 partitions; a chain that closes on
/// itself would have no end.
const MAX_LINKS: u32 = 255;

/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// One of the four entries of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    active: bool,
    kind: u8,
    start: u32,
    sectors: u32,
}

impl Entry {
    /// Whether it stands for a GPT.
    pub(super) fn is_protective(&self) -> bool {
        self.kind == 0xee
    }

    fn is_container(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    /// The partition, whose place is counted from `base`.
    fn partition(&self, number: u32, base: u64, sector: Sector) -> Partition {
        Partition {
            number,
            offset: sector.place(base.saturating_add(self.start.into())),
            bytes: sector.place(self.sectors.into()),
            kind: PartitionKind::Mbr {
                kind: self.kind,
                active: self.active,
            },
        }
    }
}

/// The entries of a table; none if this sector holds no table.
pub(super) fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    let fields = Fields(sector);
    if fields.array(SIGNATURE_AT) != Ok(SIGNATURE) {
        return None;
    }
    let entry = |index: usize| {
        let at = ENTRIES_AT.saturating_add(index.saturating_mul(ENTRY_BYTES));
        let fields = Fields(fields.part(at, ENTRY_BYTES).ok()?);
        let active = match fields.byte(0).ok()? {
            0 => false,
            0x80 => true,
            _ => return None,
        };
        Some(Entry {
            active,
            kind: fields.byte(4).ok()?,
            start: fields.le32(8).ok()?,
            sectors: fields.le32(12).ok()?,
        })
    };
    Some([entry(0)?, entry(1)?, entry(2)?, entry(3)?])
}

/// The partitions of a table whose entries were read.
pub(super) fn read(
    disk: &dyn ReadAt,
    sector: Sector,
    entries: &[Entry; 4],
) -> Result<PartitionTable, PartitionError> {
    let numbered = || (1..).zip(entries).filter(|(_, entry)| entry.is_used());
    let mut table = PartitionTable {
        scheme: Scheme::Mbr,
        partitions: numbered()
            .map(|(number, entry)| entry.partition(number, 0, sector))
            .collect(),
        damage: None,
    };
    // A disk has one container; Linux, too, follows the first only.
    let container = numbered().find(|(_, entry)| entry.is_container());
    if let Some((_, container)) = container {
        table.damage = logical(disk, sector, container.start.into(), &mut table.partitions).err();
    }
    Ok(table)
}

/// Follows the chain of a container that starts at `start`.
fn logical(
    disk: &dyn ReadAt,
    sector: Sector,
    start: u64,
    partitions: &mut Vec<Partition>,
) -> Result<(), PartitionError> {
    let what = "a link of the chain of logical partitions";
    let mut at = start;
    let mut number = FIRST_LOGICAL;
    for _ in 0..MAX_LINKS {
        let offset = sector.place(at);
        let bytes = super::read(disk, what, offset, 512)?;
        let broken = |rule| PartitionError::Broken { what, offset, rule };
        let entries = entries(&bytes).ok_or(broken("it holds no table"))?;
        let [partition, link, ..] = entries;
        if partition.is_used() && !partition.is_container() {
            partitions.push(partition.partition(number, at, sector));
            number = number.saturating_add(1);
        }
        if !link.is_used() || !link.is_container() {
            return Ok(());
        }
        at = start.saturating_add(link.start.into());
    }
    Err(PartitionError::Broken {
        what,
        offset: sector.place(at),
        rule: "there are more than 255, or they go round in a circle",
    })
}
