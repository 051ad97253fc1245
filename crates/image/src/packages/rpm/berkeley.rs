//! `Packages` as a hash of Berkeley DB, which rpm had up to version 4.15.
//!
//! ```text
//!  page 0   meta: …, 12 magic, 16 version, 20 page bytes, 32 last page      in the writer's byte order
//!  others   8 own number, 16 next page, 20 entries, 22 data bytes, 25 type
//!           26 places of entries: u16 each, keys and values by turns, from the end of the page
//!              down: an entry ends where the one before it begins
//! ```
//!
//! A value is in its place (type 1), or on pages of its own (type 3: page, bytes), which are a chain.
//! Every page of the hash is looked at in order, so its buckets need not be understood. Values of
//! fewer than eight bytes are rpm's counter, not a header.

use super::{RpmError, Take, Window, bounded};

const MAGIC: u32 = 0x0006_1561;

const PAGE_HASH_UNSORTED: u8 = 2;
const PAGE_OVERFLOW: u8 = 7;
const PAGE_HASH: u8 = 13;

const ITEM_HERE: u8 = 1;
const ITEM_ELSEWHERE: u8 = 3;

const PAGE_HEAD_BYTES: usize = 26;
const HEADER_BYTES_MIN: usize = 8;

struct Hash<'w, 'f> {
    file: &'w mut Window<'f>,
    page_bytes: u64,
    pages: u64,
    /// Whether numbers have their most significant byte first.
    is_big: bool,
}

pub(super) fn headers(file: &mut Window<'_>, take: &mut Take<'_>) -> Result<(), RpmError> {
    let meta: [u8; 72] = file.array(0)?;
    let is_big = match number(&meta, 12, false) {
        Some(MAGIC) => false,
        Some(other) if other.swap_bytes() == MAGIC => true,
        _ => {
            return Err(RpmError::Form(
                "it does not begin as a hash of Berkeley DB does",
            ));
        }
    };
    let page_bytes = number(&meta, 20, is_big).unwrap_or(0);
    if !(512..=65_536).contains(&page_bytes) || !page_bytes.is_power_of_two() {
        return Err(RpmError::Form("its pages have a length that none have"));
    }
    let there = file
        .size_bytes()
        .checked_div(page_bytes.into())
        .unwrap_or(0);
    let mut hash = Hash {
        page_bytes: page_bytes.into(),
        pages: there,
        is_big,
        file,
    };
    for number in 1..there {
        let page = hash.page(number)?;
        if matches!(page.get(25), Some(&(PAGE_HASH | PAGE_HASH_UNSORTED))) {
            hash.values(&page, take)?;
        }
    }
    Ok(())
}

impl Hash<'_, '_> {
    fn page(&mut self, number: u64) -> Result<Vec<u8>, RpmError> {
        if number >= self.pages {
            return Err(RpmError::Form("a page is past the end"));
        }
        let mut page = vec![0; usize::try_from(self.page_bytes).unwrap_or(0)];
        self.file
            .read(number.saturating_mul(self.page_bytes), &mut page)?;
        Ok(page)
    }

    fn values(&mut self, page: &[u8], take: &mut Take<'_>) -> Result<(), RpmError> {
        let wrong = || RpmError::Form("an entry of a page is not on it");
        let entries = usize::from(short(page, 20, self.is_big).unwrap_or(0));
        let mut places = Vec::new();
        for entry in 0..entries {
            let at = entry.saturating_mul(2).saturating_add(PAGE_HEAD_BYTES);
            places.push(usize::from(short(page, at, self.is_big).ok_or_else(wrong)?));
        }
        for pair in places.chunks_exact(2) {
            let [key, value] = *pair else { continue };
            let item = page.get(value..key).ok_or_else(wrong)?;
            match item.first() {
                Some(&ITEM_HERE) => {
                    let data = item.get(1..).unwrap_or_default();
                    if data.len() >= HEADER_BYTES_MIN {
                        take(data)?;
                    }
                }
                Some(&ITEM_ELSEWHERE) => {
                    let first = number(item, 4, self.is_big).ok_or_else(wrong)?;
                    let bytes = number(item, 8, self.is_big).ok_or_else(wrong)?;
                    take(&self.chain(first, bytes)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What lies on pages of its own.
    fn chain(&mut self, first: u32, bytes: u32) -> Result<Vec<u8>, RpmError> {
        let wrong = || RpmError::Form("a chain of pages is broken");
        let bytes = bounded(bytes.into(), self.file.size_bytes())?;
        let mut data = Vec::with_capacity(bytes);
        let mut next = first;
        while data.len() < bytes {
            let page = self.page(next.into())?;
            let count = usize::from(short(&page, 22, self.is_big).ok_or_else(wrong)?);
            let end = count.checked_add(PAGE_HEAD_BYTES).ok_or_else(wrong)?;
            let part = page.get(PAGE_HEAD_BYTES..end).ok_or_else(wrong)?;
            // Each page brings something, so a circle has an end.
            if page.get(25) != Some(&PAGE_OVERFLOW) || part.is_empty() {
                return Err(wrong());
            }
            let wanted = bytes.saturating_sub(data.len());
            data.extend_from_slice(part.get(..wanted).unwrap_or(part));
            next = number(&page, 16, self.is_big).ok_or_else(wrong)?;
        }
        Ok(data)
    }
}

fn number(bytes: &[u8], at: usize, is_big: bool) -> Option<u32> {
    let part: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(match is_big {
        true => u32::from_be_bytes(part),
        false => u32::from_le_bytes(part),
    })
}

fn short(bytes: &[u8], at: usize, is_big: bool) -> Option<u16> {
    let part: [u8; 2] = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(match is_big {
        true => u16::from_be_bytes(part),
        false => u16::from_le_bytes(part),
    })
}
