//! Seals: who vouches for a changeset, and whether a history is what it was.
//!
//! ```text
//! "VDGRSEAL"  version u32  image's id, 16 bytes  time in ns, 8 bytes        36 bytes
//! public key  32 bytes
//! signature   Ed25519 over the text below, 64 bytes
//!
//! signed: "vardoger seal 1" 0  image's id  sequence  changeset's id  time
//! ```
//!
//! A seal stands behind its changeset in the same blob, so that neither is there without the other,
//! whenever we are killed. A changeset names the one before it, so a seal vouches for all before it
//! too. What a seal cannot tell is that the end was cut off: for that an [`Anchor`] is kept
//! elsewhere.

mod verify;

pub use verify::{Anchor, AnchorError, AnchorState, SealFault, Trust, Verification, verify};

use crate::blobs::{BlobError, Blobs};
use crate::changeset::{self, ChangesetId};
use crate::codec::Taker;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use model::Timestamp;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use thiserror::Error;
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"VDGRSEAL";
const VERSION: u32 = 1;
const SIGNED: &[u8; 16] = b"vardoger seal 1\0";

/// The bytes of a seal.
pub const SEAL_BYTES: usize = 132;

/// Why a seal cannot be read, or a blob not be sealed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SealError {
    /// It is none, or damaged.
    #[error("the seal is damaged")]
    Damaged,
    /// It was written by a later version of this program.
    #[error("the seal has format {0}, this version reads format {VERSION}")]
    Version(u32),
    /// What was to be sealed is not the changeset that it is named, or is sealed already.
    #[error("what is to be sealed is not the changeset that it is named")]
    NotNamed,
}

/// A seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The image.
    pub image: Uuid,
    /// When it was sealed, as the sealing machine's clock said.
    pub sealed: Timestamp,
    /// Whose seal it is.
    pub key: PublicKey,
    signature: [u8; 64],
}

/// What stands behind a changeset: nothing, a seal, or what is none. It takes nothing from the
/// changeset that it cannot be read.
pub type ReadSeal = Option<Result<Seal, SealError>>;

impl Seal {
    /// Reads what stands behind a changeset.
    pub(crate) fn read(bytes: &[u8]) -> ReadSeal {
        (!bytes.is_empty()).then(|| Self::decode(bytes))
    }

    fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let mut taker = Taker::new(bytes);
        if taker.array() != Some(*MAGIC) {
            return Err(SealError::Damaged);
        }
        match taker.array().map(u32::from_le_bytes) {
            Some(VERSION) => {}
            Some(version) => return Err(SealError::Version(version)),
            None => return Err(SealError::Damaged),
        }
        let mut take = || {
            Some(Self {
                image: Uuid::from_bytes(taker.array()?),
                sealed: Timestamp::from_unix_ns(i64::from_le_bytes(taker.array()?)),
                key: PublicKey(taker.array()?),
                signature: taker.array()?,
            })
        };
        let seal = take().filter(|_| bytes.len() == SEAL_BYTES);
        seal.ok_or(SealError::Damaged)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.image.as_bytes());
        bytes.extend(self.sealed.unix_ns().to_le_bytes());
        bytes.extend(self.key.0);
        bytes.extend(self.signature);
        bytes
    }

    /// Whether its signature is its key's over a changeset.
    #[must_use]
    pub fn fits(&self, sequence: u64, id: ChangesetId) -> bool {
        let text = signed(self.image, sequence, id, self.sealed);
        let signature = Signature::from_bytes(&self.signature);
        VerifyingKey::from_bytes(&self.key.0)
            .is_ok_and(|key| key.verify_strict(&text, &signature).is_ok())
    }
}

fn signed(image: Uuid, sequence: u64, id: ChangesetId, sealed: Timestamp) -> Vec<u8> {
    let mut text = SIGNED.to_vec();
    text.extend(image.as_bytes());
    text.extend(sequence.to_le_bytes());
    text.extend(id.0);
    text.extend(sealed.unix_ns().to_le_bytes());
    text
}

/// What seals are verified with. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let digits = blake3::Hash::from_hex(text).map_err(|_| SealError::Damaged)?;
        Ok(Self(*digits.as_bytes()))
    }
}

/// What seals are made with.
#[derive(Clone)]
pub struct SealingKey(SigningKey);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey(of {})", self.public())
    }
}

impl SealingKey {
    /// The key of a secret: 32 bytes that nobody else knows or can guess.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// What its seals are verified with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Seals a changeset.
    #[must_use]
    pub fn seal(&self, image: Uuid, sequence: u64, id: ChangesetId, now: Timestamp) -> Seal {
        let signature = self.0.sign(&signed(image, sequence, id, now));
        Seal {
            image,
            sealed: now,
            key: self.public(),
            signature: signature.to_bytes(),
        }
    }
}

/// A clock that seals are dated by.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// Blobs of which every changeset is sealed as it is put. Whoever writes it needs no key.
pub struct SealingBlobs<B> {
    blobs: B,
    image: Uuid,
    key: SealingKey,
    now: Clock,
}

impl<B: fmt::Debug> fmt::Debug for SealingBlobs<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingBlobs")
            .field("blobs", &self.blobs)
            .field("image", &self.image)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<B: Blobs> SealingBlobs<B> {
    /// Blobs of an image, sealed with a key and dated by a clock.
    pub fn new(blobs: B, image: Uuid, key: SealingKey, now: Clock) -> Self {
        Self {
            blobs,
            image,
            key,
            now,
        }
    }

    /// A changeset with its seal.
    fn sealed(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let (sequence, id) = changeset::of_blob(name).ok_or(SealError::NotNamed)?;
        // Its digest is enough: what it says beyond that is for those to judge who read it.
        let (content, digest) = bytes.split_last_chunk().ok_or(SealError::NotNamed)?;
        if *digest != id.0 || *blake3::hash(content).as_bytes() != id.0 {
            return Err(SealError::NotNamed);
        }
        let seal = self.key.seal(self.image, sequence, id, (self.now)());
        Ok([bytes, &seal.bytes()].concat())
    }
}

impl<B: Blobs> Blobs for SealingBlobs<B> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        if !name.starts_with(changeset::PREFIX) {
            return self.blobs.put(name, bytes);
        }
        let sealed = self.sealed(name, bytes).map_err(|e| BlobError::Failed {
            doing: "seal",
            name: name.to_owned(),
            source: Box::new(e),
        })?;
        self.blobs.put(name, &sealed)
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        self.blobs.length(name)
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        self.blobs.read(name, part)
    }

    fn digest(&self, name: &str, bytes: u64) -> Result<[u8; 32], BlobError> {
        self.blobs.digest(name, bytes)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        self.blobs.list(prefix)
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        self.blobs.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn damaged_seals_are_refused_or_do_not_fit() {
        let key = SealingKey::from_secret(&[3; 32]);
        let (image, id) = (Uuid::from_u128(1), ChangesetId([2; 32]));
        let sound = key.seal(image, 5, id, Timestamp::from_unix_ns(-7));
        let bytes = sound.bytes();
        assert_eq!(bytes.len(), SEAL_BYTES);
        assert_eq!(Seal::read(&bytes), Some(Ok(sound.clone())));
        assert!(sound.fits(5, id));
        assert!(!sound.fits(6, id) && !sound.fits(5, ChangesetId([1; 32])));
        assert_eq!(Seal::read(&[]), None);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut forged = 0;
        for round in 0..20_000 {
            let mut damaged = bytes.clone();
            let at = random.next_u64() as usize % damaged.len();
            match random.next_u64() % 8 {
                0 => damaged.truncate(at.max(1)),
                1 => damaged.insert(at, random.next_u64() as u8),
                _ => damaged[at] ^= 1 << (random.next_u64() % 8),
            }
            let Some(Ok(seal)) = Seal::read(&damaged) else {
                continue;
            };
            // Verifying is slow: some are enough, as all go the same way.
            if round % 20 == 0 {
                assert!(!seal.fits(5, id), "byte {at}");
                forged += 1;
            }
        }
        assert!(forged > 100, "{forged}");
    }
}
