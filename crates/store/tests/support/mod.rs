//! What the tests of the store share: small runs and findings, and a store in a fresh directory.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part of this, and a helper of a test may panic"
)]

use model::{
    Coverage, Engine, Event, Finding, FindingId, FindingKind, Level, NodeRef, Outcome, Placement,
    Provenance, ReplicaIndex, ReplicaRecord, Run, RunId, Severity, Timestamp, Verdict,
};
use std::path::Path;
use store::{Limits, Store};

/// A moment `seconds` after some day in 2023.
pub fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ns(1_700_000_000_000_000_000 + seconds * 1_000_000_000)
}

/// The id of the run with this number; ids sort by number.
pub fn run_id(number: u64) -> RunId {
    RunId::from_parts(1_700_000_000_000 + number, [7; 10])
}

pub fn finding_id(number: u64) -> FindingId {
    FindingId::from_parts(1_700_000_000_000 + number, [9; 10])
}

pub async fn open(path: &Path) -> Store {
    Store::open(path, Limits::default()).await.unwrap()
}

pub fn started(number: u64) -> Event {
    Event::RunStarted {
        run: run_id(number),
        computation: "sha256".to_owned(),
        replicas: 3,
    }
}

/// The end of a run whose first replica's state is the blob with this key.
pub fn ended(number: u64, state: Option<&str>) -> Event {
    Event::RunEnded {
        run: Box::new(run(number, state)),
    }
}

pub fn failed(number: u64) -> Event {
    Event::RunFailed {
        run: run_id(number),
        reason: "the process ended before the run did".to_owned(),
    }
}

pub fn recorded(number: u64, severity: Severity, blob: Option<&str>) -> Event {
    Event::FindingRecorded {
        finding: Box::new(finding(number, severity, blob)),
    }
}

pub fn run(number: u64, state: Option<&str>) -> Run {
    Run {
        id: run_id(number),
        started: moment(0),
        ended: moment(60),
        provenance: Provenance::default(),
        deterministic: true,
        verdict: Verdict::Pass,
        reason: "all replicas agree".to_owned(),
        choice: None,
        replicas: vec![replica(state)],
        injections: Vec::new(),
        deviations: Vec::new(),
        coverage: Coverage {
            upper_bound: Some(0.1 + 0.2),
            ..Coverage::default()
        },
        golden: None,
        undecided_words: u64::MAX,
        noise: None,
        warnings: Vec::new(),
        investigation: None,
        recording: None,
    }
}

fn replica(state: Option<&str>) -> ReplicaRecord {
    ReplicaRecord {
        index: ReplicaIndex(0),
        outcome: Outcome::Crashed("panic".to_owned()),
        placement: Placement::default(),
        cpu: model::Elapsed::from_ns(1_500_000_000),
        wall: model::Elapsed::from_ns(2_000_000_000),
        instructions: None,
        steps: 12,
        changed_pages: 1,
        result_digest: None,
        exit_status: None,
        metrics: Vec::new(),
        image: None,
        state: state.map(str::to_owned),
    }
}

pub fn finding(number: u64, severity: Severity, blob: Option<&str>) -> Finding {
    Finding {
        id: finding_id(number),
        at: moment(number.cast_signed()),
        engine: Engine::Divergence,
        engine_version: "1".to_owned(),
        kind: FindingKind::LatentDifference,
        node: NodeRef {
            level: Level::System,
            id: format!("{}/replica-0", run_id(1)),
        },
        severity,
        score: 50,
        probability: Some(1.0 / 3.0),
        summary: "replica 0 differs".to_owned(),
        evidence: Vec::new(),
        evidence_blobs: blob.iter().map(|&key| key.to_owned()).collect(),
        hints: Vec::new(),
        next_experiment: None,
        run: Some(run_id(1)),
    }
}
