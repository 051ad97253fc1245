//! A guest that means harm, booted for real: what it says, how it names itself and its files, and
//! what it leaves are markup, escape sequences, marks of direction, zero bytes and lines of the
//! machine's own channel. Whatever is shown of it stays text, in every form of a report.
//!
//! One byte of the program decides what it says. It is flipped before the first instruction, at a
//! place that is looked up in QEMU's own image of the machine, so that all of that differs.

use crate::browser::Browser;
use crate::support::process::Ended;
use crate::support::program::{compile, state};
use crate::support::{World, schema};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// How the page begins that decides; the byte behind it is the one.
const DECISION: &[u8] = b"this page decides what the hostile program says: ";

const PAGE: usize = 4096;

/// What the program calls itself, by its argument, and how that is shown.
const NAMES: [&str; 3] = ["<script>alert()", "?[2J?title", "???no?? ASCII"];

/// A path that is markup as a whole.
const PATH: &str = "/work/<script>alert(4)</script>";

/// Whether a character steers a terminal, or hides or turns what is around it.
fn steers(character: char) -> bool {
    let hides = "\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\
                 \u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}";
    character.is_control() && character != '\n' || hides.contains(character)
}

#[track_caller]
fn check_plain(text: &str) {
    let found = text.chars().find(|character| steers(*character));
    assert_eq!(found, None, "{text:?}");
}

/// Text in colours: nothing but our own few styles, each of which is `ESC [ digits m`.
#[track_caller]
fn check_coloured(text: &str) {
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (style, rest) = piece.split_once('m').unwrap_or_default();
        let digits = style.strip_prefix('[').unwrap_or("no style");
        assert!(digits.len() <= 2, "{piece:?}");
        assert!(
            digits.bytes().all(|byte| byte.is_ascii_digit()),
            "{piece:?}"
        );
        plain.push_str(rest);
    }
    check_plain(&plain);
}

/// A document: as its schema says, and every text in it plain but those that the user gave.
#[track_caller]
fn check_document(ended: &Ended) -> Value {
    let document = ended.document();
    schema::assert_conforms(&document);
    check_values(&document);
    document["data"].clone()
}

fn check_values(value: &Value) {
    match value {
        Value::String(text) => check_plain(text),
        Value::Array(items) => items.iter().for_each(check_values),
        Value::Object(members) => members.values().for_each(check_values),
        _ => {}
    }
}

/// QEMU's own image of replica 0, which is healthy.
fn image(world: &World, run: &Value) -> Vec<u8> {
    let image = run["replicas"][0]["image"].as_str().unwrap();
    fs::read(world.store().join("blobs").join(image)).unwrap()
}

/// The faults that make replica 1 say the other thing: its byte, wherever it lies in memory.
fn faults_at_start(image: &[u8]) -> String {
    let pages = (0..image.len()).step_by(PAGE);
    let decides = pages.filter(|at| image[*at..].starts_with(DECISION));
    let faults: Vec<String> = decides
        .map(|at| {
            let byte = at + DECISION.len();
            assert_eq!(image[byte], b'r');
            format!(" --inject ram={byte:#x}:0@start,replica=1")
        })
        .collect();
    assert!(!faults.is_empty(), "the program is not in its memory");
    faults.concat()
}

/// One more at its end, in the page that belongs to a file of a hostile name.
fn fault_at_end(image: &[u8]) -> String {
    let pages = (0..image.len()).step_by(PAGE);
    let mapped = pages.filter(|at| image[*at..*at + PAGE] == [b'r'; PAGE]);
    let mapped: Vec<usize> = mapped.collect();
    assert_eq!(mapped.len(), 1, "{mapped:?}");
    format!(" --inject ram={:#x}:7@end,replica=1", mapped[0] + PAGE / 2)
}

fn start(world: &World, program: &Path, name: usize, flags: &str) -> Ended {
    let flags = format!("run start --jobs 2 --json {flags} --program");
    world.run(&format!("{flags} {} -- {name}", program.display()))
}

/// Every command that shows something of the last run.
fn check_shown(world: &World) -> String {
    let report = world.run("run show").expect(0).stdout;
    check_plain(&report);
    check_coloured(&world.run("run show --color always").expect(0).stdout);
    for command in ["run ls", "finding ls", "finding show", "finding explain"] {
        let ended = world.run(command);
        check_plain(&ended.stdout);
        check_plain(&ended.stderr);
        let ended = world.run(&format!("{command} --json"));
        if ended.code == Some(0) {
            check_document(&ended);
        }
    }
    report
}

/// The page holds what the guest said, as text, and nothing that it wanted.
fn check_page(world: &World, name: &str, words: &[&str]) {
    let page = world.path("hostile.html");
    let shown = world.run(&format!("run show -o html --out {}", page.display()));
    shown.expect(0);
    let source = fs::read_to_string(&page).unwrap();
    for tag in ["<script", "<img", "<svg onload", "onerror=alert(2)>"] {
        assert!(!source.to_lowercase().contains(tag), "{tag}");
    }
    check_plain(&source);
    let mut browser = Browser::start();
    super::check(&mut browser, &page, name);
    assert_eq!(browser.value(super::STRANGE), 0);
    assert_eq!(browser.value("window.alerted"), 0);
    let text = browser.value("document.documentElement.innerText");
    let text = text.as_str().unwrap();
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn a_hostile_guest_is_shown_as_text() {
    let world = World::new();
    let program = compile(&world, "hostile", "-static");
    let clean = start(&world, &program, 0, "-n 2 --keep all").expect(0);
    let run = check_document(&clean);
    assert_eq!(run["verdict"], "pass");
    let (log, files) = state(&world, &run);
    assert!(
        log.contains("stdout: right <script>alert(1)</script>"),
        "{log}"
    );
    assert!(!log.contains("wrong"), "{log}");
    assert!(log.lines().all(|line| !line.starts_with("forged")), "{log}");
    assert_eq!(files.len(), 17, "{files:?}");
    check_shown(&world);
    check_page(&world, "hostile-clean", &["PASS"]);

    // The stop at the start moves the program's later pages, so they are looked up in such a run.
    let mut faults = faults_at_start(&image(&world, &run));
    let wrong = start(&world, &program, 0, &format!("-n 3 --keep all{faults}")).expect(3);
    faults.push_str(&fault_at_end(&image(&world, &wrong.data())));
    for (name, shown) in NAMES.iter().enumerate() {
        let ended = start(&world, &program, name, &format!("-n 3{faults}")).expect(3);
        let run = check_document(&ended);
        let deviations = run["deviations"].as_array().unwrap();
        assert_eq!(deviations.len(), 1);
        assert_eq!(deviations[0]["replica"], 1);
        check_differences(&deviations[0], shown);
        let report = check_shown(&world);
        assert!(report.contains("DEVIATES"), "{report}");
        if name == 0 {
            let words = ["<script>alert(1)</script>", PATH, shown];
            check_page(&world, "hostile-wrong", &words);
            check_exported(&world);
        }
    }
    world.assert_clean();
}

/// The guest's names turn up in explanations, its lines and files among what differs.
fn check_differences(deviation: &Value, name: &str) {
    let differences = deviation["differences"].as_array().unwrap();
    let has = |part: &str, holds: &dyn Fn(&Value) -> bool| {
        let found = differences
            .iter()
            .any(|one| one["part"] == part && holds(one));
        assert!(found, "no such difference of a {part}: {deviation:#}");
    };
    has("memory", &|one| {
        one["process"]["name"] == name && one["mapping"]["name"] == PATH
    });
    has("log", &|one| {
        let said = |key: &str| one[key].as_str().unwrap_or_default();
        said("expected") == "stdout: right <script>alert(1)</script> "
            && said("found") == "stdout: wrong <script>alert(1)</script> "
    });
    has("file", &|one| {
        one["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("_script_alert"))
    });
}

/// States that were written out, compared again.
fn check_exported(world: &World) {
    let directory = world.path("states");
    world
        .run(&format!("run export --out {}", directory.display()))
        .expect(0);
    let states = fs::read_dir(&directory).unwrap().flatten();
    let mut states: Vec<String> = states.map(|one| one.path().display().to_string()).collect();
    states.sort();
    let flags = format!("run diff {}", states[..2].join(" "));
    check_plain(&world.run(&flags).expect(3).stdout);
    check_document(&world.run(&format!("{flags} --json")).expect(3));
}
