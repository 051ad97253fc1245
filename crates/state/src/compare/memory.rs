//! Which pages are looked at, and in which order.
//!
//! Pages that no replica changed are the snapshot's in all of them: they are equal by construction
//! and never read. The others are the union of the replicas' ascending page lists, walked once by
//! merging. A full image counts as a list of all its pages.
//!
//! Full images, and runs of neighbouring pages that all replicas changed, are walked by chunks so
//! small that the first replica's chunk is still in the processor's cache when the last replica's
//! is compared with it; each byte is thus read once from memory. Only chunks that differ are walked
//! by page.

use super::tally::Tally;
use super::words::MemoryComparison;
use super::{CompareError, Limits, MAX_REPLICAS};
use crate::memory::{Base, MemoryView, Page};
use model::PAGE_BYTES;

/// The most pages that are compared at a time: 64 KiB, of which eight fit in the smallest
/// second-level cache of an x86-64 server (512 KiB).
const CHUNK_PAGES: usize = 16;

/// Compares the memory of replicas that started from one snapshot.
///
/// # Errors
/// A replica's memory does not fit the snapshot's, or there are too many replicas.
pub fn compare_memory(
    base: &Base<'_>,
    replicas: &[MemoryView<'_>],
    limits: Limits,
) -> Result<MemoryComparison, CompareError> {
    check(base, replicas)?;
    let mut tally = Tally::new(replicas.len(), limits);
    let compared_pages = match full_images(replicas) {
        Some(images) => compare_images(&images, &mut tally),
        None => compare_union(base, replicas, &mut tally),
    };
    let shared_pages = base.total_pages() - compared_pages;
    Ok(tally.finish(compared_pages, shared_pages))
}

fn check(base: &Base<'_>, replicas: &[MemoryView<'_>]) -> Result<(), CompareError> {
    if replicas.len() > MAX_REPLICAS {
        return Err(CompareError::TooManyReplicas {
            replicas: replicas.len(),
        });
    }
    for (state, replica) in replicas.iter().enumerate() {
        match replica {
            MemoryView::Full(image) if image.len() as u64 != base.total_bytes() => {
                return Err(CompareError::WrongImageLength {
                    state,
                    bytes: image.len() as u64,
                    total_bytes: base.total_bytes(),
                });
            }
            MemoryView::Changed(pages) => match pages.numbers().last() {
                Some(&number) if number >= base.total_pages() => {
                    return Err(CompareError::PageOutside {
                        state,
                        number,
                        total_pages: base.total_pages(),
                    });
                }
                _ => {}
            },
            MemoryView::Full(_) => {}
        }
    }
    Ok(())
}

/// The pages of all replicas, if all are full images and there is one at all.
fn full_images<'a>(replicas: &[MemoryView<'a>]) -> Option<Vec<&'a [Page]>> {
    let image = |replica: &MemoryView<'a>| match replica {
        MemoryView::Full(image) => Some(image.as_chunks().0),
        MemoryView::Changed(_) => None,
    };
    let images: Option<Vec<_>> = replicas.iter().map(image).collect();
    images.filter(|images| !images.is_empty())
}

/// Compares full images of equal length and returns how many pages they have.
fn compare_images(images: &[&[Page]], tally: &mut Tally) -> u64 {
    let Some((first, rest)) = images.split_first() else {
        return 0;
    };
    let mut pages = Vec::with_capacity(images.len());
    for start in (0..first.len()).step_by(CHUNK_PAGES) {
        let chunk = start..first.len().min(start + CHUNK_PAGES);
        let reference = first[chunk.clone()].as_flattened();
        if rest
            .iter()
            .all(|image| image[chunk.clone()].as_flattened() == reference)
        {
            continue;
        }
        for number in chunk {
            pages.clear();
            pages.extend(images.iter().map(|image| &image[number]));
            tally.page(number as u64, &pages);
        }
    }
    first.len() as u64
}

/// Compares the pages that at least one replica changed and returns how many those are.
fn compare_union(base: &Base<'_>, replicas: &[MemoryView<'_>], tally: &mut Tally) -> u64 {
    let mut cursors: Vec<Cursor<'_>> = replicas.iter().copied().map(Cursor::new).collect();
    let mut pages = Vec::with_capacity(replicas.len());
    let mut compared = 0;
    while let Some(lowest) = lowest(&cursors) {
        let run = common_run(&cursors).max(1);
        if run > 1 && equal_ahead(&cursors, run) {
            cursors.iter_mut().for_each(|cursor| cursor.next += run);
        } else {
            for number in (lowest..).take(run) {
                pages.clear();
                let taken = cursors.iter_mut().map(|cursor| cursor.take(number));
                pages.extend(taken.map(|page| page.unwrap_or_else(|| base.page(number))));
                tally.page(number, &pages);
            }
        }
        compared += run as u64;
    }
    compared
}

/// The lowest page that any replica has still to be looked at.
fn lowest(cursors: &[Cursor<'_>]) -> Option<u64> {
    cursors.iter().filter_map(Cursor::number).min()
}

/// How many neighbouring pages all replicas list next, at most [`CHUNK_PAGES`].
fn common_run(cursors: &[Cursor<'_>]) -> usize {
    let Some((first, rest)) = cursors.split_first() else {
        return 0;
    };
    let ahead = first.numbers_ahead();
    let neighbours = ahead.iter().zip(ahead.first().copied().unwrap_or(0)..);
    let run = neighbours
        .take_while(|(number, next)| *number == next)
        .count();
    rest.iter().fold(run, |run, cursor| {
        let theirs = cursor.numbers_ahead();
        let pairs = ahead.iter().zip(theirs).take(run);
        pairs.take_while(|(ours, theirs)| ours == theirs).count()
    })
}

/// Whether the next `run` pages are equal in all replicas.
fn equal_ahead(cursors: &[Cursor<'_>], run: usize) -> bool {
    let Some((first, rest)) = cursors.split_first() else {
        return true;
    };
    let reference = first.bytes_ahead(run);
    rest.iter()
        .all(|cursor| cursor.bytes_ahead(run) == reference)
}

/// The pages of one replica that are still to be looked at.
struct Cursor<'a> {
    /// Page numbers; `None` for a full image, whose pages count from 0.
    numbers: Option<&'a [u64]>,
    pages: &'a [Page],
    next: usize,
}

impl<'a> Cursor<'a> {
    fn new(replica: MemoryView<'a>) -> Self {
        let (numbers, pages) = match replica {
            MemoryView::Changed(changed) => (Some(changed.numbers()), changed.pages()),
            MemoryView::Full(image) => (None, image.as_chunks().0),
        };
        Self {
            numbers,
            pages,
            next: 0,
        }
    }

    /// The number of the next page.
    fn number(&self) -> Option<u64> {
        match self.numbers {
            Some(numbers) => numbers.get(self.next).copied(),
            None => (self.next < self.pages.len()).then_some(self.next as u64),
        }
    }

    /// The numbers of the next pages, at most [`CHUNK_PAGES`]; none for a full image.
    fn numbers_ahead(&self) -> &'a [u64] {
        let left = self.numbers.and_then(|numbers| numbers.get(self.next..));
        let left = left.unwrap_or_default();
        left.get(..CHUNK_PAGES).unwrap_or(left)
    }

    /// The bytes of the next `count` pages.
    fn bytes_ahead(&self, count: usize) -> &'a [u8] {
        let ahead = self.pages.get(self.next..self.next + count);
        ahead.unwrap_or_default().as_flattened()
    }

    /// Takes the next page if it is the one of this number.
    fn take(&mut self, number: u64) -> Option<&'a Page> {
        if self.number() != Some(number) {
            return None;
        }
        let page = self.pages.get(self.next);
        self.next += 1;
        page
    }
}

const _: () = assert!(CHUNK_PAGES * PAGE_BYTES == 64 << 10);
