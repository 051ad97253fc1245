//! The truth of a trial: a plain comparison of two machines, whole, which knows nothing of changed
//! pages, majorities or limits, and shares no code with the comparison that it is held against.

use crate::error::ControlError;
use hypervisor::Domain;
use model::{GuestPhysicalAddress, PAGE_BYTES};
use std::collections::BTreeMap;

/// How much is read from a machine at once.
const BYTES_AT_ONCE: usize = 4 << 20;

/// A machine as it stood at its end: all of its memory, and its registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    memory: Vec<u8>,
    registers: BTreeMap<String, String>,
}

impl Whole {
    /// Reads all of a stopped machine.
    pub(crate) async fn read(
        domain: &mut dyn Domain,
        memory_bytes: u64,
    ) -> Result<Self, ControlError> {
        let length = usize::try_from(memory_bytes).unwrap_or(0);
        let mut memory = vec![0; length];
        for (index, part) in memory.chunks_mut(BYTES_AT_ONCE).enumerate() {
            let address = (index * BYTES_AT_ONCE) as u64;
            domain.read_memory(GuestPhysicalAddress(address), part)?;
        }
        Ok(Self {
            memory,
            registers: domain.registers().await?,
        })
    }

    /// How many aligned 64-bit words and how many registers differ.
    pub(super) fn differences(&self, other: &Self) -> (u64, u64) {
        let pages = self.memory.chunks(PAGE_BYTES);
        let differing = pages
            .zip(other.memory.chunks(PAGE_BYTES))
            .filter(|(one, other)| one != other);
        let words = differing.flat_map(|(one, other)| one.chunks(8).zip(other.chunks(8)));
        let words = words.filter(|(one, other)| one != other).count();
        let names = self.registers.keys().chain(other.registers.keys());
        let names: std::collections::BTreeSet<_> = names.collect();
        let registers = names
            .into_iter()
            .filter(|&name| self.registers.get(name) != other.registers.get(name))
            .count();
        (words as u64, registers as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_register_counts() {
        let whole = |memory: &[u8], registers: &[(&str, &str)]| Whole {
            memory: memory.to_vec(),
            registers: registers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let one = whole(&[0; 24], &[("rax", "0"), ("rbx", "1")]);
        assert_eq!(one.differences(&one.clone()), (0, 0));
        let mut memory = [0; 24];
        memory[7] = 1;
        memory[16] = 1;
        memory[17] = 1;
        let other = whole(&memory, &[("rax", "1"), ("rcx", "1")]);
        assert_eq!(one.differences(&other), (2, 3));
    }
}
