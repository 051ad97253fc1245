//! What stays of a run: by default the differing pages of the replicas that deviate and one copy
//! of what the majority holds; where all is kept, every replica's state and whole image.

use crate::error::ControlError;
use crate::leftover;
use crate::machine::PreparedMachine;
use crate::provenance::provenance;
use crate::replica::Captured;
use crate::request::{Keep, RunPlan};
use crate::session::Session;
use divergence::{Analysis, FindingDraft};
use model::{
    Difference, GuestPhysicalAddress, InjectionRecord, Locus, PageNumber, Part, ReplicaIndex,
    ReplicaRecord, RunId,
};
use state::{Base, ChangedPages, Memory, Origin, TerminalState, majority, write_state};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The evidence of a run in the store.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    majority: Option<String>,
    states: BTreeMap<ReplicaIndex, String>,
    images: BTreeMap<ReplicaIndex, String>,
    registers: BTreeMap<ReplicaIndex, String>,
}

impl Kept {
    /// All that was kept of single replicas.
    pub(crate) fn of_replicas(&self) -> impl Iterator<Item = (ReplicaIndex, &str)> {
        let kinds = [&self.states, &self.images, &self.registers];
        kinds
            .into_iter()
            .flatten()
            .map(|(replica, key)| (*replica, key.as_str()))
    }

    /// The keys that a finding names.
    pub(crate) fn for_finding(&self, draft: &FindingDraft) -> Vec<String> {
        let concerned = |replica: ReplicaIndex| draft.replica.is_none_or(|named| named == replica);
        let states = self
            .states
            .iter()
            .filter(|(replica, _)| concerned(**replica));
        let states = states.map(|(_, key)| key);
        self.majority.iter().chain(states).cloned().collect()
    }

    /// A replica's record with the keys of its evidence.
    pub(crate) fn name_in(&self, mut record: ReplicaRecord) -> ReplicaRecord {
        record.state = self.states.get(&record.index).cloned();
        record.image = self.images.get(&record.index).cloned();
        record
    }
}

/// A private directory of this process for images on their way into the store. Dropping it removes
/// it.
#[derive(Debug)]
pub(crate) struct ExportDirectory {
    path: PathBuf,
    _in_use: File,
}

impl ExportDirectory {
    /// Makes one for a run.
    pub(crate) fn create(session: &Session, run: RunId) -> Result<Self, ControlError> {
        let parent = session.store_path.join("cache");
        let (path, _in_use) = leftover::make(&parent, &format!("{}{run}", leftover::EXPORT))
            .map_err(ControlError::file("make a directory in", parent))?;
        Ok(Self { path, _in_use })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ExportDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a directory could not be removed");
        }
    }
}

/// Puts a run's evidence into the store; it is durable when this returns.
pub(crate) async fn keep(
    session: &Session,
    run: RunId,
    captured: &[Captured],
    analysis: &Analysis,
    machine: &PreparedMachine,
    plan: &RunPlan,
) -> Result<Kept, ControlError> {
    let origin = Origin {
        provenance: provenance(plan, machine, session),
        base_digest: machine.base_digest.clone(),
    };
    let mut kept = Kept::default();
    let whole = plan.keep == Keep::All;
    let changed = if whole {
        changed_by_any(captured)
    } else {
        Vec::new()
    };
    for replica in captured {
        let index = replica.record.index;
        let deviates = analysis
            .deviations
            .iter()
            .any(|deviation| deviation.replica.is_none_or(|deviant| deviant == index));
        if whole || deviates {
            let pages = if whole {
                &changed
            } else {
                &analysis.differing_pages
            };
            let state = restricted(&replica.state, pages, machine)?;
            let key = format!("runs/{run}/replica-{index}.state");
            put(session, &key, &state, &origin).await?;
            kept.states.insert(index, key);
        }
        if let Some(exported) = &replica.exported {
            let key = format!("runs/{run}/replica-{index}.memory");
            session.store.put_blob_file(&key, &exported.memory).await?;
            let registers = format!("runs/{run}/replica-{index}.registers");
            session
                .store
                .put_blob_file(&registers, &exported.registers)
                .await?;
            kept.images.insert(index, key);
            kept.registers.insert(index, registers);
        }
    }
    let right = analysis
        .majority_replica
        .filter(|_| !analysis.deviations.is_empty());
    let right = captured.iter().find(|one| Some(one.record.index) == right);
    if let Some(right) = right {
        let state = restricted(&right.state, &analysis.differing_pages, machine)?;
        let key = format!("runs/{run}/majority.state");
        put(session, &key, &state, &origin).await?;
        kept.majority = Some(key);
    }
    Ok(kept)
}

/// The pages that any replica changed, ascending: where all is kept, every state holds them, so that
/// states can be compared without the snapshot.
fn changed_by_any(captured: &[Captured]) -> Vec<u64> {
    let mut pages: Vec<u64> = captured
        .iter()
        .filter_map(|replica| match &replica.state.memory {
            Memory::Changed(pages) => Some(pages.numbers()),
            Memory::Full(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// A state with only the pages that are worth keeping. A page that this replica did not change
/// comes from the snapshot, which may be gone when the evidence is read.
fn restricted(
    state: &TerminalState,
    pages: &[u64],
    machine: &PreparedMachine,
) -> Result<TerminalState, ControlError> {
    let compare = |error: state::MemoryError| ControlError::Compare(error.to_string());
    let base = Base::new(&machine.base, machine.spec.memory_bytes).map_err(compare)?;
    let mut bytes = Vec::with_capacity(pages.len() * model::PAGE_BYTES);
    for &number in pages {
        bytes.extend_from_slice(page_of(state, base, number));
    }
    Ok(TerminalState {
        memory: Memory::Changed(ChangedPages::new(pages.to_vec(), bytes).map_err(compare)?),
        ..without_memory(state)
    })
}

fn without_memory(state: &TerminalState) -> TerminalState {
    TerminalState {
        memory: Memory::default(),
        registers: state.registers.clone(),
        log: state.log.clone(),
        files: state.files.clone(),
        disk: state.disk.clone(),
        metrics: state.metrics.clone(),
        outcome: state.outcome.clone(),
        result_digest: state.result_digest.clone(),
        exit_status: state.exit_status.clone(),
    }
}

fn page_of<'a>(state: &'a TerminalState, base: Base<'a>, number: u64) -> &'a [u8] {
    let changed = match &state.memory {
        Memory::Changed(pages) => pages.page(number),
        Memory::Full(_) => None,
    };
    changed.unwrap_or_else(|| base.page(number))
}

async fn put(
    session: &Session,
    key: &str,
    state: &TerminalState,
    origin: &Origin,
) -> Result<(), ControlError> {
    let mut bytes = Vec::new();
    write_state(state, origin, &mut bytes)
        .map_err(|error| ControlError::Compare(error.to_string()))?;
    session.store.put_blob(key, bytes).await?;
    Ok(())
}

/// Adds the words that faults were put into to the differences, where they still differ and are
/// not listed: the list is bounded, and this is what the user looks for first.
pub(crate) fn list_injected_words(
    analysis: &mut Analysis,
    injections: &[InjectionRecord],
    captured: &[Captured],
    machine: &PreparedMachine,
) {
    let Ok(base) = Base::new(&machine.base, machine.spec.memory_bytes) else {
        return;
    };
    for injection in injections {
        let Some(address) = injection.address.filter(|_| injection.part == "ram") else {
            continue;
        };
        let word = GuestPhysicalAddress(address.0 & !7);
        let locus = Locus::Address(word);
        let deviation = analysis
            .deviations
            .iter_mut()
            .find(|deviation| deviation.replica == Some(injection.replica));
        let Some(deviation) = deviation else {
            continue;
        };
        let listed = deviation
            .differences
            .iter()
            .any(|difference| difference.part == Part::Memory && difference.locus == locus);
        if listed {
            continue;
        }
        let values: Vec<[u8; 8]> = captured
            .iter()
            .map(|replica| word_of(&replica.state, base, word))
            .collect();
        let found = captured
            .iter()
            .zip(&values)
            .find(|(replica, _)| replica.record.index == injection.replica)
            .map(|(_, value)| *value);
        if let (Some(expected), Some(found)) = (majority(&values), found)
            && *expected != found
        {
            let symbols = machine.symbols.as_ref();
            deviation.differences.push(Difference {
                part: Part::Memory,
                locus,
                expected: Some(hexadecimal(expected)),
                found: hexadecimal(&found),
                flipped_bits: flipped(*expected, found),
                symbol: symbols.and_then(|symbols| symbols.symbol_at(word.0)),
                explanation: None,
            });
        }
    }
}

fn word_of(state: &TerminalState, base: Base<'_>, word: GuestPhysicalAddress) -> [u8; 8] {
    let page = page_of(state, base, PageNumber::of(word).0);
    let offset = usize::try_from(word.0).unwrap_or(0) % model::PAGE_BYTES;
    page.get(offset..offset + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or_default()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bits that differ, counted from bit 0 of the first byte.
fn flipped(expected: [u8; 8], found: [u8; 8]) -> Vec<u32> {
    let difference = u64::from_le_bytes(expected) ^ u64::from_le_bytes(found);
    (0..64).filter(|bit| difference >> bit & 1 == 1).collect()
}
