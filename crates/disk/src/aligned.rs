//! Memory that a device can read from and write into: past the page cache nothing is copied.

/// What such memory begins at, and what lengths and places on the disk are multiples of then: the
/// largest logical block of disks.
pub const ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// So many zeros.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes.saturating_add(ALIGNMENT)];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start }
    }

    /// Its first bytes; fewer if it has not as many.
    pub fn first(&mut self, bytes: usize) -> &mut [u8] {
        let room = self.memory.get_mut(self.start..).unwrap_or_default();
        let bytes = bytes.min(room.len());
        room.split_at_mut(bytes).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_a_device_can_write() {
        for bytes in [0, 1, 4096, 1 << 20] {
            let mut buffer = AlignedBuffer::new(bytes);
            let first = buffer.first(bytes);
            assert_eq!(first.len(), bytes);
            assert_eq!(first.as_ptr().align_offset(ALIGNMENT), 0);
        }
    }
}
