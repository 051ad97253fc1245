//! The tally of differing words: pages come in ascending order, counts, lists and digests come out.
//!
//! ```text
//! all blocks equal ─► nothing differs          (nearly every page)
//! a block differs ──► a vote on each of its words that is not the same everywhere
//! ```

use super::Limits;
use super::words::{MemoryComparison, ReplicaMemory, UndecidedWord, WordDifference};
use crate::consensus::majority;
use crate::memory::Page;
use model::{GuestPhysicalAddress, PAGE_BYTES};

/// Bytes of a word, the unit that is voted on.
const WORD_BYTES: usize = 8;

/// Bytes that are compared at a time: of a page with one wrong word, little is walked by words, and
/// the standard library's comparison still runs at its full speed.
const BLOCK_BYTES: usize = 256;

/// Words of a block.
const BLOCK_WORDS: usize = BLOCK_BYTES / WORD_BYTES;

/// Bytes that a digest gathers before it hashes them: enough for the hash to work on several
/// blocks at once.
const DIGEST_BUFFER_BYTES: usize = 16 << 10;

/// What is known so far.
pub(super) struct Tally {
    limits: Limits,
    replicas: Vec<ReplicaTally>,
    undecided: MemoryComparison,
    undecided_digest: WordDigest,
    /// The values of the word at hand, kept to spare an allocation for each.
    values: Vec<u64>,
}

impl Tally {
    pub(super) fn new(replicas: usize, limits: Limits) -> Self {
        Self {
            limits,
            replicas: (0..replicas).map(|_| ReplicaTally::default()).collect(),
            undecided: MemoryComparison::default(),
            undecided_digest: WordDigest::default(),
            values: Vec::with_capacity(replicas),
        }
    }

    /// Compares one page of all replicas. Pages come in ascending order of their numbers.
    pub(super) fn page(&mut self, number: u64, pages: &[&Page]) {
        let Some((first, rest)) = pages.split_first() else {
            return;
        };
        // Replicas that did not change the page share the snapshot's, at one address.
        if rest.iter().all(|page| std::ptr::eq(*page, *first)) {
            return;
        }
        for (index, block) in blocks(first).iter().enumerate() {
            if rest.iter().any(|page| blocks(page)[index] != *block) {
                self.block(number, index, pages);
            }
        }
    }

    pub(super) fn finish(self, compared_pages: u64, shared_pages: u64) -> MemoryComparison {
        let page_bytes = PAGE_BYTES as u64 * self.replicas.len() as u64;
        let replicas = self.replicas.into_iter().map(ReplicaTally::finish);
        MemoryComparison {
            replicas: replicas.collect(),
            undecided_digest: self.undecided_digest.finish(),
            bytes_compared: compared_pages * page_bytes,
            bytes_shared: shared_pages * page_bytes,
            ..self.undecided
        }
    }

    /// Votes on every word of a block that is not the same in all replicas.
    fn block(&mut self, number: u64, block: usize, pages: &[&Page]) {
        for (word, differs) in differing_words(block, pages).into_iter().enumerate() {
            if differs == 0 {
                continue;
            }
            let index = block * BLOCK_WORDS + word;
            let value = |page: &&Page| u64::from_le_bytes(page.as_chunks().0[index]);
            self.values.clear();
            self.values.extend(pages.iter().map(value));
            match majority(&self.values).copied() {
                Some(expected) => self.decided(number, address(number, index), expected),
                None => self.undecided(number, address(number, index)),
            }
        }
    }

    fn decided(&mut self, page: u64, address: GuestPhysicalAddress, expected: u64) {
        for (replica, &found) in self.replicas.iter_mut().zip(&self.values) {
            if found != expected {
                let difference = WordDifference {
                    address,
                    expected,
                    found,
                };
                replica.add(page, difference, self.limits);
            }
        }
    }

    fn undecided(&mut self, page: u64, address: GuestPhysicalAddress) {
        self.undecided.undecided_words += 1;
        self.undecided.undecided_pages.add(page);
        if self.undecided.undecided.len() < self.limits.listed {
            self.undecided.undecided.push(UndecidedWord {
                address,
                found: self.values.clone(),
            });
        }
        self.undecided_digest.add(&address.0.to_le_bytes());
        for value in &self.values {
            self.undecided_digest.add(&value.to_le_bytes());
        }
    }
}

/// For each word of a block, the bits in which any page differs from the first. Written so that the
/// compiler turns it into vectors.
fn differing_words(block: usize, pages: &[&Page]) -> [u64; BLOCK_WORDS] {
    let mut differing = [0; BLOCK_WORDS];
    if let Some((first, rest)) = pages.split_first() {
        let first = blocks(first)[block].as_chunks().0;
        for page in rest {
            let pairs = first.iter().zip(blocks(page)[block].as_chunks().0);
            for (bits, (ours, theirs)) in differing.iter_mut().zip(pairs) {
                *bits |= u64::from_le_bytes(*ours) ^ u64::from_le_bytes(*theirs);
            }
        }
    }
    differing
}

fn blocks(page: &Page) -> &[[u8; BLOCK_BYTES]] {
    page.as_chunks().0
}

fn address(page: u64, index: usize) -> GuestPhysicalAddress {
    GuestPhysicalAddress(page * PAGE_BYTES as u64 + (index * WORD_BYTES) as u64)
}

/// What is known of one replica so far.
#[derive(Default)]
struct ReplicaTally {
    result: ReplicaMemory,
    digest: WordDigest,
}

impl ReplicaTally {
    fn add(&mut self, page: u64, difference: WordDifference, limits: Limits) {
        self.result.differing_words += 1;
        self.result.pages.add(page);
        if self.result.listed.len() < limits.listed {
            self.result.listed.push(difference);
        }
        let WordDifference {
            address,
            expected,
            found,
        } = difference;
        let triple = [address.0, expected, found].map(u64::to_le_bytes);
        self.digest.add(triple.as_flattened());
    }

    fn finish(self) -> ReplicaMemory {
        ReplicaMemory {
            words_digest: self.digest.finish(),
            ..self.result
        }
    }
}

/// The digest of a sequence of words, which is only computed where there is one.
#[derive(Default)]
struct WordDigest {
    hasher: Option<Box<blake3::Hasher>>,
    buffer: Vec<u8>,
}

impl WordDigest {
    fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= DIGEST_BUFFER_BYTES {
            self.hasher.get_or_insert_default().update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn finish(mut self) -> Option<String> {
        if self.hasher.is_none() && self.buffer.is_empty() {
            return None;
        }
        let hasher = self.hasher.get_or_insert_default();
        Some(hasher.update(&self.buffer).finalize().to_hex().to_string())
    }
}
