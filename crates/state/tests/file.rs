//! State files: what is written is read again, and what is not a whole state file is refused.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use model::{MetricSample, Outcome, PAGE_BYTES, Provenance};
use proptest::prelude::*;
use state::{
    ChangedPages, Memory, Origin, Registers, StateFile, StateFileError, TerminalState, read_state,
    write_state,
};
use std::collections::BTreeMap;

/// The file of [`sample`] in format version 1, written once and never again.
const GOLDEN: &[u8] = include_bytes!("golden/state-v1.vdstate");

fn sample() -> StateFile {
    let page = |byte| [byte; PAGE_BYTES];
    let bytes = [page(0xaa), page(0x55)].concat();
    let registers = BTreeMap::from([
        ("rax".to_owned(), "00000000000000ff".to_owned()),
        ("rip".to_owned(), "ffffffff81000000".to_owned()),
    ]);
    let state = TerminalState {
        memory: Memory::Changed(ChangedPages::new(vec![3, 0x1_0000], bytes).unwrap()),
        registers: Registers::try_from(registers).unwrap(),
        log: vec![
            "sha256: 240 steps".to_owned(),
            String::new(),
            "Ende".to_owned(),
        ],
        disk: BTreeMap::new(),
        files: BTreeMap::from([
            ("empty".to_owned(), Vec::new()),
            ("result".to_owned(), vec![1, 2, 3]),
        ]),
        metrics: vec![MetricSample {
            name: "instructions".to_owned(),
            value: 1e9,
            exact: true,
        }],
        outcome: Outcome::Crashed("triple fault".to_owned()),
        result_digest: Some("00ff".to_owned()),
        exit_status: None,
    };
    let provenance = Provenance {
        hypervisor: "qemu 10.0.2".to_owned(),
        accelerator: "tcg".to_owned(),
        computation: "sha256".to_owned(),
        // What all machines were when this version was written.
        vcpus: 1,
        icount: true,
        memory_bytes: 128 << 20,
        seed: u64::MAX,
        ..Provenance::default()
    };
    let base_digest = "ab12".to_owned();
    StateFile {
        state,
        origin: Origin {
            provenance,
            base_digest,
        },
    }
}

fn written(file: &StateFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_state(&file.state, &file.origin, &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<StateFile, StateFileError> {
    read_state(&mut &*bytes)
}

/// Replaces the digest at the end by the one that fits.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
    bytes
}

fn with_byte(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = written(&sample());
    bytes[at] = value;
    bytes
}

#[test]
fn what_is_written_is_read_again() {
    let file = sample();
    assert_eq!(read(&written(&file)).unwrap(), file);
}

#[test]
fn a_full_image_is_read_again() {
    let mut file = sample();
    file.state.memory = Memory::Full(vec![9; 3 * PAGE_BYTES]);
    assert_eq!(read(&written(&file)).unwrap(), file);
}

#[test]
fn format_version_1_is_still_read() {
    assert_eq!(read(GOLDEN).unwrap(), sample());
}

#[test]
fn another_version_and_another_kind_are_refused_by_name() {
    let error = read(&with_byte(10, 2)).unwrap_err();
    assert!(matches!(error, StateFileError::OtherVersion { version: 2 }));
    assert!(error.to_string().contains("format version 2"));
    let error = read(&with_byte(8, 7)).unwrap_err();
    assert!(matches!(error, StateFileError::OtherKind { kind: 7 }));
    let error = read(&with_byte(0, b'X')).unwrap_err();
    assert!(matches!(error, StateFileError::NotAStateFile));
}

#[test]
fn every_cut_is_noticed() {
    let bytes = written(&sample());
    for length in (0..600).chain(bytes.len() - 600..bytes.len()) {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, StateFileError::Truncated { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn what_follows_the_end_is_noticed() {
    let mut bytes = written(&sample());
    bytes.push(0);
    assert!(matches!(read(&bytes), Err(StateFileError::Trailing)));
}

#[test]
fn one_flipped_bit_of_the_memory_is_noticed() {
    let at = written(&sample()).len() - 33;
    assert!(matches!(
        read(&with_byte(at, 0x54)),
        Err(StateFileError::Damaged)
    ));
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut bytes = written(&sample());
    bytes[12..20].copy_from_slice(&(16_u64 << 20).to_le_bytes());
    assert!(matches!(
        read(&bytes),
        Err(StateFileError::Truncated { .. })
    ));
    bytes[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(read(&bytes), Err(StateFileError::TooLong { .. })));
}

#[test]
fn page_numbers_that_do_not_ascend_are_refused() {
    let mut bytes = written(&sample());
    let numbers = bytes.len() - 32 - 2 * PAGE_BYTES - 8 - 16;
    bytes[numbers] = 0xff;
    bytes[numbers + 4] = 0xff;
    assert!(matches!(
        read(&signed(bytes)),
        Err(StateFileError::Memory { .. })
    ));
}

#[test]
fn a_log_line_that_holds_a_line_feed_is_not_written() {
    let mut file = sample();
    file.state.log = vec!["two\nlines".to_owned()];
    let result = write_state(&file.state, &file.origin, &mut Vec::new());
    assert!(matches!(
        result,
        Err(StateFileError::Log { action: "write" })
    ));
}

#[test]
fn a_metric_that_json_cannot_hold_is_not_written() {
    let mut file = sample();
    file.state.metrics[0].value = f64::INFINITY;
    let result = write_state(&file.state, &file.origin, &mut Vec::new());
    assert!(matches!(result, Err(StateFileError::Metric { .. })));
}

/// Writes the golden file; run by hand once, when a format version is new.
#[test]
#[ignore = "writes the golden file of a new format version"]
fn write_golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/state-v1.vdstate");
    std::fs::write(path, written(&sample())).unwrap();
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Ended),
        Just(Outcome::Hung),
        "[ -~]{0,9}".prop_map(Outcome::Crashed),
    ]
}

fn any_memory() -> impl Strategy<Value = Memory> {
    let numbers = prop::collection::btree_set(0..state::MAX_PAGE_NUMBERS, 0..3);
    prop_oneof![
        (numbers, any::<u8>()).prop_map(|(numbers, byte)| {
            let bytes = vec![byte; numbers.len() * PAGE_BYTES];
            Memory::Changed(ChangedPages::new(numbers.into_iter().collect(), bytes).unwrap())
        }),
        (0..3_usize).prop_map(|pages| Memory::Full(vec![7; pages * PAGE_BYTES])),
    ]
}

fn any_state() -> impl Strategy<Value = TerminalState> {
    let registers = prop::collection::btree_map("[a-z]{1,4}", "[0-9a-f]{1,16}", 0..4);
    let log = prop::collection::vec("[^\n]{0,12}", 0..4);
    let files =
        prop::collection::btree_map(".{0,5}", prop::collection::vec(any::<u8>(), 0..20), 0..3);
    let metrics = prop::collection::vec((".{0,5}", -1e9_f64..1e9, any::<bool>()), 0..3);
    let digest = prop::option::of("[0-9a-f]{1,8}");
    let exit = prop::option::of(".{0,8}");
    (
        any_memory(),
        registers,
        log,
        files,
        metrics,
        any_outcome(),
        (digest, exit),
    )
        .prop_map(
            |(memory, registers, log, files, metrics, outcome, (result_digest, exit_status))| {
                TerminalState {
                    memory,
                    registers: Registers::try_from(registers).unwrap(),
                    log,
                    files,
                    disk: BTreeMap::new(),
                    metrics: metrics
                        .into_iter()
                        .map(|(name, value, exact)| MetricSample { name, value, exact })
                        .collect(),
                    outcome,
                    result_digest,
                    exit_status,
                }
            },
        )
}

proptest! {
    #[test]
    fn any_state_survives(state in any_state(), seed: u64) {
        let mut origin = Origin::default();
        origin.provenance.seed = seed;
        let file = StateFile { state, origin };
        prop_assert_eq!(read(&written(&file)).unwrap(), file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Bytes before the memory are changed at random and the digest is made to fit, so that the
    /// parsers behind the digest are reached too.
    #[test]
    fn no_mutation_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = GOLDEN.to_vec();
        let memory = bytes.len() - 32 - 2 * PAGE_BYTES;
        for (at, value) in changes {
            bytes[at.index(memory)] = value;
        }
        let mut bytes = signed(bytes);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(file) = read(&bytes) {
            prop_assert_eq!(read(&written(&file)).unwrap(), file);
        }
    }
}
