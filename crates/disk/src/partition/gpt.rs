//! The GUID partition table.
//!
//! ```text
//!  header, in sector 1 and in the last        entry, 128 bytes or 2^n times that
//!    0  "EFI PART"     56  the disk's id         0  type; all zeros: not used
//!   12  its size       72  where entries start  16  id
//!   16  its CRC-32     80  their number         32  first sector, 40 last sector
//!   24  its sector     84  the size of one      48  attributes
//!   32  the other's    88  their CRC-32         56  name, 36 units of UTF-16
//! ```
//!
//! All little-endian. Source: the UEFI specification, chapter 5.3. A copy is used only if both of
//! its sums hold.

use crate::bytes::{Fields, saturate};
use crate::partition::{
    Guid, Partition, PartitionError, PartitionKind, PartitionTable, Scheme, Sector, short,
};
use crate::read_at::ReadAt;

const SIGNATURE: [u8; 8] = *b"EFI PART";

/// The fields of the header that are known; one can be as long as its sector.
const HEADER_BYTES: u64 = 92;

const ENTRY_BYTES: u64 = 128;

/// What is read of entries: 8,192 of them, where tools make 128.
const MAX_ENTRIES_BYTES: u64 = 1 << 20;

const CRC_AT: usize = 16;

/// Reads the first table that is whole.
pub(super) fn read(disk: &dyn ReadAt, sector: Sector) -> Result<PartitionTable, PartitionError> {
    let primary = match copy(disk, sector, 1) {
        Ok((id, partitions)) => return Ok(table(id, false, partitions, None)),
        Err(error) => error,
    };
    let last = disk.size_bytes().checked_div(sector.bytes()).unwrap_or(0);
    match copy(disk, sector, last.saturating_sub(1)) {
        Ok((id, partitions)) => Ok(table(id, true, partitions, Some(primary))),
        Err(backup) => Err(PartitionError::Both {
            primary: Box::new(primary),
            backup: Box::new(backup),
        }),
    }
}

fn table(
    disk: Guid,
    is_backup: bool,
    partitions: Vec<Partition>,
    damage: Option<PartitionError>,
) -> PartitionTable {
    PartitionTable {
        scheme: Scheme::Gpt { disk, is_backup },
        partitions,
        damage,
    }
}

/// The copy whose header is in the sector `at`.
fn copy(
    disk: &dyn ReadAt,
    sector: Sector,
    at: u64,
) -> Result<(Guid, Vec<Partition>), PartitionError> {
    let what = "the header of a GPT";
    let offset = sector.place(at);
    let bytes = super::read(disk, what, offset, saturate(sector.bytes()))?;
    let broken = |rule| PartitionError::Broken { what, offset, rule };
    check_header(&bytes, at).map_err(broken)?;
    let fields = Fields(&bytes);
    let entry_bytes = u64::from(fields.le32(84).map_err(short(what))?);
    if entry_bytes < ENTRY_BYTES || !entry_bytes.is_power_of_two() {
        return Err(broken("an entry has 128 bytes, or 2^n times that"));
    }
    let count = u64::from(fields.le32(80).map_err(short(what))?);
    let entries_bytes = count.saturating_mul(entry_bytes);
    if entries_bytes > MAX_ENTRIES_BYTES {
        return Err(broken("its entries have more than 1 MiB"));
    }
    let place = sector.place(fields.le64(72).map_err(short(what))?);
    let entries = super::read(disk, "the entries of a GPT", place, saturate(entries_bytes))?;
    if crc32fast::hash(&entries) != fields.le32(88).map_err(short(what))? {
        return Err(PartitionError::Broken {
            what: "the entries of a GPT",
            offset: place,
            rule: "their CRC-32 does not hold",
        });
    }
    let chunks = entries.chunks_exact(saturate(entry_bytes));
    let partitions = (1..).zip(chunks);
    let used = partitions.filter_map(|(number, chunk)| entry(number, Fields(chunk), sector));
    let id = Guid(fields.array(56).map_err(short(what))?);
    Ok((id, used.collect()))
}

fn check_header(bytes: &[u8], at: u64) -> Result<(), &'static str> {
    let cut = |_| "it is cut short";
    let fields = Fields(bytes);
    if fields.array(0).map_err(cut)? != SIGNATURE {
        return Err("it does not start with EFI PART");
    }
    let size = u64::from(fields.le32(12).map_err(cut)?);
    if size < HEADER_BYTES {
        return Err("a header has 92 bytes at least");
    }
    let header = fields.part(0, saturate(size));
    let header = header.map_err(|_| "it is longer than its sector")?;
    let (before, rest) = header.split_at_checked(CRC_AT).ok_or("it is cut short")?;
    let after = rest.get(4..).ok_or("it is cut short")?;
    let mut sum = crc32fast::Hasher::new();
    for part in [before, &[0; 4], after] {
        sum.update(part);
    }
    if sum.finalize() != fields.le32(CRC_AT).map_err(cut)? {
        return Err("its CRC-32 does not hold");
    }
    if fields.le64(24).map_err(cut)? != at {
        return Err("it says that it lies in another sector");
    }
    Ok(())
}

/// The partition of an entry; none if it is not used.
fn entry(number: u32, fields: Fields<'_>, sector: Sector) -> Option<Partition> {
    let kind = Guid(fields.array(0).ok()?);
    if kind == Guid([0; 16]) {
        return None;
    }
    let (first, last) = (fields.le64(32).ok()?, fields.le64(40).ok()?);
    let sectors = last.saturating_add(1).saturating_sub(first);
    let units = fields.part(56, 72).ok()?.chunks_exact(2);
    let units = units.map(|unit| Fields(unit).le16(0).unwrap_or(0));
    let name = char::decode_utf16(units.take_while(|unit| *unit != 0));
    Some(Partition {
        number,
        offset: sector.place(first),
        bytes: sector.place(sectors),
        kind: PartitionKind::Gpt {
            kind,
            id: Guid(fields.array(16).ok()?),
            name: name.map(|unit| unit.unwrap_or('\u{fffd}')).collect(),
            attributes: fields.le64(48).ok()?,
        },
    })
}
