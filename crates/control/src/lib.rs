//! Use cases: what the product does, over the traits of hypervisor and store.
//!
//! | module | use case |
//! |---|---|
//! | [`session`] | open everything that is needed, and mend what a killed instance left |
//! | [`request`] | what the user asks for, and what it means |
//! | [`program`] | a user's own program, checked and loaded |
//! | [`command`] | a command in a disk of the user's, checked |
//! | [`injection`] | faults that the user orders |
//! | [`machine`] | the machine that replicas are made of |
//! | [`run`] | N identical machines, one computation, one verdict |
//! | [`campaign`] | many trials of the detector against known truth |
//! | [`excerpt`] | what a report shows of a run's evidence |
//! | [`repeat`] | the command line that does a run again |
//! | [`saved`] | states that are kept, named and written out |
//! | [`diff`] | saved states against each other, read in a process of their own |
//! | [`image`] | disk images: into their history, and out of it |
//! | [`golden`] | learned golden digests |
//! | [`noise`] | what is known of the noise of machines that are not bit-exact |
//! | [`doctor`] | what this machine can do |
//!
//! No SQL, no QMP and no terminal here: engines and adapters are joined, nothing more.

mod alignment;
pub mod campaign;
pub mod command;
pub mod diff;
pub mod doctor;
pub mod error;
mod evidence;
pub mod excerpt;
mod explain;
pub mod golden;
pub mod image;
mod inject;
pub mod injection;
mod investigate;
mod leftover;
pub mod machine;
pub mod noise;
mod overlay;
mod owners;
pub mod program;
pub mod progress;
mod provenance;
pub mod repeat;
mod replica;
pub mod request;
pub mod run;
pub mod saved;
pub mod session;
mod stall;
mod surroundings;

pub use command::Command;
pub use error::ControlError;
pub use program::Program;
pub use progress::{Progress, ProgressSink, Silent};
pub use request::{Computation, Keep, RunRequest};
pub use session::{Session, SessionConfig};
