//! What a record, with those that belong to it, tells of a file.
//!
//! ```text
//!  times    0 born  8 data  16 record  24 read, in 100 ns since 1601   32 marks   52 rights
//!  list     0 type  4 length  16 the record
//!  reparse  0 kind  4 length  8 where and how long: target, 12 target for people
//! ```

use crate::bytes::{Fields, Short, saturate};
use crate::ext::{Attribute as Extended, Class, FileKind, FileTime};
use crate::ntfs::attribute::{
    Attribute, COMPRESSED, DATA, ENCRYPTED, INDEX, LIST, NAME, REPARSE, TIMES, Value,
};
use crate::ntfs::index::stream_names;
use crate::ntfs::record::{NUMBER, Record};
use crate::ntfs::{BITMAP, FIRST_OF_USERS, LOG, MFT, NTFS, Ntfs, ROOT, STREAM_BITS};
use crate::system::{Object, Run, SystemError, utf16};

/// How many further records a file may have: of a file in millions of pieces.
const MAX_RECORDS: u64 = 10_000;

/// Read only, hidden, system, archive, temporary, offline, not indexed.
const USER_FLAGS: u32 = 0x3127;
const READ_ONLY: u32 = 1;

const LINK: u32 = 0xa000_000c;
const MOUNT_POINT: u32 = 0xa000_0003;
/// A link of Linux programs under Windows.
const LINUX_LINK: u32 = 0xa000_001d;
/// Data that a filter of Windows has compressed.
const FILTERED: u32 = 0x8000_0017;

/// Seconds from 1601 to 1970.
const EPOCH_S: i64 = 11_644_473_600;

impl Ntfs {
    /// The attributes of a file, those in further records too.
    pub(super) fn all_attributes(
        &self,
        number: u64,
        record: &Record,
    ) -> Result<Vec<Attribute>, SystemError> {
        let mut found = record.attributes()?;
        let lists: Vec<Attribute> = found.iter().filter(|it| it.kind == LIST).cloned().collect();
        if lists.is_empty() {
            return Ok(found);
        }
        let list = self.whole(number, &lists)?;
        let mut more = Vec::new();
        let mut at = 0usize;
        while let Ok(length) = Fields(&list).le16(at.saturating_add(4)) {
            let short = NTFS.short("a list of attributes");
            let reference = Fields(&list).le64(at.saturating_add(16)).map_err(short)?;
            more.push(reference & NUMBER);
            if length == 0 {
                break;
            }
            at = at.saturating_add(length.into());
        }
        more.sort_unstable();
        more.dedup();
        NTFS.limited("records of a file", more.len() as u64, MAX_RECORDS)?;
        for other in more.into_iter().filter(|other| *other != number) {
            let record = self.record(other)?;
            if !record.is_in_use() || record.base() != number {
                return Err(NTFS.object(number, "it lists a record that is not its own"));
            }
            found.extend(record.attributes()?);
        }
        Ok(found)
    }

    /// A file or a stream by its number.
    pub(super) fn describe(&self, number: u64) -> Result<Object, SystemError> {
        let record = self.record(number & NUMBER)?;
        if !record.is_object() {
            return Err(NTFS.object(number, "it is not in use"));
        }
        self.describe_record(number, &record)
    }

    pub(super) fn describe_record(
        &self,
        number: u64,
        record: &Record,
    ) -> Result<Object, SystemError> {
        let own = number & NUMBER;
        let attributes = match self.all_attributes(own, record) {
            Ok(attributes) => attributes,
            Err(error) => {
                let mut object = Object::new(number, FileKind::File);
                object.generation = record.generation().into();
                object.damage = Some(error);
                return Ok(object);
            }
        };
        let stream = match number.wrapping_shr(STREAM_BITS) {
            0 => None,
            index => {
                let names = stream_names(&attributes);
                let name = names.get(saturate(index).saturating_sub(1)).cloned();
                Some(name.ok_or_else(|| NTFS.object(number, "there is no such stream"))?)
            }
        };
        let reparse = match stream {
            None => Reparse::of(&attributes),
            Some(_) => Reparse::None,
        };
        let kind = match (&reparse, &stream) {
            (Reparse::Link(_), _) => FileKind::Symlink,
            (_, None) if record.is_directory() => FileKind::Directory,
            _ => FileKind::File,
        };
        let mut object = Object::new(number, kind);
        object.generation = record.generation().into();
        let names = attributes.iter().filter(|it| it.kind == NAME);
        let of_dos = names.filter(|it| it.here().get(65) == Some(&2)).count();
        let links = u32::from(record.links());
        object.links = links.saturating_sub(u32::try_from(of_dos).unwrap_or(0));
        self.times(&mut object, &attributes);
        match (reparse, kind) {
            (Reparse::Link(target), _) => {
                object.size_bytes = target.len() as u64;
                object.target = target;
            }
            (_, FileKind::Directory) => self.data(&mut object, &attributes, INDEX, None),
            (reparse, _) => {
                self.data(&mut object, &attributes, DATA, stream.as_deref());
                if matches!(reparse, Reparse::Filtered) {
                    object.damage = Some(NTFS.features("data compressed by a filter"));
                }
            }
        }
        object.class = class(own, object.class);
        if stream.is_none() {
            self.others(&mut object, &attributes);
        }
        Ok(object)
    }

    fn times(&self, object: &mut Object, attributes: &[Attribute]) {
        let all = attributes.iter().find(|it| it.is(TIMES, b""));
        let fields = Fields(all.map(Attribute::here).unwrap_or_default());
        let time = |at: usize| fields.le64(at).map(file_time).unwrap_or_default();
        object.born = Some(time(0));
        object.modified = time(8);
        object.changed = time(16);
        object.accessed = time(24);
        let marks = fields.le32(32).unwrap_or(0);
        object.flags = marks & USER_FLAGS;
        object.mode |= match marks & READ_ONLY {
            0 => 0o777,
            _ => 0o555,
        };
        if let Ok(rights) = fields.le32(52) {
            object.attributes.push(Extended {
                name: b"ntfs.security_id".to_vec(),
                value: rights.to_le_bytes().to_vec(),
            });
        }
    }

    /// Tells where the data lie that are of one type and name; of a directory, those of its index.
    fn data(&self, object: &mut Object, attributes: &[Attribute], kind: u32, name: Option<&[u8]>) {
        let parts = attributes
            .iter()
            .filter(|it| it.kind == kind && (kind == INDEX || it.name == name.unwrap_or_default()));
        let parts: Vec<Attribute> = parts.cloned().collect();
        let Some(first) = parts.iter().find(|part| part.first() == 0) else {
            return;
        };
        object.size_bytes = first.size_bytes();
        if first.flags & ENCRYPTED != 0 && kind == DATA {
            object.damage = Some(NTFS.features("encrypted data"));
            return;
        }
        if let Value::Here(bytes) = &first.value {
            object.inline = Some(bytes.clone());
            return;
        }
        let extents = self.runs_of(object.number, &parts);
        object.extents = object.keep(extents);
        if first.flags & COMPRESSED != 0 {
            // What they are made of is this file's too.
            let runs = self.stored_runs(&parts);
            let runs = runs.into_iter().map(|run| (Class::File, run));
            object.others.extend(runs);
        }
    }

    /// Where the parts of an attribute lie on the disk.
    fn stored_runs(&self, parts: &[Attribute]) -> Vec<Run> {
        let each = parts.iter().filter_map(|part| match &part.value {
            Value::Runs(runs) => super::runs::parse(&runs.stored, runs.first),
            Value::Here(_) => None,
        });
        let runs = each.flatten().filter_map(|run| {
            Some(Run {
                start: run.place?,
                blocks: run.clusters,
            })
        });
        runs.filter(|run| run.start.saturating_add(run.blocks) <= self.boot.clusters)
            .collect()
    }

    /// Tells the clusters that hold neither its data nor its names: streams, lists, bitmaps.
    fn others(&self, object: &mut Object, attributes: &[Attribute]) {
        let is_told = |it: &Attribute| match object.kind {
            FileKind::Directory => it.kind == INDEX,
            _ => it.is(DATA, b""),
        };
        let mut others = Vec::new();
        for it in attributes.iter().filter(|it| !is_told(it)) {
            let class = match it.kind {
                LIST => Class::Map,
                DATA => Class::File,
                _ => class(object.number, Class::Attributes),
            };
            let runs = self.stored_runs(std::slice::from_ref(it));
            others.extend(runs.into_iter().map(|run| (class, run)));
        }
        object.others.extend(others);
    }
}

/// What a reparse point makes of a file.
enum Reparse {
    None,
    Link(Vec<u8>),
    Filtered,
}

impl Reparse {
    fn of(attributes: &[Attribute]) -> Self {
        let point = attributes.iter().find(|it| it.is(REPARSE, b""));
        let point = point.map(Attribute::here).unwrap_or_default();
        Self::read(Fields(point)).unwrap_or(Self::None)
    }

    fn read(fields: Fields<'_>) -> Result<Self, Short> {
        let names = match fields.le32(0)? {
            LINK => 20,
            MOUNT_POINT => 16,
            LINUX_LINK => {
                let length = usize::from(fields.le16(4)?).saturating_sub(4);
                return Ok(Self::Link(fields.part(12, length)?.to_vec()));
            }
            FILTERED => return Ok(Self::Filtered),
            _ => return Ok(Self::None),
        };
        let name = |at: usize| -> Result<Vec<u8>, Short> {
            let start = usize::from(fields.le16(at)?).saturating_add(names);
            let length = usize::from(fields.le16(at.saturating_add(2))?);
            Ok(utf16(fields.part(start, length)?))
        };
        let for_people = name(12)?;
        Ok(Self::Link(match for_people.is_empty() {
            true => name(8)?,
            false => for_people,
        }))
    }
}

/// What the blocks of the file system's own files are.
fn class(number: u64, of_users: Class) -> Class {
    match number {
        MFT | 1 => Class::InodeTable,
        LOG => Class::Journal,
        BITMAP => Class::BlockBitmap,
        7 => Class::Superblock,
        ROOT => of_users,
        number if number < FIRST_OF_USERS => Class::Descriptors,
        _ => of_users,
    }
}

fn file_time(stored: u64) -> FileTime {
    let seconds = i64::try_from(stored / 10_000_000).unwrap_or(i64::MAX);
    let rest = u32::try_from(stored % 10_000_000).unwrap_or(0);
    FileTime {
        seconds: seconds.saturating_sub(EPOCH_S),
        nanoseconds: rest.saturating_mul(100),
    }
}
