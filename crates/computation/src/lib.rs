//! The computation library: repeatable computations whose terminal state is a function of
//! (computation, version, seed, steps) and of nothing else.
//!
//! | module | holds |
//! |---|---|
//! | [`catalogue`](mod@catalogue) | what there is: names, sensitivity, units exercised, cost |
//! | [`mod@select`] | which of them serve a target and a sensitivity, and why |
//! | [`kernel`] | the trait that every computation implements, and its page-aligned memory |
//! | [`kernels`] | the computations themselves |
//! | [`golden`] | known digests, and how a new one is learned natively |
//! | [`coverage`] | what they exercise, held against other tools' lists and the processor |
//! | [`isa`] | instruction-set classes, by which digests are keyed where they depend on them |
//! | [`system`] | what one of them asks of an operating system, and a model of one that works |
//! | [`digest`] | a SHA-256 digest as a value |
//! | [`job`] | guest protocol 1: what the host orders, and what the guest says |
//!
//! The same code runs in the guest and natively. A computation keeps to these rules, so that a
//! wrong bit anywhere survives until the states are compared: every bit of every result is used,
//! operands have high entropy, chains are long, all state enters the digest, nothing is compared
//! with a tolerance, and nothing is logged in the loop.
//!
//! Deliberately absent: clocks, randomness from outside, threads, files; unsafe code but in `machine`, where
//! single instructions are executed.

pub mod catalogue;
pub mod coverage;
pub mod digest;
pub mod golden;
pub mod isa;
pub mod job;
pub mod kernel;
pub mod kernels;
mod machine;
mod operand;
mod random;
pub mod select;
pub mod system;

pub use catalogue::{Descriptor, Sensitivity, Target, catalogue, find, steps_for};
pub use digest::Digest;
pub use kernel::{Kernel, NamedBuffer};
pub use select::{Selection, select};
pub use system::System;
