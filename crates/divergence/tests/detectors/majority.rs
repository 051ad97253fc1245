//! The majority: ties, several faults at once, and what no replica could be compared in.

use crate::case::{Case, Fault, cases, flip};
use model::{FindingKind, Part, Verdict};
use state::TerminalState;

fn low(state: &mut TerminalState) {
    flip(state, 0x2008, 1);
}

fn high(state: &mut TerminalState) {
    flip(state, 0x2008, 0x80);
}

fn middle(state: &mut TerminalState) {
    flip(state, 0x2008, 0x10);
}

fn elsewhere(state: &mut TerminalState) {
    flip(state, 0x3ffff, 1);
}

fn nothing(state: &mut TerminalState) {
    *state = TerminalState::default();
}

fn open(replicas: usize, faults: Vec<(usize, Fault)>) -> Case {
    Case {
        verdict: Verdict::Inconclusive,
        kinds: vec![FindingKind::Undecided],
        first: Some((Part::Memory, "0x2008")),
        ..Case::silent(replicas, faults, Verdict::Inconclusive)
    }
}

fn decided(replicas: usize, faults: Vec<(usize, Fault)>, named: &[u32]) -> Case {
    Case {
        replicas,
        faults,
        named: named.to_vec(),
        kinds: vec![FindingKind::LatentDifference; named.len()],
        ..Case::named(FindingKind::LatentDifference, Part::Memory, "0x2008", low)
    }
}

cases! {
    half_of_four => open(4, vec![(0, low), (1, low)]);
    half_of_sixty_four => open(64, (0..32).map(|replica| (replica, low as Fault)).collect());
    one_less_than_half_of_sixty_four_is_named => decided(
        64,
        (0..31).map(|replica| (replica, low as Fault)).collect(),
        &(0..31).collect::<Vec<u32>>(),
    );
    three_of_three_each_another => open(3, vec![(0, low), (1, middle), (2, high)]);
    two_of_five_alike => decided(5, vec![(1, low), (3, low)], &[1, 3]);
    two_of_five_each_another => decided(5, vec![(1, low), (3, high)], &[1, 3]);
    two_of_three_in_different_words => Case {
        first: Some((Part::Memory, "0x2008")),
        ..decided(3, vec![(0, low), (2, elsewhere)], &[0, 2])
    };
    three_of_five_alike_outvote_the_others =>
        decided(5, vec![(0, low), (1, low), (2, low)], &[3, 4]);
    all_alike_are_equal =>
        Case::silent(3, vec![(0, low), (1, low), (2, low)], Verdict::Pass);
    nothing_in_any_of_them =>
        Case::silent(3, vec![(0, nothing), (1, nothing), (2, nothing)], Verdict::Skipped);
    other_memory_on_an_inexact_machine => Case {
        deterministic: false,
        ..Case::silent(3, vec![(1, low)], Verdict::Inconclusive)
    };
}
