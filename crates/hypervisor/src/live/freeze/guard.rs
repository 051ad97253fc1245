//! The guard: freezes, and thaws whatever becomes of those who started it.

use super::FROZEN_MAX;
use super::agent::{Agent, Ready, ready};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the agent may take to say that it is there. Nothing is frozen yet.
const SYNC_DEADLINE: Duration = Duration::from_secs(2);

/// How long thawing is tried, and how long one trial may take: a guest under load is slow, and an
/// agent that was started anew has another connection.
const THAW_DEADLINE: Duration = Duration::from_secs(120);
const THAW_TRIAL: Duration = Duration::from_secs(10);

/// How long to wait between two trials that failed.
const THAW_PAUSE: Duration = Duration::from_millis(100);

/// The whole of the process that [`FreezeRequest`](super::FreezeRequest) names: standard input is the
/// line to who started it.
#[must_use]
pub fn thaw_guard_main(agent: &Path) -> ExitCode {
    let line = std::io::stdin().as_fd().try_clone_to_owned();
    let Ok(line) = line.map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    match guard(agent, &line) {
        Ok(answer) => {
            say(&line, answer);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&line, &why(&error));
            ExitCode::FAILURE
        }
    }
}

/// Freezes and thaws. Once freezing was asked for, every way out of here leads through thawing.
fn guard(socket: &Path, line: &UnixStream) -> Result<&'static str> {
    let mut agent = Agent::connect(socket, Instant::now() + SYNC_DEADLINE)?;
    let until = Instant::now() + FROZEN_MAX;
    let asked = agent.tell("guest-fsfreeze-freeze");
    let held = asked.and_then(|()| hold(&mut agent, line, until));
    let thawed = thaw(agent, socket);
    let answer = held?;
    thawed.map(|()| answer)
}

/// Waits while file systems are frozen.
fn hold(agent: &mut Agent, line: &UnixStream, until: Instant) -> Result<&'static str> {
    let Some(frozen) = agent.number(until, Some(line.as_fd()))? else {
        return Err(Error::other("the guest did not freeze them in time"));
    };
    say(line, &format!("frozen {frozen}"));
    match ready(line.as_fd(), None, until)? {
        Ready::Neither => Ok("late"),
        // Told to, or nobody is there any more.
        Ready::First | Ready::Second => Ok("thawed"),
    }
}

/// Thaws, over this connection or another one, until the agent says so.
fn thaw(agent: Agent, socket: &Path) -> Result<()> {
    let until = Instant::now() + THAW_DEADLINE;
    let mut agent = Some(agent);
    loop {
        let trial = until.min(Instant::now() + THAW_TRIAL);
        let thawed = match agent.take() {
            Some(agent) => thaw_over(agent, trial),
            None => Agent::connect(socket, trial).and_then(|agent| thaw_over(agent, trial)),
        };
        match thawed {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => std::thread::sleep(THAW_PAUSE),
        }
    }
}

fn thaw_over(mut agent: Agent, until: Instant) -> Result<()> {
    agent.tell("guest-fsfreeze-thaw")?;
    // The answer to freezing may be late, and comes first then.
    let thawed = agent.last_number(until)?;
    thawed.map(drop).ok_or(ErrorKind::TimedOut.into())
}

/// Whoever is not there any more need not be told.
fn say(mut line: &UnixStream, what: &str) {
    drop(writeln!(line, "{what}"));
}

fn why(error: &Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => "the guest's agent does not answer".to_owned(),
        ErrorKind::UnexpectedEof => "the guest's agent has hung up".to_owned(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "there is no guest agent at its socket".to_owned()
        }
        _ => format!("the guest's agent: {error}"),
    }
}
