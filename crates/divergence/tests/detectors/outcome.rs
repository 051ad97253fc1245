//! Outcomes: one, some and all replicas hung or crashed.

use crate::case::{Case, Fault, cases, flip};
use model::{FindingKind, Outcome, Part, Verdict};
use state::TerminalState;

fn hang(state: &mut TerminalState) {
    state.outcome = Outcome::Hung;
}

fn crash(state: &mut TerminalState) {
    state.outcome = Outcome::Crashed("triple fault".to_owned());
}

fn crash_otherwise(state: &mut TerminalState) {
    state.outcome = Outcome::Crashed("powered off".to_owned());
}

fn one(kind: FindingKind, fault: Fault) -> Case {
    Case::named(kind, Part::Outcome, "outcome", fault)
}

fn faults(all: &[Fault]) -> Vec<(usize, Fault)> {
    all.iter().copied().enumerate().collect()
}

/// So many hung or crashed that nobody is accused.
fn open(replicas: usize, all: &[Fault]) -> Case {
    Case {
        verdict: Verdict::Inconclusive,
        faults: faults(all),
        named: Vec::new(),
        replicas,
        ..one(FindingKind::Undecided, |_| {})
    }
}

cases! {
    one_that_hung => one(FindingKind::Hang, hang);
    one_that_crashed => one(FindingKind::Crash, crash);
    one_of_two_that_hung => one(FindingKind::Hang, hang).of_two();
    one_of_two_that_crashed => one(FindingKind::Crash, crash).of_two();
    the_last_of_sixty_four_that_hung => one(FindingKind::Hang, hang).in_replica(63, 64);
    the_last_of_sixty_four_that_crashed => one(FindingKind::Crash, crash).in_replica(63, 64);
    one_that_hung_and_another_that_crashed => Case {
        replicas: 5,
        faults: vec![(0, crash), (4, hang)],
        named: vec![0, 4],
        kinds: vec![FindingKind::Crash, FindingKind::Hang],
        ..one(FindingKind::Hang, hang)
    };
    two_of_five_that_crashed_each_in_its_way => Case {
        replicas: 5,
        faults: vec![(0, crash), (4, crash_otherwise)],
        named: vec![0, 4],
        kinds: vec![FindingKind::Crash; 2],
        ..one(FindingKind::Crash, crash)
    };
    one_that_hung_with_other_memory => one(FindingKind::Hang, |state| {
        hang(state);
        flip(state, 0, 1);
    });
    one_that_hung_and_left_no_result => one(FindingKind::Hang, |state| {
        hang(state);
        state.result_digest = None;
    });
    one_that_hung_on_an_inexact_machine => Case {
        deterministic: false,
        ..one(FindingKind::Hang, hang)
    };
    two_of_three_that_hung => open(3, &[hang, hang]);
    two_of_four_that_crashed => open(4, &[crash, crash]);
    all_of_three_crashed_each_in_its_way => open(3, &[crash, crash_otherwise, hang]);
    all_of_three_hung => Case::silent(3, faults(&[hang as Fault; 3]), Verdict::Skipped);
    all_of_two_crashed => Case::silent(2, faults(&[crash as Fault; 2]), Verdict::Skipped);
    all_of_sixty_four_hung => Case::silent(64, faults(&[hang as Fault; 64]), Verdict::Skipped);
}
