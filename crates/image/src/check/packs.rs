//! Packs, by several threads at once.

use super::Level;
use crate::BLOCK_BYTES;
use crate::blobs::Blobs;
use crate::map::Units;
use crate::pack::{Frame, PackId, PackReader, verify};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What was found of a pack.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Its length.
    pub(super) bytes: u64,
    /// What is wrong with it.
    pub(super) damage: Option<String>,
    /// The frames that can be read.
    sound: Vec<Frame>,
}

impl Looked {
    /// Whether neighbouring blocks have something in a part of it that cannot be read.
    pub(super) fn hurts(&self, units: &Units, blocks: u64) -> bool {
        let unit_bytes = units.unit_blocks.saturating_mul(BLOCK_BYTES);
        let unit = |block: u64| block.checked_div(units.unit_blocks).unwrap_or(u64::MAX);
        let last = units.first_block.saturating_add(blocks.saturating_sub(1));
        let (mut next, end) = (unit(units.first_block), unit(last).saturating_add(1));
        let first = |frame: &Frame| u64::from(frame.units.end) <= next;
        let from = self.sound.partition_point(first);
        for frame in self.sound.get(from..).unwrap_or_default() {
            if next >= end || u64::from(frame.units.start) > next || frame.unit_bytes != unit_bytes
            {
                break;
            }
            next = u64::from(frame.units.end);
        }
        next < end
    }
}

/// Looks at packs; says of each what was found, in their order.
pub(super) fn look(
    blobs: &dyn Blobs,
    packs: &[PackId],
    level: Level,
    jobs: NonZeroUsize,
) -> Vec<Looked> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(pack) = packs.get(number) else {
                return;
            };
            let looked = one(blobs, *pack, level);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.push((number, looked));
        }
    };
    if jobs.get() == 1 {
        work();
    } else {
        thread::scope(|scope| {
            for _ in 0..jobs.get() {
                scope.spawn(work);
            }
        });
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, looked)| looked).collect()
}

fn one(blobs: &dyn Blobs, pack: PackId, level: Level) -> Looked {
    let bytes = blobs.length(&pack.blob()).unwrap_or(0);
    let reader = match PackReader::open(blobs, pack) {
        Ok(reader) => reader,
        Err(error) => {
            return Looked {
                bytes,
                damage: Some(error.to_string()),
                sound: Vec::new(),
            };
        }
    };
    let mut sound = reader.directory().frames.clone();
    let mut damage = match level {
        Level::Structure => None,
        Level::ReadData | Level::Deep => verify(blobs, pack).err(),
    };
    // Where something is wrong, it is worth the time to know what can be read still.
    if level == Level::Deep || damage.is_some() {
        sound.retain(|frame| match reader.read_frame(blobs, frame) {
            Ok(_) => true,
            Err(error) => {
                damage.get_or_insert(error);
                false
            }
        });
    }
    Looked {
        bytes,
        damage: damage.map(|error| error.to_string()),
        sound,
    }
}
