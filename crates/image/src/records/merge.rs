//! Several runs as one, in the order of key and sequence.

use super::RecordsError;
use super::run::{Cursor, Run, RunWriter};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Cursors that are read as one. Few: the next is found by looking at each.
#[derive(Debug)]
pub(super) struct Merge {
    cursors: Vec<Cursor>,
    /// The one that is at the least entry.
    least: Option<usize>,
}

impl Merge {
    /// Before the first entry: seek comes next.
    pub(super) fn new(runs: &[Arc<Run>], wanted: &RangeInclusive<u64>) -> Self {
        let cursors = runs.iter().map(|run| Cursor::new(run, wanted.clone()));
        Self {
            cursors: cursors.collect(),
            least: None,
        }
    }

    pub(super) fn seek(&mut self, key: &[u8]) -> Result<(), RecordsError> {
        for cursor in &mut self.cursors {
            cursor.seek(key)?;
        }
        self.find();
        Ok(())
    }

    pub(super) fn entry(&self) -> Option<(&[u8], u64, &[u8])> {
        self.cursors.get(self.least?)?.entry()
    }

    pub(super) fn step(&mut self) -> Result<(), RecordsError> {
        if let Some(cursor) = self.least.and_then(|least| self.cursors.get_mut(least)) {
            cursor.step()?;
        }
        self.find();
        Ok(())
    }

    /// The run of the entry at hand is damaged.
    pub(super) fn damaged(&self, what: &'static str) -> RecordsError {
        let cursor = self.least.and_then(|least| self.cursors.get(least));
        RecordsError::Damaged {
            blob: cursor.map(Cursor::name).unwrap_or_default(),
            what,
        }
    }

    fn find(&mut self) {
        let mut least: Option<(usize, &[u8], u64)> = None;
        for (place, cursor) in self.cursors.iter().enumerate() {
            let Some((key, sequence, _)) = cursor.entry() else {
                continue;
            };
            if least.is_none_or(|(_, least, first)| (key, sequence) < (least, first)) {
                least = Some((place, key, sequence));
            }
        }
        self.least = least.map(|(place, ..)| place);
    }
}

/// Writes several runs into one.
pub(super) fn merged(runs: &[Arc<Run>]) -> Result<(Vec<u8>, u64), RecordsError> {
    let mut merge = Merge::new(runs, &(0..=u64::MAX));
    merge.seek(&[])?;
    let mut writer = RunWriter::new();
    while let Some((key, sequence, payload)) = merge.entry() {
        writer.push(key, sequence, payload);
        merge.step()?;
    }
    Ok(writer.finish())
}
