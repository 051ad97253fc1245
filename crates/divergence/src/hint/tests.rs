use super::*;
use model::{GuestPhysicalAddress, Locus, Part};
use proptest::prelude::*;
use surroundings::EarlierDeviation;

fn word(address: u64, expected: u64, found: u64) -> Difference {
    let shown = |value: u64| format!("{:016x}", value.swap_bytes());
    Difference {
        part: Part::Memory,
        locus: Locus::Address(GuestPhysicalAddress(address)),
        expected: Some(shown(expected)),
        found: shown(found),
        flipped_bits: Vec::new(),
        symbol: None,
        explanation: None,
    }
}

fn core(core: u32) -> Core {
    Core {
        host: "h".to_owned(),
        socket: Some(0),
        core,
    }
}

fn ranked_on(differences: &[Difference], on: u32, surroundings: &Surroundings) -> Vec<Hint> {
    rank(&Subject {
        differences,
        traces: &Traces::default(),
        deterministic: true,
        code: Some(0x100_0000..0x200_0000),
        core: Some(&core(on)),
        surroundings,
    })
}

fn find(hints: &[Hint], class: HintClass) -> &Hint {
    hints.iter().find(|hint| hint.class == Some(class)).unwrap()
}

/// Checks which class comes first, and gives its hint.
fn check(differences: &[Difference], surroundings: &Surroundings, class: HintClass) -> Hint {
    let hints = ranked_on(differences, 3, surroundings);
    let first = hints[0].clone();
    assert_eq!(first.class, Some(class), "{hints:#?}");
    first
}

#[test]
fn one_bit_of_memory_is_a_cell_and_the_ratio_is_the_published_share() {
    let first = check(
        &[word(0x3000, 7, 5)],
        &Surroundings::default(),
        HintClass::MemoryCell,
    );
    // 55 % of faults of DRAM against the 10 % of the background.
    assert!((first.likelihood_ratio.unwrap() - 5.5).abs() < 1e-9);
    assert!(first.sources[0].contains("HPCA 2023"), "{first:?}");
    assert!(first.reason.contains("one bit of one word"));
}

#[test]
fn code_that_changed_speaks_for_memory() {
    let ratio = |address| {
        let hints = ranked_on(&[word(address, 7, 5)], 3, &Surroundings::default());
        find(&hints, HintClass::MemoryCell)
            .likelihood_ratio
            .unwrap()
    };
    assert!(ratio(0x100_0008) > 4.0 * ratio(0x200_0008));
}

/// Earlier runs of four replicas each, which deviated on these cores in these pages.
fn earlier(places: &[(u32, u64)]) -> Surroundings {
    let one = |&(on, page): &(u32, u64)| EarlierDeviation {
        core: core(on),
        cores: [on, 3, 7, 9].map(core).to_vec(),
        pages: [page].into(),
    };
    Surroundings {
        earlier: places.iter().map(one).collect(),
        ..Surroundings::default()
    }
}

/// Words that have nothing in common, each wrong in a few bits.
fn scattered() -> Vec<Difference> {
    let one = |at: u64| {
        let expected = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word(
            at * 0x1008,
            expected,
            expected ^ at.wrapping_mul(0x0100_0400_0021),
        )
    };
    (1..20).map(one).collect()
}

#[test]
fn deviations_that_follow_a_core_speak_for_it() {
    let first = check(
        &scattered(),
        &earlier(&[(3, 90), (3, 91), (3, 92)]),
        HintClass::CoreLocalDefect,
    );
    assert!(
        first.reason.contains("3 of 3 earlier deviations"),
        "{first:?}"
    );
    assert!(
        first
            .sources
            .iter()
            .any(|source| source.contains("SiliFuzz"))
    );
    let likely = |places: &[(u32, u64)]| {
        let hints = ranked_on(&scattered(), 3, &earlier(places));
        find(&hints, HintClass::CoreLocalDefect)
            .probability
            .unwrap()
    };
    let elsewhere = likely(&[(7, 90), (9, 91), (7, 92)]);
    assert!(elsewhere < likely(&[]) && likely(&[]) < likely(&[(3, 90)]));
}

#[test]
fn a_page_that_stays_wrong_on_other_cores_speaks_for_memory() {
    let differences = [word(0x5a000, 0x0f, 0x0d), word(0x5a108, 0x1f, 0x0f)];
    check(
        &differences,
        &earlier(&[(7, 0x5a), (9, 0x5a)]),
        HintClass::MemoryCell,
    );
}

#[test]
fn one_mask_in_many_words_is_a_data_path() {
    let mask = 1 << 37;
    let words: Vec<Difference> = (1..12_u64)
        .map(|at| (at * 0x1010, at.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .map(|(address, value)| word(address, value, value ^ mask))
        .collect();
    let first = check(&words, &Surroundings::default(), HintClass::FixedBitMask);
    assert!(first.reason.contains("11 of 11 words (100 %)"), "{first:?}");
}

#[test]
fn last_digits_of_many_doubles_are_another_path() {
    let words: Vec<Difference> = (1..40_u64)
        .map(|at| (at * 8, (at as f64 * 1.37).to_bits()))
        .map(|(address, value)| word(address, value, value + address / 8 % 3 + 1))
        .collect();
    check(&words, &Surroundings::default(), HintClass::CodePath);
}

#[test]
fn values_in_another_order_are_a_race_and_addresses_a_list() {
    let swap = |one, other| [word(0x1000, one, other), word(0x9000, other, one)];
    check(
        &swap(0x1234_5678_9abc, 0x9abc_def0_1234_5678),
        &Surroundings::default(),
        HintClass::SoftwareRace,
    );
    let list = swap(0xffff_8880_0123_4560, 0xffff_8880_0765_4320);
    check(&list, &Surroundings::default(), HintClass::Nondeterminism);
}

#[test]
fn zeros_over_a_sector_are_storage() {
    let words: Vec<Difference> = (0..64_u64)
        .map(|at| {
            word(
                0x3000 + at * 8,
                at.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                0,
            )
        })
        .collect();
    let first = check(&words, &Surroundings::default(), HintClass::Storage);
    assert!(
        first.reason.contains("64 words of 1 page are zero"),
        "{first:?}"
    );
}

#[test]
fn figures_that_contradict_each_other_are_both_told() {
    // Signs and exponents of doubles, which one study hardly knows and the other often sees.
    let words: Vec<Difference> = (1..6_u64)
        .map(|at| (at * 0x1018, (at as f64 * 1.37).to_bits()))
        .zip([63, 61, 58, 60, 55])
        .map(|((address, value), bit)| word(address, value, value ^ 1 << bit))
        .collect();
    let hints = ranked_on(&words, 3, &Surroundings::default());
    let hint = find(&hints, HintClass::FloatField);
    let [conflict] = hint.conflicts.as_slice() else {
        panic!("{hint:?}");
    };
    let [alibaba, sevi] = conflict.figures.as_slice() else {
        panic!("{conflict:?}");
    };
    assert!(alibaba.source.contains("SOSP 2023") && sevi.source.contains("SEVI"));
    assert!(
        alibaba.likelihood_ratio < 0.1 && sevi.likelihood_ratio > 1.0,
        "{conflict:?}"
    );
    for source in [&alibaba.source, &sevi.source] {
        assert!(hint.sources.contains(source), "{hint:?}");
    }
}

#[test]
fn a_golden_value_is_not_contradicted_by_many_cores_at_once() {
    let on = |cores: &[u32]| Surroundings {
        cores: (0..)
            .map(ReplicaIndex)
            .zip(cores.iter().map(|&one| core(one)))
            .collect(),
        portable: true,
        ..Surroundings::default()
    };
    let likely = |cores: &[u32]| {
        let hints = rank_golden(false, &on(cores));
        find(&hints, HintClass::CoreLocalDefect)
            .probability
            .unwrap()
    };
    assert!(likely(&[1, 1, 1]) > 10.0 * likely(&[1, 2, 3]));
}

/// One word in which a few bits are wrong, and what the memory around it says.
fn likely(traces: &Traces, found: u64, class: HintClass) -> f64 {
    let hints = rank(&Subject {
        differences: &[word(0x3000, 0x1234_5678_9abc_def0, found)],
        traces,
        deterministic: true,
        code: None,
        core: None,
        surroundings: &Surroundings::default(),
    });
    find(&hints, class).probability.unwrap()
}

#[test]
fn what_nothing_has_written_is_no_processors_fault() {
    let seen = |untouched: &[u64]| Traces {
        held_against_snapshot: 1,
        untouched: untouched.iter().copied().collect(),
        ..Traces::default()
    };
    let bit = 0x1234_5678_9abc_def1;
    let core = |traces: &Traces| likely(traces, bit, HintClass::CoreLocalDefect);
    let cell = |traces: &Traces| likely(traces, bit, HintClass::MemoryCell);
    let (written, untouched) = (seen(&[]), seen(&[0x3000]));
    assert!(core(&untouched) < 0.1 * core(&written));
    assert!(cell(&untouched) > cell(&written) && cell(&untouched) > 0.95);
    // What is not known says nothing.
    let unknown = cell(&Traces::default());
    assert!(cell(&written) < unknown && unknown < cell(&untouched));
}

#[test]
fn where_what_was_written_ends_a_copy_stopped_short() {
    let at = |bytes_before, bytes_after| Traces {
        held_against_snapshot: 1,
        stretch: Some(traces::Stretch {
            bytes_before,
            bytes_after,
        }),
        ..Traces::default()
    };
    // Other bytes in the lower half of the word.
    let tail = 0x1234_5678_6543_210f;
    let short = |traces: &Traces| likely(traces, tail, HintClass::StringUndershoot);
    assert!(short(&at(200, 0)) > 0.85);
    assert!(short(&at(0, 0)) < 0.3);
    assert!(likely(&at(0, 0), tail, HintClass::Coherence) > 0.5);
}

#[test]
fn another_value_is_no_wrong_result() {
    let ratio = |found| {
        let core = likely(&Traces::default(), found, HintClass::CoreLocalDefect);
        core / likely(&Traces::default(), found, HintClass::StringUndershoot)
    };
    assert!(ratio(0x1634_5678_9a3c_dcf2) > 20.0 * ratio(!0x1234_5678_9abc_def0));
}

#[test]
fn what_stands_as_it_was_struck_tells_the_cause_of_a_flood() {
    let register = Difference {
        part: Part::Register,
        locus: Locus::Name("rax".to_owned()),
        expected: Some("1".to_owned()),
        ..word(0, 0, 2)
    };
    let all: Vec<Difference> = scattered().into_iter().chain([register]).collect();
    let lane = (0..8_u64).map(|at| traces::KeptWord {
        address: 0x7000 + 64 * at,
        expected: at.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        found: at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (0x8000_0100_0040 + at),
    });
    let ranked = |kept: Vec<traces::KeptWord>| {
        rank(&Subject {
            differences: &all,
            traces: &Traces {
                words: 5_000,
                kept,
                ..Traces::default()
            },
            deterministic: true,
            code: None,
            core: None,
            surroundings: &Surroundings::default(),
        })
    };
    let flood = ranked(Vec::new());
    assert!(find(&flood, HintClass::VectorLane).probability.unwrap() < 0.3);
    let told = ranked(lane.collect());
    assert_eq!(told[0].class, Some(HintClass::VectorLane), "{told:#?}");
    assert!(told[0].probability.unwrap() > 0.6);
    assert!(told[0].reason.contains("5000 words"), "{:?}", told[0]);
}

proptest! {
    #[test]
    fn any_differences_have_probabilities_that_add_up_to_one(
        words in prop::collection::vec((0_u64..1 << 24, any::<u64>(), any::<u64>()), 0..40),
        history in prop::collection::vec((0_u32..5, 0_u64..64), 0..40),
        text in "\\PC*",
    ) {
        let mut differences: Vec<Difference> = words
            .iter()
            .map(|&(address, expected, found)| word(address & !7, expected, found))
            .collect();
        differences.push(Difference { part: Part::File, found: text, ..word(0, 0, 0) });
        let hints = ranked_on(&differences, 3, &earlier(&history));
        let total: f64 = hints.iter().filter_map(|hint| hint.probability).sum();
        prop_assert!((total - 1.0).abs() < 1e-9);
        prop_assert_eq!(hints.len(), HintClass::ALL.len());
        for hint in hints {
            let ratio = hint.likelihood_ratio.unwrap();
            prop_assert!(ratio.is_finite() && ratio > 0.0);
            prop_assert!(!hint.reason.is_empty());
        }
    }
}
