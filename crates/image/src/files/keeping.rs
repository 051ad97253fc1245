//! A disk of which some blocks stay in memory once they were read.

use crate::BLOCK_BYTES;
use crate::files::length;
use disk::{AlignedBuffer, ReadAt, ReadError, Source, Stretch};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many blocks are kept: 40 MiB, what tells of some 50,000 files. What is beyond is read again.
const MAX_KEPT: usize = 10_240;

/// How much is fetched at once, and how much that nobody wants is read rather than left out.
const MAX_FETCHED: u64 = 256 << 10;
const MAX_GAP: u64 = 32 << 10;

/// Longer readings are of a disk as it goes, and not looked up.
const MAX_LOOKED_UP: usize = 256 << 10;

/// A disk. At first every block that is read is kept, later only those that are wanted.
#[derive(Debug)]
pub(super) struct Keeping {
    source: Source,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Wanted blocks, and what they hold if they were read.
    blocks: BTreeMap<u64, Option<Box<[u8]>>>,
    all: bool,
}

impl Keeping {
    /// Keeps what is read of a disk.
    pub(super) fn new(source: Source) -> Self {
        let kept = Kept {
            blocks: BTreeMap::new(),
            all: true,
        };
        Self {
            source,
            kept: Mutex::new(kept),
        }
    }

    /// Asks for the blocks of some bytes to be kept.
    pub(super) fn want(&self, bytes: Range<u64>) {
        let first = bytes.start.checked_div(BLOCK_BYTES).unwrap_or(0);
        let mut kept = self.lock();
        for block in first..bytes.end.div_ceil(BLOCK_BYTES) {
            if !kept.want(block) {
                return;
            }
        }
    }

    /// What is not wanted by now is not kept.
    pub(super) fn keep_only_wanted(&self) {
        self.lock().all = false;
    }

    /// Reads what is wanted and was not read yet, in the order in which it lies on the disk. What
    /// cannot be read is not kept: why, is told to whom needs it.
    pub(super) fn fetch(&self) {
        let runs = self.lock().missing(self.size_bytes());
        let mut buffer = AlignedBuffer::new(length(MAX_FETCHED));
        for run in runs {
            let piece = buffer.first(length(run.end.saturating_sub(run.start)));
            self.read_exact_at(run.start, piece).ok();
        }
    }

    /// Gives back all memory, and keeps nothing more.
    pub(super) fn forget(&self) {
        let mut kept = self.lock();
        kept.all = false;
        kept.blocks.clear();
    }

    /// A thread that panicked has left whole entries behind: nothing here panics halfway.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether a block is wanted now: there may be enough of them.
    fn want(&mut self, block: u64) -> bool {
        let is_wanted = self.blocks.len() < MAX_KEPT || self.blocks.contains_key(&block);
        if is_wanted {
            self.blocks.entry(block).or_default();
        }
        is_wanted
    }

    /// The bytes of wanted blocks that were not read, ascending, near ones together.
    fn missing(&self, disk_bytes: u64) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (block, kept) in &self.blocks {
            let start = block.saturating_mul(BLOCK_BYTES);
            let end = start.saturating_add(BLOCK_BYTES);
            // A last block that is cut is not kept.
            if kept.is_some() || end > disk_bytes {
                continue;
            }
            match runs.last_mut() {
                Some(last)
                    if start <= last.end.saturating_add(MAX_GAP)
                        && end.saturating_sub(last.start) <= MAX_FETCHED =>
                {
                    last.end = end;
                }
                _ => runs.push(start..end),
            }
        }
        runs
    }

    /// Fills `buffer`, if all of its blocks are here.
    fn find(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let block = at.checked_div(BLOCK_BYTES).unwrap_or(0);
            let within = length(at & BLOCK_BYTES.wrapping_sub(1));
            let Some(Some(bytes)) = self.blocks.get(&block) else {
                return false;
            };
            let there = bytes.get(within..).unwrap_or_default();
            let (part, behind) = rest.split_at_mut(there.len().min(rest.len()));
            let Some(there) = there.get(..part.len()).filter(|there| !there.is_empty()) else {
                return false;
            };
            part.copy_from_slice(there);
            at = at.saturating_add(part.len() as u64);
            rest = behind;
        }
        true
    }

    /// Keeps what is wanted of bytes that were read.
    fn keep(&mut self, offset: u64, bytes: &[u8]) {
        let first = offset.div_ceil(BLOCK_BYTES);
        let end = offset.saturating_add(bytes.len() as u64);
        let end = end.checked_div(BLOCK_BYTES).unwrap_or(0).max(first);
        if self.all && bytes.len() <= MAX_LOOKED_UP {
            for block in first..end {
                self.want(block);
            }
        }
        for (block, kept) in self.blocks.range_mut(first..end) {
            if kept.is_none() {
                let start = block.saturating_mul(BLOCK_BYTES).saturating_sub(offset);
                let part = length(start)..length(start.saturating_add(BLOCK_BYTES));
                *kept = bytes.get(part).map(Box::from);
            }
        }
    }
}

impl ReadAt for Keeping {
    fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if buffer.len() <= MAX_LOOKED_UP && self.lock().find(offset, buffer) {
            return Ok(());
        }
        self.source.read_exact_at(offset, buffer)?;
        self.lock().keep(offset, buffer);
        Ok(())
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        self.source.stretch_at(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::read_at::check_range;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Counts the bytes that are read of it.
    #[derive(Debug)]
    struct Counted(Vec<u8>, AtomicU64);

    impl ReadAt for Counted {
        fn size_bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            check_range(self.size_bytes(), offset, buffer.len() as u64)?;
            self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            self.0.read_exact_at(offset, buffer)
        }
    }

    fn disk(bytes: usize) -> Arc<Counted> {
        let content = (0..bytes).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8);
        Arc::new(Counted(content.collect(), AtomicU64::new(0)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_read_is_what_the_disk_holds(
            size in 1..60_000usize,
            wanted in proptest::collection::vec((0..60_000u64, 0..9_000u64), 0..6),
            reads in proptest::collection::vec((0..60_000usize, 0..20_000usize), 1..12),
            only_from in 0..12usize,
        ) {
            let disk = disk(size);
            let keeping = Keeping::new(Arc::clone(&disk) as Source);
            for (start, bytes) in wanted {
                keeping.want(start..start + bytes);
            }
            for (index, (start, bytes)) in reads.into_iter().enumerate() {
                if index == only_from {
                    keeping.keep_only_wanted();
                }
                let start = start % size;
                let end = (start + bytes).min(size);
                let mut read = vec![0; end - start];
                keeping.read_exact_at(start as u64, &mut read).unwrap();
                prop_assert_eq!(&read[..], &disk.0[start..end]);
            }
        }
    }

    #[test]
    fn what_is_wanted_is_read_once() {
        let disk = disk(1 << 20);
        let keeping = Keeping::new(Arc::clone(&disk) as Source);
        let read = |start: u64, bytes: usize| {
            let before = disk.1.load(Ordering::Relaxed);
            keeping.read_exact_at(start, &mut vec![0; bytes]).unwrap();
            disk.1.load(Ordering::Relaxed) - before
        };
        // What is read at first.
        assert_eq!(read(4096, 8192), 8192);
        assert_eq!(read(5000, 100), 0);
        keeping.want(40_000..40_001);
        keeping.keep_only_wanted();
        assert_eq!(read(0, 1 << 20), 1 << 20);
        assert_eq!(read(4096, 8192), 0);
        assert_eq!(read(36_864, 4096), 0);
        assert_eq!(read(36_863, 2), 2);
        assert_eq!(read(40_960, 4096), 4096);
        keeping.want(80_000..90_000);
        keeping.want(100_000..100_001);
        keeping.want(1_000_000..1_100_000);
        keeping.fetch();
        assert_eq!(read(77_824, 4096), 0);
        assert_eq!(read(98_304, 4096), 0);
        assert_eq!(read(1_044_480, 4096), 0);
        // What lies between is read, but not kept.
        assert_eq!(read(94_208, 4096), 4096);
        keeping.forget();
        assert_eq!(read(4096, 8192), 8192);
        assert_eq!(read(4096, 8192), 8192);
    }

    #[test]
    fn memory_is_bounded() {
        let keeping = Keeping::new(disk(8192));
        keeping.want(0..u64::MAX);
        assert_eq!(keeping.lock().blocks.len(), MAX_KEPT);
    }
}
