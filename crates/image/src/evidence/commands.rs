//! Histories of shells that note times: a line `#SECONDS` before each command.
//!
//! The user that is named is the one whose home the history lies in: it says what was typed in a
//! shell that writes there, and its user can write anything there.

use super::{Actor, Certainty, Confidence, EntryKind, Log, Reader, paths_of};

pub(super) fn read(reader: &mut Reader, log: &Log<'_>) {
    let path = String::from_utf8_lossy(&log.path).into_owned();
    let home = path.trim_end_matches("/.bash_history");
    let user = home.rsplit('/').next().unwrap_or_default().to_owned();
    let mut time = None;
    for line in log.lines() {
        if let Some(seconds) = line
            .strip_prefix('#')
            .and_then(|text| text.parse::<i64>().ok())
        {
            time = seconds.checked_mul(1_000_000_000);
            continue;
        }
        let Some(time) = time.filter(|_| !line.is_empty()) else {
            continue;
        };
        let mut entry = log.entry((time, Certainty::Exact), EntryKind::Command, &line);
        entry.paths = paths_of(&line);
        entry.actor = Some(Actor {
            user: user.clone(),
            process: None,
            confidence: Confidence::Low,
        });
        reader.push(entry);
    }
}
