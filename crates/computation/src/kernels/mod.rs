//! The computations themselves, one module each. They are started through
//! [`crate::Descriptor::start`], never by name.

pub(crate) mod aes;
pub(crate) mod crc;
pub(crate) mod fft;
pub(crate) mod kernel_paths;
pub(crate) mod matmul;
pub(crate) mod memory;
pub(crate) mod sha256;
pub(crate) mod sqlite;
pub(crate) mod text;
pub(crate) mod zstd;

#[cfg(test)]
mod tests;
