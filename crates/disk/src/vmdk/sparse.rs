//! A sparse extent: a directory of tables of grains.

use std::sync::Arc;

use crate::bytes::{Fields, Short, saturate};
use crate::cache::Cache;
use crate::qcow2::compressed::inflate;
use crate::read_at::{Content, ReadAt, ReadError, Source, Stretch, check_range, read_new};
use crate::vmdk::below::Below;
use crate::vmdk::{Descriptor, Extent, ExtentKind, MAX_DESCRIPTOR_BYTES, SECTOR_BYTES, VmdkError};
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER;

pub(super) const MAGIC: [u8; 4] = *b"KDMV";

/// In the flags: grains are compressed; an entry of 1 stands for zeros.
const COMPRESSED: u32 = 1 << 16;
const ZERO_GRAINS: u32 = 1 << 2;

/// The directory's place in a stream whose end tells it.
const AT_END: u64 = u64::MAX;

/// Grains have 64 KiB, seldom other sizes; tables 512 entries.
const MAX_GRAIN_BYTES: u64 = 1 << 20;
const MAX_TABLE_ENTRIES: u64 = 1 << 16;

/// How many tables there may be: of 64 TiB.
const MAX_TABLES: u64 = 2 << 20;

/// What is kept in memory: 64 tables, and 16 unpacked grains.
const TABLES_KEPT: usize = 64;
const GRAINS_KEPT: usize = 16;

/// How long the head of a compressed grain is: its sector and its length.
const MARKER_BYTES: u64 = 12;

#[derive(Clone, Copy, Debug)]
struct Header {
    flags: u32,
    sectors: u64,
    grain_sectors: u64,
    descriptor: (u64, u64),
    table_entries: u64,
    directory: u64,
}

#[derive(Debug)]
pub(super) struct Sparse {
    source: Source,
    header: Header,
    /// What holds the grains that are not here.
    below: Option<Below>,
    directory: Vec<u8>,
    tables: Cache<Arc<[u8]>>,
    grains: Cache<Arc<[u8]>>,
}

/// What a grain is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    Zero,
    /// Not here.
    Below,
    /// Where it lies.
    At(u64),
}

impl Header {
    fn read(source: &dyn ReadAt) -> Result<Self, VmdkError> {
        let header = Self::read_at(source, 0)?;
        if header.directory != AT_END {
            return Ok(header);
        }
        // Behind the copy comes a last marker.
        let at = source
            .size_bytes()
            .saturating_sub(SECTOR_BYTES.saturating_mul(2));
        Self::read_at(source, at)
    }

    fn read_at(source: &dyn ReadAt, at: u64) -> Result<Self, VmdkError> {
        let bytes = read_new(source, at, saturate(SECTOR_BYTES));
        let bytes = bytes.map_err(|source| VmdkError::Read {
            what: "the header",
            source,
        })?;
        let header = Self::parse(Fields(&bytes));
        header
            .ok()
            .flatten()
            .ok_or(VmdkError::Not("its header has what cannot be"))
    }

    fn parse(fields: Fields<'_>) -> Result<Option<Self>, Short> {
        let header = Self {
            flags: fields.le32(8)?,
            sectors: fields.le64(12)?,
            grain_sectors: fields.le64(20)?,
            descriptor: (fields.le64(28)?, fields.le64(36)?),
            table_entries: fields.le32(44)?.into(),
            directory: fields.le64(56)?,
        };
        let grain_bytes = header.grain_sectors.saturating_mul(SECTOR_BYTES);
        let is_sound = fields.array(0)? == MAGIC
            && matches!(fields.le32(4)?, 1..=3)
            && grain_bytes.is_power_of_two()
            && grain_bytes <= MAX_GRAIN_BYTES
            && (1..=MAX_TABLE_ENTRIES).contains(&header.table_entries)
            && header.sectors.checked_mul(SECTOR_BYTES).is_some()
            && header.tables() <= MAX_TABLES;
        Ok(is_sound.then_some(header))
    }

    fn tables(&self) -> u64 {
        let each = self.grain_sectors.saturating_mul(self.table_entries);
        self.sectors.div_ceil(each.max(1))
    }
}

impl Sparse {
    /// The descriptor inside; without one, the file is one extent.
    pub(super) fn describe(source: &dyn ReadAt) -> Result<Descriptor, VmdkError> {
        let header = Header::read(source)?;
        let own = Extent {
            kind: ExtentKind::Sparse,
            bytes: header.sectors.saturating_mul(SECTOR_BYTES),
            file: None,
            offset: 0,
        };
        let (start, sectors) = header.descriptor;
        let bytes = sectors
            .saturating_mul(SECTOR_BYTES)
            .min(MAX_DESCRIPTOR_BYTES);
        if start != 0 && bytes != 0 {
            let text = read_new(source, start.saturating_mul(SECTOR_BYTES), saturate(bytes));
            let text = text.map_err(|source| VmdkError::Read {
                what: "the descriptor",
                source,
            })?;
            // What it stands on is of interest: its one extent is itself.
            let told = Descriptor::parse(&text)?;
            if told.extents.len() != 1 {
                return Err(VmdkError::Not("it has tables and more than one extent"));
            }
            return Ok(Descriptor {
                extents: vec![own],
                ..told
            });
        }
        Ok(Descriptor {
            extents: vec![own],
            content_id: None,
            parent: None,
        })
    }

    pub(super) fn open(source: Source, below: Option<Below>) -> Result<Self, VmdkError> {
        let header = Header::read(&*source)?;
        let bytes = header.tables().saturating_mul(4);
        let place = header.directory.saturating_mul(SECTOR_BYTES);
        let directory = read_new(&*source, place, saturate(bytes));
        let directory = directory.map_err(|source| VmdkError::Read {
            what: "the directory of tables",
            source,
        })?;
        Ok(Self {
            source,
            header,
            below,
            directory,
            tables: Cache::new(TABLES_KEPT),
            grains: Cache::new(GRAINS_KEPT),
        })
    }

    fn grain_bytes(&self) -> u64 {
        self.header.grain_sectors.saturating_mul(SECTOR_BYTES)
    }

    fn grain(&self, number: u64) -> Result<Grain, ReadError> {
        let entries = self.header.table_entries.max(1);
        let table = number.checked_div(entries).unwrap_or(0);
        let index = number.checked_rem(entries).unwrap_or(0);
        let at = |bytes: &[u8], index: u64| {
            Fields(bytes)
                .le32(saturate(index.saturating_mul(4)))
                .unwrap_or(0)
        };
        let place = at(&self.directory, table);
        if place == 0 {
            return Ok(Grain::Below);
        }
        let bytes = self.tables.get_or(table, || {
            let place = u64::from(place).saturating_mul(SECTOR_BYTES);
            read_new(&*self.source, place, saturate(entries.saturating_mul(4))).map(Arc::from)
        })?;
        Ok(match at(&bytes, index) {
            0 => Grain::Below,
            1 if self.header.flags & ZERO_GRAINS != 0 => Grain::Zero,
            sector => Grain::At(u64::from(sector).saturating_mul(SECTOR_BYTES)),
        })
    }

    fn unpacked(&self, number: u64, place: u64) -> Result<Arc<[u8]>, ReadError> {
        let failed = |reason: String| ReadError::Format {
            offset: number.saturating_mul(self.grain_bytes()),
            source: reason.into(),
        };
        self.grains.get_or(number, || {
            let marker = read_new(&*self.source, place, saturate(MARKER_BYTES))?;
            let length = Fields(&marker).le32(8).unwrap_or(0);
            // What is compressed is hardly longer than what it was.
            let length = u64::from(length).min(self.grain_bytes().saturating_mul(2));
            let start = place.saturating_add(MARKER_BYTES);
            let packed = read_new(&*self.source, start, saturate(length))?;
            let mut grain = vec![0; saturate(self.grain_bytes())];
            inflate(&packed, &mut grain, TINFL_FLAG_PARSE_ZLIB_HEADER).map_err(failed)?;
            Ok(Arc::from(grain))
        })
    }
}

impl ReadAt for Sparse {
    fn size_bytes(&self) -> u64 {
        self.header.sectors.saturating_mul(SECTOR_BYTES)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes(), offset, buffer.len() as u64)?;
        let grain_bytes = self.grain_bytes().max(1);
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let number = at.checked_div(grain_bytes).unwrap_or(0);
            let within = at & grain_bytes.wrapping_sub(1);
            let count = saturate(grain_bytes.saturating_sub(within)).min(rest.len());
            let (now, behind) = rest.split_at_mut(count);
            match self.grain(number)? {
                Grain::Zero => now.fill(0),
                Grain::Below => match &self.below {
                    Some(below) => below.read(at, now)?,
                    None => now.fill(0),
                },
                Grain::At(place) if self.header.flags & COMPRESSED != 0 => {
                    let bytes = self.unpacked(number, place)?;
                    bytes[..].read_exact_at(within, now)?;
                }
                Grain::At(place) => {
                    self.source
                        .read_exact_at(place.saturating_add(within), now)?;
                }
            }
            at = at.saturating_add(count as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes(), offset, 1)?;
        let grain_bytes = self.grain_bytes().max(1);
        let number = offset.checked_div(grain_bytes).unwrap_or(0);
        let content = |number| {
            Ok::<_, ReadError>(match self.grain(number)? {
                Grain::Below => None,
                Grain::Zero => Some(Content::Zero),
                Grain::At(_) => Some(Content::Data),
            })
        };
        let here = content(number)?;
        // As far as the table goes, so that a look does not go through all of them.
        let entries = self.header.table_entries.max(1);
        let index = number.checked_rem(entries).unwrap_or(0);
        let last = number.saturating_add(entries.saturating_sub(index));
        let all = self.size_bytes().div_ceil(grain_bytes);
        let mut end = number.saturating_add(1);
        while end < last.min(all) && content(end)? == here {
            end = end.saturating_add(1);
        }
        let bytes = end.saturating_mul(grain_bytes).min(self.size_bytes());
        let bytes = bytes.saturating_sub(offset);
        let content = match (here, &self.below) {
            (Some(content), _) => content,
            (None, None) => Content::Zero,
            (None, Some(below)) => {
                let stretch = below.stretch(offset)?;
                return Ok(Stretch {
                    bytes: stretch.bytes.min(bytes),
                    ..stretch
                });
            }
        };
        Ok(Stretch { bytes, content })
    }
}
