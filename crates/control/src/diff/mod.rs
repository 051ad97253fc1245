//! Saved states against each other: of one run, of several, or files from anywhere.
//!
//! ```text
//!  names ─► sources ─► open files ═══► worker: limits ─► read ─► compare ─┐
//!           (paths, or the store)      (a process of its own)             │ JSON, bounded
//!  Diff ◄── its text made safe ◄── parsed ◄───────────────────────────────┘
//! ```
//!
//! Where the machine that all states began with is still kept, a second worker does it again over
//! that machine's memory, so that what differs has names ([`meaning`]).
//!
//! A state file is not trusted, whoever wrote it: no byte of it is read by the process that the
//! user started. The worker reads and compares, and only what is to be reported comes back. That is
//! bounded, and its text is stripped of control characters, as a guest's is.

mod compare;
mod meaning;
mod worker;

pub use compare::compare;
pub use worker::serve;

use crate::error::ControlError;
use crate::machine::memory_of;
use crate::saved::{self, Which};
use computation::job::sanitise;
use model::{Diff, Difference, Part};
use sandbox::{Limits, MAX_FILES};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Store;

/// The most bytes of all state files together: their content is held in memory.
pub const MAX_INPUT_BYTES: u64 = 4 << 30;

/// What a worker needs besides the states: its program, and what a comparison lists.
const WORKER_BYTES: u64 = 192 << 20;

/// How many times its length a state may take in memory: while it is read, a growing buffer and its
/// copy, and its text as single lines; then the pages that are compared.
const MEMORY_PER_BYTE: u64 = 4;

/// CPU time of a worker, besides what its input takes.
const WORKER_CPU_S: u64 = 10;

/// What a second of CPU time is enough for: a tenth of what reading and comparing do.
const BYTES_PER_CPU_S: u64 = 32 << 20;

/// Wall time of a worker for each second of CPU time, on a host that is busy with other things.
const WALL_PER_CPU: u32 = 20;

/// The longest answer: all differences that are listed for as many states as are compared.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The word for a worker whose last file is the memory of a machine.
pub const OVER: &str = "over";

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Compares states.
    States,
    /// The same, with the memory of the machine that they began with.
    Over,
}

/// Where a state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How the user knows it.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// Whether a text names a file, and no run.
#[must_use]
pub fn is_path(text: &str) -> bool {
    text.contains('/') || Path::new(text).exists()
}

/// The states that a text names in the store: `RUN`, `RUN:K` or `RUN:majority`.
///
/// # Errors
/// There is no such run or state.
pub async fn in_store(store: &Store, text: &str) -> Result<Vec<Source>, ControlError> {
    let (reference, which) = match text.split_once(':') {
        None => (text, Which::All),
        Some((reference, which)) => {
            let which = which
                .parse()
                .map_err(|error| ControlError::NoState(format!("{text}: {error}")))?;
            (reference, which)
        }
    };
    let (run, states) = saved::find(store, reference, which).await?;
    let mut sources = Vec::with_capacity(states.len());
    for state in states {
        sources.push(Source {
            name: format!("{}:{}", run.id, state.short_name()),
            path: store.blob_path(&state.key).await?,
        });
    }
    Ok(sources)
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// All states were read and compared.
    Compared(Box<Diff>),
    /// A state, by its position, is not what it should be.
    Unreadable { state: usize, detail: String },
    /// The states were read and cannot be compared.
    Incomparable(String),
}

/// Compares states, in a process of its own. `worker` is the program that calls [`serve`] when it
/// is given `arguments`, with [`Work::Over`] where [`OVER`] follows. `store` is where machines are kept.
///
/// # Errors
/// There are too few or too many states, one cannot be opened or read, or the worker reaches a
/// limit.
pub async fn diff(
    worker: PathBuf,
    arguments: &'static [&'static str],
    sources: Vec<Source>,
    store: &Path,
) -> Result<Diff, ControlError> {
    if !(2..=MAX_FILES).contains(&sources.len()) {
        return Err(ControlError::NoState(format!(
            "{} states are named: 2 to {MAX_FILES} are compared",
            sources.len()
        )));
    }
    let compared = ask(&worker, arguments, &sources, None).await?;
    let Some(base) = base_of(&compared, store) else {
        return Ok(compared);
    };
    let over = [arguments, &[OVER]].concat();
    match ask(&worker, &over, &sources, Some(base)).await {
        Ok(explained) => Ok(explained),
        Err(error) => {
            tracing::warn!(%error, "what differs could not be explained by the kept machine");
            Ok(compared)
        }
    }
}

/// The memory of the machine that all states began with, if it would explain something.
fn base_of(compared: &Diff, store: &Path) -> Option<File> {
    let mut differences = compared.deviations.iter().flat_map(|one| &one.differences);
    let unexplained = |one: &Difference| one.part == Part::Memory && one.explanation.is_none();
    let digest = &compared.states.first()?.base_digest;
    let of_one_machine = compared.states.iter().all(|one| one.base_digest == *digest);
    if !of_one_machine || !differences.any(unexplained) {
        return None;
    }
    File::open(memory_of(&store.join("cache/machines"), digest)?).ok()
}

async fn ask(
    worker: &Path,
    arguments: &[&'static str],
    sources: &[Source],
    base: Option<File>,
) -> Result<Diff, ControlError> {
    let files = sources.iter().map(open);
    let files = files.chain(base.map(Ok)).collect::<Result<Vec<_>, _>>()?;
    let limits = limits(&files)?;
    let (worker, arguments) = (worker.to_path_buf(), arguments.to_vec());
    let asked =
        tokio::task::spawn_blocking(move || sandbox::ask(&worker, &arguments, &files, &limits));
    let answer = asked.await.map_err(|_| ControlError::Task {
        doing: "compares states",
    })??;
    understand(&answer, sources)
}

/// Opens a state's file, and nothing that would block or is no file.
fn open(source: &Source) -> Result<File, ControlError> {
    let path = &source.path;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(ControlError::file("open", path))?;
    let kind = file
        .metadata()
        .map_err(ControlError::file("look at", path))?;
    if kind.is_file() {
        Ok(file)
    } else {
        Err(ControlError::State {
            name: source.name.clone(),
            detail: "it is no regular file".to_owned(),
        })
    }
}

fn limits(files: &[File]) -> Result<Limits, ControlError> {
    let lengths = files.iter().map(|file| {
        let length = file.metadata().map(|metadata| metadata.len());
        length.map_err(ControlError::file("look at", "a state"))
    });
    let lengths: Vec<u64> = lengths.collect::<Result<_, _>>()?;
    let bytes = lengths.into_iter().fold(0, u64::saturating_add);
    if bytes > MAX_INPUT_BYTES {
        return Err(ControlError::OutOfRange(format!(
            "the states have {bytes} bytes together: at most {MAX_INPUT_BYTES} are compared"
        )));
    }
    let cpu_s = WORKER_CPU_S + bytes / BYTES_PER_CPU_S;
    Ok(Limits {
        memory_bytes: WORKER_BYTES + MEMORY_PER_BYTE * bytes,
        cpu_s,
        wall: Duration::from_secs(cpu_s).saturating_mul(WALL_PER_CPU),
        answer_bytes: MAX_ANSWER_BYTES,
    })
}

/// Reads an answer, believing none of it: its text is made safe before it is given a meaning.
fn understand(answer: &[u8], sources: &[Source]) -> Result<Diff, ControlError> {
    let broken = |error: serde_json::Error| {
        ControlError::Compare(format!("the worker's answer makes no sense: {error}"))
    };
    let mut answer: Value = serde_json::from_slice(answer).map_err(broken)?;
    make_safe(&mut answer);
    match serde_json::from_value(answer).map_err(broken)? {
        Answer::Compared(mut diff) if diff.states.len() == sources.len() => {
            for (state, source) in diff.states.iter_mut().zip(sources) {
                state.name.clone_from(&source.name);
            }
            Ok(*diff)
        }
        Answer::Compared(diff) => Err(ControlError::Compare(format!(
            "the worker answers for {} states of {}",
            diff.states.len(),
            sources.len()
        ))),
        Answer::Unreadable { state, detail } => Err(ControlError::State {
            name: sources
                .get(state)
                .map_or_else(|| state.to_string(), |source| source.name.clone()),
            detail,
        }),
        Answer::Incomparable(detail) => Err(ControlError::Compare(detail)),
    }
}

/// Strips all text of control characters and of what reorders it. The depth is bounded by the
/// parser.
fn make_safe(value: &mut Value) {
    match value {
        Value::String(text) => *text = sanitise(text.as_bytes()),
        Value::Array(values) => values.iter_mut().for_each(make_safe),
        Value::Object(values) => values.values_mut().for_each(make_safe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        ["a", "b"]
            .map(|name| Source {
                name: name.to_owned(),
                path: name.into(),
            })
            .to_vec()
    }

    #[test]
    fn an_answer_that_lies_is_an_error() {
        let answers: [&[u8]; 4] = [
            b"",
            b"{\"compared\":{}}",
            b"{\"other\":1}",
            &b"[".repeat(100_000),
        ];
        for answer in answers {
            assert!(matches!(
                understand(answer, &sources()),
                Err(ControlError::Compare(_))
            ));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_without_control_characters() {
        let answer = br#"{"unreadable":{"state":1,"detail":"\u001b[2J bad \u202e"}}"#;
        let error = understand(answer, &sources()).unwrap_err();
        assert_eq!(error.to_string(), "the state b could not be read: [2J bad ");
    }
}
