//! Hints: each class is said first where its fault shows and what is known points to it, and is
//! unlikely where nothing does.
//!
//! The states hold random words, doubles, addresses and code, so that forms of each kind can be made.

use crate::case::{Case, Fault, TOTAL_PAGES, analysed, good, set_register};
use divergence::hint::Machine;
use divergence::hint::surroundings::{Age, Core, Crossed, EarlierDeviation, Heat, Surroundings};
use model::{HintClass, Outcome, PAGE_BYTES, ReplicaIndex};
use state::{ChangedPages, Memory, TerminalState};

/// What is known besides.
type Known = fn() -> Surroundings;

/// Less likely than this is a class to which nothing points.
const UNLIKELY: f64 = 0.10;

/// One line of the table.
pub(crate) struct HintCase {
    pub(crate) class: HintClass,
    pub(crate) first: bool,
    fault: Fault,
    known: Known,
    deterministic: bool,
}

impl HintCase {
    fn first(class: HintClass, fault: Fault) -> Self {
        Self {
            class,
            first: true,
            fault,
            known: Surroundings::default,
            deterministic: true,
        }
    }

    fn absent(class: HintClass, fault: Fault) -> Self {
        Self {
            first: false,
            ..Self::first(class, fault)
        }
    }

    fn knowing(self, known: Known) -> Self {
        Self { known, ..self }
    }

    fn inexact(self) -> Self {
        Self {
            deterministic: false,
            ..self
        }
    }
}

/// Where random words, doubles, addresses and code lie.
const WORDS: u64 = 0x2000;
const DOUBLES: u64 = 34 * 0x1000;
const POINTERS: u64 = 38 * 0x1000;
const CODE: std::ops::Range<u64> = 40 * 0x1000..48 * 0x1000;

/// SplitMix64 of a number.
fn mixed(number: u64) -> u64 {
    let value = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn held(address: u64) -> u64 {
    match address {
        DOUBLES..POINTERS => (1.5 + address as f64 * 0.37).to_bits(),
        POINTERS..0x27000 => 0xffff_8880_0000_0000 + (mixed(address) & 0xfff_ffc0),
        _ => mixed(address),
    }
}

fn state() -> TerminalState {
    let numbers: Vec<u64> = (2..48).collect();
    const { assert!(TOTAL_PAGES > 48) };
    let words = numbers
        .iter()
        .flat_map(|page| (0..512).map(move |word| page * 4096 + word * 8));
    let bytes = words.flat_map(|address| held(address).to_le_bytes());
    let changed = ChangedPages::new(numbers.clone(), bytes.collect()).unwrap();
    TerminalState {
        memory: Memory::Changed(changed),
        ..good()
    }
}

/// Gives words other values: address and value before in, value after out.
fn poke(
    state: &mut TerminalState,
    addresses: impl Iterator<Item = u64>,
    change: fn(u64, u64) -> u64,
) {
    let Memory::Changed(changed) = &state.memory else {
        panic!("the memory is not changed pages");
    };
    let mut bytes = changed.bytes().to_vec();
    for address in addresses {
        let at = address as usize - 2 * PAGE_BYTES;
        let word = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        bytes[at..at + 8].copy_from_slice(&change(address, word).to_le_bytes());
    }
    let numbers = changed.numbers().to_vec();
    state.memory = Memory::Changed(ChangedPages::new(numbers, bytes).unwrap());
}

/// So many places without order.
fn places(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|at| WORDS + at * 0x1000 * 2 + mixed(at) % 512 * 8)
}

/// Several bits of a word, others in each.
fn several(address: u64, word: u64) -> u64 {
    let bits = mixed(address ^ 7);
    word ^ (0..6).fold(0, |mask, at| mask | 1 << (bits >> (at * 6) & 63))
}

fn scattered(state: &mut TerminalState) {
    poke(state, places(12), several);
}

fn one_bit(state: &mut TerminalState) {
    poke(state, places(1), |_, word| word ^ 1 << 20);
}

fn one_mask(state: &mut TerminalState) {
    poke(state, places(12), |_, word| word ^ 1 << 37);
}

fn doubles(state: &mut TerminalState) {
    let places = (0..8).map(|at| DOUBLES + at * 0x7f8);
    poke(state, places, |address, word| {
        word ^ 1 << (mixed(address) % 36 + 3)
    });
}

fn lane(state: &mut TerminalState) {
    poke(state, (0..8).map(|at| 0x5010 + at * 32), several);
}

fn misread(state: &mut TerminalState) {
    poke(state, places(6), |address, _| held(address ^ 0x640));
}

fn line(state: &mut TerminalState) {
    poke(state, (0..6).map(|at| 0x6040 + at * 8), |address, _| {
        mixed(!address)
    });
}

fn tail(state: &mut TerminalState) {
    poke(state, [0x6050_u64, 0x6058].into_iter(), |address, word| {
        let other = mixed(!address);
        match address {
            0x6050 => word & 0xff_ffff | other << 24,
            _ => other,
        }
    });
}

fn conditional(state: &mut TerminalState) {
    let with_bit = (0..2000_u64).map(|at| WORDS + at * 8 * 97);
    let with_bit = with_bit.filter(|address| held(*address) >> 23 & 1 == 1);
    poke(state, with_bit.take(24), |address, word| {
        word ^ (mixed(address) & 0x3f_ffff | 1)
    });
}

fn zeros(state: &mut TerminalState) {
    poke(state, (0..64).map(|at| 0x7200 + at * 8), |_, _| 0);
}

fn moved(state: &mut TerminalState) {
    let places = (0..8).map(|at| POINTERS + at * 0x188);
    poke(state, places, |_, word| word + 0x5000);
}

fn swapped(state: &mut TerminalState) {
    poke(state, (0..6).map(|at| WORDS + at * 0x1040), |address, _| {
        let next = (address - WORDS) / 0x1040 + 1;
        held(WORDS + next % 6 * 0x1040)
    });
}

fn drifted(state: &mut TerminalState) {
    poke(state, (0..40).map(|at| CODE.start + at * 0x138), several);
}

fn few_units(state: &mut TerminalState) {
    let places = (0..16).map(|at| DOUBLES + at * 0x118);
    poke(state, places, |address, word| word + mixed(address) % 3 + 1);
}

fn hang(state: &mut TerminalState) {
    state.outcome = Outcome::Hung;
}

fn flag(state: &mut TerminalState) {
    set_register(state, "eflags", Some("00000646 [D--Z-P-]"));
}

fn line_of_the_log(state: &mut TerminalState) {
    state.log[2] = "stfp 1".to_owned();
}

fn core(core: u32) -> Core {
    Core {
        host: "h".to_owned(),
        socket: None,
        core,
    }
}

fn same_core() -> Surroundings {
    let one = |_| EarlierDeviation {
        core: core(1),
        cores: (0..4).map(core).collect(),
        pages: [9_999].into(),
    };
    Surroundings {
        earlier: (0..3).map(one).collect(),
        ..Surroundings::default()
    }
}

fn hot() -> Surroundings {
    Surroundings {
        heat: Some(Heat {
            runs_hot: 20,
            deviations_hot: 18,
            runs_cool: 20,
            deviations_cool: 0,
        }),
        ..Surroundings::default()
    }
}

fn worn() -> Surroundings {
    Surroundings {
        age: Some(Age {
            clean_before: 200,
            runs_since: 10,
            deviations_since: 5,
        }),
        ..Surroundings::default()
    }
}

fn other_build() -> Surroundings {
    Surroundings {
        builds_differ: true,
        ..Surroundings::default()
    }
}

fn other_classes() -> Surroundings {
    Surroundings {
        classes_differ: true,
        ..Surroundings::default()
    }
}

fn portable() -> Surroundings {
    Surroundings {
        portable: true,
        ..Surroundings::default()
    }
}

fn other_accelerator() -> Surroundings {
    Surroundings {
        accelerators_differ: true,
        ..Surroundings::default()
    }
}

fn crossed() -> Surroundings {
    Surroundings {
        crossed: Some(Crossed {
            own_is_right: true,
            others_is_right: false,
        }),
        ..Surroundings::default()
    }
}

/// The hints after a fault in replica 1 of three, which runs on core 1.
pub(crate) fn check(case: &HintCase) {
    let setting = Case {
        deterministic: case.deterministic,
        ..Case::of(3)
    };
    let mut states = vec![state(); 3];
    let clean = analysed(&states, &setting);
    assert!(clean.deviations.is_empty(), "hints without a difference");
    (case.fault)(&mut states[1]);
    let mut analysis = analysed(&states, &setting);
    let machine = Machine {
        deterministic: case.deterministic,
        code: Some(CODE),
        host_units_exercised: false,
    };
    let known = Surroundings {
        cores: (0..3)
            .map(|index| (ReplicaIndex(index), core(index)))
            .collect(),
        ..(case.known)()
    };
    divergence::explain(&mut analysis, &machine, &known);
    // On an inexact machine memory alone names nobody.
    let hints = match analysis.deviations.first() {
        Some(deviation) => &deviation.hints,
        None => panic!("nothing deviates: {}", analysis.reason),
    };
    let told: Vec<String> = hints
        .iter()
        .filter_map(|hint| Some(format!("{} {:.3}", hint.class?, hint.probability?)))
        .collect();
    let place = hints.iter().position(|hint| hint.class == Some(case.class));
    let hint = &hints[place.unwrap()];
    if case.first {
        assert_eq!(place, Some(0), "{}: {told:?}", case.class);
        assert!(!hint.reason.is_empty());
    } else {
        let probability = hint.probability.unwrap();
        assert!(probability < UNLIKELY, "{}: {told:?}", case.class);
    }
}

macro_rules! hint_cases {
    ($($name:ident => $case:expr;)+) => {
        pub(crate) fn cases() -> Vec<HintCase> {
            vec![$($case),+]
        }

        $(
            #[test]
            fn $name() {
                check(&$case);
            }
        )+
    };
}

hint_cases! {
    a_core_that_was_wrong_before => HintCase::first(HintClass::CoreLocalDefect, scattered).knowing(same_core);
    no_core_where_one_bit_differs => HintCase::absent(HintClass::CoreLocalDefect, one_bit);
    one_mask_in_all_words => HintCase::first(HintClass::FixedBitMask, one_mask);
    no_mask_where_words_are_scattered => HintCase::absent(HintClass::FixedBitMask, scattered);
    bits_of_mantissas => HintCase::first(HintClass::FloatField, doubles);
    no_field_where_nothing_is_a_double => HintCase::absent(HintClass::FloatField, scattered);
    one_lane_of_vectors => HintCase::first(HintClass::VectorLane, lane);
    no_lane_where_words_have_no_step => HintCase::absent(HintClass::VectorLane, scattered);
    values_of_other_elements => HintCase::first(HintClass::WrongAddress, misread);
    no_wrong_address_where_values_are_of_nobody => HintCase::absent(HintClass::WrongAddress, one_mask);
    a_line_that_stayed_old => HintCase::first(HintClass::Coherence, line);
    no_line_where_pages_differ => HintCase::absent(HintClass::Coherence, scattered);
    a_hang => HintCase::first(HintClass::ControlFlow, hang);
    no_jump_where_it_ended_as_the_others => HintCase::absent(HintClass::ControlFlow, one_bit);
    the_end_of_a_copy => HintCase::first(HintClass::StringUndershoot, tail);
    no_undershoot_where_whole_words_differ => HintCase::absent(HintClass::StringUndershoot, line);
    a_flag_alone => HintCase::first(HintClass::RegisterOnly, flag);
    no_register_where_memory_differs => HintCase::absent(HintClass::RegisterOnly, scattered);
    words_with_one_bit_set => HintCase::first(HintClass::DataDependent, conditional);
    no_operand_where_any_word_is_hit => HintCase::absent(HintClass::DataDependent, scattered);
    heat => HintCase::first(HintClass::ThermalPower, scattered).knowing(hot);
    no_heat_where_none_was_measured => HintCase::absent(HintClass::ThermalPower, scattered);
    wear => HintCase::first(HintClass::Ageing, scattered).knowing(worn);
    no_wear_where_nothing_was_clean_before => HintCase::absent(HintClass::Ageing, scattered);
    a_cell => HintCase::first(HintClass::MemoryCell, one_bit);
    no_cell_where_a_lane_differs => HintCase::absent(HintClass::MemoryCell, lane);
    a_sector_of_zeros => HintCase::first(HintClass::Storage, zeros);
    no_sector_where_pages_differ => HintCase::absent(HintClass::Storage, scattered);
    addresses_that_moved => HintCase::first(HintClass::Nondeterminism, moved);
    no_noise_where_one_bit_differs => HintCase::absent(HintClass::Nondeterminism, one_bit);
    values_in_another_order => HintCase::first(HintClass::SoftwareRace, swapped);
    no_race_where_no_value_comes_again => HintCase::absent(HintClass::SoftwareRace, one_mask);
    code_of_another_build => HintCase::first(HintClass::VersionDrift, drifted).knowing(other_build);
    no_other_build_where_code_is_equal => HintCase::absent(HintClass::VersionDrift, scattered);
    last_digits => HintCase::first(HintClass::CodePath, few_units).knowing(other_classes);
    no_other_path_where_it_is_portable => HintCase::absent(HintClass::CodePath, doubles).knowing(portable);
    one_accelerator_against_another => HintCase::first(HintClass::EmulatorBug, scattered).knowing(other_accelerator);
    no_emulator_where_all_share_it => HintCase::absent(HintClass::EmulatorBug, scattered);
    what_only_the_core_itself_undoes => HintCase::first(HintClass::SelfInverse, scattered).knowing(crossed);
    no_inverse_where_nobody_tried => HintCase::absent(HintClass::SelfInverse, scattered);
    a_line_of_the_log_alone => HintCase::first(HintClass::Other, line_of_the_log);
    nothing_else_where_a_cell_explains_it => HintCase::absent(HintClass::Other, one_bit);
    lines_in_another_order_on_an_inexact_machine => HintCase::first(HintClass::SoftwareRace, |state| {
        state.log.swap(0, 3);
    }).inexact();
}
