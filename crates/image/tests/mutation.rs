//! Damaged packs and changesets, 20,000 of each: every one is an error or a sound reading, without a
//! panic, a hang, or memory by what it claims.

use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::{self, Changeset, ChangesetError, Content, Kind, Run};
use image::pack::{PackId, PackReader, PackWriter, UnitDigest};
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::{Duration, Instant};

const MUTATIONS: u64 = 20_000;
const LONGEST: Duration = Duration::from_secs(1);

/// Changes a few bytes, cuts, or puts a number of its own where numbers are.
fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    for _ in 0..1 + random.next_u64() % 4 {
        let at = random.next_u64() as usize % bytes.len().max(1);
        match random.next_u64() % 5 {
            0 => bytes[at] ^= 1 << (random.next_u64() % 8),
            1 => bytes[at] = random.next_u64() as u8,
            2 if bytes.len() > 9 => {
                let at = at.min(bytes.len() - 8);
                let number = random.next_u64() >> (random.next_u64() % 64);
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            3 => bytes.truncate(at.max(1)),
            _ => bytes.insert(at, random.next_u64() as u8),
        }
    }
}

/// Gives a damaged blob the sum that it should have, so that what stands behind it is reached.
fn seal(bytes: &mut [u8]) -> [u8; 32] {
    let (content, sum) = bytes.split_at_mut(bytes.len().saturating_sub(32));
    let digest = *blake3::hash(content).as_bytes();
    if sum.len() == 32 {
        sum.copy_from_slice(&digest);
    }
    digest
}

#[test]
fn damaged_packs_are_refused() {
    let mut writer = PackWriter::new(4096, 64 << 10);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for number in 0..40_u8 {
        let mut unit = vec![number; 4096];
        random.fill_bytes(&mut unit[..64]);
        writer.add(UnitDigest::of(&unit), &unit).unwrap();
    }
    let sound = writer.finish().unwrap().bytes;
    let mut read = 0;
    for _ in 0..MUTATIONS {
        let mut bytes = sound.clone();
        mutate(&mut bytes, &mut random);
        let id = PackId(seal(&mut bytes));
        let blobs = MemoryBlobs::default();
        blobs.put(&id.blob(), &bytes).unwrap();
        let began = Instant::now();
        if let Ok(pack) = PackReader::open(&blobs, id) {
            for frame in &pack.directory().frames {
                read += usize::from(pack.read_frame(&blobs, frame).is_ok());
            }
        }
        assert!(began.elapsed() < LONGEST, "{id}");
    }
    // Damage in one frame leaves the others.
    assert!(read > 0);
}

#[test]
fn damaged_changesets_are_refused() {
    let sound = Changeset {
        kind: Kind::Increment,
        sequence: 7,
        parent: Some(changeset::ChangesetId([3; 32])),
        taken: Timestamp::from_unix_ns(1_700_000_000_000_000_000),
        disk_bytes: 1 << 30,
        source: "qemu".to_owned(),
        packs: vec![PackId([1; 32]), PackId([2; 32])],
        runs: (0..200)
            .map(|number| Run {
                start: number * 1000,
                blocks: 1 + number % 7,
                content: match number % 3 {
                    0 => Content::Zero,
                    _ => Content::Units {
                        pack: (number % 2) as u32,
                        first: number as u32,
                        unit_blocks: 1,
                    },
                },
            })
            .collect(),
        replaced: Vec::new(),
    };
    let (id, bytes) = changeset::encode(&sound).unwrap();
    assert_eq!(changeset::decode(&bytes), Ok((id, sound)));
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(changeset::decode(&newer), Err(ChangesetError::Version(2)));
    for _ in 0..MUTATIONS {
        let mut damaged = bytes.clone();
        mutate(&mut damaged, &mut random);
        if random.next_u64() % 4 > 0 {
            seal(&mut damaged);
        }
        let began = Instant::now();
        if let Ok((_, read)) = changeset::decode(&damaged) {
            // What is taken is sound: it can be written down and comes back.
            let (_, again) = changeset::encode(&read).unwrap();
            assert_eq!(changeset::decode(&again).unwrap().1, read);
        }
        assert!(began.elapsed() < LONGEST);
    }
}
