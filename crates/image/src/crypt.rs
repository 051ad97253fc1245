//! Blobs encrypted where they are put.
//!
//! ```text
//! "VDGRCRPT"  version u32  key's mark, 16 bytes  salt, 32 bytes            60 bytes
//! chunk …     64 KiB of the content, and its tag of 16 bytes; the last one may be shorter
//! ```
//!
//! Each blob has a key of its own, drawn from the secret, its name and its content by keyed BLAKE3
//! (the salt is that of name and content), and its chunks are numbered: AES-256 in Galois counter
//! mode never sees one key and number twice with different content. The last chunk is numbered
//! otherwise, so a blob that was cut is no blob. The name and the header are bound to every chunk,
//! so none passes for another.
//!
//! A part is read by decrypting the chunks that it touches. Names tell what they told before: a
//! pack's is the digest of its content. Sizes, times and how much changed are not hidden.

use crate::blobs::{BlobError, Blobs};
use crate::codec::Taker;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use aes_gcm::{Aes256Gcm, KeyInit};
use std::fmt;
use std::ops::Range;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"VDGRCRPT";
const VERSION: u32 = 1;

const HEADER: usize = 60;
const HEADER_BYTES: u64 = HEADER as u64;

/// What is encrypted at once: reading one block of 4 KiB decrypts no more than this.
const CHUNK_BYTES: u64 = 64 << 10;

const TAG_BYTES: u64 = 16;

/// Why an encrypted blob cannot be used.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CryptError {
    /// It is not encrypted.
    #[error("it is not encrypted")]
    Plain,
    /// It was written by a later version of this program.
    #[error("its encryption has format {0}, this version reads format {VERSION}")]
    Version(u32),
    /// It was encrypted with another key.
    #[error("it was encrypted with another key")]
    WrongKey,
    /// It is not what was put, or was put under another name.
    #[error("it is not what was encrypted")]
    Damaged,
}

/// Blobs that are encrypted as they are put, and decrypted as they are read.
pub struct EncryptedBlobs<B> {
    blobs: B,
    /// What salts are made with.
    salting: [u8; 32],
    /// What blobs' keys are made with.
    deriving: [u8; 32],
    /// What tells this secret from others.
    mark: [u8; 16],
}

impl<B: fmt::Debug> fmt::Debug for EncryptedBlobs<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedBlobs")
            .field("blobs", &self.blobs)
            .finish_non_exhaustive()
    }
}

/// The head of an encrypted blob.
struct Header([u8; HEADER]);

/// A blob's key and what is bound to its chunks.
struct Sealer {
    cipher: Aes256Gcm,
    bound: Vec<u8>,
}

impl<B: Blobs> EncryptedBlobs<B> {
    /// Blobs encrypted with a secret: 32 bytes that nobody else knows or can guess.
    pub fn new(blobs: B, secret: &[u8; 32]) -> Self {
        let derive = |purpose: &str| blake3::derive_key(purpose, secret);
        let mut mark = [0; 16];
        mark.copy_from_slice(derive("vardoger 2026 image mark").split_at(16).0);
        Self {
            blobs,
            salting: derive("vardoger 2026 image salt"),
            deriving: derive("vardoger 2026 image blob"),
            mark,
        }
    }

    fn header(&self, name: &str, content: &[u8]) -> Header {
        let mut salt = blake3::Hasher::new_keyed(&self.salting);
        salt.update(&(name.len() as u64).to_le_bytes());
        salt.update(name.as_bytes());
        salt.update(content);
        let salt = salt.finalize();
        let mut bytes = [0; HEADER];
        let version = VERSION.to_le_bytes();
        let parts = [&MAGIC[..], &version, &self.mark, salt.as_bytes()].concat();
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = part;
        }
        Header(bytes)
    }

    /// Holds a header against our secret.
    fn sealer(&self, name: &str, header: &Header) -> Result<Sealer, CryptError> {
        let mut taker = Taker::new(&header.0);
        if taker.array() != Some(*MAGIC) {
            return Err(CryptError::Plain);
        }
        match taker.array().map(u32::from_le_bytes) {
            Some(VERSION) => {}
            version => return Err(CryptError::Version(version.unwrap_or(0))),
        }
        if taker.array() != Some(self.mark) {
            return Err(CryptError::WrongKey);
        }
        let mut key = blake3::Hasher::new_keyed(&self.deriving);
        key.update(&header.0);
        key.update(name.as_bytes());
        let key = key.finalize();
        let cipher = Aes256Gcm::new_from_slice(key.as_bytes()).map_err(|_| CryptError::Damaged)?;
        let bound = [&header.0[..], name.as_bytes()].concat();
        Ok(Sealer { cipher, bound })
    }

    fn read_header(&self, name: &str) -> Result<(Sealer, u64), BlobError> {
        let stored = self.blobs.length(name)?;
        if stored < HEADER_BYTES.saturating_add(TAG_BYTES) {
            return Err(failed(name, CryptError::Plain));
        }
        let bytes = self.blobs.read(name, 0..HEADER_BYTES)?;
        let header = bytes
            .try_into()
            .map_err(|_| failed(name, CryptError::Damaged))?;
        let sealer = self.sealer(name, &Header(header));
        let length = content_bytes(stored).ok_or_else(|| failed(name, CryptError::Damaged))?;
        Ok((sealer.map_err(|error| failed(name, error))?, length))
    }
}

impl Sealer {
    /// The number of a chunk: 12 bytes, the last of which tells whether it is the last chunk.
    fn nonce(number: u64, is_last: bool) -> Nonce<Aes256Gcm> {
        let mut nonce = Nonce::<Aes256Gcm>::default();
        let number = number.to_le_bytes();
        let last = [u8::from(is_last)];
        for (byte, value) in nonce.iter_mut().rev().zip(last.iter().chain(&number)) {
            *byte = *value;
        }
        nonce
    }

    fn encrypt(&self, number: u64, is_last: bool, chunk: &mut [u8]) -> Result<Vec<u8>, CryptError> {
        let nonce = Self::nonce(number, is_last);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, &self.bound, InOutBuf::from(chunk))
            .map_err(|_| CryptError::Damaged)?;
        Ok(tag.to_vec())
    }

    fn decrypt(&self, number: u64, is_last: bool, stored: &mut [u8]) -> Result<usize, CryptError> {
        let tag_bytes = usize::try_from(TAG_BYTES).unwrap_or(usize::MAX);
        let length = stored
            .len()
            .checked_sub(tag_bytes)
            .ok_or(CryptError::Damaged)?;
        let (chunk, tag) = stored.split_at_mut(length);
        let tag = Tag::<Aes256Gcm>::try_from(&*tag).map_err(|_| CryptError::Damaged)?;
        let nonce = Self::nonce(number, is_last);
        self.cipher
            .decrypt_inout_detached(&nonce, &self.bound, InOutBuf::from(chunk), &tag)
            .map_err(|_| CryptError::Damaged)?;
        Ok(length)
    }
}

/// How many chunks a content has: an empty one has one.
fn chunks(content_bytes: u64) -> u64 {
    content_bytes.div_ceil(CHUNK_BYTES).max(1)
}

/// The length of the content, by that of what is stored.
fn content_bytes(stored: u64) -> Option<u64> {
    let body = stored.checked_sub(HEADER_BYTES)?;
    let count = body.div_ceil(CHUNK_BYTES.checked_add(TAG_BYTES)?).max(1);
    let content = body.checked_sub(count.checked_mul(TAG_BYTES)?)?;
    (chunks(content) == count).then_some(content)
}

fn failed(name: &str, error: CryptError) -> BlobError {
    BlobError::Failed {
        doing: "decrypt",
        name: name.to_owned(),
        source: Box::new(error),
    }
}

impl<B: Blobs> Blobs for EncryptedBlobs<B> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let header = self.header(name, bytes);
        let refused = |error| failed(name, error);
        let sealer = self.sealer(name, &header).map_err(refused)?;
        let count = chunks(bytes.len() as u64);
        let mut stored = header.0.to_vec();
        let chunk_bytes = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
        let mut rest = bytes;
        for number in 0..count {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_bytes));
            rest = after;
            let mut chunk = chunk.to_vec();
            let is_last = number.saturating_add(1) == count;
            let tag = sealer
                .encrypt(number, is_last, &mut chunk)
                .map_err(refused)?;
            stored.extend(chunk);
            stored.extend(tag);
        }
        self.blobs.put(name, &stored)
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        Ok(self.read_header(name)?.1)
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let (sealer, length) = self.read_header(name)?;
        if part.start > part.end || part.end > length {
            return Err(BlobError::Short {
                name: name.to_owned(),
                end: part.end,
            });
        }
        let damaged = || failed(name, CryptError::Damaged);
        let count = chunks(length);
        let stored_chunk = CHUNK_BYTES.saturating_add(TAG_BYTES);
        let at = |chunk: u64| HEADER_BYTES.saturating_add(chunk.saturating_mul(stored_chunk));
        let end = length.saturating_add(count.saturating_mul(TAG_BYTES));
        let end = end.saturating_add(HEADER_BYTES);
        let first = part.start.checked_div(CHUNK_BYTES).unwrap_or(0);
        let first = first.min(count.saturating_sub(1));
        let after = part.end.div_ceil(CHUNK_BYTES).max(first.saturating_add(1));
        let mut stored = self.blobs.read(name, at(first)..at(after).min(end))?;
        let stored_chunk = usize::try_from(stored_chunk).map_err(|_| damaged())?;
        let mut content = Vec::new();
        for (number, chunk) in (first..after).zip(stored.chunks_mut(stored_chunk)) {
            let is_last = number.saturating_add(1) == count;
            let bytes = sealer.decrypt(number, is_last, chunk);
            let bytes = bytes.map_err(|error| failed(name, error))?;
            content.extend(chunk.iter().take(bytes));
        }
        let skipped = part.start.saturating_sub(first.saturating_mul(CHUNK_BYTES));
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let wanted = part.end.saturating_sub(part.start);
        let wanted = place(skipped)..place(skipped.saturating_add(wanted));
        content.get(wanted).map(<[u8]>::to_vec).ok_or_else(damaged)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        self.blobs.list(prefix)
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        self.blobs.remove(name)
    }
}
