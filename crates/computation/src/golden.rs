//! Golden digests: what a computation's digest is known to be.
//!
//! The key is (computation, its version, seed, steps, instruction-set class); the class is `any`
//! for a portable computation. `golden.json` ships with the product; more are learned natively,
//! because the same code runs there. This module computes and looks up; it stores nothing.

use crate::catalogue::Descriptor;
use crate::digest::Digest;
use crate::isa;
use serde::{Deserialize, Serialize};

/// The format of a table that this version reads and writes.
pub const FORMAT: u32 = 1;

/// What a golden digest is known for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The computation's name.
    pub computation: String,
    /// The version of its entry in the catalogue.
    pub version: u32,
    /// The seed of its input.
    pub seed: u64,
    /// How many steps it took.
    pub steps: u64,
    /// The class of the processors on which the digest holds.
    pub class: isa::Class,
}

/// A known digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Golden {
    /// What it is known for.
    #[serde(flatten)]
    pub key: Key,
    /// What [`crate::Kernel::digest`] gives there.
    pub digest: Digest,
}

/// A table of known digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    format: u32,
    entries: Vec<Golden>,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// The text is not a table.
    #[error("parse golden digests: {0}")]
    Parse(#[from] serde_json::Error),
    /// The table was written by a newer version.
    #[error("golden digests have format {found}, this version reads format {FORMAT}")]
    Format {
        /// The format that the table names.
        found: u32,
    },
}

impl Table {
    /// A table of entries.
    #[must_use]
    pub const fn new(entries: Vec<Golden>) -> Self {
        let format = FORMAT;
        Self { format, entries }
    }

    /// Reads a table from JSON.
    ///
    /// # Errors
    /// The text is no table, or one of another format.
    pub fn parse(json: &str) -> Result<Self, GoldenError> {
        let table: Self = serde_json::from_str(json)?;
        match table.format {
            FORMAT => Ok(table),
            found => Err(GoldenError::Format { found }),
        }
    }

    /// All entries, in the table's order.
    #[must_use]
    pub fn entries(&self) -> &[Golden] {
        &self.entries
    }

    /// The digest that is known for a key.
    #[must_use]
    pub fn lookup(&self, key: &Key) -> Option<&Golden> {
        self.entries.iter().find(|golden| golden.key == *key)
    }
}

/// The table that ships with the product.
///
/// # Errors
/// Never, if the tests of this crate pass; the type says so rather than a panic.
pub fn shipped() -> Result<Table, GoldenError> {
    Table::parse(include_str!("golden.json"))
}

/// The key of a run: `class` is that of the processor that executes it.
#[must_use]
pub fn key(descriptor: &Descriptor, seed: u64, steps: u64, class: isa::Class) -> Key {
    Key {
        computation: descriptor.name.to_owned(),
        version: descriptor.version,
        seed,
        steps,
        class: if descriptor.portable {
            isa::Class::Any
        } else {
            class
        },
    }
}

/// Computes a golden digest on the processor that executes this. Takes as long as the computation
/// does natively.
#[must_use]
pub fn native(descriptor: &Descriptor, seed: u64, steps: u64) -> Golden {
    let mut kernel = descriptor.start(seed);
    for _ in 0..steps {
        kernel.step();
    }
    Golden {
        key: key(descriptor, seed, steps, isa::class()),
        digest: Digest(kernel.digest()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{catalogue, find};

    /// What ships, by computation: a step, the least that a run takes, and what a default budget
    /// takes.
    const SHIPPED: [(&str, &[u64]); 31] = [
        ("aes", &[1, 64, 995]),
        ("bigint", &[1, 16, 1406]),
        ("compress", &[1, 8, 18]),
        ("copy", &[1, 4, 194]),
        ("core", &[1, 4, 486]),
        ("crc", &[1, 64, 480]),
        ("decompose", &[1, 4, 282]),
        ("elementary", &[1, 4, 294]),
        ("fft", &[1, 4, 186]),
        ("fused", &[1, 4, 178]),
        ("gather", &[1, 4, 324]),
        ("hashes", &[1, 64, 313]),
        ("images", &[1, 12, 17]),
        ("interpreter", &[1, 4, 1305]),
        ("kernel", &[1, 32, 205]),
        ("linpack", &[1, 4, 242]),
        ("mappings", &[1, 4, 50]),
        ("matmul", &[1, 4, 7]),
        ("memory", &[1, 8, 37]),
        ("multiply", &[1, 4, 383]),
        ("products", &[1, 4, 53]),
        ("sha256", &[1, 64, 225]),
        ("sort", &[1, 4, 94]),
        ("sqlite", &[1, 16, 59]),
        ("stream", &[1, 2, 98]),
        ("text", &[1, 4, 178]),
        ("threads", &[1, 8, 14]),
        ("vectors", &[1, 4, 172]),
        ("video", &[1, 8, 37]),
        ("x87", &[1, 4, 1234]),
        ("zstd", &[1, 4, 158]),
    ];

    #[test]
    fn shipped_digests_are_what_this_machine_computes() {
        let computed = SHIPPED.iter().flat_map(|(name, steps)| {
            let descriptor = find(name).unwrap();
            steps.iter().map(|steps| native(descriptor, 0, *steps))
        });
        let expected = Table::new(computed.collect());
        let json = serde_json::to_string_pretty(&expected).unwrap();
        assert_eq!(
            shipped().unwrap(),
            expected,
            "golden.json should be\n{json}\n"
        );
    }

    #[test]
    fn every_computation_ships_digests_of_its_present_version() {
        let table = shipped().unwrap();
        for descriptor in catalogue() {
            let steps = descriptor.minimum_steps;
            let found = table.lookup(&key(descriptor, 0, steps, isa::Class::V2));
            assert!(found.is_some(), "{}", descriptor.name);
            assert!(
                table
                    .lookup(&key(descriptor, 1, steps, isa::Class::V2))
                    .is_none()
            );
        }
    }

    #[test]
    fn a_newer_table_is_refused_by_name() {
        let error = Table::parse(r#"{"format":2,"entries":[]}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "golden digests have format 2, this version reads format 1"
        );
        assert!(Table::parse("[]").is_err());
    }
}
