//! Registers and log of two replicas side by side.

use state::Registers;
use std::collections::BTreeSet;

/// The most registers that are shown; a vCPU has some hundred.
const MAX_REGISTERS_SHOWN: usize = 512;

/// The most lines of a log that are shown.
const MAX_LOG_LINES_SHOWN: usize = 200;

/// Equal lines that are shown before the first one that differs.
const LINES_BEFORE: usize = 3;

/// One register on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterPair {
    /// Its name.
    pub name: String,
    /// What was expected; `None` where that side has no such register.
    pub expected: Option<String>,
    /// What was found.
    pub found: Option<String>,
}

impl RegisterPair {
    /// Whether both sides hold the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.expected == self.found
    }
}

/// A part of the log on both sides, by number of line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogExcerpt {
    /// The lines that are shown: from a little before the first difference on.
    pub lines: Vec<LogLine>,
    /// Lines of the longer side.
    pub total: u64,
    /// Lines that differ.
    pub differing: u64,
}

/// One line of the log on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number, counted from 1.
    pub number: u64,
    /// What was expected; `None` past the end of that side.
    pub expected: Option<String>,
    /// What was found.
    pub found: Option<String>,
}

impl LogLine {
    /// Whether both sides say the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.expected == self.found
    }
}

/// All registers of both sides, those that differ first.
pub(super) fn registers(expected: &Registers, found: &Registers) -> Vec<RegisterPair> {
    let names = expected.iter().chain(found.iter()).map(|(name, _)| name);
    let names: BTreeSet<&str> = names.collect();
    let pair = |name: &str| RegisterPair {
        name: name.to_owned(),
        expected: expected.get(name).map(str::to_owned),
        found: found.get(name).map(str::to_owned),
    };
    let mut pairs: Vec<RegisterPair> = names.into_iter().map(pair).collect();
    pairs.sort_by_key(RegisterPair::is_equal);
    pairs.truncate(MAX_REGISTERS_SHOWN);
    pairs
}

/// The log of both sides, line by line, as it is compared.
pub(super) fn log(expected: &[String], found: &[String]) -> LogExcerpt {
    let total = expected.len().max(found.len());
    let differs = |at: &usize| expected.get(*at) != found.get(*at);
    let first = (0..total).find(differs).unwrap_or(0);
    let from = first.saturating_sub(LINES_BEFORE);
    let line = |at: usize| LogLine {
        number: at as u64 + 1,
        expected: expected.get(at).cloned(),
        found: found.get(at).cloned(),
    };
    let shown = (from..total).take(MAX_LOG_LINES_SHOWN);
    LogExcerpt {
        lines: shown.map(line).collect(),
        total: total as u64,
        differing: (0..total).filter(differs).count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn held(values: &[(&str, &str)]) -> Registers {
        let values = values.iter();
        let values = values.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        values.collect::<BTreeMap<_, _>>().try_into().unwrap()
    }

    #[test]
    fn registers_that_differ_come_first() {
        let right = held(&[("cr3", "1"), ("rax", "1"), ("rbx", "2")]);
        let wrong = held(&[("cr3", "1"), ("rax", "1"), ("rcx", "2")]);
        let pairs = registers(&right, &wrong);
        let names: Vec<&str> = pairs.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["rbx", "rcx", "cr3", "rax"]);
        assert_eq!(pairs[0].found, None);
    }

    #[test]
    fn a_log_is_shown_from_before_its_first_difference() {
        let right: Vec<String> = (0..1000).map(|line| line.to_string()).collect();
        let mut wrong = right.clone();
        wrong[500] = "other".to_owned();
        wrong.pop();
        let excerpt = log(&right, &wrong);
        assert_eq!((excerpt.total, excerpt.differing), (1000, 2));
        assert_eq!(excerpt.lines.len(), MAX_LOG_LINES_SHOWN);
        assert_eq!(excerpt.lines[0].number, 498);
        assert!(!excerpt.lines[3].is_equal());
        assert_eq!(log(&[], &[]), LogExcerpt::default());
    }
}
