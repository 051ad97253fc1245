//! Whether a history is what it was: by its seals, and by an anchor that was kept elsewhere.

use super::{PublicKey, ReadSeal};
use crate::changeset::ChangesetId;
use crate::history::History;
use crate::writer::Written;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use uuid::Uuid;

/// What a history is held against.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'k> {
    /// The image whose history it should be.
    pub image: Uuid,
    /// Whose seals are believed. Without any, seals are not asked for.
    pub keys: &'k [PublicKey],
}

/// What is wrong with a history.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SealFault {
    /// A changeset was put by somebody without a key.
    #[error("changeset {sequence} has no seal")]
    Unsealed {
        /// Which.
        sequence: u64,
    },
    /// A seal is another image's.
    #[error("changeset {sequence} was sealed for another image, {image}")]
    OtherImage {
        /// Which.
        sequence: u64,
        /// Whose it is.
        image: Uuid,
    },
    /// A seal is made with a key that is not believed.
    #[error("changeset {sequence} was sealed with another key, {key}")]
    OtherKey {
        /// Which.
        sequence: u64,
        /// The key.
        key: PublicKey,
    },
    /// A seal does not fit.
    #[error(
        "the seal of changeset {sequence} does not fit: it, or the changeset, is not what it was"
    )]
    Forged {
        /// Which.
        sequence: u64,
    },
    /// The anchor is another image's.
    #[error("the anchor belongs to another image, {image}")]
    OtherAnchor {
        /// Whose it is.
        image: Uuid,
    },
    /// The history is shorter than it was.
    #[error("the history was cut: the anchor names changeset {anchored}, and {}", ends(*last))]
    Cut {
        /// What the anchor names.
        anchored: u64,
        /// The last that is there.
        last: Option<u64>,
    },
    /// The history is another one.
    #[error("changeset {sequence} is not the one that the anchor names")]
    Rewritten {
        /// Which.
        sequence: u64,
    },
}

fn ends(last: Option<u64>) -> String {
    last.map_or_else(
        || "there is none".to_owned(),
        |last| format!("the last one is {last}"),
    )
}

/// How an anchor stands to a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorState {
    /// The changeset that it names is there.
    Holds,
    /// The changeset that it names was merged into the base, as the base's seal says.
    HoldsByMerge,
    /// The changeset that it names was merged too long ago to be told, or changesets were merged by
    /// somebody whose seal is not known: what they held rests on that merge.
    Unknown,
    /// It does not hold: a fault says why.
    Broken,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// All that is wrong, the oldest changeset first.
    pub faults: Vec<SealFault>,
    /// How the anchor stands to it, where there is one.
    pub anchor: Option<AnchorState>,
}

/// The end of a history at some time, to be kept where whoever may write to the store may not:
/// written as `IMAGE:SEQUENCE:DIGEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The image.
    pub image: Uuid,
    /// The last changeset.
    pub sequence: u64,
    /// Its id in the chain.
    pub head: ChangesetId,
}

/// The text is no anchor.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0:?} is no anchor: IMAGE:SEQUENCE:DIGEST")]
pub struct AnchorError(String);

impl Anchor {
    /// The anchor of a history as it is; nothing of an empty one.
    #[must_use]
    pub fn of(image: Uuid, history: &History) -> Option<Self> {
        let last = history.changesets().last()?;
        Some(Self {
            image,
            sequence: last.changeset.sequence,
            head: last.chain_id(),
        })
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.image, self.sequence, self.head)
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let parse = || {
            let mut parts = text.split(':');
            let (image, sequence, head) = (parts.next()?, parts.next()?, parts.next()?);
            let head = blake3::Hash::from_hex(head).ok()?;
            let anchor = Self {
                image: image.parse().ok()?,
                sequence: sequence.parse().ok()?,
                head: ChangesetId(*head.as_bytes()),
            };
            parts.next().is_none().then_some(anchor)
        };
        parse().ok_or_else(|| AnchorError(text.to_owned()))
    }
}

/// Holds a history against its seals, and against an anchor.
#[must_use]
pub fn verify(history: &History, trust: Trust<'_>, anchor: Option<&Anchor>) -> Verification {
    let mut faults = Vec::new();
    if !trust.keys.is_empty() {
        let sealed = history.sealed();
        faults.extend(sealed.filter_map(|(written, seal)| fault(written, seal, trust)));
    }
    let anchor = anchor.map(|anchor| match hold(history, trust, anchor, &faults) {
        Ok(state) => state,
        Err(fault) => {
            faults.push(fault);
            AnchorState::Broken
        }
    });
    Verification { faults, anchor }
}

fn fault(written: &Written, seal: &ReadSeal, trust: Trust<'_>) -> Option<SealFault> {
    let sequence = written.changeset.sequence;
    let seal = match seal {
        None => return Some(SealFault::Unsealed { sequence }),
        Some(Err(_)) => return Some(SealFault::Forged { sequence }),
        Some(Ok(seal)) => seal,
    };
    let (image, key) = (seal.image, seal.key);
    if image != trust.image {
        return Some(SealFault::OtherImage { sequence, image });
    }
    if !trust.keys.contains(&key) {
        return Some(SealFault::OtherKey { sequence, key });
    }
    let fits = seal.fits(sequence, written.id);
    (!fits).then_some(SealFault::Forged { sequence })
}

fn hold(
    history: &History,
    trust: Trust<'_>,
    anchor: &Anchor,
    faults: &[SealFault],
) -> Result<AnchorState, SealFault> {
    let (anchored, image) = (anchor.sequence, anchor.image);
    if image != trust.image {
        return Err(SealFault::OtherAnchor { image });
    }
    let sequence = |one: &Written| one.changeset.sequence;
    let last = history.changesets().last().map(sequence);
    let base = history.changesets().first();
    let (Some(base), true) = (base, last.is_some_and(|last| anchored <= last)) else {
        return Err(SealFault::Cut { anchored, last });
    };
    let rewritten = SealFault::Rewritten { sequence: anchored };
    let replaced = &base.changeset.replaced;
    // Anybody can say what a base stands for; only a seal makes it true.
    let vouched = replaced.is_empty() || (!trust.keys.is_empty() && faults.is_empty());
    if let Some(merged) = replaced.iter().find(|one| one.sequence == anchored) {
        return match merged.id == anchor.head {
            false => Err(rewritten),
            true if vouched => Ok(AnchorState::HoldsByMerge),
            true => Ok(AnchorState::Unknown),
        };
    }
    let mut changesets = history.changesets().iter();
    match changesets.find(|one| sequence(one) == anchored) {
        Some(there) if there.id != anchor.head => Err(rewritten),
        Some(_) if vouched => Ok(AnchorState::Holds),
        Some(_) | None => Ok(AnchorState::Unknown),
    }
}
