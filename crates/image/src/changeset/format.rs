//! How a changeset is written down and read again.

use super::{Changeset, ChangesetId, Content, Kind, MAX_REPLACED, MAX_SOURCE_BYTES, Replaced, Run};
use crate::codec::{Taker, put_number};
use crate::pack::{MAX_UNITS, PackId};
use model::Timestamp;
use std::io;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"VDGRCHNG";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 20;
const DIGEST_BYTES: usize = 32;

/// zstd's level: changesets are short.
const LEVEL: i32 = 3;

/// The most bytes of a body: a disk of 16 TiB in which every other block changed takes more, and is
/// better kept as two changesets.
const MAX_BODY_BYTES: u32 = 256 << 20;

/// The most blocks of a disk: 16 TiB times 1024.
const MAX_BLOCKS: u64 = 1 << 42;

/// Why a changeset cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ChangesetError {
    /// It is none, or damaged.
    #[error("the changeset is damaged: {0}")]
    Damaged(&'static str),
    /// It was written by a later version of this program.
    #[error("the changeset has format {0}, this version reads format {VERSION}")]
    Version(u32),
}

/// Writes a changeset down.
///
/// # Errors
/// It is too long, or cannot be compressed.
pub fn encode(changeset: &Changeset) -> io::Result<(ChangesetId, Vec<u8>)> {
    let body = body(changeset);
    let too_long = || io::Error::other("the changeset is too long");
    let raw = u32::try_from(body.len()).map_err(|_| too_long())?;
    if raw > MAX_BODY_BYTES || changeset.source.len() > MAX_SOURCE_BYTES {
        return Err(too_long());
    }
    let stored = zstd::bulk::compress(&body, LEVEL)?;
    let stored_bytes = u32::try_from(stored.len()).map_err(|_| too_long())?;
    let mut bytes = MAGIC.to_vec();
    for number in [VERSION, stored_bytes, raw] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(stored);
    let id = ChangesetId(*blake3::hash(&bytes).as_bytes());
    bytes.extend(id.0);
    Ok((id, bytes))
}

fn body(changeset: &Changeset) -> Vec<u8> {
    let mut body = Vec::new();
    let kind = match changeset.kind {
        Kind::Base => 0,
        Kind::Increment => 1,
        Kind::Resync => 2,
    };
    put_number(&mut body, kind);
    put_number(&mut body, changeset.sequence);
    body.extend(changeset.parent.map_or([0; 32], |parent| parent.0));
    body.extend(changeset.taken.unix_ns().to_le_bytes());
    put_number(&mut body, changeset.disk_bytes);
    put_number(&mut body, changeset.source.len() as u64);
    body.extend(changeset.source.as_bytes());
    put_number(&mut body, changeset.packs.len() as u64);
    body.extend(changeset.packs.iter().flat_map(|pack| pack.0));
    put_number(&mut body, changeset.runs.len() as u64);
    let mut end = 0;
    for run in &changeset.runs {
        put_number(&mut body, run.start.saturating_sub(end));
        put_number(&mut body, run.blocks);
        match run.content {
            Content::Zero => put_number(&mut body, 0),
            Content::Units {
                pack,
                first,
                unit_blocks,
            } => {
                put_number(&mut body, u64::from(pack).saturating_add(1));
                put_number(&mut body, u64::from(first));
                put_number(&mut body, u64::from(unit_blocks));
            }
        }
        end = run.end();
    }
    put_number(&mut body, changeset.replaced.len() as u64);
    for replaced in &changeset.replaced {
        put_number(&mut body, replaced.sequence);
        body.extend(replaced.id.0);
    }
    body
}

/// Parts a blob into the changeset and the seal behind it, which is empty where there is none.
#[must_use]
pub fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let stored_bytes = || {
        let mut taker = Taker::new(bytes);
        taker.bytes(HEADER_BYTES.checked_sub(8)?)?;
        usize::try_from(u32::from_le_bytes(taker.array()?)).ok()
    };
    let end = stored_bytes()
        .and_then(|stored| stored.checked_add(HEADER_BYTES))
        .and_then(|end| end.checked_add(DIGEST_BYTES))
        .unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// Reads a changeset, and says its id.
///
/// # Errors
/// It is damaged, or from a later version.
pub fn decode(bytes: &[u8]) -> Result<(ChangesetId, Changeset), ChangesetError> {
    let damaged = ChangesetError::Damaged;
    let mut taker = Taker::new(bytes);
    if taker.array() != Some(*MAGIC) {
        return Err(damaged("it is none"));
    }
    let mut number = || taker.array().map(u32::from_le_bytes);
    let (version, stored_bytes, raw_bytes) = (number(), number(), number());
    match version {
        Some(VERSION) => {}
        Some(version) => return Err(ChangesetError::Version(version)),
        None => return Err(damaged("it is cut")),
    }
    let (Some(stored_bytes), Some(raw_bytes)) = (stored_bytes, raw_bytes) else {
        return Err(damaged("it is cut"));
    };
    let stored_bytes = usize::try_from(stored_bytes).map_err(|_| damaged("it is too long"))?;
    let stored = taker.bytes(stored_bytes).ok_or(damaged("it is cut"))?;
    let id = taker.array().ok_or(damaged("it is cut"))?;
    let content = bytes.split_at_checked(HEADER_BYTES.saturating_add(stored_bytes));
    let content = content.ok_or(damaged("it is cut"))?.0;
    if !taker.is_empty() || *blake3::hash(content).as_bytes() != id {
        return Err(damaged("its digest is another"));
    }
    if raw_bytes > MAX_BODY_BYTES {
        return Err(damaged("it is too long"));
    }
    let raw_bytes = usize::try_from(raw_bytes).map_err(|_| damaged("it is too long"))?;
    let body = zstd::bulk::decompress(stored, raw_bytes)
        .map_err(|_| damaged("it cannot be decompressed"))?;
    let changeset = read_body(&body).ok_or(damaged("it makes no sense"))?;
    debug_assert_eq!(content.len().saturating_add(DIGEST_BYTES), bytes.len());
    Ok((ChangesetId(id), changeset))
}

fn read_body(body: &[u8]) -> Option<Changeset> {
    let mut taker = Taker::new(body);
    let kind = match taker.number()? {
        0 => Kind::Base,
        1 => Kind::Increment,
        2 => Kind::Resync,
        _ => return None,
    };
    let sequence = taker.number()?;
    let parent: [u8; 32] = taker.array()?;
    let parent = (parent != [0; 32]).then_some(ChangesetId(parent));
    let taken = Timestamp::from_unix_ns(i64::from_le_bytes(taker.array()?));
    let disk_bytes = taker.number()?;
    let disk_blocks = disk_bytes.div_ceil(crate::BLOCK_BYTES);
    if disk_blocks > MAX_BLOCKS || (kind == Kind::Base) != parent.is_none() {
        return None;
    }
    let source_bytes = usize::try_from(taker.number()?).ok()?;
    if source_bytes > MAX_SOURCE_BYTES {
        return None;
    }
    let source = str::from_utf8(taker.bytes(source_bytes)?).ok()?.to_owned();
    let packs = packs(&mut taker)?;
    let runs = runs(&mut taker, disk_blocks, packs.len())?;
    let replaced = replaced(&mut taker)?;
    let stands_for = replaced.last().map(|last| last.sequence);
    let sound = match kind {
        // The first base stands for none, a later one for all before it.
        Kind::Base => stands_for.unwrap_or(0) == sequence,
        Kind::Increment | Kind::Resync => stands_for.is_none(),
    };
    (sound && taker.is_empty()).then_some(Changeset {
        kind,
        sequence,
        parent,
        taken,
        disk_bytes,
        source,
        packs,
        runs,
        replaced,
    })
}

fn replaced(taker: &mut Taker<'_>) -> Option<Vec<Replaced>> {
    let count = usize::try_from(taker.number()?).ok()?;
    if count > MAX_REPLACED {
        return None;
    }
    let mut replaced = Vec::new();
    for _ in 0..count {
        let sequence = taker.number()?;
        let id = ChangesetId(taker.array()?);
        let ascends = |last: &Replaced| last.sequence < sequence;
        if !replaced.last().is_none_or(ascends) {
            return None;
        }
        replaced.push(Replaced { sequence, id });
    }
    Some(replaced)
}

fn packs(taker: &mut Taker<'_>) -> Option<Vec<PackId>> {
    let count = taker.number()?;
    let mut packs = Vec::new();
    for _ in 0..count {
        packs.push(PackId(taker.array()?));
    }
    Some(packs)
}

fn runs(taker: &mut Taker<'_>, disk_blocks: u64, packs: usize) -> Option<Vec<Run>> {
    let count = taker.number()?;
    let mut runs = Vec::new();
    let mut end = 0_u64;
    for _ in 0..count {
        let start = end.checked_add(taker.number()?)?;
        let blocks = taker.number().filter(|blocks| *blocks > 0)?;
        end = start
            .checked_add(blocks)
            .filter(|end| *end <= disk_blocks)?;
        let content = match taker.number()? {
            0 => Content::Zero,
            place => units(taker, place.checked_sub(1)?, packs, blocks)?,
        };
        runs.push(Run {
            start,
            blocks,
            content,
        });
    }
    Some(runs)
}

fn units(taker: &mut Taker<'_>, pack: u64, packs: usize, blocks: u64) -> Option<Content> {
    let pack = u32::try_from(pack).ok()?;
    let first = u32::try_from(taker.number()?).ok()?;
    let unit_blocks = u32::try_from(taker.number()?).ok()?;
    let units = blocks.div_ceil(u64::from(unit_blocks).max(1));
    let last = u64::from(first).checked_add(units)?;
    let sound = usize::try_from(pack).is_ok_and(|pack| pack < packs)
        && unit_blocks > 0
        && last <= u64::from(MAX_UNITS);
    sound.then_some(Content::Units {
        pack,
        first,
        unit_blocks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn damaged_bodies_are_refused_or_sound() {
        let increment = Changeset {
            kind: Kind::Resync,
            sequence: 3,
            parent: Some(ChangesetId([9; 32])),
            taken: Timestamp::from_unix_ns(-5),
            disk_bytes: 1 << 34,
            source: "a bitmap".to_owned(),
            packs: vec![PackId([1; 32]), PackId([2; 32])],
            runs: (1..300)
                .map(|number| Run {
                    start: number * number * 10,
                    blocks: 1 + number % 5,
                    content: match number % 3 {
                        0 => Content::Zero,
                        pack => Content::Units {
                            pack: pack as u32 - 1,
                            first: number as u32,
                            unit_blocks: 1 << (number % 3),
                        },
                    },
                })
                .collect(),
            replaced: Vec::new(),
        };
        let replaced = |sequence| Replaced {
            sequence,
            id: ChangesetId([7; 32]),
        };
        let base = Changeset {
            kind: Kind::Base,
            sequence: 900,
            parent: None,
            replaced: (0..=900).step_by(100).map(replaced).collect(),
            ..increment.clone()
        };
        for sound in [increment, base] {
            damage(&sound);
        }
    }

    fn damage(sound: &Changeset) {
        let body = body(sound);
        assert_eq!(read_body(&body).as_ref(), Some(sound));
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let (mut refused, mut taken) = (0, 0);
        for _ in 0..10_000 {
            let mut damaged = body.clone();
            for _ in 0..1 + random.next_u64() % 3 {
                let at = random.next_u64() as usize % damaged.len();
                match random.next_u64() % 4 {
                    0 => damaged[at] ^= 1 << (random.next_u64() % 8),
                    1 => damaged[at] = random.next_u64() as u8,
                    2 => damaged.truncate(at.max(1)),
                    _ => damaged.insert(at, random.next_u64() as u8),
                }
            }
            match read_body(&damaged) {
                None => refused += 1,
                Some(read) => {
                    taken += 1;
                    // What is taken has one form, and its runs ascend on the disk.
                    assert_eq!(self::body(&read), damaged);
                    let blocks = read.disk_bytes.div_ceil(crate::BLOCK_BYTES);
                    assert!(read.runs.iter().all(|run| run.end() <= blocks));
                    assert!(read.runs.is_sorted_by(|one, next| one.end() <= next.start));
                    let replaced = |one: &Replaced, next: &Replaced| one.sequence < next.sequence;
                    assert!(read.replaced.is_sorted_by(replaced));
                }
            }
        }
        assert!(
            refused > 500 && taken > 500,
            "{refused} refused, {taken} taken"
        );
    }
}
