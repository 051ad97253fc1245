//! How far back the history goes.

use super::{ForgetError, all_blocks, live_blocks};
use crate::blobs::Blobs;
use crate::changeset;
use crate::history::History;
use crate::map::Map;
use crate::pack::PackId;
use crate::writer::Written;
use model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// How far back the history goes. The last changeset always stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// How many changesets are kept at most.
    pub count_max: Option<u64>,
    /// From when on the disk can be read as it was: the newest changeset until then is kept too.
    pub since: Option<Timestamp>,
    /// About how many bytes are stored at most.
    pub bytes_max: Option<u64>,
}

/// Up to which changeset a history is to be merged; nothing where it is within the window.
///
/// # Errors
/// A pack cannot be looked at.
pub fn until(
    blobs: &dyn Blobs,
    history: &History,
    window: Window,
) -> Result<Option<u64>, ForgetError> {
    let all = history.changesets();
    let last = all.len().saturating_sub(1);
    let by_count = window.count_max.map_or(0, |count| {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        all.len().saturating_sub(count.max(1))
    });
    let by_age = window.since.map_or(0, |since| {
        let older = all.iter().rposition(|one| one.changeset.taken <= since);
        older.unwrap_or(0)
    });
    let mut until = by_count.max(by_age).min(last);
    if let Some(bytes) = window.bytes_max {
        let mut sizes = Sizes::new(blobs);
        while until < last && sizes.with_base(all, until)? > bytes {
            until = until.saturating_add(1);
        }
    }
    let new = all.get(until).filter(|_| until > 0);
    Ok(new.map(|one| one.changeset.sequence))
}

/// What packs have, each looked at once.
struct Sizes<'b> {
    blobs: &'b dyn Blobs,
    /// Bytes and blocks.
    packs: BTreeMap<PackId, (u64, u64)>,
}

impl<'b> Sizes<'b> {
    const fn new(blobs: &'b dyn Blobs) -> Self {
        Self {
            blobs,
            packs: BTreeMap::new(),
        }
    }

    fn pack(&mut self, pack: PackId) -> Result<(u64, u64), ForgetError> {
        if let Some(size) = self.packs.get(&pack) {
            return Ok(*size);
        }
        let bytes = self.blobs.length(&pack.blob())?;
        let size = (bytes, all_blocks(self.blobs, pack)?);
        self.packs.insert(pack, size);
        Ok(size)
    }

    /// About how many bytes are stored when the history begins with one as its base.
    fn with_base(&mut self, all: &[Written], base: usize) -> Result<u64, ForgetError> {
        let (chain, later) = all.split_at(base.saturating_add(1).min(all.len()));
        let map = Map::of(chain.iter().map(|one| &one.changeset));
        let named: BTreeSet<PackId> = later
            .iter()
            .flat_map(|one| one.changeset.packs.iter().copied())
            .collect();
        let mut sum = 0_u64;
        for pack in &named {
            sum = sum.saturating_add(self.pack(*pack)?.0);
        }
        for (pack, live) in live_blocks(&map) {
            if !named.contains(&pack) {
                let (bytes, blocks) = self.pack(pack)?;
                // The rest of it goes, sooner or later.
                let part = u128::from(bytes).saturating_mul(u128::from(live));
                let part = part.checked_div(u128::from(blocks)).unwrap_or(0);
                sum = sum.saturating_add(u64::try_from(part).unwrap_or(u64::MAX).min(bytes));
            }
        }
        for one in later {
            let blob = changeset::blob(one.changeset.sequence, one.id);
            sum = sum.saturating_add(self.blobs.length(&blob)?);
        }
        Ok(sum)
    }
}
