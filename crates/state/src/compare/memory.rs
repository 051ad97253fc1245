//! Which pages are looked at, and in which order.
//!
//! Pages that no replica changed are the snapshot's in all of them: they are equal by construction
//! and never read. The others are the union of the replicas' ascending page lists, walked once by
//! merging. A full image counts as a list of all its pages.
//!
//! All replicas are walked together, page by page: the first replica's page is still in the
//! processor's cache when the last replica's is compared with it, so that each byte is read once
//! from memory.

use super::tally::Tally;
use super::words::MemoryComparison;
use super::{CompareError, Limits, MAX_REPLICAS};
use crate::memory::{Base, MemoryView, Page};

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
    let count = images.first().map_or(0, |first| first.len());
    let mut pages = Vec::with_capacity(images.len());
    for number in 0..count {
        pages.clear();
        pages.extend(images.iter().map(|image| &image[number]));
        tally.page(number as u64, &pages);
    }
    count as u64
}

/// Compares the pages that at least one replica changed and returns how many those are.
fn compare_union(base: &Base<'_>, replicas: &[MemoryView<'_>], tally: &mut Tally) -> u64 {
    let mut cursors: Vec<Cursor<'_>> = replicas.iter().copied().map(Cursor::new).collect();
    let mut pages = Vec::with_capacity(replicas.len());
    let mut compared = 0;
    while let Some(number) = lowest(&cursors) {
        pages.clear();
        let taken = cursors.iter_mut().map(|cursor| cursor.take(number));
        pages.extend(taken.map(|page| page.unwrap_or_else(|| base.page(number))));
        tally.page(number, &pages);
        compared += 1;
    }
    compared
}

/// The lowest page that any replica has still to be looked at.
fn lowest(cursors: &[Cursor<'_>]) -> Option<u64> {
    cursors.iter().filter_map(Cursor::number).min()
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
