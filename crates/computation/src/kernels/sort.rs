//! `sort`: records put in order in five ways that must agree.
//!
//! ```text
//! step:  keys    = 2048 records of (key, value); a quarter of the keys come twice or more
//!        in order by: merge sort (stable), pattern-defeating quicksort, a binary heap,
//!        a B-tree, and a table of buckets; a way that comes to another order is counted
//!        running = SHA-256( running ‖ the order ‖ what 256 look-ups in the tree found ‖ mismatches )
//!        records ^= keystream( running )
//! ```
//!
//! Comparisons, branches that cannot be foreseen, and moves: a wrong one leaves an order that is not
//! the others'. The ways allocate in a step, from an allocator that gives the same addresses for the
//! same requests.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

const NAME: &str = "sort";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "2048 records put in order in five ways that must agree",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::Branches,
        Unit::Pointers,
        Unit::LoadStore,
        Unit::IntegerArithmetic,
    ],
    data_types: &[DataType::U64, DataType::U32],
    algorithms: &[Algorithm::Sorting, Algorithm::SearchTree],
    extensions: &[],
    portable: true,
    instructions_per_step: 6_180_000,
    emulation_weight: 1.2,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Orders::start),
};

const RECORDS: usize = 2048;
const RECORDS_PER_PAGE: usize = model::PAGE_BYTES / size_of::<Record>();
/// Bits of a key: few enough that some keys are equal.
const KEY_BITS: u32 = 13;
/// Bits of a key by which buckets are told apart, and buckets.
const BUCKET_BITS: u32 = 6;
const BUCKETS: usize = 1 << BUCKET_BITS;
const LOOK_UPS: usize = 256;

/// A key, and a value that tells records of one key apart.
type Record = (u64, u64);

pub(crate) struct Orders {
    pages: Vec<PageAligned<[Record; RECORDS_PER_PAGE]>>,
    running: [u8; DIGEST_BYTES],
    /// Orders that were not that of the merge sort.
    mismatches: u64,
    steps_done: u64,
}

impl Orders {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let pages = vec![PageAligned([(0, 0); RECORDS_PER_PAGE]); RECORDS / RECORDS_PER_PAGE];
        let mut orders = Self {
            pages,
            running: [0; DIGEST_BYTES],
            mismatches: 0,
            steps_done: 0,
        };
        orders.refresh(&mut Xoshiro256::from_seed(seed));
        orders
    }

    fn refresh(&mut self, stream: &mut Xoshiro256) {
        for record in self.pages.iter_mut().flat_map(|page| &mut page.0) {
            record.0 = (record.0 ^ stream.next_word()) & ((1 << KEY_BITS) - 1);
            record.1 ^= stream.next_word();
        }
    }

    fn records(&self) -> Vec<Record> {
        self.pages.iter().flat_map(|page| page.0).collect()
    }
}

impl Kernel for Orders {
    fn step(&mut self) {
        let records = self.records();
        let mut merged = records.clone();
        merged.sort();
        let tree = tree(&records);
        let ways = [
            by_quicksort(&records),
            by_heap(&records),
            by_tree(&tree),
            by_buckets(&records),
        ];
        self.mismatches += ways.iter().filter(|way| **way != merged).count() as u64;
        let mut link = Sha256::new();
        link.update(self.running);
        for (key, value) in &merged {
            link.update(key.to_le_bytes());
            link.update(value.to_le_bytes());
        }
        let mut stream = Xoshiro256::from_digest(&self.running);
        for _ in 0..LOOK_UPS {
            let from = stream.next_word() & ((1 << KEY_BITS) - 1);
            let found = tree.range(from..).next().map_or(u64::MAX, |(key, _)| *key);
            link.update(found.to_le_bytes());
        }
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        self.refresh(&mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.mismatches.to_le_bytes());
        for (key, value) in self.records() {
            all.update(key.to_le_bytes());
            all.update(value.to_le_bytes());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let sorted = (self.steps_done * RECORDS as u64) as f64;
        vec![
            ("mismatches".to_owned(), self.mismatches as f64),
            ("records_sorted".to_owned(), sorted),
        ]
    }
}

fn by_quicksort(records: &[Record]) -> Vec<Record> {
    let mut sorted = records.to_vec();
    sorted.sort_unstable();
    sorted
}

fn by_heap(records: &[Record]) -> Vec<Record> {
    let mut heap: BinaryHeap<Reverse<Record>> = records.iter().map(|one| Reverse(*one)).collect();
    std::iter::from_fn(|| heap.pop().map(|Reverse(record)| record)).collect()
}

/// The values of each key.
fn tree(records: &[Record]) -> BTreeMap<u64, Vec<u64>> {
    let mut tree: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, value) in records {
        tree.entry(*key).or_default().push(*value);
    }
    tree
}

fn by_tree(tree: &BTreeMap<u64, Vec<u64>>) -> Vec<Record> {
    let mut sorted = Vec::with_capacity(RECORDS);
    for (key, values) in tree {
        let mut values = values.clone();
        values.sort_unstable();
        sorted.extend(values.into_iter().map(|value| (*key, value)));
    }
    sorted
}

/// Into buckets by the highest bits of the key, each put in order by insertion.
fn by_buckets(records: &[Record]) -> Vec<Record> {
    let mut buckets = vec![Vec::new(); BUCKETS];
    for record in records {
        let bucket: &mut Vec<Record> =
            &mut buckets[(record.0 >> (KEY_BITS - BUCKET_BITS)) as usize % BUCKETS];
        let place = bucket.partition_point(|present| present < record);
        bucket.insert(place, *record);
    }
    buckets.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn all_ways_come_to_one_order_with_equal_keys_in_it() {
        let mut orders = Orders::new(2);
        for _ in 0..4 {
            let tree = tree(&orders.records());
            assert!(
                (RECORDS / 2..RECORDS - 100).contains(&tree.len()),
                "{}",
                tree.len()
            );
            orders.step();
        }
        assert_eq!(orders.mismatches, 0);
        assert!(by_heap(&orders.records()).is_sorted());
    }

    #[test]
    fn a_flipped_bit_in_any_record_changes_the_digest() {
        let start = || Orders::new(1);
        for (page, record) in [(0, 0), (3, 100), (7, 255)] {
            check_flip(4, start, |orders| orders.pages[page].0[record].0 ^= 1 << 12);
            check_flip(4, start, |orders| orders.pages[page].0[record].1 ^= 1);
        }
    }

    #[test]
    fn an_order_that_is_not_the_others_is_counted() {
        let mut orders = Orders::new(1);
        // A key of more bits than keys have: only the buckets do not see them.
        orders.pages[0].0[0].0 = 1 << 40;
        orders.step();
        assert_eq!(orders.mismatches, 1);
    }
}
