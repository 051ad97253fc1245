//! Where the data of a file lie, in the volume.

use crate::btrfs::compressed::{self, Compression, MAX_UNIT_BYTES, Unit};
use crate::btrfs::inode::{Data, Gathered, Stored};
use crate::btrfs::superblock::NOWHERE;
use crate::btrfs::{BTRFS, Btrfs};
use crate::bytes::saturate;
use crate::ext::{Class, Extent, FileKind};
use crate::system::{Object, Run, SystemError};

/// Items of the tree of extents.
pub(super) const EXTENT: u8 = 168;
pub(super) const METADATA: u8 = 169;

impl Btrfs {
    /// The extents of an inode; what is in its items becomes its data, or its target.
    pub(super) fn extents_of(
        &self,
        gathered: &Gathered,
        object: &mut Object,
    ) -> Result<Vec<Extent>, SystemError> {
        let mut extents: Vec<Extent> = Vec::new();
        if gathered.damage.is_some() {
            return Err(BTRFS.object(object.number, "its items are damaged"));
        }
        for stored in &gathered.extents {
            match &stored.data {
                Data::Here(bytes) => {
                    let mut data = self.here(stored, bytes, object)?;
                    match object.kind {
                        FileKind::Symlink => {
                            // mkfs stores the zero behind it, too.
                            data.truncate(saturate(object.size_bytes));
                            object.target = data;
                        }
                        _ => object.inline = Some(data),
                    }
                }
                Data::At { address: 0, .. } => {}
                Data::At { .. } => {
                    if let Some(extent) = self.elsewhere(stored, object)? {
                        let end = extents.last().map_or(0, |last| last.end());
                        if extent.logical < end {
                            let rule = "its extents overlap";
                            return Err(BTRFS.object(object.number, rule));
                        }
                        extents.push(extent);
                    }
                }
            }
        }
        Ok(extents)
    }

    fn here(&self, stored: &Stored, bytes: &[u8], object: &Object) -> Result<Vec<u8>, SystemError> {
        if stored.offset != 0 || stored.unpacked_bytes > MAX_UNIT_BYTES {
            return Err(BTRFS.object(object.number, "its data in the tree cannot be there"));
        }
        if stored.compression == Compression::None {
            return Ok(bytes.to_vec());
        }
        let unit = Unit {
            at: 0,
            stored_bytes: bytes.len() as u64,
            bytes: stored.unpacked_bytes,
            compression: stored.compression,
        };
        compressed::unpack(bytes, &unit, saturate(self.superblock.sector_bytes))
    }

    fn elsewhere(
        &self,
        stored: &Stored,
        object: &mut Object,
    ) -> Result<Option<Extent>, SystemError> {
        let Data::At {
            address,
            stored_bytes,
            from,
            bytes,
            promised,
        } = stored.data
        else {
            return Ok(None);
        };
        let wrong = |rule| BTRFS.object(object.number, rule);
        let sector = self.superblock.sector_bytes.max(1);
        let sectors = |bytes: u64| bytes.checked_div(sector).unwrap_or(0);
        let aligned = [address, stored_bytes, from, bytes, stored.offset];
        let mask = sector.wrapping_sub(1);
        if aligned.iter().any(|number| number & mask != 0) || bytes == 0 {
            return Err(wrong("an extent does not begin or end with a sector"));
        }
        let place = self.chunks.place(address, stored_bytes);
        let place = place.ok_or_else(|| BTRFS.place("an extent", address, NOWHERE))?;
        let limit = match stored.compression {
            Compression::None => stored_bytes,
            _ => stored.unpacked_bytes,
        };
        if from.checked_add(bytes).is_none_or(|end| end > limit) {
            return Err(wrong("it has more of an extent than there is"));
        }
        let first = match stored.compression {
            Compression::None => sectors(place),
            compression => {
                if stored_bytes > MAX_UNIT_BYTES || stored.unpacked_bytes > MAX_UNIT_BYTES {
                    return Err(wrong("a compressed extent is too long"));
                }
                object.others.push((
                    Class::File,
                    Run {
                        start: sectors(place),
                        blocks: sectors(stored_bytes),
                    },
                ));
                self.behind(Unit {
                    at: address,
                    stored_bytes,
                    bytes: stored.unpacked_bytes,
                    compression,
                })?
            }
        };
        Ok(Some(Extent {
            logical: sectors(stored.offset),
            physical: first.saturating_add(sectors(from)),
            blocks: u32::try_from(sectors(bytes)).map_err(|_| wrong("an extent is too long"))?,
            unwritten: promised,
        }))
    }
}
