//! What a disk may hold after a loss of power, out of the log of its writes (see
//! [`Disk::logged`](crate::Disk::logged)).
//!
//! ```text
//! sector 0   6a736677736872 u64, version 1 u64, entries u64, bytes of a sector u32
//! then       entry: place, length in sectors, flags, 0, all u64, in a sector; its data, if any
//! flags      1 flush   2 written through   4 discarded   8 a mark
//! ```
//!
//! Power is lost between two entries. What stands before the last flush is on the disk. Of each write
//! since then it is drawn whether it is there, is not there, or is there up to some sector: a disk
//! with a cache may keep any of them, in any order, and tears between sectors. The log ends where its
//! superblock no longer tells, since the machine may have been killed: at an entry of zeros.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const THROUGH: u64 = 2;
const DISCARD: u64 = 4;

/// A write, or a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Where on the disk, in bytes.
    place: u64,
    bytes: u64,
    flags: u64,
    /// Where its data stand in the log.
    data_at: u64,
}

/// A log of writes.
#[derive(Debug)]
pub struct WriteLog {
    path: PathBuf,
    sector_bytes: u64,
    entries: Vec<Entry>,
}

/// What a write becomes when the power is lost before a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    /// Kept up to a sector.
    Torn(u64),
}

impl WriteLog {
    /// Reads the log of a machine that is gone.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = file.metadata()?.len();
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)
            .context("the log is empty")?;
        ensure!(
            word(&head, 0) == MAGIC && word(&head, 8) == 1,
            "this is no log of writes"
        );
        let sector_bytes = word(&head, 20) >> 32;
        ensure!(
            (512..=4096).contains(&sector_bytes),
            "a sector of {sector_bytes} bytes"
        );
        let (mut at, mut entries) = (sector_bytes, Vec::new());
        let mut entry = [0; 32];
        while at + sector_bytes <= length {
            file.read_exact_at(&mut entry, at)?;
            if entry == [0; 32] {
                break;
            }
            let (place, sectors, flags) = (word(&entry, 0), word(&entry, 8), word(&entry, 16));
            let data_at = at + sector_bytes;
            let bytes = sectors * sector_bytes;
            let stored = if flags & DISCARD == 0 { bytes } else { 0 };
            if data_at + stored > length {
                break;
            }
            let place = place * sector_bytes;
            entries.push(Entry {
                place,
                bytes,
                flags,
                data_at,
            });
            at = data_at + stored;
        }
        let path = path.to_path_buf();
        Ok(Self {
            path,
            sector_bytes,
            entries,
        })
    }

    /// How many moments there are to lose the power at: before each entry, and after the last.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.entries.len() + 1
    }

    /// How many writes up to a moment have gone to a place or beyond: a region that is kept for the
    /// marks of a test tells what had been reached.
    #[must_use]
    pub fn writes_from(&self, place: u64, moment: usize) -> Vec<u64> {
        let before = self.entries.iter().take(moment);
        let beyond = before.filter(|entry| entry.bytes > 0 && entry.place >= place);
        beyond.map(|entry| entry.place).collect()
    }

    /// Makes the disk as it may be when the power is lost at a moment; `draw` gives any numbers.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn lose_power(
        &self,
        moment: usize,
        before: &Path,
        after: &Path,
        mut draw: impl FnMut() -> u64,
    ) -> Result<()> {
        std::fs::copy(before, after).context("cannot copy the disk from before")?;
        let log = File::open(&self.path)?;
        let disk = File::options().write(true).open(after)?;
        let entries = self.entries.get(..moment).unwrap_or(&self.entries);
        let last_flush = entries.iter().rposition(|entry| entry.flags & FLUSH != 0);
        for (number, entry) in entries.iter().enumerate() {
            let is_durable = last_flush.is_some_and(|flush| number <= flush);
            let bytes = match fate(*entry, is_durable, self.sector_bytes, &mut draw) {
                Fate::Kept => entry.bytes,
                Fate::Lost => 0,
                Fate::Torn(bytes) => bytes,
            };
            put(&log, &disk, *entry, bytes)?;
        }
        Ok(())
    }
}

fn fate(entry: Entry, is_durable: bool, sector_bytes: u64, draw: &mut impl FnMut() -> u64) -> Fate {
    if is_durable || entry.flags & THROUGH != 0 {
        return Fate::Kept;
    }
    match draw() % 8 {
        0..=2 => Fate::Kept,
        3..=5 => Fate::Lost,
        _ => Fate::Torn(draw() % (entry.bytes / sector_bytes).max(1) * sector_bytes),
    }
}

/// Puts the first bytes of an entry onto a disk. What is discarded reads as zeros.
fn put(log: &File, disk: &File, entry: Entry, bytes: u64) -> Result<()> {
    let mut data = vec![0; usize::try_from(bytes)?];
    if entry.flags & DISCARD == 0 {
        log.read_exact_at(&mut data, entry.data_at)?;
    }
    disk.write_all_at(&data, entry.place)
        .context("cannot write the disk")
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of writes of one sector each, filled with their number; 0 is a flush.
    fn log(place: &Path, entries: &[(u64, u64)]) -> WriteLog {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(512_u32.to_le_bytes());
        bytes.resize(512, 0);
        for (sector, number) in entries {
            let start = bytes.len();
            let sectors = u64::from(*number != 0);
            for word in [*sector, sectors, u64::from(*number == 0), 0] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.resize(start + 512, 0);
            bytes.resize(bytes.len() + sectors as usize * 512, *number as u8);
        }
        bytes.resize(bytes.len() + 4096, 0);
        let path = place.join("log");
        std::fs::write(&path, bytes).unwrap();
        WriteLog::read(&path).unwrap()
    }

    #[test]
    fn what_was_flushed_is_kept_and_the_rest_is_drawn() {
        let place = tempfile::tempdir().unwrap();
        let log = log(
            place.path(),
            &[(0, 1), (1, 2), (0, 0), (0, 3), (2, 4), (5, 5)],
        );
        assert_eq!(log.moments(), 7);
        assert_eq!(log.writes_from(1024, 7), [1024, 2560]);
        let (before, after) = (place.path().join("before"), place.path().join("after"));
        std::fs::write(&before, [9; 4096]).unwrap();
        let lost = |moment, drawn| {
            log.lose_power(moment, &before, &after, || drawn).unwrap();
            let disk = std::fs::read(&after).unwrap();
            disk.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>()
        };
        assert_eq!(lost(0, 0), [9; 8]);
        assert_eq!(lost(2, 3), [9; 8], "nothing was flushed");
        assert_eq!(lost(2, 0), [1, 2, 9, 9, 9, 9, 9, 9]);
        assert_eq!(lost(3, 3), [1, 2, 9, 9, 9, 9, 9, 9], "the flush counts");
        assert_eq!(lost(6, 3), [1, 2, 9, 9, 9, 9, 9, 9]);
        assert_eq!(lost(7, 0), [3, 2, 4, 9, 9, 5, 9, 9]);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        std::fs::write(&path, [0; 512]).unwrap();
        assert!(WriteLog::read(&path).is_err());
    }
}
