//! The write-ahead log of a SQLite database: pages that are newer than those in the database.
//!
//! ```text
//!  head    magic │ version │ page bytes │ checkpoint │ salt, salt │ sum, sum            32 bytes
//!  frames  page number │ pages of the database, at a commit │ salt, salt │ sum, sum │ page
//! ```
//!
//! All numbers are big-endian; the magic says in which order the sums take their words. Sums go on
//! from one frame to the next. The log ends before the first frame whose salts or sum do not fit: what
//! follows is of an earlier use of the file. Frames behind the last commit do not count.

use super::{RpmError, Window};
use std::collections::HashMap;

const MAGIC: u32 = 0x377f_0682;
const HEAD_BYTES: u64 = 32;
const FRAME_BYTES: usize = 24;

/// The most bytes of a log that are read: SQLite begins anew after some megabytes.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// A log that holds at least one commit.
#[derive(Debug)]
pub(super) struct Log<'f> {
    file: Window<'f>,
    /// Where the newest of a page is.
    places: HashMap<u32, u64>,
    pages: u32,
}

/// The running sum of a log.
#[derive(Clone, Copy)]
struct Sum {
    first: u32,
    second: u32,
    is_big: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let (one, other) = pair.split_at(4);
            let sum = self.first.wrapping_add(self.word(one));
            self.first = sum.wrapping_add(self.second);
            let sum = self.second.wrapping_add(self.word(other));
            self.second = sum.wrapping_add(self.first);
        }
    }

    fn word(&self, bytes: &[u8]) -> u32 {
        let bytes = bytes.try_into().unwrap_or_default();
        match self.is_big {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        }
    }

    fn is(&self, words: [u32; 2]) -> bool {
        [self.first, self.second] == words
    }
}

impl<'f> Log<'f> {
    /// A log for pages of this length; nothing if it has no commit.
    pub(super) fn open(mut file: Window<'f>, page_bytes: u32) -> Result<Option<Self>, RpmError> {
        if file.size_bytes() < HEAD_BYTES {
            return Ok(None);
        }
        if file.size_bytes() > LOG_BYTES_MAX {
            return Err(RpmError::Limit("a log"));
        }
        let head: [u8; 32] = file.array(0)?;
        let [magic, _, bytes, _, salt_1, salt_2, sum_1, sum_2] = words(&head);
        let mut sum = Sum {
            first: 0,
            second: 0,
            is_big: magic & 1 == 1,
        };
        sum.add(head.get(..24).unwrap_or_default());
        if magic & !1 != MAGIC || bytes != page_bytes || !sum.is([sum_1, sum_2]) {
            return Ok(None);
        }
        let mut log = Self {
            file,
            places: HashMap::new(),
            pages: 0,
        };
        log.frames(page_bytes, [salt_1, salt_2], sum)?;
        Ok((log.pages > 0).then_some(log))
    }

    fn frames(&mut self, page_bytes: u32, salts: [u32; 2], sum: Sum) -> Result<(), RpmError> {
        let mut sum = sum;
        let mut waiting = Vec::new();
        let page = usize::try_from(page_bytes).unwrap_or(0);
        let mut frame = vec![0; page.saturating_add(FRAME_BYTES)];
        let mut at = HEAD_BYTES;
        let step = frame.len() as u64;
        while at.saturating_add(step) <= self.file.size_bytes() {
            self.file.read(at, &mut frame)?;
            let (head, content) = frame.split_at_checked(FRAME_BYTES).unwrap_or_default();
            let [number, pages, salt_1, salt_2, sum_1, sum_2] = words(head);
            sum.add(head.get(..8).unwrap_or_default());
            sum.add(content);
            if [salt_1, salt_2] != salts || !sum.is([sum_1, sum_2]) {
                break;
            }
            waiting.push((number, at.saturating_add(FRAME_BYTES as u64)));
            if pages != 0 {
                self.places.extend(waiting.drain(..));
                self.pages = pages;
            }
            at = at.saturating_add(step);
        }
        Ok(())
    }

    /// How many pages the database has after the last commit.
    pub(super) const fn pages(&self) -> u32 {
        self.pages
    }

    /// Fills a buffer with a page, if the log has it.
    pub(super) fn page(&mut self, number: u32, buffer: &mut [u8]) -> Result<bool, RpmError> {
        let Some(place) = self.places.get(&number) else {
            return Ok(false);
        };
        self.file.read(*place, buffer)?;
        Ok(true)
    }
}

fn words<const WORDS: usize>(bytes: &[u8]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_be_bytes(part.try_into().unwrap_or_default());
    }
    words
}
