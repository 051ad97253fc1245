//! Two memories, page by page: how many words differ in each page, and the first pages as lines
//! of bytes.
//!
//! The majority's state holds every page in which anybody differs, so its pages are all that are
//! looked at. Between two replicas it is the pages of either. A page that a replica did not change
//! is not in its state; it is read from the replica's whole image where that was kept, and else
//! counted as unread, never guessed.

use super::compare::Held;
use model::{GuestPhysicalAddress, PAGE_BYTES, PageNumber};
use state::{Memory, Page};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of one line.
pub const LINE_BYTES: usize = 16;

/// The most pages of one replica that are shown byte by byte.
const MAX_PAGES_SHOWN: usize = 8;

/// The most lines of one page that are shown: two pages' worth on a screen.
const MAX_LINES_SHOWN: usize = 16;

/// Memory of one replica beside what was expected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryExcerpt {
    /// Every page that differs, ascending.
    pub pages: Vec<PageTally>,
    /// Pages of which one side was not kept.
    pub unread: u64,
    /// The first of them, and those into which faults were put, byte by byte; ascending.
    pub shown: Vec<PageExcerpt>,
}

/// How much of one page differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageTally {
    /// Which page.
    pub number: PageNumber,
    /// Differing aligned 64-bit words, 1 to 512.
    pub words: u64,
}

/// One page, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageExcerpt {
    /// Which page.
    pub number: PageNumber,
    /// Its first lines that differ.
    pub lines: Vec<HexLine>,
    /// How many more lines differ.
    pub more: u64,
}

/// A line of bytes on both sides; at least one byte differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HexLine {
    /// Of the first byte.
    pub address: GuestPhysicalAddress,
    /// What was expected.
    pub expected: [u8; LINE_BYTES],
    /// What was found.
    pub found: [u8; LINE_BYTES],
}

/// A whole image of a replica's memory, where it was kept.
#[derive(Debug)]
pub(super) struct Image {
    file: Option<File>,
    page: Box<Page>,
}

impl Image {
    /// Opens it; an image that cannot be opened is as one that was not kept.
    pub(super) fn open(path: Option<&Path>) -> Self {
        Self {
            file: path.and_then(|path| File::open(path).ok()),
            page: Box::new([0; PAGE_BYTES]),
        }
    }

    fn page(&mut self, number: PageNumber) -> Option<&Page> {
        let file = self.file.as_ref()?;
        let read = file.read_exact_at(self.page.as_mut(), number.address().0);
        read.ok().map(|()| self.page.as_ref())
    }
}

/// Compares two memories, each with its image.
pub(super) fn excerpt(
    held: Held,
    (expected, expected_image): (&Memory, &mut Image),
    (found, found_image): (&Memory, &mut Image),
    wanted: &[GuestPhysicalAddress],
) -> MemoryExcerpt {
    let mut excerpt = MemoryExcerpt::default();
    let mut wanted: BTreeSet<PageNumber> = wanted.iter().copied().map(PageNumber::of).collect();
    let others = match held {
        Held::Majority => None,
        Held::By(_) => Some(found),
    };
    for number in numbers(expected, others) {
        let sides = (
            page_of(expected, expected_image, number),
            page_of(found, found_image, number),
        );
        let (Some(expected), Some(found)) = sides else {
            excerpt.unread += 1;
            continue;
        };
        let words = differing_words(expected, found);
        if words == 0 {
            continue;
        }
        excerpt.pages.push(PageTally { number, words });
        // Room is left for pages with faults further on: those are what is looked for first.
        let room = MAX_PAGES_SHOWN.saturating_sub(wanted.len());
        let chosen = wanted.remove(&number) || excerpt.shown.len() < room;
        if chosen && excerpt.shown.len() < MAX_PAGES_SHOWN {
            excerpt.shown.push(show(number, expected, found));
        }
    }
    excerpt
}

/// The pages that are looked at, ascending.
fn numbers(expected: &Memory, found: Option<&Memory>) -> Vec<PageNumber> {
    let of = |memory: &Memory| match memory {
        Memory::Changed(pages) => pages.numbers().to_vec(),
        Memory::Full(_) => (0..memory.pages()).collect(),
    };
    let mut numbers = of(expected);
    if let Some(found) = found {
        numbers.extend(of(found));
        numbers.sort_unstable();
        numbers.dedup();
    }
    numbers.into_iter().map(PageNumber).collect()
}

fn page_of<'a>(memory: &'a Memory, image: &'a mut Image, number: PageNumber) -> Option<&'a Page> {
    let held = match memory {
        Memory::Changed(pages) => pages.page(number.0),
        Memory::Full(image) => {
            let at = usize::try_from(number.0).ok();
            at.and_then(|at| image.as_chunks().0.get(at))
        }
    };
    held.or_else(|| image.page(number))
}

fn differing_words(expected: &Page, found: &Page) -> u64 {
    let (expected, _) = expected.as_chunks::<8>();
    let (found, _) = found.as_chunks::<8>();
    let both = expected.iter().zip(found);
    both.filter(|(one, other)| one != other).count() as u64
}

fn show(number: PageNumber, expected: &Page, found: &Page) -> PageExcerpt {
    let (expected, _) = expected.as_chunks::<LINE_BYTES>();
    let (found, _) = found.as_chunks::<LINE_BYTES>();
    let addresses = (number.address().0..).step_by(LINE_BYTES);
    let mut lines: Vec<HexLine> = addresses
        .zip(expected.iter().zip(found))
        .filter(|(_, (expected, found))| expected != found)
        .map(|(address, (expected, found))| HexLine {
            address: GuestPhysicalAddress(address),
            expected: *expected,
            found: *found,
        })
        .collect();
    let more = lines.len().saturating_sub(MAX_LINES_SHOWN) as u64;
    lines.truncate(MAX_LINES_SHOWN);
    PageExcerpt {
        number,
        lines,
        more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ReplicaIndex;
    use state::ChangedPages;
    use std::io::Write;

    fn memory(pages: &[(u64, u8)]) -> Memory {
        let numbers = pages.iter().map(|(number, _)| *number).collect();
        let bytes = pages.iter().flat_map(|(_, byte)| [*byte; PAGE_BYTES]);
        Memory::Changed(ChangedPages::new(numbers, bytes.collect()).unwrap())
    }

    fn compared(held: Held, expected: &Memory, found: &Memory) -> MemoryExcerpt {
        let (mut one, mut other) = (Image::open(None), Image::open(None));
        excerpt(held, (expected, &mut one), (found, &mut other), &[])
    }

    #[test]
    fn every_page_is_counted_and_the_first_are_shown() {
        let all: Vec<(u64, u8)> = (0..600).map(|number| (2 * number, 1)).collect();
        let mut wrong = all.clone();
        for page in wrong.iter_mut().skip(100) {
            page.1 = 3;
        }
        let excerpt = compared(Held::Majority, &memory(&all), &memory(&wrong));
        assert_eq!(excerpt.pages.len(), 500);
        assert_eq!(excerpt.pages[0].number, PageNumber(200));
        assert_eq!(excerpt.pages[0].words, 512);
        assert_eq!(excerpt.shown.len(), MAX_PAGES_SHOWN);
        assert_eq!(excerpt.shown[0].lines.len(), MAX_LINES_SHOWN);
        assert_eq!(excerpt.shown[0].more, 256 - MAX_LINES_SHOWN as u64);
    }

    #[test]
    fn a_page_with_a_fault_is_shown_however_far_it_lies() {
        let all: Vec<(u64, u8)> = (0..100).map(|number| (number, 1)).collect();
        let wrong: Vec<(u64, u8)> = (0..100).map(|number| (number, 2)).collect();
        let (mut one, mut other) = (Image::open(None), Image::open(None));
        let wanted = [GuestPhysicalAddress(90 * PAGE_BYTES as u64 + 17)];
        let excerpt = excerpt(
            Held::Majority,
            (&memory(&all), &mut one),
            (&memory(&wrong), &mut other),
            &wanted,
        );
        assert_eq!(excerpt.shown.len(), MAX_PAGES_SHOWN);
        assert_eq!(excerpt.shown[7].number, PageNumber(90));
    }

    #[test]
    fn what_was_not_kept_is_unread_unless_there_is_an_image() {
        let (right, wrong) = (memory(&[(0, 1), (1, 1)]), memory(&[(0, 1), (2, 9)]));
        let by = Held::By(ReplicaIndex(0));
        let without = compared(by, &right, &wrong);
        assert_eq!((without.unread, without.pages.len()), (2, 0));

        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 3 * PAGE_BYTES]).unwrap();
        let mut images = [(); 2].map(|()| Image::open(Some(file.path())));
        let [one, other] = &mut images;
        let with = excerpt(by, (&right, one), (&wrong, other), &[]);
        assert_eq!(with.unread, 0);
        let tally = PageTally {
            number: PageNumber(2),
            words: 512,
        };
        assert_eq!(with.pages, [tally]);
    }
}
