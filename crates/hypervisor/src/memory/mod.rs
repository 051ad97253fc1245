//! Guest memory from outside: the emulator's mapping of it, read and written through
//! `/proc/PID/mem`, and the pages of it that changed since the snapshot.

pub mod changed;
pub mod mapping;
pub mod sparse;
