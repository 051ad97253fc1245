//! What the package databases on a disk say of changes: the image explains itself.
//!
//! ```text
//!  before: database ─┐                          ┌─ listed, content has its digest ──► verified
//!  after:  database ─┼─► packages that changed ─┼─ listed, without a digest ────────► listed
//!  file events ──────┘                          ├─ left by work on packages ────────► maintained
//!                                               └─ listed, content is another ──────► contradicted
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `database` | [`Database`](database::Database): packages, and what they list of the paths that are asked for |
//! | `dpkg` | dpkg's files: status, lists, digests, configuration files, diversions |
//! | `rpm` | rpm's databases: packages with their files, digests, modes and links |
//! | `paths` | where a listed path lies, when directories of it are links |
//! | `byproduct` | what the tools around packages leave |
//! | `explain` | the rules |
//!
//! Evidence only: a path that a package lists explains nothing by itself. Content has to be what the
//! package database says, and where that says nothing of content, the package has to have changed in
//! this time. Owners and attributes are held against no database, and modes against rpm's only, so a
//! change of those alone is never explained where dpkg is.
//!
//! The databases lie on the disk, so whoever could write to the disk could write to them. What this
//! gives is what the disk says of itself, and where it contradicts itself. One that is damaged explains
//! nothing, and is told of.

mod byproduct;
mod database;
mod dpkg;
mod explain;
mod paths;
mod rpm;

pub use explain::explain;

use crate::files::{FileKind, Files};
use crate::records::Explanation;
use database::{Database, Wanted};
use disk::ReadAt as _;

/// The most bytes of a database's file that are read: the status of 10,000 packages has 30 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What package databases say of events.
#[derive(Debug, Default)]
pub struct Explained {
    /// Of each event, in their order.
    pub events: Vec<Option<Explanation>>,
    /// Databases that are there and could not be read: they explain nothing.
    pub unread: Vec<UnreadDatabase>,
}

/// A package database that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadDatabase {
    /// Where it lies.
    pub path: Vec<u8>,
    /// Why.
    pub why: String,
}

/// What the package databases say of the wanted paths; nothing where there are none.
fn databases(files: &Files, wanted: &Wanted, unread: &mut Vec<UnreadDatabase>) -> Option<Database> {
    let mut found = Database::default();
    let is_dpkg = dpkg::note(files, wanted, &mut found);
    let is_rpm = rpm::note(files, wanted, &mut found).unwrap_or_else(|damage| {
        unread.push(damage);
        false
    });
    (is_dpkg || is_rpm).then_some(found)
}

/// A file's bytes; nothing if it is none, is longer, or cannot be read. No link is followed.
fn read(files: &Files, path: &[u8]) -> Option<Vec<u8>> {
    let object = files.tree.find(path)?;
    if object.kind != FileKind::File || object.size_bytes > MAX_FILE_BYTES {
        return None;
    }
    let content = files.open(object.id)?;
    let mut bytes = vec![0; usize::try_from(object.size_bytes).ok()?];
    content.read_exact_at(0, &mut bytes).ok()?;
    Some(bytes)
}
