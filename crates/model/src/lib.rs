//! The vocabulary of the whole product. No I/O, no clock, no randomness: every engine, adapter and
//! command speaks in these types.
//!
//! | module | holds |
//! |---|---|
//! | [`id`] | UUIDv7 identities, one type per thing |
//! | [`clock`] | the three clocks: [`Timestamp`], [`Elapsed`], [`InstructionCount`] |
//! | [`address`] | guest addresses and page numbers |
//! | [`fleet`] | hosts, VMs, components, groups: what a finding hangs on |
//! | [`severity`] | how bad, one scale for all engines, and its formula |
//! | [`run`] | one computation, N replicas, one verdict |
//! | [`difference`] | one exact difference between a machine and its doubles |
//! | [`explanation`] | whom a byte of guest memory belongs to |
//! | [`finding`] | the one type in which any engine says anything |
//! | [`hint`] | a possible cause, with its evidence and its probability |
//! | [`action`] | the one type of what the product may do |
//! | [`diff`] | saved states against each other |
//! | [`event`] | the append-only record that everything a user sees is derived from |
//!
//! Invariants: a value of these types never borrows from a machine or a file; adding a field or a
//! variant is compatible, renaming one is not.

pub mod action;
pub mod address;
pub mod clock;
pub mod diff;
pub mod difference;
pub mod event;
pub mod explanation;
pub mod finding;
pub mod fleet;
pub mod hint;
pub mod id;
pub mod run;
pub mod severity;

pub use action::{Action, ActionState, Policy};
pub use address::{GuestPhysicalAddress, GuestVirtualAddress, PAGE_BYTES, PageNumber};
pub use clock::{Elapsed, InstructionCount, ParseTimestampError, Timestamp};
pub use diff::{Diff, StateSummary};
pub use difference::{Difference, Locus, Part};
pub use event::{Event, EventRecord};
pub use explanation::{
    Basis, BufferPlace, Confidence, Explanation, FilePlace, MappingName, ObjectName, OwnerKind,
    ProcessName,
};
pub use finding::{Engine, Finding, FindingKind};
pub use fleet::{Level, NodeRef};
pub use hint::{
    Conflict, ConflictingFigure, Experiment, ExperimentOutcome, Hint, HintClass, Investigation,
    InvestigationRound, NextExperiment,
};
pub use id::{ActionId, EventId, FindingId, ImageId, ReplicaIndex, RunId};
pub use run::{
    CommandProvenance, ContentProvenance, Coverage, Deviation, Fate, InjectionRecord, MetricSample,
    NoiseRecord, Outcome, Placement, ProgramProvenance, Provenance, RecordingRecord, ReplicaRecord,
    Run, Verdict,
};
pub use severity::Severity;
