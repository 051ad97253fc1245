//! rpm's own database, `Packages.db`, which SUSE has.
//!
//! ```text
//!  0  "RpmP" │ version │ generation │ pages of slots │ next index │ …          32 bytes
//! 32  slots: "Slot" │ index │ block │ blocks                      16 bytes each, up to a page's end
//!     blobs, in blocks of 16 bytes: "BlbS" │ index │ generation │ bytes │ data │ sum │ bytes │ "BlbE"
//! ```
//!
//! All numbers are little-endian words. A slot without blocks is free. The sums are not checked: a
//! damaged header is found to be one, and somebody who writes headers writes their sums.

use super::{RpmError, Take, Window, bounded};

const MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");

const PAGE_BYTES: u64 = 4096;
const SLOT_BYTES: u64 = 16;
const FIRST_SLOT: u64 = 32;
const BLOCK_BYTES: u64 = 16;
const BLOB_HEAD_BYTES: u64 = 16;

/// The most pages of slots: a million packages.
const SLOT_PAGES_MAX: u32 = 4096;

pub(super) fn headers(file: &mut Window<'_>, take: &mut Take<'_>) -> Result<(), RpmError> {
    let [magic, version, _, pages] = words(file, 0)?;
    if magic != MAGIC || version != 0 {
        return Err(RpmError::Form(
            "it does not begin as rpm's own database does",
        ));
    }
    if pages > SLOT_PAGES_MAX {
        return Err(RpmError::Limit("slots"));
    }
    let mut at = FIRST_SLOT;
    let end = u64::from(pages).saturating_mul(PAGE_BYTES);
    while at < end {
        let [magic, index, block, blocks] = words(file, at)?;
        if magic != SLOT {
            return Err(RpmError::Form("a slot is none"));
        }
        if block != 0 {
            blob(file, index, block, blocks, take)?;
        }
        at = at.saturating_add(SLOT_BYTES);
    }
    Ok(())
}

fn blob(
    file: &mut Window<'_>,
    index: u32,
    block: u32,
    blocks: u32,
    take: &mut Take<'_>,
) -> Result<(), RpmError> {
    let start = u64::from(block).saturating_mul(BLOCK_BYTES);
    let room = u64::from(blocks).saturating_mul(BLOCK_BYTES);
    let [magic, owner, _, bytes] = words(file, start)?;
    if magic != BLOB || owner != index || u64::from(bytes) > room {
        return Err(RpmError::Form("a slot leads to no blob of its own"));
    }
    let mut data = vec![0; bounded(bytes.into(), file.size_bytes())?];
    file.read(start.saturating_add(BLOB_HEAD_BYTES), &mut data)?;
    take(&data)
}

fn words(file: &mut Window<'_>, at: u64) -> Result<[u32; 4], RpmError> {
    let bytes: [u8; 16] = file.array(at)?;
    let mut words = [0; 4];
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes(part.try_into().unwrap_or_default());
    }
    Ok(words)
}
