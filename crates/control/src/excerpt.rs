//! What a report shows of a run's evidence: which pages differ and by how much, the first of them
//! byte by byte, registers and log side by side.
//!
//! The evidence is read back from the store, one deviating replica after the other, so that two
//! states at most are in memory. Evidence that was pruned, or that a pass never left, is no error:
//! there is then nothing to show, and the page says so.
//!
//! Where a majority holds something, a replica is shown against that; where none does, the other
//! replicas are shown against the first whose state was kept.

mod compare;
mod memory;
mod text;

pub use compare::{Excerpt, Held};
pub use memory::{HexLine, LINE_BYTES, MemoryExcerpt, PageExcerpt, PageTally};
pub use text::{LogExcerpt, LogLine, RegisterPair};

use crate::error::ControlError;
use memory::Image;
use model::{GuestPhysicalAddress, ReplicaIndex, ReplicaRecord, Run};
use state::{TerminalState, read_state};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use store::{Store, StoreError};

/// The most replicas of one run that are shown side by side with what was expected: more is not
/// read by people, and each costs some hundred kilobytes of a page.
pub const MAX_EXCERPTS: usize = 4;

/// The excerpts of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Excerpts {
    /// Those that are shown, in the order of the deviations.
    pub shown: Vec<Excerpt>,
    /// How many more there would be.
    pub more: u64,
    /// Evidence that could not be read, in words.
    pub unread: Vec<String>,
}

/// A state file in the store and, where it was kept, the whole image that belongs to it.
#[derive(Debug)]
struct Source {
    state: PathBuf,
    image: Option<PathBuf>,
}

/// Two sides that are to be compared.
#[derive(Debug)]
struct Pair {
    expected: (Held, Source),
    found: (ReplicaIndex, Source),
    wanted: Vec<GuestPhysicalAddress>,
}

/// Reads the excerpts of a run from its evidence.
///
/// # Errors
/// The store cannot be read. What is missing or damaged in it is said in [`Excerpts::unread`].
pub async fn read(store: &Store, run: &Run) -> Result<Excerpts, ControlError> {
    let mut excerpts = Excerpts::default();
    for (expected, found) in sides(run) {
        if excerpts.shown.len() == MAX_EXCERPTS {
            excerpts.more += 1;
            continue;
        }
        let Some(pair) = locate(store, run, expected, found).await? else {
            let gone = format!("the states of replica {} are not in the store", found.index);
            excerpts.unread.push(gone);
            continue;
        };
        let compared = tokio::task::spawn_blocking(move || compare_files(&pair)).await;
        match compared {
            Ok(Ok(excerpt)) => excerpts.shown.push(excerpt),
            Ok(Err(why)) => excerpts.unread.push(why),
            Err(_) => {
                return Err(ControlError::Task {
                    doing: "reads evidence",
                });
            }
        }
    }
    Ok(excerpts)
}

/// Who is shown against whom.
fn sides(run: &Run) -> Vec<(Held, &ReplicaRecord)> {
    let record = |index| run.replicas.iter().find(move |one| one.index == index);
    let named = run.deviations.iter().filter_map(|one| one.replica);
    let named: Vec<_> = named.filter_map(record).collect();
    if !named.is_empty() {
        return named.into_iter().map(|one| (Held::Majority, one)).collect();
    }
    let mut kept = run.replicas.iter().filter(|one| one.state.is_some());
    match (run.deviations.is_empty(), kept.next()) {
        (false, Some(first)) => kept.map(|one| (Held::By(first.index), one)).collect(),
        _ => Vec::new(),
    }
}

/// Finds the files of both sides; `None` where one was not kept, or pruned.
async fn locate(
    store: &Store,
    run: &Run,
    expected: Held,
    found: &ReplicaRecord,
) -> Result<Option<Pair>, ControlError> {
    let right = match expected {
        Held::Majority => {
            let key = format!("runs/{}/majority.state", run.id);
            let state = path(store, &key).await?;
            state.map(|state| Source { state, image: None })
        }
        Held::By(index) => match run.replicas.iter().find(|one| one.index == index) {
            Some(record) => source(store, record).await?,
            None => None,
        },
    };
    let wrong = source(store, found).await?;
    let (Some(right), Some(wrong)) = (right, wrong) else {
        return Ok(None);
    };
    let injected = run.injections.iter();
    let injected = injected.filter(|one| one.replica == found.index);
    Ok(Some(Pair {
        expected: (expected, right),
        found: (found.index, wrong),
        wanted: injected.filter_map(|one| one.address).collect(),
    }))
}

async fn source(store: &Store, record: &ReplicaRecord) -> Result<Option<Source>, ControlError> {
    let Some(key) = &record.state else {
        return Ok(None);
    };
    let image = match &record.image {
        Some(key) => path(store, key).await?,
        None => None,
    };
    let state = path(store, key).await?;
    Ok(state.map(|state| Source { state, image }))
}

async fn path(store: &Store, key: &str) -> Result<Option<PathBuf>, ControlError> {
    match store.blob_path(key).await {
        Ok(path) => Ok(Some(path)),
        Err(StoreError::BlobMissing { .. } | StoreError::Pruned { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads both sides and compares them; an error is said in words.
fn compare_files(pair: &Pair) -> Result<Excerpt, String> {
    let (held, right) = &pair.expected;
    let (index, wrong) = &pair.found;
    let (right_state, wrong_state) = (open(right)?, open(wrong)?);
    let mut right_image = Image::open(right.image.as_deref());
    let mut wrong_image = Image::open(wrong.image.as_deref());
    Ok(Excerpt {
        expected: *held,
        found: *index,
        memory: memory::excerpt(
            *held,
            (&right_state.memory, &mut right_image),
            (&wrong_state.memory, &mut wrong_image),
            &pair.wanted,
        ),
        registers: text::registers(&right_state.registers, &wrong_state.registers),
        log: text::log(&right_state.log, &wrong_state.log),
    })
}

/// Reads a state, which has a digest of its own: what is damaged is refused.
fn open(source: &Source) -> Result<TerminalState, String> {
    let shown = source.state.display();
    let file =
        File::open(&source.state).map_err(|error| format!("cannot open {shown}: {error}"))?;
    let read = read_state(&mut BufReader::new(file));
    read.map(|file| file.state)
        .map_err(|error| format!("cannot read {shown}: {error}"))
}
