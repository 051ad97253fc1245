//! The computations themselves, one module each. They are started through
//! [`crate::Descriptor::start`], never by name.

pub(crate) mod matmul;
pub(crate) mod memory;
pub(crate) mod sha256;

#[cfg(test)]
mod tests;
