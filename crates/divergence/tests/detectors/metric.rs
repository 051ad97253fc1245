//! Metrics: exact ones vote to the last bit; statistical ones never vote, and are found from eight
//! replicas on.

use crate::case::{Case, Fault, cases, metric};
use model::{FindingKind, Part, Verdict};
use state::TerminalState;

fn exact(name: &'static str, fault: Fault) -> Case {
    Case::named(FindingKind::LatentDifference, Part::Metric, name, fault)
}

/// One replica of so many stands out; the verdict is a pass all the same.
fn stands_out(replica: usize, replicas: usize, fault: Fault) -> Case {
    Case {
        kinds: vec![FindingKind::MetricDeviation],
        first: Some((Part::Metric, "wall_s")),
        ..Case::silent(replicas, vec![(replica, fault)], Verdict::Pass)
    }
}

fn wall(state: &mut TerminalState, value: f64) {
    state.metrics[2].value = value;
}

cases! {
    an_exact_count_one_more =>
        exact("instructions", |state| state.metrics[0].value += 1.0);
    an_exact_count_one_less =>
        exact("instructions", |state| state.metrics[0].value -= 1.0);
    an_exact_value_one_unit_in_the_last_place_off =>
        exact("instructions", |state| state.metrics[0].value = 1e9_f64.next_up());
    an_exact_value_of_zero_that_is_one =>
        exact("page_faults", |state| state.metrics[1].value = 1.0);
    an_exact_value_that_is_not_a_number =>
        exact("instructions", |state| state.metrics[0].value = f64::NAN);
    an_exact_value_that_is_infinite =>
        exact("instructions", |state| state.metrics[0].value = f64::INFINITY);
    an_exact_metric_that_one_lacks => exact("instructions", |state| {
        state.metrics.remove(0);
    });
    an_exact_metric_that_one_has_besides =>
        exact("cache_misses", |state| state.metrics.push(metric("cache_misses", 1.0, true)));
    an_exact_metric_that_one_calls_statistical =>
        exact("instructions", |state| state.metrics[0].exact = false);
    an_exact_metric_of_one_of_two =>
        exact("instructions", |state| state.metrics[0].value += 1.0).of_two();
    a_value_out_of_the_ordinary_of_eight => stands_out(7, 8, |state| wall(state, 3.0));
    a_value_that_is_too_small_of_eight => stands_out(0, 8, |state| wall(state, 0.1));
    a_value_out_of_the_ordinary_of_sixty_four => stands_out(63, 64, |state| wall(state, 3.0));
    a_value_of_seven_is_not_judged =>
        Case::silent(7, vec![(3, |state| wall(state, 1e9))], Verdict::Pass);
    a_statistical_value_that_is_not_a_number_is_left_out =>
        Case::silent(8, vec![(3, |state| wall(state, f64::NAN))], Verdict::Pass);
    a_value_that_is_not_a_number_hides_no_other => Case {
        faults: vec![
            (3, |state| wall(state, f64::NAN)),
            (5, |state| wall(state, 9.0)),
        ],
        ..stands_out(5, 9, |_| {})
    };
    a_value_just_beside_the_others_is_silent =>
        Case::silent(8, vec![(3, |state| wall(state, 1.51))], Verdict::Pass);
}
