//! Workers that go wrong in every way that a limit is there for, and one that does not.
//!
//! Each worker is this test program itself, started again with the name of one of the ignored tests.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use sandbox::{Limits, SandboxError, ask, enter};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Duration;

/// Limits that only a fault reaches.
const AMPLE: Limits = Limits {
    memory_bytes: 256 << 20,
    cpu_s: 60,
    wall: Duration::from_secs(300),
    answer_bytes: 1 << 20,
};

fn work(name: &str, files: &[File], limits: &Limits) -> Result<String, SandboxError> {
    let arguments = [
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    let program = std::env::current_exe().unwrap();
    let answer = ask(&program, &arguments, files, limits)?;
    Ok(String::from_utf8(answer).unwrap())
}

fn file(content: &[u8]) -> File {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file.reopen().unwrap()
}

#[test]
fn files_arrive_in_their_order_and_the_answer_comes_back() {
    let files = [file(b"one"), file(b"two"), file(b"three")];
    let answer = work("reads", &files, &AMPLE).unwrap();
    assert!(answer.contains("read: one two three"), "{answer}");
}

#[test]
#[ignore = "is a worker"]
fn reads() {
    let texts = enter().unwrap().files.into_iter().map(|mut file| {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    });
    let texts: Vec<String> = texts.collect();
    writeln!(std::io::stdout(), "read: {}", texts.join(" ")).unwrap();
}

#[test]
fn a_worker_that_opens_a_file_is_ended() {
    let refused = work("opens", &[], &AMPLE);
    assert!(
        matches!(refused, Err(SandboxError::Forbidden)),
        "{refused:?}"
    );
}

#[test]
#[ignore = "is a worker"]
fn opens() {
    let _files = enter().unwrap();
    let opened = File::open("/dev/null").is_ok();
    writeln!(std::io::stdout(), "opened: {opened}").unwrap();
}

#[test]
fn memory_beyond_the_limit_is_refused() {
    let refused = work("grows", &[], &AMPLE);
    assert!(
        matches!(refused, Err(SandboxError::Memory { .. })),
        "{refused:?}"
    );
}

#[test]
#[ignore = "is a worker"]
fn grows() {
    enter().unwrap();
    let grown: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 1 << 20]).collect();
    black_box(grown);
}

#[test]
fn cpu_time_ends() {
    let limits = Limits { cpu_s: 1, ..AMPLE };
    let refused = work("loops", &[], &limits);
    assert!(
        matches!(refused, Err(SandboxError::Cpu { limit_s: 1 })),
        "{refused:?}"
    );
}

#[test]
#[ignore = "is a worker"]
fn loops() {
    enter().unwrap();
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[test]
fn a_worker_that_waits_is_ended() {
    let limits = Limits {
        wall: Duration::from_millis(200),
        ..AMPLE
    };
    let refused = work("waits", &[], &limits);
    assert!(
        matches!(refused, Err(SandboxError::Deadline { .. })),
        "{refused:?}"
    );
}

#[test]
#[ignore = "is a worker"]
fn waits() {
    enter().unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let refused = work("floods", &[], &AMPLE);
    assert!(
        matches!(refused, Err(SandboxError::AnswerTooLong { .. })),
        "{refused:?}"
    );
}

#[test]
#[ignore = "is a worker"]
fn floods() {
    enter().unwrap();
    while std::io::stdout().write_all(&[b'x'; 4096]).is_ok() {}
}

#[test]
fn a_failure_and_a_missing_program_are_told() {
    let refused = work("fails", &[], &AMPLE);
    assert!(
        matches!(refused, Err(SandboxError::Ended { .. })),
        "{refused:?}"
    );
    let missing = ask("/nonexistent".as_ref(), &[], &[], &AMPLE);
    assert!(matches!(missing, Err(SandboxError::Worker { .. })));
}

#[test]
#[ignore = "is a worker"]
fn fails() {
    enter().unwrap();
    panic!("fails");
}

#[test]
fn without_an_order_there_is_no_work() {
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reads", "--ignored"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(!ended.status.success());
}
