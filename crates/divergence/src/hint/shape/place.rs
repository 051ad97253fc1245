//! Where words lie to each other: in a line, a sector, a page, a lane, a column, a tail.

use super::word::Word;
use model::PAGE_BYTES;

/// A line of an x86-64 processor's cache.
const LINE_BYTES: u64 = 64;

/// A sector of a disk.
const SECTOR_BYTES: u64 = 512;

/// The longest run of bytes that is the tail of a copy: a string instruction moves up to 32 at once.
const TAIL_BYTES: u64 = 32;

/// Bits that a replaced byte differs in, at least.
const TAIL_FLIPS_PER_BYTE: f64 = 2.4;

/// Widths of vectors, the widest first.
const VECTORS: [u64; 3] = [64, 32, 16];

/// Of the steps from word to word so many are alike in a lane or a column.
const MOST_STEPS: f64 = 0.75;

/// Where words lie to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::hint) struct Place {
    /// All in one line.
    pub(super) line: bool,
    /// All in one aligned block of 512 bytes.
    pub(super) sector: bool,
    /// Bytes of one run that begins or ends within a word, or crosses from line to line.
    pub(super) tail_bytes: Option<u64>,
    /// The width of vectors of which one lane, or two neighbours, are wrong, and whether it is one.
    pub(super) lane: Option<(u64, bool)>,
    /// The constant way of at least a page from one word to the next.
    pub(super) column: Option<u64>,
}

impl Place {
    /// Whether all lie in one line of the cache.
    pub(in crate::hint) const fn is_line(self) -> bool {
        self.line
    }

    /// The length of a run of bytes that is askew to words.
    pub(in crate::hint) const fn tail_bytes(self) -> Option<u64> {
        self.tail_bytes
    }

    /// The width of vectors of which a lane is wrong, in bytes, and whether it is one lane.
    pub(in crate::hint) const fn lane(self) -> Option<(u64, bool)> {
        self.lane
    }

    /// The place of words in ascending order of address; nothing is known of those without one.
    pub(super) fn of(words: &[Word]) -> Self {
        let addresses: Vec<u64> = words.iter().filter_map(|word| word.address).collect();
        let (Some(&first), Some(&last)) = (addresses.first(), addresses.last()) else {
            return Self::default();
        };
        let same = |block: u64| first / block == last / block;
        Self {
            line: same(LINE_BYTES),
            sector: same(SECTOR_BYTES),
            tail_bytes: tail(words),
            lane: lane(&addresses),
            column: column(&addresses),
        }
    }
}

/// One run of nearly all differing bytes, too short or too askew for whole words or lines.
fn tail(words: &[Word]) -> Option<u64> {
    let bytes: Vec<u64> = words.iter().flat_map(|word| word.bytes()).collect();
    let (first, last) = (*bytes.first()?, *bytes.last()?);
    let length = last - first + 1;
    let dense = bytes.len() as f64 >= 0.5 * length as f64;
    // Old bytes differ from new ones in about half of their bits, flipped bits are fewer.
    let flips: u32 = words.iter().map(|word| word.flips()).sum();
    let least = match words.len() {
        1 => TAIL_FLIPS_PER_BYTE,
        // Words that follow each other are no chance.
        _ => TAIL_FLIPS_PER_BYTE / 2.0,
    };
    let replaced = f64::from(flips) >= least * bytes.len() as f64;
    let whole_words = first % 8 == 0 && length.is_multiple_of(8);
    let one_byte = bytes.len() == 1;
    (length <= TAIL_BYTES && dense && replaced && !whole_words && !one_byte).then_some(length)
}

/// The largest way of whole pages that all words are apart by: of a stuck line of bits those words
/// are missing that had the value.
fn column(addresses: &[u64]) -> Option<u64> {
    let steps = addresses.iter().zip(addresses.iter().skip(1));
    let way = steps
        .map(|(one, next)| next - one)
        .reduce(greatest_common_divisor)?;
    let pages = way > 0 && way % PAGE_BYTES as u64 == 0;
    (addresses.len() >= 3 && pages).then_some(way)
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// The way that most words are apart, where it is one.
fn step(addresses: &[u64]) -> Option<u64> {
    let mut steps: Vec<u64> = addresses
        .iter()
        .zip(addresses.iter().skip(1))
        .map(|(one, next)| next - one)
        .collect();
    steps.sort_unstable();
    let usual = *steps.get(steps.len() / 2)?;
    let alike = steps.iter().filter(|step| **step == usual).count();
    let enough = addresses.len() >= 3 && alike as f64 >= MOST_STEPS * steps.len() as f64;
    (enough && usual > 0).then_some(usual)
}

/// Vectors that follow each other, each wrong in one lane or in the same two neighbours.
fn lane(addresses: &[u64]) -> Option<(u64, bool)> {
    if let Some(step) = step(addresses).filter(|step| VECTORS.contains(step)) {
        return Some((step, true));
    }
    // Two neighbours: every other word follows the one before.
    let firsts: Vec<u64> = addresses.iter().step_by(2).copied().collect();
    let pairs = addresses.chunks_exact(2);
    let close = pairs
        .clone()
        .filter(|pair| matches!(pair, [one, next] if next - one == 8))
        .count();
    let all_close = addresses.len() >= 6 && close == pairs.len();
    let step = step(&firsts).filter(|step| VECTORS.contains(step) && *step > 16)?;
    all_close.then_some((step, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(words: &[(u64, u64)]) -> Place {
        let words: Vec<Word> = words
            .iter()
            .map(|&(address, mask)| Word {
                address: Some(address),
                expected: 0,
                found: mask,
            })
            .collect();
        Place::of(&words)
    }

    const ALL: u64 = u64::MAX;

    #[test]
    fn words_of_a_line_lie_in_a_line() {
        let line = place(&[(0x1000, ALL), (0x1038, ALL)]);
        assert!(line.line && line.sector);
        let sector = place(&[(0x1000, ALL), (0x1040, ALL)]);
        assert!(!sector.line && sector.sector);
        assert!(!place(&[(0x11f8, ALL), (0x1200, ALL)]).sector);
    }

    #[test]
    fn a_tail_is_a_run_of_bytes_askew() {
        assert_eq!(
            place(&[(0x1000, ALL << 24), (0x1008, ALL)]).tail_bytes,
            Some(13)
        );
        assert_eq!(place(&[(0x1000, 0xffff_ff00)]).tail_bytes, Some(3));
        assert_eq!(place(&[(0x1000, ALL), (0x1008, ALL)]).tail_bytes, None);
        assert_eq!(place(&[(0x1000, ALL << 24), (0x1030, 1)]).tail_bytes, None);
        assert_eq!(place(&[(0x1000, 0x1000)]).tail_bytes, None);
    }

    #[test]
    fn lanes_and_columns_are_steps() {
        let steps = |first: u64, step: u64| -> Vec<(u64, u64)> {
            (0..5).map(|at| (first + at * step, ALL)).collect()
        };
        assert_eq!(place(&steps(0x1010, 32)).lane, Some((32, true)));
        assert_eq!(place(&steps(0x1010, 8)).lane, None);
        assert_eq!(place(&steps(0x1010, 8192)).column, Some(8192));
        let missing = [(0x1010, 1), (0x3010, 1), (0x9010, 1), (0xd010, 1)];
        assert_eq!(place(&missing).column, Some(8192));
        assert_eq!(place(&steps(0x1010, 4104)).column, None);
        let pairs: Vec<(u64, u64)> = (0..4)
            .flat_map(|at| [(0x1000 + at * 64, ALL), (0x1008 + at * 64, ALL)])
            .collect();
        assert_eq!(place(&pairs).lane, Some((64, false)));
        assert_eq!(place(&[(0x1000, 1), (0x1020, 1)]).lane, None);
    }
}
