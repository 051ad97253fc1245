//! `wtmp` and `btmp`: records of 384 bytes, as glibc writes them on 64-bit machines, little-endian.
//!
//! ```text
//! 0 type i16 · 4 pid i32 · 8 line [32] · 40 id [4] · 44 user [32] · 76 host [256] · 332 exit ·
//! 336 session i32 · 340 seconds i32 · 344 microseconds i32 · 348 address [16] · 364 unused [20]
//! ```

use super::{Actor, Certainty, Confidence, EntryKind, Log, Reader};

const RECORD_BYTES: usize = 384;
const BOOT: i16 = 2;
const USER: i16 = 7;
const DEAD: i16 = 8;

pub(super) fn read_logins(reader: &mut Reader, log: &Log<'_>) {
    read(reader, log, false);
}

pub(super) fn read_refused(reader: &mut Reader, log: &Log<'_>) {
    read(reader, log, true);
}

fn read(reader: &mut Reader, log: &Log<'_>, is_refused: bool) {
    // The end of a long log may begin within a record.
    let cut = log.bytes.len().checked_rem(RECORD_BYTES).unwrap_or(0);
    let whole = log.bytes.get(cut..).unwrap_or_default();
    for record in whole.chunks_exact(RECORD_BYTES) {
        let Some(record) = Record::of(record) else {
            continue;
        };
        let kind = match (record.kind, is_refused) {
            (USER, false) => EntryKind::Login,
            (USER, true) => EntryKind::Refused,
            (DEAD, false) => EntryKind::Logout,
            (BOOT, false) => EntryKind::Boot,
            (6, true) => EntryKind::Refused,
            _ => continue,
        };
        let Record {
            user, line, host, ..
        } = &record;
        let words = [user.as_str(), line.as_str(), host.as_str()];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mut entry = log.entry((record.time, Certainty::Exact), kind, &words.join(" "));
        if kind == EntryKind::Login {
            entry.actor = Some(Actor {
                user: user.clone(),
                process: None,
                confidence: Confidence::Medium,
            });
        }
        reader.push(entry);
    }
}

struct Record {
    kind: i16,
    line: String,
    user: String,
    host: String,
    time: i64,
}

impl Record {
    fn of(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = bytes.get(at..at.checked_add(4)?)?;
            Some(i32::from_le_bytes(bytes.try_into().ok()?))
        };
        let text = |at: usize, count: usize| {
            let field = bytes.get(at..at.checked_add(count)?)?;
            let text = field.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let seconds = i64::from(number(340)?);
        let microseconds = i64::from(number(344)?);
        let time = seconds
            .checked_mul(1_000_000)?
            .checked_add(microseconds)?
            .checked_mul(1_000)?;
        Some(Self {
            kind: i16::from_le_bytes(bytes.get(..2)?.try_into().ok()?),
            line: text(8, 32)?,
            user: text(44, 32)?,
            host: text(76, 256)?,
            time,
        })
    }
}
