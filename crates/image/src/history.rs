//! The chain of changesets.
//!
//! ```text
//!  0 base ◄─ 1 ◄─ 2 ◄─ 3 ◄─ 4        each names the one before it
//!
//!  merged up to 2:  2' base ◄─ 3 ◄─ 4        2' says: I stand for 0, 1 and 2
//!  (0, 1 and 2 may still be there: they are no part of the history any more)
//! ```
//!
//! A history begins with its last base. One that stands for others is as good as the last of them:
//! the next changeset names that one as the one before it, and still does.

use crate::blobs::{BlobError, Blobs};
use crate::changeset::{self, ChangesetError, ChangesetId, Kind};
use crate::map::Map;
use crate::pack::{PackError, PackId, PackReader};
use crate::seal::{ReadSeal, Seal};
use crate::writer::{KnownUnits, Written};
use std::sync::Arc;
use thiserror::Error;

pub use crate::version::Version;

/// The most bytes of a changeset's blob that are read.
pub(crate) const MAX_CHANGESET_BYTES: u64 = 256 << 20;

/// Why a history cannot be used.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// A blob is missing or cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A changeset is not what it was.
    #[error("{blob}: {source}")]
    Changeset {
        /// Its blob.
        blob: String,
        /// What is wrong with it.
        source: ChangesetError,
    },
    /// A changeset does not follow the one before it.
    #[error("{blob} {what}")]
    Chain {
        /// Its blob.
        blob: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A pack is missing or damaged.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// There is no such changeset.
    #[error("there is no changeset {0}")]
    NoSuch(u64),
}

/// A history that was read.
#[derive(Debug, Default)]
pub struct History {
    changesets: Vec<Written>,
    seals: Vec<ReadSeal>,
    superseded: Vec<String>,
}

impl History {
    /// Reads the chain and checks it: each changeset is whole, follows the one before it, and names
    /// it. Packs are not looked at, and seals not verified.
    ///
    /// # Errors
    /// A changeset is missing, damaged, or does not follow.
    pub fn open(blobs: &dyn Blobs) -> Result<Self, HistoryError> {
        match Self::open_sound(blobs)? {
            (history, None) => Ok(history),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads the chain as far as it is sound, and says what is wrong behind that, if anything is:
    /// what was captured before the damage can still be read. Nothing may be added to it.
    ///
    /// # Errors
    /// What is there cannot be listed.
    pub fn open_sound(blobs: &dyn Blobs) -> Result<(Self, Option<HistoryError>), HistoryError> {
        let (chain, superseded) = read_chain(blobs)?;
        let mut history = Self {
            superseded,
            ..Self::default()
        };
        for read in chain {
            let added = read.map_err(|(_, error)| error).and_then(|read| {
                let blob = read.blob;
                let chain = |what| HistoryError::Chain { blob, what };
                history.add_sealed(read.written, read.seal).map_err(chain)
            });
            if let Err(error) = added {
                return Ok((history, Some(error)));
            }
        }
        Ok((history, None))
    }

    /// Adds one that was written.
    ///
    /// # Errors
    /// It does not follow the last one; says in what.
    pub fn add(&mut self, written: Written) -> Result<(), &'static str> {
        self.add_sealed(written, None)
    }

    pub(crate) fn add_sealed(
        &mut self,
        written: Written,
        seal: ReadSeal,
    ) -> Result<(), &'static str> {
        let new = &written.changeset;
        let before = self.changesets.last();
        let first = new.replaced.last().map_or(0, |last| last.sequence);
        let next = |last: &Written| last.changeset.sequence.checked_add(1);
        if Some(new.sequence) != before.map_or(Some(first), next) {
            return Err("does not follow the last one: one is missing or there twice");
        }
        if new.parent != self.head() {
            return Err("names another one as the one before it");
        }
        if (new.kind == Kind::Base) != before.is_none() {
            return Err("is a base within the chain");
        }
        self.changesets.push(written);
        self.seals.push(seal);
        Ok(())
    }

    /// The changesets, the oldest first.
    #[must_use]
    pub fn changesets(&self) -> &[Written] {
        &self.changesets
    }

    /// The changesets with their seals, the oldest first.
    pub fn sealed(&self) -> impl Iterator<Item = (&Written, &ReadSeal)> {
        self.changesets.iter().zip(&self.seals)
    }

    /// Blobs of changesets that a base stands for, and that are there still.
    #[must_use]
    pub fn superseded(&self) -> &[String] {
        &self.superseded
    }

    /// What stands for the whole history: the chain's id of the last one.
    #[must_use]
    pub fn head(&self) -> Option<ChangesetId> {
        self.changesets.last().map(Written::chain_id)
    }

    /// The units of all packs that the history names.
    ///
    /// # Errors
    /// A pack is missing or damaged.
    pub fn known_units(&self, blobs: &dyn Blobs) -> Result<KnownUnits, HistoryError> {
        let mut known = KnownUnits::default();
        for pack in self.packs() {
            let reader = PackReader::open(blobs, pack)?;
            known.add(pack, &reader.directory().units);
        }
        Ok(known)
    }

    /// The packs that the history names, each once.
    #[must_use]
    pub fn packs(&self) -> Vec<PackId> {
        let all = self.changesets.iter().flat_map(|one| &one.changeset.packs);
        let mut packs: Vec<PackId> = all.copied().collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// The disk as it was at a changeset.
    ///
    /// # Errors
    /// There is no such changeset.
    pub fn version(&self, blobs: Arc<dyn Blobs>, sequence: u64) -> Result<Version, HistoryError> {
        let chain = self.until(sequence)?;
        let disk_bytes = chain.last().map_or(0, |one| one.changeset.disk_bytes);
        let map = Map::of(chain.iter().map(|one| &one.changeset));
        Ok(Version::new(blobs, disk_bytes, map))
    }

    /// The changesets up to one.
    pub(crate) fn until(&self, sequence: u64) -> Result<&[Written], HistoryError> {
        let is_it = |one: &Written| one.changeset.sequence == sequence;
        let until = self.changesets.iter().position(is_it);
        let chain = until.and_then(|until| self.changesets.get(..=until));
        chain.ok_or(HistoryError::NoSuch(sequence))
    }
}

/// Reads what belongs to the history, the oldest first: from the last base on. Says which blobs lie
/// before it.
pub(crate) fn read_chain(blobs: &dyn Blobs) -> Result<(Vec<ReadBlob>, Vec<String>), BlobError> {
    let mut chain = Vec::new();
    let mut names = blobs.list(changeset::PREFIX)?;
    while let Some(group) = take_last_sequence(&mut names) {
        let mut group: Vec<ReadBlob> = group
            .into_iter()
            .map(|blob| Read::blob(blobs, blob.clone()).map_err(|error| (blob, error)))
            .collect();
        let is_base = |read: &ReadBlob| read.as_ref().is_ok_and(Read::is_base);
        if let Some(base) = group.iter().position(is_base) {
            chain.push(group.swap_remove(base));
            names.extend(group.into_iter().map(blob_of));
            break;
        }
        chain.extend(group.into_iter().rev());
    }
    chain.reverse();
    Ok((chain, names))
}

/// Takes the names with the highest sequence off the end; names that are none come alone.
fn take_last_sequence(names: &mut Vec<String>) -> Option<Vec<String>> {
    let sequence = |name: &String| changeset::of_blob(name).map(|(sequence, _)| sequence);
    let last = sequence(names.last()?);
    let same = names
        .iter()
        .rev()
        .take_while(|name| last.is_some() && sequence(name) == last);
    let count = same.count().max(1);
    Some(names.split_off(names.len().saturating_sub(count)))
}

/// A changeset that was read from its blob.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) blob: String,
    pub(crate) written: Written,
    pub(crate) seal: ReadSeal,
}

impl Read {
    /// Reads a changeset, which must be the one that its name says.
    pub(crate) fn blob(blobs: &dyn Blobs, blob: String) -> Result<Self, HistoryError> {
        let chain = |blob: &String, what| HistoryError::Chain {
            blob: blob.clone(),
            what,
        };
        let named = changeset::of_blob(&blob).ok_or_else(|| chain(&blob, "has no name of one"))?;
        let length = blobs.length(&blob)?;
        if length > MAX_CHANGESET_BYTES {
            return Err(chain(&blob, "is too long"));
        }
        let bytes = blobs.read(&blob, 0..length)?;
        let (content, seal) = changeset::split(&bytes);
        let (id, changeset) =
            changeset::decode(content).map_err(|source| HistoryError::Changeset {
                blob: blob.clone(),
                source,
            })?;
        if named != (changeset.sequence, id) {
            return Err(chain(&blob, "is not the one that it is named"));
        }
        let seal = Seal::read(seal);
        let written = Written { id, changeset };
        Ok(Self {
            blob,
            written,
            seal,
        })
    }

    /// Whether a history can begin with it.
    fn is_base(&self) -> bool {
        self.written.changeset.kind == Kind::Base
    }
}

/// What was read of a blob, or its name and why it cannot be read.
pub(crate) type ReadBlob = Result<Read, (String, HistoryError)>;

/// The name of a blob that was read, or could not be.
fn blob_of(read: ReadBlob) -> String {
    read.map_or_else(|(blob, _)| blob, |read| read.blob)
}
