//! `worker`: the part of a command that reads untrusted files, in a process of its own. It is started
//! by vardoger alone, says nothing to the user, and has no runtime and no other thread.

use crate::args::Work;
use std::process::ExitCode;

/// The program of a worker: this one, also where its file was replaced since.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

/// The arguments of a worker that compares states.
pub(crate) const DIFF: &[&str] = &["worker", "diff"];

/// Does one piece of work and ends.
pub(crate) fn execute(work: Work) -> ExitCode {
    let done = match work {
        Work::Diff => control::diff::serve(&mut std::io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
