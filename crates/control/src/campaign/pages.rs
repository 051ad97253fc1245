//! The lists of changed pages, held against whole memories over the trials of a campaign: pure.
//!
//! Whatever is compared stands on such a list: a page that it misses is compared with nothing. So a
//! campaign can hold every list that the kernel gives against a comparison of all memory.

use crate::replica::Captured;
use hypervisor::PageCheck;
use serde::{Deserialize, Serialize};

/// What checks of some replicas have come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageTally {
    /// Replicas that were checked.
    pub replicas: u64,
    /// How many ways of listing pages each of them was listed by; the fewest.
    pub ways: u64,
    /// Pages that were listed, over all replicas.
    pub listed: u64,
    /// Pages that one list held and another did not.
    pub disputed: u64,
    /// Pages that differed from the snapshot.
    pub differing: u64,
    /// Of those the ones that a list did not hold.
    pub missed: u64,
}

impl PageTally {
    /// The checks of captured replicas; nothing if none was checked.
    pub(super) fn of<'a>(captured: impl IntoIterator<Item = &'a Captured>) -> Option<Self> {
        let checks = captured.into_iter().filter_map(|one| one.pages.as_ref());
        Self::sum(checks.map(Self::from))
    }

    /// The sum of tallies; nothing if there is none.
    #[must_use]
    pub fn sum(tallies: impl IntoIterator<Item = Self>) -> Option<Self> {
        tallies.into_iter().reduce(|one, other| Self {
            replicas: one.replicas + other.replicas,
            ways: one.ways.min(other.ways),
            listed: one.listed + other.listed,
            disputed: one.disputed + other.disputed,
            differing: one.differing + other.differing,
            missed: one.missed + other.missed,
        })
    }

    /// Whether all lists were equal and held every page that differed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.disputed == 0 && self.missed == 0
    }
}

impl From<&PageCheck> for PageTally {
    fn from(check: &PageCheck) -> Self {
        Self {
            replicas: 1,
            ways: check.ways,
            listed: check.listed,
            disputed: check.disputed,
            differing: check.differing,
            missed: check.missed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ways: u64, disputed: u64, missed: u64) -> PageTally {
        PageTally::from(&PageCheck {
            ways,
            listed: 10,
            disputed,
            differing: 7,
            missed,
        })
    }

    #[test]
    fn tallies_are_summed_and_the_fewest_ways_count() {
        let sum = PageTally::sum([check(2, 0, 0), check(1, 0, 0)]).unwrap();
        assert_eq!((sum.replicas, sum.ways, sum.listed), (2, 1, 20));
        assert!(sum.is_sound());
        assert_eq!(PageTally::sum([]), None);
    }

    #[test]
    fn one_page_is_enough_to_be_wrong() {
        let sum = |wrong| PageTally::sum([check(2, 0, 0), wrong]).unwrap();
        assert!(!sum(check(2, 1, 0)).is_sound());
        assert!(!sum(check(2, 0, 1)).is_sound());
    }
}
