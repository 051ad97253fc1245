//! Entries of directories: short names, and the long ones that stand before them in pieces.
//!
//! ```text
//!  short   0 name, 8 and 3    12 case of short names    18 day read      24 day written
//!         11 attributes       13 14 16 when made        20 cluster, high 26 cluster, 28 size
//!                                                       22 time written
//!  long    0 which piece, counted down; 40 on the first   11 0f   13 sum of the short name
//!          1 14 28 5, 6 and 2 characters of UTF-16
//! ```

use crate::bytes::{Fields, Short};
use crate::ext::FileTime;
use crate::system::{cp437, utf16};

/// How long an entry is.
pub(super) const ENTRY_BYTES: usize = 32;

pub(super) const READ_ONLY: u8 = 0x01;
const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG: u8 = 0x0f;

/// A long name has at most 20 pieces.
const MAX_PIECES: u8 = 20;

/// A file as its directory tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) attributes: u8,
    pub(super) cluster: u32,
    pub(super) size_bytes: u32,
    pub(super) born: FileTime,
    pub(super) accessed: FileTime,
    pub(super) modified: FileTime,
    /// Where it lies in the volume, in entries of 32 bytes.
    pub(super) place: u64,
}

impl Entry {
    pub(super) fn is_directory(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }
}

/// A long name whose pieces are being gathered.
#[derive(Default)]
struct Long {
    /// The pieces, the last one first.
    pieces: Vec<Vec<u8>>,
    /// Which piece must come next; 0 when the name is whole.
    next: u8,
    sum: u8,
}

/// Adds the entries of a directory. `places` tells where its parts lie: from which of its bytes on,
/// and where that byte is in the volume.
pub(super) fn parse(
    bytes: &[u8],
    places: &[(u64, u64)],
    has_high_clusters: bool,
    entries: &mut Vec<Entry>,
) {
    let mut long = Long::default();
    for (index, slot) in (0u64..).zip(bytes.chunks_exact(ENTRY_BYTES)) {
        let fields = Fields(slot);
        match (fields.byte(0), fields.byte(11)) {
            (Ok(0), _) => return,
            (Ok(0xe5), _) => long = Long::default(),
            (Ok(first), Ok(attributes)) if attributes & 0x3f == LONG => {
                if long.add(first, fields).is_err() {
                    long = Long::default();
                }
            }
            (_, Ok(attributes)) if attributes & VOLUME != 0 => long = Long::default(),
            _ => {
                let name = std::mem::take(&mut long).name(fields);
                if let Ok(Some(mut entry)) = short(fields, name, has_high_clusters) {
                    let at = index.saturating_mul(ENTRY_BYTES as u64);
                    entry.place = place(places, at) / 32;
                    entries.push(entry);
                }
            }
        }
    }
}

fn place(places: &[(u64, u64)], at: u64) -> u64 {
    let after = places.partition_point(|(start, _)| *start <= at);
    let part = after.checked_sub(1).and_then(|last| places.get(last));
    part.map_or(at, |(start, place)| {
        place.saturating_add(at.saturating_sub(*start))
    })
}

impl Long {
    fn add(&mut self, first: u8, fields: Fields<'_>) -> Result<(), Short> {
        let number = first & 0x3f;
        let sum = fields.byte(13)?;
        let begins = first & 0x40 != 0;
        if begins && (1..=MAX_PIECES).contains(&number) {
            *self = Self {
                pieces: Vec::new(),
                next: number,
                sum,
            };
        }
        if number == 0 || number != self.next || sum != self.sum {
            *self = Self::default();
            return Ok(());
        }
        let parts = [
            fields.part(1, 10)?,
            fields.part(14, 12)?,
            fields.part(28, 4)?,
        ];
        self.pieces.push(parts.concat());
        self.next = number.saturating_sub(1);
        Ok(())
    }

    /// The name, if it is whole and belongs to this short one.
    fn name(self, fields: Fields<'_>) -> Option<Vec<u8>> {
        let belongs = fields.part(0, 11).is_ok_and(|short| sum(short) == self.sum);
        if self.next != 0 || self.pieces.is_empty() || !belongs {
            return None;
        }
        let bytes: Vec<u8> = self.pieces.into_iter().rev().flatten().collect();
        let units = bytes.chunks_exact(2);
        let length = units.clone().position(|unit| unit == [0, 0]);
        let length = length.unwrap_or(units.len()).saturating_mul(2);
        Some(utf16(bytes.get(..length).unwrap_or_default())).filter(|name| !name.is_empty())
    }
}

/// The sum of a short name, which pieces of its long one carry.
fn sum(short: &[u8]) -> u8 {
    short
        .iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The file that an entry tells of; none for a directory's own two.
fn short(
    fields: Fields<'_>,
    long: Option<Vec<u8>>,
    has_high_clusters: bool,
) -> Result<Option<Entry>, Short> {
    let written: [u8; 11] = fields.array(0)?;
    if written == *b".          " || written == *b"..         " {
        return Ok(None);
    }
    let high = match has_high_clusters {
        true => u32::from(fields.le16(20)?) << 16,
        false => 0,
    };
    let attributes = fields.byte(11)?;
    Ok(Some(Entry {
        name: long.unwrap_or_else(|| short_name(&written, fields.byte(12).unwrap_or(0))),
        attributes,
        cluster: u32::from(fields.le16(26)?) | high,
        size_bytes: match attributes & DIRECTORY {
            0 => fields.le32(28)?,
            _ => 0,
        },
        born: time(fields.le16(16)?, fields.le16(14)?, fields.byte(13)?),
        accessed: time(fields.le16(18)?, 0, 0),
        modified: time(fields.le16(24)?, fields.le16(22)?, 0),
        place: 0,
    }))
}

/// A short name as Linux and Windows show it: the flags say which half is in small letters.
fn short_name(written: &[u8; 11], case: u8) -> Vec<u8> {
    let half = |bytes: &[u8], is_small: bool| {
        let end = bytes.iter().rposition(|byte| *byte != b' ');
        let bytes = bytes.get(..end.map_or(0, |end| end.saturating_add(1)));
        let mut name = Vec::new();
        for byte in bytes.unwrap_or_default() {
            match is_small {
                true => cp437(byte.to_ascii_lowercase(), &mut name),
                false => cp437(*byte, &mut name),
            }
        }
        name
    };
    let (mut start, end) = written.split_at(8);
    // This byte stands for one that would mean a deleted entry.
    let mut changed = [0; 8];
    if start.first() == Some(&0x05) {
        changed.copy_from_slice(start);
        if let Some(first) = changed.first_mut() {
            *first = 0xe5;
        }
        start = &changed;
    }
    let mut name = half(start, case & 0x08 != 0);
    let ending = half(end, case & 0x10 != 0);
    if !ending.is_empty() {
        name.push(b'.');
        name.extend(ending);
    }
    name
}

/// A time, taken to be UTC: FAT keeps the local time and does not say of where.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "all numbers are fields of a few bits"
)]
fn time(date: u16, time: u16, hundredths: u8) -> FileTime {
    let (year, month, day) = (date >> 9, date >> 5 & 0xf, date & 0x1f);
    if !(1..=12).contains(&month) || day == 0 {
        return FileTime::default();
    }
    // Days of the civil calendar, counted in years that begin in March.
    let (year, month, day) = (i64::from(year) + 1980, i64::from(month), i64::from(day));
    let from_march = (month + 9) % 12;
    let year = if month <= 2 { year - 1 } else { year };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (from_march * 153 + 2) / 5 + day;
    let days = days - 719_469;
    let (hours, minutes, pairs) = (time >> 11, time >> 5 & 0x3f, time & 0x1f);
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(pairs) * 2;
    FileTime {
        seconds: days * 86_400 + seconds + i64::from(hundredths / 100),
        nanoseconds: u32::from(hundredths % 100) * 10_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // 2000-02-29 12:34:56, 1980-01-01, 2107-12-31 23:59:58; by date(1).
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        let check = |day, of_day, expected| assert_eq!(time(day, of_day, 0).seconds, expected);
        check(date(2000, 2, 29), 12 << 11 | 34 << 5 | 28, 951_827_696);
        check(date(1980, 1, 1), 0, 315_532_800);
        check(date(2107, 12, 31), 23 << 11 | 59 << 5 | 29, 4_354_819_198);
        let odd = time(date(1980, 1, 1), 0, 150);
        assert_eq!((odd.seconds, odd.nanoseconds), (315_532_801, 500_000_000));
        assert_eq!(time(0, 0, 0), FileTime::default());
    }

    #[test]
    fn short_names_are_shown_as_systems_show_them() {
        assert_eq!(short_name(b"README  TXT", 0), b"README.TXT");
        assert_eq!(short_name(b"README  TXT", 0x18), b"readme.txt");
        assert_eq!(short_name(b"A          ", 0), b"A");
        assert_eq!(short_name(b"\x05BC        ", 0), "σBC".as_bytes());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes, &[(0, 512)], true, &mut Vec::new());
        }
    }
}
