//! What is wrong with an order is said, with what to do about it; nothing is left running, and
//! earlier results stay as they were.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::process::{Ended, Running};
use support::{SHORT, World};

/// The order that the cases vary.
const ORDER: &str = "run start sha256 -n 2 --budget 10ms";

/// A failure says all of this on stderr, and nothing on stdout.
#[track_caller]
fn check(ended: Ended, code: i32, words: &[&str]) {
    let ended = ended.expect(code);
    for said in words {
        assert!(
            ended.stderr.contains(said),
            "no {said:?} in:\n{}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

/// Runs an order with one variable of the environment set.
fn run_with(world: &World, variable: &str, value: &Path) -> Ended {
    Running::start(world.command(ORDER).env(variable, value)).wait()
}

/// Ends the test unless the run and the finding that were made first are still there, alone.
fn check_intact(world: &World, run: &str) {
    world.assert_clean();
    assert_eq!(world.findings().len(), 1);
    assert_eq!(
        world.data(&format!("run show {run}"))["verdict"],
        "deviates"
    );
}

#[test]
fn wrong_command_lines_are_refused() {
    let world = World::new();
    let run = world.make_finding();
    let refused = |arguments: &str, words: &[&str]| check(world.run(arguments), 2, words);
    refused("run start sha257", &["sha257", "computation ls"]);
    refused("run start sha256 -n 0", &["0 replicas", "1 to 64"]);
    refused("run start sha256 -n 65", &["65 replicas", "1 to 64"]);
    refused(
        "run start sha256 --seed abc",
        &["abc", "a number below 2^64"],
    );
    refused("run start sha256 --budget 0s", &["0s", "500ms"]);
    refused(
        "run start sha256 --inject nonsense",
        &["nonsense", "ram, reg, disk, log, metric or hang"],
    );
    refused(
        &format!("{ORDER} --inject ram,replica=2"),
        &["replica 2", "0 to 1"],
    );
    refused(
        &format!("{ORDER} --inject ram=0x8000000"),
        &["0x8000000", "outside"],
    );
    refused(&format!("{ORDER} --inject reg=xyz"), &["xyz", "rax"]);
    refused("run start --target tape", &["tape", "memory"]);
    check_intact(&world, &run);
}

#[test]
fn an_error_is_a_document_where_json_is_asked_for() {
    let world = World::cold();
    let ended = world.run("run start sha256 -n 0 --json").expect(2);
    let error = serde_json::from_str(&ended.stderr).unwrap();
    support::schema::assert_conforms(&error);
    assert_eq!(error["data"]["code"], "out-of-range");
}

#[test]
fn kernels_that_are_none_are_refused() {
    let world = World::new();
    let run = world.make_finding();
    let kernel = |path: &Path| run_with(&world, "VARDOGER_KERNEL", path);
    check(
        kernel(&world.path("none")),
        1,
        &["no guest kernel at", "VARDOGER_KERNEL"],
    );
    let text = world.path("text");
    fs::write(&text, "not a kernel\n".repeat(100)).unwrap();
    check(kernel(&text), 1, &["is no Linux kernel", "bzImage"]);
    let husk = world.path("husk");
    fs::write(&husk, [b"\x7fELF".as_slice(), &[0; 4096]].concat()).unwrap();
    check(
        kernel(&husk),
        1,
        &["ended by itself", "doctor", "guest kernel"],
    );
    check_intact(&world, &run);
}

/// A program in the emulator's place: it tells a version, then does as it is told.
fn emulator(world: &World, version: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = world.path("emulator");
    let text = format!(
        "#!/bin/bash\nif [[ $1 == --version ]]; then\n\
         echo 'QEMU emulator version {version}'; exit\nfi\n{script}\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Says something on the monitor's connection, which the emulator inherits by number.
const SAY: &str = "for argument; do
  [[ $argument =~ id=monitor,fd=([0-9]+) ]] && eval \"echo 'no greeting' >&${BASH_REMATCH[1]}\"
done
exec sleep 600";

#[test]
fn emulators_that_do_not_serve_are_refused() {
    let world = World::new();
    let run = world.make_finding();
    let qemu = |path: &Path| run_with(&world, "VARDOGER_QEMU", path);
    let nowhere = run_with(&world, "PATH", &world.path("nowhere"));
    check(nowhere, 1, &["no qemu-system-x86_64", "scripts/demo"]);
    let old = emulator(&world, "7.2.9", "");
    check(qemu(&old), 1, &["7.2.9", "9.0", "scripts/demo"]);
    let dying = emulator(&world, "10.0.2", "echo no room left >&2; exit 1");
    check(
        qemu(&dying),
        1,
        &["ended by itself", "no room left", "doctor"],
    );
    let talking = emulator(&world, "10.0.2", SAY);
    check(qemu(&talking), 1, &["monitor", "greeting", "doctor"]);
    check_intact(&world, &run);
}

#[test]
fn an_emulator_that_hangs_does_not_keep_us() {
    let world = World::cold();
    let hanging = emulator(&world, "10.0.2", "exec sleep 600");
    let mut order = world.command(&format!("{ORDER} -v"));
    let mut running = Running::start(order.env("VARDOGER_QEMU", hanging));
    running.wait_for("stage boot");
    running.signal(rustix::process::Signal::INT);
    check(running.wait(), 130, &["interrupted"]);
    world.assert_clean();
}

#[test]
fn an_interrupted_run_is_cleaned_up_and_recorded() {
    let world = World::new();
    let run = world.make_finding();
    let mut running = world.start("run start sha256 -n 3 --budget 20s --jobs 2 --keep all -v");
    running.wait_for("stage run");
    running.signal(rustix::process::Signal::INT);
    check(running.wait(), 130, &["interrupted"]);
    assert!(world.leftovers().is_empty(), "{:?}", world.leftovers());
    let listed = world.data("run ls");
    assert_eq!(listed["runs"][0]["state"], "failed");
    assert!(
        listed["runs"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("interrupted")
    );
    check_intact(&world, &run);
}

#[test]
fn two_runs_at_once_both_pass() {
    let world = World::new();
    let start = || world.start(&format!("run start sha256 -n 3 {SHORT} --json"));
    let (one, other) = (start(), start());
    for run in [one, other] {
        assert_eq!(run.wait().expect(0).data()["verdict"], "pass");
    }
    assert_eq!(world.data("run ls")["runs"].as_array().unwrap().len(), 2);
    world.assert_clean();
}

#[test]
fn stores_that_cannot_be_used_are_refused() {
    let world = World::cold();
    let store = |path: &Path| run_with(&world, "VARDOGER_STORE", path);
    let file = world.path("file");
    fs::write(&file, "a file").unwrap();
    check(
        store(&file.join("store")),
        1,
        &["could not make", "file/store", "Not a directory", "--store"],
    );
    let photos = world.path("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("cat.jpg"), "a cat").unwrap();
    check(store(&photos), 1, &["photos", "holds no store", "--store"]);
    let names: Vec<_> = fs::read_dir(&photos).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "what is not ours is not changed: {names:?}");
    world.assert_clean();
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    for arguments in ["computation ls", "version", ORDER, "run ls --json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = world.command(arguments);
        Running::start_writing_to(&mut command, writer.into())
            .wait()
            .expect(0);
    }
}
