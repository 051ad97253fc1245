//! The cases, by what they are about.

pub(crate) mod boot;
pub(crate) mod breakpoint;
pub(crate) mod ending;
pub(crate) mod lost;
pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod recorded;
pub(crate) mod register;
pub(crate) mod restore;
pub(crate) mod saved;
pub(crate) mod stop;
