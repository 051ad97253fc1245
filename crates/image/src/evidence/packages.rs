//! The logs of dpkg and apt.
//!
//! ```text
//! 2026-11-21 14:05:01 upgrade curl:amd64 7.88.1-10 7.88.1-11         dpkg.log, local time
//!
//! Start-Date: 2026-11-21  14:05:00                                   apt/history.log, local time
//! Commandline: apt install curl
//! Requested-By: ann (1000)
//! Upgrade: curl:amd64 (7.88.1-10, 7.88.1-11)
//! End-Date: 2026-11-21  14:05:03
//! ```

use super::{Actor, Certainty, Confidence, EntryKind, Log, Nanoseconds, Reader};
use jiff::civil::{Date, DateTime, Time};

/// Packages of one run of apt that are noted.
const MAX_PACKAGES: usize = 10_000;

pub(super) fn read_dpkg(reader: &mut Reader, log: &Log<'_>) {
    for line in log.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(date), Some(clock), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some(time) = moment(reader, date, clock) else {
            continue;
        };
        let mut said = rest.split(' ');
        let is_work = matches!(
            said.next(),
            Some("install" | "upgrade" | "remove" | "purge")
        );
        let Some(package) = said.next().filter(|_| is_work) else {
            continue;
        };
        let mut entry = log.entry((time, Certainty::Zone), EntryKind::Package, rest);
        entry.packages.push(plain(package));
        reader.push(entry);
    }
}

pub(super) fn read_apt(reader: &mut Reader, log: &Log<'_>) {
    let mut stanza = Stanza::default();
    let end = std::iter::once(String::new());
    // Lines are long here: all packages of a run stand in one.
    let text = String::from_utf8_lossy(&log.bytes);
    for line in text.lines().map(str::to_owned).chain(end) {
        let Some((field, value)) = line.split_once(": ") else {
            if line.is_empty() {
                std::mem::take(&mut stanza).tell(reader, log);
            }
            continue;
        };
        stanza.note(reader, field, value);
    }
}

/// One run of apt.
#[derive(Debug, Default)]
struct Stanza {
    time: Option<Nanoseconds>,
    command: String,
    by: Option<String>,
    packages: Vec<String>,
}

impl Stanza {
    fn note(&mut self, reader: &Reader, field: &str, value: &str) {
        match field {
            "Start-Date" => {
                let (date, clock) = value.split_once(' ').unwrap_or((value, ""));
                self.time = moment(reader, date, clock.trim_start());
            }
            "Commandline" => self.command = value.chars().take(super::MAX_TEXT_BYTES).collect(),
            "Requested-By" => self.by = value.split(' ').next().map(str::to_owned),
            "Install" | "Upgrade" | "Remove" | "Purge" | "Downgrade" | "Reinstall" => {
                let each = value.split("), ").filter_map(|one| one.split(' ').next());
                let left = MAX_PACKAGES.saturating_sub(self.packages.len());
                self.packages.extend(each.take(left).map(plain));
            }
            _ => {}
        }
    }

    fn tell(self, reader: &mut Reader, log: &Log<'_>) {
        let Some(time) = self.time else {
            return;
        };
        let count = self.packages.len();
        let text = format!("{} ({count} packages)", self.command);
        let mut entry = log.entry((time, Certainty::Zone), EntryKind::Package, &text);
        entry.packages = self.packages;
        entry.actor = self.by.map(|user| Actor {
            user,
            process: Some("apt".to_owned()),
            confidence: Confidence::Medium,
        });
        reader.push(entry);
    }
}

/// A package's name without its architecture.
fn plain(package: &str) -> String {
    package.split(':').next().unwrap_or(package).to_owned()
}

pub(super) fn moment(reader: &Reader, date: &str, clock: &str) -> Option<Nanoseconds> {
    let date: Date = date.parse().ok()?;
    let clock: Time = clock.parse().ok()?;
    reader.zone.moment(DateTime::from_parts(date, clock))
}
