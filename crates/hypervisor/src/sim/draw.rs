//! Troubles out of a seed: equal seeds give equal troubles, other seeds other ones.

use super::guest::{GATHERING_PAGE, SCRATCH_PAGE, SCRATCH_PAGES, draw};
use super::trouble::{CallTrouble, GuestTrouble, Trouble};
use model::PAGE_BYTES;

/// The most troubles of one seed: with three of them at once a majority can be lost.
const MOST_TROUBLES: u64 = 3;

/// One plan in so many is empty: what goes well must pass.
const ONE_EMPTY_IN: u64 = 8;

/// What a run has: troubles are drawn within it, or a little beyond, where they never come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Calls of the traits that can fail.
    pub calls: u64,
    /// Replicas.
    pub replicas: u64,
    /// Steps of a replica.
    pub steps: u64,
}

impl Trouble {
    /// The troubles of a seed.
    #[must_use]
    pub fn draw(seed: u64, within: &Span) -> Vec<Self> {
        let mut source = Source { seed, drawn: 0 };
        if source.below(ONE_EMPTY_IN) == 0 {
            return Vec::new();
        }
        let count = 1 + source.below(MOST_TROUBLES);
        (0..count).map(|_| source.trouble(within)).collect()
    }
}

/// Numbers out of a seed, one after the other.
struct Source {
    seed: u64,
    drawn: u64,
}

impl Source {
    /// A number below a bound; 0 below 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        draw(self.seed, self.drawn) % bound.max(1)
    }

    fn trouble(&mut self, within: &Span) -> Trouble {
        match self.below(8) {
            0 => Trouble::Boot(self.guest()),
            1..=4 => Trouble::Replica {
                replica: self.below(within.replicas),
                step: self.below(within.steps.saturating_add(2)),
                what: self.guest(),
            },
            _ => Trouble::Call {
                number: 1 + self.below(within.calls.saturating_add(4)),
                how: self.call(),
            },
        }
    }

    fn call(&mut self) -> CallTrouble {
        match self.below(7) {
            0 => CallTrouble::MonitorLost,
            1 => CallTrouble::InputOutput,
            2 => CallTrouble::DiskFull,
            3 => CallTrouble::Deadline,
            4 => CallTrouble::MemoryUnreadable,
            _ => CallTrouble::Nonsense,
        }
    }

    fn guest(&mut self) -> GuestTrouble {
        match self.below(7) {
            0 => GuestTrouble::Hang,
            1 => GuestTrouble::Crash("triple fault".to_owned()),
            2 => GuestTrouble::Fail("out of memory".to_owned()),
            3 => GuestTrouble::Silence,
            4 => GuestTrouble::Say(self.line()),
            _ => GuestTrouble::Flip {
                address: self.address(),
                bit: u32::try_from(self.below(8)).unwrap_or(0),
            },
        }
    }

    /// Anywhere in the pages that its work writes, or outside memory.
    fn address(&mut self) -> u64 {
        let pages = SCRATCH_PAGE + SCRATCH_PAGES - GATHERING_PAGE;
        match self.below(16) {
            0 => u64::MAX - self.below(PAGE_BYTES as u64),
            _ => GATHERING_PAGE * PAGE_BYTES as u64 + self.below(pages * PAGE_BYTES as u64),
        }
    }

    /// Bytes that no guest of ours says: noise, or a line of the protocol out of its turn. It has
    /// an end, so that the line behind it stays whole.
    fn line(&mut self) -> Vec<u8> {
        const LINES: [&[u8]; 4] = [
            b"vd1 ready\n",
            b"vd1 mark {\"name\":\"half\",\"step\":0,\"tsc\":0}\n",
            b"vd1 result {\"digest\":\"\"}\n",
            b"\x1b[2J\xff\xfe panic\n",
        ];
        if let Some(line) = LINES.get(usize::try_from(self.below(8)).unwrap_or(0)) {
            return line.to_vec();
        }
        let length = self.below(200);
        let noise = (0..length).map(|_| u8::try_from(self.below(256)).unwrap_or(0));
        noise.chain(*b"\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashSet};
    use std::mem::discriminant;

    const WITHIN: Span = Span {
        calls: 60,
        replicas: 3,
        steps: 20,
    };

    #[test]
    fn equal_seeds_give_equal_troubles_and_others_others() {
        let all: Vec<_> = (0..500).map(|seed| Trouble::draw(seed, &WITHIN)).collect();
        let again: Vec<_> = (0..500).map(|seed| Trouble::draw(seed, &WITHIN)).collect();
        assert_eq!(all, again);
        let different: BTreeSet<String> = all.iter().map(|one| format!("{one:?}")).collect();
        assert!(different.len() > 400, "{}", different.len());
    }

    #[test]
    fn every_kind_is_drawn_within_the_run() {
        let drawn: Vec<Trouble> = (0..500)
            .flat_map(|seed| Trouble::draw(seed, &WITHIN))
            .collect();
        let (mut calls, mut guests) = (HashSet::new(), HashSet::new());
        for trouble in &drawn {
            match trouble {
                Trouble::Boot(what) => {
                    guests.insert(discriminant(what));
                }
                Trouble::Replica { replica, what, .. } => {
                    assert!(*replica < WITHIN.replicas);
                    guests.insert(discriminant(what));
                }
                Trouble::Call { number, how } => {
                    assert!((1..=WITHIN.calls + 4).contains(number));
                    calls.insert(discriminant(how));
                }
            }
        }
        assert_eq!((calls.len(), guests.len()), (6, 6));
        let empty = (0..500).filter(|seed| Trouble::draw(*seed, &WITHIN).is_empty());
        assert!(empty.count() > 20);
    }
}
