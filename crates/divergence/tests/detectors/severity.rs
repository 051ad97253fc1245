//! Severity, kind by kind: the floor where little differs, one step more where much does, and a
//! metric that stays low however far it lies from the others.

use crate::case::{Case, Fault, analysed, flip, good, set_register};
use divergence::FindingDraft;
use model::{FindingKind, Outcome, Severity};
use state::TerminalState;

/// A page and more.
fn page(state: &mut TerminalState) {
    for address in (0x3000..0x4000).step_by(8) {
        flip(state, address, 1);
    }
}

/// Three parts, one difference in each.
fn broad(state: &mut TerminalState) {
    flip(state, 0x2800, 1);
    set_register(state, "zmm31", None);
    state.log.truncate(3);
}

fn other_result(state: &mut TerminalState) {
    state.result_digest = None;
}

fn hang(state: &mut TerminalState) {
    state.outcome = Outcome::Hung;
}

fn crash(state: &mut TerminalState) {
    state.outcome = Outcome::Crashed("triple fault".to_owned());
}

fn none(_: &mut TerminalState) {}

/// The only finding after all these faults in replica 1, and the others after `rest`.
fn found(replicas: usize, faults: &[Fault], rest: Fault) -> FindingDraft {
    let mut states = vec![good(); replicas];
    for (position, state) in states.iter_mut().enumerate() {
        match position {
            1 => faults.iter().for_each(|fault| fault(state)),
            _ => rest(state),
        }
    }
    let mut findings = analysed(&states, &Case::of(replicas)).findings;
    assert_eq!(findings.len(), 1);
    findings.remove(0)
}

#[test]
fn the_kind_sets_the_floor_and_much_raises_it_by_one_step() {
    use FindingKind::{Crash, Hang, LatentDifference, SilentWrongOutput, Undecided};
    use Severity::{Critical, High, Medium};
    let low: Fault = |state| flip(state, 0x2000, 1);
    let line: Fault = |state| state.log[0].push('.');
    let count: Fault = |state| state.metrics[0].value += 1.0;
    let register: Fault = |state| set_register(state, "rax", None);
    let table: [(FindingKind, Fault, Severity, Severity); 7] = [
        (SilentWrongOutput, other_result, Critical, Critical),
        (LatentDifference, low, High, Critical),
        (LatentDifference, line, High, Critical),
        (LatentDifference, count, High, Critical),
        (LatentDifference, register, High, Critical),
        (Crash, crash, Medium, High),
        (Hang, hang, Medium, High),
    ];
    for (kind, fault, narrow, wide) in table {
        for (faults, severity) in [
            (vec![fault], narrow),
            (vec![fault, page], wide),
            (vec![fault, broad], wide),
        ] {
            let finding = found(3, &faults, none);
            assert_eq!((finding.kind, finding.severity), (kind, severity));
        }
    }
    // Two of four against the other two.
    let undecided = |faults: &[Fault]| {
        let mut states = vec![good(); 4];
        for state in states.iter_mut().take(2) {
            faults.iter().for_each(|fault| fault(state));
        }
        analysed(&states, &Case::of(4)).findings.remove(0)
    };
    let narrow = undecided(&[low]);
    assert_eq!((narrow.kind, narrow.severity), (Undecided, High));
    assert_eq!(undecided(&[page]).severity, Critical);
    assert_eq!(undecided(&[broad]).severity, Critical);
}

#[test]
fn a_metric_alone_stays_low_and_scores_by_its_distance() {
    let [near, far]: [FindingDraft; 2] = [
        found(8, &[|state| state.metrics[2].value = 3.0], none),
        found(8, &[|state| state.metrics[2].value = 1e9], none),
    ];
    assert_eq!(near.kind, FindingKind::MetricDeviation);
    assert_eq!(
        (near.severity, far.severity),
        (Severity::Low, Severity::Low)
    );
    assert!(near.score < far.score, "{} {}", near.score, far.score);
}

#[test]
fn more_differences_never_score_less() {
    let scores: Vec<u8> = [1, 8, 64, 511, 512]
        .map(|words| {
            let mut states = vec![good(); 3];
            for word in 0..words {
                flip(&mut states[1], 0x3000 + 8 * word, 1);
            }
            analysed(&states, &Case::of(3)).findings.remove(0).score
        })
        .to_vec();
    assert!(scores.is_sorted(), "{scores:?}");
    assert_eq!((scores[0], scores[4]), (60, 89));
}
