//! Values that have a name, and lines that have a number: whole values are voted on.
//!
//! A value that a replica lacks is `None`, and a majority may well lack it: then the replicas that
//! hold one differ.

use super::Limits;
use crate::consensus::majority;
use std::collections::{BTreeMap, BTreeSet};

/// A value in which one replica differs from the majority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextDifference {
    /// Its name; for a log `line N`, counted from 1.
    pub name: String,
    /// What the majority holds; `None` where it lacks the value.
    pub expected: Option<String>,
    /// What this replica holds; `None` where it lacks the value.
    pub found: Option<String>,
}

/// A value that no majority decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndecidedText {
    /// Its name; for a log `line N`, counted from 1.
    pub name: String,
    /// What each replica holds, in order.
    pub found: Vec<Option<String>>,
}

/// How the values of one replica differ from the majority's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaTexts {
    /// How many differ.
    pub differing: u64,
    /// The first of them, by name or line.
    pub listed: Vec<TextDifference>,
}

/// How the values of N replicas differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextComparison {
    /// Each replica against the majority, in the order given.
    pub replicas: Vec<ReplicaTexts>,
    /// How many values no majority decided.
    pub undecided_count: u64,
    /// The first of them, by name or line.
    pub undecided: Vec<UndecidedText>,
    /// Bytes of the values that were compared, over all replicas.
    pub bytes_compared: u64,
}

impl TextComparison {
    /// Whether all replicas hold the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.undecided_count == 0 && self.replicas.iter().all(|one| one.differing == 0)
    }

    fn of(replicas: usize) -> Self {
        Self {
            replicas: vec![ReplicaTexts::default(); replicas],
            ..Self::default()
        }
    }

    /// Votes on one value; the name is only made where it is needed.
    fn vote(&mut self, name: impl Fn() -> String, values: &[Option<&str>], limits: Limits) {
        let bytes = values.iter().flatten().map(|value| value.len() as u64);
        self.bytes_compared += bytes.sum::<u64>();
        match majority(values) {
            Some(&expected) => self.decided(name, expected, values, limits),
            None => self.undecided(name, values, limits),
        }
    }

    fn decided(
        &mut self,
        name: impl Fn() -> String,
        expected: Option<&str>,
        values: &[Option<&str>],
        limits: Limits,
    ) {
        for (replica, &found) in self.replicas.iter_mut().zip(values) {
            if found == expected {
                continue;
            }
            replica.differing += 1;
            if replica.listed.len() < limits.listed {
                replica.listed.push(TextDifference {
                    name: name(),
                    expected: expected.map(str::to_owned),
                    found: found.map(str::to_owned),
                });
            }
        }
    }

    fn undecided(&mut self, name: impl Fn() -> String, values: &[Option<&str>], limits: Limits) {
        self.undecided_count += 1;
        if self.undecided.len() < limits.listed {
            let found = values.iter().map(|value| value.map(str::to_owned));
            self.undecided.push(UndecidedText {
                name: name(),
                found: found.collect(),
            });
        }
    }
}

/// Compares values by name, in the order of the names.
#[must_use]
pub fn compare_named<V: AsRef<str>>(
    replicas: &[BTreeMap<&str, V>],
    limits: Limits,
) -> TextComparison {
    let mut comparison = TextComparison::of(replicas.len());
    let names: BTreeSet<&str> = replicas.iter().flat_map(BTreeMap::keys).copied().collect();
    let mut values = Vec::with_capacity(replicas.len());
    for name in names {
        values.clear();
        values.extend(
            replicas
                .iter()
                .map(|held| held.get(name).map(AsRef::as_ref)),
        );
        comparison.vote(|| name.to_owned(), &values, limits);
    }
    comparison
}

/// Compares lines by their position.
#[must_use]
pub fn compare_lines(replicas: &[&[String]], limits: Limits) -> TextComparison {
    let mut comparison = TextComparison::of(replicas.len());
    let longest = replicas.iter().map(|lines| lines.len()).max().unwrap_or(0);
    let mut values = Vec::with_capacity(replicas.len());
    for index in 0..longest {
        values.clear();
        values.extend(
            replicas
                .iter()
                .map(|lines| lines.get(index).map(String::as_str)),
        );
        comparison.vote(|| format!("line {}", index + 1), &values, limits);
    }
    comparison
}

/// Compares one value.
#[must_use]
pub fn compare_values(name: &str, values: &[Option<&str>], limits: Limits) -> TextComparison {
    let mut comparison = TextComparison::of(values.len());
    if !values.is_empty() {
        comparison.vote(|| name.to_owned(), values, limits);
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { listed: 2 };

    fn lines(replicas: &[&[&str]]) -> TextComparison {
        let owned = |lines: &&[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let replicas: Vec<Vec<String>> = replicas.iter().map(owned).collect();
        let replicas: Vec<&[String]> = replicas.iter().map(Vec::as_slice).collect();
        compare_lines(&replicas, LIMITS)
    }

    fn differing(comparison: &TextComparison) -> Vec<u64> {
        comparison
            .replicas
            .iter()
            .map(|one| one.differing)
            .collect()
    }

    #[test]
    fn equal_lines_are_equal() {
        let comparison = lines(&[&["a", "bc"], &["a", "bc"]]);
        assert!(comparison.is_equal());
        assert_eq!(comparison.bytes_compared, 6);
    }

    #[test]
    fn another_line_and_a_missing_line_differ() {
        let comparison = lines(&[&["a", "b"], &["a", "x"], &["a"], &["a", "b"], &["a", "b"]]);
        assert_eq!(differing(&comparison), [0, 1, 1, 0, 0]);
        assert_eq!(
            comparison.replicas[1].listed,
            [TextDifference {
                name: "line 2".to_owned(),
                expected: Some("b".to_owned()),
                found: Some("x".to_owned()),
            }]
        );
        assert_eq!(comparison.replicas[2].listed[0].found, None);
    }

    #[test]
    fn a_line_too_many_differs() {
        let comparison = lines(&[&["a"], &["a", "b"], &["a"]]);
        assert_eq!(differing(&comparison), [0, 1, 0]);
        assert_eq!(comparison.replicas[1].listed[0].expected, None);
    }

    #[test]
    fn two_replicas_never_decide() {
        let comparison = lines(&[&["a"], &["b"]]);
        assert_eq!(differing(&comparison), [0, 0]);
        assert_eq!(comparison.undecided_count, 1);
        assert_eq!(comparison.undecided[0].found.len(), 2);
    }

    #[test]
    fn lists_are_bounded_and_counts_are_not() {
        let comparison = lines(&[&["a"; 9], &["b"; 9], &["a"; 9]]);
        assert_eq!(differing(&comparison), [0, 9, 0]);
        assert_eq!(comparison.replicas[1].listed.len(), 2);
    }

    #[test]
    fn names_are_compared_in_their_order() {
        let replica = |rax, rip| BTreeMap::from([("rip", rip), ("rax", rax)]);
        let replicas = [replica("1", "2"), replica("7", "8"), replica("1", "2")];
        let comparison = compare_named(&replicas, LIMITS);
        assert_eq!(differing(&comparison), [0, 2, 0]);
        assert_eq!(comparison.replicas[1].listed[0].name, "rax");
        assert_eq!(comparison.bytes_compared, 6);
    }
}
