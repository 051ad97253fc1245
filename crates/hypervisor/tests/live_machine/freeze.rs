//! File systems that are frozen for the moment of a capture: the agent is one of the test, which
//! notes what it is told; the guard is this program again, in a process of its own.

use crate::written::Written;
use hypervisor::live::{Freeze, FreezeRequest, LiveDisks, LiveMachine, Outcome, thaw_guard_main};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the test waits for what must come: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an agent does when it is told to freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It freezes two file systems.
    Freezes,
    /// It has none that it could freeze.
    Refuses,
    /// It takes for ever to answer.
    Hangs,
    /// It makes this process, the machine's, stand still before it answers.
    Stops(i32),
}

/// An agent that tells the test what it is told.
fn agent(socket: &Path, manner: Manner) -> Receiver<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // What somebody before us had asked for.
            stream.write_all(b"{\"return\": {}}\n").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).split(b'\n');
            for line in lines.map_while(Result::ok) {
                if told.send(serve(&mut stream, &line, manner)).is_err() {
                    return;
                }
            }
        }
    });
    heard
}

/// Answers one command, and gives its name.
fn serve(stream: &mut UnixStream, line: &[u8], manner: Manner) -> String {
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != 0xff).collect();
    let command: Value = serde_json::from_slice(&line).unwrap();
    let name = command["execute"].as_str().unwrap().to_owned();
    let answer = match (name.as_str(), manner) {
        ("guest-sync-delimited", _) => {
            stream.write_all(&[0xff]).unwrap();
            json!({ "return": command["arguments"]["id"] })
        }
        ("guest-fsfreeze-freeze", Manner::Hangs) => return name,
        ("guest-fsfreeze-freeze", Manner::Refuses) => {
            json!({ "error": { "class": "GenericError", "desc": "no\u{7} file systems" } })
        }
        ("guest-fsfreeze-freeze", Manner::Stops(machine)) => {
            kill_process(Pid::from_raw(machine).unwrap(), Signal::STOP).unwrap();
            json!({ "return": 2 })
        }
        _ => json!({ "return": 2 }),
    };
    writeln!(stream, "{answer}").ok();
    name
}

fn freeze(agent: &Path) -> FreezeRequest {
    let arguments = ["freeze::is_a_guard", "--exact", "--ignored", "--nocapture"];
    FreezeRequest {
        agent: agent.to_path_buf(),
        program: std::env::current_exe().unwrap(),
        arguments: arguments.map(Into::into).to_vec(),
    }
}

/// The guard, as the tests below start it.
#[test]
#[ignore = "the tests below run it in a process of its own"]
fn is_a_guard() {
    let agent = PathBuf::from(std::env::args().next_back().unwrap());
    if agent.ends_with("agent") {
        println!("{:?}", thaw_guard_main(&agent));
    }
}

async fn check(manner: Option<Manner>, expected: Freeze, told: &[&str]) {
    let mut written = Written::start("raw");
    let socket = written.place.path().join("agent");
    let heard = manner.map(|manner| agent(&socket, manner));
    let mut live = written.connect().await;
    let mut request = written.request();
    request.freeze = Some(freeze(&socket));
    let point = live.begin(&request).await.unwrap();
    assert_eq!(point.freeze, expected);
    live.finish(point, Outcome::Kept).await.unwrap();
    for expected in told {
        let heard = heard.as_ref().unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), *expected);
    }
}

const ALL: [&str; 3] = [
    "guest-sync-delimited",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-thaw",
];

#[tokio::test]
async fn file_systems_are_frozen_for_the_moment() {
    let frozen = Freeze::Frozen { file_systems: 2 };
    check(Some(Manner::Freezes), frozen, &ALL).await;
}

#[tokio::test]
async fn a_guest_that_cannot_freeze_is_captured_all_the_same() {
    let refused = |reason: &str| Freeze::Refused(reason.to_owned());
    let reason = refused("the guest's agent: no? file systems");
    check(Some(Manner::Refuses), reason, &ALL).await;
    check(None, refused("there is no guest agent at its socket"), &[]).await;
}

#[tokio::test]
async fn a_guest_that_hangs_while_it_freezes_is_thawed() {
    let reason = "the guest's agent: the guest did not freeze them in time";
    let expected = Freeze::Refused(reason.to_owned());
    check(Some(Manner::Hangs), expected, &ALL).await;
}

/// Begins a capture with frozen file systems.
#[tokio::test]
#[ignore = "the test below runs it in a process of its own"]
async fn freezes_and_waits() {
    let Ok(place) = std::env::var("LIVE_PLACE") else {
        return;
    };
    let place = Path::new(&place);
    let mut live = LiveMachine::connect(&place.join("monitor")).await.unwrap();
    let mut request = crate::request(place, "killed", &[("disk", None)]);
    request.freeze = Some(freeze(&place.join("agent")));
    live.begin(&request).await.unwrap();
}

/// Ends when the test does.
struct Ours(Child);

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// We are killed, or stand still, between freezing and thawing.
#[tokio::test]
async fn whatever_happens_to_us_the_guest_thaws() {
    for signal in [Signal::KILL, Signal::STOP] {
        let mut written = Written::start("raw");
        let machine = written.machine.pid();
        // It never answers the transaction, so the moment cannot be over.
        let manner = Manner::Stops(machine);
        let heard = agent(&written.place.path().join("agent"), manner);
        let us = Command::new(std::env::current_exe().unwrap())
            .args(["freeze::freezes_and_waits", "--exact", "--ignored"])
            .env("LIVE_PLACE", written.place.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let us = Ours(us);
        let pid = Pid::from_child(&us.0);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), ALL[0]);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), ALL[1]);
        kill_process(pid, signal).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), ALL[2], "{signal:?}");
        let machine = Pid::from_raw(machine).unwrap();
        kill_process(machine, Signal::CONT).unwrap();
        drop(us);
        written.write();
        let mut live = written.connect().await;
        written.capture_all(&mut live).await;
        written.write();
        written.check_capture(&mut live).await;
    }
}
