//! What a program writes to one of its streams: lines for the log up to a limit, and a digest over
//! all of it.

use crate::error::GuestError;
use crate::host::Host;
use computation::job::{Message, StreamEnd};

/// The most lines of a stream that go into the log: two streams leave room for our own lines below
/// what the host takes.
const MAX_LINES: u64 = 4000;
/// The most bytes of a stream that go into the log. Each costs some microseconds on its way.
const MAX_BYTES: u64 = 256 << 10;
/// The most bytes of a line in the log; a longer one goes on in the next.
const MAX_LINE_BYTES: usize = 4096;

/// One stream.
pub(super) struct Stream {
    name: &'static str,
    hasher: blake3::Hasher,
    /// The line that is being collected.
    line: Vec<u8>,
    lines: u64,
    sent_bytes: u64,
    bytes: u64,
}

impl Stream {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            hasher: blake3::Hasher::new(),
            line: Vec::new(),
            lines: 0,
            sent_bytes: 0,
            bytes: 0,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Takes what was read.
    pub(super) fn take(&mut self, host: &Host, bytes: &[u8]) -> Result<(), GuestError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.has_room() {
                break;
            }
            for piece in part.chunks(MAX_LINE_BYTES) {
                self.line.extend_from_slice(piece);
                let ends = self.line.ends_with(b"\n");
                if ends || self.line.len() >= MAX_LINE_BYTES {
                    self.send(host)?;
                }
            }
        }
        Ok(())
    }

    /// Sends a last line that has no end, and says where the log was cut.
    pub(super) fn finish(&mut self, host: &Host) -> Result<(), GuestError> {
        if !self.line.is_empty() && self.has_room() {
            self.send(host)?;
        }
        let StreamEnd {
            bytes,
            bytes_not_sent,
        } = self.end();
        if bytes_not_sent == 0 {
            return Ok(());
        }
        let name = self.name;
        host.say(&Message::Log(format!(
            "{name}: cut here, {bytes_not_sent} of {bytes} bytes follow"
        )))
    }

    /// How much came, and how much of it is in the log.
    pub(super) const fn end(&self) -> StreamEnd {
        StreamEnd {
            bytes: self.bytes,
            bytes_not_sent: self.bytes - self.sent_bytes,
        }
    }

    /// The BLAKE3 digest of all that came.
    pub(super) fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    const fn has_room(&self) -> bool {
        self.lines < MAX_LINES && self.sent_bytes < MAX_BYTES
    }

    fn send(&mut self, host: &Host) -> Result<(), GuestError> {
        self.lines += 1;
        self.sent_bytes += self.line.len() as u64;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let text = String::from_utf8_lossy(line);
        let said = host.say(&Message::Log(format!("{}: {text}", self.name)));
        self.line.clear();
        said
    }
}
