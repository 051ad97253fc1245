//! The guest agent's protocol: JSON by lines, over a socket that waits for nobody. Blocking, with a
//! deadline for all that is read. The guest is not trusted: lines are bounded, and its words are
//! stripped of what is not printable.

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest answer that is taken.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The most of a guest's own words that is told.
const MAX_WORDS: usize = 200;

/// The byte that no JSON has: it ends whatever the agent had in hand, and begins its answer.
const DELIMITER: u8 = 0xff;

/// A connection to a guest's agent.
pub(super) struct Agent {
    stream: UnixStream,
    read: Vec<u8>,
    /// Commands whose answers have not come yet.
    unanswered: u32,
}

impl Agent {
    /// Connects, and makes sure that what is read from now on answers what is asked from now on.
    pub(super) fn connect(socket: &Path, until: Instant) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        let mut agent = Self {
            stream,
            read: Vec::new(),
            unanswered: 0,
        };
        let id = u64::from(std::process::id());
        let sync = json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } });
        agent.send(&[&[DELIMITER], sync.to_string().as_bytes(), b"\n"].concat())?;
        loop {
            // Answers to somebody before us end at the delimiter.
            let line = agent.line(until, None)?.ok_or(ErrorKind::TimedOut)?;
            let start = line.iter().rposition(|byte| *byte == DELIMITER);
            let answer = line.get(start.map_or(0, |at| at + 1)..).unwrap_or_default();
            let answer = serde_json::from_slice::<Value>(answer).unwrap_or_default();
            if start.is_some() && answer["return"].as_u64() == Some(id) {
                return Ok(agent);
            }
        }
    }

    /// Sends a command that has no arguments.
    pub(super) fn tell(&mut self, command: &str) -> Result<()> {
        self.send(format!("{}\n", json!({ "execute": command })).as_bytes())?;
        self.unanswered += 1;
        Ok(())
    }

    /// Lines are short, and the socket's buffer is empty when one is sent.
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// The number that a command came to; nothing if there was no answer in time, or something else
    /// happened meanwhile.
    pub(super) fn number(
        &mut self,
        until: Instant,
        unless: Option<BorrowedFd<'_>>,
    ) -> Result<Option<u64>> {
        let Some(line) = self.line(until, unless)? else {
            return Ok(None);
        };
        self.unanswered = self.unanswered.saturating_sub(1);
        let answer = serde_json::from_slice::<Value>(&line).unwrap_or_default();
        if let Some(number) = answer["return"].as_u64() {
            return Ok(Some(number));
        }
        let words = answer["error"]["desc"].as_str();
        let words = words.unwrap_or("it answers what cannot be understood");
        Err(Error::other(printable(words)))
    }

    /// The number that the last command came to, whatever those before it did: their answers come
    /// first. Nothing if it was not answered in time.
    pub(super) fn last_number(&mut self, until: Instant) -> Result<Option<u64>> {
        while self.unanswered > 1 {
            if self.line(until, None)?.is_none() {
                return Ok(None);
            }
            self.unanswered -= 1;
        }
        self.number(until, None)
    }

    fn line(&mut self, until: Instant, unless: Option<BorrowedFd<'_>>) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.read.drain(..=end).collect()));
            }
            if self.read.len() > MAX_LINE_BYTES {
                return Err(Error::other("it sends a line without an end"));
            }
            match ready(self.stream.as_fd(), unless, until)? {
                Ready::First => {}
                Ready::Second | Ready::Neither => return Ok(None),
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.read.extend(part.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Which of two descriptors has something to be read, or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The first; perhaps the second as well.
    First,
    /// The second only.
    Second,
    /// None in time.
    Neither,
}

/// Waits for one of two descriptors.
pub(super) fn ready(
    first: BorrowedFd<'_>,
    second: Option<BorrowedFd<'_>>,
    until: Instant,
) -> Result<Ready> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut watched = vec![PollFd::from_borrowed_fd(first, PollFlags::IN)];
        watched.extend(second.map(|second| PollFd::from_borrowed_fd(second, PollFlags::IN)));
        let left = rustix::event::Timespec::try_from(left.min(Duration::from_secs(60)));
        match poll(&mut watched, left.ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has = |at: usize| watched.get(at).is_some_and(|one| !one.revents().is_empty());
        if has(0) {
            return Ok(Ready::First);
        }
        if has(1) {
            return Ok(Ready::Second);
        }
        if Instant::now() >= until {
            return Ok(Ready::Neither);
        }
    }
}

fn printable(words: &str) -> String {
    let clean = |one: char| if one.is_control() { '?' } else { one };
    words.chars().take(MAX_WORDS).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Agent, UnixStream) {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let agent = Agent {
            stream,
            read: Vec::new(),
            unanswered: 0,
        };
        (agent, theirs)
    }

    #[test]
    fn a_late_answer_to_freezing_is_not_taken_for_one_to_thawing() {
        let (mut agent, mut theirs) = pair();
        let now = Instant::now();
        agent.tell("guest-fsfreeze-freeze").unwrap();
        assert_eq!(agent.number(now, None).unwrap(), None);
        agent.tell("guest-fsfreeze-thaw").unwrap();
        theirs.write_all(b"{\"return\": 1}\n").unwrap();
        assert_eq!(agent.last_number(now).unwrap(), None);
        theirs.write_all(b"{\"return\": 2}\n").unwrap();
        assert_eq!(agent.last_number(now).unwrap(), Some(2));
    }

    #[test]
    fn what_went_wrong_before_is_no_answer_to_the_last_command() {
        let (mut agent, mut theirs) = pair();
        let now = Instant::now();
        agent.tell("guest-fsfreeze-freeze").unwrap();
        agent.tell("guest-fsfreeze-thaw").unwrap();
        let error = br#"{"error": {"class": "GenericError", "desc": "no"}}"#;
        theirs.write_all(error).unwrap();
        theirs.write_all(b"\n{\"return\": 0}\n").unwrap();
        assert_eq!(agent.last_number(now).unwrap(), Some(0));
    }
}
