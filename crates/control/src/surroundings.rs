//! What the hints of a run are told besides its differences: where its replicas ran, and which
//! earlier runs deviated, on which cores and in which pages.
//!
//! Runs into which faults were ordered say nothing of the host, and are left out.

use crate::session::Session;
use divergence::hint::surroundings::{Core, EarlierDeviation, Surroundings};
use model::{Deviation, Locus, PAGE_BYTES, Part, ReplicaIndex, ReplicaRecord, Run, Verdict};
use std::collections::BTreeSet;
use store::StoreError;

/// Runs of the past that are looked through for some that deviated.
const RUNS_SEEN: u32 = 1_000;

/// Earlier runs that are read whole: more than a few dozen move no probability.
const RUNS_READ: usize = 32;

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
    }
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

fn pages(deviation: &Deviation) -> BTreeSet<u64> {
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
