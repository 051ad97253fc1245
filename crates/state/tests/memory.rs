//! Comparison of memory against an oracle: full images, compared word by word.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use model::{GuestPhysicalAddress, PAGE_BYTES};
use proptest::prelude::*;
use state::{
    Base, ChangedPages, CompareError, Limits, MAX_REPLICAS, MemoryComparison, MemoryView,
    WordDifference, compare_memory,
};
use std::collections::BTreeMap;

const LIMITS: Limits = Limits { listed: 3 };
const PAGES: usize = 40;
const TOTAL_BYTES: usize = PAGES * PAGE_BYTES;

/// A replica: the snapshot with some words overwritten, and the pages that those lie in.
#[derive(Debug, Clone, Default)]
struct Written {
    words: BTreeMap<usize, u64>,
}

impl Written {
    fn image(&self, base: &[u8]) -> Vec<u8> {
        let mut image = base.to_vec();
        image.resize(TOTAL_BYTES, 0);
        for (word, value) in &self.words {
            image[word * 8..][..8].copy_from_slice(&value.to_le_bytes());
        }
        image
    }

    fn changed(&self, base: &[u8]) -> ChangedPages {
        let image = self.image(base);
        let mut numbers: Vec<u64> = self.words.keys().map(|word| (word / 512) as u64).collect();
        numbers.dedup();
        let page = |number: &u64| &image[*number as usize * PAGE_BYTES..][..PAGE_BYTES];
        let bytes = numbers.iter().flat_map(page).copied().collect();
        ChangedPages::new(numbers, bytes).unwrap()
    }
}

/// What a plain walk over full images says of one replica: its differing words.
fn differing_words(images: &[Vec<u8>], replica: usize) -> Vec<WordDifference> {
    let mut differing = Vec::new();
    for word in 0..TOTAL_BYTES / 8 {
        let values = values_of(images, word);
        if let Some(expected) = most(&values)
            && values[replica] != expected
        {
            differing.push(WordDifference {
                address: GuestPhysicalAddress(word as u64 * 8),
                expected,
                found: values[replica],
            });
        }
    }
    differing
}

fn undecided_words(images: &[Vec<u8>]) -> Vec<(u64, Vec<u64>)> {
    (0..TOTAL_BYTES / 8)
        .map(|word| (word as u64 * 8, values_of(images, word)))
        .filter(|(_, values)| most(values).is_none())
        .collect()
}

fn values_of(images: &[Vec<u8>], word: usize) -> Vec<u64> {
    let value = |image: &Vec<u8>| u64::from_le_bytes(image[word * 8..][..8].try_into().unwrap());
    images.iter().map(value).collect()
}

fn most(values: &[u64]) -> Option<u64> {
    let votes = |value: &u64| values.iter().filter(|held| *held == value).count();
    values
        .iter()
        .copied()
        .find(|value| 2 * votes(value) > values.len())
}

fn digest(words: impl IntoIterator<Item = u64>) -> Option<String> {
    let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    (!bytes.is_empty()).then(|| blake3::hash(&bytes).to_hex().to_string())
}

/// Checks a comparison against the oracle, in all that it says of differing words.
fn check(comparison: &MemoryComparison, images: &[Vec<u8>]) {
    for (replica, found) in comparison.replicas.iter().enumerate() {
        let expected = differing_words(images, replica);
        let mut pages: Vec<u64> = expected.iter().map(|word| word.address.0 / 4096).collect();
        pages.dedup();
        assert_eq!(found.differing_words, expected.len() as u64);
        assert_eq!(found.pages.listed, pages);
        assert_eq!(found.pages.count, pages.len() as u64);
        assert_eq!(found.listed, expected[..expected.len().min(LIMITS.listed)]);
        let triples = expected
            .iter()
            .flat_map(|word| [word.address.0, word.expected, word.found]);
        assert_eq!(found.words_digest, digest(triples));
    }
    let undecided = undecided_words(images);
    assert_eq!(comparison.undecided_words, undecided.len() as u64);
    for (found, (address, values)) in comparison.undecided.iter().zip(&undecided) {
        assert_eq!((found.address.0, &found.found), (*address, values));
    }
    let tuples = undecided
        .iter()
        .flat_map(|(address, values)| [&[*address], values.as_slice()].concat());
    assert_eq!(comparison.undecided_digest, digest(tuples));
}

fn compare(base: &[u8], views: &[MemoryView<'_>]) -> MemoryComparison {
    let base = Base::new(base, TOTAL_BYTES as u64).unwrap();
    compare_memory(&base, views, LIMITS).unwrap()
}

/// Compares as changed pages, as full images and mixed, and checks each.
fn check_all_forms(base: &[u8], replicas: &[Written]) {
    let images: Vec<Vec<u8>> = replicas.iter().map(|one| one.image(base)).collect();
    let changed: Vec<ChangedPages> = replicas.iter().map(|one| one.changed(base)).collect();
    let full: Vec<_> = images.iter().map(|image| MemoryView::Full(image)).collect();
    let sparse: Vec<_> = changed.iter().map(MemoryView::Changed).collect();
    let mut mixed = sparse.clone();
    mixed[0] = full[0];
    for views in [full, sparse, mixed] {
        check(&compare(base, &views), &images);
    }
}

fn any_replica() -> impl Strategy<Value = Written> {
    // Few places and few values, so that replicas meet.
    let place = prop_oneof![
        0..8_usize,
        500..520_usize,
        9_000..9_004_usize,
        Just(TOTAL_BYTES / 8 - 1)
    ];
    let word = prop::collection::btree_map(place, 0..4_u64, 0..8);
    word.prop_map(|words| Written { words })
}

proptest! {
    #[test]
    fn every_form_says_what_a_walk_over_full_images_says(
        replicas in prop::collection::vec(any_replica(), 2..6),
        base_pages in 0..=PAGES,
        fill in 0..3_u8,
    ) {
        check_all_forms(&vec![fill; base_pages * PAGE_BYTES], &replicas);
    }
}

fn writing(words: &[(usize, u64)]) -> Written {
    Written {
        words: words.iter().copied().collect(),
    }
}

#[test]
fn a_page_that_only_one_replica_changed_is_compared_with_the_snapshot() {
    let replicas = [writing(&[]), writing(&[(3, 1)]), writing(&[])];
    let changed: Vec<_> = replicas.iter().map(|one| one.changed(&[])).collect();
    let views: Vec<_> = changed.iter().map(MemoryView::Changed).collect();
    let comparison = compare(&[], &views);
    assert_eq!(comparison.replicas[1].listed[0].address.0, 24);
    assert_eq!(comparison.bytes_compared, 3 * PAGE_BYTES as u64);
    assert_eq!(
        comparison.bytes_shared,
        3 * (TOTAL_BYTES - PAGE_BYTES) as u64
    );
    assert_eq!(comparison.pages(), [0]);
}

#[test]
fn a_page_that_all_changed_alike_is_equal() {
    let replicas = [writing(&[(3, 1)]), writing(&[(3, 1)])];
    let changed: Vec<_> = replicas.iter().map(|one| one.changed(&[])).collect();
    let views: Vec<_> = changed.iter().map(MemoryView::Changed).collect();
    let comparison = compare(&[], &views);
    assert!(comparison.is_equal());
    assert_eq!(comparison.bytes_compared, 2 * PAGE_BYTES as u64);
}

#[test]
fn a_page_written_with_what_it_held_is_equal() {
    check_all_forms(
        &[0; PAGE_BYTES],
        &[writing(&[(3, 0)]), writing(&[]), writing(&[])],
    );
}

#[test]
fn many_differing_words_overflow_the_list_and_not_the_digest() {
    let wild = Written {
        words: (0..5_000).map(|word| (word, word as u64 + 1)).collect(),
    };
    check_all_forms(&[], &[wild, writing(&[]), writing(&[])]);
}

#[test]
fn no_replica_and_one_replica_are_equal_to_themselves() {
    assert!(compare(&[], &[]).is_equal());
    let image = vec![1; TOTAL_BYTES];
    assert!(compare(&[], &[MemoryView::Full(&image)]).is_equal());
}

#[test]
fn memory_that_does_not_fit_is_refused() {
    let base = Base::new(&[], 8 * PAGE_BYTES as u64).unwrap();
    let refused = |views: &[MemoryView<'_>]| compare_memory(&base, views, LIMITS).unwrap_err();
    let outside = ChangedPages::new(vec![8], vec![0; PAGE_BYTES]).unwrap();
    assert_eq!(
        refused(&[MemoryView::Changed(&outside)]),
        CompareError::PageOutside {
            state: 0,
            number: 8,
            total_pages: 8
        }
    );
    assert!(matches!(
        refused(&[MemoryView::Full(&[0; PAGE_BYTES])]),
        CompareError::WrongImageLength { state: 0, .. }
    ));
    let many = vec![MemoryView::Changed(&outside); MAX_REPLICAS + 1];
    assert!(matches!(
        refused(&many),
        CompareError::TooManyReplicas { .. }
    ));
}
