//! An export in use: requests out, chunks of replies in.
//!
//! Many requests are on their way at once, since each waits for a disk; so many that the server has
//! work, so few that their replies fit the memory that is meant for them. Requests are short: the
//! server takes them in even while we do not read, so that neither side waits for the other.

use super::negotiate::{Agreed, negotiate};
use super::wire::{Message, Stream, take_text, take_u16, take_u32, take_u64};
use super::{ALLOCATION, NbdError, ZERO};
use disk::read_at::check_range;
use disk::{Content, ReadAt, ReadError, Stretch};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const STRUCTURED_MAGIC: u32 = 0x668e_33ef;
const SIMPLE_MAGIC: u32 = 0x6744_6698;

const COMMAND_READ: u16 = 0;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_BLOCK_STATUS: u16 = 7;

const CHUNK_DONE: u16 = 1;
const CHUNK_NONE: u16 = 0;
const CHUNK_DATA: u16 = 1;
const CHUNK_HOLE: u16 = 2;
const CHUNK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = 1 << 15;

/// The most requests that are on their way at once: a hypervisor that serves the guest by the same
/// thread should not have many to serve first.
const WINDOW_REQUESTS: usize = 16;

/// The most bytes that requests on their way ask for: what is held in memory.
const WINDOW_BYTES: u64 = 2 << 20;

/// The most that one request asks for: larger ones are split, so that the first of it comes soon, and
/// a hypervisor's thread is not busy with one for long.
const REQUEST_BYTES: u64 = 256 << 10;

/// The most extents that one reply tells, in bytes of the reply: the protocol's advice.
const MAX_STATUS_BYTES: u32 = 16 << 20;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an export knows of its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The server's number for it.
    pub(super) number: u32,
    /// Its name.
    pub(super) name: String,
}

/// A part of an export of which a context says one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is; never 0.
    pub bytes: u64,
    /// What the context says: [`HOLE`](super::HOLE), [`ZERO`], [`DIRTY`](super::DIRTY).
    pub flags: u32,
}

/// A disk that a server exports, read-only.
///
/// Whatever fails, fails for good: replies that nobody waits for any more may still be on their
/// way. Who wants to go on connects again.
pub struct Export {
    line: Mutex<Line>,
    agreed: Agreed,
}

struct Line {
    stream: Box<dyn Connection>,
    broken: bool,
}

trait Connection: Stream + Send {}

impl<T: Stream + Send> Connection for T {}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("agreed", &self.agreed)
            .finish_non_exhaustive()
    }
}

/// A request whose reply is awaited.
struct Awaited {
    range: Range<u64>,
    bytes: Vec<u8>,
    filled: u64,
}

impl Export {
    /// Connects to an export of a local socket, with contexts that it must have.
    ///
    /// # Errors
    /// The server cannot be reached, or lacks the export, a context, or structured replies.
    pub fn connect(socket: &Path, name: &str, contexts: &[String]) -> Result<Self, NbdError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Self::over(stream, name, contexts)
    }

    /// The same over a connection that is there already.
    ///
    /// # Errors
    /// As of [`connect`](Self::connect).
    pub fn over(
        mut stream: impl std::io::Read + std::io::Write + Send + 'static,
        name: &str,
        contexts: &[String],
    ) -> Result<Self, NbdError> {
        let agreed = negotiate(&mut stream, name, contexts)?;
        Ok(Self {
            line: Mutex::new(Line {
                stream: Box::new(stream),
                broken: false,
            }),
            agreed,
        })
    }

    /// The size of the disk.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.agreed.size_bytes
    }

    /// Reads many parts, many of them at a time, and hands each piece over as it comes: its place
    /// and its bytes. Pieces of one part come in any order, and each part may come in several.
    ///
    /// # Errors
    /// A part reaches past the end, the server fails or breaks the protocol, or `take` fails.
    pub fn read_parts<E: From<NbdError>>(
        &self,
        parts: impl IntoIterator<Item = Range<u64>>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.talk(|stream| self.read_over(stream, parts, &mut take))
    }

    /// Uses the line, which breaks if that fails.
    fn talk<T, E: From<NbdError>>(
        &self,
        work: impl FnOnce(&mut Box<dyn Connection>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.broken {
            return Err(NbdError::Broken.into());
        }
        let done = work(&mut line.stream);
        line.broken = done.is_err();
        done
    }

    fn read_over<E: From<NbdError>>(
        &self,
        stream: &mut impl Stream,
        parts: impl IntoIterator<Item = Range<u64>>,
        take: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pieces = parts
            .into_iter()
            .flat_map(|part| self.pieces(part))
            .peekable();
        let mut awaited: HashMap<u64, Awaited> = HashMap::new();
        let (mut cookie, mut on_the_way) = (0, 0);
        loop {
            while let Some(piece) = pieces.peek() {
                let bytes = piece.end.saturating_sub(piece.start);
                let full = awaited.len() >= WINDOW_REQUESTS || on_the_way + bytes > WINDOW_BYTES;
                if full && !awaited.is_empty() {
                    break;
                }
                let range = piece.clone();
                pieces.next();
                self.check(&range)?;
                request(stream, COMMAND_READ, cookie, &range)?;
                let bytes = range.end - range.start;
                on_the_way += bytes;
                let length = usize::try_from(bytes).unwrap_or(usize::MAX);
                let one = Awaited {
                    range,
                    bytes: vec![0; length],
                    filled: 0,
                };
                awaited.insert(cookie, one);
                cookie += 1;
            }
            if awaited.is_empty() {
                return Ok(());
            }
            if let Some(done) = data_chunk(stream, &mut awaited)? {
                on_the_way -= done.bytes.len() as u64;
                take(done.range.start, &done.bytes)?;
            }
        }
    }

    /// What a context says of a part, to its end; neighbours that are alike are one.
    ///
    /// # Errors
    /// There is no such context here, the part reaches past the end, or the server fails.
    pub fn extents(&self, context: &str, part: Range<u64>) -> Result<Vec<Extent>, NbdError> {
        let number = self.context(context)?;
        self.check(&part)?;
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = part.start;
        while at < part.end {
            for extent in self.status(number, at..part.end)? {
                at = extent.offset + extent.bytes;
                match extents.last_mut() {
                    Some(last) if last.flags == extent.flags => last.bytes += extent.bytes,
                    _ => extents.push(extent),
                }
            }
        }
        Ok(extents)
    }

    /// What a server tells at a time of a part, from its start; at least one extent.
    fn status(&self, context: u32, part: Range<u64>) -> Result<Vec<Extent>, NbdError> {
        let most = u64::from(u32::MAX / 2);
        let asked = part.start..part.end.min(part.start.saturating_add(most));
        self.talk(|stream| {
            request(stream, COMMAND_BLOCK_STATUS, asked.start, &asked)?;
            status_chunks(stream, asked.start, context, &asked)
        })
    }

    fn context(&self, name: &str) -> Result<u32, NbdError> {
        let mut contexts = self.agreed.contexts.iter();
        let found = contexts.find(|context| context.name == name);
        let found = found.ok_or_else(|| NbdError::NoContext(name.to_owned()))?;
        Ok(found.number)
    }

    fn check(&self, range: &Range<u64>) -> Result<(), NbdError> {
        if range.start <= range.end && range.end <= self.agreed.size_bytes {
            return Ok(());
        }
        Err(NbdError::PastEnd {
            offset: range.start,
            bytes: range.end.saturating_sub(range.start),
            size_bytes: self.agreed.size_bytes,
        })
    }

    /// A part in pieces that one request may ask for.
    fn pieces(&self, part: Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let most = REQUEST_BYTES.min(u64::from(self.agreed.max_request_bytes));
        let step = most - most % u64::from(self.agreed.block_bytes);
        let step = usize::try_from(step.max(1)).unwrap_or(usize::MAX);
        let Range { start, end } = part;
        (start..end)
            .step_by(step)
            .map(move |from| from..end.min(from.saturating_add(step as u64)))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // A server that is gone needs no farewell.
        drop(self.talk(|stream| request(stream, COMMAND_DISCONNECT, 0, &(0..0))));
    }
}

impl ReadAt for Export {
    fn size_bytes(&self) -> u64 {
        self.agreed.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        check_range(self.agreed.size_bytes, offset, buffer.len() as u64)?;
        // A server may want whole blocks.
        let block = u64::from(self.agreed.block_bytes);
        let end = offset + buffer.len() as u64;
        let aligned_end = end.next_multiple_of(block).min(self.agreed.size_bytes);
        let part = offset - offset % block..aligned_end;
        let taken = self.read_parts(std::iter::once(part), |at, bytes| {
            let (from, to) = (at.max(offset), (at + bytes.len() as u64).min(end));
            if from < to {
                let within = |place: u64, base: u64| usize::try_from(place - base).unwrap_or(0);
                let bytes = &bytes[within(from, at)..within(to, at)];
                buffer[within(from, offset)..within(to, offset)].copy_from_slice(bytes);
            }
            Ok::<(), NbdError>(())
        });
        taken.map_err(|error| failed(offset, error))
    }

    /// What is allocated, where that was asked for on connecting.
    fn stretch_at(&self, offset: u64) -> Result<Stretch, ReadError> {
        check_range(self.agreed.size_bytes, offset, 1)?;
        let left = self.agreed.size_bytes - offset;
        let all_data = Stretch {
            bytes: left,
            content: Content::Data,
        };
        let Ok(number) = self.context(ALLOCATION) else {
            return Ok(all_data);
        };
        let extents = self
            .status(number, offset..self.agreed.size_bytes)
            .map_err(|error| failed(offset, error))?;
        Ok(extents.first().map_or(all_data, |extent| Stretch {
            bytes: extent.bytes.min(left),
            content: if extent.flags & ZERO != 0 {
                Content::Zero
            } else {
                Content::Data
            },
        }))
    }
}

fn failed(offset: u64, error: NbdError) -> ReadError {
    ReadError::Io {
        offset,
        source: std::io::Error::other(error),
    }
}

fn request(
    stream: &mut impl Stream,
    command: u16,
    cookie: u64,
    range: &Range<u64>,
) -> Result<(), NbdError> {
    let length = u32::try_from(range.end - range.start)
        .map_err(|_| NbdError::Protocol("too much is asked"))?;
    Message::default()
        .u32(REQUEST_MAGIC)
        .u16(0)
        .u16(command)
        .u64(cookie)
        .u64(range.start)
        .u32(length)
        .send(stream)
}

/// The head of a chunk.
struct Chunk {
    flags: u16,
    kind: u16,
    cookie: u64,
    length: u32,
}

impl Chunk {
    fn take(stream: &mut impl Stream) -> Result<Self, NbdError> {
        match take_u32(stream)? {
            STRUCTURED_MAGIC => Ok(Self {
                flags: take_u16(stream)?,
                kind: take_u16(stream)?,
                cookie: take_u64(stream)?,
                length: take_u32(stream)?,
            }),
            SIMPLE_MAGIC => Err(NbdError::Protocol("a reply is not structured")),
            _ => Err(NbdError::Protocol("what comes is no reply")),
        }
    }

    fn is_last(&self) -> bool {
        self.flags & CHUNK_DONE != 0
    }

    /// The failure that an error chunk tells of.
    fn error(&self, stream: &mut impl Stream, offset: u64) -> Result<NbdError, NbdError> {
        if self.length < 6 {
            return Err(NbdError::Protocol("an error is cut short"));
        }
        let code = take_u32(stream)?;
        let bytes = u32::from(take_u16(stream)?);
        let rest = (self.length - 6).checked_sub(bytes);
        let rest = rest.filter(|rest| *rest == 0 || *rest == 8);
        let rest = rest.ok_or(NbdError::Protocol("an error has another length"))?;
        let message = take_text(stream, bytes as usize)?;
        let offset = match rest {
            8 => take_u64(stream)?,
            _ => offset,
        };
        Ok(NbdError::Failed {
            offset,
            code,
            message,
        })
    }
}

/// Takes the next chunk of any awaited reply; the reply, where that was its last.
fn data_chunk(
    stream: &mut impl Stream,
    awaited: &mut HashMap<u64, Awaited>,
) -> Result<Option<Awaited>, NbdError> {
    let chunk = Chunk::take(stream)?;
    let unasked = NbdError::Protocol("a reply is to nothing that was asked");
    let one = awaited.get_mut(&chunk.cookie).ok_or(unasked)?;
    match chunk.kind {
        CHUNK_DATA if chunk.length > 8 => {
            let offset = take_u64(stream)?;
            let part = one.part(offset, u64::from(chunk.length - 8))?;
            stream.read_exact(part)?;
        }
        CHUNK_HOLE if chunk.length == 12 => {
            let offset = take_u64(stream)?;
            let bytes = u64::from(take_u32(stream)?);
            one.part(offset, bytes)?.fill(0);
        }
        CHUNK_NONE if chunk.length == 0 && chunk.is_last() => {}
        kind if kind & CHUNK_ERROR != 0 => return Err(chunk.error(stream, one.range.start)?),
        _ => return Err(NbdError::Protocol("a chunk is none of data")),
    }
    if !chunk.is_last() {
        return Ok(None);
    }
    let whole = one.filled == one.bytes.len() as u64;
    let done = awaited.remove(&chunk.cookie).filter(|_| whole);
    done.map_or(Err(NbdError::Protocol("a reply has gaps")), |done| {
        Ok(Some(done))
    })
}

impl Awaited {
    /// The place of a part that came. A server may not send a byte twice: then counting tells
    /// whether all came.
    fn part(&mut self, offset: u64, bytes: u64) -> Result<&mut [u8], NbdError> {
        let end = offset.checked_add(bytes);
        let end = end.filter(|end| self.range.start <= offset && *end <= self.range.end);
        let end = end.ok_or(NbdError::Protocol("data lies outside of what was asked"))?;
        self.filled += bytes;
        let within = |place: u64| usize::try_from(place - self.range.start).unwrap_or(usize::MAX);
        let range = within(offset)..within(end);
        self.bytes
            .get_mut(range)
            .ok_or(NbdError::Protocol("data lies outside of what was asked"))
    }
}

/// Takes a whole reply to a question for the status of blocks.
fn status_chunks(
    stream: &mut impl Stream,
    cookie: u64,
    context: u32,
    asked: &Range<u64>,
) -> Result<Vec<Extent>, NbdError> {
    let mut extents = Vec::new();
    loop {
        let chunk = Chunk::take(stream)?;
        if chunk.cookie != cookie {
            return Err(NbdError::Protocol("a reply is to nothing that was asked"));
        }
        match chunk.kind {
            CHUNK_STATUS if chunk.length >= 12 && chunk.length % 8 == 4 => {
                if chunk.length > MAX_STATUS_BYTES {
                    return Err(NbdError::Protocol("a status is too long"));
                }
                let told = take_extents(stream, chunk.length / 8, asked)?;
                if told.0 == context {
                    extents = told.1;
                }
            }
            CHUNK_NONE if chunk.length == 0 && chunk.is_last() => {}
            kind if kind & CHUNK_ERROR != 0 => return Err(chunk.error(stream, asked.start)?),
            _ => return Err(NbdError::Protocol("a chunk is none of status")),
        }
        if chunk.is_last() {
            break;
        }
    }
    if extents.is_empty() {
        return Err(NbdError::Protocol("a status says nothing"));
    }
    Ok(extents)
}

/// The number of a context, and what it says from the start of what was asked. The last extent may
/// reach further than that; no byte is told of twice.
fn take_extents(
    stream: &mut impl Stream,
    count: u32,
    asked: &Range<u64>,
) -> Result<(u32, Vec<Extent>), NbdError> {
    let context = take_u32(stream)?;
    let mut extents = Vec::new();
    let mut offset = asked.start;
    for _ in 0..count {
        let (bytes, flags) = (u64::from(take_u32(stream)?), take_u32(stream)?);
        if bytes == 0 {
            return Err(NbdError::Protocol("an extent is empty"));
        }
        let bytes = bytes.min(asked.end.saturating_sub(offset));
        if bytes > 0 {
            extents.push(Extent {
                offset,
                bytes,
                flags,
            });
        }
        offset += bytes;
    }
    Ok((context, extents))
}
