//! The chain, as far as it can be read.

use super::{Damage, Report};
use crate::blobs::{BlobError, Blobs};
use crate::changeset;
use crate::history::{History, Read, ReadBlob, read_chain};
use crate::pack::PackId;
use std::collections::BTreeSet;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The chain up to the first damage.
    pub(super) history: History,
    /// All packs that a changeset names, also one behind the first damage.
    pub(super) packs: Vec<PackId>,
}

/// Reads all changesets; takes those that belong to the history off the names.
pub(super) fn look(
    blobs: &dyn Blobs,
    names: &mut BTreeSet<String>,
    report: &mut Report,
) -> Result<Chain, BlobError> {
    let (read, _) = read_chain(blobs)?;
    let mut chain = Chain::default();
    let mut broken = None;
    for read in read {
        take(blobs, read, &mut chain, &mut broken, (names, report));
    }
    Ok(chain)
}

/// Takes the next changeset to the chain, or to what is unreadable.
fn take(
    blobs: &dyn Blobs,
    read: ReadBlob,
    chain: &mut Chain,
    broken: &mut Option<usize>,
    (names, report): (&mut BTreeSet<String>, &mut Report),
) {
    let blob = match &read {
        Ok(read) => read.blob.clone(),
        Err((blob, _)) => blob.clone(),
    };
    names.remove(&blob);
    report.blobs = report.blobs.saturating_add(1);
    let bytes = blobs.length(&blob).unwrap_or(0);
    report.bytes = report.bytes.saturating_add(bytes);
    let sequence = changeset::of_blob(&blob).map(|(sequence, _)| sequence);
    let damage = match read {
        Err((blob, error)) => Some((blob, error.to_string())),
        Ok(read) => {
            chain.packs.extend(&read.written.changeset.packs);
            follow(read, chain, broken.is_some(), report)
        }
    };
    if let Some((blob, what)) = damage {
        let unreadable = Vec::new();
        broken.get_or_insert(report.damages.len());
        report.damages.push(Damage {
            blob,
            what,
            unreadable,
        });
    }
    // Whatever the first break is, all from there on hang on it.
    let first = broken.and_then(|first| report.damages.get_mut(first));
    if let (Some(first), Some(sequence)) = (first, sequence) {
        first.unreadable.push(sequence);
    }
}

/// Adds a sound changeset to the chain; else says which blob is to blame, and for what.
fn follow(
    read: Read,
    chain: &mut Chain,
    broken: bool,
    report: &mut Report,
) -> Option<(String, String)> {
    let (sequence, id) = (read.written.changeset.sequence, read.written.id);
    let wrong_seal = match &read.seal {
        Some(Ok(seal)) if !seal.fits(sequence, id) => Some("its seal does not fit it".to_owned()),
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(_)) | None => None,
    };
    if let Some(what) = wrong_seal {
        report.damages.push(Damage {
            blob: read.blob.clone(),
            what,
            unreadable: Vec::new(),
        });
    }
    if broken {
        return None;
    }
    let parent = read.written.changeset.parent;
    let before = sequence.checked_sub(1);
    let blob = read.blob.clone();
    let last = chain.history.changesets().last();
    let is_gap = before.is_some() && last.map(|last| last.changeset.sequence) != before;
    match chain.history.add_sealed(read.written, read.seal) {
        Ok(()) => None,
        // It says itself which one must be there.
        Err(_) if is_gap && parent.is_some() => {
            let missing = before
                .zip(parent)
                .map(|(before, id)| changeset::blob(before, id));
            missing.map(|missing| (missing, "it is missing".to_owned()))
        }
        Err(what) => Some((blob, what.to_owned())),
    }
}
