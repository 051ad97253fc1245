//! What a disk tells of itself over time: logs, logins, commands and work on packages.
//!
//! ```text
//!  /var/log/{syslog,auth.log,…}       lines   ─┐
//!  /var/log/journal/…                 objects ─┤
//!  /var/log/audit/audit.log           records ─┤
//!  /var/log/wtmp, btmp, lastlog       records ─┼─► entries: time, how sure, source, text, who
//!  /var/log/dpkg.log, apt/history.log lines   ─┤
//!  .bash_history with times           lines   ─┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `lines` | the classic logs, with and without years |
//! | `journal`, `lz4` | journald's files |
//! | `audit` | the kernel's audit log |
//! | `logins`, `last_login` | `wtmp` and `btmp`; `lastlog` |
//! | `packages` | the logs of dpkg and apt |
//! | `commands` | histories of shells that note times |
//! | `rotation`, `packed` | which file is which log, before and after it was rotated and compressed |
//! | `zone` | the disk's own time zone |
//!
//! All of it lies on the disk, so whoever could write to the disk could write it, change it, or leave
//! it out. An entry says where it stands, and an actor is named only where an entry names one: the
//! owner of a file is not who changed it.

mod audit;
mod commands;
mod journal;
mod last_login;
mod lines;
mod logins;
mod lz4;
mod packages;
mod packed;
mod rotation;
mod rpm_logs;
mod zone;

#[cfg(test)]
mod tests;

use crate::files::{FileKind, Files, Object};
use disk::ReadAt as _;
use packed::Missing;
use rotation::{Place, Read, place_of};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use zone::Zone;

/// The most bytes of a log that are read: its end; of one that was compressed, its beginning.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// The most bytes that come out of all logs that were compressed, together: archives of a few KiB could
/// have any number of them.
const MAX_UNPACKED_BYTES: usize = 512 << 20;

/// How many logs that are not read whole are named.
const MAX_LEFT_OUT: usize = 100;

/// The most bytes of a log that has to be read from its beginning: journald's own limit.
const MAX_JOURNAL_BYTES: u64 = 128 << 20;

/// The longest text of an entry; the rest is left out.
const MAX_TEXT_BYTES: usize = 1024;

/// The most entries that are held: the latest.
pub const MAX_ENTRIES: usize = 500_000;

/// A time in nanoseconds since 1970, in UTC.
pub type Nanoseconds = i64;

/// How sure the time of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// It is written as it is.
    Exact,
    /// It is written in local time, without the zone: the disk's own zone was taken.
    Zone,
    /// The year is not written either: the latest was taken that the log's last change allows.
    Year,
}

impl Certainty {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Zone => "zone-assumed",
            Self::Year => "year-assumed",
        }
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A line of a log.
    Log,
    /// Somebody logged in.
    Login,
    /// Somebody logged out.
    Logout,
    /// A login that was refused.
    Refused,
    /// The machine started.
    Boot,
    /// Work on packages.
    Package,
    /// A command that somebody gave.
    Command,
    /// A record of the kernel's audit.
    Audit,
}

impl EntryKind {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Refused => "login-refused",
            Self::Boot => "boot",
            Self::Package => "package",
            Self::Command => "command",
            Self::Audit => "audit",
        }
    }
}

/// How much a source is worth for who it names. Each of them can be forged on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The user could write it: a shell's history.
    Low,
    /// A program of the system wrote it.
    Medium,
    /// The kernel wrote it.
    High,
}

impl Confidence {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Who did something, as an entry names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user: a name, or a number where there is none.
    pub user: String,
    /// The program, where it is named.
    pub process: Option<String>,
    /// How much the source is worth.
    pub confidence: Confidence,
}

/// Something that the disk tells of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: Nanoseconds,
    /// How sure that is.
    pub certainty: Certainty,
    /// What it is about.
    pub kind: EntryKind,
    /// The file in which it stands.
    pub source: Vec<u8>,
    /// What it says. It is a guest's: not printable.
    pub text: String,
    /// Who did it, where it says so.
    pub actor: Option<Actor>,
    /// Paths that it names.
    pub paths: Vec<Vec<u8>>,
    /// Packages that it names.
    pub packages: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Entries, by time.
    pub entries: Vec<Entry>,
    /// Whether there were more, and older ones are left out.
    pub cut: bool,
    /// Logs that are not told of, or not whole: the first hundred.
    pub left_out: Vec<LeftOut>,
}

/// A log of which something is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path. It is a guest's: not printable.
    pub path: Vec<u8>,
    /// What is not told, and why.
    pub why: &'static str,
}

/// A log that is being read.
struct Log<'f> {
    path: Vec<u8>,
    object: &'f Object,
    bytes: Vec<u8>,
}

/// Reads what a file system's logs tell of a time.
#[must_use]
pub fn evidence(files: &Files, wanted: &RangeInclusive<Nanoseconds>) -> Evidence {
    let mut reader = Reader {
        zone: Zone::of(files),
        wanted: wanted.clone(),
        found: Evidence::default(),
        unpacked_bytes: MAX_UNPACKED_BYTES,
    };
    let mut packed = Vec::new();
    for entry in files.tree.entries() {
        if entry.object.kind != FileKind::File {
            continue;
        }
        let path = entry.path();
        match place_of(&path) {
            None => {}
            Some(place) if place.packing.is_some() => packed.push((place, path, entry.object)),
            Some(place) => reader.file(files, &place, path, entry.object),
        }
    }
    // The latest first: what is left out is what is oldest.
    packed.sort_by_key(|(_, _, object)| Reverse(object.modified));
    for (place, path, object) in packed {
        reader.file(files, &place, path, object);
    }
    let mut found = reader.found;
    name_users(files, &mut found);
    trim(&mut found, MAX_ENTRIES);
    found
}

/// Gives users that are named by their number the name that the disk has for it.
fn name_users(files: &Files, found: &mut Evidence) {
    let table = files.tree.find(b"/etc/passwd");
    let table = table.and_then(|object| open(files, b"/etc/passwd".to_vec(), object));
    let Some(table) = table else {
        return;
    };
    let names: HashMap<String, String> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.to_owned(), name))
        })
        .collect();
    for actor in found
        .entries
        .iter_mut()
        .filter_map(|entry| entry.actor.as_mut())
    {
        if let Some(name) = names.get(&actor.user) {
            actor.user.clone_from(name);
        }
    }
}

/// Leaves the latest.
fn trim(found: &mut Evidence, count: usize) {
    found.entries.sort_by_key(|entry| entry.time);
    if let Some(superfluous) = found
        .entries
        .len()
        .checked_sub(count)
        .filter(|more| *more > 0)
    {
        found.entries.drain(..superfluous);
        found.cut = true;
    }
}

fn open<'f>(files: &Files, path: Vec<u8>, object: &'f Object) -> Option<Log<'f>> {
    let content = files.open(object.id)?;
    let limit = match rotation::is_journal(&path) {
        true => MAX_JOURNAL_BYTES,
        false => MAX_LOG_BYTES,
    };
    let bytes = object.size_bytes.min(limit);
    let start = object.size_bytes.saturating_sub(bytes);
    let mut buffer = vec![0; usize::try_from(bytes).ok()?];
    content.read_exact_at(start, &mut buffer).ok()?;
    Some(Log {
        path,
        object,
        bytes: buffer,
    })
}

/// The beginning of a file that was compressed.
fn open_packed<'f>(files: &Files, path: Vec<u8>, object: &'f Object) -> Option<Log<'f>> {
    let content = files.open(object.id)?;
    let bytes = object.size_bytes.min(MAX_LOG_BYTES);
    let mut buffer = vec![0; usize::try_from(bytes).ok()?];
    content.read_exact_at(0, &mut buffer).ok()?;
    Some(Log {
        path,
        object,
        bytes: buffer,
    })
}

impl Log<'_> {
    /// Its lines, as text: what is no UTF-8 is replaced.
    fn lines(&self) -> impl DoubleEndedIterator<Item = String> + '_ {
        let lines = self.bytes.split(|byte| *byte == b'\n');
        lines.map(|line| {
            let line = line.get(..MAX_TEXT_BYTES).unwrap_or(line);
            String::from_utf8_lossy(line).into_owned()
        })
    }

    fn entry(
        &self,
        (time, certainty): (Nanoseconds, Certainty),
        kind: EntryKind,
        text: &str,
    ) -> Entry {
        Entry {
            time,
            certainty,
            kind,
            source: self.path.clone(),
            text: text.to_owned(),
            actor: None,
            paths: Vec::new(),
            packages: Vec::new(),
        }
    }
}

/// Entries of the wanted time, as they are found.
struct Reader {
    zone: Zone,
    wanted: RangeInclusive<Nanoseconds>,
    found: Evidence,
    /// How much may still come out of logs that were compressed.
    unpacked_bytes: usize,
}

impl Reader {
    /// Reads a file that is a log.
    fn file(&mut self, files: &Files, place: &Place, path: Vec<u8>, object: &Object) {
        match (place.read, place.packing) {
            (Read::LastLogins, None) => {
                let Some(content) = files.open(object.id) else {
                    return;
                };
                for (first, bytes) in last_login::records(&content) {
                    let path = path.clone();
                    last_login::read(
                        self,
                        &Log {
                            path,
                            object,
                            bytes,
                        },
                        first,
                    );
                }
            }
            (Read::LastLogins, Some(_)) => {}
            (Read::Whole(read), None) => {
                if let Some(log) = open(files, path, object) {
                    read(self, &log);
                }
            }
            (Read::Whole(read), Some(packing)) => {
                let Some(mut log) = open_packed(files, path, object) else {
                    return;
                };
                let most = usize::try_from(MAX_LOG_BYTES).unwrap_or(usize::MAX);
                let unpacked = packing.unpack(&log.bytes, most.min(self.unpacked_bytes));
                let count = unpacked.bytes.len();
                self.unpacked_bytes = self.unpacked_bytes.saturating_sub(count);
                let why = match unpacked.missing {
                    None => None,
                    Some(Missing::Damaged) => {
                        Some("what is compressed is damaged, and is told as far as it goes")
                    }
                    Some(Missing::Longer) if count == most => {
                        Some("it has more than 64 MiB, of which the first are told")
                    }
                    Some(Missing::Longer) => {
                        Some("logs that are compressed have more than 512 MiB in all")
                    }
                };
                self.leave_out(&log.path, why);
                log.bytes = unpacked.bytes;
                read(self, &log);
            }
        }
    }

    fn leave_out(&mut self, path: &[u8], why: Option<&'static str>) {
        let left_out = &mut self.found.left_out;
        if left_out.len() < MAX_LEFT_OUT {
            left_out.extend(why.map(|why| LeftOut {
                path: path.to_vec(),
                why,
            }));
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.wanted.contains(&entry.time) {
            self.found.entries.push(entry);
        }
        // Twice as many are held at most.
        if self.found.entries.len() >= MAX_ENTRIES.saturating_mul(2) {
            trim(&mut self.found, MAX_ENTRIES);
        }
    }
}

/// The paths that a command line names in full.
fn paths_of(command: &str) -> Vec<Vec<u8>> {
    let words = command.split([' ', '\'', '"', '=', ';', '>', '<', '|']);
    let paths = words.filter(|word| word.starts_with('/') && word.len() > 1);
    paths
        .map(|path| path.trim_end_matches('/').as_bytes().to_vec())
        .collect()
}
