//! How one replica deviates, or how all differ where nobody can be named.

use crate::difference;
use crate::input::{Context, Options, Replica};
use crate::kind::{kind_of, severity_of};
use crate::parts::{Counts, Parts};
use model::{Deviation, Difference, FindingKind};

/// A deviation with what its finding needs.
pub(crate) struct Deviant {
    pub(crate) deviation: Deviation,
    pub(crate) kind: FindingKind,
    /// The differences that count: those of the deviation without the noise of an inexact machine.
    pub(crate) counts: Counts,
}

/// What all deviations of a run are made from.
pub(crate) struct Evidence<'a> {
    pub(crate) replicas: &'a [Replica<'a>],
    pub(crate) parts: &'a Parts,
    pub(crate) context: &'a Context<'a>,
    pub(crate) options: &'a Options,
}

impl Evidence<'_> {
    /// One deviation for each replica that differs from a majority where that counts.
    pub(crate) fn of_replicas(&self) -> Vec<Deviant> {
        let positions = 0..self.replicas.len();
        let counts = |position| self.parts.voting(self.parts.differing(position));
        positions
            .filter(|position| !counts(*position).is_zero())
            .map(|position| self.of_replica(position))
            .collect()
    }

    /// The one deviation of a run in which nobody can be named; its kind is that of what differs
    /// unless one is given.
    pub(crate) fn of_nobody(&self, kind: Option<FindingKind>) -> Deviant {
        let all = self.parts.undecided();
        let counts = self.parts.voting(all);
        let memory = &self.parts.memory;
        let kind = kind.unwrap_or_else(|| kind_of(self.replicas, counts));
        let symbols = self.context.symbols;
        let differences = difference::undecided(self.parts, symbols, self.listed());
        let deviation = Deviation {
            differing_pages: memory.undecided_pages.count,
            words_digest: memory.undecided_digest.clone(),
            ..deviation(kind, all, counts, differences)
        };
        Deviant {
            deviation,
            kind,
            counts,
        }
    }

    fn of_replica(&self, position: usize) -> Deviant {
        let all = self.parts.differing(position);
        let counts = self.parts.voting(all);
        let replica = self.replicas.get(position);
        let memory = self.parts.memory.replicas.get(position);
        let kind = kind_of(replica.map_or(&[], std::slice::from_ref), counts);
        let symbols = self.context.symbols;
        let differences = difference::of_replica(self.parts, position, symbols, self.listed());
        let deviation = Deviation {
            replica: replica.map(|replica| replica.index),
            differing_pages: memory.map_or(0, |one| one.pages.count),
            words_digest: memory.and_then(|one| one.words_digest.clone()),
            ..deviation(kind, all, counts, differences)
        };
        Deviant {
            deviation,
            kind,
            counts,
        }
    }

    fn listed(&self) -> usize {
        self.options.listed_differences()
    }
}

/// A deviation of nobody in particular, without what only its kind of comparison knows.
fn deviation(
    kind: FindingKind,
    all: Counts,
    counts: Counts,
    differences: Vec<Difference>,
) -> Deviation {
    Deviation {
        replica: None,
        score: counts.largest() as f64,
        baseline: 0.0,
        severity: severity_of(kind, counts),
        first: differences.first().cloned(),
        differences,
        differences_total: all.total(),
        differing_words: all.memory,
        differing_pages: 0,
        words_digest: None,
        differing_registers: all.registers,
        differing_lines: all.log,
        hints: Vec::new(),
        next_experiment: None,
    }
}
