//! An export of a running machine's disk, into a changeset: whole, or what a bitmap says.

use super::error::ImageError;
use super::room::RoomWatch;
use block::nbd::{DIRTY, Export, NbdError};
use disk::{ReadAt, ReadError, Stretch};
use image::BLOCK_BYTES;
use image::writer::ChangesetWriter;
use std::ops::Range;

/// Bytes that are asked for at once.
const BATCH_BYTES: u64 = 8 << 20;

/// An export that is read while there is room for what the guest overwrites.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched<'a> {
    pub(super) export: &'a Export,
    pub(super) watch: &'a RoomWatch,
}

impl ReadAt for Watched<'_> {
    fn size_bytes(&self) -> u64 {
        self.export.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let gone = |source| ReadError::Io { offset, source };
        self.watch.check().map_err(gone)?;
        self.export.read_exact_at(offset, buffer)
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        self.export.stretch_at(offset)
    }
}

/// Writes all of an export. Says how much was read.
pub(super) fn whole(
    export: &Watched<'_>,
    writer: &mut ChangesetWriter<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<u64, ImageError> {
    let blocks = export.size_bytes().div_ceil(BLOCK_BYTES);
    let piece = BATCH_BYTES / BLOCK_BYTES;
    let mut at = 0;
    while at < blocks {
        let end = at.saturating_add(piece).min(blocks);
        writer.write_from(export, at..end)?;
        progress(end.saturating_mul(BLOCK_BYTES), export.size_bytes());
        at = end;
    }
    Ok(export.size_bytes())
}

/// Reads what a bitmap says, many blocks at a time, and writes it in order.
pub(super) fn dirty(
    Watched { export, watch }: &Watched<'_>,
    context: &str,
    writer: &mut ChangesetWriter<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<u64, ImageError> {
    let extents = export.extents(context, 0..export.size_bytes())?;
    let parts = extents.iter().filter(|extent| extent.flags & DIRTY != 0);
    let parts: Vec<Range<u64>> = parts
        .flat_map(|extent| split(extent.offset..extent.offset.saturating_add(extent.bytes)))
        .collect();
    let bytes = |part: &Range<u64>| part.end.saturating_sub(part.start);
    let all: u64 = parts.iter().map(bytes).sum();
    let mut done = 0;
    let mut rest = parts.as_slice();
    while !rest.is_empty() {
        let mut sum = 0;
        let fitting = rest.iter().take_while(|part| {
            sum += bytes(part);
            sum <= BATCH_BYTES
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        watch.check().map_err(NbdError::from)?;
        for (part, content) in read(export, now)? {
            writer.write(part.start / BLOCK_BYTES, &content)?;
            done += bytes(&part);
        }
        progress(done, all);
        rest = later;
    }
    Ok(all)
}

/// A part in pieces of which each fits into a batch.
fn split(part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = part.end;
    let step = usize::try_from(BATCH_BYTES).unwrap_or(usize::MAX);
    let starts = part.step_by(step);
    starts.map(move |start| start..start.saturating_add(BATCH_BYTES).min(end))
}

/// A part of a disk and its bytes.
type Taken = (Range<u64>, Vec<u8>);

/// Reads parts, which ascend, and gives each as whole blocks: what lies beyond the end is zeros.
fn read(export: &Export, parts: &[Range<u64>]) -> Result<Vec<Taken>, ImageError> {
    let whole = |part: &Range<u64>| {
        let bytes = part
            .end
            .saturating_sub(part.start)
            .next_multiple_of(BLOCK_BYTES);
        vec![0; usize::try_from(bytes).unwrap_or(0)]
    };
    let mut taken: Vec<_> = parts
        .iter()
        .map(|part| (part.clone(), whole(part)))
        .collect();
    let strange = || NbdError::from(std::io::Error::other("a piece that was not asked for"));
    export.read_parts(parts.iter().cloned(), |at, bytes| {
        let place = parts.partition_point(|part| part.end <= at);
        let (part, content) = taken.get_mut(place).ok_or_else(strange)?;
        let from = at.checked_sub(part.start).ok_or_else(strange)?;
        let from = usize::try_from(from).map_err(|_| strange())?;
        let into = content.get_mut(from..from.saturating_add(bytes.len()));
        into.ok_or_else(strange)?.copy_from_slice(bytes);
        Ok::<(), NbdError>(())
    })?;
    Ok(taken)
}
