//! Runs that were never run: records and states as the product keeps them, in which exactly so
//! many pages differ as a test wants.

use model::{
    Coverage, Deviation, Difference, Elapsed, Engine, Event, Finding, FindingId, FindingKind,
    GuestPhysicalAddress, Hint, InstructionCount, Level, Locus, MetricSample, NodeRef, Outcome,
    PAGE_BYTES, Part, Placement, Provenance, ReplicaIndex, ReplicaRecord, Run, RunId, Severity,
    Timestamp, Verdict,
};
use state::{ChangedPages, Memory, Origin, Registers, TerminalState, write_state};
use std::collections::BTreeMap;
use std::path::Path;
use store::{Limits, Store};

/// Replicas of a run; the last but one deviates.
const REPLICAS: u32 = 5;
const WRONG: ReplicaIndex = ReplicaIndex(3);

/// Names and lines that a run holds: what a hostile guest could have written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    pub(crate) host: String,
    pub(crate) line: String,
    pub(crate) symbol: String,
    pub(crate) register: String,
}

/// A run in which so many pages of one replica differ, each in the words that `words_of` says.
pub(crate) struct Synthetic {
    pub(crate) pages: u64,
    pub(crate) words_of_a_page: u64,
    pub(crate) words: Words,
}

impl Synthetic {
    fn run(&self) -> Run {
        let id = RunId::from_parts(1_790_000_000_000 + self.pages, [7; 10]);
        let records = (0..REPLICAS).map(|index| self.record(id, ReplicaIndex(index)));
        let differs = self.pages > 0;
        Run {
            id,
            started: Timestamp::from_unix_ns(1_790_000_000_000_000_000),
            ended: Timestamp::from_unix_ns(1_790_000_004_200_000_000),
            provenance: Provenance {
                vardoger: "0.0.0".to_owned(),
                hypervisor: "QEMU 10.0.2".to_owned(),
                accelerator: "tcg".to_owned(),
                cpu_model: "max".to_owned(),
                vcpus: 1,
                icount: true,
                kernel: "6.1.0".to_owned(),
                kernel_digest: "11".repeat(32),
                guest_digest: "22".repeat(32),
                memory_bytes: 256 << 20,
                computation: "sha256".to_owned(),
                computation_version: 1,
                seed: 7,
                steps: 601,
                program: None,
                command: None,
            },
            deterministic: true,
            verdict: if differs {
                Verdict::Deviates
            } else {
                Verdict::Pass
            },
            reason: if differs {
                format!("replica {WRONG} differs from the majority of {REPLICAS}")
            } else {
                format!("all {REPLICAS} replicas are equal")
            },
            choice: None,
            replicas: records.collect(),
            injections: Vec::new(),
            deviations: if differs {
                vec![self.deviation()]
            } else {
                Vec::new()
            },
            coverage: Coverage {
                bytes_compared: 5 * 245_760_000,
                bytes_not_compared: 5 * 393_216,
                not_compared_reasons: vec![
                    "memory of devices and ROMs beside main memory".to_owned(),
                ],
                units: vec!["integer add/rotate/xor".to_owned()],
                upper_bound: (!differs).then_some(0.451),
                ..Coverage::default()
            },
            golden: None,
            undecided_words: 0,
            noise: None,
            warnings: Vec::new(),
            investigation: None,
            recording: None,
        }
    }

    fn record(&self, run: RunId, index: ReplicaIndex) -> ReplicaRecord {
        let metric = |name: &str, value, exact| MetricSample {
            name: name.to_owned(),
            value,
            exact,
        };
        let wrong = index == WRONG && self.pages > 0;
        ReplicaRecord {
            index,
            outcome: Outcome::Ended,
            placement: Placement {
                host: self.words.host.clone(),
                cpus: vec![index.0],
                ..Placement::default()
            },
            cpu: Elapsed::from_ns(1_010_000_000 + u64::from(index.0)),
            wall: Elapsed::from_ns(1_100_000_000),
            instructions: Some(InstructionCount(233_000_000)),
            steps: 601,
            changed_pages: self.pages + 1000,
            exit_status: None,
            result_digest: Some(if wrong { "ee" } else { "aa" }.repeat(32)),
            metrics: vec![
                metric("bytes_hashed", 2_521_825_280.0, true),
                metric("cpu_s", 1.01 + f64::from(index.0) / 100.0, false),
            ],
            image: None,
            state: wrong.then(|| format!("runs/{run}/replica-{index}.state")),
        }
    }

    fn deviation(&self) -> Deviation {
        let words = self.pages * self.words_of_a_page;
        let mut differences: Vec<Difference> = (0..words.min(254))
            .map(|word| {
                let page = self.number(word / self.words_of_a_page);
                let offset = word % self.words_of_a_page * 8;
                let address = GuestPhysicalAddress(page * PAGE_BYTES as u64 + offset);
                Difference {
                    part: Part::Memory,
                    locus: Locus::Address(address),
                    expected: Some("5a".repeat(8)),
                    found: format!("4a{}", "5a".repeat(7)),
                    flipped_bits: vec![4],
                    symbol: Some(self.words.symbol.clone()),
                    explanation: None,
                }
            })
            .collect();
        let text = |part, name: &str, expected: &str, found: &str| Difference {
            part,
            locus: Locus::Name(name.to_owned()),
            expected: Some(expected.to_owned()),
            found: found.to_owned(),
            flipped_bits: Vec::new(),
            symbol: None,
            explanation: None,
        };
        differences.push(text(
            Part::File,
            "result",
            &"aa".repeat(32),
            &"ee".repeat(32),
        ));
        differences.push(text(
            Part::Log,
            "line 2",
            "half of it is done",
            &self.words.line,
        ));
        Deviation {
            replica: Some(WRONG),
            score: words as f64,
            baseline: 0.0,
            severity: Severity::Critical,
            first: differences.first().cloned(),
            differences,
            differences_total: words + 2,
            differing_words: words,
            differing_pages: self.pages,
            words_digest: Some("33".repeat(32)),
            differing_registers: 0,
            differing_lines: 1,
            hints: Vec::new(),
            next_experiment: None,
        }
    }

    /// The number of a differing page: spread over the memory, as far as there is room.
    fn number(&self, page: u64) -> u64 {
        let stride = (65_536 / self.pages.max(1)).clamp(1, 7);
        page * stride
    }

    fn state(&self, wrong: bool) -> TerminalState {
        let numbers: Vec<u64> = (0..self.pages).map(|page| self.number(page)).collect();
        let mut bytes = vec![0x5a; numbers.len() * PAGE_BYTES];
        if wrong {
            for page in bytes.as_chunks_mut::<PAGE_BYTES>().0 {
                for word in 0..self.words_of_a_page as usize {
                    page[word * 8] ^= 1 << 4;
                }
            }
        }
        let registers = BTreeMap::from([
            ("rax".to_owned(), "00000000deadbeef".to_owned()),
            (self.words.register.clone(), "0000000000000007".to_owned()),
        ]);
        let line = if wrong {
            &self.words.line
        } else {
            "half of it is done"
        };
        TerminalState {
            memory: Memory::Changed(ChangedPages::new(numbers, bytes).unwrap()),
            registers: Registers::try_from(registers).unwrap(),
            log: ["started", line, "ended"].map(str::to_owned).to_vec(),
            ..TerminalState::default()
        }
    }

    fn finding(run: &Run, blobs: Vec<String>) -> Finding {
        Finding {
            id: FindingId::from_parts(1_790_000_000_000, [9; 10]),
            at: run.ended,
            engine: Engine::Divergence,
            engine_version: "divergence 1".to_owned(),
            kind: FindingKind::SilentWrongOutput,
            node: NodeRef {
                level: Level::System,
                id: format!("{}/replica-{WRONG}", run.id),
            },
            severity: Severity::Critical,
            score: 92,
            probability: None,
            summary: run.reason.clone(),
            evidence: Vec::new(),
            evidence_blobs: blobs,
            hints: vec![Hint {
                cause: "a fixed defect of a data path".to_owned(),
                reason: "bits [4] differ in every listed word".to_owned(),
                probability: Some(0.75),
                likelihood_ratio: Some(1000.0),
                ..Hint::default()
            }],
            next_experiment: None,
            run: Some(run.id),
        }
    }

    /// Puts the run with its evidence into a store, as a run does that has ended; gives its id.
    pub(crate) fn keep_in(&self, directory: &Path) -> String {
        let run = self.run();
        let id = run.id.to_string();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(self.keep(run, directory));
        id
    }

    async fn keep(&self, run: Run, directory: &Path) {
        let store = Store::open(directory, Limits::default()).await.unwrap();
        let now = run.ended;
        let started = Event::RunStarted {
            run: run.id,
            computation: "sha256".to_owned(),
            replicas: REPLICAS,
        };
        store.append(started, now).await.unwrap();
        if self.pages > 0 {
            let keys = [
                (format!("runs/{}/majority.state", run.id), false),
                (format!("runs/{}/replica-{WRONG}.state", run.id), true),
            ];
            for (key, wrong) in &keys {
                let mut bytes = Vec::new();
                write_state(&self.state(*wrong), &Origin::default(), &mut bytes).unwrap();
                store.put_blob(key, bytes).await.unwrap();
            }
            let blobs = keys.map(|(key, _)| key).to_vec();
            let finding = Box::new(Self::finding(&run, blobs));
            let found = Event::FindingRecorded { finding };
            store.append(found, now).await.unwrap();
        }
        let run = Box::new(run);
        store.append(Event::RunEnded { run }, now).await.unwrap();
    }
}
