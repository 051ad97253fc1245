//! Instruction-set classes: the levels of the x86-64 psABI, found from a list of features.
//!
//! A digest that depends on the code path (fused multiply-add, wider vectors) is only comparable
//! within one class. Features are named as the standard library names them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A class of processors that execute the same code paths.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Class {
    /// The result is the same on all classes.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// SSE2: every x86-64 processor.
    #[serde(rename = "x86-64-v1")]
    V1,
    /// SSE4.2 and POPCNT.
    #[serde(rename = "x86-64-v2")]
    V2,
    /// AVX2, FMA and BMI.
    #[serde(rename = "x86-64-v3")]
    V3,
    /// AVX-512 F, BW, CD, DQ and VL.
    #[serde(rename = "x86-64-v4")]
    V4,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::V1 => "x86-64-v1",
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
            Self::V4 => "x86-64-v4",
        })
    }
}

/// What each class adds to the one before, lowest first.
const LEVELS: [(Class, &[&str]); 3] = [
    (
        Class::V2,
        &["cmpxchg16b", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"],
    ),
    (
        Class::V3,
        &[
            "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe",
        ],
    ),
    (
        Class::V4,
        &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"],
    ),
];

/// The highest class all of whose features, and those of the classes below, are in the list.
#[must_use]
pub fn class_of<T: AsRef<str>>(features: &[T]) -> Class {
    let has = |name: &&str| features.iter().any(|feature| feature.as_ref() == *name);
    LEVELS
        .iter()
        .take_while(|(_, needed)| needed.iter().all(has))
        .last()
        .map_or(Class::V1, |(class, _)| *class)
}

/// The class of the processor that executes this.
#[must_use]
pub fn class() -> Class {
    class_of(&features())
}

macro_rules! detected {
    ($($name:tt),* $(,)?) => {{
        let mut found = Vec::new();
        $(if std::is_x86_feature_detected!($name) { found.push($name.to_owned()); })*
        found
    }};
}

/// The features of the processor that executes this, of those that classes or computations ask
/// for, in alphabetical order.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn features() -> Vec<String> {
    detected![
        "adx",
        "aes",
        "avx",
        "avx2",
        "avx512bw",
        "avx512cd",
        "avx512dq",
        "avx512f",
        "avx512vl",
        "bmi1",
        "bmi2",
        "cmpxchg16b",
        "f16c",
        "fma",
        "gfni",
        "lzcnt",
        "movbe",
        "pclmulqdq",
        "popcnt",
        "rdrand",
        "rdseed",
        "sha",
        "sse3",
        "sse4.1",
        "sse4.2",
        "ssse3",
        "vaes",
        "vpclmulqdq",
    ]
}

/// No features are known of other architectures.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn features() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(levels: usize) -> Vec<&'static str> {
        LEVELS[..levels]
            .iter()
            .flat_map(|(_, needed)| needed.iter().copied())
            .collect()
    }

    #[test]
    fn each_level_needs_all_below() {
        assert_eq!(class_of::<&str>(&[]), Class::V1);
        assert_eq!(class_of(&up_to(1)), Class::V2);
        assert_eq!(class_of(&up_to(2)), Class::V3);
        assert_eq!(class_of(&up_to(3)), Class::V4);
        for missing in up_to(1) {
            let mut features = up_to(3);
            features.retain(|feature| *feature != missing);
            assert_eq!(class_of(&features), Class::V1, "without {missing}");
        }
    }

    #[test]
    fn every_feature_of_a_level_is_one_that_can_be_detected() {
        let source = include_str!("isa.rs");
        for feature in up_to(3) {
            assert!(
                source.matches(&format!("\"{feature}\"")).count() >= 2,
                "{feature}"
            );
        }
    }

    #[test]
    fn a_class_reads_what_it_prints() {
        for class in [Class::Any, Class::V1, Class::V2, Class::V3, Class::V4] {
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(json, format!("\"{class}\""));
        }
    }
}
