//! One exact difference.

use model::{Difference, Explanation, Locus};
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
    /// Whom the address belongs to, for people: names and offsets.
    pub owner: Option<String>,
    /// What kind of thing it is.
    #[schemars(extend("examples" = ["kernel-image", "process", "slab", "page-table"]))]
    pub owner_kind: Option<String>,
    /// The process whose memory, page table or stack it is.
    pub process: Option<ProcessDocument>,
    /// The mapping of the process.
    pub mapping: Option<MappingDocument>,
    /// The address under which the owner knows it.
    #[schemars(extend("examples" = ["0x7ffff7a58010"]))]
    pub virtual_address: Option<String>,
}

/// A process of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProcessDocument {
    /// Its number in the guest.
    pub pid: u32,
    /// Its name: text of the guest, in printable ASCII.
    pub name: String,
}

/// A stretch of a process's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MappingDocument {
    /// Its first address.
    #[schemars(extend("examples" = ["0x7ffff7a58000"]))]
    pub start: String,
    /// The address behind it.
    pub end: String,
    /// What may be done, as `/proc/PID/maps` shows it.
    #[schemars(extend("examples" = ["rw-p"]))]
    pub permissions: String,
    /// The file, or `[heap]`, `[stack]`, `[vdso]`, `[anonymous]`: text of the guest.
    pub name: String,
}

impl From<&Difference> for DifferenceDocument {
    fn from(difference: &Difference) -> Self {
        let (address, name) = match &difference.locus {
            Locus::Address(address) => (Some(address.to_string()), None),
            Locus::Name(name) => (None, Some(name.clone())),
        };
        let explanation = difference.explanation.as_deref();
        Self {
            part: difference.part.to_string(),
            address,
            name,
            expected: difference.expected.clone(),
            found: difference.found.clone(),
            flipped_bits: difference.flipped_bits.clone(),
            symbol: difference.symbol.clone(),
            owner: explanation.map(|one| one.owner.clone()),
            owner_kind: explanation.map(|one| one.kind.to_string()),
            process: explanation.and_then(process),
            mapping: explanation.and_then(mapping),
            virtual_address: explanation
                .and_then(|one| one.virtual_address)
                .map(|address| address.to_string()),
        }
    }
}

fn process(explanation: &Explanation) -> Option<ProcessDocument> {
    let process = explanation.process.as_ref()?;
    Some(ProcessDocument {
        pid: process.pid,
        name: process.name.clone(),
    })
}

fn mapping(explanation: &Explanation) -> Option<MappingDocument> {
    let mapping = explanation.mapping.as_ref()?;
    Some(MappingDocument {
        start: mapping.start.to_string(),
        end: mapping.end.to_string(),
        permissions: mapping.permissions.clone(),
        name: mapping.name.clone(),
    })
}
