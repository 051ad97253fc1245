//! What was acknowledged is there after `kill -9` at any stage of a write.
//!
//! The test runs itself as a child that writes in a loop and says on stderr how far it has come;
//! the parent kills it right after one of those lines and looks at the store.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use model::Event;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use store::{RunState, Store};
use support::{ended, moment, open, run_id, started};

/// Tells the child which store to write to.
const CHILD_STORE: &str = "VARDOGER_TEST_CRASH_STORE";

/// The stages of one round of the child: a kill follows the line that names the stage.
const STAGES: [&str; 3] = ["started", "put", "ended"];

fn key(number: u64) -> String {
    format!("runs/{number}/state")
}

fn content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(4096)
}

#[tokio::test]
#[ignore = "the child of the test below"]
async fn child_that_writes() {
    let Some(path) = std::env::var_os(CHILD_STORE) else {
        return;
    };
    let store = open(Path::new(&path)).await;
    let first = 1 + store.runs(u32::MAX).await.unwrap().len() as u64;
    for number in first.. {
        store.append(started(number), moment(0)).await.unwrap();
        eprintln!("started {number}");
        let state = content(number);
        store.put_blob(&key(number), state).await.unwrap();
        eprintln!("put {number}");
        let event = ended(number, Some(&key(number)));
        store.append(event, moment(1)).await.unwrap();
        eprintln!("ended {number}");
    }
}

fn spawn(store: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes", "--ignored", "--nocapture"])
        .env(CHILD_STORE, store)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets a child write, kills it at the `lines`-th line that names `stage`, and returns the number
/// of the last run that it acknowledged to have ended.
fn write_and_kill(store: &Path, stage: &str, lines: usize) -> u64 {
    let mut child = spawn(store);
    let mut output = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut acknowledged, mut seen) = (0, 0);
    while seen < lines {
        let line = output.next().expect("the child ended by itself").unwrap();
        let (at, number) = line.split_once(' ').unwrap();
        if at == "ended" {
            acknowledged = number.parse().unwrap();
        }
        seen += usize::from(at == stage);
    }
    child.kill().unwrap();
    // What the child acknowledged between that line and its end counts as well.
    for line in output.map_while(Result::ok) {
        if let Some(number) = line.strip_prefix("ended ") {
            acknowledged = number.parse().unwrap();
        }
    }
    child.wait().unwrap();
    acknowledged
}

/// Every acknowledged run is whole; the store is tidy; the one broken off is known as such.
async fn check(store: &Store, acknowledged: u64) {
    for number in 1..=acknowledged {
        let summary = store.find_run(&run_id(number).to_string()).await.unwrap();
        if summary.state == RunState::Failed {
            continue; // broken off in an earlier round, and recorded as such
        }
        assert_eq!(summary.state, RunState::Ended, "run {number}");
        let state = store.get_blob(&key(number)).await.unwrap();
        assert_eq!(state, content(number), "run {number}");
    }
    let unfinished = store.unfinished_runs().await.unwrap();
    assert!(unfinished.len() <= 1, "{unfinished:?}");
    for part in ["staging", "writers"] {
        let left = std::fs::read_dir(store.directory().join(part)).unwrap();
        // The handle that swept is a writer itself.
        assert!(left.count() <= 1, "{part}");
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let place = tempfile::tempdir().unwrap();
    for round in 0..9 {
        let stage = STAGES[round % STAGES.len()];
        let acknowledged = write_and_kill(place.path(), stage, 1 + round / 2);
        let store = open(place.path()).await;
        check(&store, acknowledged).await;
        for run in store.unfinished_runs().await.unwrap() {
            let event = Event::RunFailed {
                run: run.id,
                reason: "the process ended before the run did".to_owned(),
            };
            store.append(event, moment(2)).await.unwrap();
        }
    }
    let store = open(place.path()).await;
    assert!(store.runs(u32::MAX).await.unwrap().len() >= 9);
}
