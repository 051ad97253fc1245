//! What a run is told besides its own states: where its replicas ran, which earlier runs deviated, on
//! which cores and in which pages; and how metrics of clean runs of the same work scatter.
//!
//! Runs into which faults were ordered say nothing of the host, and are left out.

use crate::session::Session;
use divergence::MetricHistory;
use divergence::hint::surroundings::{Core, EarlierDeviation, Surroundings};
use model::{
    Deviation, Locus, PAGE_BYTES, Part, Provenance, ReplicaIndex, ReplicaRecord, Run, Verdict,
};
use std::collections::BTreeSet;
use store::StoreError;

/// Runs of the past that are looked through for some that deviated.
const RUNS_SEEN: u32 = 1_000;

/// Earlier runs that are read whole: more than a few dozen move no probability.
const RUNS_READ: usize = 32;

/// Clean runs of one computation that are looked at for some of the same work.
const RUNS_LOOKED_AT: usize = 64;

/// Where these replicas ran, and what is known of earlier runs. A record that cannot be read costs
/// the hints their history, never the run its verdict.
pub(crate) async fn surroundings<'a>(
    session: &Session,
    replicas: impl Iterator<Item = &'a ReplicaRecord>,
    portable: bool,
) -> Surroundings {
    let cores = replicas.filter_map(core_of).collect();
    let earlier = match earlier_runs(session).await {
        Ok(runs) => runs
            .iter()
            .flat_map(|run| deviations(&run.replicas, &run.deviations))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "earlier runs could not be read, and hints go without them");
            Vec::new()
        }
    };
    Surroundings {
        cores,
        earlier,
        // All replicas of a run have one CPU model, and golden values are keyed by its class.
        classes_differ: false,
        portable,
        ..Surroundings::default()
    }
}

/// Metrics of the last clean runs of the same work on the same machine: whatever the seed, the work
/// is the same. A record that cannot be read costs a run its history, never its verdict.
pub(crate) async fn metric_history(session: &Session, of: &Provenance) -> MetricHistory {
    match clean_runs(session, of).await {
        Ok(runs) => pooled(&runs),
        Err(error) => {
            tracing::warn!(%error, "earlier runs could not be read, and metrics go without them");
            MetricHistory::default()
        }
    }
}

async fn clean_runs(session: &Session, of: &Provenance) -> Result<Vec<Run>, StoreError> {
    let summaries = session.store.runs(RUNS_SEEN).await?;
    let clean = summaries.into_iter().filter(|summary| {
        summary.verdict == Some(Verdict::Pass) && summary.computation == of.computation
    });
    let mut runs = Vec::new();
    for summary in clean.take(RUNS_LOOKED_AT) {
        let run = session.store.run(summary.id).await?;
        runs.extend(
            run.filter(|run| run.injections.is_empty() && is_same_work(&run.provenance, of)),
        );
        if runs.len() >= RUNS_READ {
            break;
        }
    }
    Ok(runs)
}

fn is_same_work(one: &Provenance, other: &Provenance) -> bool {
    let seedless = |one: &Provenance| Provenance {
        seed: 0,
        vardoger: String::new(),
        ..one.clone()
    };
    seedless(one) == seedless(other)
}

fn pooled(runs: &[Run]) -> MetricHistory {
    let mut history = MetricHistory::default();
    for run in runs {
        let metrics = run.replicas.iter().flat_map(|replica| &replica.metrics);
        let statistical = metrics.filter(|metric| !metric.exact);
        history.add_run(statistical.map(|metric| (metric.name.as_str(), metric.value)));
    }
    history
}

fn core_of(record: &ReplicaRecord) -> Option<(ReplicaIndex, Core)> {
    Some((record.index, Core::of(&record.placement)?))
}

/// Runs that deviated without a fault having been ordered, newest first.
async fn earlier_runs(session: &Session) -> Result<Vec<Run>, StoreError> {
    let summaries = session.store.runs(RUNS_SEEN).await?;
    let deviating = summaries
        .into_iter()
        .filter(|summary| summary.verdict == Some(Verdict::Deviates));
    let mut runs = Vec::new();
    for summary in deviating.take(RUNS_READ) {
        runs.extend(session.store.run(summary.id).await?);
    }
    runs.retain(|run| run.injections.is_empty());
    Ok(runs)
}

/// Who deviated in a run, on which core and in which pages.
fn deviations(replicas: &[ReplicaRecord], deviations: &[Deviation]) -> Vec<EarlierDeviation> {
    let on: Vec<(ReplicaIndex, Core)> = replicas.iter().filter_map(core_of).collect();
    let one = |deviation: &Deviation| {
        let who = deviation.replica?;
        let (_, core) = on.iter().find(|(index, _)| *index == who)?;
        Some(EarlierDeviation {
            core: core.clone(),
            cores: on.iter().map(|(_, core)| core.clone()).collect(),
            pages: pages(deviation),
        })
    };
    deviations.iter().filter_map(one).collect()
}

/// The pages of memory in which a replica differed, as far as they were listed.
pub(crate) fn pages(deviation: &Deviation) -> BTreeSet<u64> {
    let memory = deviation
        .differences
        .iter()
        .filter(|difference| difference.part == Part::Memory);
    memory
        .filter_map(|difference| match &difference.locus {
            Locus::Address(address) => Some(address.0 / PAGE_BYTES as u64),
            Locus::Name(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Difference, Elapsed, GuestPhysicalAddress, Outcome, Placement, Severity};

    fn replica(index: u32, cpu: u32, core: Option<u32>) -> ReplicaRecord {
        ReplicaRecord {
            index: ReplicaIndex(index),
            outcome: Outcome::Ended,
            placement: Placement {
                host: "h".to_owned(),
                cpus: vec![cpu],
                core,
                ..Placement::default()
            },
            cpu: Elapsed::from_ns(1),
            wall: Elapsed::from_ns(1),
            instructions: None,
            steps: 1,
            changed_pages: 1,
            result_digest: None,
            exit_status: None,
            metrics: Vec::new(),
            image: None,
            state: None,
        }
    }

    fn deviation(replica: Option<u32>, differences: Vec<Difference>) -> Deviation {
        Deviation {
            replica: replica.map(ReplicaIndex),
            score: 1.0,
            baseline: 0.0,
            severity: Severity::High,
            first: None,
            differences,
            differences_total: 1,
            differing_words: 1,
            differing_pages: 1,
            words_digest: None,
            differing_registers: 0,
            differing_lines: 0,
            hints: Vec::new(),
            next_experiment: None,
        }
    }

    #[test]
    fn who_deviated_is_remembered_by_core_and_page() {
        let replicas = [
            replica(0, 4, Some(2)),
            replica(1, 5, Some(2)),
            replica(2, 6, None),
        ];
        let word = |part, address| {
            let address = GuestPhysicalAddress(address);
            serde_json::from_value(serde_json::json!({
                "part": part, "locus": { "address": address }, "expected": "00", "found": "01",
                "flipped_bits": [0], "symbol": null
            }))
            .unwrap()
        };
        let differences = vec![word("memory", 0x5008), word("memory", 0x5ff8)];
        let deviating = [deviation(None, Vec::new()), deviation(Some(1), differences)];
        let earlier = deviations(&replicas, &deviating);
        assert_eq!(earlier.len(), 1, "nobody in particular is left out");
        assert_eq!((earlier[0].core.core, earlier[0].core.socket), (2, None));
        assert_eq!(earlier[0].pages, BTreeSet::from([5]));
        // Siblings are one core; a CPU whose core is not known is one by itself.
        let cores: Vec<u32> = earlier[0].cores.iter().map(|core| core.core).collect();
        assert_eq!(cores, [2, 2, 6]);
    }
}
