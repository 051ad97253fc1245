//! The divergence engine: N terminal states of identical machines in; verdict, who deviates, how
//! much, where and what it may mean out.
//!
//! ```text
//! replicas ─► parts (exact comparison) ─► judgement (verdict, reason) ─► deviations ─► findings
//!          └► metrics (statistical; never vote)             coverage ─┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`input`] | what is given: replicas, context, options |
//! | [`analysis`] | [`analyse`] and what comes out |
//! | `parts` | the comparison of every part, and its counts |
//! | `judgement` | verdict and reason |
//! | `kind` | what differences mean, and how bad that is |
//! | `deviation`, `difference` | who differs, and each exact difference |
//! | [`finding`] | drafts of findings: kind, severity, score, sentence, hints |
//! | [`hint`] | possible causes, with evidence, likelihood ratios and probabilities |
//! | [`align`] | machines that are not bit-exact, place by place |
//! | [`noise`] | what is known of the noise of clean runs |
//! | [`metric`] | metrics that are statistical, against the median of all replicas |
//!
//! # The rules
//!
//! 1. The deviation of a part is the number of its differences: words of memory and files,
//!    registers, log lines, exact metrics. The parts of a terminal state are exact, their baseline
//!    is 0: any difference is a deviation, and the score is the largest count over the parts. A
//!    part with a baseline scores deviation ÷ (baseline × multiplier), and deviates above 1.
//! 2. What a strict majority of the replicas holds is right. Where there is none, nothing is
//!    guessed: the difference is undecided.
//! 3. Two replicas that differ deviate, and nobody is named. Of three or more, those that differ
//!    from a majority deviate; if nothing that differs has a majority, the run is inconclusive.
//! 4. Machines that are not bit-exact are aligned before they are compared ([`align`]). Outcome,
//!    result, files, log and named buffers remain exact, and vote; elsewhere what clean runs have
//!    shown as noise is masked ([`noise`]), and a difference besides is inconclusive.
//! 5. Nothing compared is never a pass: the run is skipped, with the reason.
//! 6. A golden result that the replicas contradict is a finding of its own; nobody deviates.
//!
//! It has no clock and makes no ids: whoever asks adds them to the drafts.

pub mod align;
pub mod analysis;
pub mod baseline;
mod deviation;
mod difference;
pub mod finding;
pub mod hint;
pub mod input;
mod judgement;
mod kind;
pub mod metric;
pub mod noise;
mod parts;

pub use align::{Aligned, align};
pub use analysis::{Analysis, AnalysisError, ReplicaSummary, analyse};
pub use baseline::MetricHistory;
pub use finding::FindingDraft;
pub use hint::{explain, rank, surroundings::Surroundings};
pub use input::{Context, NotCompared, Options, OptionsError, Replica};
pub use metric::MetricReport;
pub use noise::{NoiseKey, NoiseMask, NoiseModel, NoiseSummary};

/// The version of the engine's rules, for findings.
pub const ENGINE_VERSION: &str = "1";
