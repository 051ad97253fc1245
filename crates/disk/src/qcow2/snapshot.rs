//! Internal snapshots: the table that tells of L1 tables of the past.
//!
//! ```text
//!   0  where the L1 table lies      16  seconds, and 20 nanoseconds, since 1970
//!   8  its entries                  24  nanoseconds that the guest had run
//!  12  length of the id             32  size of the machine's state, 32 bits
//!  14  length of the name           36  length of more data:
//!                                   40    size of the state, 64 bits; 48 size of the disk
//!  then id and name; the next entry starts at a multiple of 8
//! ```

use crate::bytes::{Fields, saturate, text};
use crate::qcow2::error::{Qcow2Error, limited};
use crate::qcow2::header::Header;
use crate::read_at::{ReadAt, read_new};

/// QEMU's limit for the number of snapshots.
const MAX_SNAPSHOTS: u64 = 65_536;

/// What is read of their table; QEMU's entries of 100 bytes would be 6 MiB.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// QEMU's limit for the data that an entry adds.
const MAX_EXTRA_BYTES: u64 = 1024;

const ENTRY_BYTES: u64 = 40;

/// A snapshot inside a qcow2 image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id: QEMU counts from 1.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub date_s: u32,
    /// The nanoseconds of that second.
    pub date_ns: u32,
    /// How long the guest had run, in nanoseconds.
    pub guest_clock_ns: u64,
    /// How many bytes of a running machine's state it holds; 0 for a disk alone.
    pub vm_state_bytes: u64,
    /// The size of the disk then; images of long ago do not say it, and their disk kept its size.
    pub disk_bytes: Option<u64>,
    pub(super) l1_offset: u64,
    pub(super) l1_entries: u32,
}

/// Reads the table of snapshots.
pub(super) fn list(file: &dyn ReadAt, header: &Header) -> Result<Vec<Snapshot>, Qcow2Error> {
    limited("snapshots", header.snapshots.into(), MAX_SNAPSHOTS)?;
    let mut snapshots = Vec::new();
    let mut at = header.snapshots_offset;
    let end = at.saturating_add(MAX_TABLE_BYTES);
    for _ in 0..header.snapshots {
        let (snapshot, bytes) = entry(file, at)?;
        snapshots.push(snapshot);
        at = at.saturating_add(bytes.next_multiple_of(8));
        limited("the end of the snapshots' table", at, end)?;
    }
    Ok(snapshots)
}

/// The entry at `at`, and its length.
fn entry(file: &dyn ReadAt, at: u64) -> Result<(Snapshot, u64), Qcow2Error> {
    let read = |offset, bytes| {
        read_new(file, offset, saturate(bytes)).map_err(Qcow2Error::read("the table of snapshots"))
    };
    let cut = || Qcow2Error::short("an entry of the table of snapshots");
    let fixed = read(at, ENTRY_BYTES)?;
    let fixed = Fields(&fixed);
    let id_bytes = fixed.be16(12).map_err(cut())?.into();
    let name_bytes = fixed.be16(14).map_err(cut())?.into();
    let extra_bytes = u64::from(fixed.be32(36).map_err(cut())?);
    limited(
        "more data of a snapshot, in bytes",
        extra_bytes,
        MAX_EXTRA_BYTES,
    )?;
    let extra_at = at.saturating_add(ENTRY_BYTES);
    let extra = read(extra_at, extra_bytes)?;
    let id_at = extra_at.saturating_add(extra_bytes);
    let name_at = id_at.saturating_add(id_bytes);
    let extra = Fields(&extra);
    let snapshot = Snapshot {
        id: text(&read(id_at, id_bytes)?),
        name: text(&read(name_at, name_bytes)?),
        date_s: fixed.be32(16).map_err(cut())?,
        date_ns: fixed.be32(20).map_err(cut())?,
        guest_clock_ns: fixed.be64(24).map_err(cut())?,
        vm_state_bytes: match extra.be64(0) {
            Ok(bytes) => bytes,
            Err(_) => fixed.be32(32).map_err(cut())?.into(),
        },
        disk_bytes: extra.be64(8).ok(),
        l1_offset: fixed.be64(0).map_err(cut())?,
        l1_entries: fixed.be32(8).map_err(cut())?,
    };
    let end = name_at.saturating_add(name_bytes);
    Ok((snapshot, end.saturating_sub(at)))
}
