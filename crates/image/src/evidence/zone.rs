//! The disk's own time zone: what `/etc/localtime` leads to. UTC where it cannot be told.

use super::Nanoseconds;
use crate::files::{FileKind, Files};
use disk::ReadAt as _;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The largest file of a zone.
const MAX_BYTES: u64 = 64 << 10;

/// A time zone, or none that is known.
#[derive(Debug)]
pub(super) struct Zone(TimeZone);

impl Zone {
    pub(super) fn of(files: &Files) -> Self {
        read(files).unwrap_or(Self(TimeZone::UTC))
    }

    #[cfg(test)]
    pub(super) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// What a zone's file says.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        TimeZone::tzif("localtime", bytes).ok().map(Self)
    }

    /// The moment of a local time.
    pub(super) fn moment(&self, local: DateTime) -> Option<Nanoseconds> {
        let moment = self.0.to_ambiguous_timestamp(local).compatible().ok()?;
        i64::try_from(moment.as_nanosecond()).ok()
    }
}

fn read(files: &Files) -> Option<Zone> {
    let mut path = b"/etc/localtime".to_vec();
    let mut object = files.tree.find(&path)?;
    if object.kind == FileKind::Symlink {
        let target = files.tree.target(object.id);
        path = match target.strip_prefix(b"..") {
            Some(rest) => rest.to_vec(),
            None => target.to_vec(),
        };
        object = files.tree.find(&path)?;
    }
    if object.kind != FileKind::File || object.size_bytes > MAX_BYTES {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(object.size_bytes).ok()?];
    files.open(object.id)?.read_exact_at(0, &mut bytes).ok()?;
    Zone::read(&bytes)
}
