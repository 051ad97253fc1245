//! Robust statistics and bounds. It knows nothing of virtual machines.
//!
//! | module | holds |
//! |---|---|
//! | [`bound`] | what the silence of a test is worth: the upper bound when nothing was found |
//! | [`robust`] | median, median absolute deviation, robust z |
//! | [`outlier`] | how far one of N may lie from the others before chance no longer explains it |
//!
//! Invariants: a value that is not finite never enters a result: such input yields `None`. Nothing
//! here keeps state, draws random numbers or looks at a clock.

pub mod bound;
pub mod outlier;
pub mod robust;

pub use bound::{rule_of_three, upper_bound_of_none};
pub use outlier::leave_one_out_limit;
pub use robust::{median, median_absolute_deviation, robust_z};
