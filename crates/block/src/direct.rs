//! Files read past the page cache.
//!
//! A disk is read once and is larger than memory: in the page cache it would only push out what
//! others need, and cost the reclaiming of its pages. With `O_DIRECT` the device writes into our
//! buffers, which must be aligned; there are a few, and they are used again. Where a file system
//! cannot do that (`tmpfs`), the file is read as any other.

use disk::read_at::check_range;
use disk::{ALIGNMENT, AlignedBuffer, Content, ReadAt, ReadError, Stretch};
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The length of a buffer, and so the most that is read at once: large enough that a disk is kept
/// busy, small enough for a processor's cache.
const BUFFER_BYTES: usize = 1 << 20;

/// The most buffers that are kept for later.
const BUFFERS_KEPT: usize = 4;

/// A file or device, read-only.
#[derive(Debug)]
pub struct DirectFile {
    file: File,
    size_bytes: u64,
    direct: bool,
    buffers: Mutex<Vec<AlignedBuffer>>,
}

impl DirectFile {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, or its length is not known.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let (file, direct) = match open(path, flags | OFlags::DIRECT, Mode::empty()) {
            Ok(file) => (file, true),
            Err(Errno::INVAL) => (open(path, flags, Mode::empty())?, false),
            Err(error) => return Err(error.into()),
        };
        Self::new(file.into(), direct)
    }

    /// Takes a file that is open already, by `O_DIRECT` or not.
    ///
    /// # Errors
    /// Its length is not known.
    pub fn of(file: File) -> io::Result<Self> {
        let direct = rustix::fs::fcntl_getfl(&file)?.contains(OFlags::DIRECT);
        Self::new(file, direct)
    }

    fn new(file: File, direct: bool) -> io::Result<Self> {
        let size_bytes = seek(&file, SeekFrom::End(0))?;
        Ok(Self {
            file,
            size_bytes,
            direct,
            buffers: Mutex::new(Vec::new()),
        })
    }

    /// Whether it is read past the page cache.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.direct
    }

    /// Whether the device can write into a caller's buffer, so that nothing has to be copied.
    fn is_aligned(offset: u64, buffer: &[u8]) -> bool {
        offset.is_multiple_of(ALIGNMENT as u64)
            && buffer.len().is_multiple_of(ALIGNMENT)
            && buffer.as_ptr().align_offset(ALIGNMENT) == 0
    }

    /// Reads by aligned pieces, and takes out of each what was asked for.
    fn read_pieces(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut buffer = self.take_buffer();
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let before = usize::try_from(at % ALIGNMENT as u64).unwrap_or(0);
            let length = (before + rest.len())
                .next_multiple_of(ALIGNMENT)
                .min(BUFFER_BYTES);
            let wanted = rest.len().min(length - before);
            let piece = buffer.first(length);
            self.read_to(at - before as u64, piece, before + wanted)?;
            let (now, later) = rest.split_at_mut(wanted);
            now.copy_from_slice(&piece[before..before + wanted]);
            at += wanted as u64;
            rest = later;
        }
        self.keep_buffer(buffer);
        Ok(())
    }

    /// Reads until `enough` bytes of a piece are there: at the file's end there are no more.
    fn read_to(&self, offset: u64, piece: &mut [u8], enough: usize) -> io::Result<()> {
        let mut have = 0;
        while have < enough {
            // Only at the end is a reading short, and then it is all there is: what follows a
            // reading that ended in between is aligned.
            match self.file.read_at(&mut piece[have..], offset + have as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_buffer(&self) -> AlignedBuffer {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = buffers.pop();
        kept.unwrap_or_else(|| AlignedBuffer::new(BUFFER_BYTES))
    }

    fn keep_buffer(&self, buffer: AlignedBuffer) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    }
}

impl ReadAt for DirectFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.size_bytes, offset, buffer.len() as u64)?;
        let done = if self.direct && Self::is_aligned(offset, buffer) {
            let enough = buffer.len();
            self.read_to(offset, buffer, enough)
        } else if self.direct {
            self.read_pieces(offset, buffer)
        } else {
            self.file.read_exact_at(buffer, offset)
        };
        done.map_err(|source| ReadError::Io { offset, source })
    }

    /// Holes of a sparse file are zeros; a file system or device that does not know says data.
    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.size_bytes, offset, 1)?;
        let left = self.size_bytes - offset;
        let to = |end: u64| (end.min(self.size_bytes) - offset).clamp(1, left);
        let (bytes, content) = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) if data > offset => (to(data), Content::Zero),
            Ok(_) => match seek(&self.file, SeekFrom::Hole(offset)) {
                Ok(hole) if hole > offset => (to(hole), Content::Data),
                _ => (left, Content::Data),
            },
            // There is no data from here on.
            Err(Errno::NXIO) => (left, Content::Zero),
            Err(_) => (left, Content::Data),
        };
        Ok(Stretch { bytes, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        // Under the build directory, which lies on a disk; the usual place may be memory.
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let mut file = tempfile::NamedTempFile::new_in(place)
            .or_else(|_| tempfile::NamedTempFile::new())
            .unwrap();
        file.write_all(content).unwrap();
        file
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_part_is_read_as_it_was_written(
            bytes in 1_usize..3 << 20, from in any::<u64>(), length in any::<u64>(),
        ) {
            let content: Vec<u8> = (0..bytes).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
            let file = file(&content);
            let from = (from % bytes as u64) as usize;
            let length = (length % (bytes - from + 1) as u64) as usize;
            for direct in [DirectFile::open(file.path()), DirectFile::of(file.reopen().unwrap())] {
                let direct = direct.unwrap();
                let mut read = vec![0; length];
                direct.read_exact_at(from as u64, &mut read).unwrap();
                prop_assert_eq!(&read[..], &content[from..from + length]);
                // What is aligned is read without a copy.
                let (from, length) = (from & !(ALIGNMENT - 1), length & !(ALIGNMENT - 1));
                let mut memory = AlignedBuffer::new(length);
                let read = memory.first(length);
                prop_assert!(DirectFile::is_aligned(from as u64, read));
                direct.read_exact_at(from as u64, read).unwrap();
                prop_assert_eq!(&read[..], &content[from..from + length]);
            }
        }
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let file = file(&[7; 5000]);
        let direct = DirectFile::open(file.path()).unwrap();
        assert_eq!(direct.size_bytes(), 5000);
        let past = direct.read_exact_at(4999, &mut [0; 2]);
        assert!(matches!(past, Err(ReadError::PastEnd { .. })), "{past:?}");
        assert!(direct.stretch_at(5000).is_err());
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let file = file(&[7; 10_000]);
        let direct = DirectFile::open(file.path()).unwrap();
        file.as_file().set_len(4096).unwrap();
        let gone = direct.read_exact_at(4000, &mut [0; 200]);
        assert!(matches!(gone, Err(ReadError::Io { .. })), "{gone:?}");
    }

    #[test]
    fn holes_are_told() {
        let file = file(&[7; 1 << 16]);
        file.as_file().set_len(1 << 20).unwrap();
        let direct = DirectFile::open(file.path()).unwrap();
        let (mut at, mut zeros) = (0, 0);
        while at < direct.size_bytes() {
            let stretch = direct.stretch_at(at).unwrap();
            assert!(at >= 1 << 16 || stretch.content == Content::Data);
            if stretch.content == Content::Zero {
                zeros += stretch.bytes;
            }
            at += stretch.bytes;
        }
        // A file system without holes tells none.
        assert!(zeros == 0 || zeros == (1 << 20) - (1 << 16), "{zeros}");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let missing = DirectFile::open(Path::new("/nonexistent/image"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
