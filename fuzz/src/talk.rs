//! Readers of what another process says: a server of the block protocol, and a worker that an image
//! may have taken over.

use block::nbd::{Export, dirty_bitmap};
use disk::ReadAt;
use std::io::{self, Cursor, Read, Write};

#[path = "../../crates/control/src/image/wire.rs"]
#[allow(
    dead_code,
    reason = "the words are the product's own file; only their reading is tried here"
)]
mod words;

/// A server that says what it was going to say, whatever it hears.
#[derive(Debug)]
struct Recording(Cursor<Vec<u8>>);

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn nbd(bytes: &[u8]) {
    let context = dirty_bitmap("vardoger-x");
    let server = Recording(Cursor::new(bytes.to_vec()));
    let Ok(export) = Export::over(server, "x", std::slice::from_ref(&context)) else {
        return;
    };
    let mut buffer = [0xee; 4096];
    let _data_or_error = export.read_exact_at(16, &mut buffer[..8]);
    let _data_or_error = export.read_exact_at(0, &mut buffer);
    if let Ok(extents) = export.extents(&context, 0..export.size_bytes().min(1 << 20)) {
        assert!(extents.iter().all(|extent| extent.bytes > 0));
    }
    assert!(export.stretch_at(0).map_or(1, |stretch| stretch.bytes) > 0);
}

pub(crate) fn wire(bytes: &[u8]) {
    if let Some((word, rest)) = words::read::<words::Word>(bytes) {
        let again = [&words::line(&word)[..], rest].concat();
        assert_eq!(words::read::<words::Word>(&again), Some((word, rest)));
    }
    if let Some((reply, rest)) = words::read::<words::Reply>(bytes) {
        let again = [&words::line(&reply)[..], rest].concat();
        assert_eq!(words::read::<words::Reply>(&again), Some((reply, rest)));
    }
}
