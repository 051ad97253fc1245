//! Numbers and messages as they go over the wire: all big-endian.

use super::NbdError;
use std::io::{Read, Write};

/// The longest text that is taken from a server, in bytes: the protocol's own limit.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// A connection that messages go over.
pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

pub(super) fn take<const BYTES: usize>(stream: &mut impl Read) -> Result<[u8; BYTES], NbdError> {
    let mut bytes = [0; BYTES];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn take_u16(stream: &mut impl Read) -> Result<u16, NbdError> {
    Ok(u16::from_be_bytes(take(stream)?))
}

pub(super) fn take_u32(stream: &mut impl Read) -> Result<u32, NbdError> {
    Ok(u32::from_be_bytes(take(stream)?))
}

pub(super) fn take_u64(stream: &mut impl Read) -> Result<u64, NbdError> {
    Ok(u64::from_be_bytes(take(stream)?))
}

/// Takes text of a server: printable ASCII is kept, all else becomes `?`.
pub(super) fn take_text(stream: &mut impl Read, bytes: usize) -> Result<String, NbdError> {
    if bytes > MAX_TEXT_BYTES {
        return Err(NbdError::Protocol("a text is too long"));
    }
    let mut text = vec![0; bytes];
    stream.read_exact(&mut text)?;
    let printable = |byte: u8| {
        if byte == b' ' || byte.is_ascii_graphic() {
            char::from(byte)
        } else {
            '?'
        }
    };
    Ok(text.into_iter().map(printable).collect())
}

/// A message that is put together before it is sent at once.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn u16(mut self, number: u16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// A text with its length in front.
    pub(super) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut message = self.u32(length);
        message.0.extend(text.as_bytes());
        message
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn send(&self, stream: &mut impl Write) -> Result<(), NbdError> {
        stream.write_all(&self.0)?;
        Ok(stream.flush()?)
    }
}
