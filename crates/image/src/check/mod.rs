//! Whether all that a history names is there and is what it was; and where not, what that costs.
//!
//! ```text
//!  changesets ──► chain, from its last base on ──► packs that it names ──► damaged parts
//!                   │ damaged or missing: it and      │                        │
//!                   │ all after it are unreadable     ▼                        ▼
//!                   └──────────────────────────► versions that read a damaged part are unreadable
//! ```
//!
//! All damage is looked for, not only the first. A damaged pack makes those versions unreadable that
//! still have a block in a damaged frame of it, and no others.

mod chain;
mod packs;

use crate::blobs::{BlobError, Blobs};
use crate::history::History;
use crate::map::Map;
use crate::pack::PackId;
use packs::Looked;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The chain, the seals, and the directories of packs.
    Structure,
    /// All stored bytes, against their digests.
    ReadData,
    /// Every unit, decompressed, against its digest.
    Deep,
}

/// One blob that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its name.
    pub blob: String,
    /// What is wrong with it.
    pub what: String,
    /// The changesets that cannot be read for it, wholly or in part.
    pub unreadable: Vec<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All that is damaged or missing.
    pub damages: Vec<Damage>,
    /// The changesets at which the disk can be read in full.
    pub readable: Vec<u64>,
    /// Blobs that belong to nothing: of captures and merges that were broken off, or others'.
    pub strays: Vec<String>,
    /// How many blobs were looked at.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Looks at all that is there; packs by so many threads at a time.
///
/// # Errors
/// What is there cannot be listed. All else is damage.
pub fn check(blobs: &dyn Blobs, level: Level, jobs: NonZeroUsize) -> Result<Report, BlobError> {
    let mut names: BTreeSet<String> = blobs.list("")?.into_iter().collect();
    // Change records are made again where they are not right: nothing hangs on them.
    names.retain(|name| !name.starts_with(crate::records::PREFIX));
    let mut report = Report::default();
    let chain = chain::look(blobs, &mut names, &mut report)?;
    let named: BTreeSet<PackId> = chain.packs.iter().copied().collect();
    let named: Vec<PackId> = named.into_iter().collect();
    let looked = packs::look(blobs, &named, level, jobs);
    for (pack, looked) in named.iter().zip(&looked) {
        names.remove(&pack.blob());
        report.blobs = report.blobs.saturating_add(1);
        report.bytes = report.bytes.saturating_add(looked.bytes);
    }
    let looked: HashMap<PackId, Looked> = named.into_iter().zip(looked).collect();
    versions(&chain.history, &looked, &mut report);
    report.strays = names.into_iter().collect();
    report
        .damages
        .sort_by(|one, other| one.blob.cmp(&other.blob));
    Ok(report)
}

/// Which versions each damaged pack costs, and which are left.
fn versions(history: &History, looked: &HashMap<PackId, Looked>, report: &mut Report) {
    let mut costs: HashMap<PackId, Vec<u64>> = HashMap::new();
    let changesets = || history.changesets().iter().map(|one| &one.changeset);
    // Most are sound: then there is no need to know what each version reads.
    let all_sound = changesets().all(|one| hurt(&Map::of([one]), looked).is_empty());
    let mut map = Map::default();
    for one in changesets() {
        let mut hurt_now = BTreeSet::new();
        if !all_sound {
            map.lay_over(one);
            hurt_now = hurt(&map, looked);
        }
        if hurt_now.is_empty() {
            report.readable.push(one.sequence);
        }
        for pack in hurt_now {
            costs.entry(pack).or_default().push(one.sequence);
        }
    }
    for (pack, looked) in looked {
        let unreadable = costs.remove(pack).unwrap_or_default();
        let what = match (&looked.damage, unreadable.is_empty()) {
            (Some(what), _) => what.clone(),
            (None, true) => continue,
            (None, false) => "it lacks units that a changeset names".to_owned(),
        };
        report.damages.push(Damage {
            blob: pack.blob(),
            what,
            unreadable,
        });
    }
}

/// The packs from which a map has something that cannot be read.
fn hurt(map: &Map, looked: &HashMap<PackId, Looked>) -> BTreeSet<PackId> {
    let pieces = map
        .pieces()
        .filter_map(|(_, piece)| Some((piece.units?, piece.blocks)));
    let hurt = pieces.filter(|(units, blocks)| {
        let looked = looked.get(&units.pack);
        looked.is_none_or(|looked| looked.hurts(units, *blocks))
    });
    hurt.map(|(units, _)| units.pack).collect()
}
