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
}

impl Kallsyms {
    /// The address of the first symbol of this name.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<u64> {
        let symbol = self.symbols.iter().find(|one| &*one.name == name)?;
        Some(symbol.address)
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
