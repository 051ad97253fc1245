//! Saved states: written out, compared, and refused where they are hostile.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use model::{Outcome, PAGE_BYTES};
use state::{
    ChangedPages, Memory, Origin, Registers, StateFile, TerminalState, read_state, write_state,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use support::World;
use support::schema::assert_conforms;

/// Files that the real worker is given: enough to meet every kind of damage; 20,000 more are read
/// by the tests of `state`.
const HOSTILE_FILES: usize = 40;

fn sample() -> StateFile {
    let registers = BTreeMap::from([("rip".to_owned(), "ffffffff81000000".to_owned())]);
    let pages = ChangedPages::new(vec![3, 9], vec![0x5a; 2 * PAGE_BYTES]).unwrap();
    StateFile {
        state: TerminalState {
            memory: Memory::Changed(pages),
            registers: Registers::try_from(registers).unwrap(),
            log: vec!["started".to_owned(), "done".to_owned()],
            outcome: Outcome::Ended,
            result_digest: Some("00ff".to_owned()),
            ..TerminalState::default()
        },
        origin: Origin::default(),
    }
}

fn bytes(file: &StateFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_state(&file.state, &file.origin, &mut bytes).unwrap();
    bytes
}

fn put(world: &World, name: &str, content: &[u8]) -> String {
    let path = world.path(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn read(path: &Path) -> StateFile {
    read_state(&mut File::open(path).unwrap()).unwrap()
}

/// The paths of the files that an export wrote, by replica; `None` is the majority's.
fn exported(document: &serde_json::Value) -> BTreeMap<Option<u64>, PathBuf> {
    let files = document["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            (
                file["replica"].as_u64(),
                file["path"].as_str().unwrap().into(),
            )
        })
        .collect()
}

#[test]
fn states_of_a_run_are_written_out_and_compared() {
    let world = World::new();
    let order = "run start sha256 -n 3 --budget 100ms --jobs 2 --keep all \
                 --inject ram=0x3000000:5@end,replica=1";
    world.run(order).expect(3);
    let out = world.path("out");
    let export = format!("run export @last --out {}", out.display());
    let document = world.run(&format!("{export} --json")).expect(0).document();
    assert_conforms(&document);
    let files = exported(&document["data"]);
    assert_eq!(files.len(), 3, "{files:?}");

    // The file holds the fault, seen without the program.
    let pages: Vec<_> = files
        .values()
        .map(|path| match read(path).state.memory {
            Memory::Changed(pages) => pages.page(0x3000).copied().unwrap(),
            Memory::Full(_) => panic!("a full image"),
        })
        .collect();
    assert_eq!(pages[0], pages[2]);
    assert_eq!(pages[0][0] ^ pages[1][0], 1 << 5);
    assert_eq!(pages[0][1..], pages[1][1..]);

    // Nothing is written over.
    let again = world.run(&export).expect(1);
    assert!(again.stderr.contains("--out"), "{}", again.stderr);

    let path = |replica| files[&Some(replica)].display().to_string();
    let equal = world.run(&format!("run diff {} {} --json", path(0), path(2)));
    assert_conforms(&equal.expect(0).document());
    let named = world
        .run("run diff @last:0 @last:1 @last:2 --json")
        .expect(3)
        .document();
    assert_conforms(&named);
    let data = &named["data"];
    assert_eq!(data["deviations"].as_array().unwrap().len(), 1, "{data}");
    assert_eq!(data["deviations"][0]["replica"], 1);
    assert_eq!(data["deviations"][0]["differing_words"], 1);
    assert_eq!(data["deviations"][0]["first"]["address"], "0x3000000");
    // What differs is explained as it was in the run, by the machine that is still kept.
    let shown = world.run("run show @last --json").expect(0).document();
    let of_run = &shown["data"]["deviations"][0]["first"];
    let of_states = &data["deviations"][0]["first"];
    assert!(of_run["owner"].is_string(), "{of_run}");
    for key in [
        "owner",
        "owner_kind",
        "symbol",
        "type",
        "field",
        "confidence",
    ] {
        assert_eq!(of_states[key], of_run[key], "{key}");
    }
    assert_eq!(named["warnings"], serde_json::json!([]));
    assert_eq!(
        data["coverage"]["bytes_compared"].as_u64().map(|n| n > 0),
        Some(true)
    );

    // A file and the store, two states only: that, not who.
    let mixed = world
        .run(&format!("run diff {} @last:0", path(1)))
        .expect(3);
    assert!(mixed.stdout.contains("0x3000000"), "{}", mixed.stdout);
    world.run("run diff @last").expect(3);
    let absent = world.run("run diff @last:0 @last:7").expect(2);
    assert!(absent.stderr.contains("replica 7"), "{}", absent.stderr);
}

#[test]
fn what_deviates_is_kept_beside_what_the_majority_holds() {
    let world = World::new();
    world.make_finding();
    let one = world.path("one.state");
    let order = format!("run export --replica majority --out {}", one.display());
    world.run(&order).expect(0);
    // The deviating replica, as the store has it, against the majority's, as it was written out.
    let diff = world.run(&format!("run diff {} @last", one.display()));
    let reason = diff.expect(3).stdout;
    assert!(
        reason.contains("state 1 differs from the majority of 3"),
        "{reason}"
    );
}

#[test]
fn a_worker_finds_no_way_out() {
    let said = World::cold().run("worker --self-test").expect(0).stdout;
    let refused = said.lines().filter(|line| {
        let line = line.trim_end();
        line.ends_with("ended") || line.contains("denied: ")
    });
    assert_eq!(refused.count(), 12, "{said}");
    for attempt in [
        "open /etc/passwd",
        "network socket",
        "start a program",
        "trace",
    ] {
        assert!(said.contains(attempt), "{said}");
    }
}

#[test]
fn without_two_states_there_is_nothing_to_compare() {
    let world = World::cold();
    let file = put(&world, "a.state", &bytes(&sample()));
    let refused = |arguments: &str, code, words: &str| {
        let ended = world.run(arguments).expect(code);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    };
    refused(&format!("run diff {file}"), 2, "2 to 128");
    refused(&format!("run diff {file} {file}x/"), 1, "cannot open");
    refused(&format!("run diff {file} @last"), 1, "@last");
    refused(
        &format!("run diff {file} {}", world.path("").display()),
        1,
        "no regular file",
    );
    let pipe = world.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    refused(
        &format!("run diff {file} {}", pipe.display()),
        1,
        "no regular file",
    );
    let huge = world.path("huge");
    File::create(&huge).unwrap().set_len((4 << 30) + 1).unwrap();
    refused(
        &format!("run diff {file} {}", huge.display()),
        2,
        "at most 4294967296",
    );
    // The worker is nobody's command.
    refused("worker diff", 1, "started by vardoger itself");
}

#[test]
fn states_from_elsewhere_are_compared_by_all_their_parts() {
    let world = World::cold();
    let sound = put(&world, "sound", &bytes(&sample()));
    let with = |name: &str, change: fn(&mut StateFile)| {
        let mut file = sample();
        change(&mut file);
        put(&world, name, &bytes(&file))
    };
    let diff = |others: &[&str], code| {
        let arguments = format!("run diff --json {sound} {}", others.join(" "));
        world.run(&arguments).expect(code).document()
    };
    assert_eq!(diff(&[&sound, &sound], 0)["data"]["verdict"], "pass");

    let log = with("log", |file| file.state.log[1] = "failed".to_owned());
    let found = diff(&[&log, &sound], 3);
    assert_eq!(found["data"]["deviations"][0]["replica"], 1);
    assert_eq!(found["data"]["deviations"][0]["first"]["name"], "line 2");

    let lacking = with("lacking", |file| {
        let pages = ChangedPages::new(vec![3], vec![0x5a; PAGE_BYTES]).unwrap();
        file.state.memory = Memory::Changed(pages);
    });
    assert_eq!(diff(&[&lacking], 6)["data"]["verdict"], "inconclusive");

    let kernel = with("kernel", |file| {
        file.origin.provenance.kernel = "6.1".to_owned();
    });
    let warnings = diff(&[&kernel], 0)["warnings"].to_string();
    assert!(warnings.contains("kernel"), "{warnings}");
}

#[test]
fn what_a_state_says_reaches_no_terminal_as_it_is() {
    let world = World::cold();
    let mut file = sample();
    file.state.log[1] = "\u{1b}[2Jgone\u{202e}".to_owned();
    file.origin.provenance.computation = "sha\u{1b}]0;x\u{7}256".to_owned();
    let hostile = put(&world, "hostile", &bytes(&file));
    let sound = put(&world, "sound", &bytes(&sample()));
    for flag in ["", "--json"] {
        let ended = world
            .run(&format!("run diff {sound} {hostile} {flag}"))
            .expect(3);
        assert!(ended.stdout.contains("[2Jgone"), "{}", ended.stdout);
        let shown = ended.stdout + &ended.stderr;
        let clean = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(shown.chars().all(clean), "{shown:?}");
        assert!(!shown.contains("u001b"), "{shown}");
    }
}

#[test]
fn hostile_files_are_refused_by_the_worker() {
    let world = World::cold();
    let sound = bytes(&sample());
    let other = put(&world, "sound", &sound);
    for number in 0..HOSTILE_FILES {
        let mut file = sound.clone();
        let place = number * file.len() / HOSTILE_FILES;
        match number % 4 {
            0 => file.truncate(place),
            1 => file[place] ^= 1 << (number % 8),
            // The length of the header, then its first characters.
            2 => file[12..20].copy_from_slice(&(u64::MAX >> number).to_le_bytes()),
            _ => file.push(0),
        }
        let hostile = put(&world, "hostile", &file);
        let ended = world
            .run(&format!("run diff {other} {hostile} --json"))
            .expect(1);
        assert!(
            ended.stderr.contains("state-unreadable"),
            "{number}: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("could not be read"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
}
