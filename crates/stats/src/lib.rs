//! Robust statistics and bounds. It knows nothing of virtual machines.
//!
//! | module | holds |
//! |---|---|
//! | [`bound`] | what the silence of a test is worth: the upper bound when nothing was found |
//! | [`robust`] | median, median absolute deviation, robust z |
//! | [`calibration`] | whether what is called so sure is right so often |
//! | [`discovery`] | which of many small probabilities are discoveries |
//! | [`moderated`] | variances of few values each, that lend each other strength |
//! | [`unseen`] | how much noise is still to come that was never seen |
//! | [`outlier`] | how far one of N may lie from the others before chance no longer explains it |
//!
//! Invariants: a value that is not finite never enters a result: such input yields `None`. Nothing
//! here keeps state, draws random numbers or looks at a clock.

pub mod bound;
pub mod calibration;
pub mod discovery;
pub mod moderated;
pub mod outlier;
pub mod robust;
pub mod unseen;

pub use bound::{rate_interval, rule_of_three, upper_bound_of_none};
pub use calibration::{calibration_error, calibration_interval, reliability};
pub use discovery::false_discovery_adjusted;
pub use moderated::{Prior, prior, two_sided_limit, two_sided_probability};
pub use outlier::leave_one_out_limit;
pub use robust::{median, median_absolute_deviation, robust_z};
pub use unseen::{expected_new, expected_new_bound, worst_new};
