//! Marks: the places of a computation at which a guest can stop. They lie between steps.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A place in a computation. In text: `start`, `half`, `end`, `step:K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Before the first step.
    Start,
    /// Before the step in the middle.
    Half,
    /// After the last step, when the result has been told: the terminal state.
    End,
    /// Before step K, counted from 0.
    Step(u64),
}

/// The text names no mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown mark `{0}`: one of start, half, end, step:K")]
pub struct ParseMarkError(String);

impl Mark {
    /// The step before which the mark lies, in a computation of `steps` steps; `steps` itself is
    /// after the last.
    #[must_use]
    pub const fn at(self, steps: u64) -> u64 {
        match self {
            Self::Start => 0,
            Self::Half => steps / 2,
            Self::End => steps,
            Self::Step(step) => step,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Half => f.write_str("half"),
            Self::End => f.write_str("end"),
            Self::Step(step) => write!(f, "step:{step}"),
        }
    }
}

impl FromStr for Mark {
    type Err = ParseMarkError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let step = || text.strip_prefix("step:")?.parse().ok().map(Self::Step);
        match text {
            "start" => Ok(Self::Start),
            "half" => Ok(Self::Half),
            "end" => Ok(Self::End),
            _ => step().ok_or_else(|| ParseMarkError(text.to_owned())),
        }
    }
}

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_what_they_print() {
        for mark in [Mark::Start, Mark::Half, Mark::End, Mark::Step(u64::MAX)] {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        for text in ["", "middle", "step", "step:", "step:-1", "step:0x3", "Half"] {
            assert!(text.parse::<Mark>().is_err(), "{text}");
        }
    }

    #[test]
    fn marks_lie_where_they_should() {
        let at = |steps| [Mark::Start, Mark::Half, Mark::End, Mark::Step(3)].map(|m| m.at(steps));
        assert_eq!(at(10), [0, 5, 10, 3]);
        assert_eq!(at(1), [0, 0, 1, 3]);
    }
}
