//! A disk, or what changed of it, into packs and one changeset.

use crate::BLOCK_BYTES;
use crate::blobs::{BlobError, Blobs};
use crate::changeset::{self, Changeset, ChangesetId, Content, Kind, Replaced, Run};
use crate::pack::{PackId, PackWriter, UnitDigest};
use disk::{AlignedBuffer, ReadAt, ReadError};
use model::Timestamp;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// Why something could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A pack or the changeset could not be put.
    #[error("cannot keep what was captured: {0}")]
    Blob(#[from] BlobError),
    /// The disk could not be read.
    #[error("cannot read the disk: {0}")]
    Read(#[from] ReadError),
    /// Something could not be compressed, or is too long.
    #[error("cannot write down what was captured: {0}")]
    Format(#[from] std::io::Error),
    /// The caller wrote blocks backwards, beyond the disk, or not whole units.
    #[error("blocks from {start} on cannot follow block {end}, or do not end on a unit")]
    Order {
        /// Where writing was to go on.
        start: u64,
        /// The block behind the last that was written.
        end: u64,
    },
}

/// How content is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of what is kept once.
    pub unit_bytes: u64,
    /// Bytes of what is compressed at once.
    pub frame_bytes: u64,
}

impl Cut {
    /// For a whole disk: few digests, good compression.
    pub const WHOLE: Self = Self {
        unit_bytes: 16 << 10,
        frame_bytes: 8 << 20,
    };

    /// For changes: dirty blocks are not neighbours, and no block is kept for its neighbour's sake.
    pub const CHANGE: Self = Self {
        unit_bytes: BLOCK_BYTES,
        frame_bytes: 256 << 10,
    };
}

/// Blocks that are read from a disk at a time: 1 MiB.
const READ_BLOCKS: u64 = 256;

/// Units that are kept already: what makes each be kept once.
#[derive(Debug, Default)]
pub struct KnownUnits {
    packs: Vec<PackId>,
    places: HashMap<UnitDigest, (u32, u32)>,
}

impl KnownUnits {
    /// Adds all units of a pack.
    pub fn add(&mut self, pack: PackId, units: &[UnitDigest]) {
        let Ok(place) = u32::try_from(self.packs.len()) else {
            return;
        };
        self.packs.push(pack);
        for (digest, unit) in units.iter().zip(0..) {
            self.places.entry(*digest).or_insert((place, unit));
        }
    }

    fn find(&self, digest: &UnitDigest) -> Option<(PackId, u32)> {
        let (pack, unit) = self.places.get(digest)?;
        let pack = self.packs.get(usize::try_from(*pack).ok()?)?;
        Some((*pack, *unit))
    }
}

/// What is to be written of a changeset besides its content.
#[derive(Debug, Clone)]
pub struct About {
    /// What it is relative to.
    pub kind: Kind,
    /// Its place in the history.
    pub sequence: u64,
    /// The one before it.
    pub parent: Option<ChangesetId>,
    /// The size of the disk.
    pub disk_bytes: u64,
}

/// A changeset that is being written. Until [`finish`](Self::finish) returns, it is not there: packs
/// that were put by then belong to nothing.
pub struct ChangesetWriter<'b> {
    blobs: &'b dyn Blobs,
    known: &'b mut KnownUnits,
    about: About,
    cut: Cut,
    pack: PackWriter,
    /// Units of the open pack, by content.
    open: HashMap<UnitDigest, u32>,
    packs: Vec<PackReference>,
    runs: Vec<Run>,
    end: u64,
}

impl fmt::Debug for ChangesetWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangesetWriter")
            .field("about", &self.about)
            .field("runs", &self.runs.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// A pack that runs name: one that is there, or the open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackReference {
    Put(PackId),
    Open,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which it is.
    pub id: ChangesetId,
    /// What it says.
    pub changeset: Changeset,
}

impl Written {
    /// Which it is in the chain: the one that the next changeset names. A base that stands for
    /// others is the last of them there; anything else is itself.
    #[must_use]
    pub fn chain_id(&self) -> ChangesetId {
        let replaced = self.changeset.replaced.last();
        replaced.map_or(self.id, |last| last.id)
    }
}

impl<'b> ChangesetWriter<'b> {
    /// An empty changeset. New units are put into new packs; `known` are found again, and grow.
    pub fn new(blobs: &'b dyn Blobs, known: &'b mut KnownUnits, about: About, cut: Cut) -> Self {
        Self {
            blobs,
            known,
            about,
            cut,
            pack: PackWriter::new(cut.unit_bytes, cut.frame_bytes),
            open: HashMap::new(),
            packs: Vec::new(),
            runs: Vec::new(),
            end: 0,
        }
    }

    /// Says what neighbouring blocks hold. They come in ascending order; their bytes are whole
    /// units, the last of which may reach past the disk's end.
    ///
    /// # Errors
    /// They do not ascend or are not whole, or a pack cannot be put.
    pub fn write(&mut self, start: u64, content: &[u8]) -> Result<(), WriteError> {
        let unit_bytes = usize::try_from(self.cut.unit_bytes).unwrap_or(usize::MAX);
        let unit_blocks = self.unit_blocks();
        if start < self.end || !content.len().is_multiple_of(unit_bytes) {
            return Err(self.order(start));
        }
        let mut at = start;
        for unit in content.chunks(unit_bytes) {
            self.unit(at, unit)?;
            at = at.saturating_add(u64::from(unit_blocks));
        }
        Ok(())
    }

    /// Reads neighbouring blocks from the disk and says what they hold; what the disk knows to be
    /// zeros is not read. `blocks` begin with a unit, and end with one or with the disk.
    ///
    /// # Errors
    /// The disk cannot be read; else as of [`write`](Self::write).
    pub fn write_from(&mut self, disk: &dyn ReadAt, blocks: Range<u64>) -> Result<(), WriteError> {
        let bytes = |blocks: u64| blocks.saturating_mul(BLOCK_BYTES);
        let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let unit_blocks = u64::from(self.unit_blocks());
        let piece_blocks = READ_BLOCKS.next_multiple_of(unit_blocks.max(1));
        let disk_end = self.about.disk_bytes.div_ceil(BLOCK_BYTES);
        let end = blocks.end.min(disk_end);
        let mut buffer = AlignedBuffer::new(length(bytes(piece_blocks)));
        let mut at = blocks.start;
        while at < end {
            let zeros = self.zeros_at(disk, at..end, unit_blocks)?;
            if zeros > 0 {
                self.zeros(at, zeros)?;
                at = at.saturating_add(zeros);
                continue;
            }
            let next = at.saturating_add(piece_blocks).min(end);
            let whole = next.saturating_sub(at).next_multiple_of(unit_blocks.max(1));
            let there = bytes(next)
                .min(self.about.disk_bytes)
                .saturating_sub(bytes(at));
            let content = buffer.first(length(bytes(whole)));
            let (part, behind) = content.split_at_mut(length(there).min(content.len()));
            disk.read_exact_at(bytes(at), part)?;
            // A unit may reach past the end of the disk.
            behind.fill(0);
            self.write(at, content)?;
            at = next;
        }
        Ok(())
    }

    /// How many whole units from a block on the disk knows to be zeros.
    fn zeros_at(
        &self,
        disk: &dyn ReadAt,
        blocks: Range<u64>,
        unit_blocks: u64,
    ) -> Result<u64, WriteError> {
        let start = blocks.start.saturating_mul(BLOCK_BYTES);
        let stretch = disk.stretch_at(start)?;
        if stretch.content != disk::Content::Zero {
            return Ok(0);
        }
        let end = start.saturating_add(stretch.bytes);
        if end >= self.about.disk_bytes {
            return Ok(blocks.end.saturating_sub(blocks.start));
        }
        let whole = stretch.bytes.checked_div(BLOCK_BYTES).unwrap_or(0);
        let ragged = whole.checked_rem(unit_blocks).unwrap_or(0);
        let left = blocks.end.saturating_sub(blocks.start);
        Ok(whole.saturating_sub(ragged).min(left))
    }

    /// Says that neighbouring blocks hold zeros.
    ///
    /// # Errors
    /// They do not ascend.
    pub fn zeros(&mut self, start: u64, blocks: u64) -> Result<(), WriteError> {
        let disk_end = self.about.disk_bytes.div_ceil(BLOCK_BYTES);
        let end = start.saturating_add(blocks).min(disk_end);
        if start < self.end || start >= end {
            return Err(self.order(start));
        }
        // What a base does not tell of is zeros.
        if self.about.kind != Kind::Base {
            self.run(start, end, Content::Zero);
        }
        self.end = end;
        Ok(())
    }

    fn order(&self, start: u64) -> WriteError {
        WriteError::Order {
            start,
            end: self.end,
        }
    }

    fn unit_blocks(&self) -> u32 {
        let blocks = self.cut.unit_bytes.checked_div(BLOCK_BYTES).unwrap_or(1);
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    fn unit(&mut self, start: u64, content: &[u8]) -> Result<(), WriteError> {
        let unit_blocks = u64::from(self.unit_blocks());
        if content.iter().all(|byte| *byte == 0) {
            return self.zeros(start, unit_blocks);
        }
        let disk_end = self.about.disk_bytes.div_ceil(BLOCK_BYTES);
        let end = start.saturating_add(unit_blocks).min(disk_end);
        if start >= end {
            return Err(self.order(start));
        }
        let digest = UnitDigest::of(content);
        let (pack, first) = match (self.open.get(&digest), self.known.find(&digest)) {
            (Some(unit), _) => (PackReference::Open, *unit),
            (None, Some((pack, unit))) => (PackReference::Put(pack), unit),
            (None, None) => {
                if self.pack.is_full() {
                    self.put_pack()?;
                }
                let unit = self.pack.add(digest, content)?;
                self.open.insert(digest, unit);
                (PackReference::Open, unit)
            }
        };
        let content = Content::Units {
            pack: self.place(pack),
            first,
            unit_blocks: self.unit_blocks(),
        };
        self.run(start, end, content);
        self.end = end;
        Ok(())
    }

    /// The place of a pack in the changeset's list. The one that was named last is the likeliest.
    fn place(&mut self, pack: PackReference) -> u32 {
        let found = self.packs.iter().rposition(|one| *one == pack);
        let place = found.unwrap_or_else(|| {
            self.packs.push(pack);
            self.packs.len().saturating_sub(1)
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Adds a run, to the last one where it goes on as that ends.
    fn run(&mut self, start: u64, end: u64, content: Content) {
        let blocks = end.saturating_sub(start);
        if let Some(last) = self.runs.last_mut()
            && last.end() == start
            && goes_on(last, content)
        {
            last.blocks = last.blocks.saturating_add(blocks);
            return;
        }
        self.runs.push(Run {
            start,
            blocks,
            content,
        });
    }

    fn put_pack(&mut self) -> Result<(), WriteError> {
        self.open.clear();
        if self.pack.is_empty() {
            return Ok(());
        }
        let finished = self.pack.finish()?;
        self.blobs.put(&finished.id.blob(), &finished.bytes)?;
        self.known.add(finished.id, &finished.units);
        for reference in &mut self.packs {
            if *reference == PackReference::Open {
                *reference = PackReference::Put(finished.id);
            }
        }
        self.pack.reuse(finished);
        Ok(())
    }

    /// Says what neighbouring blocks hold: units of a pack that is there.
    ///
    /// # Errors
    /// They do not ascend.
    pub(crate) fn keep(&mut self, run: KeptUnits) -> Result<(), WriteError> {
        let disk_end = self.about.disk_bytes.div_ceil(BLOCK_BYTES);
        let end = run.start.saturating_add(run.blocks).min(disk_end);
        if run.start < self.end || run.start >= end {
            return Err(self.order(run.start));
        }
        let content = Content::Units {
            pack: self.place(PackReference::Put(run.pack)),
            first: run.first,
            unit_blocks: run.unit_blocks,
        };
        self.run(run.start, end, content);
        self.end = end;
        Ok(())
    }

    /// Puts what is left, and then the changeset: from then on it is there.
    ///
    /// # Errors
    /// A pack or the changeset cannot be put.
    pub fn finish(self, taken: Timestamp, source: String) -> Result<Written, WriteError> {
        let blobs = self.blobs;
        let prepared = self.prepare(taken, source, Vec::new())?;
        prepared.put(blobs)
    }

    /// Puts what is left, and writes the changeset down without putting it.
    pub(crate) fn prepare(
        mut self,
        taken: Timestamp,
        source: String,
        replaced: Vec<Replaced>,
    ) -> Result<Prepared, WriteError> {
        self.put_pack()?;
        let put = self.packs.iter().filter_map(|reference| match reference {
            PackReference::Put(id) => Some(*id),
            PackReference::Open => None,
        });
        let changeset = Changeset {
            kind: self.about.kind,
            sequence: self.about.sequence,
            parent: self.about.parent,
            taken,
            disk_bytes: self.about.disk_bytes,
            source,
            packs: put.collect(),
            runs: self.runs,
            replaced,
        };
        let (id, bytes) = changeset::encode(&changeset)?;
        let written = Written { id, changeset };
        Ok(Prepared { written, bytes })
    }
}

/// Neighbouring blocks whose units are in a pack already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptUnits {
    pub(crate) start: u64,
    pub(crate) blocks: u64,
    pub(crate) pack: PackId,
    pub(crate) first: u32,
    pub(crate) unit_blocks: u32,
}

/// A changeset all of whose packs are there, and which is not there itself.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) written: Written,
    bytes: Vec<u8>,
}

impl Prepared {
    /// Puts the changeset: from then on it is there.
    pub(crate) fn put(self, blobs: &dyn Blobs) -> Result<Written, WriteError> {
        let name = changeset::blob(self.written.changeset.sequence, self.written.id);
        blobs.put(&name, &self.bytes)?;
        Ok(self.written)
    }
}

/// Whether content goes on where a run ends.
fn goes_on(last: &Run, content: Content) -> bool {
    match (last.content, content) {
        (Content::Zero, Content::Zero) => true,
        (
            Content::Units {
                pack,
                first,
                unit_blocks,
            },
            Content::Units {
                pack: next_pack,
                first: next,
                unit_blocks: next_blocks,
            },
        ) => {
            let whole = last.blocks.is_multiple_of(u64::from(unit_blocks));
            let units = last.blocks.checked_div(u64::from(unit_blocks)).unwrap_or(0);
            let follows = u64::from(first).saturating_add(units) == u64::from(next);
            whole && follows && pack == next_pack && unit_blocks == next_blocks
        }
        _ => false,
    }
}
