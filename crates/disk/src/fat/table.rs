//! The table of clusters: of each the next one of its file, or that it is free, bad or the last.

use std::sync::Arc;

use crate::bytes::{Fields, power_of_two, saturate};
use crate::cache::Cache;
use crate::ext::Extent;
use crate::fat::FAT;
use crate::fat::boot::{Boot, Width};
use crate::read_at::{ReadAt as _, Source};
use crate::system::{MAX_EXTENTS, SystemError};

/// How much of the table is read at once. A table of 12 bits is shorter as a whole.
const PIECE_BYTES: u64 = 64 << 10;

/// How many pieces are kept: 4 MiB.
const PIECES_KEPT: usize = 64;

/// Clusters that a file was found to have.
#[derive(Debug)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    pub(super) fn new(clusters: u64) -> Self {
        let words = clusters.saturating_add(2).div_ceil(64);
        Self(vec![0; saturate(words)])
    }

    /// Marks a cluster; false if it was.
    fn mark(&mut self, cluster: u32) -> bool {
        let bit = power_of_two(cluster % 64).unwrap_or(0);
        let word = self.0.get_mut(saturate(u64::from(cluster) / 64));
        word.is_some_and(|word| {
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        })
    }
}

/// The table that counts.
#[derive(Debug)]
pub(super) struct Table {
    source: Source,
    boot: Boot,
    pieces: Cache<Arc<[u8]>>,
}

impl Table {
    pub(super) fn new(source: Source, boot: &Boot) -> Self {
        Self {
            source,
            boot: boot.clone(),
            pieces: Cache::new(PIECES_KEPT),
        }
    }

    fn piece(&self, number: u64) -> Result<Arc<[u8]>, SystemError> {
        let boot = &self.boot;
        let skipped = boot.table.saturating_mul(boot.table_sectors);
        let start = boot.reserved.saturating_add(skipped);
        let start = start.saturating_mul(boot.sector_bytes);
        let all = boot.table_sectors.saturating_mul(boot.sector_bytes);
        let at = number.saturating_mul(PIECE_BYTES);
        let there = all.saturating_sub(at).min(PIECE_BYTES);
        self.pieces.get_or(number, || {
            let mut bytes = vec![0; saturate(there)];
            let read = self
                .source
                .read_exact_at(start.saturating_add(at), &mut bytes);
            read.map_err(FAT.read("the table of clusters"))?;
            Ok(Arc::from(bytes))
        })
    }

    /// What the table says of a cluster: 0 for free, the next one, or a number from [`Self::last`]
    /// on.
    fn entry(&self, cluster: u32) -> Result<u32, SystemError> {
        let number = u64::from(cluster);
        let place = match self.boot.width {
            Width::Bits12 => number.saturating_add(number / 2),
            Width::Bits16 => number.saturating_mul(2),
            Width::Bits32 => number.saturating_mul(4),
        };
        let piece = self.piece(place / PIECE_BYTES)?;
        let fields = Fields(&piece);
        let at = saturate(place % PIECE_BYTES);
        let entry = match self.boot.width {
            Width::Bits12 if cluster % 2 == 1 => fields.le16(at).map(|pair| u32::from(pair >> 4)),
            Width::Bits12 => fields.le16(at).map(|pair| u32::from(pair & 0xfff)),
            Width::Bits16 => fields.le16(at).map(u32::from),
            Width::Bits32 => fields.le32(at).map(|entry| entry & 0x0fff_ffff),
        };
        entry.map_err(FAT.short("the table of clusters"))
    }

    /// The least number that ends a file.
    fn last(&self) -> u32 {
        match self.boot.width {
            Width::Bits12 => 0xff8,
            Width::Bits16 => 0xfff8,
            Width::Bits32 => 0x0fff_fff8,
        }
    }

    /// Whether the second entry says that it was unmounted; where it cannot say, or cannot be read,
    /// it was.
    pub(super) fn is_clean(&self) -> bool {
        let clean = match self.boot.width {
            Width::Bits12 => return true,
            Width::Bits16 => 0x8000,
            Width::Bits32 => 0x0800_0000,
        };
        self.entry(1).map_or(true, |entry| entry & clean != 0)
    }

    /// The sectors of a file, from its first cluster on, and what is wrong with its end.
    pub(super) fn chain(&self, first: u32, seen: &mut Seen) -> (Vec<Extent>, Option<SystemError>) {
        let mut extents = Vec::new();
        let damage = self.follow(first, seen, &mut extents).err();
        (extents, damage)
    }

    fn follow(
        &self,
        first: u32,
        seen: &mut Seen,
        extents: &mut Vec<Extent>,
    ) -> Result<(), SystemError> {
        let wrong = |rule| FAT.place("a file's cluster", first.into(), rule);
        let sectors = u32::try_from(self.boot.cluster_sectors).unwrap_or(1);
        let mut cluster = first;
        let mut logical = 0u64;
        // Each turn marks a cluster that was not marked.
        while cluster < self.last() {
            let physical = self.boot.sector(cluster);
            let physical =
                physical.ok_or_else(|| wrong("it leads to a cluster that is not there"))?;
            if !seen.mark(cluster) {
                return Err(wrong("it leads to a cluster that is in use already"));
            }
            match extents.last_mut() {
                Some(last)
                    if last.physical.saturating_add(last.blocks.into()) == physical
                        && last.blocks.checked_add(sectors).is_some() =>
                {
                    last.blocks = last.blocks.saturating_add(sectors);
                }
                _ => {
                    let count = (extents.len() as u64).saturating_add(1);
                    FAT.limited("extents of a file", count, MAX_EXTENTS)?;
                    extents.push(Extent {
                        logical,
                        physical,
                        blocks: sectors,
                        unwritten: false,
                    });
                }
            }
            logical = logical.saturating_add(sectors.into());
            cluster = self.entry(cluster)?;
        }
        Ok(())
    }

    /// Tells all sectors of clusters that are free.
    pub(super) fn each_free(
        &self,
        take: &mut dyn FnMut(u64, u64) -> Result<(), SystemError>,
    ) -> Result<(), SystemError> {
        let end = u32::try_from(self.boot.clusters)
            .unwrap_or(0)
            .saturating_add(2);
        for cluster in 2..end {
            if self.entry(cluster)? == 0
                && let Some(sector) = self.boot.sector(cluster)
            {
                take(sector, self.boot.cluster_sectors)?;
            }
        }
        Ok(())
    }
}
