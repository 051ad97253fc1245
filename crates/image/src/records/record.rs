//! One change of one file, and how it is written down.

use crate::codec::{Taker, put_number};
use crate::files::Field;
use std::ops::Range;
use std::sync::Arc;

/// How many changed ranges of a file are kept; of more, their number and bytes are.
pub const RANGES_KEPT: usize = 16;

/// The longest text that is kept of an explanation: names and versions of packages are short.
const TEXT_BYTES_MAX: usize = 512;

/// What happened, by its name in [`Change`](crate::files::Change).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described where events are")]
pub enum ChangeKind {
    Deleted,
    Unlinked,
    Replaced,
    Renamed,
    Linked,
    Created,
    Modified,
    Appended,
    Metadata,
}

impl ChangeKind {
    /// All of them, in the order in which they are told of one path.
    pub const ALL: [Self; 9] = [
        Self::Deleted,
        Self::Unlinked,
        Self::Replaced,
        Self::Renamed,
        Self::Linked,
        Self::Created,
        Self::Modified,
        Self::Appended,
        Self::Metadata,
    ];

    /// Its name, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unlinked => "unlinked",
            Self::Replaced => "replaced",
            Self::Renamed => "renamed",
            Self::Linked => "linked",
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Appended => "appended",
            Self::Metadata => "metadata",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    fn number(self) -> u8 {
        let place = Self::ALL.iter().position(|one| *one == self);
        place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(0)
    }
}

/// Fields of a file that changed without its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fields(u16);

impl Fields {
    const ALL: [Field; 9] = [
        Field::Mode,
        Field::Uid,
        Field::Gid,
        Field::Attributes,
        Field::Flags,
        Field::Device,
        Field::Modified,
        Field::Changed,
        Field::Accessed,
    ];

    /// Those of these names; others are left out.
    #[must_use]
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut bits = 0_u16;
        for name in names {
            let place = Self::ALL.iter().position(|one| one.name() == name);
            bits |= place.map_or(0, Self::bit);
        }
        Self(bits)
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = Self::ALL.iter().enumerate();
        let named = all.filter(move |(place, _)| self.0 & Self::bit(*place) != 0);
        named.map(|(_, field)| field.name())
    }

    fn bit(place: usize) -> u16 {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        1_u16.checked_shl(place).unwrap_or(0)
    }
}

/// What is kept of a file as it was at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileState {
    /// The size of its data.
    pub size_bytes: u64,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u16,
    /// The owner: not who changed it.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When its data were changed, as the disk says: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// When anything of it was changed, as the disk says.
    pub changed: (i64, u32),
}

/// How well a change is explained by a package database on the disk. Whoever can write to the disk
/// can write that database too: an explanation says what the disk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// A package lists the file, and its content has the digest that the package database has.
    Verified,
    /// A package lists it, or listed it and it is gone now; the database has no digest to hold
    /// against it.
    Listed,
    /// No package lists it, but it is what the work on packages leaves: weaker than the above.
    Maintained,
    /// A package lists it, and its content is not what the package database says: no explanation,
    /// but a sign that somebody has changed it.
    Contradicted,
    /// It is a configuration file of a package, and not as that package has it: somebody has set it
    /// up in another way. No explanation.
    Configured,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Verified,
        Self::Listed,
        Self::Maintained,
        Self::Contradicted,
        Self::Configured,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Listed => "listed",
            Self::Maintained => "maintained",
            Self::Contradicted => "contradicted",
            Self::Configured => "configured",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether it explains the change.
    #[must_use]
    pub const fn is_explained(self) -> bool {
        !matches!(self, Self::Contradicted | Self::Configured)
    }
}

/// What a package database on the disk says of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Explanation {
    /// How well it explains it.
    pub standing: Standing,
    /// The package, or the tool whose work left it.
    pub package: String,
    /// The package's version before; empty if it was not installed, or no package lists the file.
    pub before: String,
    /// Its version now; empty if it is not installed.
    pub after: String,
}

/// One change of one file, in one changeset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The changeset in which it was found: it happened between the one before and this.
    pub sequence: u64,
    /// The volume.
    pub volume: Arc<str>,
    /// The path now; of what is gone, the path before. It holds no byte 0.
    pub path: Vec<u8>,
    /// What happened.
    pub change: ChangeKind,
    /// Of what was renamed, its path before.
    pub from: Option<Vec<u8>>,
    /// The first [`RANGES_KEPT`] ranges of bytes that are new or other ones.
    pub ranges: Vec<Range<u64>>,
    /// How many ranges there were.
    pub ranges_all: u64,
    /// How many bytes of data are new or other ones.
    pub changed_bytes: u64,
    /// Where only what is told of it has changed, what of that.
    pub fields: Fields,
    /// It as it was.
    pub before: Option<FileState>,
    /// It as it is.
    pub after: Option<FileState>,
    /// What a package database on the disk says of it.
    pub explanation: Option<Explanation>,
}

const HAS_FROM: u8 = 0x10;
const HAS_BEFORE: u8 = 0x20;
const HAS_AFTER: u8 = 0x40;
const HAS_EXPLANATION: u8 = 0x80;
const CHANGE: u8 = 0x0f;

impl ChangeRecord {
    /// What records are sorted by: the volume, a byte 0, the path.
    pub(super) fn key(&self) -> Vec<u8> {
        key(&self.volume, &self.path)
    }

    /// All of it but key and sequence.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        bytes.push(
            self.change.number()
                | flag(self.from.is_some(), HAS_FROM)
                | flag(self.before.is_some(), HAS_BEFORE)
                | flag(self.after.is_some(), HAS_AFTER)
                | flag(self.explanation.is_some(), HAS_EXPLANATION),
        );
        if let Some(from) = &self.from {
            put_bytes(&mut bytes, from);
        }
        put_number(&mut bytes, self.fields.0.into());
        put_number(&mut bytes, self.changed_bytes);
        put_number(&mut bytes, self.ranges_all);
        let kept = self.ranges.get(..RANGES_KEPT).unwrap_or(&self.ranges);
        put_number(&mut bytes, kept.len() as u64);
        for range in kept {
            put_number(&mut bytes, range.start);
            put_number(&mut bytes, range.end.saturating_sub(range.start));
        }
        for state in [&self.before, &self.after].into_iter().flatten() {
            state.encode(&mut bytes);
        }
        if let Some(explanation) = &self.explanation {
            explanation.encode(&mut bytes);
        }
        bytes
    }

    /// The record of a key, a sequence and what [`encode`](Self::encode) has made.
    pub(super) fn decode(
        volume: Arc<str>,
        path: &[u8],
        sequence: u64,
        bytes: &[u8],
    ) -> Option<Self> {
        let mut taker = Taker::new(bytes);
        let [head] = taker.array::<1>()?;
        let change = *ChangeKind::ALL.get(usize::from(head & CHANGE))?;
        let from = has(head, HAS_FROM, || take_bytes(&mut taker))?;
        let fields = Fields(taker.number()?.try_into().ok()?);
        let changed_bytes = taker.number()?;
        let ranges_all = taker.number()?;
        let count = usize::try_from(taker.number()?).ok()?;
        let mut ranges = Vec::with_capacity(count.min(RANGES_KEPT));
        for _ in 0..count {
            let start = taker.number()?;
            ranges.push(start..start.checked_add(taker.number()?)?);
        }
        let record = Self {
            sequence,
            volume,
            path: path.to_vec(),
            change,
            from,
            ranges,
            ranges_all,
            changed_bytes,
            fields,
            before: has(head, HAS_BEFORE, || FileState::decode(&mut taker))?,
            after: has(head, HAS_AFTER, || FileState::decode(&mut taker))?,
            explanation: has(head, HAS_EXPLANATION, || Explanation::decode(&mut taker))?,
        };
        taker.is_empty().then_some(record)
    }
}

/// What is there if the head says so; nothing at all if that cannot be read.
fn has<T>(head: u8, flag: u8, take: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    match head & flag {
        0 => Some(None),
        _ => take().map(Some),
    }
}

/// What a path of a volume is sorted by.
pub(super) fn key(volume: &str, path: &[u8]) -> Vec<u8> {
    let bytes = volume.len().saturating_add(path.len()).saturating_add(1);
    let mut key = Vec::with_capacity(bytes);
    key.extend_from_slice(volume.as_bytes());
    key.push(0);
    key.extend_from_slice(path);
    key
}

fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    put_number(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

fn take_bytes(taker: &mut Taker<'_>) -> Option<Vec<u8>> {
    let count = usize::try_from(taker.number()?).ok()?;
    taker.bytes(count).map(<[u8]>::to_vec)
}

impl FileState {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, self.size_bytes);
        put_number(bytes, self.mode.into());
        put_number(bytes, self.uid.into());
        put_number(bytes, self.gid.into());
        for (seconds, nanoseconds) in [self.modified, self.changed] {
            put_number(bytes, zigzag(seconds));
            put_number(bytes, nanoseconds.into());
        }
    }

    fn decode(taker: &mut Taker<'_>) -> Option<Self> {
        let size_bytes = taker.number()?;
        let mode = taker.number()?.try_into().ok()?;
        let uid = taker.number()?.try_into().ok()?;
        let gid = taker.number()?.try_into().ok()?;
        let mut time = || Some((unzigzag(taker.number()?), taker.number()?.try_into().ok()?));
        Some(Self {
            size_bytes,
            mode,
            uid,
            gid,
            modified: time()?,
            changed: time()?,
        })
    }
}

/// A number with a sign as one without: small ones stay small.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

impl Explanation {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let place = Standing::ALL.iter().position(|one| *one == self.standing);
        put_number(bytes, place.unwrap_or(0) as u64);
        for text in [&self.package, &self.before, &self.after] {
            put_bytes(bytes, bounded(text).as_bytes());
        }
    }

    fn decode(taker: &mut Taker<'_>) -> Option<Self> {
        let standing = *Standing::ALL.get(usize::try_from(taker.number()?).ok()?)?;
        let mut text = || String::from_utf8(take_bytes(taker)?).ok();
        Some(Self {
            standing,
            package: text()?,
            before: text()?,
            after: text()?,
        })
    }
}

fn bounded(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}
