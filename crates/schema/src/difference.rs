//! One exact difference.

use model::{Confidence, Difference, Explanation, Locus, Part};
use schemars::JsonSchema;
use serde::Serialize;

/// What the majority holds, and what this replica holds instead.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DifferenceDocument {
    /// The part of the state.
    #[schemars(extend("examples" = ["memory", "register", "log", "file", "disk", "metric", "outcome"]))]
    pub part: String,
    /// The guest-physical address of an aligned 64-bit word, for memory; of a disk the byte of it.
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
    #[schemars(extend("examples" = ["kernel-image", "process", "slab", "page-table", "disk-file"]))]
    pub owner_kind: Option<String>,
    /// The process whose memory, page table or stack it is.
    pub process: Option<ProcessDocument>,
    /// The mapping of the process.
    pub mapping: Option<MappingDocument>,
    /// The address under which the owner knows it.
    #[schemars(extend("examples" = ["0x7ffff7a58010"]))]
    pub virtual_address: Option<String>,
    /// The type of the variable or object there, as the guest's kernel describes it.
    #[serde(rename = "type")]
    #[schemars(extend("examples" = ["task_struct", "rq", "page"]))]
    pub type_name: Option<String>,
    /// The member of the type: `{a|b}` are members that share the byte, `(padding)` is none. Of a page
    /// table the addresses that its entry maps, of a kernel stack how far below its top.
    #[schemars(extend("examples" = ["se.vruntime", "comm[3]", "{lru|mlock_count}.next"]))]
    pub field: Option<String>,
    /// The object of one of the kernel's caches.
    pub object: Option<ObjectDocument>,
    /// The byte of a file that is cached or mapped there.
    pub file: Option<FilePlaceDocument>,
    /// The byte of a buffer that the computation has named.
    pub buffer: Option<BufferPlaceDocument>,
    /// How the explanation was reached.
    #[schemars(extend("examples" = ["symbol", "typed-object", "reached-object", "frame"]))]
    pub basis: Option<String>,
    /// How likely the explanation is right, from 0 to 1: the measured share of right answers among
    /// those of the same basis.
    #[schemars(extend("examples" = [0.998]))]
    pub confidence: Option<f64>,
}

/// An object of one of the kernel's caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ObjectDocument {
    /// The cache's name: text of the guest, in printable ASCII.
    #[schemars(extend("examples" = ["task_struct", "kmalloc-96"]))]
    pub cache: String,
    /// Which object of its slab, counted from 0.
    pub index: u64,
    /// Where it begins, in the guest's kernel.
    #[schemars(extend("examples" = ["0xffff888003dd8000"]))]
    pub address: String,
    /// Bytes from there.
    pub offset: u64,
    /// Whether it is handed out; null where the guest's lists of free objects are not whole.
    pub in_use: Option<bool>,
}

/// A byte of memory that a computation has given a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BufferPlaceDocument {
    /// The name.
    pub name: String,
    /// Bytes from the start of the buffer.
    pub offset: u64,
}

/// A byte of a file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FilePlaceDocument {
    /// The path on its own file system, or `inode N`: text of the guest.
    pub path: String,
    /// Bytes from the start of the file.
    pub offset: u64,
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
            Locus::Name(name) => {
                let byte = (difference.part == Part::Disk).then(|| name.clone());
                (byte, Some(name.clone()))
            }
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
            type_name: explanation.and_then(|one| one.type_name.clone()),
            field: explanation.and_then(|one| one.field.clone()),
            object: explanation.and_then(object),
            file: explanation.and_then(file),
            buffer: explanation.and_then(buffer),
            basis: explanation
                .and_then(|one| one.basis)
                .map(|one| one.to_string()),
            confidence: explanation
                .and_then(|one| one.confidence)
                .map(Confidence::probability),
        }
    }
}

fn object(explanation: &Explanation) -> Option<ObjectDocument> {
    let object = explanation.object.as_ref()?;
    Some(ObjectDocument {
        cache: object.cache.clone(),
        index: object.index,
        address: object.address.to_string(),
        offset: object.offset,
        in_use: object.in_use,
    })
}

fn buffer(explanation: &Explanation) -> Option<BufferPlaceDocument> {
    let buffer = explanation.buffer.as_ref()?;
    Some(BufferPlaceDocument {
        name: buffer.name.clone(),
        offset: buffer.offset,
    })
}

fn file(explanation: &Explanation) -> Option<FilePlaceDocument> {
    let file = explanation.file.as_ref()?;
    Some(FilePlaceDocument {
        path: file.path.clone(),
        offset: file.offset,
    })
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
