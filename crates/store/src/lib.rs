//! The store: events, and the evidence that they name. Nothing that was acknowledged is lost.
//!
//! # On disk
//!
//! ```text
//! DIR/                     0700
//! ├── events.sqlite        0600  events and what is derived from them (WAL, synchronous = FULL)
//! ├── blobs/KEY            0600  evidence, such as blobs/runs/RUN/majority.state
//! ├── images/NAME/          0700  histories of disks; see [`Images`]
//! ├── reserve              0600  1 MiB, given up so that a full disk can be pruned
//! ├── staging/WRITER/N     0600  content on its way to its key
//! └── writers/WRITER       0600  locked (flock) for as long as that writer lives
//! ```
//!
//! # The life of a blob
//!
//! ```text
//!            put: row `pending`        rename, fsync           append(event that names it)
//!  (nothing) ─────────────────► staged ─────────────► durable ─────────────────► kept
//!                                 │ writer died         │ writer died              │ prune: one commit
//!                                 ▼                     ▼                          ▼
//!                              swept away ◄─────────────┘                       pruned ──► file removed
//! ```
//!
//! # Invariants
//!
//! 1. An event is acknowledged only after its commit is on stable storage.
//! 2. A blob is durable before the event that names it; [`Store::append`] refuses any other order.
//! 3. A file under `blobs/` always has a row, made before the file, so no orphan escapes a sweep.
//! 4. A row is marked pruned, and its event written, in one commit *before* the file is removed.
//!    Whatever the moment of a crash, the record is true: the blob cannot be read any more, and the
//!    next [`Store::open`] finishes the removal.
//! 5. A sweep touches only what belongs to writers whose lock is free: several processes may use
//!    one store at once, and a killed one leaves nothing behind.
//! 6. The directory is closed to others before anything is made inside it, so no file of the store
//!    can be reached by another user even before its own mode is set.
//!
//! Deliberately absent: a clock (moments come with the call), deletion of events, and sharing over
//! a network file system, where locks and `fsync` promise less.

mod blobs;
mod database;
mod directory;
mod encoding;
mod error;
mod events;
mod evidence;
mod findings;
mod history;
mod holder;
mod images;
mod key;
mod keys;
mod ledger;
mod lookup;
mod reference;
mod runs;
mod space;
mod store;
mod upkeep;
mod writer;

pub use crate::error::StoreError;
pub use crate::events::EventFilter;
pub use crate::findings::FindingFilter;
pub use crate::images::{IMAGE_NAME_BYTES_MAX, ImageRecord, ImageSource, Images, Shelf};
pub use crate::key::{BlobKey, KEY_BYTES_MAX, KeyError};
pub use crate::keys::{Secret, SecretError, credential_secret, read_or_make_secret, read_secret};
pub use crate::ledger::BlobInfo;
pub use crate::reference::{PREFIX_CHARS_MIN, Reference, ReferenceError};
pub use crate::runs::{RunState, RunSummary};
pub use crate::space::free_bytes;
pub use crate::store::{Limits, Store};
pub use crate::upkeep::StoreUsage;
