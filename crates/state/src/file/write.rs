//! Writes a state file, front to back, hashing on the way.

use super::{
    FORMAT_VERSION, FileEntry, Header, KIND_TERMINAL_STATE, MAGIC, MAX_FILES, MAX_LOG_LINES,
    MAX_METRICS, MemoryKind, Origin, SectionName, StateFileError,
};
use crate::memory::Memory;
use crate::terminal::TerminalState;
use std::io::Write;

/// Writes a state. Many small pieces are written: the writer should be buffered.
///
/// # Errors
/// A section or a list is longer than its limit, a log line holds a line feed, a metric is not finite, or
/// writing fails.
pub fn write_state(
    state: &TerminalState,
    origin: &Origin,
    output: &mut impl Write,
) -> Result<(), StateFileError> {
    let mut sink = Sink {
        output,
        hasher: blake3::Hasher::new(),
    };
    sink.put(&MAGIC)?;
    sink.put(&KIND_TERMINAL_STATE.to_le_bytes())?;
    sink.put(&FORMAT_VERSION.to_le_bytes())?;
    sink.section(SectionName::Header, &[&header(state, origin)?])?;
    sink.section(SectionName::Log, &[&log(state)?])?;
    let files: Vec<&[u8]> = state.files.values().map(Vec::as_slice).collect();
    sink.section(SectionName::Files, &files)?;
    sink.memory(&state.memory)?;
    let digest = sink.hasher.finalize();
    sink.output.write_all(digest.as_bytes()).map_err(io)
}

fn header(state: &TerminalState, origin: &Origin) -> Result<Vec<u8>, StateFileError> {
    refuse_more("log lines", state.log.len(), MAX_LOG_LINES)?;
    refuse_more("metrics", state.metrics.len(), MAX_METRICS)?;
    refuse_more("files", state.files.len(), MAX_FILES)?;
    let mut metrics = state.metrics.iter();
    if let Some(metric) = metrics.find(|metric| !metric.value.is_finite()) {
        return Err(StateFileError::Metric {
            name: metric.name.clone(),
        });
    }
    let entry = |(name, content): (&String, &Vec<u8>)| FileEntry {
        name: name.clone(),
        bytes: content.len() as u64,
    };
    let header = Header {
        origin: origin.clone(),
        outcome: state.outcome.clone(),
        result_digest: state.result_digest.clone(),
        exit_status: state.exit_status.clone(),
        registers: state.registers.clone(),
        metrics: state.metrics.clone(),
        files: state.files.iter().map(entry).collect(),
        memory: match state.memory {
            Memory::Changed(_) => MemoryKind::Changed,
            Memory::Full(_) => MemoryKind::Full,
        },
    };
    serde_json::to_vec(&header).map_err(|source| StateFileError::Header {
        action: "write",
        source,
    })
}

/// Refuses to write what a reader would refuse.
fn refuse_more(what: &'static str, count: usize, limit: usize) -> Result<(), StateFileError> {
    if count <= limit {
        return Ok(());
    }
    Err(StateFileError::TooMany {
        action: "write",
        what,
        limit,
    })
}

fn log(state: &TerminalState) -> Result<Vec<u8>, StateFileError> {
    let mut log = Vec::new();
    for line in &state.log {
        if line.contains('\n') {
            return Err(StateFileError::Log { action: "write" });
        }
        log.extend_from_slice(line.as_bytes());
        log.push(b'\n');
    }
    Ok(log)
}

fn io(source: std::io::Error) -> StateFileError {
    StateFileError::Io {
        action: "write",
        source,
    }
}

struct Sink<'a, W> {
    output: &'a mut W,
    hasher: blake3::Hasher,
}

impl<W: Write> Sink<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StateFileError> {
        self.hasher.update(bytes);
        self.output.write_all(bytes).map_err(io)
    }

    fn section(&mut self, section: SectionName, pieces: &[&[u8]]) -> Result<(), StateFileError> {
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if bytes > section.limit() {
            return Err(StateFileError::TooLong {
                action: "write",
                section,
                bytes,
                limit: section.limit(),
            });
        }
        self.put(&bytes.to_le_bytes())?;
        pieces.iter().try_for_each(|piece| self.put(piece))
    }

    fn memory(&mut self, memory: &Memory) -> Result<(), StateFileError> {
        let (numbers, bytes) = match memory {
            Memory::Changed(pages) => (pages.numbers(), pages.bytes()),
            Memory::Full(image) => (&[][..], image.as_slice()),
        };
        let numbers: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        self.section(SectionName::PageNumbers, &[&numbers])?;
        self.section(SectionName::Memory, &[bytes])
    }
}
