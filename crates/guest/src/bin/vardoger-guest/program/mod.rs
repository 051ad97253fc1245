//! A user's program, from its bytes to its terminal state.
//!
//! ```text
//!  directories, files without content ─► "payload" ─► stop        the host writes the bytes
//!    ─► fork ─► exec ─┬─► [ "mark start" ─► stop ] ─► runs ─► … ─► about to end
//!                     └─► cannot be started: "failed"    │ lines ─► "log"
//!    ─► its descendants killed ─► streams drained ─► its files read
//!    ─► "log", metrics, "file"…, "exit", "result", "mark end" ─► stop
//! ```
//!
//! Invariants: at both marks the program's process is there with its memory as it is, held by the
//! kernel's tracing: before its first instruction, and before it gives anything back. Whatever the
//! program does, this process goes on: what it writes is bounded, its processes are counted, and
//! the kernel kills any of them before it kills this one.
//!
//! A command in the user's own disk is started and seen to its end in the same way: see [`command`].
//!
//! | path | what |
//! |---|---|
//! | `/program/NAME` | the executable, owned by root |
//! | `/work` | its working directory and home, with its input files; in memory |
//! | `/tmp` | in memory, looked at by nobody |

mod child;
mod command;
mod leavings;
mod others;
mod payload;
mod stream;
mod watch;

use crate::clock;
use crate::error::GuestError;
use crate::host::Host;
use crate::stops::Stops;
use crate::work::{log, metric};
use child::Start;
pub(crate) use command::perform as perform_command;
use computation::job::program::result_digest;
use computation::job::{
    ExitStatus, Job, JobResult, Mark, Message, ProgramEnd, ProgramJob, file_messages,
};
use leavings::Leavings;
use others::Whose;
use stream::Stream;
use watch::Watch;

/// The user and group that programs run as: nobody's else.
const USER: u32 = 1000;
/// Where the executable lies.
const PROGRAM_DIRECTORY: &str = "/program";
/// Where a program works.
const WORK_DIRECTORY: &str = "/work";
/// All that is in a program's environment.
const ENVIRONMENT: [&str; 5] = [
    "HOME=/work",
    "LANG=C",
    "PATH=/program",
    "TMPDIR=/tmp",
    "TZ=UTC",
];

/// Starts a program and sees it to its end.
pub(crate) fn perform(host: &Host, job: &Job, program: &ProgramJob) -> Result<(), GuestError> {
    let mut stops = Stops::new(host, job.stop_by);
    let files = payload::receive(host, program, &mut stops)?;
    log(host, format!("{}: started", program.name))?;
    let mut streams = [Stream::new("stdout"), Stream::new("stderr")];
    let name = [&program.name].into_iter();
    let start = Start {
        executables: vec![files.executable.display().to_string()],
        arguments: name.chain(&program.arguments).cloned().collect(),
        environment: &ENVIRONMENT,
        stdin: files.stdin,
        root: None,
        directory: WORK_DIRECTORY,
        user: Some(USER),
    };
    let mut watch = Watch::begin(host, &start)?;
    let tsc_start = clock::time_stamp();
    watch.until_started()?;
    if job.stops.contains(&Mark::Start) {
        let tsc = clock::time_stamp();
        host.mark(Mark::Start, 0, tsc)?;
        stops.stop(tsc);
    }
    let status = watch.until_end(&mut streams)?;
    others::kill(Whose::Programs, watch.pid());
    watch.drain(&mut streams, watch::ALL_PIECES)?;
    let tsc = clock::time_stamp();
    let leavings = leavings::read()?;
    for stream in &mut streams {
        stream.finish(host)?;
    }
    log(host, format!("{}: exit status {status}", program.name))?;
    // Not 0 while the process is whole: what the terminal state promises.
    let resident = watch.resident_pages() as f64;
    metric(host, "program_resident_pages".to_owned(), resident, true)?;
    metric(host, "stop_ticks".to_owned(), stops.ticks() as f64, true)?;
    tell(host, status, &streams, &leavings)?;
    host.say(&Message::Result(JobResult {
        digest: result_digest(
            status,
            &[streams[0].digest(), streams[1].digest()],
            &leavings.files,
        ),
        steps: 1,
        tsc,
        tsc_start,
    }))?;
    host.mark(Mark::End, 1, clock::time_stamp())?;
    host.stop();
    Ok(())
}

/// Tells how it came out, and sends its files.
fn tell(
    host: &Host,
    status: ExitStatus,
    streams: &[Stream; 2],
    leavings: &Leavings,
) -> Result<(), GuestError> {
    for stream in streams {
        metric(
            host,
            format!("{}_bytes", stream.name()),
            stream.end().bytes as f64,
            true,
        )?;
    }
    for (name, content) in &leavings.sent {
        for message in file_messages(name, content) {
            host.say(&message)?;
        }
    }
    host.say(&Message::Exit(Box::new(ProgramEnd {
        status,
        stdout: streams[0].end(),
        stderr: streams[1].end(),
        files: leavings.files.len() as u64,
        files_not_sent: leavings.not_sent,
    })))
}
