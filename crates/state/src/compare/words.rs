//! What the comparison of memory says: counts, lists and digests of differing words.
//!
//! ```text
//! words_digest     = BLAKE3(address ‖ expected ‖ found, for each differing word)
//! undecided_digest = BLAKE3(address ‖ value of each replica in order, for each undecided word)
//! ```
//!
//! All values are little-endian 64-bit, the addresses ascend. For two replicas the second is the
//! first with replica 0 as what is expected.

use model::GuestPhysicalAddress;

/// The most page numbers that are listed for one replica: 4 GiB of memory that differs in every
/// page.
pub const MAX_LISTED_PAGES: usize = 1 << 20;

/// A word in which one replica differs from the majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordDifference {
    /// Where it is.
    pub address: GuestPhysicalAddress,
    /// What the majority holds, as a little-endian word.
    pub expected: u64,
    /// What this replica holds.
    pub found: u64,
}

/// A word that no majority decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndecidedWord {
    /// Where it is.
    pub address: GuestPhysicalAddress,
    /// What each replica holds, in order, as little-endian words.
    pub found: Vec<u64>,
}

/// Page numbers, ascending: all are counted, the first [`MAX_LISTED_PAGES`] are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageList {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub listed: Vec<u64>,
    latest: Option<u64>,
}

impl PageList {
    /// Adds a page, which is the latest one or lies above it.
    pub(super) fn add(&mut self, number: u64) {
        if self.latest == Some(number) {
            return;
        }
        self.latest = Some(number);
        self.count += 1;
        if self.listed.len() < MAX_LISTED_PAGES {
            self.listed.push(number);
        }
    }
}

/// How one replica's memory differs from the majority's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaMemory {
    /// How many words differ.
    pub differing_words: u64,
    /// The pages that hold at least one of them.
    pub pages: PageList,
    /// The first differing words, by address.
    pub listed: Vec<WordDifference>,
    /// The digest of all differing words, in hexadecimal; `None` where there is none.
    pub words_digest: Option<String>,
}

/// How the memory of N replicas differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryComparison {
    /// Each replica against the majority, in the order given.
    pub replicas: Vec<ReplicaMemory>,
    /// How many words no majority decided.
    pub undecided_words: u64,
    /// The pages that hold at least one of them.
    pub undecided_pages: PageList,
    /// The first undecided words, by address.
    pub undecided: Vec<UndecidedWord>,
    /// The digest of all undecided words, in hexadecimal; `None` where there is none.
    pub undecided_digest: Option<String>,
    /// Bytes that were compared, over all replicas.
    pub bytes_compared: u64,
    /// Bytes that no replica changed, over all replicas: equal by construction and not read.
    pub bytes_shared: u64,
}

impl MemoryComparison {
    /// Whether all replicas hold the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.undecided_words == 0 && self.replicas.iter().all(|one| one.differing_words == 0)
    }

    /// The numbers of all pages in which replicas differ, decided or not, ascending.
    #[must_use]
    pub fn pages(&self) -> Vec<u64> {
        let decided = self.replicas.iter().flat_map(|one| &one.pages.listed);
        let undecided = &self.undecided_pages.listed;
        let mut pages: Vec<u64> = decided.chain(undecided).copied().collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
}
