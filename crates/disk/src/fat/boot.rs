//! The boot sector: where the parts of a FAT file system lie.
//!
//! ```text
//!  11 bytes of a sector    17 entries of the root      36 sectors of a table (32)   50 copy (32)
//!  13 sectors of a cluster 19 sectors (0: see 32)      40 which table (32)         510 55 aa
//!  14 reserved sectors     22 sectors of a table       44 root's cluster (32)
//!  16 tables               32 sectors                  48 sector of counts (32)
//! ```

use crate::bytes::{Fields, Short};
use crate::ext::Extent;
use crate::fat::FAT;
use crate::fat::directory::ENTRY_BYTES;
use crate::read_at::{ReadAt, read_new};
use crate::system::SystemError;

/// Up to so many clusters, an entry of the table has 12 bits; up to so many, 16: the kernel's limits.
const MAX_CLUSTERS_12: u64 = 0xff4;
const MAX_CLUSTERS_16: u64 = 0xfff4;
const MAX_CLUSTERS_32: u64 = 0x0fff_fff6;

/// How wide an entry of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Bits12,
    Bits16,
    Bits32,
}

/// Where the parts lie, in sectors.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) sector_bytes: u64,
    pub(super) cluster_sectors: u64,
    pub(super) reserved: u64,
    pub(super) tables: u64,
    pub(super) table_sectors: u64,
    /// Which of the tables counts.
    pub(super) table: u64,
    /// How many sectors the root has, if it lies before the clusters.
    root_sectors: u64,
    /// Where the root begins, if it lies in clusters.
    pub(super) root_cluster: Option<u32>,
    pub(super) sectors: u64,
    pub(super) clusters: u64,
    pub(super) width: Width,
    pub(super) copy: Option<u64>,
    pub(super) counts: Option<u64>,
}

impl Boot {
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self, SystemError> {
        let bytes = read_new(source, 0, 512).map_err(FAT.read("the boot sector"))?;
        let boot = parse(Fields(&bytes)).map_err(FAT.short("the boot sector"))??;
        let bytes = boot.sectors.saturating_mul(boot.sector_bytes);
        match bytes > source.size_bytes().saturating_add(boot.sector_bytes) {
            true => Err(FAT.not("it is longer than what it lies on")),
            false => Ok(boot),
        }
    }

    /// Where cluster 2 begins.
    pub(super) fn data(&self) -> u64 {
        let tables = self.tables.saturating_mul(self.table_sectors);
        let root = self.reserved.saturating_add(tables);
        root.saturating_add(self.root_sectors)
    }

    /// Where a cluster lies, if there is one of this number.
    pub(super) fn sector(&self, cluster: u32) -> Option<u64> {
        let within = u64::from(cluster).checked_sub(2)?;
        let skipped = within.saturating_mul(self.cluster_sectors);
        (within < self.clusters).then(|| self.data().saturating_add(skipped))
    }

    /// The root, where it does not lie in clusters.
    pub(super) fn root_area(&self) -> Option<Extent> {
        let blocks = u32::try_from(self.root_sectors).unwrap_or(0);
        (blocks > 0).then(|| Extent {
            logical: 0,
            physical: self.data().saturating_sub(self.root_sectors),
            blocks,
            unwritten: false,
        })
    }

    /// Whether entries of directories have the upper half of their cluster's number.
    pub(super) fn has_high_clusters(&self) -> bool {
        self.width == Width::Bits32
    }
}

fn parse(fields: Fields<'_>) -> Result<Result<Boot, SystemError>, Short> {
    let either = |short: u64, long: usize| -> Result<u64, Short> {
        match short {
            0 => fields.le32(long).map(u64::from),
            short => Ok(short),
        }
    };
    let sector_bytes = u64::from(fields.le16(11)?);
    let cluster_sectors = u64::from(fields.byte(13)?);
    let short_table = fields.le16(22)?;
    let table_sectors = either(short_table.into(), 36)?;
    let sectors = either(fields.le16(19)?.into(), 32)?;
    let root_bytes = u64::from(fields.le16(17)?).saturating_mul(ENTRY_BYTES as u64);
    if !matches!(sector_bytes, 512 | 1024 | 2048 | 4096) || !cluster_sectors.is_power_of_two() {
        return Ok(Err(
            FAT.not("sectors or clusters have a size that cannot be")
        ));
    }
    let is_32 = short_table == 0;
    let mut boot = Boot {
        sector_bytes,
        cluster_sectors,
        reserved: fields.le16(14)?.into(),
        tables: fields.byte(16)?.into(),
        table_sectors,
        table: 0,
        root_sectors: root_bytes.div_ceil(sector_bytes),
        root_cluster: None,
        sectors,
        clusters: 0,
        width: Width::Bits32,
        copy: None,
        counts: None,
    };
    if boot.reserved == 0 || boot.tables == 0 || boot.data() >= sectors {
        return Ok(Err(FAT.not("it has no room for clusters")));
    }
    let clusters = sectors
        .saturating_sub(boot.data())
        .checked_div(cluster_sectors);
    boot.clusters = clusters.unwrap_or(0);
    if is_32 {
        let flags = fields.le16(40)?;
        boot.root_cluster = Some(fields.le32(44)?);
        let among =
            |sector: u16| Some(u64::from(sector)).filter(|it| (1..boot.reserved).contains(it));
        (boot.counts, boot.copy) = (among(fields.le16(48)?), among(fields.le16(50)?));
        // Only if it says so does another table than the first count.
        boot.table = match flags & 0x80 {
            0 => 0,
            _ => u64::from(flags & 0xf).min(boot.tables.saturating_sub(1)),
        };
    } else if boot.clusters <= MAX_CLUSTERS_12 {
        boot.width = Width::Bits12;
    } else {
        boot.width = Width::Bits16;
    }
    // A table may be shorter than all clusters would need: the kernel uses those that it tells of.
    let table_bytes = table_sectors.saturating_mul(sector_bytes);
    let (told, most) = match boot.width {
        Width::Bits12 => (table_bytes.saturating_mul(2) / 3, MAX_CLUSTERS_12),
        Width::Bits16 => (table_bytes / 2, MAX_CLUSTERS_16),
        Width::Bits32 => (table_bytes / 4, MAX_CLUSTERS_32),
    };
    boot.clusters = boot.clusters.min(told.saturating_sub(2)).min(most);
    Ok(Ok(boot))
}
