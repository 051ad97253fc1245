//! Captures that are killed, or whose system calls fail: what was acknowledged is there, what is
//! there is sound, and the next capture goes on.
//!
//! ```text
//! script as a child ──┬── killed after a drawn line, at a drawn moment
//!                     ├── killed as it enters its Nth write, fsync, rename, …   by strace, at the
//!                     └── its Nth write, fsync, rename, … fails                 true system call
//! ```
//!
//! `cargo xtask campaign image-kill` runs it with more moments and at every call.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test may panic, and says what was skipped"
)]

mod image_support;

use image_support::{Acknowledged, check_goes_on, check_store, script};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Tells the child which store to write to.
const CHILD_STORE: &str = "VARDOGER_TEST_IMAGE_STORE";

/// More moments than the usual 10, and other ones.
const MOMENTS: &str = "VARDOGER_TEST_IMAGE_MOMENTS";
const SEED: &str = "VARDOGER_TEST_IMAGE_SEED";

/// Every how many calls that write: the usual is every 20th.
const STEP: &str = "VARDOGER_TEST_IMAGE_STEP";

/// How many versions a child captures.
const CAPTURES: u64 = 5;

/// The longest that a drawn moment lies behind its line.
const MOMENT_MAX_US: u64 = 4000;

/// All calls that change something.
const WRITING: &str = "write,pwrite64,fsync,fdatasync,renameat,renameat2,unlinkat,mkdirat,mkdir,\
                       mknodat,fchmod,chmod,ftruncate,fallocate,rmdir,unlink";

fn number(variable: &str, usual: u64) -> u64 {
    let told = std::env::var(variable).ok();
    told.map_or(usual, |told| told.parse().unwrap())
}

#[test]
#[ignore = "the child of the tests below"]
fn child_that_captures() {
    let Some(store) = std::env::var_os(CHILD_STORE) else {
        return;
    };
    if let Err(error) = script(Path::new(&store), CAPTURES, |what, number| {
        eprintln!("{what} {number}");
    }) {
        eprintln!("failed {error}");
        panic!("failed");
    }
}

/// The child, behind something that runs it.
fn child(before: &[String], store: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut words = before.to_vec();
    words.push(own.to_str().unwrap().to_owned());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["--exact", "child_that_captures", "--ignored", "--nocapture"])
        .env(CHILD_STORE, store)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn acknowledged(output: &Output) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().for_each(|line| acknowledged.take(line));
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_at_any_moment() {
    let mut random = ChaCha8Rng::seed_from_u64(number(SEED, 1));
    for round in 0..number(MOMENTS, 10) {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("store");
        let mut child = child(&[], &store).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acknowledged = Acknowledged::default();
        // A child says 10 lines.
        for _ in 0..random.next_u64() % 10 {
            acknowledged.take(&lines.next().unwrap().unwrap());
        }
        let moment = random.next_u64() % MOMENT_MAX_US;
        std::thread::sleep(Duration::from_micros(moment));
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged.take(&line);
        }
        child.wait().unwrap();
        let sound = check_store(&store, acknowledged).and_then(|()| check_goes_on(&store));
        assert_eq!(sound, Ok(()), "round {round}, after {acknowledged:?}");
    }
}

/// `strace` with a choice of calls and what is done to one of them.
fn strace(log: &Path, injection: Option<String>) -> Vec<String> {
    // Not with --seccomp-bpf: strace 6.1 then does nothing at most calls.
    let mut words = vec!["strace", "-f", "-qq", "-o"];
    words.push(log.to_str().unwrap());
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.extend(["-e".to_owned(), format!("trace={WRITING}")]);
    if let Some(injection) = injection {
        words.extend(["-e".to_owned(), format!("inject={injection}")]);
    }
    words
}

/// Each call that an undisturbed child makes, by its name and its number among those of its name in
/// its thread; nothing where no process may be traced.
fn calls(place: &Path) -> Option<Vec<(String, u64)>> {
    let (store, log) = (place.join("store"), place.join("log"));
    let output = child(&strace(&log, None), &store).output().ok()?;
    if !output.status.success() {
        println!("skipped: strace cannot trace a process here");
        return None;
    }
    let sound = check_store(&store, acknowledged(&output)).and_then(|()| check_goes_on(&store));
    assert_eq!(sound, Ok(()), "undisturbed");
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        if let Some((name, _)) = call.trim_start().split_once('(') {
            *counts
                .entry((name.to_owned(), thread.to_owned()))
                .or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for ((name, _), count) in counts {
        let entry = most.entry(name).or_default();
        *entry = count.max(*entry);
    }
    let each = |(name, count): (String, u64)| (1..=count).map(move |number| (name.clone(), number));
    Some(most.into_iter().flat_map(each).collect())
}

/// Does something at every so-manieth call that writes, and looks at what is left.
fn at_calls(first: usize, what: impl Fn(usize) -> &'static str, look: impl Fn(&str, &Output)) {
    let place = tempfile::tempdir().unwrap();
    let Some(calls) = calls(place.path()) else {
        return;
    };
    assert!(calls.len() > 100, "{} calls that write", calls.len());
    let step = usize::try_from(number(STEP, 20)).unwrap();
    let (mut tried, mut failures) = (0, Vec::new());
    for (index, (name, number)) in calls.iter().enumerate().skip(first % step).step_by(step) {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("store");
        let injection = format!("{name}:{}:when={number}", what(index));
        let strace = strace(&place.path().join("log"), Some(injection.clone()));
        let output = child(&strace, &store).output().unwrap();
        look(name, &output);
        let traced = std::fs::read_to_string(place.path().join("log")).unwrap();
        let done = traced.contains("INJECTED") || traced.contains("killed by SIGKILL");
        assert!(done, "nothing happened at {injection}");
        let sound = check_store(&store, acknowledged(&output));
        if let Err(failure) = sound.and_then(|()| check_goes_on(&store)) {
            failures.push(format!("{injection}: {failure}"));
        }
        tried += 1;
    }
    println!(
        "{tried} of {} calls that write, {} failed",
        calls.len(),
        failures.len()
    );
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_at_a_call_that_writes() {
    at_calls(
        0,
        |_| "signal=KILL",
        |name, output| {
            assert!(
                !output.status.success(),
                "the child was not killed at {name}"
            );
        },
    );
}

#[test]
fn nothing_acknowledged_is_lost_by_a_call_that_fails() {
    let error = |index| ["error=ENOSPC", "error=EIO"][index % 2];
    at_calls(10, error, |name, output| {
        let text = String::from_utf8_lossy(&output.stderr);
        // A failed fsync is never passed over.
        if name == "fsync" {
            assert!(
                !output.status.success() && text.contains("failed "),
                "{text}"
            );
            let reason = ["no space is left", "could not sync"];
            assert!(reason.iter().any(|reason| text.contains(reason)), "{text}");
        }
    });
}
