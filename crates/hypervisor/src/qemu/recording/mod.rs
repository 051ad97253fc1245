//! A recording: what happened to one machine from its snapshot on, for others to do the same.
//!
//! ```text
//!  recorder ──log──► Recording ──feed──► named pipe ──► follower
//! ```
//!
//! A machine with a disk is not a function of its snapshot alone: when a request of a disk is
//! completed, in instructions of the guest, is chance. QEMU writes each such event down with the
//! number of instructions before it, and does it again in another machine.
//!
//! The feed is the log with four changes, each of which a follower needs:
//! * an event that means nothing comes first: QEMU reads one before the snapshot is loaded, and
//!   another after it;
//! * the checkpoints of the recorder's own start are left out, since the follower is at the
//!   snapshot already;
//! * requests of the disk are numbered on from those that the snapshot has seen (firmware reads a
//!   sector): a recorder counts from 0 when it has loaded one, a follower does not;
//! * a bottom half that repeats the one before it is left out: a recorder that was stopped just
//!   after a request was handed to a device queues it again when it goes on, a follower does not.

pub mod log;
mod pipe;

use log::{LogError, VERSION, events};
use std::sync::Arc;

pub(super) use pipe::FeedPipe;

/// An interrupt that is never taken: it is read before the snapshot is loaded, and forgotten.
const FORGOTTEN: u8 = 1;

/// What happened to one machine from its snapshot on. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    log: Arc<[u8]>,
    instructions: u64,
    events: u64,
}

impl Recording {
    /// Takes a log, whole, of a recorder that has executed so many instructions since its snapshot.
    ///
    /// # Errors
    /// Another QEMU wrote it, it is damaged, or it does not tell of all instructions: the disk that
    /// it was written to was full, of which QEMU says nothing.
    pub fn of_log(log: Vec<u8>, executed: u64) -> Result<Self, LogError> {
        let version = log::version(&log)?;
        if version != VERSION {
            return Err(LogError::Version(version));
        }
        let mut instructions: u64 = 0;
        let mut told: u64 = 0;
        for event in events(&log) {
            instructions = instructions.saturating_add(event?.instructions());
            told = told.saturating_add(1);
        }
        if instructions < executed {
            return Err(LogError::TooShort {
                found: instructions,
                needed: executed,
            });
        }
        Ok(Self {
            log: log.into(),
            instructions,
            events: told,
        })
    }

    /// Bytes of the log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log.len() as u64
    }

    /// Instructions that it tells of.
    #[must_use]
    pub const fn instructions(&self) -> u64 {
        self.instructions
    }

    /// Events that it tells of.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// What a follower reads: see the module. `requests` is how many requests of the disk the
    /// snapshot has seen.
    #[must_use]
    pub fn feed(&self, requests: u64) -> Vec<u8> {
        let mut feed = Vec::with_capacity(self.log.len());
        feed.extend_from_slice(&VERSION.to_be_bytes());
        feed.push(FORGOTTEN);
        let mut last_bottom_half = None;
        // The log was read whole before: there is no error in it.
        let events = events(&self.log).flatten();
        for event in events.skip_while(log::LogEvent::is_start) {
            if let Some(number) = event.bottom_half()
                && last_bottom_half.replace(number) == Some(number)
            {
                continue;
            }
            match event.disk_request() {
                Some(number) => {
                    feed.push(event.kind);
                    feed.extend_from_slice(&number.wrapping_add(requests).to_be_bytes());
                }
                None => feed.extend_from_slice(event.bytes),
            }
        }
        feed
    }
}

/// How many requests of the disk a log tells of, which may still be written: what follows its last
/// whole event is not looked at.
#[must_use]
pub fn requests(log: &[u8]) -> u64 {
    let numbers = events(log)
        .flatten()
        .filter_map(|event| event.disk_request());
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::log::tests::{event, log as log_of};
    use super::*;
    use proptest::prelude::*;

    fn number(kind: u8, number: u64) -> Vec<u8> {
        [&[kind][..], &number.to_be_bytes()].concat()
    }

    fn instructions(count: u32) -> Vec<u8> {
        [&[0][..], &count.to_be_bytes()].concat()
    }

    fn fed(events: &[Vec<u8>], requests: u64) -> Vec<u8> {
        let recording = Recording::of_log(log_of(events), 0).unwrap();
        let feed = recording.feed(requests);
        feed.strip_prefix(&[0x00, 0xe0, 0x20, 0x0c, 1])
            .unwrap()
            .to_vec()
    }

    #[test]
    fn the_recorders_own_start_is_left_out() {
        assert_eq!(fed(&[vec![37], vec![38], vec![31], vec![38]], 0), [31, 38]);
    }

    #[test]
    fn requests_are_numbered_on_from_the_snapshots() {
        let events = [number(8, 0), number(8, 1), number(3, 7)];
        let expected = [number(8, 5), number(8, 6), number(3, 7)].concat();
        assert_eq!(fed(&events, 5), expected);
        assert_eq!(requests(&log_of(&events)), 2);
        assert_eq!(requests(&log_of(&[])), 0);
    }

    #[test]
    fn a_log_that_lacks_its_end_is_refused() {
        let log = log_of(&[instructions(100), vec![1], instructions(20)]);
        assert_eq!(
            Recording::of_log(log.clone(), 120).unwrap().instructions(),
            120
        );
        let error = Recording::of_log(log, 121).unwrap_err();
        let (found, needed) = (120, 121);
        assert_eq!(error, LogError::TooShort { found, needed });
    }

    #[test]
    fn a_log_of_another_version_is_refused() {
        let mut log = log_of(&[]);
        log[3] ^= 1;
        let error = Recording::of_log(log, 0).unwrap_err();
        assert_eq!(error, LogError::Version(VERSION ^ 1));
        assert_eq!(Recording::of_log(vec![0; 11], 0), Err(LogError::NoHeader));
    }

    proptest! {
        /// What is dropped is only a bottom half that repeats the one before it: the feed with the
        /// dropped events put back is what was recorded.
        #[test]
        fn nothing_is_dropped_but_repeated_bottom_halves(events in proptest::collection::vec(event(), 0..40)) {
            let mut expected = Vec::new();
            let mut last = None;
            let starts = events.iter().take_while(|event| matches!(event[0], 37 | 38)).count();
            for event in &events[starts..] {
                let repeats = event[0] == 3 && last.as_ref() == Some(event);
                if event[0] == 3 {
                    last = Some(event.clone());
                }
                if !repeats {
                    expected.extend_from_slice(event);
                }
            }
            prop_assert_eq!(fed(&events, 0), expected);
        }
    }
}
