//! `lastlog`: of each user the last login, 292 bytes at the user's number, as glibc's programs write it
//! on 64-bit machines, little-endian.
//!
//! ```text
//! 0 seconds i32 · 4 line [32] · 36 host [256]
//! ```
//!
//! A user with a large number makes the file long, most of it a hole: only what was written is read.

use super::{Actor, Certainty, Confidence, EntryKind, Log, Reader};
use disk::{Content, ReadAt};

const RECORD_BYTES: u64 = 292;

/// The most bytes that are read: of 229,000 users with numbers in a row.
const MAX_BYTES: u64 = 64 << 20;

/// The parts of a file that were written, by whole records; each with the number of its first.
pub(super) fn records(content: &dyn ReadAt) -> Vec<(u64, Vec<u8>)> {
    let mut parts = Vec::new();
    let (mut at, mut left) = (0u64, MAX_BYTES);
    let whole = whole_records(content.size_bytes());
    while at < whole && left > 0 {
        let Ok(stretch) = content.stretch_at(at) else {
            break;
        };
        let end = at.saturating_add(stretch.bytes);
        if stretch.content == Content::Data {
            // From the record that it begins in to the end of the one that it ends in.
            let start = whole_records(at);
            let end = end.checked_next_multiple_of(RECORD_BYTES);
            let end = end.map_or(whole, |end| end.min(whole));
            let bytes = end.saturating_sub(start).min(whole_records(left));
            let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
            if bytes == 0 || content.read_exact_at(start, &mut buffer).is_err() {
                break;
            }
            parts.push((start / RECORD_BYTES, buffer));
            left = left.saturating_sub(bytes);
            at = start.saturating_add(bytes);
        } else {
            at = end.max(at.saturating_add(1));
        }
    }
    parts
}

/// The bytes of all records that end up to there.
fn whole_records(bytes: u64) -> u64 {
    bytes.saturating_sub(bytes % RECORD_BYTES)
}

/// Tells the logins of users from `first` on.
pub(super) fn read(reader: &mut Reader, log: &Log<'_>, first: u64) {
    let size = usize::try_from(RECORD_BYTES).unwrap_or(usize::MAX);
    for (user, record) in (first..).zip(log.bytes.chunks_exact(size)) {
        let text = |from: usize, to: usize| {
            let field = record.get(from..to).unwrap_or_default();
            let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let seconds = record
            .first_chunk()
            .map_or(0, |bytes| i32::from_le_bytes(*bytes));
        if seconds == 0 {
            continue;
        }
        let time = i64::from(seconds).saturating_mul(1_000_000_000);
        let (line, host) = (text(4, 36), text(36, 292));
        let words = ["last login", &line, &host];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mut entry = log.entry((time, Certainty::Exact), EntryKind::Login, &words.join(" "));
        entry.actor = Some(Actor {
            user: user.to_string(),
            process: None,
            confidence: Confidence::Medium,
        });
        reader.push(entry);
    }
}
