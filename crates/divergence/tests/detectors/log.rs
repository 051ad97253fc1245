//! The log: lines that differ, are missing, too many or in another order.

use crate::case::{Case, Fault, cases};
use model::{FindingKind, Part};
use state::TerminalState;

fn latent(line: &'static str, fault: Fault) -> Case {
    Case::named(FindingKind::LatentDifference, Part::Log, line, fault)
}

fn last(state: &mut TerminalState) -> &mut String {
    state.log.last_mut().unwrap()
}

cases! {
    the_first_line => latent("line 1", |state| state.log[0] = "Start".to_owned());
    the_last_line => latent("line 4", |state| last(state).push('.'));
    the_first_line_missing => latent("line 1", |state| {
        state.log.remove(0);
    });
    the_last_line_missing => latent("line 4", |state| {
        state.log.pop();
    });
    an_empty_line_missing => latent("line 2", |state| {
        state.log.remove(1);
    });
    an_empty_line_too_many => latent("line 5", |state| state.log.push(String::new()));
    a_line_twice => latent("line 4", |state| state.log.insert(3, "step 1".to_owned()));
    two_lines_in_another_order => latent("line 3", |state| state.log.swap(2, 3));
    a_blank_at_the_end_of_a_line => latent("line 4", |state| last(state).push(' '));
    no_line_at_all => latent("line 1", |state| state.log.clear());
    a_letter_that_looks_alike => latent("line 4", |state| *last(state) = "\u{435}nd".to_owned());
    a_difference_beyond_what_is_shown_of_a_line => latent("line 5", |state| {
        state.log.push("x".repeat(100_000));
    });
    a_line_of_one_of_two => latent("line 4", |state| last(state).push('.')).of_two();
    a_line_of_the_last_of_sixty_four =>
        latent("line 4", |state| last(state).push('.')).in_replica(63, 64);
    a_line_on_an_inexact_machine => Case {
        deterministic: false,
        ..latent("line 4", |state| last(state).push('.'))
    };
}
