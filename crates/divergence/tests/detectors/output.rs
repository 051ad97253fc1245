//! What the computation puts out: its result, its files, and the golden value of its result.

use crate::case::{Case, Fault, cases, flip};
use model::{FindingKind, Part, Verdict};
use state::TerminalState;

fn wrong(locus: &'static str, fault: Fault) -> Case {
    Case::named(FindingKind::SilentWrongOutput, Part::File, locus, fault)
}

fn byte(state: &mut TerminalState, name: &str, at: usize) {
    state.files.get_mut(name).unwrap()[at] ^= 0x80;
}

fn file(state: &mut TerminalState, name: &str, content: &[u8]) {
    state.files.insert(name.to_owned(), content.to_vec());
}

fn other_result(state: &mut TerminalState) {
    state.result_digest = Some("d2".to_owned());
}

/// Every replica gets the same wrong result, and the golden value says so.
fn golden(replicas: usize) -> Case {
    let all = (0..replicas).map(|replica| (replica, other_result as Fault));
    Case {
        golden: Some("d1"),
        kinds: vec![FindingKind::GoldenMismatch],
        ..Case::silent(replicas, all.collect(), Verdict::Deviates)
    }
}

cases! {
    another_result => wrong("result", other_result);
    no_result => wrong("result", |state| state.result_digest = None);
    an_empty_result => wrong("result", |state| state.result_digest = Some(String::new()));
    a_result_one_character_longer =>
        wrong("result", |state| state.result_digest = Some("d10".to_owned()));
    another_result_of_one_of_two => wrong("result", other_result).of_two();
    another_result_of_the_last_of_sixty_four => wrong("result", other_result).in_replica(63, 64);
    a_wrong_result_on_an_inexact_machine => Case {
        deterministic: false,
        ..wrong("result", other_result)
    };
    a_wrong_result_beside_wrong_memory => Case {
        first: Some((Part::Memory, "0x2000")),
        ..wrong("result", |state| {
            other_result(state);
            flip(state, 0x2000, 1);
        })
    };
    the_first_byte_of_a_file => wrong("out+0x0", |state| byte(state, "out", 0));
    the_last_byte_of_a_file => wrong("out+0x8", |state| byte(state, "out", 15));
    the_last_byte_of_a_file_of_odd_length => wrong("odd+0x8", |state| byte(state, "odd", 12));
    the_eighth_byte_of_a_file => wrong("odd+0x0", |state| byte(state, "odd", 7));
    a_file_one_byte_shorter => wrong("odd+0x8", |state| {
        state.files.get_mut("odd").unwrap().pop();
    });
    a_file_one_byte_longer => wrong("out+0x10", |state| {
        state.files.get_mut("out").unwrap().push(0);
    });
    a_file_that_is_not_empty => wrong("empty+0x0", |state| file(state, "empty", &[0]));
    a_file_that_one_lacks => wrong("out", |state| {
        state.files.remove("out");
    });
    an_empty_file_that_one_lacks => wrong("empty", |state| {
        state.files.remove("empty");
    });
    an_empty_file_that_one_has_besides => wrong("more", |state| file(state, "more", &[]));
    a_file_of_another_name => wrong("out", |state| {
        let content = state.files.remove("out").unwrap();
        file(state, "oux", &content);
    });
    a_golden_value_that_two_contradict => golden(2);
    a_golden_value_that_all_of_five_contradict => golden(5);
    a_golden_value_that_all_of_sixty_four_contradict => golden(64);
    a_golden_value_that_one_contradicts => Case {
        golden: Some("d1"),
        ..wrong("result", other_result)
    };
    a_golden_value_that_the_majority_contradicts => Case {
        replicas: 3,
        faults: vec![(0, other_result), (2, other_result)],
        golden: Some("d1"),
        named: vec![1],
        kinds: vec![FindingKind::SilentWrongOutput, FindingKind::GoldenMismatch],
        ..wrong("result", other_result)
    };
}
