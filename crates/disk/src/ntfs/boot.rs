//! The boot sector.
//!
//! ```text
//!   3 "NTFS    "   11 bytes of a sector    40 sectors     64 clusters of a record, of a block of
//!                  13 sectors of a cluster 48 table       68 names; below 0 a power of two in bytes
//! ```

use crate::bytes::{Fields, Short, power_of_two};
use crate::ntfs::NTFS;
use crate::read_at::{ReadAt, read_new};
use crate::system::SystemError;

#[derive(Clone, Copy, Debug)]
pub(super) struct Boot {
    pub(super) cluster_bytes: u64,
    pub(super) clusters: u64,
    /// The first cluster of the table.
    pub(super) table: u64,
    pub(super) record_bytes: u64,
    pub(super) index_bytes: u64,
}

impl Boot {
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self, SystemError> {
        let bytes = read_new(source, 0, 512).map_err(NTFS.read("the boot sector"))?;
        let boot = parse(Fields(&bytes)).map_err(NTFS.short("the boot sector"))?;
        let boot = boot.ok_or_else(|| NTFS.not("it has sizes that cannot be"))?;
        let bytes = boot.clusters.saturating_mul(boot.cluster_bytes);
        match bytes > source.size_bytes() {
            true => Err(NTFS.not("it is longer than what it lies on")),
            false => Ok(boot),
        }
    }
}

fn parse(fields: Fields<'_>) -> Result<Option<Boot>, Short> {
    if fields.array(3)? != *b"NTFS    " {
        return Ok(None);
    }
    let sector_bytes = u64::from(fields.le16(11)?);
    let per_cluster = match fields.byte(13)? {
        small @ 0..=0x80 => u64::from(small),
        large => power_of_two(u32::from(large.wrapping_neg())).unwrap_or(0),
    };
    let cluster_bytes = sector_bytes.saturating_mul(per_cluster);
    let sized = |stored: u8| match stored.cast_signed() {
        clusters @ 0.. => u64::from(clusters.unsigned_abs()).saturating_mul(cluster_bytes),
        power => power_of_two(power.unsigned_abs().into()).unwrap_or(0),
    };
    let is_size = |bytes: u64, least: u64, most: u64| {
        bytes.is_power_of_two() && (least..=most).contains(&bytes)
    };
    let (record_bytes, index_bytes) = (sized(fields.byte(64)?), sized(fields.byte(68)?));
    let sizes = is_size(sector_bytes, 256, 4096)
        && is_size(cluster_bytes, 256, 2 << 20)
        && is_size(record_bytes, 512, 64 << 10)
        && is_size(index_bytes, 512, 64 << 10);
    let clusters = fields.le64(40)?.checked_div(per_cluster).unwrap_or(0);
    Ok(sizes.then_some(Boot {
        cluster_bytes,
        clusters,
        table: fields.le64(48)?,
        record_bytes,
        index_bytes,
    }))
}
