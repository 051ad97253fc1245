//! The documents that leave the product: what `--json` prints, and what an API will answer.
//!
//! ```text
//! {"schema": "vardoger/run/1", "data": {…}, "warnings": []}
//! ```
//!
//! Rules of every document:
//! - Within a major number keys are only added. A key that has nothing to say is `null`.
//! - 64-bit values and addresses are strings `"0x…"`; counts are numbers.
//! - Times are RFC 3339 in UTC; durations end in `_s`, sizes in `_bytes`; bytes are hexadecimal.
//! - Enumerations are kebab-case strings. They grow: a reader accepts values that it does not know.
//!
//! The JSON Schema of each is generated from its type by [`schemas`], and kept as a golden file.
//!
//! Deliberately absent: reading. We only write documents; what is stored has its own form in crate
//! `model`, so that either can change without the other.

mod campaign;
mod change;
mod computation;
mod diff;
mod difference;
mod document;
mod finding;
mod format;
mod image;
mod plain;
mod publish;
mod run;
mod timeline;

pub use crate::campaign::{
    CampaignDocument, CampaignListDocument, FaultOutcomesDocument, HintClassDocument,
    HintReportDocument, HintSharesDocument, PageTallyDocument, ReliabilityBinDocument,
    TrialDocument,
};
pub use crate::change::{ChangeDocument, ChangeListDocument, FileStateDocument};
pub use crate::computation::{
    ComputationCoverageDocument, ComputationDocument, ComputationListDocument, CoveredClass,
    CoveredExtension, ExercisedWord, GoldenDocument, NoiseModelDocument,
};
pub use crate::diff::{DiffDocument, ExportDocument, ExportedDocument, StateDocument};
pub use crate::difference::DifferenceDocument;
pub use crate::document::{Document, Payload};
pub use crate::finding::{
    ConflictDocument, ConflictingFigureDocument, FindingDocument, FindingListDocument,
    HintDocument, NextExperimentDocument,
};
pub use crate::format::hexadecimal;
pub use crate::image::{
    ByteRangeDocument, ChangesetDocument, ExplanationDocument, FileDocument, FileEventDocument,
    FileListDocument, ImageAnchorDocument, ImageCheckDocument, ImageDamageDocument,
    ImageDiffDocument, ImageDocument, ImageForgetDocument, ImageListDocument, ImageLogDocument,
    VolumeDocument,
};
pub use crate::plain::{CheckDocument, DoctorDocument, ErrorDocument, VersionDocument};
pub use crate::publish::{PublishedSchema, schemas};
pub use crate::run::{
    BufferDocument, CoverageDocument, DeviationDocument, InjectionDocument, InvestigationDocument,
    InvestigationRoundDocument, MetricDocument, NoiseDocument, PlacementDocument,
    ProbabilityDocument, ProvenanceDocument, RecordingDocument, ReplicaDocument, RunDocument,
    RunListDocument, RunRow,
};
pub use crate::timeline::{
    ActorDocument, LogEntryDocument, TimelineDocument, TimelineEntryDocument,
};
