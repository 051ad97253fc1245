//! The worker's side: what runs in a process of its own, under limits.

use super::{Answer, compare};
use sandbox::SandboxError;
use state::{StateFile, read_state};
use std::fs::File;
use std::io::Write;

/// Takes files, reads them as states, compares them, and writes the answer to `output`. The process
/// is confined for good.
///
/// # Errors
/// Nobody gave an order, the process cannot be confined, or the answer cannot be written.
pub fn serve(output: &mut impl Write) -> Result<(), ServeError> {
    let answer = answer(sandbox::enter()?.files);
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

fn answer(files: Vec<File>) -> Answer {
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
    match compare(states) {
        Ok(diff) => Answer::Compared(Box::new(diff)),
        Err(error) => Answer::Incomparable(error.to_string()),
    }
}
