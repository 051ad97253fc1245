//! What the tests of images on disk share: a disk whose content follows from the version and the
//! block, and a script of captures that goes on wherever it was broken off.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part of this, and a helper of a test may panic"
)]

use disk::ReadAt;
use image::BLOCK_BYTES;
use image::blobs::Blobs;
use image::changeset::Kind;
use image::check::{Level, check};
use image::forget::{merge, sweep};
use image::history::History;
use image::seal::{SealingBlobs, SealingKey, Trust, verify};
use image::writer::{About, ChangesetWriter, Cut};
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use store::{ImageRecord, ImageSource, Images, Shelf};
use uuid::Uuid;

pub const NAME: &str = "web1";
pub const BLOCKS: u64 = 96;
const BLOCK: usize = BLOCK_BYTES as usize;

/// How many versions are kept.
const KEPT: u64 = 3;

pub fn record(name: &str) -> ImageRecord {
    ImageRecord {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        created: Timestamp::from_unix_ns(1_700_000_000_000_000_000),
        source: ImageSource::Machine {
            vm: "web1".to_owned(),
            disk: "drive0".to_owned(),
        },
        format: "qcow2".to_owned(),
        notes: [("bitmap".to_owned(), "vardoger-0".to_owned())].into(),
    }
}

/// Whether a version writes a block: the first writes all.
fn writes(version: u64, block: u64) -> bool {
    version == 0 || (version * 31 + block * 17).is_multiple_of(7)
}

/// What a version writes into a block: zeros, what another block has too, or its own.
fn content(version: u64, block: u64) -> Vec<u8> {
    let seed = match (version + block) % 5 {
        0 => return vec![0; BLOCK],
        1 => block % 3,
        _ => 1000 + version * BLOCKS + block,
    };
    let mut bytes = vec![0; BLOCK];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.fill_bytes(&mut bytes[..BLOCK / 2]);
    bytes
}

/// The disk at a version.
pub fn disk_at(version: u64) -> Vec<u8> {
    let last = |block| (0..=version).rev().find(|version| writes(*version, block));
    let blocks = (0..BLOCKS).map(|block| content(last(block).unwrap(), block));
    blocks.flatten().collect()
}

fn key() -> SealingKey {
    SealingKey::from_secret(&[1; 32])
}

fn sealing(shelf: Shelf) -> Arc<dyn Blobs> {
    let image = shelf.record().id;
    let now = Box::new(|| Timestamp::from_unix_ns(5));
    Arc::new(SealingBlobs::new(shelf, image, key(), now))
}

/// Captures some versions, forgets old ones, and says what is acknowledged. Goes on where
/// an earlier one was broken off.
pub fn script(store: &Path, captures: u64, say: fn(&str, u64)) -> Result<(), Box<dyn Error>> {
    let images = Images::open(store)?;
    let shelf = match images.names()?.is_empty() {
        true => images.create(NAME, &record(NAME))?,
        false => images.write(NAME)?,
    };
    say("created", 0);
    let mut noted = shelf.record();
    noted
        .notes
        .insert("captures".to_owned(), captures.to_string());
    shelf.set_record(&noted)?;
    let blobs = sealing(shelf);
    let mut history = History::open(&*blobs)?;
    sweep(&*blobs, &history)?;
    for _ in 0..captures {
        let version = capture(&*blobs, &mut history)?;
        say("captured", version);
        if let Some(until) = version.checked_sub(KEPT) {
            history = merge(&blobs, &history, until)?;
            say("forgot", until);
            sweep(&*blobs, &history)?;
        }
    }
    say("done", 0);
    Ok(())
}

fn capture(blobs: &dyn Blobs, history: &mut History) -> Result<u64, Box<dyn Error>> {
    let last = history
        .changesets()
        .last()
        .map(|one| one.changeset.sequence);
    let version = last.map_or(0, |last| last + 1);
    let about = About {
        kind: if version == 0 {
            Kind::Base
        } else {
            Kind::Increment
        },
        sequence: version,
        parent: history.head(),
        disk_bytes: BLOCKS * BLOCK_BYTES,
    };
    let mut known = history.known_units(blobs)?;
    let mut writer = ChangesetWriter::new(blobs, &mut known, about, Cut::CHANGE);
    let disk = disk_at(version);
    for block in (0..BLOCKS).filter(|block| writes(version, *block)) {
        writer.write_from(&disk, block..block + 1)?;
    }
    let taken = Timestamp::from_unix_ns(i64::try_from(version)?);
    history.add(writer.finish(taken, "a script".to_owned())?)?;
    Ok(version)
}

/// What was acknowledged by the lines of a script.
#[derive(Debug, Default, Clone, Copy)]
pub struct Acknowledged {
    pub created: bool,
    pub last: Option<u64>,
    pub forgot: Option<u64>,
}

impl Acknowledged {
    pub fn take(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("created", _)) => self.created = true,
            Some(("captured", number)) => self.last = number.parse().ok(),
            Some(("forgot", number)) => self.forgot = number.parse().ok(),
            _ => {}
        }
    }
}

/// All that was acknowledged is there, and what is there is sound.
pub fn check_store(store: &Path, acknowledged: Acknowledged) -> Result<(), String> {
    let told = |error: &dyn Error| error.to_string();
    let images = Images::open(store).map_err(|e| told(&e))?;
    if images.names().map_err(|e| told(&e))?.is_empty() {
        return match acknowledged.created {
            true => Err("the image is gone".to_owned()),
            false => Ok(()),
        };
    }
    let shelf = Arc::new(images.read(NAME).map_err(|e| told(&e))?);
    let report = check(&*shelf, Level::Deep, NonZeroUsize::MIN).map_err(|e| told(&e))?;
    if !report.damages.is_empty() {
        return Err(format!("damages: {:?}", report.damages));
    }
    let history = History::open(&*shelf).map_err(|e| told(&e))?;
    let keys = [key().public()];
    let image = shelf.record().id;
    let faults = verify(&history, Trust { image, keys: &keys }, None).faults;
    if !faults.is_empty() {
        return Err(format!("seals: {faults:?}"));
    }
    let sequences: Vec<u64> = history
        .changesets()
        .iter()
        .map(|one| one.changeset.sequence)
        .collect();
    if acknowledged.last > sequences.last().copied() {
        return Err(format!("{acknowledged:?}, and there are {sequences:?}"));
    }
    if acknowledged.forgot > sequences.first().copied() {
        return Err(format!("{acknowledged:?}, and there are {sequences:?}"));
    }
    for sequence in sequences {
        let blobs: Arc<dyn Blobs> = Arc::clone(&shelf) as Arc<dyn Blobs>;
        let version = history.version(blobs, sequence).map_err(|e| told(&e))?;
        let mut bytes = vec![0; BLOCKS as usize * BLOCK];
        version.read_exact_at(0, &mut bytes).map_err(|e| told(&e))?;
        if bytes != disk_at(sequence) {
            return Err(format!("version {sequence} reads otherwise"));
        }
    }
    Ok(())
}

/// The next capture works, and leaves nothing behind that belongs to nothing.
pub fn check_goes_on(store: &Path) -> Result<(), String> {
    script(store, 1, |_, _| {}).map_err(|error| format!("the next capture: {error}"))?;
    check_store(store, Acknowledged::default())?;
    let images = Images::open(store).map_err(|e| e.to_string())?;
    let shelf = images.read(NAME).map_err(|e| e.to_string())?;
    let report = check(&shelf, Level::Structure, NonZeroUsize::MIN).map_err(|e| e.to_string())?;
    let staged = std::fs::read_dir(shelf.path().join("staging")).map_err(|e| e.to_string())?;
    match (report.strays.is_empty(), staged.count()) {
        (true, 0) => Ok(()),
        left => Err(format!("left behind: {left:?} {:?}", report.strays)),
    }
}
