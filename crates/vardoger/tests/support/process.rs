//! The binary at work, and how it ended.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// The longest that one command of a test may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// The same for many runs.
const LONG_DEADLINE: Duration = Duration::from_secs(900);

/// A started program. Its error stream is read line by line; that it ends is the program's end.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    lines: Receiver<String>,
    stderr: String,
    deadline: Instant,
}

impl Running {
    /// Starts a program; its standard output is collected unless the caller has settled it.
    pub fn start(command: &mut Command) -> Self {
        Self::start_writing_to(command, Stdio::piped())
    }

    /// Starts a program that writes its result somewhere.
    pub fn start_writing_to(command: &mut Command, stdout: Stdio) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(|mut pipe| {
            spawn(move || {
                let mut text = String::new();
                pipe.read_to_string(&mut text).unwrap();
                text
            })
        });
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        spawn(move || {
            let read = BufReader::new(stderr).lines().map_while(Result::ok);
            // Nobody listens any more once the test has what it waited for.
            read.for_each(|line| drop(sender.send(line)));
        });
        Self {
            child,
            stdout,
            lines,
            stderr: String::new(),
            deadline: Instant::now() + DEADLINE,
        }
    }

    /// Allows it to take longer than other commands: a campaign is many runs.
    pub fn patiently(mut self) -> Self {
        self.deadline = Instant::now() + LONG_DEADLINE;
        self
    }

    /// The next line of the error stream, until it ends.
    fn line(&mut self) -> Option<String> {
        use std::sync::mpsc::RecvTimeoutError;
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.stderr.push_str(&line);
                self.stderr.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("it takes too long; so far it said:\n{}", self.stderr)
            }
        }
    }

    /// Waits until it says something on its error stream.
    pub fn wait_for(&mut self, words: &str) {
        while let Some(line) = self.line() {
            if line.contains(words) {
                return;
            }
        }
        panic!("it ended without {words:?}:\n{}", self.stderr);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.take().map(|reader| reader.join().unwrap());
        Ended {
            code: status.code(),
            stdout: stdout.unwrap_or_default(),
            stderr: std::mem::take(&mut self.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, unless the test failed before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Ends the test unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The document that it printed.
    #[track_caller]
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no document: {error}\n{}{}", self.stdout, self.stderr))
    }

    /// The data of the document that it printed.
    #[track_caller]
    pub fn data(&self) -> Value {
        self.document()["data"].take()
    }
}
