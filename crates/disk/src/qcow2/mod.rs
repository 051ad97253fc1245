//! qcow2 images, read only: versions 2 and 3.
//!
//! | module | holds |
//! |---|---|
//! | `header` | [`Header`]: the header and its extensions; what the image needs of its caller |
//! | `table` | from a place on the disk to a place in the file |
//! | `compressed` | one cluster out of deflate or zstd |
//! | `snapshot` | [`Snapshot`]: the disk as it was |
//! | `bitmap` | [`Bitmap`]: what was written since |
//!
//! ```text
//!   Header::read ──► backing: Some(name)?  the caller opens it, or refuses ─┐
//!                    data_file: Some(name)? likewise ──────────────────────┤
//!   Qcow2::open(file, header, Parts { backing, data_file }) ◄──────────────┘
//!     ├─ ReadAt       the disk as the guest sees it
//!     ├─ map          where each part comes from
//!     ├─ snapshots ─► at_snapshot ─► a Qcow2 again
//!     └─ bitmaps ──► dirty ranges
//! ```
//!
//! Invariants: no name in an image is followed; nothing that can be told only wrongly is told
//! (ciphertext, unknown features, a cut image are errors); memory does not grow with what the image
//! claims. Refcounts are not read: they serve writers.

mod bitmap;
pub(crate) mod compressed;
mod error;
mod header;
mod snapshot;
mod table;

use std::ops::Range;
use std::sync::Arc;

use crate::bytes::saturate;
use crate::cache::Cache;
use crate::read_at::{Content, ReadAt, ReadError, Source, Stretch, check_range, read_new};
use error::limited;
use header::MAX_L1_ENTRIES;
use table::{Mapping, Run, Tables, be_words};

pub use bitmap::{Bitmap, DirtyRanges};
pub use error::Qcow2Error;
pub use header::{Backing, Compression, Header, QCOW2_MAGIC};
pub use snapshot::Snapshot;

/// How many images may stand on each other: reading goes down through all of them.
pub const MAX_CHAIN_DEPTH: u32 = 8;

/// What is kept of decompressed clusters, in bytes; one cluster at least.
const DECOMPRESSED_BYTES_KEPT: u64 = 4 << 20;

/// What an image needs besides its own file. The caller has opened it, and has decided that it may.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The disk below, in its guest's view.
    pub backing: Option<Source>,
    /// The file that holds the data.
    pub data_file: Option<Source>,
}

/// A disk out of a qcow2 image: the present one, or that of a snapshot.
#[derive(Clone, Debug)]
pub struct Qcow2 {
    shared: Arc<Shared>,
    l1: Arc<[u64]>,
    size_bytes: u64,
}

/// What the present disk and those of snapshots share.
#[derive(Debug)]
struct Shared {
    file: Source,
    parts: Parts,
    header: Header,
    tables: Tables,
    decompressed: Cache<Arc<[u8]>>,
}

/// Where a part of the disk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// From the image's file, or its file for data, at this place.
    Data {
        /// The place.
        host_offset: u64,
    },
    /// From compressed clusters.
    Compressed,
    /// It is all zeros.
    Zero,
    /// From the image below; zeros where there is none.
    Unallocated,
}

/// A part of the disk that comes from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapExtent {
    /// Where it starts on the disk.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Where it comes from.
    pub kind: MapKind,
}

impl Qcow2 {
    /// Opens the image whose header was read from `file`.
    ///
    /// # Errors
    ///
    /// When a part that the header names is missing, when too many images stand on each other, or
    /// when the L1 table cannot be read or is too small for the disk.
    pub fn open(file: Source, header: Header, parts: Parts) -> Result<Self, Qcow2Error> {
        if let (Some(backing), None) = (&header.backing, &parts.backing) {
            return Err(Qcow2Error::NoBacking(backing.name.clone()));
        }
        if let (Some(name), None) = (&header.data_file, &parts.data_file) {
            return Err(Qcow2Error::NoDataFile(name.clone()));
        }
        let below = parts.backing.as_ref().map_or(0, |backing| backing.depth());
        limited(
            "images on each other",
            u64::from(below).saturating_add(1),
            MAX_CHAIN_DEPTH.into(),
        )?;
        let kept = DECOMPRESSED_BYTES_KEPT.wrapping_shr(header.cluster_bits);
        let (offset, entries, size_bytes) =
            (header.l1_offset, header.l1_entries, header.size_bytes);
        let shared = Shared {
            tables: Tables::new(&header),
            decompressed: Cache::new(saturate(kept)),
            file,
            parts,
            header,
        };
        Self::with_l1(Arc::new(shared), offset, entries.into(), size_bytes)
    }

    /// The disk that an L1 table tells of.
    fn with_l1(
        shared: Arc<Shared>,
        offset: u64,
        entries: u64,
        size_bytes: u64,
    ) -> Result<Self, Qcow2Error> {
        let needed = shared.tables.l1_entries(size_bytes);
        limited("entries of the L1 table", needed, MAX_L1_ENTRIES)?;
        if entries < needed {
            return Err(Qcow2Error::Field {
                field: "the L1 table's size",
                value: entries,
                rule: "it must reach to the end of the disk",
            });
        }
        let bytes = saturate(needed.saturating_mul(8));
        let bytes = match bytes {
            0 => Vec::new(),
            _ => {
                read_new(&*shared.file, offset, bytes).map_err(Qcow2Error::read("the L1 table"))?
            }
        };
        Ok(Self {
            l1: be_words(&bytes).collect(),
            shared,
            size_bytes,
        })
    }

    /// The image's header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.shared.header
    }

    /// The image's internal snapshots, in the order in which they stand.
    ///
    /// # Errors
    ///
    /// When their table is damaged or too large.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, Qcow2Error> {
        snapshot::list(&*self.shared.file, self.header())
    }

    /// The disk as it was at a snapshot of this image.
    ///
    /// # Errors
    ///
    /// When its L1 table cannot be read or is too small.
    pub fn at_snapshot(&self, snapshot: &Snapshot) -> Result<Self, Qcow2Error> {
        let size_bytes = snapshot.disk_bytes.unwrap_or(self.header().size_bytes);
        Self::with_l1(
            Arc::clone(&self.shared),
            snapshot.l1_offset,
            snapshot.l1_entries.into(),
            size_bytes,
        )
    }

    /// The persistent bitmaps; none where the image was last written by a program that does not
    /// know of them, since they then tell of nothing.
    ///
    /// # Errors
    ///
    /// When their directory is damaged or too large.
    pub fn bitmaps(&self) -> Result<Vec<Bitmap>, Qcow2Error> {
        bitmap::list(&*self.shared.file, self.header())
    }

    /// The ranges of the present disk whose bits are set, in ascending order, without gaps between
    /// neighbours. Whether a bitmap that is in use may be believed is for the caller to decide.
    ///
    /// # Errors
    ///
    /// When the bitmap is not of the size of this disk.
    pub fn dirty_ranges<'a>(&'a self, bitmap: &'a Bitmap) -> Result<DirtyRanges<'a>, Qcow2Error> {
        DirtyRanges::new(&*self.shared.file, self.header(), bitmap)
    }

    /// Where the parts of a range come from, in this image alone. Neighbours of one kind are one;
    /// the range ends with the disk at the latest. The first error is the last item.
    #[must_use]
    pub fn map(&self, range: Range<u64>) -> Map<'_> {
        Map {
            image: self,
            at: range.start,
            end: range.end.min(self.size_bytes),
            next: None,
        }
    }

    fn run_at(&self, offset: u64) -> Result<Run, Qcow2Error> {
        let rest = self.size_bytes.saturating_sub(offset);
        if rest == 0 {
            return Err(Qcow2Error::PastEnd {
                offset,
                size_bytes: self.size_bytes,
            });
        }
        let run = self
            .shared
            .tables
            .run_at(&*self.shared.file, &self.l1, offset)?;
        Ok(Run {
            bytes: run.bytes.min(rest),
            ..run
        })
    }

    /// Fills `buffer`, which lies within one run.
    fn fill(&self, mapping: Mapping, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match mapping {
            Mapping::Data { host_offset } => self.data().read_exact_at(host_offset, buffer),
            Mapping::Compressed { host_offset, bytes } => self
                .fill_compressed(host_offset, bytes, offset, buffer)
                .map_err(|error| format_error(offset, error)),
            Mapping::Zero => {
                buffer.fill(0);
                Ok(())
            }
            Mapping::Unallocated => self.fill_from_below(offset, buffer),
        }
    }

    fn data(&self) -> &dyn ReadAt {
        let parts = &self.shared.parts;
        match (&self.shared.header.data_file, &parts.data_file) {
            (Some(_), Some(data)) => &**data,
            _ => &*self.shared.file,
        }
    }

    fn fill_compressed(
        &self,
        host_offset: u64,
        bytes: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Qcow2Error> {
        let shared = &self.shared;
        let cluster_bytes = shared.tables.cluster_bytes();
        let cluster = shared.decompressed.get_or(host_offset, || {
            // The last sector may be cut by the end of the file.
            let there = shared.file.size_bytes().saturating_sub(host_offset);
            let input = read_new(&*shared.file, host_offset, saturate(bytes.min(there)))
                .map_err(Qcow2Error::read("a compressed cluster"))?;
            let compression = shared.header.compression;
            compressed::decompressed(&input, saturate(cluster_bytes), compression, host_offset)
                .map(Arc::from)
        })?;
        let start = saturate(offset & cluster_bytes.wrapping_sub(1));
        let part = cluster.get(start..start.saturating_add(buffer.len()));
        let part = part.ok_or(Qcow2Error::PastEnd {
            offset,
            size_bytes: self.size_bytes,
        })?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    /// A disk below that is shorter goes on with zeros.
    fn fill_from_below(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let backing = self.shared.parts.backing.as_ref();
        let there = backing.map_or(0, |backing| backing.size_bytes().saturating_sub(offset));
        let there = saturate(there).min(buffer.len());
        let (from_below, zeros) = buffer.split_at_mut(there);
        zeros.fill(0);
        match backing {
            Some(backing) if there > 0 => backing.read_exact_at(offset, from_below),
            _ => Ok(()),
        }
    }
}

impl ReadAt for Qcow2 {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let run = self.run_at(at).map_err(|error| format_error(at, error))?;
            let bytes = saturate(run.bytes).min(rest.len());
            let (part, behind) = rest.split_at_mut(bytes);
            self.fill(run.mapping, at, part)?;
            at = at.saturating_add(bytes as u64);
            rest = behind;
        }
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        let run = self
            .run_at(offset)
            .map_err(|error| format_error(offset, error))?;
        let content = match run.mapping {
            Mapping::Data { .. } | Mapping::Compressed { .. } => Content::Data,
            Mapping::Zero => Content::Zero,
            Mapping::Unallocated => match &self.shared.parts.backing {
                Some(backing) if offset < backing.size_bytes() => {
                    let below = backing.stretch_at(offset)?;
                    return Ok(Stretch {
                        bytes: below.bytes.min(run.bytes),
                        ..below
                    });
                }
                _ => Content::Zero,
            },
        };
        Ok(Stretch {
            bytes: run.bytes,
            content,
        })
    }

    fn depth(&self) -> u32 {
        let below = self.shared.parts.backing.as_ref();
        below.map_or(0, |backing| backing.depth()).saturating_add(1)
    }
}

fn format_error(offset: u64, error: Qcow2Error) -> ReadError {
    ReadError::Format {
        offset,
        source: Box::new(error),
    }
}

/// See [`Qcow2::map`].
#[derive(Debug)]
pub struct Map<'a> {
    image: &'a Qcow2,
    at: u64,
    end: u64,
    /// What was read, but does not join what came before.
    next: Option<MapExtent>,
}

impl Map<'_> {
    fn read(&mut self) -> Result<Option<MapExtent>, Qcow2Error> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        if self.at >= self.end {
            return Ok(None);
        }
        let run = self.image.run_at(self.at)?;
        let extent = MapExtent {
            offset: self.at,
            bytes: run.bytes.min(self.end.saturating_sub(self.at)),
            kind: match run.mapping {
                Mapping::Data { host_offset } => MapKind::Data { host_offset },
                Mapping::Compressed { .. } => MapKind::Compressed,
                Mapping::Zero => MapKind::Zero,
                Mapping::Unallocated => MapKind::Unallocated,
            },
        };
        self.at = self.at.saturating_add(extent.bytes);
        Ok(Some(extent))
    }

    fn merged(&mut self) -> Result<Option<MapExtent>, Qcow2Error> {
        let Some(mut whole) = self.read()? else {
            return Ok(None);
        };
        while let Some(next) = self.read()? {
            if !whole.joins(next) {
                self.next = Some(next);
                break;
            }
            whole.bytes = whole.bytes.saturating_add(next.bytes);
        }
        Ok(Some(whole))
    }
}

impl MapExtent {
    fn joins(self, next: Self) -> bool {
        match (self.kind, next.kind) {
            (MapKind::Data { host_offset: start }, MapKind::Data { host_offset }) => {
                start.checked_add(self.bytes) == Some(host_offset)
            }
            (one, other) => one == other,
        }
    }
}

impl Iterator for Map<'_> {
    type Item = Result<MapExtent, Qcow2Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.merged();
        if item.is_err() {
            self.at = self.end;
        }
        item.transpose()
    }
}
