//! A command in the user's own disk, from the disk to its terminal state.
//!
//! ```text
//!  disk found and mounted ─► fork ─► its root ─► exec ─┬─► [ "mark start" ─► stop ] ─► runs ─► …
//!                                                      └─► cannot be started: "failed"
//!    ─► about to end ─► all other processes killed ─► streams drained ─► disk flushed, held still
//!    ─► "log", metrics, "exit", "result", "mark end" ─► stop
//! ```
//!
//! It runs as root of its own system, with nothing above it: no init of the disk's is started. Its
//! process is there with its memory whole at both marks, as a program's is. What it leaves on the
//! disk is the disk's, which the host compares.

use super::child::Start;
use super::leavings::Leavings;
use super::others::{self, Whose};
use super::stream::Stream;
use super::tell;
use super::watch::{self, Watch};
use crate::clock;
use crate::disk::{self, ROOT};
use crate::error::GuestError;
use crate::host::Host;
use crate::stops::Stops;
use crate::work::{log, metric};
use computation::job::program::result_digest;
use computation::job::{CommandJob, Job, JobResult, Mark, Message};

/// Where a command is looked for that is no path.
const SEARCH_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// All that is in its environment.
const ENVIRONMENT: [&str; 4] = [
    "HOME=/root",
    "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TZ=UTC",
];

/// Starts a command and sees it to its end.
pub(crate) fn perform(host: &Host, job: &Job, command: &CommandJob) -> Result<(), GuestError> {
    let mut stops = Stops::new(host, job.stop_by);
    let system = disk::mount_system()?;
    let name = command.words.first().cloned().unwrap_or_default();
    log(host, format!("{name}: started from {}", system.told))?;
    let mut streams = [Stream::new("stdout"), Stream::new("stderr")];
    let mut watch = Watch::begin(host, &start(command))?;
    let tsc_start = clock::time_stamp();
    watch.until_started().map_err(|error| match error {
        GuestError::Exec(source) => GuestError::Command {
            command: name.clone(),
            source,
        },
        other => other,
    })?;
    if job.stops.contains(&Mark::Start) {
        let tsc = clock::time_stamp();
        host.mark(Mark::Start, 0, tsc)?;
        stops.stop(tsc);
    }
    let status = watch.until_end(&mut streams)?;
    others::kill(Whose::Everybodys, watch.pid());
    watch.drain(&mut streams, watch::ALL_PIECES)?;
    let tsc = clock::time_stamp();
    system.settle()?;
    for stream in &mut streams {
        stream.finish(host)?;
    }
    log(host, format!("{name}: exit status {status}"))?;
    let resident = watch.resident_pages() as f64;
    metric(host, "program_resident_pages".to_owned(), resident, true)?;
    metric(host, "stop_ticks".to_owned(), stops.ticks() as f64, true)?;
    tell(host, status, &streams, &Leavings::default())?;
    host.say(&Message::Result(JobResult {
        digest: result_digest(status, &[streams[0].digest(), streams[1].digest()], &[]),
        steps: 1,
        tsc,
        tsc_start,
    }))?;
    host.mark(Mark::End, 1, clock::time_stamp())?;
    host.stop();
    Ok(())
}

fn start(command: &CommandJob) -> Start {
    let name = command
        .words
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let executables = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        SEARCH_PATH
            .map(|directory| format!("{directory}/{name}"))
            .into()
    };
    Start {
        executables,
        arguments: command.words.clone(),
        environment: &ENVIRONMENT,
        stdin: "/dev/null".into(),
        root: Some(ROOT),
        directory: "/",
        user: None,
    }
}
