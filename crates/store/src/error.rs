//! What can go wrong with the store.

use crate::images::IMAGE_NAME_BYTES_MAX;
use crate::key::KeyError;
use crate::reference::ReferenceError;
use crate::space::free_bytes;
use model::RunId;
use rusqlite::ErrorCode;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the store could not do what was asked. Nothing acknowledged before is lost by any of these.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory holds something else than a store, so it is left alone.
    #[error("{} is not empty and holds no store", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to another user, who could change what is in it.
    #[error("the store {} belongs to user {owner}, not to user {user}", path.display())]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// The user id that owns it.
        owner: u32,
        /// The user id that we run as.
        user: u32,
    },
    /// The store was written by a newer version of this program.
    #[error(
        "the store {} has format version {found}, and this program knows up to {supported}",
        path.display()
    )]
    NewerVersion {
        /// The database file.
        path: PathBuf,
        /// The version that was found.
        found: u32,
        /// The newest version that is understood.
        supported: u32,
    },
    /// The file system or the quota is used up. What was being written is not acknowledged.
    #[error("no space is left for the store {}", path.display())]
    Full {
        /// The store's directory.
        path: PathBuf,
    },
    /// Another process held the database for longer than the time limit.
    #[error("the store {} is held by another process", path.display())]
    Busy {
        /// The store's directory.
        path: PathBuf,
    },
    /// The database does not hold what it must.
    #[error("the store {} is damaged: {detail}", path.display())]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A file or directory could not be used.
    #[error("could not {attempt} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database refused for a reason that is none of the above.
    #[error("could not use the store's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The files of the evidence refused for a reason that is none of the above.
    #[error("could not use the evidence {key:?}: {source}")]
    Blob {
        /// The blob's key.
        key: String,
        /// Why not.
        source: object_store::Error,
    },
    /// The text is not a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The text does not name a run or a finding.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No blob has this key, or an event named one that was not put first.
    #[error("there is no evidence {key:?} in the store")]
    BlobMissing {
        /// The key.
        key: String,
    },
    /// The key belongs to an event already, or another writer is at work on it.
    #[error("the evidence {key:?} exists already")]
    BlobTaken {
        /// The key.
        key: String,
    },
    /// The blob is larger than what is read into memory.
    #[error("the evidence {key:?} has {bytes} bytes, and {limit} are read at most")]
    BlobTooLarge {
        /// The key.
        key: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The blob's content is not what was put.
    #[error("the evidence {key:?} was changed: its digest is {found}, not {expected}")]
    BlobCorrupt {
        /// The key.
        key: String,
        /// The BLAKE3 digest of what was put.
        expected: String,
        /// The BLAKE3 digest of what is there.
        found: String,
    },
    /// The blob was removed to keep the store within its limit.
    #[error("the evidence {key:?} was pruned")]
    Pruned {
        /// The key.
        key: String,
    },
    /// The event is larger than any reader accepts.
    #[error("an event of {bytes} bytes is over the limit of {limit}")]
    EventTooLarge {
        /// Its size as text.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The event holds a value that could not be read back, such as an infinite number.
    #[error("the event could not be written in a form that can be read back: {0}")]
    EventUnreadable(#[source] serde_json::Error),
    /// The event speaks of a run whose start was never recorded.
    #[error("there is no run {run} in the store")]
    UnknownRun {
        /// The run.
        run: RunId,
    },
    /// The run or finding is recorded already.
    #[error("{id} is recorded already")]
    Duplicate {
        /// The id of the run or finding.
        id: String,
    },
    /// The run has ended or failed already.
    #[error("run {run} is over already")]
    RunOver {
        /// The run.
        run: RunId,
    },
    /// The text is no name of an image, or not that of the record that comes with it.
    #[error(
        "{name:?} is no name of an image: lower-case letters, digits, '.', '_' and '-', at most {IMAGE_NAME_BYTES_MAX}, the first a letter or a digit"
    )]
    ImageName {
        /// The text.
        name: String,
    },
    /// There is an image of this name already.
    #[error("there is an image {name} already")]
    ImageTaken {
        /// Its name.
        name: String,
    },
    /// No image has this name.
    #[error("there is no image {name}")]
    ImageMissing {
        /// The name.
        name: String,
    },
    /// Another process writes to the image; only one does at a time.
    #[error("image {name} is being written to by {}", writer(*pid))]
    ImageBusy {
        /// Its name.
        name: String,
        /// The process, where it is known.
        pid: Option<i32>,
    },
    /// The image was opened for reading.
    #[error("image {name} was opened for reading only")]
    ImageReadOnly {
        /// Its name.
        name: String,
    },
    /// A file of the image does not hold what it must.
    #[error("image {name} is damaged: {detail}")]
    ImageDamaged {
        /// Its name.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The process is shutting down, or a call on the store broke off.
    #[error("the store's work was broken off")]
    BrokenOff,
}

impl StoreError {
    /// An error of a file or directory; a full disk gets its own variant.
    pub(crate) fn io(attempt: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            return Self::Full { path };
        }
        Self::Io {
            attempt,
            path,
            source,
        }
    }

    /// An error of the blobs' file system; a full disk gets its own variant.
    pub(crate) fn blob(root: &Path, key: &str, source: object_store::Error) -> Self {
        match input_output_cause(&source) {
            Some(cause) if is_full(cause) => Self::Full {
                path: root.to_owned(),
            },
            _ => Self::Blob {
                key: key.to_owned(),
                source,
            },
        }
    }

    /// Names what the database only codes: full, busy, damaged.
    #[must_use]
    pub(crate) fn located(self, root: &Path) -> Self {
        let Self::Database(cause) = self else {
            return self;
        };
        let path = root.to_owned();
        match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if no_space_at(root) => {
                Self::Full { path }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &cause),
            None if is_unreadable(&cause) => damaged(path, &cause),
            _ => Self::Database(cause),
        }
    }
}

/// Least free space at which a failure of the database is put down to something else: its shared
/// index grows by this much, and that failure has no code of its own.
const SHARED_INDEX_BYTES: u64 = 32 * 1024;

fn writer(pid: Option<i32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

fn no_space_at(root: &Path) -> bool {
    free_bytes(root).is_ok_and(|free| free < SHARED_INDEX_BYTES)
}

fn damaged(path: PathBuf, cause: &rusqlite::Error) -> StoreError {
    StoreError::Damaged {
        path,
        detail: cause.to_string(),
    }
}

/// Whether a row does not hold what was written.
fn is_unreadable(cause: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, InvalidColumnType, QueryReturnedNoRows};
    matches!(
        cause,
        FromSqlConversionFailure(..) | InvalidColumnType(..) | QueryReturnedNoRows
    )
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The input/output error at the bottom of an error of the object store.
fn input_output_cause(error: &object_store::Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref() {
            return Some(found);
        }
        cause = current.source();
    }
    None
}
