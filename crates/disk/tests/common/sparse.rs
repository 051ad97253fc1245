//! Images that are mostly zeros, kept as what is not: small enough to be damaged thousands of times.

use disk::read_at::check_range;
use disk::{ReadAt, ReadError};
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

/// Which pages are there, in order, and how long all is.
#[derive(Debug, Clone)]
pub struct Pages {
    places: Arc<Vec<u64>>,
    bytes: u64,
}

/// An image out of its pages, whose bytes may have been damaged or cut.
#[derive(Debug)]
pub struct Sparse {
    pub pages: Pages,
    pub packed: Vec<u8>,
}

impl Pages {
    /// The pages of an image that are not zeros, one after the other, and where they are.
    pub fn pack(image: &[u8]) -> (Self, Vec<u8>) {
        let (mut places, mut packed) = (Vec::new(), Vec::new());
        for (page, bytes) in image.chunks(PAGE_BYTES).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                places.push(page as u64);
                packed.extend_from_slice(bytes);
                packed.resize(places.len() * PAGE_BYTES, 0);
            }
        }
        let places = Arc::new(places);
        let bytes = image.len() as u64;
        (Self { places, bytes }, packed)
    }

    /// As a file, and out of one: counts, places, pages.
    pub fn to_file(&self, packed: &[u8]) -> Vec<u8> {
        let numbers = [self.bytes, self.places.len() as u64];
        let numbers = numbers.iter().chain(self.places.iter());
        let mut file: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        file.extend_from_slice(packed);
        file
    }

    pub fn from_file(file: &[u8]) -> (Self, Vec<u8>) {
        let number = |at: usize| u64::from_le_bytes(file[at * 8..at * 8 + 8].try_into().unwrap());
        let count = number(1) as usize;
        let places: Vec<u64> = (0..count).map(|index| number(2 + index)).collect();
        let pages = Self {
            places: Arc::new(places),
            bytes: number(0),
        };
        (pages, file[(2 + count) * 8..].to_vec())
    }
}

impl ReadAt for Sparse {
    fn size_bytes(&self) -> u64 {
        self.pages.bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.pages.bytes, offset, buffer.len() as u64)?;
        buffer.fill(0);
        let page_bytes = PAGE_BYTES as u64;
        let end = offset + buffer.len() as u64;
        let first = self
            .pages
            .places
            .partition_point(|page| (page + 1) * page_bytes <= offset);
        for (index, page) in self.pages.places.iter().enumerate().skip(first) {
            let start = page * page_bytes;
            if start >= end {
                break;
            }
            let (from, to) = (start.max(offset), (start + page_bytes).min(end));
            let place = index * PAGE_BYTES + (from - start) as usize;
            let target = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            let Some(bytes) = self.packed.get(place..place + target.len()) else {
                // Cut off.
                return Err(ReadError::PastEnd {
                    offset,
                    bytes: end - offset,
                    size_bytes: start,
                });
            };
            target.copy_from_slice(bytes);
        }
        Ok(())
    }
}
