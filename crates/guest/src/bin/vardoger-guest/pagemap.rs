//! Where pages of this process are in the guest's physical memory, by `/proc/self/pagemap`.
//!
//! One little-endian 64-bit word for each page: bit 63 says that it is in memory, bits 0 to 54 are
//! its number there, or 0 for a process that may not know.

use crate::error::GuestError;
use crate::pages::Pages;
use computation::job::Extent;
use model::{GuestPhysicalAddress, PAGE_BYTES, PageNumber};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const PATH: &str = "/proc/self/pagemap";
const ENTRY_BYTES: usize = size_of::<u64>();
const PRESENT: u64 = 1 << 63;
const NUMBER: u64 = (1 << 55) - 1;

/// The addresses of the first pages.
pub(crate) fn addresses<const N: usize>(
    pages: &Pages,
) -> Result<[GuestPhysicalAddress; N], GuestError> {
    let found = page_numbers(pages, N * PAGE_BYTES)?;
    let addresses: Vec<_> = found.into_iter().map(PageNumber::address).collect();
    addresses
        .try_into()
        .map_err(|_| GuestError::Unmapped(pages.address()))
}

/// The extents that hold the first bytes, in their order.
pub(crate) fn extents(pages: &Pages, bytes: usize) -> Result<Vec<Extent>, GuestError> {
    let mut extents: Vec<Extent> = Vec::new();
    for page in page_numbers(pages, bytes)? {
        match extents.last_mut() {
            Some(last) if PageNumber::of(last.0).0 + last.1 == page.0 => last.1 += 1,
            _ => extents.push(Extent(page.address(), 1)),
        }
    }
    Ok(extents)
}

fn page_numbers(pages: &Pages, bytes: usize) -> Result<Vec<PageNumber>, GuestError> {
    let first = pages.address() / PAGE_BYTES;
    let count = bytes.min(pages.bytes()).div_ceil(PAGE_BYTES);
    let entries = read_entries(first, count);
    let entries = entries.map_err(|source| GuestError::Read { path: PATH, source })?;
    let number = |(index, entry): (usize, &[u8; ENTRY_BYTES])| {
        let entry = u64::from_le_bytes(*entry);
        let known = entry & PRESENT != 0 && entry & NUMBER != 0;
        known
            .then_some(PageNumber(entry & NUMBER))
            .ok_or(GuestError::Unmapped((first + index) * PAGE_BYTES))
    };
    entries
        .as_chunks()
        .0
        .iter()
        .enumerate()
        .map(number)
        .collect()
}

fn read_entries(first: usize, count: usize) -> io::Result<Vec<u8>> {
    let mut entries = vec![0; count * ENTRY_BYTES];
    File::open(PATH)?.read_exact_at(&mut entries, (first * ENTRY_BYTES) as u64)?;
    Ok(entries)
}
