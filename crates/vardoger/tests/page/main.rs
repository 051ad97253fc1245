//! The report as a page, in Debian's Chromium: for 0, 1, 4,196 and 60,000 differing pages it opens
//! without a complaint, axe-core finds nothing to object to, nothing overflows a narrow screen, and
//! what a guest wrote stays text.
//!
//! Pictures of the pages are left in `target/tmp/page`; those of a real run are shown in `docs`.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod browser;
mod hostile;
#[path = "../support/mod.rs"]
mod support;
mod synthetic;

use browser::{Browser, View};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::{SHORT, World};
use synthetic::{Synthetic, Words};

/// The most bytes that a page may have.
const MAX_BYTES: u64 = 2_000_000;

const LIGHT: View = View {
    scheme: "light",
    width: 1280,
    height: 1400,
};
const DARK: View = View {
    scheme: "dark",
    ..LIGHT
};
/// A small telephone.
const NARROW: View = View {
    width: 360,
    height: 740,
    ..LIGHT
};

/// How many elements there are that none of ours is.
const STRANGE: &str = "document.querySelectorAll('script, img, iframe, object, embed, link, a, \
    form, [onerror], [onload], svg:not(.grid):not(.key)').length";

/// The program that checks accessibility, fetched once.
fn axe() -> &'static str {
    static AXE: OnceLock<String> = OnceLock::new();
    AXE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/axe");
        let fetched = Command::new(script).output().unwrap();
        let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
        assert!(fetched.status.success(), "axe-core cannot be had: {said}");
        fs::read_to_string(String::from_utf8(fetched.stdout).unwrap().trim()).unwrap()
    })
}

/// Opens a page in both schemes and on a narrow screen, and checks each; pictures of it are kept.
fn check(browser: &mut Browser, page: &Path, name: &str) {
    let size = fs::metadata(page).unwrap().len();
    assert!(size <= MAX_BYTES, "{name}: {size} bytes");
    let mut pictures = Vec::new();
    for (view, suffix) in [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow")] {
        browser.open(page, view);
        pictures.push(keep_picture(browser, &format!("{name}-{suffix}.png")));
        browser.value("document.querySelectorAll('details').forEach(one => one.open = true)");
        let wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.value(wider), 0, "{name}, {suffix}: it overflows");
        assert_eq!(violations(browser), json!([]), "{name}, {suffix}");
        assert_eq!(browser.complaints(), [&Value::Null; 0], "{name}, {suffix}");
    }
    assert_ne!(pictures[0], pictures[1], "{name}: both schemes look alike");
}

/// What axe-core objects to, and where.
fn violations(browser: &mut Browser) -> Value {
    browser.value(axe());
    browser.value(
        "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
            one => [one.id, one.nodes.slice(0, 3).map(node => node.target.join(' '))]))",
    )
}

fn keep_picture(browser: &mut Browser, name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&directory).unwrap();
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG\r\n"));
    fs::write(directory.join(name), &picture).unwrap();
    picture
}

/// The page of a run of the past.
fn show(world: &World, run: &str) -> PathBuf {
    let page = world.path(&format!("{run}.html"));
    let flags = format!("run show {run} -o html --out {}", page.display());
    let shown = world.run(&flags).expect(0);
    assert_eq!(shown.stdout, "");
    page
}

fn words() -> Words {
    Words {
        host: "lab1".to_owned(),
        line: "half of it is dome".to_owned(),
        symbol: "init_task+0x40".to_owned(),
        register: "rbx".to_owned(),
    }
}

/// The page of a run in which so many pages differ; the words of each that differ.
fn check_pages(pages: u64, words_of_a_page: u64) {
    let world = World::cold();
    let synthetic = Synthetic {
        pages,
        words_of_a_page,
        words: words(),
    };
    let run = synthetic.keep_in(&world.store());
    let page = show(&world, &run);
    let mut browser = Browser::start();
    check(&mut browser, &page, &format!("pages-{pages}"));
    let text = browser.value("document.body.innerText");
    let text = text.as_str().unwrap();
    let expected = match pages {
        0 => "PASS".to_owned(),
        1 => "1 page differs".to_owned(),
        4196 => "4,196 pages differ".to_owned(),
        _ => "60,000 pages differ".to_owned(),
    };
    assert!(text.contains(&expected), "no {expected:?} in {text}");
    // Cells of the map that are coloured, counted in the document.
    let cells = "[...document.querySelectorAll('svg.grid path:not(.empty)')]
        .map(path => path.getAttribute('d').split('M').length - 1)
        .reduce((one, other) => one + other, 0)";
    // 256 MiB are 2,048 cells of 32 pages; the pages lie 1 or 7 apart.
    let expected = match pages {
        0 => 0,
        1 => 1,
        4196 => (4195 * 7) / 32 + 1,
        _ => 59_999 / 32 + 1,
    };
    assert_eq!(browser.value(cells), expected, "{pages} pages");
}

#[test]
fn a_run_without_a_difference() {
    check_pages(0, 0);
}

#[test]
fn one_page_differs() {
    check_pages(1, 1);
}

#[test]
fn pages_of_a_working_set_differ() {
    check_pages(4196, 1);
}

#[test]
fn nearly_all_of_memory_differs() {
    check_pages(60_000, 512);
}

#[test]
fn a_real_run_is_shown_as_it_was() {
    let world = World::new();
    let page = world.path("report.html");
    let fault = "--inject ram=0x3000005:5@end,replica=1";
    let flags = format!("run start sha256 -n 3 {SHORT} --seed 7 {fault} -o html --out");
    world.run(&format!("{flags} {}", page.display())).expect(3);
    let mut browser = Browser::start();
    check(&mut browser, &page, "real");
    let marked = "[...document.querySelectorAll('.hex ins, .hex del')].map(one => one.innerText)";
    let marked = browser.value(marked);
    let [expected, found] = marked.as_array().unwrap().as_slice() else {
        panic!("not one byte on each side: {marked}");
    };
    let byte = |text: &Value| u8::from_str_radix(text.as_str().unwrap(), 16).unwrap();
    assert_eq!(byte(expected) ^ byte(found), 1 << 5);
    let text = browser.value("document.body.innerText");
    let text = text.as_str().unwrap();
    for words in ["DEVIATES", "replica 1", "0x3000000", "+5 bit 5", "live"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    // The command that the page gives does the same again.
    let command = browser.value("document.querySelector('pre code').innerText");
    let repeat = command.as_str().unwrap().strip_prefix("vardoger ").unwrap();
    let digest = |run: &Value| run["deviations"][0]["words_digest"].clone();
    let before = world.data("run show @last");
    let again = world.run(&format!("{repeat} --json")).expect(3).data();
    assert!(digest(&before).is_string());
    assert_eq!(digest(&again), digest(&before), "{repeat}");
    assert_eq!(again["steps"], before["steps"]);
    world.assert_clean();
}

#[test]
fn what_a_guest_writes_stays_text() {
    let attack = "<script>alert(1)</script>\"><img src=x onerror=alert(2)> \u{202e}\u{1b}[31m\
                  </style></title><svg onload=alert(3)>";
    let world = World::cold();
    let synthetic = Synthetic {
        pages: 3,
        words_of_a_page: 2,
        words: Words {
            host: attack.to_owned(),
            line: attack.replace('\n', ""),
            symbol: attack.to_owned(),
            register: attack.chars().take(40).collect(),
        },
    };
    let run = synthetic.keep_in(&world.store());
    let page = show(&world, &run);
    let mut browser = Browser::start();
    check(&mut browser, &page, "hostile");
    assert_eq!(browser.value(STRANGE), 0);
    assert_eq!(browser.value("window.alerted"), 0);
    let text = browser.value("document.documentElement.innerText");
    let text = text.as_str().unwrap();
    assert!(text.contains("<script>alert(1)</script>"), "{text}");
    assert!(text.contains("U+202E") && text.contains("U+001B"));
    assert!(!text.contains(['\u{202e}', '\u{1b}']));
}

#[test]
fn only_runs_have_a_page() {
    let world = World::cold();
    for command in ["version", "run ls", "doctor", "finding ls"] {
        let refused = world.run(&format!("{command} -o html")).expect(2);
        assert!(refused.stderr.contains("-o html"), "{}", refused.stderr);
    }
    let nowhere = world.path("no/such/directory/report.html");
    let flags = format!("run show -o html --out {}", nowhere.display());
    let refused = world.run(&flags).expect(1);
    assert!(refused.stderr.contains("report.html"), "{}", refused.stderr);
}
