//! What a guest says: one type per kind of line, and the limits of each.

use super::text::safe_name;
use super::{Mark, PROTOCOL, ProtocolError};
use crate::digest::Digest;
use crate::isa;
use model::{GuestPhysicalAddress, GuestVirtualAddress, PAGE_BYTES};
use serde::{Deserialize, Serialize};

/// The most bytes of the kernel's symbol text: twice what a distribution's kernel with all its
/// modules has.
pub const MAX_SYMBOLS_BYTES: u64 = 32 << 20;
/// The most extents of the symbol text: what a line can hold, and nearly twice what a small guest
/// needs, whose free memory is in pieces when it has booted.
pub const MAX_EXTENTS: usize = 512;
/// The most processor features in a hello: three times what we ask for.
pub const MAX_FEATURES: usize = 96;
/// The most bytes of a file: it is text or a small result, not a disk image.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Bytes of a file in one data line: 8 KiB of digits.
pub const DATA_BYTES: usize = 4096;
/// The end of what a program's addresses can be, with four levels of page tables.
const USER_END: u64 = 1 << 47;
/// The most bytes of a version or feature name.
const MAX_WORD_BYTES: usize = 128;

/// One line of the channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The guest is there; its symbols lie in memory. A stop follows.
    Hello(Box<Hello>),
    /// The guest waits for its job. A stop follows.
    Ready,
    /// A mark was reached. A stop follows.
    Mark(MarkReached),
    /// Something to tell.
    Log(String),
    /// Something counted.
    Metric(Metric),
    /// Memory that holds results of the computation.
    Buffer(Buffer),
    /// Memory that waits for the next bytes of a program's payload. A stop follows the last.
    Payload(Vec<Extent>),
    /// How a program came out.
    Exit(Box<super::ProgramEnd>),
    /// A file begins.
    File(FileHeader),
    /// More of the file that began last.
    Data(Vec<u8>),
    /// The computation's result.
    Result(JobResult),
    /// The job cannot be done, and why. A stop follows.
    Failed(String),
    /// A line that is not of the protocol: the kernel's, or what a fault made of one of ours.
    Foreign(String),
}

/// The guest's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol that the guest speaks.
    pub protocol: u32,
    /// The version of the guest program.
    pub program_version: String,
    /// The release of the guest's kernel.
    pub kernel_release: String,
    /// The instruction-set class of the guest's processor.
    pub isa_class: isa::Class,
    /// Its features, of those that matter here.
    pub features: Vec<String>,
    /// The pages of the mailbox, in order.
    pub mailbox: [GuestPhysicalAddress; super::MAILBOX_PAGES],
    /// Where the host sets breakpoints, in the guest program's address space.
    pub waypoints: [GuestVirtualAddress; 2],
    /// Processors that are at work in the guest.
    #[serde(default = "one")]
    pub vcpus: u32,
    /// Where the kernel's symbols lie until the next stop.
    pub symbols: Symbols,
}

/// A guest that does not say has one processor.
const fn one() -> u32 {
    1
}

/// Where the text of `/proc/kallsyms` lies in guest memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbols {
    /// Its length in bytes; 0 if there is none.
    pub bytes: u64,
    /// The memory that holds it, in the order of the text.
    pub extents: Vec<Extent>,
}

/// A run of neighbouring pages: the address of the first, and how many. In JSON `["0x…", n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent(pub GuestPhysicalAddress, pub u64);

/// A mark that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkReached {
    /// Which.
    pub name: Mark,
    /// Steps done.
    pub step: u64,
    /// The guest's time-stamp counter.
    #[serde(with = "decimal")]
    pub tsc: u64,
}

/// Something that the guest counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, with its unit last.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Whether equal replicas on a deterministic machine must show equal values.
    pub exact: bool,
}

/// Memory of the computation's process that holds what it works on. Where it lies may differ from
/// machine to machine; what it holds may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Its name, by which machines are compared.
    pub name: String,
    /// The address of its first byte in the computation's process.
    pub address: GuestVirtualAddress,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The announcement of a file; data lines follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What the computation came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The digest of its state.
    pub digest: Digest,
    /// Steps done.
    pub steps: u64,
    /// The guest's time-stamp counter at the end.
    #[serde(with = "decimal")]
    pub tsc: u64,
    /// The counter before the first step.
    #[serde(with = "decimal")]
    pub tsc_start: u64,
}

impl Hello {
    /// Checks what a guest claims of itself.
    ///
    /// # Errors
    /// Another protocol, or addresses and lengths that make no sense.
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        if self.protocol != PROTOCOL {
            let found = self.protocol;
            return Err(ProtocolError::Protocol { found });
        }
        if self.features.len() > MAX_FEATURES {
            return Err(ProtocolError::Limit("features"));
        }
        let mut words = self.features.iter();
        let is_long = |word: &String| word.len() > MAX_WORD_BYTES;
        if is_long(&self.program_version) || is_long(&self.kernel_release) || words.any(is_long) {
            return Err(ProtocolError::Limit("names"));
        }
        match self.mailbox.iter().find(|address| !is_page(**address)) {
            Some(address) => Err(ProtocolError::Mailbox(*address)),
            None => self.symbols.check(),
        }
    }

    /// Rewrites its text so that it is fit to be shown.
    pub(super) fn sanitised(mut self) -> Self {
        let texts = [&mut self.program_version, &mut self.kernel_release];
        for text in texts.into_iter().chain(&mut self.features) {
            *text = super::sanitise(text.as_bytes());
        }
        self
    }
}

impl Symbols {
    fn check(&self) -> Result<(), ProtocolError> {
        if self.bytes > MAX_SYMBOLS_BYTES {
            return Err(ProtocolError::Symbols("more bytes than any kernel has"));
        }
        if self.extents.len() > MAX_EXTENTS {
            return Err(ProtocolError::Limit("extents"));
        }
        let is_sound = |extent: &Extent| extent.is_sound(MAX_SYMBOLS_BYTES);
        if !self.extents.iter().all(is_sound) {
            return Err(ProtocolError::Symbols("an extent is no run of pages"));
        }
        let pages = self.extents.iter().map(|extent| extent.1).sum::<u64>();
        if pages != self.bytes.div_ceil(PAGE_BYTES as u64) {
            return Err(ProtocolError::Symbols("extents and length do not agree"));
        }
        Ok(())
    }
}

impl Extent {
    /// Whether it is a run of pages that fits the address space, at most `limit` bytes long, so
    /// that sums of extents cannot overflow.
    pub(super) fn is_sound(self, limit: u64) -> bool {
        let bytes = self.1.checked_mul(PAGE_BYTES as u64);
        let fits = |bytes| bytes <= limit && self.0.0.checked_add(bytes).is_some();
        self.1 > 0 && is_page(self.0) && bytes.is_some_and(fits)
    }
}

impl Metric {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        if self.value.is_finite() {
            Ok(())
        } else {
            Err(ProtocolError::NotFinite(safe_name(&self.name)))
        }
    }
}

impl Buffer {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        let end = self.address.0.checked_add(self.bytes);
        if self.bytes > 0 && end.is_some_and(|end| end <= USER_END) {
            Ok(())
        } else {
            Err(ProtocolError::Buffer(safe_name(&self.name)))
        }
    }
}

impl FileHeader {
    pub(super) fn check(&self) -> Result<(), ProtocolError> {
        if self.bytes <= MAX_FILE_BYTES {
            Ok(())
        } else {
            Err(ProtocolError::Limit("bytes of a file"))
        }
    }
}

/// The messages that carry a file: its header, then its content in pieces.
pub fn file_messages(name: &str, content: &[u8]) -> impl Iterator<Item = Message> {
    let header = FileHeader {
        name: safe_name(name),
        bytes: content.len() as u64,
    };
    let pieces = content.chunks(DATA_BYTES);
    let data = pieces.map(|piece| Message::Data(piece.to_vec()));
    std::iter::once(Message::File(header)).chain(data)
}

const fn is_page(address: GuestPhysicalAddress) -> bool {
    address.0.is_multiple_of(PAGE_BYTES as u64)
}

/// A 64-bit counter as a decimal string: a JSON number may lose its last bits elsewhere.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde names the signature"
    )]
    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
