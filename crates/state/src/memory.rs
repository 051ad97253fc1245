//! What a replica's memory holds.
//!
//! Replicas start from a common snapshot, the [`Base`]. A replica's memory is then either the
//! [`ChangedPages`] that it wrote since, all else being the snapshot's, or a full image. Both are
//! compared through one [`MemoryView`].
//!
//! Invariants: a [`ChangedPages`] that exists is well-formed: its numbers ascend without repeats,
//! and it holds exactly one page of bytes for each. A base counts whole pages.

use model::PAGE_BYTES;
use std::fmt;
use thiserror::Error;

/// The bytes of one page.
pub type Page = [u8; PAGE_BYTES];

/// The first page number that no x86-64 machine has: physical addresses have at most 52 bits
/// (Intel SDM volume 3A, 4.1.4). Below it, an address always fits 64 bits.
pub const MAX_PAGE_NUMBERS: u64 = 1 << 40;

/// What memory that the snapshot's image does not reach holds.
static ZEROS: Page = [0; PAGE_BYTES];

/// Why memory is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MemoryError {
    /// Page numbers repeat or do not ascend.
    #[error("take changed pages: page number {number:#x} does not ascend")]
    NotAscending {
        /// The first page number that is not greater than the one before.
        number: u64,
    },
    /// A page lies where no machine has memory.
    #[error("take changed pages: page number {number:#x} is beyond 52-bit addresses")]
    BeyondAddresses {
        /// The page number.
        number: u64,
    },
    /// There are not exactly 4096 bytes for each page number.
    #[error("take changed pages: {bytes} bytes for {pages} pages")]
    WrongLength {
        /// How many page numbers there are.
        pages: usize,
        /// How many bytes there are.
        bytes: usize,
    },
    /// A snapshot or an image is not made of whole pages.
    #[error("take a memory image: {bytes} bytes are not whole pages")]
    Ragged {
        /// How many bytes there are.
        bytes: u64,
    },
    /// The snapshot's image is longer than the memory.
    #[error("take a snapshot: its image has {image_bytes} bytes and the memory {total_bytes}")]
    ImageTooLong {
        /// Bytes of the image.
        image_bytes: u64,
        /// Bytes of the memory.
        total_bytes: u64,
    },
}

/// The pages that a replica changed since the common snapshot, with their content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChangedPages {
    numbers: Vec<u64>,
    bytes: Vec<u8>,
}

impl fmt::Debug for ChangedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pages = self.numbers.len();
        f.debug_struct("ChangedPages")
            .field("pages", &pages)
            .finish_non_exhaustive()
    }
}

impl ChangedPages {
    /// Takes page numbers and, in the same order, 4096 bytes for each.
    ///
    /// # Errors
    /// The numbers do not ascend, one is [`MAX_PAGE_NUMBERS`] or more, or the bytes are too few or
    /// too many.
    pub fn new(numbers: Vec<u64>, bytes: Vec<u8>) -> Result<Self, MemoryError> {
        let mut neighbours = numbers.iter().zip(numbers.iter().skip(1));
        if let Some((_, &number)) = neighbours.find(|(lower, upper)| lower >= upper) {
            return Err(MemoryError::NotAscending { number });
        }
        if let Some(&number) = numbers.last().filter(|&&last| last >= MAX_PAGE_NUMBERS) {
            return Err(MemoryError::BeyondAddresses { number });
        }
        if numbers.len().checked_mul(PAGE_BYTES) != Some(bytes.len()) {
            return Err(MemoryError::WrongLength {
                pages: numbers.len(),
                bytes: bytes.len(),
            });
        }
        Ok(Self { numbers, bytes })
    }

    /// The page numbers, ascending.
    #[must_use]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// The pages, in the order of their numbers.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        self.bytes.as_chunks().0
    }

    /// The bytes of all pages, in the order of their numbers.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many pages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether no page was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// One changed page.
    #[must_use]
    pub fn page(&self, number: u64) -> Option<&Page> {
        let index = self.numbers.binary_search(&number).ok()?;
        self.pages().get(index)
    }

    /// Only those of the changed pages whose numbers are in `kept`, which ascends: what is worth
    /// keeping as evidence.
    #[must_use]
    pub fn restricted_to(&self, kept: &[u64]) -> Self {
        let mut restricted = Self::default();
        for (number, page) in self.numbers.iter().zip(self.pages()) {
            if kept.binary_search(number).is_ok() {
                restricted.numbers.push(*number);
                restricted.bytes.extend_from_slice(page);
            }
        }
        restricted
    }
}

/// The common snapshot that replicas start from.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    pages: &'a [Page],
    total_pages: u64,
}

impl fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base")
            .field("image_pages", &self.pages.len())
            .field("total_pages", &self.total_pages)
            .finish()
    }
}

impl<'a> Base<'a> {
    /// Takes the snapshot's image and the size of the memory. The image may be shorter: what it
    /// does not reach is zeros.
    ///
    /// # Errors
    /// One of them is not made of whole pages, or the image is longer than the memory.
    pub fn new(image: &'a [u8], total_bytes: u64) -> Result<Self, MemoryError> {
        let (pages, rest) = image.as_chunks();
        let image_bytes = image.len() as u64;
        if !rest.is_empty() {
            return Err(MemoryError::Ragged { bytes: image_bytes });
        }
        if !total_bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Err(MemoryError::Ragged { bytes: total_bytes });
        }
        if image_bytes > total_bytes {
            return Err(MemoryError::ImageTooLong {
                image_bytes,
                total_bytes,
            });
        }
        let total_pages = total_bytes / PAGE_BYTES as u64;
        Ok(Self { pages, total_pages })
    }

    /// How many pages the memory has.
    #[must_use]
    pub const fn total_pages(&self) -> u64 {
        self.total_pages
    }

    /// How many bytes the memory has.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_pages * PAGE_BYTES as u64
    }

    /// One page of the snapshot.
    #[must_use]
    pub fn page(&self, number: u64) -> &'a Page {
        let page = usize::try_from(number)
            .ok()
            .and_then(|at| self.pages.get(at));
        page.unwrap_or(&ZEROS)
    }
}

/// A replica's memory, owned.
#[derive(Clone, PartialEq, Eq)]
pub enum Memory {
    /// What differs from the common snapshot, as far as the machine tells.
    Changed(ChangedPages),
    /// All of it.
    Full(Vec<u8>),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Changed(ChangedPages::default())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(pages) => f.debug_tuple("Changed").field(pages).finish(),
            Self::Full(image) => f.debug_tuple("Full").field(&image.len()).finish(),
        }
    }
}

impl Memory {
    /// The memory as comparison looks at it.
    #[must_use]
    pub fn view(&self) -> MemoryView<'_> {
        match self {
            Self::Changed(pages) => MemoryView::Changed(pages),
            Self::Full(image) => MemoryView::Full(image),
        }
    }

    /// How many pages it holds.
    #[must_use]
    pub fn pages(&self) -> u64 {
        match self {
            Self::Changed(pages) => pages.len() as u64,
            Self::Full(image) => (image.len() / PAGE_BYTES) as u64,
        }
    }
}

/// A replica's memory as comparison looks at it.
#[derive(Debug, Clone, Copy)]
pub enum MemoryView<'a> {
    /// Pages changed since the common snapshot.
    Changed(&'a ChangedPages),
    /// A full image.
    Full(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(numbers: &[u64]) -> ChangedPages {
        let bytes = numbers
            .iter()
            .flat_map(|number| [*number as u8; PAGE_BYTES]);
        ChangedPages::new(numbers.to_vec(), bytes.collect()).unwrap()
    }

    #[test]
    fn numbers_must_ascend_and_have_their_bytes() {
        let wrong = |numbers: &[u64], bytes| ChangedPages::new(numbers.to_vec(), vec![0; bytes]);
        assert_eq!(
            wrong(&[1, 1], 2 * PAGE_BYTES),
            Err(MemoryError::NotAscending { number: 1 })
        );
        assert_eq!(
            wrong(&[2, 1], 2 * PAGE_BYTES),
            Err(MemoryError::NotAscending { number: 1 })
        );
        assert_eq!(
            wrong(&[1, MAX_PAGE_NUMBERS], 2 * PAGE_BYTES),
            Err(MemoryError::BeyondAddresses {
                number: MAX_PAGE_NUMBERS
            })
        );
        assert_eq!(
            wrong(&[1], 4095),
            Err(MemoryError::WrongLength {
                pages: 1,
                bytes: 4095
            })
        );
    }

    #[test]
    fn pages_are_found_by_number() {
        let pages = pages(&[3, 5, 9]);
        assert_eq!(pages.page(5), Some(&[5; PAGE_BYTES]));
        assert_eq!(pages.page(4), None);
        let kept = pages.restricted_to(&[0, 3, 9, 11]);
        assert_eq!(kept.numbers(), [3, 9]);
        assert_eq!(kept.page(9), Some(&[9; PAGE_BYTES]));
    }

    #[test]
    fn beyond_its_image_a_snapshot_holds_zeros() {
        let image = vec![7; PAGE_BYTES];
        let base = Base::new(&image, 3 * PAGE_BYTES as u64).unwrap();
        assert_eq!(base.page(0), &[7; PAGE_BYTES]);
        assert_eq!(base.page(2), &[0; PAGE_BYTES]);
        assert_eq!(base.total_pages(), 3);
    }

    #[test]
    fn a_snapshot_is_made_of_whole_pages() {
        let image = vec![0; PAGE_BYTES + 1];
        let refused = |image, total| Base::new(image, total).unwrap_err();
        assert_eq!(refused(&image, 8192), MemoryError::Ragged { bytes: 4097 });
        assert_eq!(refused(&[], 5), MemoryError::Ragged { bytes: 5 });
        assert_eq!(
            refused(&image[..4096], 0),
            MemoryError::ImageTooLong {
                image_bytes: 4096,
                total_bytes: 0
            }
        );
    }
}
