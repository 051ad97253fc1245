//! What differences mean, and how bad that is: kind and severity.

use crate::input::Replica;
use crate::parts::Counts;
use model::{FindingKind, Outcome, Severity};

/// What differences mean. How a replica ended comes first; then whether what it puts out is wrong.
pub(crate) fn kind_of(replicas: &[Replica<'_>], counts: Counts) -> FindingKind {
    let any = |ended: fn(&Outcome) -> bool| replicas.iter().any(|one| ended(&one.state.outcome));
    let killed = |one: &Replica<'_>| {
        let status = one.state.exit_status.as_deref();
        status.is_some_and(|status| status.starts_with("signal"))
    };
    if counts.outcome > 0
        && (any(|outcome| matches!(outcome, Outcome::Crashed(_))) || replicas.iter().any(killed))
    {
        FindingKind::Crash
    } else if counts.outcome > 0 && any(|outcome| *outcome == Outcome::Hung) {
        FindingKind::Hang
    } else if counts.files + counts.disk > 0 {
        FindingKind::SilentWrongOutput
    } else {
        FindingKind::LatentDifference
    }
}

/// How bad differences are.
pub(crate) fn severity_of(kind: FindingKind, counts: Counts) -> Severity {
    Severity::of(kind.floor(), counts.total(), counts.breadth())
}
