//! Files that the computation names: the whole content is voted on, and what differs is listed by
//! 64-bit word.

use super::Limits;
use crate::consensus::majority;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a word, the unit in which differences are counted.
const WORD_BYTES: usize = 8;

/// A word in which one replica's file differs from the majority's, or the whole file where one
/// side lacks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDifference {
    /// The file's name.
    pub name: String,
    /// Bytes from its start to the word; `None` where one side lacks the file.
    pub offset: Option<u64>,
    /// What the majority holds, up to 8 bytes: fewer at the end of the file; `None` where it lacks
    /// the file.
    pub expected: Option<Vec<u8>>,
    /// What this replica holds, in the same way.
    pub found: Option<Vec<u8>>,
}

/// A file of which no content has a majority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndecidedFile {
    /// Its name.
    pub name: String,
    /// The length that it has in each replica, in order; `None` where one lacks it.
    pub bytes: Vec<Option<u64>>,
}

/// How one replica's files differ from the majority's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaFiles {
    /// How many files differ.
    pub differing_files: u64,
    /// How many words differ in them; a file that one side lacks counts as one.
    pub differing_words: u64,
    /// The first differing words, by name and offset.
    pub listed: Vec<FileDifference>,
}

/// How the files of N replicas differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileComparison {
    /// Each replica against the majority, in the order given.
    pub replicas: Vec<ReplicaFiles>,
    /// How many files no majority decided.
    pub undecided_count: u64,
    /// The first of them, by name.
    pub undecided: Vec<UndecidedFile>,
    /// Bytes that were compared, over all replicas.
    pub bytes_compared: u64,
}

impl FileComparison {
    /// Whether all replicas hold the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.undecided_count == 0 && self.replicas.iter().all(|one| one.differing_files == 0)
    }

    fn vote(&mut self, name: &str, contents: &[Option<&[u8]>], limits: Limits) {
        let bytes = contents
            .iter()
            .flatten()
            .map(|content| content.len() as u64);
        self.bytes_compared += bytes.sum::<u64>();
        let Some(&expected) = majority(contents) else {
            self.undecided(name, contents, limits);
            return;
        };
        for (replica, &found) in self.replicas.iter_mut().zip(contents) {
            if found != expected {
                replica.differing_files += 1;
                replica.list(name, expected, found, limits);
            }
        }
    }

    fn undecided(&mut self, name: &str, contents: &[Option<&[u8]>], limits: Limits) {
        self.undecided_count += 1;
        if self.undecided.len() < limits.listed {
            let lengths = contents
                .iter()
                .map(|content| content.map(|held| held.len() as u64));
            self.undecided.push(UndecidedFile {
                name: name.to_owned(),
                bytes: lengths.collect(),
            });
        }
    }
}

impl ReplicaFiles {
    fn list(&mut self, name: &str, expected: Option<&[u8]>, found: Option<&[u8]>, limits: Limits) {
        let (Some(expected), Some(found)) = (expected, found) else {
            let head = |content: &[u8]| content.iter().take(WORD_BYTES).copied().collect();
            let difference = FileDifference {
                name: name.to_owned(),
                offset: None,
                expected: expected.map(head),
                found: found.map(head),
            };
            self.add(|| difference.clone(), limits);
            return;
        };
        let words = expected.len().max(found.len()).div_ceil(WORD_BYTES);
        for index in 0..words {
            let (ours, theirs) = (word(expected, index), word(found, index));
            if ours != theirs {
                let difference = || FileDifference {
                    name: name.to_owned(),
                    offset: Some((index * WORD_BYTES) as u64),
                    expected: Some(ours.to_vec()),
                    found: Some(theirs.to_vec()),
                };
                self.add(difference, limits);
            }
        }
    }

    fn add(&mut self, difference: impl Fn() -> FileDifference, limits: Limits) {
        self.differing_words += 1;
        if self.listed.len() < limits.listed {
            self.listed.push(difference());
        }
    }
}

/// The bytes of one word, as far as the content reaches.
fn word(content: &[u8], index: usize) -> &[u8] {
    let start = content.len().min(index * WORD_BYTES);
    let end = content.len().min(start + WORD_BYTES);
    &content[start..end]
}

/// Compares files by name, in the order of the names.
#[must_use]
pub fn compare_files(replicas: &[&BTreeMap<String, Vec<u8>>], limits: Limits) -> FileComparison {
    let mut comparison = FileComparison {
        replicas: vec![ReplicaFiles::default(); replicas.len()],
        ..FileComparison::default()
    };
    let names: BTreeSet<&String> = replicas.iter().flat_map(|files| files.keys()).collect();
    for name in names {
        let contents: Vec<Option<&[u8]>> = replicas
            .iter()
            .map(|files| files.get(name).map(Vec::as_slice))
            .collect();
        comparison.vote(name, &contents, limits);
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { listed: 2 };

    fn check(contents: &[Option<&[u8]>]) -> FileComparison {
        let files = |content: &Option<&[u8]>| {
            let content = content.map(|held| ("result".to_owned(), held.to_vec()));
            content.into_iter().collect::<BTreeMap<_, _>>()
        };
        let replicas: Vec<_> = contents.iter().map(files).collect();
        compare_files(&replicas.iter().collect::<Vec<_>>(), LIMITS)
    }

    #[test]
    fn equal_files_are_equal() {
        let comparison = check(&[Some(b"abc"), Some(b"abc"), Some(b"abc")]);
        assert!(comparison.is_equal());
        assert_eq!(comparison.bytes_compared, 9);
    }

    #[test]
    fn differing_words_are_listed_with_their_offset() {
        let good = b"0123456789abcdefXYZ".as_slice();
        let comparison = check(&[Some(good), Some(b"0123456789abcdeeXYZ"), Some(good)]);
        assert_eq!(
            comparison.replicas[1].listed,
            [FileDifference {
                name: "result".to_owned(),
                offset: Some(8),
                expected: Some(b"89abcdef".to_vec()),
                found: Some(b"89abcdee".to_vec()),
            }]
        );
    }

    #[test]
    fn a_shorter_file_differs_in_its_tail() {
        let comparison = check(&[Some(b"0123456789"), Some(b"01234567"), Some(b"0123456789")]);
        let listed = &comparison.replicas[1].listed[0];
        assert_eq!((listed.offset, &listed.found), (Some(8), &Some(Vec::new())));
    }

    #[test]
    fn a_missing_file_is_one_difference() {
        let comparison = check(&[Some(b"0123456789"), None, Some(b"0123456789")]);
        assert_eq!(comparison.replicas[1].differing_words, 1);
        let listed = &comparison.replicas[1].listed[0];
        assert_eq!((listed.offset, &listed.found), (None, &None));
    }

    #[test]
    fn contents_without_a_majority_are_undecided() {
        let comparison = check(&[Some(b"a"), Some(b"b"), None]);
        assert_eq!(comparison.undecided_count, 1);
        assert_eq!(comparison.undecided[0].bytes, [Some(1), Some(1), None]);
        assert!(
            comparison
                .replicas
                .iter()
                .all(|one| one.differing_files == 0)
        );
    }

    #[test]
    fn lists_are_bounded_and_counts_are_not() {
        let comparison = check(&[Some(&[0; 80]), Some(&[1; 80]), Some(&[0; 80])]);
        assert_eq!(comparison.replicas[1].differing_words, 10);
        assert_eq!(comparison.replicas[1].listed.len(), 2);
    }
}
