//! Hostile state files: 20,000 that are damaged with intent, and some that are built to be large in
//! memory. Each is read in a process that may not have more than 256 MiB.
//!
//! ```text
//!  test ──starts itself──► child: limits on memory, CPU time, core ─► reads all, one by one
//!    └──── must end well ◄─── each a typed error, or a state that is valid
//! ```
//!
//! Every mutation is drawn from its number alone, so that a failure can be repeated. Half of them
//! get the digest that fits, or no parser behind it would ever be reached.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use model::{MetricSample, Outcome, PAGE_BYTES};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use state::{
    ChangedPages, MAX_PAGE_NUMBERS, Memory, Origin, Registers, StateFile, StateFileError,
    TerminalState, read_state, write_state,
};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

const FILES: u64 = 20_000;

/// What reading may take of memory: the address space of the whole process.
const MAX_MEMORY_BYTES: u64 = 256 << 20;

/// What reading one file may take of CPU time.
const MAX_CPU: Duration = Duration::from_secs(1);

/// What reading all files may take of CPU time before the kernel ends the child.
const MAX_CPU_S: u64 = 120;

/// Where the fixed part ends: magic, kind, version.
const PREAMBLE_BYTES: usize = 12;

const SECTIONS: usize = 5;

/// SplitMix64 (Steele, Lea and Flood, 2014): numbers from a seed.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

fn state(memory: Memory) -> TerminalState {
    let registers = (0..40).map(|index| (format!("r{index}"), format!("{index:016x}")));
    TerminalState {
        memory,
        registers: Registers::try_from(registers.collect::<BTreeMap<_, _>>()).unwrap(),
        log: ["sha256: 240 steps", "", "Größe", "sha256: done"]
            .map(str::to_owned)
            .to_vec(),
        files: BTreeMap::from([
            ("empty".to_owned(), Vec::new()),
            ("result".to_owned(), vec![7; 300]),
        ]),
        disk: BTreeMap::new(),
        metrics: vec![MetricSample {
            name: "instructions".to_owned(),
            value: 1e9,
            exact: true,
        }],
        outcome: Outcome::Crashed("triple fault".to_owned()),
        result_digest: Some("00ff".to_owned()),
        exit_status: None,
    }
}

fn written(state: &TerminalState, origin: &Origin) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_state(state, origin, &mut bytes).unwrap();
    bytes
}

/// Sound files: changed pages, a full image, nothing at all.
fn corpus() -> Vec<Vec<u8>> {
    let pages = ChangedPages::new(vec![0, 3, 0x1_0000], vec![0x5a; 3 * PAGE_BYTES]).unwrap();
    let memories = [
        Memory::Changed(pages),
        Memory::Full(vec![9; 2 * PAGE_BYTES]),
        Memory::default(),
    ];
    let origin = Origin::default();
    let states = memories
        .into_iter()
        .map(|memory| written(&state(memory), &origin));
    states.collect()
}

/// Where the lengths of the sections lie in a sound file.
fn lengths(file: &[u8]) -> [usize; SECTIONS] {
    let mut at = PREAMBLE_BYTES;
    [(); SECTIONS].map(|()| {
        let place = at;
        let length = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
        at += 8 + length as usize;
        place
    })
}

/// A section with its length.
fn section(file: &[u8], index: usize) -> std::ops::Range<usize> {
    let start = lengths(file)[index];
    let length = u64::from_le_bytes(file[start..start + 8].try_into().unwrap());
    start..start + 8 + length as usize
}

/// Replaces the digest at the end by the one that fits.
fn sign(file: &mut [u8]) {
    if let Some(end) = file.len().checked_sub(32) {
        let digest = blake3::hash(&file[..end]);
        file[end..].copy_from_slice(digest.as_bytes());
    }
}

fn flip_bits(file: &mut [u8], draw: &mut Draw) {
    // Most of a file is memory, where nothing is parsed: most flips go before it.
    let parsed = lengths(file)[SECTIONS - 1] + 8;
    let reach = draw.one(&[parsed, parsed, parsed, file.len()]);
    for _ in 0..=draw.below(4) {
        file[draw.below(reach)] ^= 1 << draw.below(8);
    }
}

fn edit_length(file: &mut [u8], draw: &mut Draw) {
    let place = draw.one(&lengths(file));
    let field = place..place + 8;
    let length = u64::from_le_bytes(file[field.clone()].try_into().unwrap());
    let edited = [
        0,
        1,
        7,
        length.wrapping_add(1),
        length.wrapping_sub(1),
        length.wrapping_mul(2),
        length ^ (1 << draw.below(64)),
        16 << 20,
        (16 << 20) + 1,
        u64::from(u32::MAX),
        1 << 34,
        u64::MAX,
    ];
    file[field].copy_from_slice(&draw.one(&edited).to_le_bytes());
}

/// Puts a section, or any part, of one file in the place of another's.
fn splice(file: &mut Vec<u8>, other: &[u8], draw: &mut Draw) {
    let (to, from) = if draw.below(2) == 0 {
        (
            section(file, draw.below(SECTIONS)),
            section(other, draw.below(SECTIONS)),
        )
    } else {
        let start = draw.below(file.len());
        let end = (start + draw.below(64)).min(file.len());
        let taken = draw.below(other.len());
        (start..end, taken..(taken + draw.below(64)).min(other.len()))
    };
    file.splice(to, other[from].iter().copied());
}

/// Puts another word in the place of one in the header, with the length that fits.
fn edit_header(file: &mut Vec<u8>, draw: &mut Draw) {
    const WORDS: [&[u8]; 12] = [
        b"null",
        b"-1",
        b"1e999",
        b"18446744073709551616",
        b"{}",
        b"[]",
        b"\"\"",
        b"\"ended\"",
        b"\"full\"",
        b"[[[[[[[[",
        b",",
        b"\\ud800",
    ];
    let range = section(file, 0);
    let start = range.start + 8 + draw.below(range.len() - 8);
    let end = (start + draw.below(12)).min(range.end);
    let word = draw.one(&WORDS);
    file.splice(start..end, word.iter().copied());
    let length = (range.len() - 8 - (end - start) + word.len()) as u64;
    file[range.start..range.start + 8].copy_from_slice(&length.to_le_bytes());
}

fn mutated(number: u64, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut draw = Draw(number);
    let mut file = corpus[draw.below(corpus.len())].clone();
    match draw.below(5) {
        0 => flip_bits(&mut file, &mut draw),
        1 => edit_length(&mut file, &mut draw),
        2 => splice(&mut file, &corpus[draw.below(corpus.len())], &mut draw),
        3 => edit_header(&mut file, &mut draw),
        _ => file.truncate(draw.below(file.len())),
    }
    if draw.below(2) == 0 {
        sign(&mut file);
    }
    if draw.below(20) == 0 {
        file.push(0);
    }
    file
}

/// What a reader may rely on in any state that it is given.
fn assert_valid(file: &StateFile, number: u64) {
    if let Memory::Changed(pages) = &file.state.memory {
        let numbers = pages.numbers();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{number}");
        assert!(numbers.iter().all(|page| *page < MAX_PAGE_NUMBERS));
        assert_eq!(pages.bytes().len(), numbers.len() * PAGE_BYTES);
    }
    let again = written(&file.state, &file.origin);
    assert_eq!(read_state(&mut &*again).unwrap(), *file, "{number}");
}

/// The name of an error's variant.
fn kind(error: &StateFileError) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// Reads within a second of CPU time.
fn read(bytes: &[u8], what: &str) -> Result<StateFile, StateFileError> {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = cpu();
    let outcome = read_state(&mut &*bytes);
    let taken = cpu() - before;
    assert!(taken < MAX_CPU, "{what} takes {taken:?}");
    outcome
}

fn read_mutated() {
    let corpus = corpus();
    let mut valid = 0;
    let mut kinds = BTreeSet::new();
    for number in 0..FILES {
        match read(&mutated(number, &corpus), &format!("file {number}")) {
            Ok(file) => {
                valid += 1;
                assert_valid(&file, number);
            }
            Err(error) => {
                kinds.insert(kind(&error));
            }
        }
    }
    // The mutations reach every way out, and some leave a file sound.
    assert!((100..FILES / 2).contains(&valid), "{valid} are valid");
    for expected in [
        "NotAStateFile",
        "OtherKind",
        "OtherVersion",
        "Truncated",
        "Trailing",
        "TooLong",
        "Header",
        "Log",
        "Files",
        "Memory",
        "Damaged",
    ] {
        assert!(kinds.contains(expected), "no {expected} among {kinds:?}");
    }
}

/// A file with one section of our making.
fn with_section(index: usize, content: &[u8]) -> Vec<u8> {
    let mut file = written(&state(Memory::default()), &Origin::default());
    let range = section(&file, index);
    let length = (content.len() as u64).to_le_bytes();
    file.splice(range, [&length, content].concat());
    sign(&mut file);
    file
}

/// A header in which one value stands in the place of another.
fn with_header(key: &str, value: &str) -> Vec<u8> {
    let file = written(&state(Memory::default()), &Origin::default());
    let header = section(&file, 0);
    let header = &file[header.start + 8..header.end];
    let mut parsed: serde_json::Value = serde_json::from_slice(header).unwrap();
    parsed[key] = "PLACE".into();
    let text = parsed.to_string().replace("\"PLACE\"", value);
    with_section(0, text.as_bytes())
}

/// `count` times `part`, with its number in the place of `#`, as far as 16 MiB allow.
fn repeated(part: &str, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        if text.len() + (8 << 10) > 16 << 20 {
            break;
        }
        text.push_str(&part.replace('#', &number.to_string()));
        text.push(',');
    }
    text.pop();
    text
}

fn list(part: &str) -> String {
    format!("[{}]", repeated(part, 1 << 20))
}

/// Makes a file.
type Build = fn() -> Vec<u8>;

/// One after the other: each is as large as it may be.
fn read_large() {
    let cases: [(&str, Build, &str); 5] = [
        (
            "log",
            || with_section(1, &vec![b'\n'; 16 << 20]),
            "65536 log lines",
        ),
        (
            "registers",
            || {
                let registers = repeated("\"#\":\"0\"", 1 << 21);
                with_header("registers", &format!("{{{registers}}}"))
            },
            "more than 8192",
        ),
        (
            "metrics",
            || {
                let metric = r#"{"name":"","value":0,"exact":true}"#;
                with_header("metrics", &list(metric))
            },
            "at most 4096",
        ),
        (
            "files",
            || with_header("files", &list(r##"{"name":"#","bytes":0}"##)),
            "at most 1024",
        ),
        (
            "nested",
            || with_header("unknown", &"[".repeat(15 << 20)),
            "expected value",
        ),
    ];
    for (what, file, expected) in cases {
        let error = read(&file(), what).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

/// Does its work under limits, in a process of its own.
#[test]
#[ignore = "is started by the test below, in a process of its own"]
fn in_a_small_process() {
    let limit = |resource, most| {
        let most = Some(most);
        setrlimit(
            resource,
            Rlimit {
                current: most,
                maximum: most,
            },
        )
        .unwrap();
    };
    limit(Resource::As, MAX_MEMORY_BYTES);
    limit(Resource::Cpu, MAX_CPU_S);
    limit(Resource::Core, 0);
    read_mutated();
    read_large();
}

#[test]
fn no_hostile_file_makes_it_panic_hang_or_grow() {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_small_process"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "{}: {said} {complained}",
        ended.status
    );
    assert!(said.contains("1 passed"), "{said}");
}
