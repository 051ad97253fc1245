//! The commands: one module a noun.

pub(crate) mod campaign;
pub(crate) mod computation;
pub(crate) mod doctor;
pub(crate) mod finding;
pub(crate) mod image;
pub(crate) mod plain;
pub(crate) mod run;
pub(crate) mod saved;
pub(crate) mod worker;
