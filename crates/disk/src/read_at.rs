//! [`ReadAt`]: bytes by their place. A file, an export over the network, a buffer or another image
//! can stand behind it; this crate opens nothing by itself.

use std::fmt::Debug;
use std::sync::Arc;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// More was asked for than there is.
    #[error("{bytes} bytes at byte {offset} reach past the end at byte {size_bytes}")]
    PastEnd {
        /// Where the reading was to start.
        offset: u64,
        /// How much was asked for.
        bytes: u64,
        /// Where the source ends.
        size_bytes: u64,
    },
    /// The bytes lie on a disk that is not at hand.
    #[error("byte {offset} lies on a disk below that was not given")]
    Absent {
        /// Where the reading was to start.
        offset: u64,
    },
    /// The system could not read what lies behind the source.
    #[error("cannot read at byte {offset}")]
    Io {
        /// Where the reading was to start.
        offset: u64,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A format that lies in between does not lead to the bytes.
    #[error("cannot find byte {offset}")]
    Format {
        /// Where the reading was to start.
        offset: u64,
        /// What is wrong with the format.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a part of a source holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Bytes that were written.
    Data,
    /// Zeros that need not be read.
    Zero,
}

/// A part of a source that is all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stretch {
    /// How far it goes; never 0.
    pub bytes: u64,
    /// What it holds.
    pub content: Content,
}

/// Bytes by their place.
///
/// Reading takes `&self`, so that several threads may read one source. The size does not change
/// while the source is in use.
pub trait ReadAt: Debug + Send + Sync {
    /// How many bytes there are.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// When not all of them are there or can be read; the buffer may then hold anything.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError>;

    /// What lies at `offset`, and how far it goes on in the same way. A source that knows its holes
    /// tells them, so that nobody reads them; by default all is data.
    ///
    /// # Errors
    ///
    /// When `offset` is at the end or past it, or when the source's own structures are damaged.
    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes(), offset, 1)?;
        Ok(Stretch {
            bytes: self.size_bytes().saturating_sub(offset),
            content: Content::Data,
        })
    }

    /// How many images lie on top of each other here; 1 where nothing is below.
    fn depth(&self) -> u32 {
        1
    }
}

/// A source that several readers share.
pub type Source = Arc<dyn ReadAt>;

impl ReadAt for [u8] {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let start = crate::bytes::saturate(offset);
        let end = start.saturating_add(buffer.len());
        let bytes = self.get(start..end).ok_or(ReadError::PastEnd {
            offset,
            bytes: buffer.len() as u64,
            size_bytes: self.len() as u64,
        })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.as_slice().read_exact_at(offset, buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_exact_at(offset, buffer)
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        (**self).stretch_at(offset)
    }

    fn depth(&self) -> u32 {
        (**self).depth()
    }
}

/// Stands for a disk below that is not at hand, where only what lies above it is of interest: its
/// map, its bitmaps, what it holds itself. Whoever reads through to it gets an error, not zeros.
#[derive(Clone, Copy, Debug)]
pub struct Absent;

impl ReadAt for Absent {
    /// It has no end, so that nothing is taken for zeros that come after it.
    fn size_bytes(&self) -> u64 {
        u64::MAX
    }

    fn read_exact_at(&self, offset: u64, _buffer: &mut [u8]) -> Result<(), ReadError> {
        Err(ReadError::Absent { offset })
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        Err(ReadError::Absent { offset })
    }
}

/// A part of a source, as a source: a partition, or a volume.
#[derive(Clone, Debug)]
pub struct Window {
    source: Source,
    start: u64,
    bytes: u64,
}

impl Window {
    /// `bytes` bytes of `source` from `start` on.
    ///
    /// # Errors
    ///
    /// When `source` does not hold them all.
    pub fn new(source: Source, start: u64, bytes: u64) -> Result<Self, ReadError> {
        check_range(source.size_bytes(), start, bytes)?;
        Ok(Self {
            source,
            start,
            bytes,
        })
    }
}

impl ReadAt for Window {
    fn size_bytes(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.bytes, offset, buffer.len() as u64)?;
        let place = self.start.saturating_add(offset);
        self.source.read_exact_at(place, buffer)
    }

    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.bytes, offset, 1)?;
        let stretch = self.source.stretch_at(self.start.saturating_add(offset))?;
        let rest = self.bytes.saturating_sub(offset);
        Ok(Stretch {
            bytes: stretch.bytes.min(rest),
            ..stretch
        })
    }

    fn depth(&self) -> u32 {
        self.source.depth()
    }
}

/// Whether `bytes` bytes at `offset` lie within `size_bytes`: what every source asks first.
///
/// # Errors
///
/// They do not.
pub fn check_range(size_bytes: u64, offset: u64, bytes: u64) -> Result<(), ReadError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= size_bytes => Ok(()),
        _ => Err(ReadError::PastEnd {
            offset,
            bytes,
            size_bytes,
        }),
    }
}

/// Reads `bytes` bytes into new memory. The caller has limited `bytes`; none is taken for what the
/// source does not have.
pub(crate) fn read_new(
    source: &dyn ReadAt,
    offset: u64,
    bytes: usize,
) -> Result<Vec<u8>, ReadError> {
    check_range(source.size_bytes(), offset, bytes as u64)?;
    let mut buffer = vec![0; bytes];
    source.read_exact_at(offset, &mut buffer)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &dyn ReadAt, offset: u64, bytes: usize) -> Result<Vec<u8>, ReadError> {
        read_new(source, offset, bytes)
    }

    #[test]
    fn bytes_are_read_by_their_place() {
        let bytes = vec![1, 2, 3, 4];
        assert_eq!(read(&bytes, 1, 2).unwrap(), [2, 3]);
        assert_eq!(read(&bytes, 4, 0).unwrap(), []);
        assert!(matches!(
            read(&bytes, 3, 2),
            Err(ReadError::PastEnd { size_bytes: 4, .. })
        ));
        assert!(read(&bytes, u64::MAX, 1).is_err());
    }

    #[test]
    fn a_window_shows_its_part_only() {
        let source: Source = Arc::new(vec![1, 2, 3, 4, 5]);
        let window = Window::new(Arc::clone(&source), 1, 3).unwrap();
        assert_eq!(read(&window, 0, 3).unwrap(), [2, 3, 4]);
        assert!(read(&window, 1, 3).is_err());
        assert_eq!(window.stretch_at(1).unwrap().bytes, 2);
        assert!(window.stretch_at(3).is_err());
        assert!(Window::new(source, 3, 3).is_err());
    }
}
