//! The journal: what was committed but not yet written to its place is read from here.
//!
//! ```text
//!  superblock   12 block size   16 blocks   20 first   24 first sequence   28 where it starts; 0: empty
//!               40 features     48 id       84 blocks for fast commits
//!  every block of the log: 0 c03b3998, 4 type, 8 sequence
//!    1 descriptor  tags: each block that follows has one, with its place
//!    2 commit      the transaction counts
//!    5 revoke      12 bytes used; 16 blocks that are not to be replayed from before
//!
//!  tag          sums of 32 bits:  0 block  4 flags  8 block, high  12 sum
//!               else:             0 block  4 sum    6 flags        8 block, high (only with 64 bits)
//!               then 16 bytes of id, unless flag 2 says that it is the same as before
//! ```
//!
//! All big-endian. Sources: the kernel's documentation of ext4 and `include/linux/jbd2.h`.
//!
//! A transaction counts if its commit is there; the log ends at the first block that is not its
//! next. Sums of versions 2 and 3 are checked, those of version 1 are not. Nothing is written: the
//! outcome is a table of which block is to be read from where.

use std::collections::BTreeMap;

use crate::bytes::{Fields, Short, saturate};
use crate::ext::Ext;
use crate::ext::device::{JOURNAL_MAGIC, Replayed};
use crate::ext::error::{ExtError, limited};
use crate::ext::fast::{Commits, Reader};
use crate::ext::map::FileMap;
use crate::ext::sums::sum;

/// How many blocks a journal may have: `mke2fs` makes none larger.
const MAX_BLOCKS: u64 = 10_240_000;

/// How many blocks a replay may concern, and how many may be revoked: 8 GiB of metadata with blocks
/// of 4 KiB. Their places take some 100 MiB at most.
const MAX_REPLAYED: u64 = 2 << 20;

const HEADER_BYTES: usize = 12;
const COMMIT_SUM_AT: usize = 16;
const REVOKED_AT: usize = 16;
const TAIL_BYTES: usize = 4;
const ID_BYTES: usize = 16;

/// Blocks for fast commits where the superblock does not say how many.
const DEFAULT_FAST_BLOCKS: u32 = 256;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_ID: u32 = 2;
const TAG_DELETED: u32 = 4;
const TAG_LAST: u32 = 8;

const FEATURE_64BIT: u32 = 2;
const FEATURE_SUMS_2: u32 = 8;
const FEATURE_SUMS_3: u32 = 16;
const FEATURE_FAST: u32 = 32;

/// Revoked blocks, 64 bits, asynchronous commits, sums of two kinds, fast commits.
const FEATURES_KNOWN: u32 = 0x3f;

/// What a journal held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Transactions that were committed.
    pub transactions: u64,
    /// Blocks that are read from the journal.
    pub blocks: u64,
    /// Blocks whose sums do not hold; they are read from their old place.
    pub damaged_blocks: u64,
    /// Whether the log ends with a transaction whose sum does not hold.
    pub ends_damaged: bool,
    /// Fast commits after the last transaction.
    pub fast_commits: u64,
    /// What of them could not be done again.
    pub fast_left_out: u64,
}

/// What is to be read and done in place of what the disk has.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) replayed: BTreeMap<u64, Replayed>,
    pub(super) fast: Commits,
    pub(super) replay: Replay,
}

/// The log of a journal.
struct Log<'a> {
    ext: &'a Ext,
    map: FileMap,
    first: u64,
    /// After the last block of it.
    end: u64,
    /// How many blocks the journal has: what is behind the log is for fast commits.
    blocks: u64,
    start: u64,
    sequence: u32,
    features: u32,
    /// What all sums start with.
    seed: u32,
}

/// A block that a transaction has written.
struct Tag {
    to: u64,
    flags: u32,
    sum: u32,
    /// The block of the journal, counted from its start.
    at: u64,
}

#[derive(Default)]
struct Transaction {
    sequence: u32,
    tags: Vec<Tag>,
    revoked: Vec<u64>,
}

/// Reads the journal of a file system that needs it.
pub(super) fn read(ext: &Ext) -> Result<Recovered, ExtError> {
    let Some(log) = Log::open(ext)? else {
        return Ok(Recovered::default());
    };
    let mut replay = Replay::default();
    let (transactions, next) = log.transactions(&mut replay)?;
    let replayed = log.replayed(&transactions, &mut replay)?;
    // They build on the last transaction.
    let fast = match log.has(FEATURE_FAST) && !replay.ends_damaged {
        true => log.fast_commits(next)?,
        false => Commits::default(),
    };
    replay.transactions = transactions.len() as u64;
    replay.blocks = replayed.len() as u64;
    replay.fast_commits = fast.count;
    replay.ends_damaged |= fast.ends_damaged;
    Ok(Recovered {
        replayed,
        fast,
        replay,
    })
}

impl<'a> Log<'a> {
    /// The log, if there is anything in it.
    fn open(ext: &'a Ext) -> Result<Option<Self>, ExtError> {
        let number = ext.superblock().journal_inode;
        if number == 0 {
            return Err(ExtError::ExternalJournal);
        }
        let inode = ext.inode(number)?;
        let mut log = Self {
            ext,
            map: ext.map(&inode)?,
            first: 0,
            end: 0,
            blocks: 0,
            start: 0,
            sequence: 0,
            features: 0,
            seed: 0,
        };
        let bytes = log.block(0)?;
        let is_empty = log.take_superblock(Fields(&bytes))?;
        Ok((!is_empty).then_some(log))
    }

    /// Reads the superblock, and says whether the log is empty.
    fn take_superblock(&mut self, fields: Fields<'_>) -> Result<bool, ExtError> {
        let cut = || ExtError::short("the journal's superblock");
        let word = |at| fields.be32(at).map_err(cut());
        let wrong = |rule| ExtError::Inode {
            inode: self.ext.superblock().journal_inode,
            rule,
        };
        if fields.array(0) != Ok(JOURNAL_MAGIC) || !matches!(word(4)?, 3 | 4) {
            return Err(wrong("it does not start with a journal's superblock"));
        }
        if u64::from(word(12)?) != self.ext.superblock().block_bytes {
            return Err(wrong("the journal has blocks of another size"));
        }
        // Version 1 has no features.
        let features = if word(4)? == 4 { word(40)? } else { 0 };
        if features & !FEATURES_KNOWN != 0 {
            return Err(wrong("the journal needs features that are not known"));
        }
        let fast = match (features & FEATURE_FAST != 0, word(84)?) {
            (false, _) => 0,
            (true, 0) => DEFAULT_FAST_BLOCKS,
            (true, blocks) => blocks,
        };
        let blocks = limited("blocks of the journal", word(16)?.into(), MAX_BLOCKS)?;
        let id = fields.part(48, ID_BYTES).map_err(cut())?;
        let (first, start, sequence) = (word(20)?, word(28)?, word(24)?);
        self.first = first.into();
        self.end = blocks.saturating_sub(fast.into());
        self.blocks = blocks;
        self.start = start.into();
        self.sequence = sequence;
        self.features = features;
        self.seed = sum(u32::MAX, id);
        let range = self.first..self.end;
        if start != 0 && (first == 0 || !range.contains(&self.start)) {
            return Err(wrong("the journal starts outside of itself"));
        }
        Ok(start == 0)
    }

    fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    fn has_sums(&self) -> bool {
        self.has(FEATURE_SUMS_2 | FEATURE_SUMS_3)
    }

    /// The block of the file system that holds a block of the journal.
    fn place(&self, block: u64) -> Result<u64, ExtError> {
        let extents = &self.map.extents;
        let after = extents.partition_point(|extent| extent.end() <= block);
        let extent = extents.get(after).filter(|extent| extent.logical <= block);
        let extent = extent.ok_or(ExtError::Inode {
            inode: self.ext.superblock().journal_inode,
            rule: "the journal has a hole",
        })?;
        let skipped = block.saturating_sub(extent.logical);
        Ok(extent.physical.saturating_add(skipped))
    }

    fn block(&self, block: u64) -> Result<Vec<u8>, ExtError> {
        let place = self.place(block)?;
        self.ext.block_uncached(place, "a block of the journal")
    }

    /// The block after this one: after the last comes the first again.
    fn after(&self, block: u64) -> u64 {
        match block.saturating_add(1) {
            next if next >= self.end => self.first,
            next => next,
        }
    }

    /// All transactions that were committed, in order, and the number of the next one.
    fn transactions(&self, replay: &mut Replay) -> Result<(Vec<Transaction>, u32), ExtError> {
        let mut committed = Vec::new();
        let mut current = Transaction {
            sequence: self.sequence,
            ..Transaction::default()
        };
        let (mut at, mut count) = (self.start, 0u64);
        // A log is not longer than the journal, so that it ends even where it goes round.
        let mut left = self.end.saturating_sub(self.first);
        while left > 0 {
            let bytes = self.block(at)?;
            let Some(kind) = kind(&bytes, current.sequence) else {
                break;
            };
            if !self.sum_holds(kind, &bytes) {
                replay.ends_damaged = true;
                break;
            }
            let written = match kind {
                DESCRIPTOR => self.take_tags(&bytes, at, &mut current.tags)?,
                REVOKE => self.take_revoked(&bytes, &mut current.revoked)?,
                COMMIT => {
                    let next = current.sequence.wrapping_add(1);
                    committed.push(std::mem::take(&mut current));
                    current.sequence = next;
                    0
                }
                _ => break,
            };
            count = count
                .saturating_add(written)
                .saturating_add(current.revoked.len() as u64);
            limited("blocks in the journal", count, MAX_REPLAYED)?;
            // Only blocks of data are passed over; what is revoked lies in the block itself.
            let passed = if kind == DESCRIPTOR { written } else { 0 };
            for _ in 0..=passed.min(left) {
                at = self.after(at);
            }
            left = left.saturating_sub(passed.saturating_add(1));
        }
        Ok((committed, current.sequence))
    }

    /// What was committed fast before transaction `sequence`. One block between the log and the area
    /// for it is not used.
    fn fast_commits(&self, sequence: u32) -> Result<Commits, ExtError> {
        let mut reader = Reader::new(sequence, self.ext.superblock().inode_bytes);
        for block in self.end.saturating_add(1)..self.blocks {
            if !reader.take(&self.block(block)?)? {
                break;
            }
        }
        Ok(reader.end())
    }

    /// Whether the sum of a block of the log itself holds.
    fn sum_holds(&self, kind: u32, bytes: &[u8]) -> bool {
        if !self.has_sums() {
            return true;
        }
        let at = match kind {
            COMMIT => COMMIT_SUM_AT,
            _ => bytes.len().saturating_sub(TAIL_BYTES),
        };
        let Some((before, rest)) = bytes.split_at_checked(at) else {
            return false;
        };
        let after = rest.get(TAIL_BYTES..).unwrap_or_default();
        let found = [before, &[0; TAIL_BYTES], after]
            .iter()
            .fold(self.seed, |seed, part| sum(seed, part));
        Fields(bytes).be32(at) == Ok(found)
    }

    /// Adds the tags of a descriptor, which lies at `at`, and counts them.
    fn take_tags(&self, bytes: &[u8], mut at: u64, tags: &mut Vec<Tag>) -> Result<u64, ExtError> {
        let cut = ExtError::short("a descriptor of the journal");
        let tail = if self.has_sums() { TAIL_BYTES } else { 0 };
        let end = bytes.len().saturating_sub(tail);
        let mut place = HEADER_BYTES;
        let mut count = 0u64;
        while place.saturating_add(self.tag_bytes()) <= end {
            at = self.after(at);
            let tag = self.tag(Fields(bytes), place, at).map_err(&cut)?;
            let flags = tag.flags;
            tags.push(tag);
            count = count.saturating_add(1);
            place = place.saturating_add(self.tag_bytes());
            if flags & TAG_SAME_ID == 0 {
                place = place.saturating_add(ID_BYTES);
            }
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        Ok(count)
    }

    fn tag_bytes(&self) -> usize {
        if self.has(FEATURE_SUMS_3) {
            return 16;
        }
        let sums = if self.has(FEATURE_SUMS_2) { 2 } else { 0 };
        let high = if self.has(FEATURE_64BIT) { 4 } else { 0 };
        [8, sums, high].iter().sum()
    }

    fn tag(&self, fields: Fields<'_>, place: usize, at: u64) -> Result<Tag, Short> {
        let field = |offset: usize| place.saturating_add(offset);
        let low = u64::from(fields.be32(place)?);
        let high = match self.has(FEATURE_64BIT) {
            true => u64::from(fields.be32(field(8))?) << 32,
            false => 0,
        };
        let (flags, sum) = match self.has(FEATURE_SUMS_3) {
            true => (fields.be32(field(4))?, fields.be32(field(12))?),
            false => (fields.be16(field(6))?.into(), fields.be16(field(4))?.into()),
        };
        Ok(Tag {
            to: high | low,
            flags,
            sum,
            at,
        })
    }

    /// Adds the blocks that a revoke block names, and counts them.
    fn take_revoked(&self, bytes: &[u8], revoked: &mut Vec<u64>) -> Result<u64, ExtError> {
        let cut = ExtError::short("a block of revoked blocks in the journal");
        let used = saturate(Fields(bytes).be32(12).map_err(&cut)?.into());
        let entries = Fields(bytes).part(0, used).map_err(&cut)?;
        let entries = entries.get(REVOKED_AT..).unwrap_or_default();
        let before = revoked.len();
        match self.has(FEATURE_64BIT) {
            true => {
                let words = entries.chunks_exact(8);
                revoked.extend(words.filter_map(|word| Fields(word).be64(0).ok()));
            }
            false => {
                let words = entries.chunks_exact(4);
                revoked.extend(words.filter_map(|word| Fields(word).be32(0).ok().map(u64::from)));
            }
        }
        Ok(revoked.len().saturating_sub(before) as u64)
    }

    /// Which blocks are to be read from the journal.
    fn replayed(
        &self,
        transactions: &[Transaction],
        replay: &mut Replay,
    ) -> Result<BTreeMap<u64, Replayed>, ExtError> {
        // The last transaction that revokes a block; it stands for those before it too.
        let mut revoked = BTreeMap::new();
        for (order, transaction) in transactions.iter().enumerate() {
            revoked.extend(transaction.revoked.iter().map(|block| (*block, order)));
        }
        let mut replayed = BTreeMap::new();
        for (order, transaction) in transactions.iter().enumerate() {
            for tag in &transaction.tags {
                let is_revoked = revoked.get(&tag.to).is_some_and(|last| *last >= order);
                if is_revoked || tag.flags & TAG_DELETED != 0 {
                    continue;
                }
                if !self.data_sum_holds(tag, transaction.sequence)? {
                    replay.damaged_blocks = replay.damaged_blocks.saturating_add(1);
                    continue;
                }
                let place = Replayed {
                    block: self.place(tag.at)?,
                    escaped: tag.flags & TAG_ESCAPED != 0,
                };
                replayed.insert(tag.to, place);
            }
        }
        Ok(replayed)
    }

    fn data_sum_holds(&self, tag: &Tag, sequence: u32) -> Result<bool, ExtError> {
        if !self.has_sums() {
            return Ok(true);
        }
        let bytes = self.block(tag.at)?;
        let found = sum(sum(self.seed, &sequence.to_be_bytes()), &bytes);
        Ok(match self.has(FEATURE_SUMS_3) {
            true => found == tag.sum,
            false => found & 0xffff == tag.sum,
        })
    }
}

/// The type of a block of the log; none if it is not the next one.
fn kind(bytes: &[u8], sequence: u32) -> Option<u32> {
    let fields = Fields(bytes);
    let is_next = fields.array(0) == Ok(JOURNAL_MAGIC) && fields.be32(8) == Ok(sequence);
    is_next.then(|| fields.be32(4).ok()).flatten()
}
