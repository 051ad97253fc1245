//! A run: the records of neighbouring changesets, sorted, in one blob that never changes.
//!
//! ```text
//! "VDGRRECS"  version u32
//! blocks      see `block`
//! index       blocks: count, then for each: key shared with the one before, rest's bytes, rest,
//!             block's bytes, least sequence, greatest less least, first 8 bytes of its BLAKE3
//!             volumes: count, then bytes and text of each
//! "VDGRRECS"  index's bytes u64   BLAKE3 of the index     last 48 bytes
//! ```
//!
//! Its name says the rest: `records/FIRST-LAST-COUNT-ID`, with the changesets that it covers, how
//! many records it has, and the chain's id of the last changeset.

use super::block::{BlockReader, BlockWriter, shared};
use super::{PREFIX, RecordsError};
use crate::blobs::Blobs;
use crate::changeset::ChangesetId;
use crate::codec::{Taker, put_number};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

const MAGIC: &[u8; 8] = b"VDGRRECS";

/// Another version is no damage: its records are made again.
const VERSION: u32 = 1;

/// Bytes before the first block, and after the index.
const HEAD_BYTES: u64 = 12;
const TAIL_BYTES: u64 = 48;

/// When a block is full: large enough that a run's index stays small, small enough that one answer
/// reads little more than itself.
const BLOCK_BYTES: usize = 8 << 10;

/// The most bytes of an index: that of a run of a hundred million records.
const MAX_INDEX_BYTES: u64 = 512 << 20;

/// What a run covers, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u64,
    pub(super) id: ChangesetId,
}

impl Span {
    pub(super) fn of_blob(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(4, '-');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (first, last, count) = (number()?, number()?, number()?);
        let id = blake3::Hash::from_hex(parts.next()?).ok()?;
        (first <= last).then_some(Self {
            first,
            last,
            count,
            id: ChangesetId(*id.as_bytes()),
        })
    }

    pub(super) fn blob(&self) -> String {
        let Self {
            first,
            last,
            count,
            id,
        } = self;
        format!("{PREFIX}{first:012}-{last:012}-{count:012}-{id}")
    }
}

/// A run that is being written.
#[derive(Debug)]
pub(super) struct RunWriter {
    bytes: Vec<u8>,
    block: BlockWriter,
    index: Vec<u8>,
    blocks: u64,
    count: u64,
    last_first_key: Vec<u8>,
    volumes: BTreeSet<Vec<u8>>,
    last_volume: Vec<u8>,
}

impl RunWriter {
    pub(super) fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        Self {
            bytes,
            block: BlockWriter::default(),
            index: Vec::new(),
            blocks: 0,
            count: 0,
            last_first_key: Vec::new(),
            volumes: BTreeSet::new(),
            last_volume: Vec::new(),
        }
    }

    /// Appends an entry. They come in order.
    pub(super) fn push(&mut self, key: &[u8], sequence: u64, payload: &[u8]) {
        let volume = key.split(|byte| *byte == 0).next().unwrap_or_default();
        if self.count == 0 || volume != self.last_volume {
            self.last_volume = volume.to_vec();
            self.volumes.insert(volume.to_vec());
        }
        self.block.push(key, sequence, payload);
        self.count = self.count.saturating_add(1);
        if self.block.bytes() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let Some(written) = self.block.take() else {
            return;
        };
        let shared = shared(&self.last_first_key, &written.first_key);
        let rest = written.first_key.get(shared..).unwrap_or_default();
        put_number(&mut self.index, shared as u64);
        put_number(&mut self.index, rest.len() as u64);
        self.index.extend_from_slice(rest);
        put_number(&mut self.index, written.bytes.len() as u64);
        let (least, greatest) = written.sequences;
        put_number(&mut self.index, least);
        put_number(&mut self.index, greatest.saturating_sub(least));
        self.index.extend_from_slice(&sum(&written.bytes));
        self.bytes.extend_from_slice(&written.bytes);
        self.last_first_key = written.first_key;
        self.blocks = self.blocks.saturating_add(1);
    }

    /// The blob, and how many entries it has.
    pub(super) fn finish(mut self) -> (Vec<u8>, u64) {
        self.end_block();
        let mut index = Vec::new();
        put_number(&mut index, self.blocks);
        index.extend_from_slice(&self.index);
        put_number(&mut index, self.volumes.len() as u64);
        for volume in &self.volumes {
            put_number(&mut index, volume.len() as u64);
            index.extend_from_slice(volume);
        }
        self.bytes.extend_from_slice(&index);
        self.bytes.extend_from_slice(MAGIC);
        self.bytes
            .extend_from_slice(&(index.len() as u64).to_le_bytes());
        self.bytes
            .extend_from_slice(blake3::hash(&index).as_bytes());
        (self.bytes, self.count)
    }
}

fn sum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    let digest = blake3::hash(bytes);
    for (to, from) in sum.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    sum
}

/// Where a block lies, and what is in it.
#[derive(Debug)]
struct Block {
    first_key: Vec<u8>,
    start: u64,
    end: u64,
    sequences: RangeInclusive<u64>,
    sum: [u8; 8],
}

/// What a run's index says.
#[derive(Debug)]
struct Index {
    blocks: Vec<Block>,
    volumes: Vec<Arc<str>>,
}

/// A run that can be read. Its index is read at its first use.
pub(super) struct Run {
    blobs: Arc<dyn Blobs>,
    pub(super) name: String,
    pub(super) span: Span,
    index: OnceLock<Index>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn new(blobs: Arc<dyn Blobs>, span: Span) -> Self {
        Self {
            blobs,
            name: span.blob(),
            span,
            index: OnceLock::new(),
        }
    }

    fn damaged(&self, what: &'static str) -> RecordsError {
        RecordsError::Damaged {
            blob: self.name.clone(),
            what,
        }
    }

    fn index(&self) -> Result<&Index, RecordsError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.read_index()?;
        Ok(self.index.get_or_init(|| index))
    }

    fn read_index(&self) -> Result<Index, RecordsError> {
        let cut = || self.damaged("it is cut off");
        let length = self.blobs.length(&self.name)?;
        let tail_at = length.checked_sub(TAIL_BYTES).ok_or_else(cut)?;
        let head = self.blobs.read(&self.name, 0..HEAD_BYTES)?;
        let mut taker = Taker::new(&head);
        let is_ours = taker.bytes(8) == Some(MAGIC);
        if !is_ours || taker.array().map(u32::from_le_bytes) != Some(VERSION) {
            return Err(self.damaged("it is of another version"));
        }
        let tail = self.blobs.read(&self.name, tail_at..length)?;
        let mut taker = Taker::new(&tail);
        let is_ours = taker.bytes(8) == Some(MAGIC);
        let bytes = taker.array().map(u64::from_le_bytes).ok_or_else(cut)?;
        let start = tail_at.checked_sub(bytes).filter(|_| is_ours);
        let start = start.filter(|start| *start >= HEAD_BYTES && bytes <= MAX_INDEX_BYTES);
        let start = start.ok_or_else(cut)?;
        let index = self.blobs.read(&self.name, start..tail_at)?;
        let digest = taker.array::<32>().ok_or_else(cut)?;
        if *blake3::hash(&index).as_bytes() != digest {
            return Err(self.damaged("its index is not what it was"));
        }
        let odd = || self.damaged("its index cannot be understood");
        let index = understand(&index).ok_or_else(odd)?;
        let end = index.blocks.last().map_or(HEAD_BYTES, |block| block.end);
        if end == start { Ok(index) } else { Err(odd()) }
    }

    /// The volumes that its records are of.
    pub(super) fn volumes(&self) -> Result<&[Arc<str>], RecordsError> {
        Ok(&self.index()?.volumes)
    }

    fn block(&self, place: usize) -> Result<Option<BlockReader>, RecordsError> {
        let Some(block) = self.index()?.blocks.get(place) else {
            return Ok(None);
        };
        let bytes = self.blobs.read(&self.name, block.start..block.end)?;
        if sum(&bytes) != block.sum {
            return Err(self.damaged("a block is not what it was"));
        }
        Ok(Some(BlockReader::new(bytes)))
    }
}

fn understand(bytes: &[u8]) -> Option<Index> {
    let mut taker = Taker::new(bytes);
    let count = usize::try_from(taker.number()?).ok()?;
    // An entry has more than 8 bytes.
    let mut blocks: Vec<Block> = Vec::with_capacity(count.min(bytes.len() >> 3));
    let mut at = HEAD_BYTES;
    for _ in 0..count {
        let shared = usize::try_from(taker.number()?).ok()?;
        let rest = usize::try_from(taker.number()?).ok()?;
        let before = blocks.last().map_or(&[][..], |block| &block.first_key);
        let mut first_key = before.get(..shared)?.to_vec();
        first_key.extend_from_slice(taker.bytes(rest)?);
        let end = at.checked_add(taker.number()?)?;
        let least = taker.number()?;
        let greatest = least.checked_add(taker.number()?)?;
        blocks.push(Block {
            first_key,
            start: at,
            end,
            sequences: least..=greatest,
            sum: taker.array()?,
        });
        at = end;
    }
    let count = usize::try_from(taker.number()?).ok()?;
    let mut volumes: Vec<Arc<str>> = Vec::new();
    for _ in 0..count {
        let bytes = usize::try_from(taker.number()?).ok()?;
        volumes.push(std::str::from_utf8(taker.bytes(bytes)?).ok()?.into());
    }
    taker.is_empty().then_some(Index { blocks, volumes })
}

/// A place in a run, among the entries of some changesets.
#[derive(Debug)]
pub(super) struct Cursor {
    run: Arc<Run>,
    wanted: RangeInclusive<u64>,
    next_block: usize,
    reader: Option<BlockReader>,
}

impl Cursor {
    /// Before the first entry.
    pub(super) fn new(run: &Arc<Run>, wanted: RangeInclusive<u64>) -> Self {
        Self {
            run: Arc::clone(run),
            wanted,
            next_block: 0,
            reader: None,
        }
    }

    /// The run's name.
    pub(super) fn name(&self) -> String {
        self.run.name.clone()
    }

    /// The entry at this place: key, sequence, payload. Nothing at the end.
    pub(super) fn entry(&self) -> Option<(&[u8], u64, &[u8])> {
        let reader = self.reader.as_ref()?;
        Some((reader.key(), reader.sequence(), reader.payload()))
    }

    /// Goes to the first entry from a key on.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<(), RecordsError> {
        let blocks = &self.run.index()?.blocks;
        let behind = blocks.partition_point(|block| block.first_key.as_slice() < key);
        self.next_block = behind.saturating_sub(1);
        self.reader = None;
        self.step()?;
        while self.entry().is_some_and(|(at, ..)| at < key) {
            self.step()?;
        }
        Ok(())
    }

    /// Goes to the next entry of the wanted changesets.
    pub(super) fn step(&mut self) -> Result<(), RecordsError> {
        loop {
            if let Some(reader) = &mut self.reader {
                match reader.step() {
                    Some(true) if self.wanted.contains(&reader.sequence()) => return Ok(()),
                    Some(true) => continue,
                    Some(false) => {}
                    None => return Err(self.run.damaged("a block cannot be understood")),
                }
            }
            self.reader = self.read_next()?;
            if self.reader.is_none() {
                return Ok(());
            }
        }
    }

    /// The next block that has some of the wanted changesets.
    fn read_next(&mut self) -> Result<Option<BlockReader>, RecordsError> {
        let left = self.run.index()?.blocks.get(self.next_block..);
        let has_some = |block: &Block| {
            block.sequences.start() <= self.wanted.end()
                && block.sequences.end() >= self.wanted.start()
        };
        let Some(skipped) = left.unwrap_or_default().iter().position(has_some) else {
            return Ok(None);
        };
        let place = self.next_block.saturating_add(skipped);
        self.next_block = place.saturating_add(1);
        self.run.block(place)
    }
}
