//! The comparison of states that were read, whatever machines they are of.
//!
//! There is no snapshot at hand: a page that a state file does not hold is not known. So memory is
//! compared in the pages that all states hold. A page that only some of them hold is not compared,
//! is counted, and turns a pass into an inconclusive result: what is not known is not equal.
//!
//! What differs is explained as far as `meaning` can.
//!
//! Everything else is compared whole. States of machines of different kinds (another kernel, another
//! size of memory, another seed) are compared all the same, and the report says in what they differ.

use super::meaning::{Held, explain};
use divergence::{Analysis, AnalysisError, Context, NotCompared, Options, Replica, analyse};
use model::{Diff, Outcome, PAGE_BYTES, Provenance, ReplicaIndex, StateSummary, Verdict};
use state::{Base, ChangedPages, MAX_PAGE_NUMBERS, Memory, MemoryError, StateFile, TerminalState};
use thiserror::Error;

/// Why states cannot be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The pages that they share make no memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The engine refuses them.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

/// Compares states exactly. The answer's names are empty: whoever knows them adds them.
///
/// # Errors
/// There are more states than are compared at once.
pub fn compare(files: Vec<StateFile>) -> Result<Diff, CompareError> {
    compare_over(files, None)
}

/// The same, with the memory of the machine that all states began with.
///
/// # Errors
/// As [`compare`].
pub(super) fn compare_over(
    files: Vec<StateFile>,
    base: Option<&[u8]>,
) -> Result<Diff, CompareError> {
    let summaries: Vec<StateSummary> = files.iter().map(summary).collect();
    let mut warnings = unlike(&summaries);
    let mut states: Vec<TerminalState> = files.into_iter().map(|file| file.state).collect();
    let shared = share_pages(&mut states)?;
    forget_common_end(&mut states);
    let context = Context {
        base: Base::new(&[], shared.total_bytes)?,
        deterministic: true,
        symbols: None,
        golden: None,
        units: Vec::new(),
        host_units_exercised: false,
        not_compared: not_compared(&summaries, &shared),
        history: None,
        aligned: None,
    };
    let replicas: Vec<Replica<'_>> = (0..)
        .zip(&states)
        .map(|(index, state)| Replica {
            index: ReplicaIndex(index),
            state,
        })
        .collect();
    let mut analysis = analyse(&replicas, &context, &Options::default())?;
    let held = Held {
        states: &states,
        memory_bytes: shared.total_bytes,
        base,
    };
    warnings.extend(explain(&mut analysis, &held));
    Ok(diff(analysis, summaries, warnings, &shared))
}

fn diff(
    analysis: Analysis,
    states: Vec<StateSummary>,
    warnings: Vec<String>,
    shared: &Shared,
) -> Diff {
    // What the engine calls a replica is a state here.
    let reason = analysis.reason.replace("replica", "state");
    let (verdict, reason) = match analysis.verdict {
        Verdict::Pass if shared.alone_pages > 0 => (
            Verdict::Inconclusive,
            format!(
                "what all {} states hold is equal, and {} pages are in some of them only",
                states.len(),
                shared.alone_pages
            ),
        ),
        verdict => (verdict, reason),
    };
    let mut coverage = analysis.coverage;
    // Its bound speaks of replicas that ran under one roof; nothing is known of these.
    coverage.upper_bound = None;
    Diff {
        states,
        verdict,
        reason,
        deviations: analysis.deviations,
        coverage,
        undecided_words: analysis.undecided_words,
        warnings,
    }
}

fn summary(file: &StateFile) -> StateSummary {
    let state = &file.state;
    StateSummary {
        name: String::new(),
        provenance: file.origin.provenance.clone(),
        base_digest: file.origin.base_digest.clone(),
        outcome: state.outcome.clone(),
        result_digest: state.result_digest.clone(),
        pages: state.memory.pages(),
        registers: state.registers.len() as u64,
        log_lines: state.log.len() as u64,
        files: state.files.len() as u64,
    }
}

/// Characters of a value that a warning shows: a digest.
const SHOWN_CHARACTERS: usize = 64;

/// Something in which states of one run are alike.
type Kind = (&'static str, fn(&Provenance) -> String);

const KINDS: [Kind; 10] = [
    ("kernel", |made| made.kernel.clone()),
    ("kernel image", |made| made.kernel_digest.clone()),
    ("guest program", |made| made.guest_digest.clone()),
    ("size of memory", |made| made.memory_bytes.to_string()),
    ("hypervisor", |made| made.hypervisor.clone()),
    ("accelerator", |made| made.accelerator.clone()),
    ("CPU model", |made| made.cpu_model.clone()),
    ("computation", |made| {
        format!("{} v{}", made.computation, made.computation_version)
    }),
    ("seed", |made| format!("{:#x}", made.seed)),
    ("number of steps", |made| made.steps.to_string()),
];

/// In what the states are of different kinds, one sentence each.
fn unlike(states: &[StateSummary]) -> Vec<String> {
    let of_kinds = KINDS.iter().map(|(what, value)| {
        let values = states.iter().map(|state| value(&state.provenance));
        (*what, values.collect())
    });
    let bases = states.iter().map(|state| state.base_digest.clone());
    of_kinds
        .chain([("snapshot", bases.collect())])
        .filter_map(|(what, values): (_, Vec<String>)| {
            let mut distinct = values;
            distinct.sort_unstable();
            distinct.dedup();
            let shown = distinct
                .iter()
                .map(|value| value.chars().take(SHOWN_CHARACTERS).collect::<String>());
            (distinct.len() > 1).then(|| {
                let shown: Vec<String> = shown.collect();
                format!("the states differ in their {what}: {}", shown.join(", "))
            })
        })
        .collect()
}

/// What of the memory all states hold.
struct Shared {
    /// The end of the last page that all hold.
    total_bytes: u64,
    /// Pages that some hold and others do not.
    alone_pages: u64,
    /// Those, each counted as often as it is held.
    alone_copies: u64,
}

/// Leaves of each state's memory the pages that all states hold.
fn share_pages(states: &mut [TerminalState]) -> Result<Shared, MemoryError> {
    let held = || states.iter().map(|state| page_numbers(&state.memory));
    let copies: u64 = states.iter().map(|state| state.memory.pages()).sum();
    let common = held()
        .reduce(|one, other| {
            one.into_iter()
                .filter(|number| other.binary_search(number).is_ok())
                .collect()
        })
        .unwrap_or_default();
    let mut any: Vec<u64> = held().flatten().collect();
    any.sort_unstable();
    any.dedup();
    let pages = common.len() as u64;
    let shared = Shared {
        total_bytes: common.last().map_or(0, |last| last + 1) * PAGE_BYTES as u64,
        alone_pages: any.len() as u64 - pages,
        alone_copies: copies - pages * states.len() as u64,
    };
    for state in states.iter_mut() {
        state.memory = Memory::Changed(restricted(&state.memory, &common)?);
    }
    Ok(shared)
}

fn page_numbers(memory: &Memory) -> Vec<u64> {
    match memory {
        Memory::Changed(pages) => pages.numbers().to_vec(),
        Memory::Full(_) => (0..memory.pages()).collect(),
    }
}

fn restricted(memory: &Memory, kept: &[u64]) -> Result<ChangedPages, MemoryError> {
    match memory {
        Memory::Changed(pages) => Ok(pages.restricted_to(kept)),
        Memory::Full(image) => {
            let pages = image.as_chunks::<PAGE_BYTES>().0;
            let page = |number: &u64| pages.get(usize::try_from(*number).ok()?);
            let bytes = kept.iter().filter_map(page).flatten().copied().collect();
            ChangedPages::new(kept.to_vec(), bytes)
        }
    }
}

/// Where all machines ended alike, how they ended says nothing: states of machines that hung are
/// compared like others.
fn forget_common_end(states: &mut [TerminalState]) {
    let Some(first) = states.first().map(|state| state.outcome.clone()) else {
        return;
    };
    if states.iter().all(|state| state.outcome == first) {
        for state in states {
            state.outcome = Outcome::Ended;
        }
    }
}

fn not_compared(summaries: &[StateSummary], shared: &Shared) -> Vec<NotCompared> {
    const LARGEST_BYTES: u64 = MAX_PAGE_NUMBERS * PAGE_BYTES as u64;
    let absent = summaries.iter().map(|state| {
        let memory_bytes = state.provenance.memory_bytes.min(LARGEST_BYTES);
        memory_bytes.saturating_sub(state.pages * PAGE_BYTES as u64)
    });
    let left_out = [
        NotCompared {
            reason: "pages that only some of the states hold".to_owned(),
            bytes: shared.alone_copies * PAGE_BYTES as u64,
        },
        NotCompared {
            reason: "memory that its state file does not hold".to_owned(),
            bytes: absent.sum(),
        },
    ];
    left_out.into_iter().filter(|one| one.bytes > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Locus, Part};
    use state::Origin;

    fn file(memory: Memory) -> StateFile {
        StateFile {
            state: TerminalState {
                memory,
                log: vec!["done".to_owned()],
                ..TerminalState::default()
            },
            origin: Origin::default(),
        }
    }

    fn changed(pages: &[(u64, u8)]) -> Memory {
        let numbers = pages.iter().map(|(number, _)| *number).collect();
        let bytes = pages.iter().flat_map(|(_, byte)| [*byte; PAGE_BYTES]);
        Memory::Changed(ChangedPages::new(numbers, bytes.collect()).unwrap())
    }

    fn verdict(memories: &[Memory]) -> Verdict {
        compare(memories.iter().cloned().map(file).collect())
            .unwrap()
            .verdict
    }

    #[test]
    fn equal_states_are_equal_in_either_form() {
        let pages = changed(&[(0, 1), (1, 2)]);
        let image = Memory::Full([[1; PAGE_BYTES], [2; PAGE_BYTES]].concat());
        assert_eq!(verdict(&[pages.clone(), pages.clone()]), Verdict::Pass);
        assert_eq!(verdict(&[pages, image.clone()]), Verdict::Pass);
        assert_eq!(verdict(&[image.clone(), image]), Verdict::Pass);
    }

    #[test]
    fn one_word_is_found_and_named() {
        let sound = changed(&[(3, 1), (9, 2)]);
        let mut bytes = [[1; PAGE_BYTES], [2; PAGE_BYTES]].concat();
        bytes[PAGE_BYTES + 17] ^= 4;
        let wrong = Memory::Changed(ChangedPages::new(vec![3, 9], bytes).unwrap());
        let states = [sound.clone(), wrong, sound].map(file);
        let diff = compare(states.to_vec()).unwrap();
        assert_eq!(diff.verdict, Verdict::Deviates);
        assert_eq!(diff.reason, "state 1 differs from the majority of 3");
        let [deviation] = diff.deviations.as_slice() else {
            panic!("{:?}", diff.deviations);
        };
        assert_eq!(deviation.replica, Some(ReplicaIndex(1)));
        let [difference] = deviation.differences.as_slice() else {
            panic!("{:?}", deviation.differences);
        };
        assert_eq!(difference.part, Part::Memory);
        let address = model::GuestPhysicalAddress(9 * 4096 + 16);
        assert_eq!(difference.locus, Locus::Address(address));
        assert_eq!(difference.flipped_bits, [10]);
        // Two pages are no kernel, and that is said.
        assert_eq!(difference.explanation, None);
        let warning = diff.warnings.iter().find(|one| one.contains("no owner"));
        assert!(warning.is_some(), "{:?}", diff.warnings);
    }

    #[test]
    fn a_page_that_one_state_lacks_is_no_pass() {
        let (more, less) = (changed(&[(3, 1), (9, 2)]), changed(&[(3, 1)]));
        let diff = compare(vec![file(more), file(less)]).unwrap();
        assert_eq!(diff.verdict, Verdict::Inconclusive);
        assert!(
            diff.reason.contains("1 pages are in some"),
            "{}",
            diff.reason
        );
        assert_eq!(diff.coverage.bytes_not_compared, 4096);
        // What they share and differ in is still found.
        let (more, other) = (changed(&[(3, 1), (9, 2)]), changed(&[(3, 5)]));
        assert_eq!(verdict(&[more, other]), Verdict::Deviates);
    }

    #[test]
    fn states_of_different_machines_are_compared_and_told_apart() {
        let mut small = file(Memory::Full(vec![7; PAGE_BYTES]));
        small.origin.provenance.memory_bytes = 4096;
        let mut large = file(Memory::Full(vec![7; 3 * PAGE_BYTES]));
        large.origin.provenance.memory_bytes = 3 * 4096;
        large.origin.provenance.kernel = "6.1".to_owned();
        let diff = compare(vec![small, large]).unwrap();
        assert_eq!(diff.verdict, Verdict::Inconclusive);
        assert_eq!(
            diff.warnings,
            [
                "the states differ in their kernel: , 6.1",
                "the states differ in their size of memory: 12288, 4096"
            ]
        );
    }

    #[test]
    fn machines_that_hung_alike_are_compared() {
        let hung = |byte| {
            let mut hung = file(changed(&[(3, byte)]));
            hung.state.outcome = Outcome::Hung;
            hung
        };
        let equal = compare(vec![hung(1), hung(1)]).unwrap();
        assert_eq!(equal.verdict, Verdict::Pass);
        assert_eq!(equal.states[0].outcome, Outcome::Hung);
        let different = compare(vec![hung(1), hung(2)]).unwrap();
        assert_eq!(different.verdict, Verdict::Deviates);
    }

    #[test]
    fn the_highest_page_and_a_lying_size_are_taken() {
        let highest = || {
            let mut file = file(changed(&[(MAX_PAGE_NUMBERS - 1, 1)]));
            file.origin.provenance.memory_bytes = u64::MAX;
            file
        };
        let diff = compare(vec![highest(), highest(), highest()]).unwrap();
        assert_eq!(diff.verdict, Verdict::Pass);
    }
}
