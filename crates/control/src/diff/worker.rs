//! The worker's side: what runs in a process of its own, under limits.

use super::compare::compare_over;
use super::{Answer, Work};
use crate::machine::read_memory;
use sandbox::SandboxError;
use state::{StateFile, read_state};
use std::fs::File;
use std::io::Write;

/// Takes files, reads them as states, compares them, and writes the answer to `output`. With
/// [`Work::Over`] the last file is the memory of the machine that the states began with. The process
/// is confined for good.
///
/// # Errors
/// Nobody gave an order, the process cannot be confined, or the answer cannot be written.
pub fn serve(work: Work, output: &mut impl Write) -> Result<(), ServeError> {
    let mut files = sandbox::enter()?.files;
    let base = match work {
        Work::States => None,
        Work::Over => files.pop(),
    };
    let answer = answer(files, base.as_ref());
    let text = serde_json::to_vec(&answer).map_err(std::io::Error::from)?;
    output.write_all(&text)?;
    output.flush()?;
    Ok(())
}

/// Why a worker has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It has no order, or cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Nobody listens.
    #[error("write the answer: {0}")]
    Output(#[from] std::io::Error),
}

fn answer(files: Vec<File>, base: Option<&File>) -> Answer {
    let mut states: Vec<StateFile> = Vec::with_capacity(files.len());
    for (state, mut file) in files.into_iter().enumerate() {
        match read_state(&mut file) {
            Ok(read) => states.push(read),
            Err(error) => {
                let detail = error.to_string();
                return Answer::Unreadable { state, detail };
            }
        }
    }
    let digest = states.first().map(|state| state.origin.base_digest.clone());
    let base = base
        .zip(digest)
        .and_then(|(file, digest)| read_memory(file, &digest));
    match compare_over(states, base.as_deref()) {
        Ok(diff) => Answer::Compared(Box::new(diff)),
        Err(error) => Answer::Incomparable(error.to_string()),
    }
}
