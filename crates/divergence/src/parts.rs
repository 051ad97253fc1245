//! The comparison of every part of N terminal states, and how much of each differs.

use crate::align::AlignedWord;
use crate::input::{Context, Options, Replica};
use model::{Outcome, Part};
use state::{
    CompareError, FileComparison, Limits, MemoryComparison, TextComparison, UndecidedText,
    compare_files, compare_lines, compare_memory, compare_named, compare_values,
};
use std::collections::BTreeMap;

/// The name under which the digest of the computation's own result is compared.
pub(crate) const RESULT_NAME: &str = "result";

/// The name under which a program's exit status is compared; it counts as part of the outcome.
const EXIT_STATUS_NAME: &str = "exit status";

/// The parts in the order in which differences are listed.
const PARTS: [Part; 7] = [
    Part::Outcome,
    Part::Memory,
    Part::Register,
    Part::File,
    Part::Disk,
    Part::Log,
    Part::Metric,
];

/// All parts, compared. The result digest counts as a file: both are what the computation puts
/// out.
pub(crate) struct Parts {
    pub(crate) outcome: TextComparison,
    pub(crate) exit_status: TextComparison,
    pub(crate) memory: MemoryComparison,
    pub(crate) registers: TextComparison,
    pub(crate) result: TextComparison,
    pub(crate) files: FileComparison,
    pub(crate) disk: FileComparison,
    pub(crate) log: TextComparison,
    pub(crate) metrics: TextComparison,
    /// What named buffers say, by name, of machines that were aligned.
    pub(crate) buffers: TextComparison,
    /// Words of named buffers in which each replica differs, and those that nothing decides.
    pub(crate) buffer_words: Vec<u64>,
    pub(crate) buffer_undecided: u64,
    /// The first of them.
    pub(crate) in_buffers: Vec<AlignedWord>,
    votes: MachineVotes,
}

/// Whether memory and registers decide a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MachineVotes {
    /// Bit-exact machines: all of it.
    All,
    /// Aligned machines: named buffers.
    Buffers,
    /// Neither: none of it.
    None,
}

impl Parts {
    pub(crate) fn compare(
        replicas: &[Replica<'_>],
        context: &Context<'_>,
        options: &Options,
    ) -> Result<Self, CompareError> {
        let limits = options.limits();
        let states = || replicas.iter().map(|replica| replica.state);
        let aligned = context.aligned;
        let registers: Vec<BTreeMap<&str, &str>> = states()
            .map(|state| match aligned {
                Some(_) => BTreeMap::new(),
                None => state.registers.iter().collect(),
            })
            .collect();
        let memory = match aligned {
            Some(aligned) => MemoryComparison {
                bytes_compared: aligned.bytes_compared,
                ..MemoryComparison::default()
            },
            None => {
                let memories: Vec<_> = states().map(|state| state.memory.view()).collect();
                compare_memory(&context.base, &memories, limits)?
            }
        };
        let said: Vec<BTreeMap<String, String>> = aligned.map_or_else(
            || vec![BTreeMap::new(); replicas.len()],
            |aligned| aligned.registered.iter().map(buffer_names).collect(),
        );
        let results: Vec<_> = states()
            .map(|state| state.result_digest.as_deref())
            .collect();
        let exits: Vec<_> = states().map(|state| state.exit_status.as_deref()).collect();
        let files: Vec<_> = states().map(|state| &state.files).collect();
        let disks: Vec<_> = states().map(|state| &state.disk).collect();
        let logs: Vec<_> = states().map(|state| state.log.as_slice()).collect();
        let exact = |replica| exact_metrics(replica, context.deterministic);
        let metrics: Vec<_> = replicas.iter().map(exact).collect();
        Ok(Self {
            outcome: compare_outcomes(replicas, limits),
            exit_status: compare_values(EXIT_STATUS_NAME, &exits, limits),
            memory,
            registers: compare_named(&registers, limits),
            result: compare_values(RESULT_NAME, &results, limits),
            files: compare_files(&files, limits),
            disk: compare_files(&disks, limits),
            log: compare_lines(&logs, limits),
            metrics: compare_named(&metrics, limits),
            buffers: compare_named(&borrowed(&said), limits),
            buffer_words: aligned.map_or_else(Vec::new, |aligned| aligned.buffer_words.clone()),
            buffer_undecided: aligned.map_or(0, |aligned| aligned.buffer_undecided),
            in_buffers: aligned.map_or_else(Vec::new, |aligned| aligned.in_buffers.clone()),
            votes: match (context.deterministic, aligned) {
                (true, _) => MachineVotes::All,
                (false, Some(_)) => MachineVotes::Buffers,
                (false, None) => MachineVotes::None,
            },
        })
    }

    /// How much one replica, by its position, differs from the majority.
    pub(crate) fn differing(&self, position: usize) -> Counts {
        let texts =
            |part: &TextComparison| part.replicas.get(position).map_or(0, |one| one.differing);
        let memory = self.memory.replicas.get(position);
        let files = self.files.replicas.get(position);
        let disk = self.disk.replicas.get(position);
        Counts {
            outcome: texts(&self.outcome) + texts(&self.exit_status),
            memory: memory.map_or(0, |one| one.differing_words)
                + self.buffer_words.get(position).copied().unwrap_or(0),
            registers: texts(&self.registers),
            files: texts(&self.result)
                + texts(&self.buffers)
                + files.map_or(0, |one| one.differing_words),
            disk: disk.map_or(0, |one| one.differing_words),
            log: texts(&self.log),
            metrics: texts(&self.metrics),
        }
    }

    /// How much no majority decided.
    pub(crate) const fn undecided(&self) -> Counts {
        Counts {
            outcome: self.outcome.undecided_count + self.exit_status.undecided_count,
            memory: self.memory.undecided_words + self.buffer_undecided,
            registers: self.registers.undecided_count,
            files: self.result.undecided_count
                + self.buffers.undecided_count
                + self.files.undecided_count,
            disk: self.disk.undecided_count,
            log: self.log.undecided_count,
            metrics: self.metrics.undecided_count,
        }
    }

    /// Of some counts those that may decide a verdict: all on a bit-exact machine, else only what
    /// the computation itself puts out.
    pub(crate) const fn voting(&self, counts: Counts) -> Counts {
        match self.votes {
            MachineVotes::All => counts,
            MachineVotes::Buffers => Counts {
                registers: 0,
                ..counts
            },
            MachineVotes::None => Counts {
                memory: 0,
                registers: 0,
                ..counts
            },
        }
    }

    /// Bytes that were compared, over all parts and replicas. Outcomes, digests and metrics are
    /// facts about a state, not bytes of it.
    pub(crate) const fn bytes_compared(&self) -> u64 {
        self.memory.bytes_compared
            + self.registers.bytes_compared
            + self.files.bytes_compared
            + self.disk.bytes_compared
            + self.log.bytes_compared
    }
}

/// How many differences there are in each part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) outcome: u64,
    pub(crate) memory: u64,
    pub(crate) registers: u64,
    pub(crate) files: u64,
    pub(crate) disk: u64,
    pub(crate) log: u64,
    pub(crate) metrics: u64,
}

impl Counts {
    /// The counts, in the order in which differences are listed.
    pub(crate) fn by_part(self) -> impl Iterator<Item = (Part, u64)> {
        let counts = [
            self.outcome,
            self.memory,
            self.registers,
            self.files,
            self.disk,
            self.log,
            self.metrics,
        ];
        PARTS.into_iter().zip(counts)
    }

    /// All differences together.
    pub(crate) fn total(self) -> u64 {
        self.by_part().map(|(_, count)| count).sum()
    }

    /// The largest count of a part: the score where every baseline is 0.
    pub(crate) fn largest(self) -> u64 {
        self.by_part().map(|(_, count)| count).max().unwrap_or(0)
    }

    /// How many parts differ.
    pub(crate) fn breadth(self) -> usize {
        self.by_part().filter(|(_, count)| *count > 0).count()
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }
}

fn borrowed(said: &[BTreeMap<String, String>]) -> Vec<BTreeMap<&str, &str>> {
    said.iter()
        .map(|one| {
            let named = one.iter();
            named
                .map(|(name, what)| (name.as_str(), what.as_str()))
                .collect()
        })
        .collect()
}

/// Buffers under the names by which reports know them.
fn buffer_names(registered: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let named = registered.iter();
    named
        .map(|(name, said)| (format!("buffer {name}"), said.clone()))
        .collect()
}

/// Compares outcomes. Only a majority that ended can say that the others are wrong: where most
/// hung or crashed and some did not, the outcome is undecided.
fn compare_outcomes(replicas: &[Replica<'_>], limits: Limits) -> TextComparison {
    let outcomes: Vec<String> = replicas
        .iter()
        .map(|replica| replica.state.outcome.to_string())
        .collect();
    let values: Vec<Option<&str>> = outcomes
        .iter()
        .map(|outcome| Some(outcome.as_str()))
        .collect();
    let mut comparison = compare_values("outcome", &values, limits);
    if !comparison.is_equal() && !most_ended(replicas) {
        comparison
            .replicas
            .iter_mut()
            .for_each(|one| *one = Default::default());
        comparison.undecided_count = 1;
        comparison.undecided = vec![UndecidedText {
            name: "outcome".to_owned(),
            found: outcomes.into_iter().map(Some).collect(),
        }];
    }
    comparison
}

/// Whether strictly more than half of the replicas reached their terminal mark.
pub(crate) fn most_ended(replicas: &[Replica<'_>]) -> bool {
    2 * ended(replicas) > replicas.len()
}

/// How many replicas reached their terminal mark.
pub(crate) fn ended(replicas: &[Replica<'_>]) -> usize {
    let ended = |replica: &&Replica<'_>| replica.state.outcome == Outcome::Ended;
    replicas.iter().filter(ended).count()
}

/// The metrics that must be equal; on a machine that is not bit-exact there are none.
fn exact_metrics<'a>(replica: &Replica<'a>, deterministic: bool) -> BTreeMap<&'a str, String> {
    let metrics = replica.state.metrics.iter();
    metrics
        .filter(|metric| metric.exact && deterministic)
        .map(|metric| (metric.name.as_str(), metric.value.to_string()))
        .collect()
}
