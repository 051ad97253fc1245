//! The disk that an image stands on, from where one of its extents begins.

use crate::bytes::saturate;
use crate::read_at::{Content, ReadAt as _, ReadError, Source, Stretch};

/// A part of the disk below. It may be shorter than the image above: behind its end are zeros.
#[derive(Debug)]
pub(super) struct Below {
    source: Source,
    start: u64,
}

impl Below {
    pub(super) fn new(source: &Source, start: u64) -> Self {
        let source = Source::clone(source);
        Self { source, start }
    }

    /// Where a byte of the extent lies in the disk, and how much of that is there.
    fn place(&self, offset: u64) -> (u64, u64) {
        let place = self.start.saturating_add(offset);
        (place, self.source.size_bytes().saturating_sub(place))
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let (place, there) = self.place(offset);
        let (there, missing) = buffer.split_at_mut(saturate(there).min(buffer.len()));
        missing.fill(0);
        match there.is_empty() {
            true => Ok(()),
            false => self.source.read_exact_at(place, there),
        }
    }

    pub(super) fn stretch(&self, offset: u64) -> Result<Stretch, ReadError> {
        match self.place(offset) {
            (_, 0) => Ok(Stretch {
                bytes: u64::MAX,
                content: Content::Zero,
            }),
            (place, _) => self.source.stretch_at(place),
        }
    }
}
