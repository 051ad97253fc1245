//! Verdict and reason.
//!
//! ```text
//! no replica, or one ───────────────────────────────► skipped
//! none ended, all alike ────────────────────────────► skipped
//! nothing differs ──┬─ golden value contradicted ───► deviates, nobody
//!                   ├─ nothing was compared ────────► skipped
//!                   ├─ an inexact machine differs ──► inconclusive, nobody; but for known noise
//!                   └─ else ────────────────────────► pass
//! something differs ┬─ two replicas ────────────────► deviates, one deviation of nobody
//!                   ├─ no majority ended ───────────► inconclusive
//!                   ├─ some of it has a majority ───► deviates, those in the minority
//!                   └─ else ────────────────────────► inconclusive
//! ```

use crate::align::Aligned;
use crate::deviation::{Deviant, Evidence};
use crate::finding::listed;
use crate::input::Replica;
use crate::parts::{ended, most_ended};
use model::{FindingKind, Verdict};

/// A verdict with its reason and its deviations.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
    pub(crate) deviants: Vec<Deviant>,
}

impl Judgement {
    pub(crate) const fn of_nobody(verdict: Verdict, reason: String) -> Self {
        Self {
            verdict,
            reason,
            deviants: Vec::new(),
        }
    }
}

/// A golden value that the replicas contradict.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoldenMismatch<'a> {
    pub(crate) found: &'a str,
    pub(crate) golden: &'a str,
}

/// Judges a run whose replicas were compared.
pub(crate) fn judge(evidence: &Evidence<'_>, golden: Option<GoldenMismatch<'_>>) -> Judgement {
    let parts = evidence.parts;
    let undecided = parts.voting(parts.undecided());
    let deviants = evidence.of_replicas();
    if deviants.is_empty() && undecided.is_zero() {
        judge_equal(evidence, golden)
    } else {
        judge_different(evidence, deviants)
    }
}

fn judge_equal(evidence: &Evidence<'_>, golden: Option<GoldenMismatch<'_>>) -> Judgement {
    let replicas = evidence.replicas.len();
    let memory = &evidence.parts.memory;
    if let Some(GoldenMismatch { found, golden }) = golden {
        let reason = format!(
            "all {replicas} replicas agree on the result {found}, and the golden value is {golden}"
        );
        return Judgement::of_nobody(Verdict::Deviates, reason);
    }
    if evidence.parts.bytes_compared() == 0 {
        let reason = "nothing was compared: no byte of memory, registers, files or log is known";
        return Judgement::of_nobody(Verdict::Skipped, reason.to_owned());
    }
    if let Some(aligned) = evidence.context.aligned {
        return judge_aligned(replicas, aligned);
    }
    let quiet = memory.is_equal() && evidence.parts.registers.is_equal();
    if quiet {
        let reason = format!("{replicas} replicas are equal in all that was compared");
        return Judgement::of_nobody(Verdict::Pass, reason);
    }
    let reason = format!(
        "{replicas} replicas put out the same, and their states differ in {} pages: this machine is \
         not bit-exact, and how much of that is noise is not known",
        memory.pages().len()
    );
    Judgement::of_nobody(Verdict::Inconclusive, reason)
}

/// Aligned machines that put out the same: what differs besides noise is not decided.
fn judge_aligned(replicas: usize, aligned: &Aligned) -> Judgement {
    let noise = match aligned.noise.len() {
        0 => String::new(),
        1 => ", but for one word of known noise".to_owned(),
        words => format!(", but for {words} words of known noise"),
    };
    let Some(first) = aligned.unexplained.first() else {
        let reason = format!("{replicas} replicas are equal in all that was compared{noise}");
        return Judgement::of_nobody(Verdict::Pass, reason);
    };
    let reason = format!(
        "{replicas} replicas put out the same, and {} words outside of named buffers differ that no \
         clean run has shown as noise, first {first}",
        aligned.unexplained_total
    );
    Judgement::of_nobody(Verdict::Inconclusive, reason)
}

fn judge_different(evidence: &Evidence<'_>, deviants: Vec<Deviant>) -> Judgement {
    let replicas = evidence.replicas.len();
    let undecided = evidence.parts.voting(evidence.parts.undecided());
    if replicas == 2 {
        return Judgement {
            verdict: Verdict::Deviates,
            reason: reason_of_two(evidence),
            deviants: vec![evidence.of_nobody(None)],
        };
    }
    let outcomes_differ = undecided.outcome > 0;
    if outcomes_differ && !most_ended(evidence.replicas) {
        let reason = format!(
            "only {} of {replicas} replicas ended",
            ended(evidence.replicas)
        );
        return inconclusive(evidence, reason);
    }
    if deviants.is_empty() {
        let reason = format!(
            "{replicas} replicas differ in {}, and no majority says which is right",
            listed(undecided)
        );
        return inconclusive(evidence, reason);
    }
    Judgement {
        verdict: Verdict::Deviates,
        reason: reason_of(&deviants, replicas, undecided.total()),
        deviants,
    }
}

fn inconclusive(evidence: &Evidence<'_>, reason: String) -> Judgement {
    Judgement {
        verdict: Verdict::Inconclusive,
        reason,
        deviants: vec![evidence.of_nobody(Some(FindingKind::Undecided))],
    }
}

/// Two replicas cannot say which of them is right; a golden value may.
fn reason_of_two(evidence: &Evidence<'_>) -> String {
    let undecided = evidence.parts.voting(evidence.parts.undecided());
    let contradicts = |replica: &&Replica<'_>| match evidence.context.golden {
        Some(golden) => replica.state.result_digest.as_deref() != Some(golden),
        None => false,
    };
    let wrong: Vec<&Replica<'_>> = evidence.replicas.iter().filter(contradicts).collect();
    let beside = match wrong.as_slice() {
        [one] => format!("; replica {} contradicts the golden value", one.index),
        _ => String::new(),
    };
    let what = listed(undecided);
    format!("the two replicas differ in {what}, and two cannot say which is right{beside}")
}

fn reason_of(deviants: &[Deviant], replicas: usize, undecided: u64) -> String {
    let names: Vec<String> = deviants
        .iter()
        .filter_map(|deviant| deviant.deviation.replica)
        .map(|index| index.to_string())
        .collect();
    let who = match names.as_slice() {
        [one] => format!("replica {one} differs"),
        many => format!("replicas {} differ", many.join(", ")),
    };
    let beside = match undecided {
        0 => String::new(),
        1 => "; 1 more difference has no majority".to_owned(),
        count => format!("; {count} more differences have no majority"),
    };
    format!("{who} from the majority of {replicas}{beside}")
}
