//! `rpmdb.sqlite`: one table of a SQLite database, read as the format's description has it.
//!
//! ```text
//!  page 1   head of the file (100 bytes), then the tree of the schema: type, name, …, root page
//!  a page   type │ … │ entries │ … │ [right child] │ places of entries
//!  inner    child page, key             leaf   bytes, key, the record's beginning, [page with more]
//!  record   its head's bytes, a type for each column │ columns
//! ```
//!
//! A table's tree is walked from its root, in order. Pages that stand in the write-ahead log, up to
//! its last commit, are taken from there. What rpm needs besides the one table (its indexes) is not
//! read, and nothing else of SQLite is known: text of UTF-16, for one.

use super::wal::Log;
use super::{RpmError, Take, Window, bounded};
use crate::codec::Taker;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEAD_BYTES: usize = 100;
const TABLE: &[u8] = b"Packages";

const INNER: u8 = 5;
const LEAF: u8 = 13;

/// A version of the format in which changes stand in a log first.
const VERSION_LOG: u8 = 2;
const UTF_8: u32 = 1;

/// The most columns of a row that are looked at: the schema has five, rpm's table two.
const COLUMNS_MAX: usize = 8;

struct Database<'w, 'f> {
    file: &'w mut Window<'f>,
    log: Option<Log<'f>>,
    page_bytes: u32,
    /// Bytes of a page that are not reserved for others.
    usable: u32,
    pages: u64,
}

/// A column of a row.
enum Column<'r> {
    Number(i64),
    Bytes(&'r [u8]),
    Other,
}

pub(super) fn headers<'f>(
    file: &mut Window<'f>,
    log: Option<Window<'f>>,
    take: &mut Take<'_>,
) -> Result<(), RpmError> {
    let mut database = Database::open(file, log)?;
    let mut root = None;
    database.rows(1, &mut |row| {
        if let [
            Column::Bytes(b"table"),
            Column::Bytes(TABLE),
            _,
            Column::Number(page),
            ..,
        ] = columns(row)?.as_slice()
        {
            root = u32::try_from(*page).ok();
        }
        Ok(())
    })?;
    let root = root.ok_or(RpmError::Form("it has no table of packages"))?;
    database.rows(root, &mut |row| match columns(row)?.as_slice() {
        [_, Column::Bytes(header), ..] => take(header),
        _ => Err(RpmError::Form("a row has no header")),
    })
}

impl<'w, 'f> Database<'w, 'f> {
    fn open(file: &'w mut Window<'f>, log: Option<Window<'f>>) -> Result<Self, RpmError> {
        let head: [u8; HEAD_BYTES] = file.array(0)?;
        let mut taker = Taker::new(&head);
        let magic: Option<[u8; 16]> = taker.array();
        let page_bytes = taker.array().map(u16::from_be_bytes);
        let versions: Option<[u8; 2]> = taker.array();
        let reserved: Option<[u8; 1]> = taker.array();
        let (Some(magic), Some(page_bytes), Some([_, version]), Some([reserved])) =
            (magic, page_bytes, versions, reserved)
        else {
            return Err(RpmError::Form("it has no head"));
        };
        let encoding = head.get(56..60).and_then(|bytes| bytes.try_into().ok());
        let encoding = encoding.map_or(0, u32::from_be_bytes);
        if magic != *MAGIC || encoding != UTF_8 {
            return Err(RpmError::Form(
                "it does not begin as a database of SQLite does",
            ));
        }
        // 1 stands for what 16 bits cannot say.
        let page_bytes = if page_bytes == 1 {
            65_536
        } else {
            page_bytes.into()
        };
        let usable = u32::saturating_sub(page_bytes, reserved.into());
        if page_bytes < 512 || !page_bytes.is_power_of_two() || usable < 480 {
            return Err(RpmError::Form("its pages have a length that none have"));
        }
        let log = match log {
            Some(log) if version == VERSION_LOG => Log::open(log, page_bytes)?,
            _ => None,
        };
        let there = file.size_bytes().checked_div(page_bytes.into());
        let pages = log.as_ref().map(|log| u64::from(log.pages()));
        Ok(Self {
            pages: pages.or(there).unwrap_or(0),
            file,
            log,
            page_bytes,
            usable,
        })
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, RpmError> {
        let before = number
            .checked_sub(1)
            .ok_or(RpmError::Form("a page has no number"))?;
        if u64::from(number) > self.pages {
            return Err(RpmError::Form("a page is past the end"));
        }
        let mut page = vec![0; usize::try_from(self.page_bytes).unwrap_or(0)];
        let is_in_log = match &mut self.log {
            Some(log) => log.page(number, &mut page)?,
            None => false,
        };
        if !is_in_log {
            let at = u64::from(before).saturating_mul(self.page_bytes.into());
            self.file.read(at, &mut page)?;
        }
        Ok(page)
    }

    /// Gives all rows of the table with a root.
    fn rows(&mut self, root: u32, take: &mut Take<'_>) -> Result<(), RpmError> {
        let wrong = || RpmError::Form("a page of a table is none");
        let mut waiting = vec![root];
        let mut looked_at = 0_u64;
        while let Some(number) = waiting.pop() {
            // Of a tree each page is looked at once; what goes round in circles is none.
            looked_at = looked_at.saturating_add(1);
            if looked_at > self.pages {
                return Err(RpmError::Form("a table goes round in circles"));
            }
            let page = self.page(number)?;
            let start = if number == 1 { HEAD_BYTES } else { 0 };
            let head = page.get(start..).ok_or_else(wrong)?;
            let entries = short(head, 3).ok_or_else(wrong)?;
            match head.first() {
                Some(&LEAF) => {
                    for place in places(head, 8, entries)? {
                        let row = self.row(page.get(place..).ok_or_else(wrong)?)?;
                        take(&row)?;
                    }
                }
                Some(&INNER) => {
                    waiting.push(word(head, 8).ok_or_else(wrong)?);
                    for place in places(head, 12, entries)?.into_iter().rev() {
                        waiting.push(word(&page, place).ok_or_else(wrong)?);
                    }
                    if waiting.len() as u64 > self.pages {
                        return Err(RpmError::Form("a table goes round in circles"));
                    }
                }
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    /// The row that begins in a leaf's entry.
    fn row(&mut self, entry: &[u8]) -> Result<Vec<u8>, RpmError> {
        let wrong = || RpmError::Form("a row is not whole");
        let mut taker = Taker::new(entry);
        let bytes = varint(&mut taker).ok_or_else(wrong)?;
        varint(&mut taker).ok_or_else(wrong)?;
        let all = bounded(bytes, self.pages.saturating_mul(self.page_bytes.into()))?;
        let here = self.bytes_here(all);
        let mut row = Vec::with_capacity(all);
        row.extend_from_slice(taker.bytes(here).ok_or_else(wrong)?);
        if row.len() < all {
            let mut next = taker.array().map(u32::from_be_bytes).ok_or_else(wrong)?;
            while row.len() < all {
                let page = self.page(next)?;
                let mut taker = Taker::new(&page);
                next = taker.array().map(u32::from_be_bytes).ok_or_else(wrong)?;
                let room = usize::try_from(self.usable).unwrap_or(0).saturating_sub(4);
                let count = all.saturating_sub(row.len()).min(room);
                row.extend_from_slice(taker.bytes(count).ok_or_else(wrong)?);
            }
        }
        Ok(row)
    }

    /// How many bytes of a row are in its leaf.
    fn bytes_here(&self, all: usize) -> usize {
        let usable = usize::try_from(self.usable).unwrap_or(0);
        let most = usable.saturating_sub(35);
        if all <= most {
            return all;
        }
        let scaled = usable.saturating_sub(12).saturating_mul(32);
        let least = scaled.checked_div(255).unwrap_or(0).saturating_sub(23);
        let over = all.saturating_sub(least);
        let rest = over.checked_rem(usable.saturating_sub(4)).unwrap_or(0);
        let here = least.saturating_add(rest);
        if here <= most { here } else { least }
    }
}

/// Where the entries of a page begin.
fn places(head: &[u8], at: usize, entries: u16) -> Result<Vec<usize>, RpmError> {
    let end = usize::from(entries).saturating_mul(2).saturating_add(at);
    let bytes = head.get(at..end);
    let bytes = bytes.ok_or(RpmError::Form("a page has more entries than room"))?;
    let places = bytes.chunks_exact(2).filter_map(|place| short(place, 0));
    Ok(places.map(usize::from).collect())
}

/// The columns of a row.
fn columns(row: &[u8]) -> Result<Vec<Column<'_>>, RpmError> {
    let wrong = || RpmError::Form("a row is not whole");
    let mut taker = Taker::new(row);
    let head = varint(&mut taker).ok_or_else(wrong)?;
    let taken = row.len().saturating_sub(taker.left());
    let head = usize::try_from(head)
        .ok()
        .and_then(|head| head.checked_sub(taken));
    let mut types = Taker::new(head.and_then(|head| taker.bytes(head)).ok_or_else(wrong)?);
    let mut columns = Vec::new();
    while !types.is_empty() && columns.len() < COLUMNS_MAX {
        let form = varint(&mut types).ok_or_else(wrong)?;
        let bytes = match form {
            0 | 8 | 9 => 0,
            1..=4 => form,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(wrong()),
            text_or_blob => text_or_blob.saturating_sub(12) >> 1,
        };
        let bytes = usize::try_from(bytes).map_err(|_| wrong())?;
        let bytes = taker.bytes(bytes).ok_or_else(wrong)?;
        columns.push(match form {
            1..=6 => Column::Number(signed(bytes)),
            8 => Column::Number(0),
            9 => Column::Number(1),
            12.. => Column::Bytes(bytes),
            _ => Column::Other,
        });
    }
    Ok(columns)
}

/// A number with a sign, of up to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let is_negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let start = if is_negative { -1 } else { 0 };
    let bytes = bytes.iter();
    bytes.fold(start, |sum: i64, byte| {
        sum.wrapping_shl(8) | i64::from(*byte)
    })
}

/// A number of one to nine bytes, seven bits each but the ninth, the most significant first.
fn varint(taker: &mut Taker<'_>) -> Option<u64> {
    let mut number = 0_u64;
    for _ in 0..8 {
        let [byte] = taker.array()?;
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    let [byte] = taker.array()?;
    Some(number.wrapping_shl(8) | u64::from(byte))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(part.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(part.try_into().ok()?))
}
