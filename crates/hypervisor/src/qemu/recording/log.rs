//! The log of a recording, as QEMU writes it: its events, one after the other. Pure.
//!
//! ```text
//! 0        4               12
//! │ version│ not used here │ event…             all numbers big-endian
//!   event:  u8 kind │ what the kind carries
//! ```
//!
//! | kind | is | carries |
//! |---|---|---|
//! | 0 | instructions that were executed before the next event | u32 |
//! | 1, 2 | an interrupt, an exception was taken | – |
//! | 3, 4 | a bottom half ran | u64 its number |
//! | 7 | a character device was read | u8 device, u32 length, bytes |
//! | 8 | a request to a disk was completed | u64 its number |
//! | 10–21 | a shutdown, by its cause | – |
//! | 22 | a character device was written | u32, u32 |
//! | 23, 24 | a character device was read by its user, or could not be | u32 length, bytes; u32 |
//! | 27 | random numbers | u32 result, u32 length, bytes |
//! | 28, 29 | a clock of the host was read | u64 |
//! | 30–38 | a checkpoint of the main loop | – |
//! | 39 | the end | – |
//!
//! Keyboards, networks and sound (5, 6, 9, 25, 26) are events too; machines of ours have none, so
//! that they are refused. The source is QEMU's `replay/replay-internal.h` of version 10.
//!
//! A log comes from our own emulator. It is read as if it did not: lengths are bounded by what is
//! there, and nothing is allocated by them.

use std::ops::Range;

/// The version of logs that is understood: QEMU 8.2 to 10.
pub const VERSION: u32 = 0x00e0_200c;

/// Where the first event lies.
pub const HEADER_BYTES: usize = 12;

/// The checkpoints that QEMU passes before it runs anything.
const START_CHECKPOINTS: [u8; 2] = [37, 38];

const INSTRUCTIONS: u8 = 0;
const BOTTOM_HALF: u8 = 3;
const DISK_REQUEST: u8 = 8;

/// Why a log cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It is shorter than its header.
    #[error("the recording has no header")]
    NoHeader,
    /// Another QEMU wrote it, whose events are not known.
    #[error("the recording has version {0:#010x}, and only {VERSION:#010x} is known")]
    Version(u32),
    /// An event that no machine of ours has.
    #[error("the recording has an event of kind {kind} at byte {at}, which no such machine has")]
    Kind {
        /// Its kind.
        kind: u8,
        /// Where it lies.
        at: usize,
    },
    /// It ends within an event.
    #[error("the recording ends within the event at byte {at}")]
    Cut {
        /// Where the event lies.
        at: usize,
    },
    /// It does not reach the moment that is to be compared.
    #[error("the recording ends after {found} instructions, and {needed} were executed")]
    TooShort {
        /// Instructions that it tells of.
        found: u64,
        /// Instructions that it must tell of.
        needed: u64,
    },
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEvent<'a> {
    /// Its kind.
    pub kind: u8,
    /// Kind and all that it carries.
    pub bytes: &'a [u8],
}

impl<'a> LogEvent<'a> {
    /// Instructions that it stands for.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        match self.kind {
            INSTRUCTIONS => be_u32(self.bytes, 1).unwrap_or(0).into(),
            _ => 0,
        }
    }

    /// The number of the disk's request that it completes.
    #[must_use]
    pub fn disk_request(&self) -> Option<u64> {
        (self.kind == DISK_REQUEST).then(|| be_u64(self.bytes, 1))?
    }

    /// The number of the bottom half that it ran.
    #[must_use]
    pub fn bottom_half(&self) -> Option<u64> {
        (self.kind == BOTTOM_HALF).then(|| be_u64(self.bytes, 1))?
    }

    /// Whether it is one of the checkpoints that QEMU passes before it runs anything.
    #[must_use]
    pub fn is_start(&self) -> bool {
        START_CHECKPOINTS.contains(&self.kind)
    }

    fn at(log: &'a [u8], at: usize) -> Result<Self, LogError> {
        let kind = *log.get(at).ok_or(LogError::Cut { at })?;
        let length = payload_bytes(log, at, kind)?;
        let end = at.checked_add(1).and_then(|from| from.checked_add(length));
        let bytes = end.and_then(|end| log.get(at..end));
        let bytes = bytes.ok_or(LogError::Cut { at })?;
        Ok(Self { kind, bytes })
    }
}

/// The events of a log. After an error there are no more.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    log: &'a [u8],
    at: usize,
}

/// The events of a log whose header has been checked, or of one whose header is not there yet:
/// QEMU writes the version when it ends.
#[must_use]
pub const fn events(log: &[u8]) -> Events<'_> {
    Events {
        log,
        at: HEADER_BYTES,
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<LogEvent<'a>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.log.len() {
            return None;
        }
        let event = LogEvent::at(self.log, self.at);
        self.at = match &event {
            Ok(event) => self.at.saturating_add(event.bytes.len()),
            Err(_) => self.log.len(),
        };
        Some(event)
    }
}

/// The version in the header.
///
/// # Errors
/// There is no header.
pub fn version(log: &[u8]) -> Result<u32, LogError> {
    let header = log.get(..HEADER_BYTES).ok_or(LogError::NoHeader)?;
    be_u32(header, 0).ok_or(LogError::NoHeader)
}

/// How much an event of a kind carries.
fn payload_bytes(log: &[u8], at: usize, kind: u8) -> Result<usize, LogError> {
    let counted = |length_at: Range<usize>| {
        let start = at.checked_add(length_at.start);
        let length = start.and_then(|start| be_u32(log, start));
        let length = length.ok_or(LogError::Cut { at })?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(length.saturating_add(length_at.end.saturating_sub(1)))
    };
    match kind {
        INSTRUCTIONS | 24 => Ok(4),
        1 | 2 | 10..=21 | 30..=39 => Ok(0),
        BOTTOM_HALF | 4 | DISK_REQUEST | 22 | 28 | 29 => Ok(8),
        7 => counted(2..6),
        23 => counted(1..5),
        27 => counted(5..9),
        kind => Err(LogError::Kind { kind, at }),
    }
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*word))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An event's bytes, made by the format's description and not by the code under test.
    pub(in crate::qemu::recording) fn event() -> impl Strategy<Value = Vec<u8>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let counted = |head: Vec<u8>, data: Vec<u8>| {
            let length = (data.len() as u32).to_be_bytes();
            [head, length.to_vec(), data].concat()
        };
        prop_oneof![
            any::<u32>().prop_map(|count| [&[0][..], &count.to_be_bytes()].concat()),
            prop_oneof![Just(1_u8), Just(2), 10_u8..=21, 30_u8..=39].prop_map(|kind| vec![kind]),
            (prop_oneof![Just(3_u8), Just(4), Just(8)], 0_u64..4).prop_map(|(kind, number)| [
                &[kind][..],
                &number.to_be_bytes()
            ]
            .concat()),
            any::<u64>().prop_map(|clock| [&[29][..], &clock.to_be_bytes()].concat()),
            bytes().prop_map(move |data| counted(vec![7, 1], data)),
            bytes().prop_map(move |data| counted(vec![23], data)),
            bytes().prop_map(move |data| counted(vec![27, 0, 0, 0, 0], data)),
        ]
    }

    fn header() -> Vec<u8> {
        let mut header = VERSION.to_be_bytes().to_vec();
        header.resize(HEADER_BYTES, 0);
        header
    }

    pub(in crate::qemu::recording) fn log(events: &[Vec<u8>]) -> Vec<u8> {
        [header(), events.concat()].concat()
    }

    #[test]
    fn what_no_machine_of_ours_has_is_refused() {
        let log = log(&[vec![1], vec![9, 0, 0]]);
        let last = events(&log).last().unwrap();
        assert_eq!(last, Err(LogError::Kind { kind: 9, at: 13 }));
    }

    #[test]
    fn a_log_that_ends_within_an_event_is_told() {
        let whole = log(&[vec![27, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2]]);
        assert!(events(&whole).all(|event| event.is_ok()));
        for end in HEADER_BYTES + 1..whole.len() {
            let last = events(&whole[..end]).last().unwrap();
            assert_eq!(last, Err(LogError::Cut { at: 12 }), "{end}");
        }
    }

    #[test]
    fn a_length_beyond_the_log_is_told() {
        let log = log(&[vec![23, 255, 255, 255, 255, 0]]);
        let last = events(&log).last().unwrap();
        assert_eq!(last, Err(LogError::Cut { at: 12 }));
    }

    proptest! {
        #[test]
        fn events_are_parted_as_they_were_written(written in proptest::collection::vec(event(), 0..30)) {
            let log = log(&written);
            let read: Result<Vec<_>, _> = events(&log).collect();
            let read: Vec<Vec<u8>> = read.unwrap().iter().map(|event| event.bytes.to_vec()).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let counted: usize = events(&bytes).flatten().map(|event| event.bytes.len()).sum();
            prop_assert!(counted <= bytes.len().saturating_sub(HEADER_BYTES));
        }
    }
}
