//! Programs of the user's own: what they are given, how they may end, and that a machine outlasts
//! whatever they do. The programs are those in `programs`.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::process::{Ended, Running};
use support::program::{compile, state};
use support::{World, schema};

/// Orders a run of the program that does what its first argument says.
fn order(world: &World, flags: &str, arguments: &[&str]) -> Ended {
    let mut command = world.command(&format!("run start -n 2 --jobs 2 --json {flags}"));
    command.arg("--program").arg(subject(world)).arg("--");
    Running::start(command.args(arguments)).wait()
}

/// That program, built once in a world.
fn subject(world: &World) -> PathBuf {
    let path = world.path("subject");
    if path.exists() {
        path
    } else {
        compile(world, "subject", "-static")
    }
}

/// The run, where all replicas do alike.
#[track_caller]
fn pass(world: &World, flags: &str, arguments: &[&str]) -> Value {
    let run = order(world, flags, arguments).expect(0).data();
    assert_eq!(run["verdict"], "pass", "{}", run["reason"]);
    assert!(metric(&run, "program_resident_pages") > 0.0);
    run
}

#[track_caller]
fn check_status(run: &Value, status: &str) {
    for replica in run["replicas"].as_array().unwrap() {
        assert_eq!(replica["outcome"], "ended");
        assert_eq!(replica["exit_status"], status);
    }
}

fn metric(run: &Value, name: &str) -> f64 {
    let metrics = run["replicas"][0]["metrics"].as_array().unwrap();
    let metric = metrics.iter().find(|metric| metric["name"] == name);
    metric.unwrap()["value"].as_f64().unwrap()
}

#[test]
fn a_program_finds_what_it_is_given_and_leaves_what_it_made() {
    let world = World::new();
    let (input, stdin) = (world.path("input"), world.path("stdin"));
    fs::write(&input, "from a file\n").unwrap();
    fs::write(&stdin, "from stdin\n".repeat(1000)).unwrap();
    let flags = format!(
        "--keep all --file {} --stdin {}",
        input.display(),
        stdin.display()
    );
    let run = pass(&world, &flags, &["work", "a b", "ü"]);
    check_status(&run, "7");
    assert_eq!(run["computation"], "program:subject");
    let program = &run["provenance"]["program"];
    assert_eq!(program["arguments"], json!(["work", "a b", "ü"]));
    let digest = |path: &Path| blake3::hash(&fs::read(path).unwrap()).to_hex().to_string();
    assert_eq!(program["executable"]["digest"], digest(&subject(&world)));
    assert_eq!(program["files"][0]["digest"], digest(&input));
    assert_eq!(program["stdin"]["digest"], digest(&stdin));
    let (log, files) = state(&world, &run);
    for line in [
        "stdout: argument a b",
        "stdout: argument ü",
        "stdout: from a file",
        "stdout: stdin 11000",
        "stdout: user 1000 home /work",
        "stderr: oops",
        "subject: exit status 7",
    ] {
        assert!(log.lines().any(|said| said == line), "no {line:?} in {log}");
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(files.contains(&("input".to_owned(), b"from a file\n".to_vec())));
    let made =
        |(name, content): &&(String, Vec<u8>)| name.starts_with("d_out-") && content == b"mmm";
    assert!(files.iter().any(|file| made(&file)), "{names:?}");
    let zeros = blake3::hash(&[0; 100_000]);
    let long = [
        &[0; 64 << 10],
        &100_000_u64.to_le_bytes()[..],
        zeros.as_bytes(),
    ]
    .concat();
    assert!(files.contains(&("long".to_owned(), long)));
    world.assert_clean();
}

#[test]
fn the_document_conforms_and_the_report_says_how_it_ended() {
    let world = World::new();
    let document = order(&world, "", &["exit", "1"]).expect(0).document();
    schema::assert_conforms(&document);
    let shown = world.run("run show").expect(0).stdout;
    assert!(shown.contains("exit status 1"), "{shown}");
    assert!(shown.contains("program:subject"), "{shown}");
}

#[test]
fn whatever_a_program_does_its_machine_goes_on_and_replicas_agree() {
    let world = World::new();
    check_status(&pass(&world, "", &["crash"]), "signal 11 (SIGSEGV)");
    // A full disk is the program's to deal with; 24 MiB of room are promised.
    let full = pass(&world, "--keep all", &["fill"]);
    check_status(&full, "0");
    let (log, _) = state(&world, &full);
    assert!(
        log.contains("stdout: No space left on device after 24 MiB"),
        "{log}"
    );
    // More processes than it may have, all of which would outlive it.
    let bred = pass(&world, "--keep all", &["breed"]);
    check_status(&bred, "0");
    let (log, _) = state(&world, &bred);
    assert!(
        log.contains("stdout: Resource temporarily unavailable after some: 1"),
        "{log}"
    );
    // More memory than there is: the kernel ends the program, and nothing else.
    let eaten = order(&world, "", &["eat"]).expect(0).data();
    check_status(&eaten, "signal 9 (SIGKILL)");
    // Time that passes while it sleeps is the machine's, and costs nothing.
    let rested = pass(&world, "", &["rest"]);
    assert!(metric(&rested, "virtual_time_s") >= 10.0);
    assert!(world.findings().is_empty());
    world.assert_clean();
}

#[test]
fn a_log_beyond_all_limits_is_cut_and_that_is_said() {
    let world = World::new();
    let bytes = 1 << 20;
    let run = pass(&world, "", &["flood", &(bytes / 2).to_string()]);
    check_status(&run, "0");
    assert_eq!(metric(&run, "stdout_bytes"), f64::from(bytes));
    let shown = world.run("run show").expect(0).stdout;
    let kept = 4000 * "y\n".len();
    let said = format!(
        "{} of {bytes} bytes are not in the log",
        bytes as usize - kept
    );
    assert!(shown.contains(&said), "{shown}");
}

#[test]
fn a_program_that_never_ends_is_hung() {
    let world = World::new();
    let run = order(&world, "--timeout 2s", &["spin"]).expect(6).data();
    assert_eq!(run["replicas"][0]["outcome"], "hung");
    assert_eq!(run["replicas"][0]["exit_status"], Value::Null);
}

/// Pipes, processes in the background, signals, files, links, arithmetic, and several programs in
/// one: nothing that depends on the machine.
const SCRIPT: &str = r#"
    seq 1 20000 | sort -rn | awk '{ sum += $1 * NR } END { print "sum", sum }'
    mkdir -p made/deep; echo one > made/deep/file; ln -s deep/file made/link; cat made/link
    (echo from a child; exit 3); echo "it ended with $?"
    sh -c 'kill -TERM $$'; echo "and it with $?"
    for job in a b c; do (sleep 1; echo "job $job" > "job-$job") & done; wait; cat job-*
    mkfifo pipe; (tr a-z A-Z < pipe > upper) & echo through a pipe > pipe; wait; cat upper; rm pipe
    dd if=/dev/zero bs=4096 count=700 2>/dev/null | gzip -9 | gunzip | sha256sum
    sed 's/o/0/' made/deep/file | tee seen; tar -c made | tar -t | sort
    x=7; while [ $x -gt 1 ]; do x=$((x / 2)); done; echo "x $x"
    echo to stderr >&2
    exit 42
"#;

/// The busybox of this machine.
fn busybox() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/busybox");
    let found = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(found.status.success(), "{said}");
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

#[test]
fn busybox_does_in_a_machine_what_it_does_here() {
    let world = World::new();
    let (busybox, here) = (busybox(), world.path("here"));
    fs::create_dir(&here).unwrap();
    let said_here = Command::new(&busybox)
        .args(["sh", "-c", SCRIPT])
        .env_clear()
        .env("PATH", "/nowhere")
        .current_dir(&here)
        .output()
        .unwrap();
    assert_eq!(said_here.status.code(), Some(42));
    let mut order = world.command("run start -n 5 --jobs 2 --keep all --json --program");
    order.args([&busybox, "--", "sh", "-c", SCRIPT]);
    let run = Running::start(&mut order).wait().expect(0).data();
    assert_eq!(run["verdict"], "pass");
    assert_eq!(run["deviations"].as_array().unwrap().len(), 0);
    assert!(run["coverage"]["bytes_compared"].as_u64().unwrap() > 0);
    check_status(&run, "42");
    let (log, files) = state(&world, &run);
    let said = |stream: &str| -> Vec<&str> {
        let lines = log.lines();
        lines.filter_map(|line| line.strip_prefix(stream)).collect()
    };
    let stdout = String::from_utf8(said_here.stdout).unwrap();
    let stderr = String::from_utf8(said_here.stderr).unwrap();
    assert_eq!(said("stdout: "), stdout.lines().collect::<Vec<_>>());
    assert_eq!(said("stderr: "), stderr.lines().collect::<Vec<_>>());
    for name in ["job-a", "job-b", "job-c", "upper", "seen"] {
        let content = fs::read(here.join(name)).unwrap();
        assert!(
            files.contains(&(name.to_owned(), content)),
            "{name}: {files:?}"
        );
    }
    assert_eq!(files.len(), 7, "{files:?}");
    let shown = world.run("run show").expect(0).stdout;
    assert!(shown.contains("exit status 42"), "{shown}");
    world.assert_clean();
}

#[test]
fn a_flipped_bit_in_a_program_s_data_is_found_in_its_result() {
    let world = World::new();
    let program = compile(&world, "summing", "-static");
    let run = |seed: u32| {
        let flags = format!(
            "run start -n 3 --jobs 2 --seed {seed} --inject ram=live --json --program {}",
            program.display()
        );
        world.run(&flags).expect(3).data()
    };
    // Of the pages that have changed at its start two in five are the data.
    let wrong = (0..12).map(run).find(|run| {
        let differences = run["deviations"][0]["differences"].as_array().unwrap();
        differences.iter().any(|one| one["name"] == "result")
    });
    let run = wrong.expect("12 flipped bits and none in the data");
    let injection = &run["injections"][0];
    assert_eq!(
        (&injection["when"], &injection["fate"]),
        (&json!("start"), &json!("live"))
    );
    let deviations = run["deviations"].as_array().unwrap();
    assert_eq!(deviations.len(), 1);
    assert_eq!(deviations[0]["replica"], injection["replica"]);
    assert!(deviations[0]["differing_lines"].as_u64().unwrap() > 0);
}

#[test]
fn what_cannot_be_run_is_refused_before_any_machine_runs() {
    let world = World::cold();
    let refused = |arguments: &str, code: i32, words: &[&str]| {
        let ended = world
            .run(&format!("run start -n 2 {arguments}"))
            .expect(code);
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "no {word:?} in {}",
                ended.stderr
            );
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    };
    let made = |name: &str, content: &[u8]| {
        let path = world.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let subject = subject(&world).display().to_string();
    let dynamic = compile(&world, "summing", "-O0");
    refused(
        &format!("--program {}", dynamic.display()),
        2,
        &["ld-linux", "link it statically"],
    );
    refused(
        &format!("--program {}", made("text", b"hello\n")),
        2,
        &["no ELF executable"],
    );
    refused(
        &format!("--program {}", made("script", b"#!/bin/sh\n")),
        2,
        &["script", "interpreter"],
    );
    refused(
        &format!("--program {}", made("empty", b"")),
        2,
        &["is empty"],
    );
    refused(
        "--program /nonexistent",
        1,
        &["/nonexistent", "No such file"],
    );
    refused("--program /dev/zero", 2, &["no ordinary file"]);
    let large = world.path("large");
    fs::File::create(&large).unwrap().set_len(64 << 20).unwrap();
    refused(
        &format!("--program {subject} --file {}", large.display()),
        2,
        &["48 MiB"],
    );
    let (one, other) = (made("same", b"1"), world.path("d"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("same"), "2").unwrap();
    let twice = format!(
        "--program {subject} --file {one} --file {}/same",
        other.display()
    );
    refused(&twice, 2, &["`same` twice"]);
    for mark in ["half", "step:3"] {
        let order = format!("--program {subject} --inject ram@{mark}");
        refused(&order, 2, &[mark, "start (before", "end (as it exits)"]);
    }
    refused(
        &format!("--program {subject} --inject ram@time:3"),
        2,
        &["not repeatable", "start or end"],
    );
    refused(
        &format!("--program {subject} sha256"),
        2,
        &["cannot be used with"],
    );
    refused("sha256 --stdin /etc/passwd", 2, &["--program"]);
    let broken = {
        // An ELF file whose one segment lies where no program may be.
        let mut file = vec![0_u8; 4096];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (at, value) in [
            (6, 1),
            (16, 2),
            (18, 62),
            (20, 1),
            (24, 1),
            (32, 64),
            (52, 64),
            (54, 56),
            (56, 1),
            (64, 1),
        ] {
            file[at] = value;
        }
        file[64 + 4] = 5;
        file[64 + 32 + 1] = 1;
        file[64 + 40 + 1] = 1;
        made("broken", &file)
    };
    world.bring_machine();
    let ended = world
        .run(&format!("run start -n 2 --json --program {broken}"))
        .expect(6);
    assert!(
        ended.stdout.contains("does not start the program"),
        "{}",
        ended.stdout
    );
}
