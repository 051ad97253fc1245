//! Images: a disk into its history, and out of it.
//!
//! ```text
//!  image files ──► chain: found, allowed, opened by us ═══► worker: parsed, in a confined process
//!                                                             │ words: items, bytes, blobs to put
//!  history in the store ◄── asker: each word is checked ◄─────┘
//! ```
//!
//! No byte of an image is understood by the process that the user started. It opens files, hands
//! them over, and serves the worker with blobs of the one image that it works on. What is put is
//! checked: packs by name, a changeset whole and as the next of the history.

mod asker;
mod capture;
mod chain;
mod changes;
mod counting;
mod error;
mod examine;
mod export;
mod in_place;
mod keep;
mod live;
mod look;
mod order;
mod owners;
mod place;
mod reference;
mod replica_disk;
mod room;
mod shadow;
mod talk;
mod timeline;
mod told;
mod vault;
mod wire;
mod worker;

pub use ::hypervisor::live::thaw_guard_main;
pub use ::image::check::{Damage, Level, Report};
pub use ::image::forget::{Swept, Window};
pub use ::image::records::{ChangeKind, ChangeRecord, Explanation, FileState, Standing};
pub use ::image::seal::{Anchor, AnchorError, AnchorState, PublicKey, SealFault, SealingKey};
pub use ::image::writer::Written;
pub use asker::WorkerProgram;
pub use capture::{Captured, capture};
pub use chain::{Chain, ImageFile};
pub use changes::{Change, ChangeSink, ChangesAsked, changes, export_changes};
pub use error::ImageError;
pub use examine::{FileList, Named, Restored, cat, diff, files, restore, take_out};
pub use in_place::{InPlace, restore_in_place};
pub use keep::{
    Checked, Forgotten, SEAL_CREDENTIAL, anchor, check, forget, sealing_key, would_forget,
};
pub use live::{GuardProgram, Machine, add_live, capture_live, dirty_bytes, release};
pub use reference::{ImageReference, Point, time};
pub(crate) use replica_disk::ReplicaDisk;
pub use shadow::{
    CaptureFrom, Listed, NewImage, ShadowedImage, Shadows, add, capture_again, list, remove, show,
};
pub use timeline::{Claim, Moment, Timeline, What, timeline};
pub(crate) use told::ToldOwner;
pub use told::{
    Bytes, ToldActor, ToldEntry, ToldEvent, ToldExplanation, ToldFile, ToldKind, ToldTime,
    ToldVolume,
};
pub use vault::{ENCRYPTION_CREDENTIAL, EncryptionKey, is_encrypted};
pub use worker::{ServeError, serve};
