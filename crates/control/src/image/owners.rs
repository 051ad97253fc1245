//! The worker's side of single places of a disk: their bytes, and what they are and whose.

use super::order::Part;
use super::talk::Talk;
use super::told::{Bytes, Told, ToldOwner};
use super::worker::WorkError;
use disk::{ReadAt, Source};
use image::files::{BlockClass, DiskFiles, Owned, Ranges, attribute};

/// Bytes that are told at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The smallest block that a volume begins with, or a file is made of.
const SECTOR_BYTES: u64 = 512;

/// Owners that are told at once.
const BATCH: usize = 256;

/// Tells the bytes of parts, in their order.
pub(super) fn read(talk: &Talk, disk: &dyn ReadAt, parts: &[Part]) -> Result<(), WorkError> {
    let mut buffer = Vec::new();
    for &(start, end) in parts {
        let mut at = start;
        while at < end {
            let length = PIECE_BYTES.min(end.saturating_sub(at));
            buffer.resize(usize::try_from(length).unwrap_or(0), 0);
            disk.read_exact_at(at, &mut buffer)?;
            talk.bytes(at, &buffer)?;
            at = at.saturating_add(length);
        }
    }
    Ok(())
}

/// Tells what parts are, and whose.
pub(super) fn tell(talk: &Talk, disk: Source, parts: &[Part]) -> Result<(), WorkError> {
    let files = DiskFiles::read(&[disk]);
    let parts = parts.iter().map(|&(start, end)| start..end).collect();
    let owned = attribute(&files, &[Ranges::new(parts)])?;
    let pieces: Vec<Owned> = owned.iter().flat_map(by_sector).collect();
    for batch in pieces.chunks(BATCH) {
        let told = batch.iter().map(|one| owner(&files, one)).collect();
        talk.item(&Told::Owners(told))?;
    }
    Ok(())
}

/// A part sector by sector: what one belongs to lies in one piece of its file, and what several do
/// need not.
fn by_sector(owned: &Owned) -> impl Iterator<Item = Owned> {
    let first = owned.bytes.start.checked_div(SECTOR_BYTES).unwrap_or(0);
    let end = owned.bytes.end.div_ceil(SECTOR_BYTES);
    (first..end).map(|sector| {
        let start = sector.saturating_mul(SECTOR_BYTES);
        let end = start.saturating_add(SECTOR_BYTES);
        Owned {
            bytes: start.max(owned.bytes.start)..end.min(owned.bytes.end),
            ..owned.clone()
        }
    })
}

fn owner(files: &DiskFiles, owned: &Owned) -> ToldOwner {
    let volume = owned.volume.and_then(|index| files.volumes.get(index));
    ToldOwner {
        start: owned.bytes.start,
        end: owned.bytes.end,
        class: owned.class.name().to_owned(),
        volume: volume.map(|one| (one.volume.name.clone(), one.volume.kind.name().to_owned())),
        object: owned.object.map(|object| object.0),
        path: owned.path.clone().map(Bytes),
        offset: offset(files, owned),
    }
}

/// How far into its file a part of the disk lies.
fn offset(files: &DiskFiles, owned: &Owned) -> Option<u64> {
    let object = owned.object.filter(|_| owned.class == BlockClass::File)?;
    let one = files.volumes.get(owned.volume?)?;
    let mut before = 0_u64;
    let mut place = None;
    for part in &one.volume.places {
        if let Some(within) = owned.bytes.start.checked_sub(part.start)
            && within < part.bytes
        {
            place = before.checked_add(within);
        }
        before = before.checked_add(part.bytes)?;
    }
    let tree = &one.files.as_ref().ok()?.tree;
    let block_bytes = tree.block_bytes();
    let (block, within) = (
        place?.checked_div(block_bytes)?,
        place?.checked_rem(block_bytes)?,
    );
    let mut extents = tree.extents(object).iter();
    let extent = extents.find(|extent| {
        let into = block.checked_sub(extent.physical);
        into.is_some_and(|into| into < u64::from(extent.blocks))
    })?;
    let logical = extent
        .logical
        .checked_add(block.checked_sub(extent.physical)?)?;
    logical.checked_mul(block_bytes)?.checked_add(within)
}
