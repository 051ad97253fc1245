//! A file of which pieces are kept: databases are read page by page, mostly one after the other.

use super::RpmError;
use disk::ReadAt;

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 128 << 10;

/// How many pieces are kept: a tree's inner pages, its leaves, and what is too long for them.
const PIECES_MAX: usize = 8;

/// A file, and the pieces of it that were read last.
#[derive(Debug)]
pub(super) struct Window<'f> {
    file: &'f dyn ReadAt,
    /// The last one that was read from comes last.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl<'f> Window<'f> {
    pub(super) fn new(file: &'f dyn ReadAt) -> Self {
        Self {
            file,
            pieces: Vec::new(),
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    /// Fills a buffer with the bytes from `offset` on.
    pub(super) fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), RpmError> {
        let mut at = offset;
        let mut left = buffer;
        while !left.is_empty() {
            let piece = self.piece(at.checked_div(PIECE_BYTES).unwrap_or(0))?;
            let within = at.checked_rem(PIECE_BYTES).unwrap_or(0);
            let there = usize::try_from(within).ok().and_then(|at| piece.get(at..));
            let there = there.filter(|there| !there.is_empty());
            let there = there.ok_or(RpmError::Form("it ends too early"))?;
            let count = there.len().min(left.len());
            let (now, later) = left.split_at_mut(count);
            now.copy_from_slice(there.get(..count).unwrap_or_default());
            left = later;
            at = at.saturating_add(count as u64);
        }
        Ok(())
    }

    /// An array from `offset` on.
    pub(super) fn array<const BYTES: usize>(
        &mut self,
        offset: u64,
    ) -> Result<[u8; BYTES], RpmError> {
        let mut bytes = [0; BYTES];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn piece(&mut self, number: u64) -> Result<&[u8], RpmError> {
        let place = self.pieces.iter().position(|(kept, _)| *kept == number);
        let piece = match place {
            Some(place) => self.pieces.remove(place),
            None => {
                let start = number.saturating_mul(PIECE_BYTES);
                let bytes = self.size_bytes().saturating_sub(start).min(PIECE_BYTES);
                let mut piece = vec![0; usize::try_from(bytes).unwrap_or(0)];
                self.file.read_exact_at(start, &mut piece)?;
                if self.pieces.len() >= PIECES_MAX {
                    self.pieces.remove(0);
                }
                (number, piece)
            }
        };
        self.pieces.push(piece);
        Ok(self
            .pieces
            .last()
            .map_or(&[], |(_, piece)| piece.as_slice()))
    }
}
