//! The records of a history: its runs, what they lack, and questions to them.

use super::merge::{Merge, merged};
use super::record::{ChangeRecord, key};
use super::run::{Run, RunWriter, Span};
use super::{PREFIX, RecordsError};
use crate::blobs::Blobs;
use crate::changeset::ChangesetId;
use crate::history::History;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How many runs of about one size there may be before they become one.
const RUNS_MAX: usize = 8;

/// Records of a run from which on it counts as larger than the smallest.
const SMALL_RUN: u64 = 1024;

/// The most records of a run that others are merged into: it is written in memory.
const MERGED_MAX: u64 = 1 << 20;

/// The records of one history.
#[derive(Debug)]
pub struct Records {
    /// Ascending and apart.
    runs: Vec<Arc<Run>>,
    /// The changesets that have events: all but the first.
    chain: BTreeMap<u64, ChangesetId>,
    stale: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The volume; all where absent.
    pub volume: Option<String>,
    /// This path, and all below it; all where absent.
    pub path: Option<Vec<u8>>,
    /// From this changeset on; from the first where absent.
    pub first: Option<u64>,
    /// Up to this changeset; to the last where absent.
    pub last: Option<u64>,
}

impl Records {
    /// Finds the runs of a history among the blobs that lie with it.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn open(blobs: &Arc<dyn Blobs>, history: &History) -> Result<Self, RecordsError> {
        let after_first = history.changesets().iter().skip(1);
        let chain: BTreeMap<u64, ChangesetId> = after_first
            .map(|one| (one.changeset.sequence, one.chain_id()))
            .collect();
        let oldest = chain.keys().next().copied();
        let mut spans = Vec::new();
        let mut stale = Vec::new();
        for name in blobs.list(PREFIX)? {
            let is_of_history =
                |span: &Span| Some(span.first) >= oldest && chain.get(&span.last) == Some(&span.id);
            match Span::of_blob(&name).filter(is_of_history) {
                Some(span) => spans.push(span),
                None => stale.push(name),
            }
        }
        spans.sort_by_key(|span| (span.first, std::cmp::Reverse(span.last)));
        let mut runs: Vec<Arc<Run>> = Vec::new();
        for span in spans {
            if runs.last().is_none_or(|last| span.first > last.span.last) {
                runs.push(Arc::new(Run::new(Arc::clone(blobs), span)));
            } else {
                stale.push(span.blob());
            }
        }
        Ok(Self { runs, chain, stale })
    }

    /// The changesets whose records are lacking, ascending.
    #[must_use]
    pub fn missing(&self) -> Vec<u64> {
        let covers = |sequence: u64| {
            let place = self.runs.partition_point(|run| run.span.last < sequence);
            self.runs
                .get(place)
                .is_some_and(|run| run.span.first <= sequence)
        };
        self.chain
            .keys()
            .copied()
            .filter(|sequence| !covers(*sequence))
            .collect()
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.runs.iter().map(|run| run.span.count);
        counts.fold(0, u64::saturating_add)
    }

    /// How many runs there are.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Puts the records of a changeset, in any order, and merges small runs. A changeset that the
    /// history has not is nobody's: nothing is put.
    ///
    /// # Errors
    /// They cannot be put, or a run that is merged is damaged. What was there is there still.
    pub fn add(
        &mut self,
        blobs: &Arc<dyn Blobs>,
        sequence: u64,
        records: &[ChangeRecord],
    ) -> Result<(), RecordsError> {
        let Some(id) = self.chain.get(&sequence).copied() else {
            return Ok(());
        };
        let (bytes, count) = written(sequence, records);
        let span = Span {
            first: sequence,
            last: sequence,
            count,
            id,
        };
        blobs.put(&span.blob(), &bytes)?;
        let place = self.runs.partition_point(|run| run.span.last < sequence);
        self.runs
            .insert(place, Arc::new(Run::new(Arc::clone(blobs), span)));
        while self.merge_last(blobs)? {}
        Ok(())
    }

    /// Merges the last runs of about one size, if there are many. Says whether it has.
    fn merge_last(&mut self, blobs: &Arc<dyn Blobs>) -> Result<bool, RecordsError> {
        let Some(last) = self.runs.last() else {
            return Ok(false);
        };
        let class = class(last.span.count);
        let mut first = last.span.first;
        let mut records = 0_u64;
        let mut count = 0_usize;
        for (behind, run) in self.runs.iter().rev().enumerate() {
            let follows = behind == 0 || run.span.last.checked_add(1) == Some(first);
            records = records.saturating_add(run.span.count);
            if !follows || self::class(run.span.count) > class || records > MERGED_MAX {
                break;
            }
            first = run.span.first;
            count = count.saturating_add(1);
        }
        if count < RUNS_MAX {
            return Ok(false);
        }
        let from = self.runs.len().saturating_sub(count);
        let old = self.runs.get(from..).unwrap_or_default().to_vec();
        let (bytes, records) = merged(&old)?;
        let span = Span {
            first,
            count: records,
            ..last.span
        };
        blobs.put(&span.blob(), &bytes)?;
        self.runs.truncate(from);
        self.runs.push(Arc::new(Run::new(Arc::clone(blobs), span)));
        for run in old {
            blobs.remove(&run.name)?;
        }
        Ok(true)
    }

    /// Removes runs that are no part of the history any more, or are superfluous.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn sweep(&mut self, blobs: &dyn Blobs) -> Result<(), RecordsError> {
        while let Some(name) = self.stale.pop() {
            blobs.remove(&name)?;
        }
        Ok(())
    }

    /// Asks for records, by volume and path, and of one path the oldest first. Records of changesets
    /// that are [missing](Self::missing) are not among the answers.
    ///
    /// # Errors
    /// A run cannot be read, or is damaged.
    pub fn ask(&self, question: &Question) -> Result<Answers, RecordsError> {
        let wanted = question.first.unwrap_or(0)..=question.last.unwrap_or(u64::MAX);
        let has_some =
            |run: &&Arc<Run>| run.span.first <= *wanted.end() && run.span.last >= *wanted.start();
        let runs: Vec<Arc<Run>> = self.runs.iter().filter(has_some).cloned().collect();
        let mut volumes: BTreeSet<Arc<str>> = BTreeSet::new();
        for run in &runs {
            volumes.extend(run.volumes()?.iter().cloned());
        }
        if let Some(only) = &question.volume {
            volumes.retain(|volume| **volume == **only);
        }
        let places = volumes
            .iter()
            .flat_map(|volume| places(volume, question.path.as_deref()));
        Ok(Answers {
            merge: Merge::new(&runs, &wanted),
            places: places.collect(),
            is_at_hand: false,
        })
    }
}

/// About how large a run is: one more for each eightfold.
fn class(count: u64) -> u32 {
    let small = count.checked_div(SMALL_RUN).unwrap_or(0);
    small
        .checked_ilog(8)
        .map_or(0, |class| class.saturating_add(1))
}

/// The run of one changeset.
fn written(sequence: u64, records: &[ChangeRecord]) -> (Vec<u8>, u64) {
    let mut sorted: Vec<(Vec<u8>, &ChangeRecord)> = records
        .iter()
        .map(|record| (record.key(), record))
        .collect();
    sorted.sort_by(|(one, first), (other, second)| {
        one.cmp(other).then(first.change.cmp(&second.change))
    });
    let mut writer = RunWriter::new();
    for (key, record) in &sorted {
        writer.push(key, sequence, &record.encode());
    }
    writer.finish()
}

/// The keys of a path and of all below it.
fn places(volume: &Arc<str>, path: Option<&[u8]>) -> Vec<Place> {
    let mut path = path.unwrap_or_default();
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    let start = key(volume, path);
    let behind = |byte: u8| [start.as_slice(), &[byte]].concat();
    let place = |start: Vec<u8>, end: Vec<u8>| Place {
        volume: Arc::clone(volume),
        start,
        end,
    };
    if path.is_empty() {
        // No path begins with this byte.
        return vec![place(start.clone(), behind(0xff))];
    }
    vec![
        place(start.clone(), behind(0)),
        // `0` is the byte after `/`.
        place(behind(b'/'), behind(b'0')),
    ]
}

/// Keys from one on, up to another.
#[derive(Debug)]
struct Place {
    volume: Arc<str>,
    start: Vec<u8>,
    end: Vec<u8>,
}

/// Records, one after the other.
#[derive(Debug)]
pub struct Answers {
    merge: Merge,
    /// Those that are still to be gone through, the first of them being sought if so.
    places: VecDeque<Place>,
    is_at_hand: bool,
}

impl Answers {
    fn take(&mut self) -> Result<Option<ChangeRecord>, RecordsError> {
        while let Some(place) = self.places.front() {
            if !self.is_at_hand {
                self.merge.seek(&place.start)?;
                self.is_at_hand = true;
            }
            let here = self
                .merge
                .entry()
                .filter(|(key, ..)| *key < place.end.as_slice());
            let Some((key, sequence, payload)) = here else {
                self.places.pop_front();
                self.is_at_hand = false;
                continue;
            };
            let path = key.get(place.volume.len().saturating_add(1)..);
            let volume = Arc::clone(&place.volume);
            let record = ChangeRecord::decode(volume, path.unwrap_or_default(), sequence, payload);
            let record =
                record.ok_or_else(|| self.merge.damaged("a record cannot be understood"))?;
            self.merge.step()?;
            return Ok(Some(record));
        }
        Ok(None)
    }
}

impl Iterator for Answers {
    type Item = Result<ChangeRecord, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_err() {
            self.places.clear();
        }
        taken.transpose()
    }
}
