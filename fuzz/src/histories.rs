//! Readers of our own formats: whoever can write to a store can give them anything. Digests are made
//! to fit, or nothing behind them would be reached.

use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::{self, ChangesetId};
use image::history::History;
use image::pack::{self, PackId, PackReader};
use image::seal::{Anchor, SealingKey, Trust, verify};
use std::sync::Arc;
use uuid::Uuid;

/// How much of a version is read.
const READ_BYTES: u64 = 64 << 10;

/// Gives the last 32 bytes what the ones before them come to.
fn sum(bytes: &[u8]) -> Vec<u8> {
    let content = &bytes[..bytes.len().saturating_sub(32)];
    [content, blake3::hash(content).as_bytes()].concat()
}

pub(crate) fn changeset(bytes: &[u8]) {
    let Ok((_, read)) = changeset::decode(&sum(bytes)) else {
        return;
    };
    // What is taken is sound: it can be written down and comes back.
    let (_, again) = changeset::encode(&read).expect("what was read can be written");
    let (_, second) = changeset::decode(&again).expect("what was written can be read");
    assert_eq!(second, read);
}

pub(crate) fn pack(bytes: &[u8]) {
    let bytes = sum(bytes);
    let id = PackId(*blake3::hash(&bytes[..bytes.len() - 32]).as_bytes());
    let blobs = MemoryBlobs::default();
    if blobs.put(&id.blob(), &bytes).is_err() {
        return;
    }
    if let Ok(pack) = PackReader::open(&blobs, id) {
        for frame in &pack.directory().frames {
            let _read_or_error = pack.read_frame(&blobs, frame);
        }
    }
    let _sound_or_error = pack::verify(&blobs, id);
}

/// A history of one changeset, with whatever stands behind it as its seal.
pub(crate) fn seal(bytes: &[u8]) {
    let (content, behind) = changeset::split(bytes);
    let content = sum(content);
    let Some((_, digest)) = content.split_last_chunk::<32>() else {
        return;
    };
    let blobs = Arc::new(MemoryBlobs::default());
    let sequence = changeset::decode(&content).map_or(0, |(_, read)| read.sequence);
    let name = changeset::blob(sequence, ChangesetId(*digest));
    if blobs.put(&name, &[&content[..], behind].concat()).is_err() {
        return;
    }
    let Ok((history, _damage)) = History::open_sound(&*blobs) else {
        return;
    };
    let keys = [SealingKey::from_secret(&[7; 32]).public()];
    let image = Uuid::from_bytes([5; 16]);
    let trust = Trust { image, keys: &keys };
    let anchor = Anchor::of(image, &history);
    let _told = verify(&history, trust, anchor.as_ref());
    if let Ok(version) = history.version(blobs, sequence) {
        let mut buffer = vec![0; disk::ReadAt::size_bytes(&version).min(READ_BYTES) as usize];
        let _read_or_error = disk::ReadAt::read_exact_at(&version, 0, &mut buffer);
    }
}
