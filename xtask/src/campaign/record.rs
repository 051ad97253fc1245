//! The result file of a campaign: written anew, whole, after every trial.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The file's kind and version. A file of another one is replaced.
const SCHEMA: &str = "vardoger/campaign-trials/1";

/// What makes trials comparable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The campaign's name.
    pub(super) campaign: String,
    /// The seed of all draws.
    pub(super) seed: u64,
    /// Which build of the program.
    pub(super) program: String,
}

/// A finished trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// Which, counted from 0.
    pub(super) number: u32,
    /// What was done, for a person to read.
    pub(super) what: String,
    /// What went wrong; nothing in a trial that passed.
    pub(super) failures: Vec<String>,
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    schema: String,
    origin: Origin,
    trials: Vec<Trial>,
}

/// All trials so far.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    content: Content,
}

impl Record {
    /// Reads the trials of a file, or begins anew where there are none of this origin.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub(super) fn open(path: &Path, origin: Origin) -> anyhow::Result<Self> {
        let present = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let content = present
            .filter(|content: &Content| content.schema == SCHEMA && content.origin == origin)
            .unwrap_or_else(|| Content {
                schema: SCHEMA.to_owned(),
                origin,
                trials: Vec::new(),
            });
        Ok(Self {
            path: path.to_path_buf(),
            content,
        })
    }

    /// The seed of all draws.
    pub(super) fn seed(&self) -> u64 {
        self.content.origin.seed
    }

    /// The numbers of the trials that are missing among the first `trials`.
    pub(super) fn missing(&self, trials: u32) -> Vec<u32> {
        let has = |number: &u32| self.first(trials).any(|trial| trial.number == *number);
        (0..trials).filter(|number| !has(number)).collect()
    }

    /// How many of the first `trials` are finished.
    pub(super) fn finished(&self, trials: u32) -> usize {
        self.first(trials).count()
    }

    /// How many of the first `trials` failed.
    pub(super) fn failed(&self, trials: u32) -> usize {
        let failed = |trial: &&Trial| !trial.failures.is_empty();
        self.first(trials).filter(failed).count()
    }

    /// Adds a finished trial; the file holds either all trials up to this one, or all before it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(super) fn add(&mut self, trial: Trial) -> anyhow::Result<()> {
        self.content.trials.push(trial);
        let text = serde_json::to_vec_pretty(&self.content)?;
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &self.path))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn first(&self, trials: u32) -> impl Iterator<Item = &Trial> {
        let among = move |trial: &&Trial| trial.number < trials;
        self.content.trials.iter().filter(among)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(seed: u64) -> Origin {
        Origin {
            campaign: "kill".to_owned(),
            seed,
            program: "0123".to_owned(),
        }
    }

    fn trial(number: u32, failures: &[&str]) -> Trial {
        Trial {
            number,
            what: "killed".to_owned(),
            failures: failures.iter().map(|&failure| failure.to_owned()).collect(),
        }
    }

    #[test]
    fn a_later_start_continues_and_another_origin_begins_anew() -> anyhow::Result<()> {
        let path = std::env::temp_dir().join(format!("xtask-record-{}.json", std::process::id()));
        let mut record = Record::open(&path, origin(1))?;
        assert_eq!(record.missing(3), [0, 1, 2]);
        record.add(trial(0, &[]))?;
        record.add(trial(1, &["a process was left"]))?;

        let continued = Record::open(&path, origin(1))?;
        assert_eq!(continued.missing(3), [2]);
        assert_eq!((continued.finished(3), continued.failed(3)), (2, 1));
        assert_eq!((continued.finished(1), continued.failed(1)), (1, 0));
        assert_eq!(continued.content.trials, record.content.trials);

        assert_eq!(Record::open(&path, origin(2))?.missing(2), [0, 1]);
        fs::write(&path, "not a record")?;
        assert_eq!(Record::open(&path, origin(1))?.missing(1), [0]);
        fs::remove_file(&path)?;
        Ok(())
    }
}
