//! Holds no code: the manifest says what this crate is for.
