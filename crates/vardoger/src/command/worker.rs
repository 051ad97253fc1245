//! `worker`: the part of a command that reads untrusted files, in a process of its own. It is started
//! by vardoger alone, says nothing to the user, and has no runtime and no other thread. A user can
//! only ask for the self-test: workers that try to get out.

use crate::args::Work;
use crate::failure::Failure;
use crate::output;
use crate::report::table;
use control::diff;
use control::image::thaw_guard_main;
use sandbox::{Attempt, Refusal};
use std::path::Path;
use std::process::ExitCode;

/// The program of a worker: this one, also where its file was replaced since.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

/// The arguments of a worker that compares states.
pub(crate) const DIFF: &[&str] = &["worker", "diff"];

/// The arguments of a worker that reads images.
pub(crate) const IMAGE: &[&str] = &["worker", "image"];

/// The arguments of a process that freezes a guest's file systems; the agent's socket follows.
pub(crate) const THAW: &[&str] = &["worker", "thaw"];

/// Does one piece of work and ends.
pub(crate) fn execute(work: Work, subject: Option<&Path>) -> ExitCode {
    if let (Work::Thaw, Some(agent)) = (work, subject) {
        return thaw_guard_main(agent);
    }
    let attempt = subject.and_then(|name| Attempt::of(name.to_str()?));
    let output = &mut std::io::stdout();
    let done = match (work, attempt) {
        (Work::Diff, _) => {
            let over = subject.is_some_and(|word| word == Path::new(diff::OVER));
            let work = if over {
                diff::Work::Over
            } else {
                diff::Work::States
            };
            diff::serve(work, output).map_err(|error| error.to_string())
        }
        (Work::Image, _) => control::image::serve().map_err(|error| error.to_string()),
        (Work::Attempt, Some(attempt)) => {
            sandbox::carry_out(attempt, output).map_err(|error| error.to_string())
        }
        (Work::Attempt, None) => Err("no such attempt".to_owned()),
        (Work::Thaw, _) => Err("no agent to speak with".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has one worker after the other try a way out, and shows how each was refused.
pub(crate) fn self_test() -> Result<ExitCode, Failure> {
    let mut rows = vec![["a worker tried to", "and was"].map(str::to_owned).to_vec()];
    let mut held = true;
    for attempt in Attempt::ALL {
        let arguments = ["worker", "attempt", attempt.name()];
        let refusal = sandbox::attempt(Path::new(PROGRAM), &arguments)
            .map_err(|error| Failure::of("cannot try a worker", &error))?;
        let refused = match refusal {
            Refusal::Ended => "ended".to_owned(),
            Refusal::Denied(why) => format!("denied: {why}"),
            Refusal::NotRefused => {
                held = false;
                "NOT REFUSED".to_owned()
            }
        };
        rows.push(vec![attempt.title().to_owned(), refused]);
    }
    output::text(&table(&rows))?;
    if held {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::of(
            "a worker is not confined on this machine",
            &"see the lines that say so",
        ))
    }
}
