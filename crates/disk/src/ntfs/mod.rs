//! NTFS.
//!
//! ```text
//!  boot sector ─► record 0 of the table, which tells where the rest of the table lies
//!  record ─┬─ times and marks          of what it is: 10 times, 20 more records, 30 names,
//!          ├─ data: here, or runs      80 data, 90 a0 names in a directory, c0 links
//!          ├─ data with a name: a stream
//!          └─ what has no room here stands in further records
//! ```
//!
//! A stream is shown as a file of its own, `name:stream`, as Windows writes it. Files of the file
//! system itself (the table, its log, its bitmap) have no names here, and their blocks are told by
//! what they are. Of the several names of a file, those that only DOS sees are left out.
//!
//! Compressed data are read; encrypted ones, and those that a filter of Windows compresses, are told
//! to be so. The log is not replayed: that it would have to be is said.

mod attribute;
mod boot;
mod compressed;
mod index;
mod object;
mod record;
mod runs;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::{Fields, power_of_two, saturate};
use crate::cache::Cache;
use crate::ext::{Class, Extent};
use crate::read_at::{ReadAt as _, ReadError, Source};
use crate::system::{FileSystem, Layout, Object, Packed, Says, SystemError, TakeName, TakeObject};
use attribute::{Attribute, DATA, VOLUME_INFORMATION};
use boot::Boot;
use compressed::Unit;
use record::Record;

pub(crate) const NTFS: Says = Says("NTFS");

const MFT: u64 = 0;
const LOG: u64 = 2;
const VOLUME: u64 = 3;
const ROOT: u64 = 5;
const BITMAP: u64 = 6;

/// Records before this one are the file system's own.
const FIRST_OF_USERS: u64 = 24;

/// Numbers of streams are those of their files and, from this bit on, which one it is.
const STREAM_BITS: u32 = 48;

/// How much of the table is read at once.
const PIECE_BYTES: u64 = 256 << 10;

/// How many records are kept: a megabyte.
const RECORDS_KEPT: usize = 1024;

/// How many units of compressed files are known at once: of 256 GiB.
const MAX_UNITS: u64 = 4 << 20;

/// How much of the bitmap is read at once.
const BITMAP_BYTES: u64 = 64 << 10;

/// An NTFS file system.
#[derive(Debug)]
pub struct Ntfs {
    source: Source,
    boot: Boot,
    /// Where the table lies, and how long it is.
    table: Vec<Extent>,
    table_bytes: u64,
    records: Cache<Arc<Record>>,
    /// Compressed data of the files that were told of, by where they begin.
    units: Mutex<BTreeMap<u64, Arc<Unit>>>,
    unpacked: Cache<Arc<[u8]>>,
    notes: Vec<String>,
}

impl Ntfs {
    /// Opens the file system that fills `source`.
    ///
    /// # Errors
    ///
    /// When it is none, or its table cannot be found.
    pub fn open(source: Source) -> Result<Self, SystemError> {
        let boot = Boot::read(&*source)?;
        let mut ntfs = Self {
            source,
            table: Vec::new(),
            table_bytes: 0,
            records: Cache::new(RECORDS_KEPT),
            units: Mutex::default(),
            unpacked: Cache::new(16),
            notes: Vec::new(),
            boot,
        };
        ntfs.find_table()?;
        ntfs.look_for_changes();
        Ok(ntfs)
    }

    /// Reads where the table lies: what its first record tells, and with that perhaps more.
    fn find_table(&mut self) -> Result<(), SystemError> {
        let record_bytes = self.boot.record_bytes;
        let blocks = record_bytes.div_ceil(self.boot.cluster_bytes).max(1);
        self.table = vec![Extent {
            logical: 0,
            physical: self.boot.table,
            blocks: u32::try_from(blocks).unwrap_or(1),
            unwritten: false,
        }];
        self.table_bytes = record_bytes;
        let first = self.record(MFT)?;
        let own = first.attributes()?.into_iter().find(|it| it.is(DATA, b""));
        let missing = || NTFS.object(MFT, "the table does not say where it lies");
        let runs = own.ok_or_else(missing)?;
        let size = runs.size_bytes();
        self.table = self.runs_of(MFT, std::slice::from_ref(&runs))?;
        self.table_bytes = size;
        // A table in many pieces tells of the others in further records, which lie in the first.
        let all = self.all_attributes(MFT, &first)?;
        let parts: Vec<Attribute> = all.into_iter().filter(|it| it.is(DATA, b"")).collect();
        self.table = self.runs_of(MFT, &parts)?;
        // It has no holes: what comes behind one is not there.
        let end = self
            .table
            .iter()
            .fold(0, |end, extent| match extent.logical == end {
                true => extent.end(),
                false => end,
            });
        let there = end.saturating_mul(self.boot.cluster_bytes);
        self.table_bytes = self.table_bytes.min(there);
        Ok(())
    }

    /// Notes if there may be changes that only the log has.
    fn look_for_changes(&mut self) {
        let is_marked = self.record(VOLUME).and_then(|record| {
            let all = record.attributes()?;
            let information = all.iter().find(|it| it.is(VOLUME_INFORMATION, b""));
            let value = information.map(|it| it.here()).unwrap_or_default();
            Ok(Fields(value).le16(10).unwrap_or(0) & 1 != 0)
        });
        let is_marked = is_marked.unwrap_or(true);
        if is_marked || self.log_is_in_use().unwrap_or(true) {
            self.notes.push(
                "it was not unmounted cleanly: its log may hold changes that are not shown".into(),
            );
        }
    }

    /// Whether the log was closed: its first page says so, or it is empty.
    fn log_is_in_use(&self) -> Result<bool, SystemError> {
        let object = self.describe(LOG)?;
        let first = object.extents.first();
        let place = first.map_or(u64::MAX, |first| first.physical);
        let place = place.saturating_mul(self.boot.cluster_bytes);
        let bytes = crate::read_at::read_new(&*self.source, place, 4096);
        let bytes = bytes.map_err(NTFS.read("the log"))?;
        let fields = Fields(&bytes);
        let (Ok(magic), Ok(area)) = (fields.array::<4>(0), fields.le16(24)) else {
            return Ok(true);
        };
        if magic == [0xff; 4] {
            return Ok(false);
        }
        let area = usize::from(area);
        let clients = fields.le16(area.saturating_add(12));
        let flags = fields.le16(area.saturating_add(14));
        let is_closed = clients == Ok(0xffff) || flags.is_ok_and(|flags| flags & 2 != 0);
        Ok(magic != *b"RSTR" || !is_closed)
    }

    fn records(&self) -> u64 {
        let records = self.table_bytes.checked_div(self.boot.record_bytes);
        records.unwrap_or(0)
    }

    /// A record, from what was read last or anew.
    fn record(&self, number: u64) -> Result<Arc<Record>, SystemError> {
        if number >= self.records() {
            return Err(NTFS.object(number, "the table has no such record"));
        }
        self.records.get_or(number, || {
            let mut bytes = vec![0; saturate(self.boot.record_bytes)];
            let offset = number.saturating_mul(self.boot.record_bytes);
            self.read_in(&self.table, offset, &mut bytes)?;
            Ok(Arc::new(Record::new(number, bytes)?))
        })
    }

    /// Bytes of what has extents; zeros in holes.
    fn read_in(
        &self,
        extents: &[Extent],
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), SystemError> {
        let cluster = self.boot.cluster_bytes.max(1);
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let logical = at.checked_div(cluster).unwrap_or(0);
            let within = at & cluster.wrapping_sub(1);
            let after = extents.partition_point(|extent| extent.end() <= logical);
            let found = extents.get(after);
            let (place, clusters) = match found {
                Some(extent) if extent.logical <= logical => {
                    let skipped = logical.saturating_sub(extent.logical);
                    let block = extent.physical.saturating_add(skipped);
                    let left = u64::from(extent.blocks).saturating_sub(skipped);
                    ((!extent.unwritten).then_some(block), left)
                }
                Some(extent) => (None, extent.logical.saturating_sub(logical)),
                None => (None, u64::MAX),
            };
            let bytes = clusters.saturating_mul(cluster).saturating_sub(within);
            let (part, behind) = rest.split_at_mut(saturate(bytes).min(rest.len()));
            match place {
                Some(block) => {
                    let place = block.saturating_mul(cluster).saturating_add(within);
                    self.read(place, part).map_err(NTFS.read("a file"))?;
                }
                None => part.fill(0),
            }
            at = at.saturating_add(part.len() as u64);
            rest = behind;
        }
        Ok(())
    }

    /// Where compressed data are read that begin at a cluster: behind the end, with room for each.
    fn behind(&self, cluster: u64) -> u64 {
        let room = cluster.saturating_mul(compressed::MAX_UNIT_CLUSTERS);
        self.boot.clusters.saturating_add(room)
    }

    /// Keeps what compressed data are made of, to be read later.
    fn know(&self, unit: Unit) -> Result<u64, SystemError> {
        let Some(first) = unit.first() else {
            return Err(NTFS.not("compressed data have no clusters"));
        };
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        let count = (units.len() as u64).saturating_add(1);
        NTFS.limited("compressed parts of files", count, MAX_UNITS)?;
        units.insert(first, Arc::new(unit));
        Ok(self.behind(first))
    }

    /// Fills a buffer from compressed data, up to the end of a unit; says how far.
    fn read_packed(&self, place: u64, buffer: &mut [u8]) -> Result<usize, SystemError> {
        let cluster_bytes = self.boot.cluster_bytes.max(1);
        let behind = place.saturating_sub(self.boot.clusters.saturating_mul(cluster_bytes));
        let room = cluster_bytes.saturating_mul(compressed::MAX_UNIT_CLUSTERS);
        let first = behind.checked_div(room).unwrap_or(0);
        let within = saturate(behind.checked_rem(room).unwrap_or(0));
        let bytes = self.unpacked.get_or(first, || {
            let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
            let unit = units.get(&first).map(Arc::clone);
            drop(units);
            let unit = unit.ok_or_else(|| NTFS.not("nothing compressed lies there"))?;
            self.unpack(&unit).map(Arc::from)
        })?;
        let there = bytes.get(within..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        let (target, from) = (buffer.get_mut(..count), there.get(..count));
        match (target, from) {
            (Some(target), Some(from)) if count > 0 => target.copy_from_slice(from),
            _ => return Err(NTFS.not("compressed data end early")),
        }
        Ok(count)
    }

    fn unpack(&self, unit: &Unit) -> Result<Vec<u8>, SystemError> {
        let mut packed = Vec::new();
        for run in &unit.runs {
            let place = run.start.saturating_mul(self.boot.cluster_bytes);
            let bytes = run.blocks.saturating_mul(self.boot.cluster_bytes);
            let part = crate::read_at::read_new(&*self.source, place, saturate(bytes));
            packed.extend(part.map_err(NTFS.read("compressed data"))?);
        }
        let bytes = unit.clusters.saturating_mul(self.boot.cluster_bytes);
        Ok(compressed::unpack(&packed, saturate(bytes)))
    }

    /// Claims what the bitmap says is free.
    fn claim_free(&self, layout: &mut Layout) -> Result<(), SystemError> {
        let bitmap = self.describe(BITMAP)?;
        let mut at = 0u64;
        let mut free: Option<Range<u64>> = None;
        let all = self.boot.clusters.div_ceil(8).min(bitmap.size_bytes);
        while at < all {
            let mut bytes = vec![0; saturate(all.saturating_sub(at).min(BITMAP_BYTES))];
            match &bitmap.inline {
                Some(inline) => bytes.clone_from(inline),
                None => self.read_in(&bitmap.extents, at, &mut bytes)?,
            }
            let first = at.saturating_mul(8);
            let bits = (bytes.len() as u64).saturating_mul(8);
            let end = self.boot.clusters.min(first.saturating_add(bits));
            for cluster in first..end {
                let within = cluster.saturating_sub(first);
                let byte = bytes.get(saturate(within / 8)).copied().unwrap_or(0xff);
                let mask = power_of_two(u32::try_from(within % 8).unwrap_or(0)).unwrap_or(0);
                let is_free = u64::from(byte) & mask == 0;
                match (&mut free, is_free) {
                    (Some(range), true) => range.end = cluster.saturating_add(1),
                    (None, true) => free = Some(cluster..cluster.saturating_add(1)),
                    (Some(range), false) => {
                        let blocks = range.end.saturating_sub(range.start);
                        layout.put(Class::Free, None, range.start, blocks)?;
                        free = None;
                    }
                    (None, false) => {}
                }
            }
            at = at
                .saturating_add(bytes.len() as u64)
                .max(at.saturating_add(1));
        }
        if let Some(range) = free {
            let blocks = range.end.saturating_sub(range.start);
            layout.put(Class::Free, None, range.start, blocks)?;
        }
        Ok(())
    }

    /// Gives `take` all records of the table that are whole, in pieces of many.
    fn scan(
        &self,
        take: &mut dyn FnMut(u64, Result<Record, SystemError>) -> ControlFlow<()>,
    ) -> Result<(), SystemError> {
        let record_bytes = self.boot.record_bytes.max(1);
        let per_piece = (PIECE_BYTES.checked_div(record_bytes).unwrap_or(1)).max(1);
        let records = self.records();
        let mut number = 0u64;
        while number < records {
            let count = per_piece.min(records.saturating_sub(number));
            let mut piece = vec![0; saturate(count.saturating_mul(record_bytes))];
            let offset = number.saturating_mul(record_bytes);
            if let Err(error) = self.read_in(&self.table, offset, &mut piece) {
                if take(number, Err(error)).is_break() {
                    return Ok(());
                }
                number = number.saturating_add(count);
                continue;
            }
            for bytes in piece.chunks_exact(saturate(record_bytes)) {
                // What was never in use has no magic.
                let is_record = bytes.starts_with(b"FILE");
                if is_record && take(number, Record::new(number, bytes.to_vec())).is_break() {
                    return Ok(());
                }
                number = number.saturating_add(1);
            }
        }
        Ok(())
    }
}

impl FileSystem for Ntfs {
    fn block_bytes(&self) -> u64 {
        self.boot.cluster_bytes
    }

    fn source_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn objects(&self, take: &mut TakeObject<'_>) -> Result<(), SystemError> {
        self.scan(&mut |number, record| match record {
            Ok(record) if !record.is_object() => ControlFlow::Continue(()),
            Ok(record) => take(self.describe_record(number, &record)),
            Err(error) => take(Err(error)),
        })
    }

    fn object(&self, number: u64) -> Result<Object, SystemError> {
        self.describe(number)
    }

    fn names(
        &self,
        directory: u64,
        budget: &mut u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), SystemError> {
        self.each_name(directory, budget, take)
    }

    fn read(&self, place: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = self.boot.clusters.saturating_mul(self.boot.cluster_bytes);
        if place < end {
            return self.source.read_exact_at(place, buffer);
        }
        let (mut at, mut rest) = (place, buffer);
        while !rest.is_empty() {
            let count = self.read_packed(at, rest);
            let count = count.map_err(|error| ReadError::Format {
                offset: at,
                source: Box::new(error),
            })?;
            at = at.saturating_add(count as u64);
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    fn packed(&self) -> Vec<Packed> {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |clusters: u64| clusters.saturating_mul(self.boot.cluster_bytes);
        let each = units.iter().flat_map(|(first, unit)| {
            let start = self.behind(*first);
            let read = bytes(start)..bytes(start.saturating_add(unit.clusters));
            unit.runs.iter().map(move |run| Packed {
                read: read.clone(),
                stored: bytes(run.start)..bytes(run.start.saturating_add(run.blocks)),
            })
        });
        each.collect()
    }

    fn claim(&self, layout: &mut Layout) -> Result<(), SystemError> {
        layout.end_at(self.boot.clusters);
        self.claim_free(layout)
    }
}
