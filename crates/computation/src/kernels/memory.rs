//! `memory`: patterns that find faulty cells, address lines and coupled bits, over 8 MiB.
//!
//! A step is one pass over the region. It reads each word, checks it against what was written
//! last, and writes the next pattern. A cycle has 71 passes:
//!
//! ```text
//!  0 ..  4   march C-     ⇑(r, w d) ⇑(r d, w ¬d) ⇑(r ¬d, w d) ⇓(r d, w ¬d) ⇓(r ¬d, w d)
//!  5 ..  6   address      ⇓(r d, w a) ⇑(r a, w ¬a)
//!  7 .. 70   walking bit  ⇓(r ¬a, w b₀) ⇑(r b₀, w b₁) ⇑(r b₁, w b₂) … ⇑(r b₆₂, w b₆₃)
//! ```
//!
//! The last read of each test is that of the pass that follows. d is a background: from the seed,
//! then 0, 0101…, 0011… up to 32 bits at a time, then from the seed again. a is the word's own
//! offset, XOR a tag from the seed. b walks a one through all 64 positions, in odd cycles a zero.
//!
//! Every word is folded into the digest as it was found. A mismatch is counted, the first few are
//! kept, and the pass goes on.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NAME: &str = "memory";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "march C-, address-in-address and walking bits over 8 MiB, every read checked",
    sensitivity: Sensitivity::High,
    targets: &[Target::Memory],
    units: &[Unit::LoadStore, Unit::DramCells, Unit::AddressLines],
    data_types: &[DataType::U64],
    algorithms: &[Algorithm::MarchPatterns],
    extensions: &[],
    portable: true,
    instructions_per_step: 14_800_000,
    emulation_weight: 1.25,
    default_budget_s: 1.0,
    minimum_steps: SHORT_CYCLE,
    start: Start::Alone(MemoryPatterns::start),
};

/// Passes of march C- and of the address test, with their last reads: what a run should have at
/// least.
pub(crate) const SHORT_CYCLE: u64 = WALK_FIRST + 1;
const WALK_FIRST: u64 = 7;
const CYCLE: u64 = WALK_FIRST + u64::BITS as u64;

/// 8 MiB: beyond any private cache.
const PAGES: usize = 2048;
const WORDS_PER_PAGE: usize = model::PAGE_BYTES / size_of::<u64>();
/// Backgrounds in which each pair of a word's bits differs at least once.
const BACKGROUNDS: [u64; 7] = [
    0,
    0x5555_5555_5555_5555,
    0x3333_3333_3333_3333,
    0x0f0f_0f0f_0f0f_0f0f,
    0x00ff_00ff_00ff_00ff,
    0x0000_ffff_0000_ffff,
    0x0000_0000_ffff_ffff,
];
/// Mismatches kept in full: enough to tell a cell from a line; the rest is only counted.
const MISMATCHES_KEPT: usize = 16;

/// Atomics are used for one property alone: each load and store is done, in order, and never
/// merged or left out.
type Page = PageAligned<[AtomicU64; WORDS_PER_PAGE]>;

/// What a pass writes, and the next expects: word j of page p holds `row[j] ^ p * stride`.
#[derive(Debug, Clone)]
struct Pattern {
    row: [u64; WORDS_PER_PAGE],
    stride: u64,
}

impl Pattern {
    fn solid(background: u64) -> Self {
        Self {
            row: [background; WORDS_PER_PAGE],
            stride: 0,
        }
    }

    /// Each word holds its own offset in bytes, XOR a tag.
    fn address(tag: u64) -> Self {
        Self {
            row: std::array::from_fn(|word| (word * size_of::<u64>()) as u64 ^ tag),
            stride: model::PAGE_BYTES as u64,
        }
    }

    /// One bit set in each word, its position one further from word to word; XOR a mask.
    fn walking(position: u64, mask: u64) -> Self {
        Self {
            row: std::array::from_fn(|word| 1 << ((word as u64 + position) % 64) ^ mask),
            stride: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// A word that was not what it should be.
#[derive(Debug, Clone, Copy, Default)]
struct Mismatch {
    step: u64,
    word: u64,
    expected: u64,
    found: u64,
}

/// All words that were not what they should be: how many, and the first few.
#[derive(Debug, Default)]
struct Mismatches {
    count: u64,
    first: [Mismatch; MISMATCHES_KEPT],
}

impl Mismatches {
    #[cold]
    fn add(&mut self, mismatch: Mismatch) {
        if let Some(slot) = self.first.get_mut(self.count as usize) {
            *slot = mismatch;
        }
        self.count += 1;
    }

    fn hash_into(&self, hasher: &mut Sha256) {
        hasher.update(self.count.to_le_bytes());
        for kept in &self.first {
            for word in [kept.step, kept.word, kept.expected, kept.found] {
                hasher.update(word.to_le_bytes());
            }
        }
    }
}

pub(crate) struct MemoryPatterns {
    region: Vec<Page>,
    /// What the region holds since the last pass.
    holds: Pattern,
    /// Every word found so far, folded into one.
    fold: u64,
    mismatches: Mismatches,
    running: [u8; DIGEST_BYTES],
    seed: u64,
    steps_done: u64,
}

impl MemoryPatterns {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let page = |_| PageAligned(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            region: (0..PAGES).map(page).collect(),
            holds: Pattern::solid(0),
            fold: 0,
            mismatches: Mismatches::default(),
            running: [0; DIGEST_BYTES],
            seed,
            steps_done: 0,
        }
    }

    /// Checks and rewrites one page.
    fn sweep(&mut self, page: usize, direction: Direction, next: &Pattern) {
        let held_base = page as u64 * self.holds.stride;
        let next_base = page as u64 * next.stride;
        let visit = |fold, (index, ((word, held), next)): (usize, ((&AtomicU64, &u64), &u64))| {
            let found = word.load(Relaxed);
            word.store(next ^ next_base, Relaxed);
            let expected = held ^ held_base;
            if found != expected {
                self.mismatches.add(Mismatch {
                    step: self.steps_done,
                    word: (page * WORDS_PER_PAGE + index) as u64,
                    expected,
                    found,
                });
            }
            fold_in(fold, found)
        };
        let words = self.region[page].0.iter();
        let words = words.zip(&self.holds.row).zip(&next.row).enumerate();
        self.fold = match direction {
            Direction::Up => words.fold(self.fold, visit),
            Direction::Down => words.rev().fold(self.fold, visit),
        };
    }
}

impl Kernel for MemoryPatterns {
    fn step(&mut self) {
        let (direction, next) = pass(self.seed, self.steps_done);
        match direction {
            Direction::Up => (0..PAGES).for_each(|page| self.sweep(page, direction, &next)),
            Direction::Down => (0..PAGES)
                .rev()
                .for_each(|page| self.sweep(page, direction, &next)),
        }
        self.holds = next;
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(self.fold.to_le_bytes());
        self.mismatches.hash_into(&mut link);
        self.running = link.finalize().into();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.seed.to_le_bytes());
        all.update(self.running);
        all.update(self.fold.to_le_bytes());
        self.mismatches.hash_into(&mut all);
        all.update(self.holds.row.map(u64::to_le_bytes).as_flattened());
        for page in &self.region {
            let bytes = page
                .0
                .each_ref()
                .map(|word| word.load(Relaxed).to_le_bytes());
            all.update(bytes.as_flattened());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("mismatches".to_owned(), self.mismatches.count as f64)]
    }
}

/// The order and the pattern of a step, as in the table at the top of this file.
fn pass(seed: u64, step: u64) -> (Direction, Pattern) {
    use Direction::{Down, Up};
    let cycle = step / CYCLE;
    let background = background(seed, cycle);
    // The offset's own bits are left free.
    let tag = Xoshiro256::from_seed(seed ^ cycle).next_word() & !0xff_ffff;
    let walked = if cycle.is_multiple_of(2) { 0 } else { !0 };
    match step % CYCLE {
        0 | 2 => (Up, Pattern::solid(background)),
        1 => (Up, Pattern::solid(!background)),
        3 => (Down, Pattern::solid(!background)),
        4 => (Down, Pattern::solid(background)),
        5 => (Down, Pattern::address(tag)),
        6 => (Up, Pattern::address(!tag)),
        WALK_FIRST => (Down, Pattern::walking(0, walked)),
        position => (Up, Pattern::walking(position - WALK_FIRST, walked)),
    }
}

/// The background of a cycle: one from the seed, the fixed ones, then from the seed again.
fn background(seed: u64, cycle: u64) -> u64 {
    let fixed = cycle
        .checked_sub(1)
        .and_then(|index| BACKGROUNDS.get(usize::try_from(index).ok()?));
    match fixed {
        Some(background) => *background,
        None => Xoshiro256::from_seed(seed.wrapping_add(cycle)).next_word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_memory_has_no_mismatch_in_a_whole_cycle() {
        let mut memory = MemoryPatterns::new(5);
        for _ in 0..CYCLE + 2 {
            memory.step();
        }
        assert_eq!(memory.mismatches.count, 0);
    }

    #[test]
    fn a_flipped_bit_is_counted_kept_and_in_the_digest() {
        for steps in [1, 3, 5, 7, 8, 12, 40] {
            let mut good = MemoryPatterns::new(1);
            let mut bad = MemoryPatterns::new(1);
            for _ in 0..steps {
                good.step();
                bad.step();
            }
            bad.region[77].0[100].fetch_xor(1 << 13, Relaxed);
            good.step();
            bad.step();
            assert_eq!(bad.mismatches.count, 1, "after {steps} steps");
            let kept = bad.mismatches.first[0];
            assert_eq!(kept.word, 77 * 512 + 100);
            assert_eq!(kept.expected ^ kept.found, 1 << 13);
            assert_ne!(good.running, bad.running);
            assert_ne!(good.digest(), bad.digest());
        }
    }

    #[test]
    fn more_mismatches_than_are_kept_are_still_counted() {
        let mut memory = MemoryPatterns::new(0);
        memory.step();
        for word in &memory.region[3].0 {
            word.fetch_xor(1, Relaxed);
        }
        memory.step();
        assert_eq!(memory.mismatches.count, WORDS_PER_PAGE as u64);
    }

    #[test]
    fn patterns_are_what_they_are_called() {
        let address = Pattern::address(0);
        assert_eq!(address.row[3] ^ (5 * address.stride), 5 * 4096 + 24);
        let walking = Pattern::walking(63, 0);
        assert_eq!((walking.row[0], walking.row[1]), (1 << 63, 1));
        assert_eq!(Pattern::walking(0, !0).row[1], !2);
    }

    #[test]
    fn the_backgrounds_tell_every_pair_of_bits_apart() {
        for (i, j) in (0..64).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let differ = |word: &u64| (word >> i & 1) != (word >> j & 1);
            assert!(BACKGROUNDS.iter().any(differ), "bits {i} and {j}");
        }
    }
}
