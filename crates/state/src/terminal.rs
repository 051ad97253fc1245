//! A replica's terminal state: all that is looked at once it has ended, hung or crashed.

use crate::memory::Memory;
use model::{MetricSample, Outcome};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// The most registers of one replica: 64 vCPUs with 128 registers each.
pub const MAX_REGISTERS: usize = 8192;

/// The longest name of a register, in bytes.
pub const MAX_REGISTER_NAME_BYTES: usize = 64;

/// The longest value of a register, in bytes: eight times the 128 hexadecimal digits of a 512-bit
/// vector register.
pub const MAX_REGISTER_VALUE_BYTES: usize = 1024;

/// Why registers were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistersError {
    /// There are more than [`MAX_REGISTERS`].
    #[error("take registers: more than {MAX_REGISTERS}")]
    TooMany,
    /// A name or a value is longer than its limit, or the name is empty.
    #[error("take registers: the name or the value of `{name}` is empty or too long")]
    BadLength {
        /// The register's name, cut to the limit.
        name: String,
    },
}

/// Registers by name: lower-case names, values as hexadecimal text, as the hypervisor prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Registers(BTreeMap<String, String>);

impl Registers {
    /// The registers, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let registers = self.0.iter();
        registers.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// One register's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them.
    #[must_use]
    pub const fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, String>> for Registers {
    type Error = RegistersError;

    fn try_from(registers: BTreeMap<String, String>) -> Result<Self, Self::Error> {
        if registers.len() > MAX_REGISTERS {
            return Err(RegistersError::TooMany);
        }
        let fits = |(name, value): &(&String, &String)| {
            (1..=MAX_REGISTER_NAME_BYTES).contains(&name.len())
                && (1..=MAX_REGISTER_VALUE_BYTES).contains(&value.len())
        };
        match registers.iter().find(|register| !fits(register)) {
            None => Ok(Self(registers)),
            Some((name, _)) => Err(RegistersError::BadLength {
                name: name.chars().take(MAX_REGISTER_NAME_BYTES).collect(),
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Registers {
    /// Stops at the first register beyond the limit, before the others take memory.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Registers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("registers by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Registers, A::Error> {
                let mut registers = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if registers.len() == MAX_REGISTERS {
                        return Err(A::Error::custom(RegistersError::TooMany));
                    }
                    registers.insert(name, value);
                }
                Registers::try_from(registers).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(Bounded)
    }
}

/// A replica's terminal state.
#[derive(Debug, Clone, PartialEq)]
pub struct TerminalState {
    /// Guest-physical memory.
    pub memory: Memory,
    /// Registers of the vCPUs.
    pub registers: Registers,
    /// Lines of the console log, without their line ends, stripped of control characters.
    pub log: Vec<String>,
    /// Files that the computation names, with their content.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Blocks of the machine's disk that were written, with their content as the guest reads it: by
    /// [`disk_block_name`]. The file of a state does not hold them.
    pub disk: BTreeMap<String, Vec<u8>>,
    /// Measured figures.
    pub metrics: Vec<MetricSample>,
    /// How it ended.
    pub outcome: Outcome,
    /// The digest of the result that the computation itself reports.
    pub result_digest: Option<String>,
    /// How the user's program ended, where the computation is one.
    pub exit_status: Option<String>,
}

impl Default for TerminalState {
    /// A state that ended and holds nothing.
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            registers: Registers::default(),
            log: Vec::new(),
            files: BTreeMap::new(),
            disk: BTreeMap::new(),
            metrics: Vec::new(),
            outcome: Outcome::Ended,
            result_digest: None,
            exit_status: None,
        }
    }
}

/// The name of the block of a disk that begins at a byte: names sort as blocks lie.
#[must_use]
pub fn disk_block_name(offset: u64) -> String {
    format!("{offset:016x}")
}

/// The byte at which the block of that name begins.
#[must_use]
pub fn disk_block_offset(name: &str) -> Option<u64> {
    u64::from_str_radix(name, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<Registers, RegistersError> {
        Registers::try_from(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn registers_are_found_by_name() {
        let registers = one("rax", "0000000000000001").unwrap();
        assert_eq!(registers.get("rax"), Some("0000000000000001"));
        assert_eq!(registers.get("rbx"), None);
    }

    #[test]
    fn limits_hold() {
        assert!(one("", "0").is_err());
        assert!(one("rax", "").is_err());
        assert!(one("rax", &"0".repeat(MAX_REGISTER_VALUE_BYTES + 1)).is_err());
        let named = |count: usize| (0..count).map(|index| (index.to_string(), "0".to_owned()));
        let many: BTreeMap<_, _> = named(MAX_REGISTERS + 1).collect();
        assert_eq!(Registers::try_from(many), Err(RegistersError::TooMany));
    }
}
