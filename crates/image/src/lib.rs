//! The disk of a machine as a history: a base and a chain of changesets.
//!
//! ```text
//!  disk at a time ──► writer ──► packs: units of the disk, each kept once, compressed in frames
//!                        │
//!                        └─────► changeset, written last: which part of the disk is which unit
//!
//!  history: base ◄── changeset ◄── changeset …      each names the one before by its digest
//!     └──► version: the disk as it was, a source of bytes like any other
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`blobs`] | [`Blobs`](blobs::Blobs): where packs and changesets are put; a trait |
//! | [`pack`] | units in compressed frames, with their directory |
//! | [`changeset`] | what a changeset says, and how it is written down |
//! | [`writer`] | a disk, or what changed of it, into packs and a changeset |
//! | [`files`] | what the bytes mean: trees, file events, and whose each block is |
//! | [`crypt`] | blobs encrypted where they are put |
//! | [`compare`] | which blocks of a disk are not as in a version, where nobody can tell |
//! | [`history`] | the chain, and versions of the disk out of it |
//! | [`seal`] | who vouches for a changeset, and whether a history is what it was |
//! | [`check`] | whether all that a history names is there and is what it was |
//! | [`evidence`] | logs, logins, commands and work on packages, as the disk tells them |
//! | [`packages`] | what the package databases on a disk say of changes |
//! | [`records`] | what happened to files, kept so that it is answered at once |
//! | [`forget`] | the oldest changesets into one base; what nobody needs is removed |
//!
//! Invariants: packs and changesets never change once they are put; a changeset is put after all
//! packs that it names, so that what it names is there; a unit is found by its content only. What
//! is read back is untrusted all the same: limits, digests, no panic.
//!
//! It opens nothing, knows no clock, and draws nothing: times and places are arguments.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

pub mod blobs;
pub mod changeset;
pub mod check;
mod codec;
pub mod compare;
pub mod crypt;
pub mod evidence;
pub mod files;
pub mod forget;
pub mod history;
mod map;
pub mod pack;
pub mod packages;
pub mod records;
pub mod seal;
mod version;
pub mod writer;

/// What a disk is kept and told of by: its dirty bitmaps have this granularity.
pub const BLOCK_BYTES: u64 = 4096;
