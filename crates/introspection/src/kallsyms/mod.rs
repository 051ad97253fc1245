//! The kernel's own symbol tables, out of its memory.
//!
//! A kernel keeps its symbols compressed in its read-only data (scripts/kallsyms.c of Linux):
//!
//! ```text
//! offsets        u32 for each symbol        ┐ before Linux 6.4
//! relative base  u64                        ┘ (since then behind the token index)
//! number         u32, padded to 8
//! names          length, tokens …           for each symbol, in the order of the offsets
//! markers        u32: where each 256th name begins
//! (sequence      3 bytes for each symbol    in some kernels)
//! tokens         256 texts that end with 0
//! token index    u16: where each token begins
//! ```
//!
//! The tables are found by their content, wherever the kernel lies: the tokens of the digits stand
//! for themselves, and the index must fit the tokens, the markers the names, and the number both.
//! The first letter of a name is its type, as `/proc/kallsyms` shows it.

mod find;
mod names;

pub use find::find;

use crate::symbols::MAX_SYMBOLS;
use std::ops::Range;
use thiserror::Error;

/// A symbol of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSymbol {
    /// Its address; of a per-CPU variable the offset in each CPU's area.
    pub address: u64,
    /// Its type: upper case is global.
    pub kind: u8,
    /// Its name, in printable ASCII.
    pub name: Box<str>,
}

/// The symbols of a kernel, in their own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kallsyms {
    /// All of them.
    pub symbols: Vec<KernelSymbol>,
    /// Where the tokens lie in guest-physical memory.
    pub tokens_at: u64,
    /// The tables themselves, by name and guest-physical address: they have no symbols.
    pub(crate) tables: Vec<(&'static str, Range<u64>)>,
}

impl Kallsyms {
    /// The address of the first symbol of this name.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<u64> {
        let symbol = self.symbols.iter().find(|one| &*one.name == name)?;
        Some(symbol.address)
    }

    /// The table that a byte lies in, and how far in it.
    pub(crate) fn table_at(&self, physical: u64) -> Option<(&'static str, u64)> {
        let (name, range) = self.tables.iter().find(|one| one.1.contains(&physical))?;
        Some((name, physical - range.start))
    }
}

/// Why a kernel's symbols are not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KallsymsError {
    /// No page holds a table of tokens whose index fits.
    #[error("look for the kernel's symbols: no memory holds its tokens")]
    NoTokens,
    /// Tokens were found, and no names that fit them.
    #[error("look for the kernel's symbols: the tokens at {at:#x} have no names before them")]
    NoNames {
        /// The guest-physical address of the last tokens.
        at: u64,
    },
    /// The names have no addresses.
    #[error("look for the kernel's symbols: the names at {at:#x} have no addresses")]
    NoAddresses {
        /// The guest-physical address of the names.
        at: u64,
    },
    /// There are more than the limit.
    #[error("read the kernel's symbols: {count} are more than {MAX_SYMBOLS}")]
    TooMany {
        /// How many.
        count: u32,
    },
    /// A name breaks its form.
    #[error("read the kernel's symbols: name {index} is broken")]
    BrokenName {
        /// Which, counted from 0.
        index: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryImage;
    use crate::synthetic::{Order, symbol_tables};
    use model::PAGE_BYTES;
    use proptest::prelude::*;

    const BASE: u64 = 0xffff_ffff_8100_0000;

    fn tables(symbols: &[KernelSymbol], order: Order, sequence: bool) -> Vec<u8> {
        let symbols = symbols.iter();
        let symbols = symbols.map(|one| (one.address, one.kind, one.name.to_string()));
        symbol_tables(&symbols.collect::<Vec<_>>(), order, sequence)
    }

    /// Memory with the tables somewhere in it.
    fn memory(tables: &[u8], at: usize) -> Vec<u8> {
        let mut bytes = vec![0xcc; at];
        bytes.extend(tables);
        bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES) + PAGE_BYTES, 0);
        bytes
    }

    fn symbols(count: u64) -> Vec<KernelSymbol> {
        let symbol = |number: u64| KernelSymbol {
            address: match number % 97 {
                0 => number * 8,
                _ => BASE + number * 48,
            },
            kind: if number.is_multiple_of(3) { b'T' } else { b'd' },
            name: match number % 211 {
                0 => format!("long_{}_{number}", "x".repeat(200)),
                _ => format!("symbol_{number}.part.0"),
            }
            .into(),
        };
        (0..count).map(symbol).collect()
    }

    fn check(order: Order, sequence: bool, at: usize) {
        let expected = symbols(3000);
        let bytes = memory(&tables(&expected, order, sequence), at);
        let found = find(&MemoryImage(&bytes)).unwrap();
        assert_eq!(found.symbols, expected, "{order:?} {sequence} {at}");
        let table = |at: u64| found.table_at(at).map(|(name, _)| name);
        assert_eq!(table(found.tokens_at), Some("kallsyms_token_table"));
        let before = table(at as u64 + 8);
        assert_eq!(
            before == Some("kallsyms_offsets"),
            matches!(order, Order::Before)
        );
        let has_sequence = found.tables.iter().any(|one| one.0.contains("seqs"));
        assert_eq!(has_sequence, sequence);
    }

    #[test]
    fn every_order_of_tables_is_read() {
        for order in [Order::Before, Order::Behind] {
            for sequence in [false, true] {
                check(order, sequence, 0);
                check(order, sequence, 5 * PAGE_BYTES + 0x348);
            }
        }
    }

    #[test]
    fn memory_without_a_kernel_says_so() {
        let nothing = find(&MemoryImage(&[0; 4 * PAGE_BYTES]));
        assert_eq!(nothing, Err(KallsymsError::NoTokens));
        let few = memory(&tables(&symbols(300), Order::Before, false), 0);
        let found = find(&MemoryImage(&few));
        assert!(matches!(found, Err(KallsymsError::NoNames { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn mutated_tables_are_survived(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
            sequence: bool,
        ) {
            let whole = tables(&symbols(2200), Order::Before, sequence);
            let mut bytes = memory(&whole, 64);
            for (at, value) in changes {
                bytes[at.index(whole.len()) + 64] = value;
            }
            if let Ok(found) = find(&MemoryImage(&bytes)) {
                prop_assert!(found.symbols.len() <= crate::symbols::MAX_SYMBOLS);
            }
        }

        #[test]
        fn any_memory_is_survived(bytes in prop::collection::vec(any::<u8>(), 2 * PAGE_BYTES)) {
            prop_assert!(find(&MemoryImage(&bytes)).is_err());
        }
    }
}
