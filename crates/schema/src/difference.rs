//! One exact difference.

use model::{Difference, Locus};
use schemars::JsonSchema;
use serde::Serialize;

/// What the majority holds, and what this replica holds instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DifferenceDocument {
    /// The part of the state.
    #[schemars(extend("examples" = ["memory", "register", "log", "file", "disk", "metric", "outcome"]))]
    pub part: String,
    /// The guest-physical address of an aligned 64-bit word, for memory.
    #[schemars(extend("examples" = ["0x1ff008"]))]
    pub address: Option<String>,
    /// The register, file or metric, or `line N` of the log, for any other part.
    pub name: Option<String>,
    /// What the majority holds: bytes in hexadecimal in memory order for memory, text else.
    pub expected: Option<String>,
    /// What this replica holds, in the same form.
    pub found: String,
    /// The bits that differ, counted from bit 0 of the first byte.
    pub flipped_bits: Vec<u32>,
    /// What lives at the address: kernel symbol and offset.
    pub symbol: Option<String>,
}

impl From<&Difference> for DifferenceDocument {
    fn from(difference: &Difference) -> Self {
        let (address, name) = match &difference.locus {
            Locus::Address(address) => (Some(address.to_string()), None),
            Locus::Name(name) => (None, Some(name.clone())),
        };
        Self {
            part: difference.part.to_string(),
            address,
            name,
            expected: difference.expected.clone(),
            found: difference.found.clone(),
            flipped_bits: difference.flipped_bits.clone(),
            symbol: difference.symbol.clone(),
        }
    }
}
