//! The result file of a campaign: written anew, whole, every few seconds of it.
//!
//! `cpu_s`, `inputs`: in all, of all starts. `edges` of `edges_all`: what the corpus reaches now.
//! `findings`: what lies in `found`. `commit`: what was fuzzed last.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::told::Told;

/// The file's kind and version.
const SCHEMA: &str = "vardoger/fuzz-campaign/1";

/// What was done for one parser.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Parser {
    /// Seconds of CPU time, of all starts.
    pub(super) cpu_s: f64,
    /// Inputs that were read.
    pub(super) inputs: u64,
    /// Edges of the program that were reached.
    pub(super) edges: u64,
    /// Edges that it has: those of all parsers, and of all that they use.
    pub(super) edges_all: u64,
    /// What was found, and is not mended.
    pub(super) findings: usize,
    /// The commit that was fuzzed last.
    pub(super) commit: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    schema: String,
    parsers: BTreeMap<String, Parser>,
}

/// What was done so far.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    commit: String,
    content: Content,
}

impl Record {
    /// Reads the file, or begins anew where there is none of this version.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub(super) fn open(path: &Path, commit: String) -> anyhow::Result<Self> {
        let present: Option<Content> = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let content = present
            .filter(|content| content.schema == SCHEMA)
            .unwrap_or_else(|| Content {
                schema: SCHEMA.to_owned(),
                parsers: BTreeMap::new(),
            });
        Ok(Self {
            path: path.to_path_buf(),
            commit,
            content,
        })
    }

    /// Takes in what was done elsewhere for parsers that have had more time there: what is kept with
    /// the code, where it was fuzzed on another machine.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub(super) fn take_in(&mut self, path: &Path) -> anyhow::Result<()> {
        let other = Self::open(path, self.commit.clone())?;
        for (name, parser) in other.content.parsers {
            if parser.cpu_s > self.cpu_seconds(&name) {
                self.content.parsers.insert(name, parser);
            }
        }
        Ok(())
    }

    /// Writes all of it to another file, whole or not at all.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.content)?;
        text.push(b'\n');
        let fresh = path.with_extension("new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Forgets what was done for some parsers.
    pub(super) fn forget(&mut self, parsers: &[&str]) {
        for parser in parsers {
            self.content.parsers.remove(*parser);
        }
    }

    /// How much CPU time a parser has had.
    pub(super) fn cpu_seconds(&self, parser: &str) -> f64 {
        self.parser(parser).cpu_s
    }

    /// What was done for a parser.
    pub(super) fn parser(&self, parser: &str) -> Parser {
        let known = self.content.parsers.get(parser);
        known.cloned().unwrap_or_default()
    }

    /// Notes how a stint stands that began at `before`. The file holds either this or what it held.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(super) fn note(
        &mut self,
        parser: &str,
        before: &Parser,
        (cpu_s, told): (f64, Told),
        findings: usize,
    ) -> anyhow::Result<()> {
        // Until the corpus is read again, what it reached is what was told last.
        let edges = match before.commit == self.commit {
            true => before.edges.max(told.edges),
            false => told.edges,
        };
        let now = Parser {
            cpu_s: before.cpu_s + cpu_s,
            inputs: before.inputs.saturating_add(told.inputs),
            edges,
            edges_all: told.edges_all.max(1),
            findings,
            commit: self.commit.clone(),
        };
        self.content.parsers.insert(parser.to_owned(), now);
        self.write(&self.path)
    }

    /// What was done for some parsers, for people.
    pub(super) fn table(&self, parsers: &[&str]) -> String {
        let mut lines = vec![format!(
            "{:<12}{:>9}{:>14}{:>9}{:>10}",
            "parser", "CPU min", "inputs", "edges", "findings"
        )];
        let mut all = Parser::default();
        for name in parsers {
            let parser = self.parser(name);
            lines.push(line(name, &parser, &parser.edges.to_string()));
            all.cpu_s += parser.cpu_s;
            all.inputs = all.inputs.saturating_add(parser.inputs);
            all.findings = all.findings.saturating_add(parser.findings);
        }
        // Parsers share edges: there is no sum of them.
        lines.push(line("all", &all, ""));
        lines.join("\n")
    }
}

fn line(name: &str, parser: &Parser, edges: &str) -> String {
    let minutes = parser.cpu_s / 60.0;
    let Parser {
        inputs, findings, ..
    } = parser;
    format!("{name:<12}{minutes:>9.1}{inputs:>14}{edges:>9}{findings:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(inputs: u64, edges: u64) -> Told {
        Told {
            inputs,
            edges,
            edges_all: 1000,
        }
    }

    #[test]
    fn a_later_start_goes_on_where_the_last_note_stands() -> anyhow::Result<()> {
        let place = tempfile::tempdir()?;
        let path = place.path().join("result.json");
        let open = |commit: &str| Record::open(&path, commit.to_owned());
        let mut record = open("a")?;
        let before = record.parser("ext");
        record.note("ext", &before, (5.0, told(10, 40)), 0)?;
        // A later note of the same stint replaces the one before.
        record.note("ext", &before, (9.0, told(20, 50)), 0)?;
        let mut record = open("a")?;
        assert_eq!(record.cpu_seconds("ext"), 9.0);
        let before = record.parser("ext");
        record.note("ext", &before, (1.0, told(1, 3)), 2)?;
        let now = record.parser("ext");
        assert_eq!((now.cpu_s, now.inputs, now.edges), (10.0, 21, 50));
        assert_eq!(now.findings, 2);
        // What another program reaches is another number.
        let mut record = open("b")?;
        record.note("ext", &now, (0.0, told(0, 7)), 0)?;
        assert_eq!(record.parser("ext").edges, 7);
        record.forget(&["ext"]);
        assert_eq!(record.parser("ext"), Parser::default());
        fs::write(&path, "not a record")?;
        assert_eq!(open("a")?.cpu_seconds("ext"), 0.0);
        Ok(())
    }

    #[test]
    fn what_was_done_elsewhere_counts_where_it_is_more() -> anyhow::Result<()> {
        let place = tempfile::tempdir()?;
        let (here, elsewhere) = (place.path().join("here"), place.path().join("elsewhere"));
        let none = Parser::default();
        let mut other = Record::open(&elsewhere, "a".to_owned())?;
        other.note("ext", &none, (9.0, told(20, 50)), 0)?;
        other.note("xfs", &none, (9.0, told(20, 50)), 0)?;
        let mut record = Record::open(&here, "b".to_owned())?;
        record.note("xfs", &none, (10.0, told(1, 5)), 0)?;
        record.take_in(&elsewhere)?;
        assert_eq!(
            (record.cpu_seconds("ext"), record.cpu_seconds("xfs")),
            (9.0, 10.0)
        );
        record.write(&elsewhere)?;
        let again = Record::open(&elsewhere, "c".to_owned())?;
        assert_eq!(
            (again.cpu_seconds("ext"), again.cpu_seconds("xfs")),
            (9.0, 10.0)
        );
        record.take_in(&place.path().join("nowhere"))?;
        Ok(())
    }

    #[test]
    fn the_table_has_a_line_for_each_and_one_for_all() -> anyhow::Result<()> {
        let place = tempfile::tempdir()?;
        let mut record = Record::open(&place.path().join("result.json"), "a".to_owned())?;
        for parser in ["ext", "xfs"] {
            record.note(parser, &Parser::default(), (90.0, told(7, 40)), 1)?;
        }
        let table = record.table(&["ext", "xfs"]);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["ext", "1.5", "7", "40", "1"]);
        assert_eq!(lines[3], ["all", "3.0", "14", "2"]);
        Ok(())
    }
}
