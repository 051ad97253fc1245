//! Readers of a disk's own files, by themselves: its logs and its package database, as files of a file
//! system in memory.
//!
//! What such a file holds is what a guest has written, and nothing else is mutated: the file systems
//! below are tried by rows of their own.

use crate::Sparse;
use disk::ReadAt as _;
use disk::ext::{FileKind, FileTime};
use image::evidence::evidence;
use image::files::{
    BlockClass, Change, FileEvent, FileSystem, Files, FilesError, Found, Object, ObjectId, Owner,
    Owners,
};
use image::packages;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// When the logs were last changed: 2026-01-02T03:04:05Z.
const MODIFIED_SECONDS: i64 = 1_767_323_045;

/// The most of a journal: the file of a seed, whose tables alone have 240 KB, and room to grow.
const JOURNAL_BYTES_MAX: u64 = 2 << 20;

const ROOT: u64 = 1;

/// The directories and files of some paths.
#[derive(Debug)]
struct Memory {
    nodes: BTreeMap<u64, Node>,
}

#[derive(Debug, Default)]
struct Node {
    kind: Option<FileKind>,
    bytes: Vec<u8>,
    names: BTreeMap<Vec<u8>, u64>,
}

impl Memory {
    fn of(files: &[(&str, &[u8])]) -> Option<Files> {
        let mut memory = Self {
            nodes: BTreeMap::from([(ROOT, Node::default())]),
        };
        for (path, bytes) in files {
            let mut at = ROOT;
            for name in path.split('/').filter(|name| !name.is_empty()) {
                at = memory.below(at, name.as_bytes());
            }
            if let Some(node) = memory.nodes.get_mut(&at) {
                node.kind = Some(FileKind::File);
                node.bytes = bytes.to_vec();
            }
        }
        Files::read(Arc::new(memory)).ok()
    }

    /// What a name in a directory leads to; made if it is not there.
    fn below(&mut self, directory: u64, name: &[u8]) -> u64 {
        let next = self.nodes.len() as u64 + ROOT;
        let names = self.nodes.get_mut(&directory).map(|node| &mut node.names);
        let found = names.map_or(next, |names| *names.entry(name.to_vec()).or_insert(next));
        self.nodes.entry(found).or_default();
        found
    }

    fn found(&self, number: u64) -> Option<Found> {
        let node = self.nodes.get(&number)?;
        let kind = node.kind.unwrap_or(FileKind::Directory);
        let time = FileTime {
            seconds: MODIFIED_SECONDS,
            nanoseconds: 0,
        };
        let object = Object {
            id: ObjectId(number),
            generation: 0,
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size_bytes: node.bytes.len() as u64,
            links: 1,
            flags: 0,
            accessed: time,
            changed: time,
            modified: time,
            born: None,
            device: None,
            attributes: None,
        };
        Some(Found {
            object,
            extents: Vec::new(),
            target: Vec::new(),
            inline: (kind == FileKind::File).then(|| node.bytes.clone()),
            damage: None,
        })
    }
}

impl FileSystem for Memory {
    fn block_bytes(&self) -> u64 {
        4096
    }

    fn root(&self) -> ObjectId {
        ObjectId(ROOT)
    }

    fn objects(
        &self,
        take: &mut dyn FnMut(Result<Found, FilesError>) -> ControlFlow<()>,
    ) -> Result<(), FilesError> {
        for number in self.nodes.keys() {
            if take(self.object(ObjectId(*number))).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn object(&self, id: ObjectId) -> Result<Found, FilesError> {
        self.found(id.0).ok_or(FilesError::NoObject(id.0))
    }

    fn bytes_max(&self) -> u64 {
        1 << 30
    }

    fn names(
        &self,
        directory: ObjectId,
        _budget: &mut u64,
        take: &mut dyn FnMut(&[u8], ObjectId),
    ) -> Result<(), FilesError> {
        let node = self.nodes.get(&directory.0);
        let node = node.ok_or(FilesError::NoObject(directory.0))?;
        for (name, number) in &node.names {
            take(name, ObjectId(*number));
        }
        Ok(())
    }

    fn read(&self, _place: u64, buffer: &mut [u8]) -> Result<(), disk::ReadError> {
        buffer.fill(0);
        Ok(())
    }

    fn displaced(&self) -> Vec<u64> {
        Vec::new()
    }

    fn owners(&self) -> Result<Box<dyn Owners + '_>, FilesError> {
        Ok(Box::new(Nobody))
    }
}

#[derive(Debug)]
struct Nobody;

impl Owners for Nobody {
    fn at(&self, _block: u64) -> Owner {
        Owner {
            class: BlockClass::Unowned,
            object: None,
        }
    }
}

/// Reads what some files tell of all time.
fn told(files: &[(&str, &[u8])]) {
    let Some(files) = Memory::of(files) else {
        return;
    };
    let found = evidence(&files, &(i64::MIN..=i64::MAX));
    assert!(
        found
            .entries
            .is_sorted_by(|one, other| one.time <= other.time)
    );
    for entry in &found.entries {
        assert!(!entry.source.is_empty());
        assert!(
            entry
                .paths
                .iter()
                .all(|path| path.len() <= entry_bytes_max())
        );
    }
}

/// No path that an entry names is longer than a line.
fn entry_bytes_max() -> usize {
    8 << 10
}

/// The classic logs, those of dpkg and apt, histories of shells, and the table of users.
pub(crate) fn logs(bytes: &[u8]) {
    told(&[
        ("/etc/passwd", bytes),
        ("/root/.bash_history", bytes),
        ("/var/log/syslog", bytes),
        ("/var/log/dpkg.log", bytes),
        ("/var/log/apt/history.log", bytes),
    ]);
}

/// Logs that were compressed when they were rotated: one file, taken for each kind.
pub(crate) fn packed(bytes: &[u8]) {
    told(&[
        ("/var/log/syslog.2.gz", bytes),
        ("/var/log/secure-20260101.xz", bytes),
        ("/var/log/dpkg.log.3.zst", bytes),
    ]);
}

/// The kernel's audit log.
pub(crate) fn audit(bytes: &[u8]) {
    told(&[("/var/log/audit/audit.log", bytes)]);
}

/// Records of logins.
pub(crate) fn logins(bytes: &[u8]) {
    told(&[
        ("/var/log/wtmp", bytes),
        ("/var/log/btmp", bytes),
        ("/var/log/lastlog", bytes),
    ]);
}

/// The disk's own time zone, and local times in it.
pub(crate) fn zone(bytes: &[u8]) {
    let log = b"2026-03-29 02:30:00 install a:all 1 2\n1900-01-01 00:00:00 remove a:all 1 2\n\
        9999-12-31 23:59:59 remove a:all 1 2\n";
    told(&[("/etc/localtime", bytes), ("/var/log/dpkg.log", log)]);
}

/// journald's files, which are mostly empty tables.
pub(crate) fn journald(bytes: &[u8]) {
    let disk = Sparse::unpack(bytes);
    let mut file = vec![0; disk.size_bytes().min(JOURNAL_BYTES_MAX) as usize];
    if disk.read_exact_at(0, &mut file).is_ok() {
        told(&[("/var/log/journal/0/system.journal", &file)]);
    }
}

/// dpkg's database: `status`, a list, digests and diversions, with a zero between any two; the package
/// is `some`. Of changes before and behind it.
pub(crate) fn packages(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let now = [part(), part(), part(), part()];
    let status: &[u8] = b"Package: some\nStatus: install ok installed\nVersion: 1\n";
    let was = [status, b"/usr/bin/some\n", b"", b""];
    for (before, after) in [(&was, &now), (&now, &was)] {
        let (Some(before), Some(after)) = (database(before), database(after)) else {
            return;
        };
        let events: Vec<_> = events(&before, &after).collect();
        let explained = packages::explain(&before, &after, &events);
        assert_eq!(explained.events.len(), events.len());
    }
}

/// One of rpm's databases: a byte that names its form, and it. Behind the name of the fourth form, four
/// bytes say how long the database is, and a write-ahead log follows it.
pub(crate) fn rpm(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else {
        return;
    };
    let (name, file, log) = match form % 4 {
        0 => ("rpmdb.sqlite", rest, None),
        1 => ("Packages.db", rest, None),
        2 => ("Packages", rest, None),
        _ => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return;
            };
            let length = u32::from_le_bytes(*length) as usize;
            let (file, log) = rest.split_at(length.min(rest.len()));
            ("rpmdb.sqlite", file, Some(log))
        }
    };
    let place = format!("/var/lib/rpm/{name}");
    let log_place = format!("{place}-wal");
    let mut all: Vec<(&str, &[u8])> = vec![
        ("/usr/bin/tool", b"first\n"),
        ("/usr/bin/other", b"other\n"),
        ("/etc/tool.conf", b"edited"),
        ("/etc/tool.conf.rpmnew", b"as shipped\n"),
    ];
    let without = Memory::of(&all);
    all.push((&place, file));
    if let Some(log) = log {
        all.push((&log_place, log));
    }
    let (Some(before), Some(after)) = (without, Memory::of(&all)) else {
        return;
    };
    for (before, after) in [(&before, &after), (&after, &before)] {
        let events: Vec<_> = events(before, after).collect();
        let explained = packages::explain(before, after, &events);
        assert_eq!(explained.events.len(), events.len());
    }
}

fn database(parts: &[&[u8]; 4]) -> Option<Files> {
    let [status, list, sums, diversions] = parts;
    Memory::of(&[
        ("/usr/bin/some", b"content"),
        ("/usr/bin/other.distrib", b"content"),
        ("/usr/lib/python3/a.py", b"content"),
        ("/usr/lib/python3/__pycache__/a.cpython-311.pyc", b"content"),
        ("/etc/some.conf", b"edited"),
        ("/etc/some.conf.dpkg-dist", b"content"),
        ("/var/lib/dpkg/status", status),
        ("/var/lib/dpkg/info/some.list", list),
        ("/var/lib/dpkg/info/some.md5sums", sums),
        ("/var/lib/dpkg/diversions", diversions),
    ])
}

/// Every file there is as one that was created, and every one that was as deleted.
fn events<'f>(before: &'f Files, after: &'f Files) -> impl Iterator<Item = FileEvent> + 'f {
    let created = after.tree.entries().map(|entry| FileEvent {
        path: entry.path(),
        change: Change::Created,
        before: None,
        after: Some(Box::new(entry.object.clone())),
    });
    let deleted = before.tree.entries().map(|entry| FileEvent {
        path: entry.path(),
        change: Change::Deleted,
        before: Some(Box::new(entry.object.clone())),
        after: None,
    });
    created.chain(deleted)
}
