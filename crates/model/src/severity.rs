//! How bad: one scale for all engines, and the one formula that sets it.
//!
//! The kind of a finding sets the floor; how much differs (magnitude) and how many parts it
//! touches (breadth) raise it by at most one step. The order of the floors follows the risk order
//! of Hochschild et al., "Cores that don't count" (HotOS 2021): detected at once < detected late <
//! never detected, so a wrong output that nothing else noticed is the worst.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Explained, or of no consequence.
    Info,
    /// A metric or a duration only.
    Low,
    /// A crash or a hang: bad, but nobody can overlook it.
    Medium,
    /// Latent: the state differs although the output is equal.
    High,
    /// Silent wrong output.
    Critical,
}

impl Severity {
    /// One step worse, up to [`Severity::Critical`].
    #[must_use]
    pub const fn raised(self) -> Self {
        match self {
            Self::Info => Self::Low,
            Self::Low => Self::Medium,
            Self::Medium => Self::High,
            Self::High | Self::Critical => Self::Critical,
        }
    }

    /// The severity of a deviation: the floor of its kind, one step higher when it is wide.
    ///
    /// Wide means at least [`WIDE_MAGNITUDE`] differing words or lines, or at least
    /// [`WIDE_BREADTH`] differing parts. What is explained stays info, and a metric alone stays low,
    /// however far they reach.
    #[must_use]
    pub fn of(floor: Self, magnitude: u64, breadth: usize) -> Self {
        let wide = magnitude >= WIDE_MAGNITUDE || breadth >= WIDE_BREADTH;
        if wide && floor > Self::Low {
            floor.raised()
        } else {
            floor
        }
    }
}

/// Differing words from which a deviation is wide: 512 words of 8 bytes are one whole page.
pub const WIDE_MAGNITUDE: u64 = 512;

/// Differing parts (memory, registers, log, …) from which a deviation is wide.
pub const WIDE_BREADTH: usize = 3;

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Severity; 5] = [
        Severity::Info,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    proptest! {
        #[test]
        fn more_is_never_less_bad(
            floor in prop::sample::select(&ALL[..]),
            (magnitude, more) in (0_u64..2048, 0_u64..2048),
            (breadth, broader) in (0_usize..8, 0_usize..8),
        ) {
            let severity = Severity::of(floor, magnitude, breadth);
            prop_assert!(severity >= floor && severity <= floor.raised());
            prop_assert!(Severity::of(floor, magnitude + more, breadth) >= severity);
            prop_assert!(Severity::of(floor, magnitude, breadth + broader) >= severity);
            prop_assert!(Severity::of(floor.raised(), magnitude, breadth) >= severity);
        }
    }

    #[test]
    fn an_explained_difference_and_a_metric_stay_what_they_are() {
        for floor in [Severity::Info, Severity::Low] {
            assert_eq!(Severity::of(floor, u64::MAX, usize::MAX), floor);
        }
        assert!(ALL.is_sorted());
    }

    #[test]
    fn the_floor_holds_and_width_raises_one_step() {
        assert_eq!(Severity::of(Severity::High, 1, 1), Severity::High);
        assert_eq!(Severity::of(Severity::High, 512, 1), Severity::Critical);
        assert_eq!(Severity::of(Severity::Medium, 1, 3), Severity::High);
        assert_eq!(Severity::of(Severity::Low, 1 << 40, 9), Severity::Low);
        assert_eq!(
            Severity::of(Severity::Critical, 1 << 40, 9),
            Severity::Critical
        );
    }
}
