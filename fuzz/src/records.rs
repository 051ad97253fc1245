//! The reader of change records. Whoever can write to a store can give it any; sums are made to fit, or
//! nothing behind them would be reached.

use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::Kind;
use image::history::History;
use image::records::{PREFIX, Question, Records};
use image::writer::{About, ChangesetWriter, Cut, KnownUnits};
use model::Timestamp;
use std::sync::Arc;

/// As the format has them: what comes before the first block, and after the index.
const HEAD_BYTES: usize = 12;
const TAIL_BYTES: usize = 48;

/// How many records of an answer are read.
const ANSWERS: usize = 500;

pub(crate) fn records(bytes: &[u8]) {
    let bytes = sum(bytes.to_vec());
    let blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::default());
    let Some(history) = history(&*blobs) else {
        return;
    };
    let Some(last) = history.changesets().last() else {
        return;
    };
    let id = last.chain_id();
    let name = format!("{PREFIX}{:012}-{:012}-{:012}-{id}", 1, 2, 9);
    if blobs.put(&name, &bytes).is_err() {
        return;
    }
    let Ok(records) = Records::open(&blobs, &history) else {
        return;
    };
    assert!(records.missing().is_empty() && records.runs() == 1);
    let ask = |path: Option<&[u8]>, last| {
        let question = Question {
            path: path.map(<[u8]>::to_vec),
            last,
            ..Question::default()
        };
        let answers = records.ask(&question).into_iter().flatten();
        let mut answers = answers.take(ANSWERS).map_while(Result::ok);
        answers.all(|record| record.sequence <= last.unwrap_or(u64::MAX))
    };
    assert!(ask(None, None) && ask(Some(b"/usr"), Some(1)));
}

/// Three changesets without a change.
fn history(blobs: &dyn Blobs) -> Option<History> {
    let mut history = History::default();
    for sequence in 0..3 {
        let about = About {
            kind: match sequence {
                0 => Kind::Base,
                _ => Kind::Increment,
            },
            sequence,
            parent: history.head(),
            disk_bytes: 4096,
        };
        let mut known = KnownUnits::default();
        let writer = ChangesetWriter::new(blobs, &mut known, about, Cut::CHANGE);
        let written = writer.finish(Timestamp::from_unix_ns(0), String::new());
        history.add(written.ok()?).ok()?;
    }
    Some(history)
}

/// Gives each block and the index the sums that they come to, as far as that can be told.
fn sum(mut run: Vec<u8>) -> Vec<u8> {
    let _cut_short = sum_blocks(&mut run);
    let _cut_short = sum_index(&mut run);
    run
}

/// Where the index begins and ends.
fn index(run: &[u8]) -> Option<(usize, usize)> {
    let end = run.len().checked_sub(TAIL_BYTES)?;
    let length = u64::from_le_bytes(run.get(end + 8..end + 16)?.try_into().ok()?);
    let start = end.checked_sub(usize::try_from(length).ok()?)?;
    Some((start, end))
}

fn sum_index(run: &mut [u8]) -> Option<()> {
    let (start, end) = index(run)?;
    let digest = *blake3::hash(run.get(start..end)?).as_bytes();
    run.get_mut(end + 16..)?.copy_from_slice(&digest);
    Some(())
}

fn sum_blocks(run: &mut [u8]) -> Option<()> {
    let (start, end) = index(run)?;
    let mut at = start;
    let mut block = HEAD_BYTES;
    let count = number(run, &mut at)?;
    for _ in 0..count {
        let _shared = number(run, &mut at)?;
        let rest = number(run, &mut at)?;
        at = at.checked_add(usize::try_from(rest).ok()?)?;
        let length = usize::try_from(number(run, &mut at)?).ok()?;
        let (_least, _more) = (number(run, &mut at)?, number(run, &mut at)?);
        let next = block.checked_add(length)?;
        let digest = blake3::hash(run.get(block..next)?);
        let place = run.get_mut(..end)?.get_mut(at..at.checked_add(8)?)?;
        place.copy_from_slice(&digest.as_bytes()[..8]);
        (at, block) = (at + 8, next);
    }
    Some(())
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
