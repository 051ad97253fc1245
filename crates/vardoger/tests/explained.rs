//! A flipped bit in the memory of a user's program: the report says whose it is, which mapping and
//! which address of the program's, and which bit.
//!
//! ```text
//!  keeper prints where its pages are, and each page holds a pattern of its own address
//!    one run      ─► QEMU's own image of the machine ─► pattern ─► physical address of each page
//!    another run  ─► flips bits there ─► the report, held against what the program printed
//! ```
//!
//! Nothing of the product takes part in the truth: not where a page lies, not what it holds, and
//! not to whom it belongs.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::program::{compile, state};
use support::{World, schema};

const PAGE: usize = 4096;

/// The byte of a page that is struck, and its bit.
const BYTE: u64 = 803;
const BIT: u64 = 6;

/// The page of each kind that is struck: neither the first nor the last.
const STRUCK: usize = 3;

/// A stretch of pages that the program filled and named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    kind: String,
    start: u64,
    bytes: u64,
}

/// The word that the program keeps at an address of its own: as in `programs/keeper.c`.
const fn word(address: u64) -> u64 {
    (address ^ 0x76c3_a5e1_d20f_4b97).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn number(text: &Value) -> u64 {
    let text = text.as_str().unwrap().trim_start_matches("0x");
    u64::from_str_radix(text, 16).unwrap()
}

/// What the program printed: its number, and where its pages are.
fn printed(log: &str) -> (u64, Vec<Kept>) {
    let lines = log.lines().filter_map(|line| line.strip_prefix("stdout: "));
    let mut kept = Vec::new();
    let mut pid = None;
    for line in lines {
        match *line.split(' ').collect::<Vec<_>>() {
            ["pid", own] => pid = own.parse().ok(),
            [kind, start, bytes] => kept.push(Kept {
                kind: kind.to_owned(),
                start: number(&json!(start)),
                bytes: bytes.parse().unwrap(),
            }),
            _ => panic!("the program says {line:?}"),
        }
    }
    (pid.unwrap(), kept)
}

/// Where pages of the program lie in the machine's memory, by their address in the program.
fn places(image: &Path, kept: &[Kept]) -> BTreeMap<u64, u64> {
    let pages = kept
        .iter()
        .flat_map(|one| (one.start..one.start + one.bytes).step_by(PAGE));
    let addresses: BTreeMap<u64, u64> = pages.map(|page| (word(page), page)).collect();
    let holds = |content: &[u8], page: u64| {
        let words = content.as_chunks().0.iter();
        let expected = (page..).step_by(8).map(word);
        words
            .map(|word| u64::from_le_bytes(*word))
            .eq(expected.take(PAGE / 8))
    };
    let image = fs::read(image).unwrap();
    let found = image.chunks(PAGE).zip(0_u64..).filter_map(|(content, at)| {
        let first = u64::from_le_bytes(content[..8].try_into().unwrap());
        let page = *addresses.get(&first)?;
        holds(content, page).then_some((page, at * PAGE as u64))
    });
    let mut places = BTreeMap::new();
    for (page, place) in found {
        assert_eq!(places.insert(page, place), None, "{page:#x} lies twice");
    }
    assert_eq!(places.len(), addresses.len(), "pages are not in memory");
    places
}

/// What is known of the program's run without a look at any report.
struct Truth {
    pid: u64,
    kept: Vec<Kept>,
    places: BTreeMap<u64, u64>,
}

impl Truth {
    /// Of replica 0, out of what was kept of it.
    fn of(world: &World, run: &Value) -> Self {
        let (pid, kept) = printed(&state(world, run).0);
        let image = run["replicas"][0]["image"].as_str().unwrap();
        let image = world.store().join("blobs").join(image);
        let places = places(&image, &kept);
        Self { pid, kept, places }
    }

    /// The byte of each stretch that is struck: address in the program, and in memory.
    fn struck(&self) -> impl Iterator<Item = (&Kept, u64, u64)> {
        self.kept.iter().map(|one| {
            let page = one.start + (STRUCK * PAGE) as u64;
            (one, page + BYTE, self.places[&page] + BYTE)
        })
    }

    /// The flags that strike them in replica 1 as the program exits.
    fn faults(&self) -> String {
        let flags = self
            .struck()
            .map(|(_, _, place)| format!(" --inject ram={place:#x}:{BIT}@end,replica=1"));
        flags.collect()
    }
}

/// Runs the program with its four bits flipped; gives the run, and the truth about it.
fn strike(world: &World, replicas: u32, faults: &str, program: &Path) -> (Value, Truth) {
    let flags = format!("run start -n {replicas} --jobs 2 --keep all --json{faults} --program");
    let ended = world.run(&format!("{flags} {}", program.display()));
    let document = ended.expect(3).document();
    schema::assert_conforms(&document);
    let run = document["data"].clone();
    let truth = Truth::of(world, &run);
    (run, truth)
}

/// Where the program was before it is struck, of a run by itself.
fn reconnoitre(world: &World, program: &Path) -> Truth {
    let flags = "run start -n 1 --keep all --json --program";
    let alone = world.run(&format!("{flags} {}", program.display()));
    Truth::of(world, &alone.expect(6).data())
}

/// The four differences of a deviation are those bits, and are explained as what they are.
fn check_explained(deviation: &Value, truth: &Truth, replicas: u32) {
    assert_eq!(deviation["differing_words"], 4, "{deviation:#}");
    let differences = deviation["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 4);
    for (kept, address, place) in truth.struck() {
        let at = |one: &&Value| number(&one["address"]) == place & !7;
        let found = differences.iter().find(at);
        let one = found.unwrap_or_else(|| panic!("nothing differs at {place:#x}"));
        let kind = &kept.kind;
        let bit = (BYTE % 8) * 8 + BIT;
        assert_eq!(one["flipped_bits"], json!([bit]), "{kind}");
        assert_eq!(number(&one["virtual_address"]), address & !7, "{kind}");
        let process = json!({"pid": truth.pid, "name": "keeper"});
        assert_eq!(one["process"], process, "{kind}");
        assert_eq!(one["owner_kind"], "process", "{kind}");
        check_mapping(&one["mapping"], kept);
        let (right, wrong) = (word(address & !7), word(address & !7) ^ 1 << bit);
        let shown = |word: u64| format!("{:016x}", word.swap_bytes());
        if replicas == 2 {
            assert_eq!(one["expected"], Value::Null);
            let both = format!("{}/{}", shown(right), shown(wrong));
            assert_eq!(one["found"], both, "{kind}");
        } else {
            assert_eq!(one["expected"], shown(right), "{kind}");
            assert_eq!(one["found"], shown(wrong), "{kind}");
        }
    }
}

/// The mapping holds the whole stretch, and is named as the program's user would.
fn check_mapping(mapping: &Value, kept: &Kept) {
    let (start, end) = (number(&mapping["start"]), number(&mapping["end"]));
    assert!(
        start <= kept.start && kept.start + kept.bytes <= end,
        "{mapping}"
    );
    let name = match kept.kind.as_str() {
        "data" => "/program/keeper",
        "heap" => "[heap]",
        "anonymous" => "[anonymous]",
        "stack" => "[stack]",
        other => panic!("the program keeps {other:?}"),
    };
    assert_eq!(mapping["name"], name);
    assert_eq!(mapping["permissions"], "rw-p");
}

/// The terminal says the same of every bit: whose it is, and where.
fn check_told(report: &str, truth: &Truth) {
    for (kept, address, place) in truth.struck() {
        let injected = format!("ram {place:#x} bit {BIT}");
        let mut rest = report.lines().skip_while(|line| !line.contains(&injected));
        let told: Vec<&str> = rest.by_ref().take(3).collect();
        let told = told.join("\n");
        let bit = (BYTE % 8) * 8 + BIT;
        for words in [
            format!("bit {bit} flipped"),
            format!("keeper (pid {})", truth.pid),
            format!("at {:#x} in", address & !7),
        ] {
            assert!(told.contains(&words), "no {words:?} of {kept:?}: {report}");
        }
    }
    assert!(report.contains("/program/keeper"), "{report}");
}

#[test]
fn a_flipped_bit_of_a_program_is_told_with_process_mapping_address_and_bit() {
    let world = World::new();
    let program = compile(&world, "keeper", "-static");
    let faults = reconnoitre(&world, &program).faults();

    // Of two it is known that they differ, and in whose memory, but not who is wrong.
    let (run, truth) = strike(&world, 2, &faults, &program);
    assert_eq!(truth.faults(), faults, "the program was elsewhere");
    assert_eq!(run["verdict"], "deviates");
    assert_eq!(run["deviations"].as_array().unwrap().len(), 1);
    assert_eq!(run["deviations"][0]["replica"], Value::Null);
    check_explained(&run["deviations"][0], &truth, 2);
    check_told(&world.run("run show").expect(0).stdout, &truth);

    // Of three the one that is wrong is named.
    let (run, truth) = strike(&world, 3, &faults, &program);
    assert_eq!(truth.faults(), faults, "the program was elsewhere");
    assert_eq!(run["deviations"].as_array().unwrap().len(), 1);
    assert_eq!(run["deviations"][0]["replica"], 1);
    check_explained(&run["deviations"][0], &truth, 3);
    let report = world.run("run show").expect(0).stdout;
    assert!(report.contains("replica 1"), "{report}");
    check_told(&report, &truth);
    world.assert_clean();
}
