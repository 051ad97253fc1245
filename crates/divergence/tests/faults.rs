//! Deliberate faults: each detector is shown to detect, and to stay silent where it must.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use divergence::{
    Analysis, AnalysisError, Context, FindingDraft, NotCompared, Options, Replica, analyse,
};
use introspection::{KernelMap, SymbolTable};
use model::{
    Difference, FindingKind, HintClass, Locus, MetricSample, Outcome, PAGE_BYTES, Part,
    ReplicaIndex, Severity, Verdict,
};
use state::{Base, ChangedPages, Memory, Registers, TerminalState};
use std::collections::BTreeMap;

const TOTAL_BYTES: u64 = 64 * PAGE_BYTES as u64;
const PAGES: [u64; 3] = [2, 3, 7];

/// The state in which a faultless replica ends.
fn good() -> TerminalState {
    let registers = [("rax", "00000000000000ff"), ("rip", "ffffffff81000000")];
    let registers: BTreeMap<String, String> = registers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    TerminalState {
        memory: memory(&[]),
        registers: Registers::try_from(registers).unwrap(),
        log: vec!["start".to_owned(), "end".to_owned()],
        files: BTreeMap::from([("out".to_owned(), b"0123456789abcdef".to_vec())]),
        disk: BTreeMap::new(),
        metrics: vec![
            metric("instructions", 1e9, true),
            metric("wall_s", 1.5, false),
        ],
        outcome: Outcome::Ended,
        result_digest: Some("d1".to_owned()),
        exit_status: None,
    }
}

fn metric(name: &str, value: f64, exact: bool) -> MetricSample {
    MetricSample {
        name: name.to_owned(),
        value,
        exact,
    }
}

/// The pages that every replica changes, with some words (address, value) on top.
fn memory(words: &[(u64, u64)]) -> Memory {
    let mut bytes: Vec<u8> = PAGES
        .iter()
        .flat_map(|page| [*page as u8; PAGE_BYTES])
        .collect();
    for (address, value) in words {
        let page = PAGES
            .iter()
            .position(|page| *page == address / 4096)
            .unwrap();
        let at = page * PAGE_BYTES + (address % 4096) as usize;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    Memory::Changed(ChangedPages::new(PAGES.to_vec(), bytes).unwrap())
}

/// What a word of page 3 holds in a faultless replica, and an address in it.
const WORD: u64 = 0x0303_0303_0303_0303;
const ADDRESS: u64 = 0x3008;

fn context() -> Context<'static> {
    Context {
        base: Base::new(&[], TOTAL_BYTES).unwrap(),
        deterministic: true,
        symbols: None,
        golden: None,
        units: vec!["SHA-256".to_owned()],
        host_units_exercised: false,
        not_compared: Vec::new(),
        history: None,
        aligned: None,
    }
}

fn analysed(states: &[TerminalState], context: &Context<'_>, options: &Options) -> Analysis {
    let replicas: Vec<Replica<'_>> = (0..)
        .map(ReplicaIndex)
        .zip(states)
        .map(|(index, state)| Replica { index, state })
        .collect();
    analyse(&replicas, context, options).unwrap()
}

fn run(states: &[TerminalState]) -> Analysis {
    analysed(states, &context(), &Options::default())
}

/// A fault, and the position of the replica that gets it.
type Fault<'a> = (usize, &'a dyn Fn(&mut TerminalState));

/// `count` faultless replicas, some of them changed by a fault.
fn with_faults(count: usize, faults: &[Fault<'_>]) -> Vec<TerminalState> {
    let mut states = vec![good(); count];
    for (replica, fault) in faults {
        fault(&mut states[*replica]);
    }
    states
}

/// Checks a verdict and who deviates.
fn check(analysis: &Analysis, verdict: Verdict, deviating: &[u32]) {
    assert_eq!(analysis.verdict, verdict, "{}", analysis.reason);
    let named: Vec<u32> = analysis
        .deviations
        .iter()
        .filter_map(|one| Some(one.replica?.0))
        .collect();
    assert_eq!(named, deviating, "{}", analysis.reason);
    assert!(!analysis.reason.is_empty());
    for deviation in &analysis.deviations {
        assert_eq!(deviation.first.as_ref(), deviation.differences.first());
        assert!(deviation.score > 0.0);
    }
}

/// Checks that a fault in replica 1 of 3, of 5 and of 2 is seen, and returns the first difference
/// that names it.
fn check_fault(part: Part, kind: FindingKind, fault: &dyn Fn(&mut TerminalState)) -> Difference {
    for count in [3, 5] {
        let analysis = run(&with_faults(count, &[(1, fault)]));
        check(&analysis, Verdict::Deviates, &[1]);
        assert_eq!(only(&analysis).kind, kind);
        assert_eq!(only(&analysis).replica, Some(ReplicaIndex(1)));
        assert_eq!(differing(&analysis), [1]);
        assert_eq!(analysis.majority_replica, Some(ReplicaIndex(0)));
        assert_eq!(analysis.coverage.upper_bound, None);
    }
    let analysis = run(&with_faults(2, &[(1, fault)]));
    check(&analysis, Verdict::Deviates, &[]);
    assert_eq!(analysis.deviations.len(), 1);
    assert_eq!(only(&analysis).kind, kind);
    assert_eq!(differing(&analysis), [0, 1]);
    assert_eq!(analysis.majority_replica, None);
    assert_eq!(
        analysis.deviations[0].first.as_ref().unwrap().expected,
        None
    );

    let named = run(&with_faults(3, &[(1, fault)]));
    let first = named.deviations[0].first.clone().unwrap();
    assert_eq!(first.part, part);
    first
}

fn only(analysis: &Analysis) -> &FindingDraft {
    assert_eq!(analysis.findings.len(), 1);
    &analysis.findings[0]
}

fn differing(analysis: &Analysis) -> Vec<u32> {
    let differing = analysis.replicas.iter().filter(|one| one.differs);
    differing.map(|one| one.index.0).collect()
}

fn flip(state: &mut TerminalState) {
    state.memory = memory(&[(ADDRESS, WORD ^ (1 << 42))]);
}

fn other_result(state: &mut TerminalState) {
    state.result_digest = Some("bad".to_owned());
}

fn hang(state: &mut TerminalState) {
    state.outcome = Outcome::Hung;
}

#[test]
fn equal_replicas_pass() {
    for count in [2, 3, 5] {
        let analysis = run(&vec![good(); count]);
        check(&analysis, Verdict::Pass, &[]);
        assert!(analysis.findings.is_empty());
        assert_eq!(differing(&analysis), [0_u32; 0]);
        let bytes_each = (PAGES.len() * PAGE_BYTES + 32 + 8 + 16) as u64;
        assert_eq!(analysis.coverage.bytes_compared, count as u64 * bytes_each);
        assert_eq!(
            analysis.bytes_shared,
            count as u64 * (TOTAL_BYTES - 3 * 4096)
        );
    }
    let bound = run(&vec![good(); 5]).coverage.upper_bound.unwrap();
    assert!((bound - 0.450_720).abs() < 1e-6);
}

#[test]
fn one_bit_of_memory_is_named() {
    let first = check_fault(Part::Memory, FindingKind::LatentDifference, &flip);
    assert_eq!(first.locus.to_string(), "0x3008");
    assert_eq!(first.expected.as_deref(), Some("0303030303030303"));
    assert_eq!(first.found, "0303030303070303");
    assert_eq!(first.flipped_bits, [42]);
}

#[test]
fn one_bit_of_memory_has_its_counts_digest_and_hint() {
    let analysis = run(&with_faults(5, &[(4, &flip)]));
    let deviation = &analysis.deviations[0];
    assert_eq!(
        (deviation.differing_words, deviation.differing_pages),
        (1, 1)
    );
    let triple = [ADDRESS, WORD, WORD ^ (1 << 42)]
        .map(u64::to_le_bytes)
        .concat();
    let digest = blake3::hash(&triple).to_hex().to_string();
    assert_eq!(deviation.words_digest, Some(digest));
    assert_eq!((deviation.score, deviation.baseline), (1.0, 0.0));
    assert_eq!(deviation.severity, Severity::High);
    assert_eq!(analysis.differing_pages, [3]);
    let finding = only(&analysis);
    assert_eq!(
        finding.summary,
        "replica 4 of 5 holds another state and puts out the same: 1 word of memory"
    );
    assert_eq!(finding.hints[0].class, Some(HintClass::MemoryCell));
    assert_eq!(finding.hints, deviation.hints);
    assert_eq!(analysis.reason, "replica 4 differs from the majority of 5");
}

#[test]
fn a_page_that_only_the_faulty_replica_changed_is_named() {
    let states = with_faults(
        3,
        &[(2, &|state| {
            let mut bytes = vec![0; PAGE_BYTES];
            bytes[0] = 1;
            let Memory::Changed(pages) = &state.memory else {
                panic!("not changed pages")
            };
            let numbers = [pages.numbers(), &[9]].concat();
            let bytes = [pages.bytes(), &bytes].concat();
            state.memory = Memory::Changed(ChangedPages::new(numbers, bytes).unwrap());
        })],
    );
    let analysis = run(&states);
    check(&analysis, Verdict::Deviates, &[2]);
    assert_eq!(
        analysis.deviations[0]
            .first
            .as_ref()
            .unwrap()
            .locus
            .to_string(),
        "0x9000"
    );
}

#[test]
fn a_symbol_is_given_where_it_is_certain() {
    let list = b"ffffffff80003000 D _sdata\nffffffff80003000 D jiffies_64\n\
                 ffffffff80004000 D _edata\n";
    let map = KernelMap::new(SymbolTable::parse_kallsyms(list).unwrap());
    let context = Context {
        symbols: Some(&map),
        ..context()
    };
    let both = |state: &mut TerminalState| state.memory = memory(&[(ADDRESS, 1), (0x7000, 1)]);
    let analysis = analysed(
        &with_faults(3, &[(1, &both)]),
        &context,
        &Options::default(),
    );
    let symbols: Vec<_> = analysis.deviations[0]
        .differences
        .iter()
        .map(|one| &one.symbol)
        .collect();
    assert_eq!(symbols, [&Some("jiffies_64+0x8".to_owned()), &None]);
}

#[test]
fn a_register_is_named() {
    let first = check_fault(Part::Register, FindingKind::LatentDifference, &|state| {
        let mut registers = state.registers.as_map().clone();
        registers.insert("rax".to_owned(), "80000000000000ff".to_owned());
        state.registers = Registers::try_from(registers).unwrap();
    });
    assert_eq!(first.locus, Locus::Name("rax".to_owned()));
    assert_eq!(first.flipped_bits, [63]);
}

#[test]
fn a_missing_register_is_named() {
    let first = check_fault(Part::Register, FindingKind::LatentDifference, &|state| {
        state.registers = Registers::default();
    });
    assert_eq!(first.found, "(absent)");
}

#[test]
fn a_log_line_is_named() {
    let first = check_fault(Part::Log, FindingKind::LatentDifference, &|state| {
        state.log[1] = "End".to_owned();
    });
    assert_eq!(first.locus, Locus::Name("line 2".to_owned()));
    assert_eq!(
        (first.expected.as_deref(), first.found.as_str()),
        (Some("end"), "End")
    );
}

#[test]
fn a_missing_and_an_added_log_line_are_named() {
    let first = check_fault(Part::Log, FindingKind::LatentDifference, &|state| {
        state.log.pop();
    });
    assert_eq!(
        (first.expected.as_deref(), first.found.as_str()),
        (Some("end"), "(absent)")
    );
    let first = check_fault(Part::Log, FindingKind::LatentDifference, &|state| {
        state.log.push("more".to_owned());
    });
    assert_eq!(
        (first.expected.as_deref(), first.found.as_str()),
        (Some("(absent)"), "more")
    );
}

#[test]
fn a_file_is_named() {
    let first = check_fault(Part::File, FindingKind::SilentWrongOutput, &|state| {
        state
            .files
            .insert("out".to_owned(), b"0123456789abcdeg".to_vec());
    });
    assert_eq!(first.locus, Locus::Name("out+0x8".to_owned()));
    assert_eq!(first.flipped_bits, [56]);
}

#[test]
fn a_missing_file_is_named() {
    let first = check_fault(Part::File, FindingKind::SilentWrongOutput, &|state| {
        state.files.clear();
    });
    assert_eq!(first.locus, Locus::Name("out".to_owned()));
    assert_eq!(first.found, "(absent)");
}

#[test]
fn a_wrong_result_is_critical_and_memory_comes_first() {
    let first = check_fault(Part::File, FindingKind::SilentWrongOutput, &other_result);
    assert_eq!(first.locus, Locus::Name("result".to_owned()));
    let both = |state: &mut TerminalState| {
        other_result(state);
        flip(state);
    };
    let analysis = run(&with_faults(3, &[(1, &both)]));
    assert_eq!(
        analysis.deviations[0].first.as_ref().unwrap().part,
        Part::Memory
    );
    assert_eq!(only(&analysis).kind, FindingKind::SilentWrongOutput);
    assert_eq!(analysis.deviations[0].severity, Severity::Critical);
}

#[test]
fn an_exact_metric_is_named() {
    let first = check_fault(Part::Metric, FindingKind::LatentDifference, &|state| {
        state.metrics[0].value += 1.0;
    });
    assert_eq!(first.locus, Locus::Name("instructions".to_owned()));
    assert_eq!(first.found, "1000000001");
}

#[test]
fn a_hung_replica_is_named_and_its_memory_is_still_compared() {
    let first = check_fault(Part::Outcome, FindingKind::Hang, &hang);
    assert_eq!(
        (first.expected.as_deref(), first.found.as_str()),
        (Some("ended"), "hung")
    );
    let both = |state: &mut TerminalState| {
        hang(state);
        flip(state);
    };
    let analysis = run(&with_faults(3, &[(1, &both)]));
    let parts: Vec<Part> = analysis.deviations[0]
        .differences
        .iter()
        .map(|one| one.part)
        .collect();
    assert_eq!(parts, [Part::Outcome, Part::Memory]);
    assert_eq!(analysis.deviations[0].severity, Severity::Medium);
}

#[test]
fn a_crashed_replica_is_named() {
    let first = check_fault(Part::Outcome, FindingKind::Crash, &|state| {
        state.outcome = Outcome::Crashed("triple fault".to_owned());
    });
    assert_eq!(first.found, "crashed (triple fault)");
}

#[test]
fn two_faulty_replicas_of_five_are_both_named() {
    let analysis = run(&with_faults(5, &[(0, &flip), (3, &other_result)]));
    check(&analysis, Verdict::Deviates, &[0, 3]);
    assert_eq!(analysis.findings.len(), 2);
    assert_eq!(analysis.majority_replica, Some(ReplicaIndex(1)));
    assert_eq!(
        analysis.reason,
        "replicas 0, 3 differ from the majority of 5"
    );
}

#[test]
fn a_tie_is_inconclusive() {
    let analysis = run(&with_faults(4, &[(0, &flip), (1, &flip)]));
    check(&analysis, Verdict::Inconclusive, &[]);
    assert_eq!(analysis.undecided_words, 1);
    assert_eq!(only(&analysis).kind, FindingKind::Undecided);
    assert_eq!(only(&analysis).replica, None);
    let first = analysis.deviations[0].first.clone().unwrap();
    let held = "0303030303070303/0303030303070303/0303030303030303/0303030303030303";
    assert_eq!(first.found, held);
    assert_eq!(analysis.differing_pages, [3]);
}

#[test]
fn five_replicas_that_all_differ_are_inconclusive() {
    let states: Vec<TerminalState> = (0..5)
        .map(|value| TerminalState {
            memory: memory(&[(ADDRESS, value)]),
            ..good()
        })
        .collect();
    check(&run(&states), Verdict::Inconclusive, &[]);
}

#[test]
fn what_is_decided_names_somebody_although_more_is_undecided() {
    let values =
        |value| move |state: &mut TerminalState| state.memory = memory(&[(ADDRESS, value)]);
    let third = |state: &mut TerminalState| state.memory = memory(&[(ADDRESS, 3), (0x2000, 3)]);
    let analysis = run(&with_faults(
        3,
        &[(0, &values(1)), (1, &values(2)), (2, &third)],
    ));
    check(&analysis, Verdict::Deviates, &[2]);
    assert_eq!(analysis.undecided_words, 1);
    let reason = "replica 2 differs from the majority of 3; 1 more difference has no majority";
    assert_eq!(analysis.reason, reason);
    assert_eq!(analysis.majority_replica, Some(ReplicaIndex(0)));
    assert_eq!(analysis.differing_pages, [2, 3]);
}

#[test]
fn two_replicas_differ_and_a_golden_value_may_tell_which() {
    let states = with_faults(2, &[(1, &other_result)]);
    let context = Context {
        golden: Some("d1"),
        ..context()
    };
    let analysis = analysed(&states, &context, &Options::default());
    check(&analysis, Verdict::Deviates, &[]);
    assert!(
        analysis
            .reason
            .ends_with("replica 1 contradicts the golden value")
    );
    assert_eq!(
        analysis.deviations[0].first.as_ref().unwrap().found,
        "d1/bad"
    );
}

#[test]
fn the_words_digest_of_two_replicas_takes_the_first_as_expected() {
    let analysis = run(&with_faults(2, &[(1, &flip)]));
    let triple = [ADDRESS, WORD, WORD ^ (1 << 42)]
        .map(u64::to_le_bytes)
        .concat();
    let digest = blake3::hash(&triple).to_hex().to_string();
    assert_eq!(analysis.deviations[0].words_digest, Some(digest));
    assert_eq!(
        analysis.deviations[0].first.as_ref().unwrap().flipped_bits,
        [42]
    );
}

#[test]
fn a_golden_value_that_all_contradict_is_a_finding_and_nobody_deviates() {
    let context = Context {
        golden: Some("other"),
        ..context()
    };
    let analysis = analysed(&vec![good(); 3], &context, &Options::default());
    check(&analysis, Verdict::Deviates, &[]);
    assert!(analysis.deviations.is_empty());
    assert_eq!(only(&analysis).kind, FindingKind::GoldenMismatch);
    assert_eq!(only(&analysis).severity, Severity::Critical);
    assert_eq!(only(&analysis).hints.len(), 4);
}

#[test]
fn a_golden_value_that_all_confirm_is_a_pass() {
    let context = Context {
        golden: Some("d1"),
        ..context()
    };
    check(
        &analysed(&vec![good(); 3], &context, &Options::default()),
        Verdict::Pass,
        &[],
    );
}

#[test]
fn one_replica_is_skipped_and_its_golden_value_still_speaks() {
    check(&run(&[good()]), Verdict::Skipped, &[]);
    check(&run(&[]), Verdict::Skipped, &[]);
    let context = Context {
        golden: Some("other"),
        ..context()
    };
    let analysis = analysed(&[good()], &context, &Options::default());
    check(&analysis, Verdict::Skipped, &[]);
    assert_eq!(only(&analysis).kind, FindingKind::GoldenMismatch);
}

#[test]
fn nothing_compared_is_never_a_pass() {
    let analysis = run(&vec![TerminalState::default(); 5]);
    check(&analysis, Verdict::Skipped, &[]);
    assert!(analysis.reason.starts_with("nothing was compared"));
    assert_eq!(analysis.coverage.bytes_compared, 0);
    assert_eq!(analysis.coverage.upper_bound, None);
}

#[test]
fn when_no_replica_ended_the_run_is_skipped() {
    let analysis = run(&with_faults(3, &[(0, &hang), (1, &hang), (2, &hang)]));
    check(&analysis, Verdict::Skipped, &[]);
    assert_eq!(analysis.reason, "no replica ended: all 3 hung");
    assert_eq!(analysis.coverage.bytes_compared, 0);
}

#[test]
fn a_majority_that_hung_does_not_accuse_the_one_that_ended() {
    let analysis = run(&with_faults(3, &[(0, &hang), (1, &hang)]));
    check(&analysis, Verdict::Inconclusive, &[]);
    assert_eq!(analysis.reason, "only 1 of 3 replicas ended");
    assert_eq!(
        analysis.deviations[0].first.as_ref().unwrap().found,
        "hung/hung/ended"
    );
}

fn inexact() -> Context<'static> {
    Context {
        deterministic: false,
        ..context()
    }
}

#[test]
fn noise_of_an_inexact_machine_accuses_nobody() {
    let register = |state: &mut TerminalState| state.registers = Registers::default();
    for fault in [&flip as &dyn Fn(&mut TerminalState), &register] {
        for count in [2, 3, 5] {
            let states = with_faults(count, &[(1, fault)]);
            let analysis = analysed(&states, &inexact(), &Options::default());
            check(&analysis, Verdict::Inconclusive, &[]);
            assert!(analysis.findings.is_empty());
            assert_eq!(differing(&analysis), [0_u32; 0]);
        }
    }
}

#[test]
fn its_own_counts_may_differ_on_an_inexact_machine() {
    let count = |state: &mut TerminalState| state.metrics[0].value += 7.0;
    let states = with_faults(3, &[(1, &count)]);
    check(
        &analysed(&states, &inexact(), &Options::default()),
        Verdict::Pass,
        &[],
    );
}

#[test]
fn a_wrong_output_of_an_inexact_machine_is_named_and_noise_does_not_raise_it() {
    let wild: Vec<(u64, u64)> = (0..512).map(|word| (0x3000 + 8 * word, word)).collect();
    let noise = |state: &mut TerminalState| state.memory = memory(&wild);
    let line = |state: &mut TerminalState| {
        noise(state);
        state.log[0] = "Start".to_owned();
    };
    let states = with_faults(5, &[(0, &noise), (1, &line), (2, &noise)]);
    let analysis = analysed(&states, &inexact(), &Options::default());
    check(&analysis, Verdict::Deviates, &[1]);
    assert_eq!(analysis.deviations[0].score, 1.0);
    assert_eq!(analysis.deviations[0].severity, Severity::High);
    assert_eq!(
        only(&analysis).summary.split(": ").last(),
        Some("1 log line")
    );
}

#[test]
fn wide_differences_are_worse_and_lists_are_bounded() {
    let wild: Vec<(u64, u64)> = (0..512).map(|word| (0x3000 + 8 * word, word)).collect();
    let fault = |state: &mut TerminalState| {
        state.memory = memory(&wild);
        state.log[0] = "Start".to_owned();
    };
    let options = Options::new(1.0, 8).unwrap();
    let analysis = analysed(&with_faults(3, &[(1, &fault)]), &context(), &options);
    let deviation = &analysis.deviations[0];
    assert_eq!(deviation.severity, Severity::Critical);
    assert_eq!((deviation.score, deviation.differences_total), (512.0, 513));
    assert_eq!(deviation.differences.len(), 8);
    assert_eq!(deviation.differences[7].part, Part::Log);
}

fn with_wall_times(times: &[f64]) -> Vec<TerminalState> {
    let state = |time: &f64| {
        let mut state = good();
        state.metrics[1].value = *time;
        state
    };
    times.iter().map(state).collect()
}

#[test]
fn few_values_of_a_metric_are_reported_and_not_judged() {
    let analysis = run(&with_wall_times(&[1.0, 1.0, 100.0]));
    check(&analysis, Verdict::Pass, &[]);
    assert!(analysis.findings.is_empty());
    assert_eq!(analysis.metrics.len(), 3);
    assert!(analysis.metrics[2].robust_z > 1000.0);
    assert_eq!(analysis.metrics[2].score, None);
}

#[test]
fn a_metric_out_of_the_ordinary_is_information_and_moves_with_the_multiplier() {
    let states = with_wall_times(&[1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.03, 1.5]);
    let found = |multiplier| {
        let options = Options::new(multiplier, 256).unwrap();
        let analysis = analysed(&states, &context(), &options);
        check(&analysis, Verdict::Pass, &[]);
        analysis.findings
    };
    let findings = found(1.0);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].kind, FindingKind::MetricDeviation);
    assert_eq!(findings[0].severity, Severity::Low);
    assert_eq!(findings[0].replica, Some(ReplicaIndex(7)));
    assert!(found(3.0).is_empty());
    assert!(found(0.001).len() > 1);
}

#[test]
fn the_multiplier_moves_nothing_where_the_baseline_is_0() {
    let states = with_faults(3, &[(1, &flip)]);
    for multiplier in [0.001, 1000.0] {
        let options = Options::new(multiplier, 256).unwrap();
        check(
            &analysed(&states, &context(), &options),
            Verdict::Deviates,
            &[1],
        );
    }
}

#[test]
fn what_was_left_out_is_stated() {
    let context = Context {
        not_compared: vec![NotCompared {
            reason: "video memory".to_owned(),
            bytes: 16,
        }],
        ..context()
    };
    let coverage = analysed(&vec![good(); 3], &context, &Options::default()).coverage;
    assert_eq!(coverage.bytes_not_compared, 16);
    assert_eq!(coverage.not_compared_reasons, ["video memory"]);
    assert_eq!(coverage.units, ["SHA-256"]);
    assert!(!coverage.host_units_exercised);
}

#[test]
fn one_replica_given_twice_is_refused() {
    let state = good();
    let replica = Replica {
        index: ReplicaIndex(4),
        state: &state,
    };
    let refused = analyse(&[replica, replica], &context(), &Options::default());
    assert_eq!(refused, Err(AnalysisError::Repeated(ReplicaIndex(4))));
}

#[test]
fn a_state_that_does_not_fit_the_snapshot_is_refused() {
    let state = TerminalState {
        memory: Memory::Full(vec![0; PAGE_BYTES]),
        ..good()
    };
    let replicas = [0, 1].map(|index| Replica {
        index: ReplicaIndex(index),
        state: &state,
    });
    let refused = analyse(&replicas, &context(), &Options::default());
    assert!(matches!(refused, Err(AnalysisError::Compare(_))));
}
