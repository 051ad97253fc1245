//! `text`: words counted, lines sorted, patterns found; reported as such a program would.
//!
//! ```text
//! start:   a vocabulary of 512 words, from the seed; the first text
//! step i:  counts[ word ] += occurrences                     16 KiB of text
//!          lines sorted; matches of four patterns counted
//!          running = SHA-256( running ‖ words, lines, matches, shortest and last line's length )
//!          text    = the next one, from seed and i
//! end:     digest of running, and of the ten most frequent words with their counts
//! ```
//!
//! Low on purpose, and unlike all others: the base line. The digest is that of the report, not of
//! the state; texts do not depend on one another; most of what is computed is only counted. A wrong
//! letter shows if it makes or breaks a match or changes a frequent word, and else is lost. How
//! often is measured by the test at the end of this file: of 200 bits flipped in the text half way,
//! 69 change the digest.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::random::Xoshiro256;
use regex::bytes::Regex;
use sha2::{Digest as _, Sha256};

const NAME: &str = "text";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "words counted, lines sorted and patterns found in a seeded text: the base line",
    sensitivity: Sensitivity::Low,
    targets: &[Target::CpuInteger],
    units: &[Unit::Branches, Unit::LoadStore],
    data_types: &[DataType::Text],
    algorithms: &[Algorithm::Sorting, Algorithm::PatternSearch],
    extensions: &[],
    portable: true,
    instructions_per_step: 3_570_000,
    emulation_weight: 1.1,
    default_budget_s: 1.0,
    minimum_steps: TEXTS_MIN,
    start: Start::Alone(Words::start),
};

/// Texts that a report needs at least, for its ranking to be settled.
pub(crate) const TEXTS_MIN: u64 = 4;
const TEXT_BYTES: usize = 4 * model::PAGE_BYTES;
const VOCABULARY: usize = 512;
/// Words in the report.
const RANKING: usize = 10;
/// What a line has at least before it ends.
const LINE_BYTES_MIN: usize = 48;

const PATTERNS: [&str; 4] = [
    // A day.
    r"(?-u)\b(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]\b",
    // An address of mail.
    r"(?-u)[a-z]+@[a-z]+\.(?:org|net)",
    // A word of a certain beginning and end.
    r"(?-u)\bb[a-z]*i\b",
    // A number with a fraction.
    r"(?-u)\b[0-9]+\.[0-9]+\b",
];

pub(crate) struct Words {
    seed: u64,
    /// Sorted, none twice.
    vocabulary: Vec<String>,
    counts: Vec<u64>,
    text: Vec<u8>,
    patterns: Vec<Regex>,
    running: [u8; DIGEST_BYTES],
    words_seen: u64,
    steps_done: u64,
}

impl Words {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let vocabulary = vocabulary(&mut Xoshiro256::from_seed(seed));
        let mut words = Self {
            seed,
            counts: vec![0; vocabulary.len()],
            vocabulary,
            text: Vec::with_capacity(TEXT_BYTES),
            patterns: PATTERNS
                .iter()
                .filter_map(|text| Regex::new(text).ok())
                .collect(),
            running: [0; DIGEST_BYTES],
            words_seen: 0,
            steps_done: 0,
        };
        words.write_text();
        words
    }

    /// Replaces the text with that of the present step.
    fn write_text(&mut self) {
        let mut stream = Xoshiro256::from_seed(self.seed ^ self.steps_done.rotate_left(32));
        self.text.clear();
        let mut line_start = 0;
        while self.text.len() < TEXT_BYTES - LINE_BYTES_MIN {
            write_piece(&mut self.text, &self.vocabulary, &mut stream);
            let line_is_full = self.text.len() - line_start > LINE_BYTES_MIN;
            if line_is_full {
                line_start = self.text.len() + 1;
            }
            self.text.push(if line_is_full { b'\n' } else { b' ' });
        }
    }

    /// Counts the words of the vocabulary; returns how many words there are of any kind.
    fn count_words(&mut self) -> u64 {
        let mut words = 0;
        let is_letter = u8::is_ascii_alphabetic;
        for word in self.text.split(|byte| !is_letter(byte)) {
            if word.is_empty() {
                continue;
            }
            words += 1;
            let found = self
                .vocabulary
                .binary_search_by(|known| known.as_bytes().cmp(word));
            if let Ok(index) = found {
                self.counts[index] += 1;
            }
        }
        words
    }

    /// The most frequent words, the first of the alphabet first where they are even.
    fn ranking(&self) -> Vec<(&str, u64)> {
        let counted = self
            .vocabulary
            .iter()
            .map(String::as_str)
            .zip(self.counts.iter().copied());
        let mut ranking: Vec<(&str, u64)> = counted.collect();
        ranking.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        ranking.truncate(RANKING);
        ranking
    }
}

impl Kernel for Words {
    fn step(&mut self) {
        let words = self.count_words();
        self.words_seen += words;
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(words.to_le_bytes());
        for figure in sorted_lines(&self.text) {
            link.update((figure as u64).to_le_bytes());
        }
        for pattern in &self.patterns {
            let matches = pattern.find_iter(&self.text).count() as u64;
            link.update(matches.to_le_bytes());
        }
        self.running = link.finalize().into();
        self.steps_done += 1;
        self.write_text();
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        for (word, count) in self.ranking() {
            all.update(word);
            all.update(count.to_le_bytes());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("words".to_owned(), self.words_seen as f64)]
    }
}

/// How many lines there are, and the lengths of the first and the last in order.
fn sorted_lines(text: &[u8]) -> [usize; 3] {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    let length = |line: Option<&&[u8]>| line.map_or(0, |line| line.len());
    [lines.len(), length(lines.first()), length(lines.last())]
}

/// Words of two to four syllables.
fn vocabulary(stream: &mut Xoshiro256) -> Vec<String> {
    let mut words: Vec<String> = (0..VOCABULARY).map(|_| syllables(stream)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn syllables(stream: &mut Xoshiro256) -> String {
    const CONSONANTS: &[u8; 16] = b"bcdfghjklmnprstv";
    const VOWELS: &[u8; 8] = b"aeiouaei";
    let mut draw = stream.next_word();
    let count = 2 + draw % 3;
    let mut word = String::new();
    for _ in 0..count {
        draw >>= 8;
        word.push(char::from(CONSONANTS[(draw & 15) as usize]));
        word.push(char::from(VOWELS[(draw >> 4 & 7) as usize]));
    }
    word
}

/// A word, or now and then something that a pattern finds.
fn write_piece(text: &mut Vec<u8>, vocabulary: &[String], stream: &mut Xoshiro256) {
    let draw = stream.next_word();
    // The product of two even draws: some words are much more frequent than others.
    let skewed = ((draw >> 8 & 0xffff) * (draw >> 24 & 0xffff)) >> 16;
    let word = &vocabulary[(skewed as usize * vocabulary.len()) >> 16];
    let piece = match draw & 31 {
        0 => format!(
            "{}-{:02}-{:02}",
            1900 + (draw >> 40) % 200,
            (draw >> 48) % 13,
            (draw >> 52) % 32
        ),
        1 => format!("{word}@{word}.org"),
        2 => format!("{}.{}", (draw >> 40) % 1000, (draw >> 50) % 100),
        3 => format!("{word},"),
        _ => word.clone(),
    };
    text.extend_from_slice(piece.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_patterns_are_sound_and_find_something() {
        let words = Words::new(0);
        assert_eq!(words.patterns.len(), PATTERNS.len());
        for pattern in &words.patterns {
            assert!(pattern.find_iter(&words.text).count() > 0, "{pattern}");
        }
    }

    #[test]
    fn words_are_counted_as_a_plain_search_counts_them() {
        let mut words = Words::new(4);
        let text = String::from_utf8(words.text.clone()).unwrap();
        words.step();
        for (known, count) in words.ranking() {
            let is_known = |word: &&str| *word == known;
            let plain = text
                .split(|c: char| !c.is_ascii_lowercase())
                .filter(is_known);
            assert_eq!(plain.count() as u64, count, "{known}");
        }
    }

    #[test]
    fn some_flipped_bits_show_and_most_do_not() {
        const FLIPS: u64 = 200;
        let digest = |flip: Option<u64>| {
            let mut words = Words::new(1);
            for step in 0..TEXTS_MIN {
                if let (Some(draw), true) = (flip, step == TEXTS_MIN / 2) {
                    let byte = draw as usize % words.text.len();
                    words.text[byte] ^= 1 << (draw >> 61);
                }
                words.step();
            }
            words.digest()
        };
        let healthy = digest(None);
        let mut stream = Xoshiro256::from_seed(99);
        let shown = (0..FLIPS).filter(|_| digest(Some(stream.next_word())) != healthy);
        assert_eq!(shown.count(), 69);
    }
}
