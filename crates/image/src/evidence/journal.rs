//! journald's files, as systemd describes their format.
//!
//! ```text
//! header: "LPKSHHRH" · 12 incompatible flags u32 · 88 header's bytes u64 · 136 last object u64
//! objects, one after the other, each at a multiple of 8: type u8, flags u8, 8 size u64
//!   entry (3)  24 microseconds since 1970 u64 · 64 places of its data: u32 each, or 16 bytes
//!   data (1)   64, or 72 where places are u32: FIELD=value, compressed or not
//! ```
//!
//! Fields that begin with `_` are journald's own; the others are what a program said. Data are packed
//! with zstd, with LZ4 before version 246, and with XZ where neither was to be had.

use super::lines::meaning;
use super::lz4;
use super::packed::Packing;
use super::{Certainty, EntryKind, Log, MAX_TEXT_BYTES, Reader, paths_of};
use std::collections::HashMap;
use std::io::Read as _;

const MAGIC: &[u8] = b"LPKSHHRH";

/// Flags of files that are understood: compressions, keyed hashes, compact places.
const KNOWN: u32 = 0x1f;
const COMPACT: u32 = 0x10;

const DATA: u8 = 1;
const ENTRY: u8 = 3;
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;

/// Bytes of an object before what it holds.
const OBJECT_BYTES: usize = 16;

/// The most data of one entry: journald's own limit is 1024.
const MAX_ITEMS: usize = 1024;

pub(super) fn read(reader: &mut Reader, log: &Log<'_>) {
    let Some(file) = Journal::of(&log.bytes) else {
        return;
    };
    let mut known = HashMap::new();
    let mut at = file.start;
    while let Some(object) = file.object(at) {
        if object.kind == ENTRY {
            file.entry(reader, log, &object, &mut known);
        }
        let next = object.bytes.len().checked_next_multiple_of(8);
        let Some(next) = next.and_then(|bytes| at.checked_add(bytes)) else {
            return;
        };
        at = next;
        if at > file.last {
            return;
        }
    }
}

struct Journal<'b> {
    bytes: &'b [u8],
    start: usize,
    last: usize,
    is_compact: bool,
}

struct Object<'b> {
    kind: u8,
    flags: u8,
    bytes: &'b [u8],
}

/// Fields that are told, of the data at a place.
type Known = HashMap<usize, Option<(Field, String)>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Message,
    Identifier,
    Command,
}

impl<'b> Journal<'b> {
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let flags = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?);
        if !bytes.starts_with(MAGIC) || flags & !KNOWN != 0 {
            return None;
        }
        Some(Self {
            bytes,
            start: place(bytes, 88)?,
            last: place(bytes, 136)?,
            is_compact: flags & COMPACT != 0,
        })
    }

    fn object(&self, at: usize) -> Option<Object<'b>> {
        let size = place(self.bytes, at.checked_add(8)?)?;
        if size < OBJECT_BYTES {
            return None;
        }
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        Some(Object {
            kind: *bytes.first()?,
            flags: *bytes.get(1)?,
            bytes,
        })
    }

    fn entry(&self, reader: &mut Reader, log: &Log<'_>, object: &Object<'_>, known: &mut Known) {
        let time = object.bytes.get(24..32).and_then(|bytes| {
            let microseconds = u64::from_le_bytes(bytes.try_into().ok()?);
            i64::try_from(microseconds).ok()?.checked_mul(1_000)
        });
        let Some(time) = time.filter(|time| reader.wanted.contains(time)) else {
            return;
        };
        let (mut message, mut identifier, mut command) = (None, None, None);
        let step = if self.is_compact { 4 } else { 16 };
        let items = object.bytes.get(64..).unwrap_or_default();
        for item in items.chunks_exact(step).take(MAX_ITEMS) {
            let Some(at) = self.item(item) else {
                continue;
            };
            let data = known.entry(at).or_insert_with(|| self.data(at));
            match data {
                Some((Field::Message, text)) => message = Some(text.clone()),
                Some((Field::Identifier, text)) => identifier = Some(text.clone()),
                Some((Field::Command, text)) => command = Some(text.clone()),
                None => {}
            }
        }
        let program = identifier.or(command).unwrap_or_default();
        let text = format!("{program}: {}", message.unwrap_or_default());
        let (kind, actor) = meaning(&format!("- {text}"));
        let mut entry = log.entry((time, Certainty::Exact), kind, &text);
        if kind == EntryKind::Command {
            entry.paths = paths_of(&text);
        }
        entry.actor = actor;
        reader.push(entry);
    }

    /// The place of an entry's data.
    fn item(&self, item: &[u8]) -> Option<usize> {
        match self.is_compact {
            true => usize::try_from(u32::from_le_bytes(item.try_into().ok()?)).ok(),
            false => place(item, 0),
        }
    }

    /// A field that is told, and its value.
    fn data(&self, at: usize) -> Option<(Field, String)> {
        let object = self.object(at).filter(|object| object.kind == DATA)?;
        let payload = object.bytes.get(if self.is_compact { 72 } else { 64 }..)?;
        // A text is cut, whatever it unpacks to.
        let limit = MAX_TEXT_BYTES.saturating_add(64);
        let mut unpacked = Vec::new();
        let payload = if object.flags & ZSTD != 0 {
            let mut decoder = zstd::stream::read::Decoder::new(payload).ok()?;
            decoder
                .by_ref()
                .take(limit as u64)
                .read_to_end(&mut unpacked)
                .ok()?;
            unpacked.as_slice()
        } else if object.flags & LZ4 != 0 {
            unpacked = lz4::unpack(payload, limit)?;
            unpacked.as_slice()
        } else if object.flags & XZ != 0 {
            unpacked = Packing::Xz.unpack(payload, limit).bytes;
            unpacked.as_slice()
        } else {
            payload
        };
        let end = payload.iter().position(|byte| *byte == b'=')?;
        let (name, value) = payload.split_at(end);
        let field = match name {
            b"MESSAGE" => Field::Message,
            b"SYSLOG_IDENTIFIER" => Field::Identifier,
            b"_COMM" => Field::Command,
            _ => return None,
        };
        let value = value.get(1..)?;
        let value = value.get(..MAX_TEXT_BYTES).unwrap_or(value);
        Some((field, String::from_utf8_lossy(value).into_owned()))
    }
}

/// A number of 64 bits, as a place in memory.
fn place(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(8)?)?;
    usize::try_from(u64::from_le_bytes(number.try_into().ok()?)).ok()
}
