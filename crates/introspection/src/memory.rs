//! Guest memory as it was captured: pages by number, and numbers and text read out of them.
//!
//! Nothing here trusts an address: what lies outside the memory reads as nothing.

use model::PAGE_BYTES;

/// A page of memory.
pub type Page = [u8; PAGE_BYTES];

/// Bytes of a page, as an address counts them.
pub(crate) const PAGE: u64 = PAGE_BYTES as u64;

/// The most bytes that one read takes: the type information of a kernel has a few MiB, its names
/// less.
pub(crate) const MAX_READ_BYTES: u64 = 64 << 20;

/// Captured guest-physical memory, whole.
pub trait PhysicalMemory: Sync {
    /// How many pages there are; they count from 0.
    fn pages(&self) -> u64;

    /// One page; nothing where no memory is.
    fn page(&self, number: u64) -> Option<&Page>;
}

/// Memory as one piece of bytes; what does not fill a page at its end is left out.
#[derive(Debug, Clone, Copy)]
pub struct MemoryImage<'a>(pub &'a [u8]);

impl PhysicalMemory for MemoryImage<'_> {
    fn pages(&self) -> u64 {
        self.0.as_chunks::<PAGE_BYTES>().0.len() as u64
    }

    fn page(&self, number: u64) -> Option<&Page> {
        let pages = self.0.as_chunks::<PAGE_BYTES>().0;
        pages.get(usize::try_from(number).ok()?)
    }
}

/// Fills `into` from an address; nothing where not all of it is memory.
pub(crate) fn read(memory: &dyn PhysicalMemory, address: u64, into: &mut [u8]) -> Option<()> {
    let mut at = address;
    let mut rest = into;
    while !rest.is_empty() {
        let page = memory.page(at / PAGE)?;
        let from = page.get(usize::try_from(at % PAGE).ok()?..)?;
        let length = from.len().min(rest.len());
        let (now, later) = rest.split_at_mut(length);
        now.copy_from_slice(from.get(..length)?);
        rest = later;
        at = at.checked_add(length as u64)?;
    }
    Some(())
}

/// `length` bytes from an address.
pub(crate) fn read_bytes(
    memory: &dyn PhysicalMemory,
    address: u64,
    length: u64,
) -> Option<Vec<u8>> {
    if length > MAX_READ_BYTES || length > memory.pages().saturating_mul(PAGE) {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    read(memory, address, &mut bytes)?;
    Some(bytes)
}

/// A number of 64 bits.
pub(crate) fn read_u64(memory: &dyn PhysicalMemory, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    read(memory, address, &mut bytes)?;
    Some(u64::from_le_bytes(bytes))
}

/// A number of 32 bits at an offset of bytes.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let found = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(found.try_into().ok()?))
}

/// A number of 64 bits at an offset of bytes.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let found = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(found.try_into().ok()?))
}

/// The text up to the first zero, as printable ASCII, at most `limit` bytes. What cannot be
/// printed becomes `?`.
pub(crate) fn printable(bytes: &[u8], limit: usize) -> String {
    bytes
        .iter()
        .take(limit)
        .take_while(|byte| **byte != 0)
        .map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_pages_and_end_with_the_memory() {
        let mut bytes = vec![0_u8; 2 * PAGE_BYTES];
        bytes[PAGE_BYTES - 2..PAGE_BYTES + 6]
            .copy_from_slice(&0x1122_3344_5566_7788_u64.to_le_bytes());
        let memory = &MemoryImage(&bytes);
        assert_eq!(read_u64(memory, PAGE - 2), Some(0x1122_3344_5566_7788));
        assert_eq!(read_u64(memory, 2 * PAGE - 7), None);
        assert_eq!(read_u64(memory, u64::MAX - 3), None);
        assert_eq!(read_bytes(memory, 0, u64::MAX), None);
        assert_eq!(read_bytes(memory, 8, 2), Some(vec![0, 0]));
    }

    #[test]
    fn text_of_a_guest_is_printable_and_bounded() {
        assert_eq!(printable(b"a\x1b[31mb\0c", 16), "a?[31mb");
        assert_eq!(printable(&[b'x'; 100], 4), "xxxx");
        assert_eq!(printable("ä".as_bytes(), 4), "??");
    }
}
