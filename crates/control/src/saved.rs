//! States that were kept: how the user names them, where they are, and how they leave the store.
//!
//! ```text
//!  RUN            every state that is kept of it; what the majority holds only where not all
//!                 replicas were kept
//!  RUN:K          replica K's
//!  RUN:majority   what the majority holds
//!  a path         a state file from anywhere
//! ```
//!
//! `RUN` is an id, a unique beginning of one, `@last` or `@last~N`.

use crate::error::ControlError;
use model::{ReplicaIndex, Run};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::{Store, StoreError};

/// The word for what the majority holds.
const MAJORITY: &str = "majority";

/// Which states of a run are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All that are kept.
    All,
    /// One replica's.
    Replica(ReplicaIndex),
    /// What the majority holds.
    Majority,
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            MAJORITY => Ok(Self::Majority),
            number => number
                .parse()
                .map(|number| Self::Replica(ReplicaIndex(number)))
                .map_err(|_| format!("{text:?} is not a replica's number, `majority` or `all`")),
        }
    }
}

/// One state in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The replica; nothing for what the majority holds.
    pub replica: Option<ReplicaIndex>,
    /// Its key in the store.
    pub key: String,
}

impl SavedState {
    /// The name of its file.
    fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    /// How it is named within its run.
    pub(crate) fn short_name(&self) -> String {
        self.replica
            .map_or_else(|| MAJORITY.to_owned(), |index| index.to_string())
    }
}

/// A state that was written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The replica; nothing for what the majority holds.
    pub replica: Option<ReplicaIndex>,
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// Its digest.
    pub digest: String,
}

/// The run that a text names, and its kept states of a kind.
///
/// # Errors
/// There is no such run, it has not ended, or no such state is kept of it.
pub async fn find(
    store: &Store,
    reference: &str,
    which: Which,
) -> Result<(Run, Vec<SavedState>), ControlError> {
    let summary = store.find_run(reference).await?;
    let Some(run) = store.run(summary.id).await? else {
        return Err(ControlError::NoState(format!(
            "run {} has no result, and so no states",
            summary.id
        )));
    };
    let kept = kept(store, &run).await?;
    let whole = run.replicas.iter().all(|replica| replica.state.is_some());
    let wanted = |state: &SavedState| match which {
        Which::All => state.replica.is_some() || !whole,
        Which::Replica(index) => state.replica == Some(index),
        Which::Majority => state.replica.is_none(),
    };
    let states: Vec<SavedState> = kept.iter().filter(|one| wanted(one)).cloned().collect();
    if states.is_empty() {
        return Err(ControlError::NoState(missing(&run, which, &kept)));
    }
    Ok((run, states))
}

/// All states that are still there, of replicas first.
async fn kept(store: &Store, run: &Run) -> Result<Vec<SavedState>, ControlError> {
    let of_replicas = run.replicas.iter().filter_map(|replica| {
        let key = replica.state.clone()?;
        let replica = Some(replica.index);
        Some(SavedState { replica, key })
    });
    let majority = SavedState {
        replica: None,
        key: format!("runs/{}/majority.state", run.id),
    };
    let mut kept = Vec::new();
    for state in of_replicas.chain([majority]) {
        match store.blob_info(&state.key).await {
            Ok(_) => kept.push(state),
            Err(StoreError::BlobMissing { .. } | StoreError::Pruned { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(kept)
}

fn missing(run: &Run, which: Which, kept: &[SavedState]) -> String {
    let wanted = match which {
        Which::All => "state".to_owned(),
        Which::Replica(index) => format!("state of replica {index}"),
        Which::Majority => "state of the majority".to_owned(),
    };
    let there: Vec<String> = kept.iter().map(SavedState::short_name).collect();
    let there = match there.as_slice() {
        [] => "it keeps none".to_owned(),
        names => format!("it keeps {}", names.join(", ")),
    };
    format!("no {wanted} is kept of run {}: {there}", run.id)
}

/// Writes states of a run into a directory, or one of them into a file. Nothing that is there is
/// written over.
///
/// # Errors
/// A file is there already or cannot be written, or what the store holds is damaged.
pub async fn export(
    store: &Store,
    states: &[SavedState],
    out: &Path,
) -> Result<Vec<Exported>, ControlError> {
    let ends_in_slash = out.as_os_str().as_encoded_bytes().ends_with(b"/");
    let into_directory = states.len() > 1 || ends_in_slash || out.is_dir();
    if into_directory {
        fs::create_dir_all(out).map_err(ControlError::file("make the directory", out))?;
    }
    let mut exported = Vec::with_capacity(states.len());
    for state in states {
        let path = if into_directory {
            out.join(state.file_name())
        } else {
            out.to_path_buf()
        };
        let content = store.get_blob(&state.key).await?;
        let digest = store.blob_info(&state.key).await?.digest;
        exported.push(Exported {
            replica: state.replica,
            bytes: content.len() as u64,
            digest,
            path: tokio::task::spawn_blocking(move || write_new(&path, &content).map(|()| path))
                .await
                .map_err(|_| ControlError::Task {
                    doing: "writes a state",
                })??,
        });
    }
    Ok(exported)
}

/// Writes a file that was not there before; what is half written goes.
fn write_new(path: &Path, content: &[u8]) -> Result<(), ControlError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(ControlError::file("make", path))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| {
        drop(fs::remove_file(path));
        ControlError::file("write", path)(error)
    })
}
