//! Reads a state file, front to back, believing none of it.

use super::{
    DIGEST_BYTES, FORMAT_VERSION, FileEntry, Header, KIND_TERMINAL_STATE, MAGIC, MAX_LOG_LINES,
    MemoryKind, SectionName, StateFile, StateFileError,
};
use crate::memory::{ChangedPages, Memory, MemoryError};
use crate::terminal::TerminalState;
use model::PAGE_BYTES;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};

/// Reads a state, to the end of the input.
///
/// # Errors
/// The input cannot be read, or is not a whole, undamaged state file of a version that this
/// program knows.
pub fn read_state(input: &mut impl Read) -> Result<StateFile, StateFileError> {
    let mut source = Source {
        input,
        hasher: blake3::Hasher::new(),
    };
    source.preamble()?;
    let header: Header =
        serde_json::from_slice(&source.section(SectionName::Header)?).map_err(|source| {
            StateFileError::Header {
                action: "read",
                source,
            }
        })?;
    let log = parse_log(source.section(SectionName::Log)?)?;
    let files = parse_files(header.files, &source.section(SectionName::Files)?)?;
    let numbers = source.section(SectionName::PageNumbers)?;
    let memory = parse_memory(
        header.memory,
        &numbers,
        source.section(SectionName::Memory)?,
    )?;
    source.end()?;
    let state = TerminalState {
        memory,
        registers: header.registers,
        log,
        files,
        disk: Default::default(),
        metrics: header.metrics,
        outcome: header.outcome,
        result_digest: header.result_digest,
        exit_status: header.exit_status,
    };
    let origin = header.origin;
    Ok(StateFile { state, origin })
}

fn parse_log(bytes: Vec<u8>) -> Result<Vec<String>, StateFileError> {
    let wrong = || StateFileError::Log { action: "read" };
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let Some(lines) = text.strip_suffix('\n') else {
        return if text.is_empty() {
            Ok(Vec::new())
        } else {
            Err(wrong())
        };
    };
    if lines.split('\n').nth(MAX_LOG_LINES).is_some() {
        return Err(StateFileError::TooMany {
            action: "read",
            what: "log lines",
            limit: MAX_LOG_LINES,
        });
    }
    Ok(lines.split('\n').map(str::to_owned).collect())
}

fn parse_files(
    entries: Vec<FileEntry>,
    mut contents: &[u8],
) -> Result<BTreeMap<String, Vec<u8>>, StateFileError> {
    let mut files = BTreeMap::new();
    for entry in entries {
        let bytes = usize::try_from(entry.bytes).map_err(|_| StateFileError::Files)?;
        let (content, rest) = contents
            .split_at_checked(bytes)
            .ok_or(StateFileError::Files)?;
        contents = rest;
        if files.insert(entry.name, content.to_vec()).is_some() {
            return Err(StateFileError::Files);
        }
    }
    if contents.is_empty() {
        Ok(files)
    } else {
        Err(StateFileError::Files)
    }
}

fn parse_memory(
    kind: MemoryKind,
    numbers: &[u8],
    bytes: Vec<u8>,
) -> Result<Memory, StateFileError> {
    let wrong = |source| StateFileError::Memory { source };
    let ragged = |bytes: &[u8]| MemoryError::Ragged {
        bytes: bytes.len() as u64,
    };
    let (numbers, rest) = numbers.as_chunks();
    let numbers: Vec<u64> = numbers.iter().copied().map(u64::from_le_bytes).collect();
    if !rest.is_empty() {
        return Err(wrong(ragged(rest)));
    }
    match kind {
        MemoryKind::Changed => {
            let pages = ChangedPages::new(numbers, bytes).map_err(wrong)?;
            Ok(Memory::Changed(pages))
        }
        MemoryKind::Full if !numbers.is_empty() => Err(wrong(MemoryError::WrongLength {
            pages: numbers.len(),
            bytes: bytes.len(),
        })),
        MemoryKind::Full if !bytes.len().is_multiple_of(PAGE_BYTES) => Err(wrong(ragged(&bytes))),
        MemoryKind::Full => Ok(Memory::Full(bytes)),
    }
}

struct Source<'a, R> {
    input: &'a mut R,
    hasher: blake3::Hasher,
}

impl<R: Read> Source<'_, R> {
    fn preamble(&mut self) -> Result<(), StateFileError> {
        if self.array("magic")? != MAGIC {
            return Err(StateFileError::NotAStateFile);
        }
        let kind = u16::from_le_bytes(self.array("kind")?);
        if kind != KIND_TERMINAL_STATE {
            return Err(StateFileError::OtherKind { kind });
        }
        let version = u16::from_le_bytes(self.array("format version")?);
        if version != FORMAT_VERSION {
            return Err(StateFileError::OtherVersion { version });
        }
        Ok(())
    }

    /// Reads a section. Memory grows with the bytes that arrive, not by the length that is
    /// claimed.
    fn section(&mut self, section: SectionName) -> Result<Vec<u8>, StateFileError> {
        let bytes = u64::from_le_bytes(self.array(&section.to_string())?);
        if bytes > section.limit() {
            return Err(StateFileError::TooLong {
                action: "read",
                section,
                bytes,
                limit: section.limit(),
            });
        }
        let mut content = Vec::new();
        let mut limited = self.input.by_ref().take(bytes);
        let read = limited.read_to_end(&mut content).map_err(io)?;
        if read as u64 != bytes {
            return Err(truncated(&section.to_string()));
        }
        self.hasher.update(&content);
        Ok(content)
    }

    /// Checks the digest and that nothing follows it.
    fn end(mut self) -> Result<(), StateFileError> {
        let expected = self.hasher.finalize();
        let found: [u8; DIGEST_BYTES] = self.array("digest")?;
        if expected != found {
            return Err(StateFileError::Damaged);
        }
        let mut rest = Vec::new();
        match self.input.take(1).read_to_end(&mut rest).map_err(io)? {
            0 => Ok(()),
            _ => Err(StateFileError::Trailing),
        }
    }

    fn array<const BYTES: usize>(&mut self, within: &str) -> Result<[u8; BYTES], StateFileError> {
        let mut array = [0; BYTES];
        self.input.read_exact(&mut array).map_err(|source| {
            if source.kind() == ErrorKind::UnexpectedEof {
                truncated(within)
            } else {
                io(source)
            }
        })?;
        self.hasher.update(&array);
        Ok(array)
    }
}

fn truncated(within: &str) -> StateFileError {
    StateFileError::Truncated {
        within: within.to_owned(),
    }
}

fn io(source: std::io::Error) -> StateFileError {
    StateFileError::Io {
        action: "read",
        source,
    }
}
