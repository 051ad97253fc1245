//! The computations themselves, one module each. They are started through
//! [`crate::Descriptor::start`], never by name.

pub(crate) mod aes;
pub(crate) mod bigint;
pub(crate) mod compress;
pub(crate) mod copy;
pub(crate) mod core;
pub(crate) mod crc;
pub(crate) mod decompose;
pub(crate) mod elementary;
pub(crate) mod fft;
pub(crate) mod fused;
pub(crate) mod gather;
pub(crate) mod hashes;
pub(crate) mod images;
pub(crate) mod interpreter;
pub(crate) mod kernel_paths;
pub(crate) mod linpack;
pub(crate) mod mappings;
pub(crate) mod matmul;
pub(crate) mod memory;
pub(crate) mod multiply;
pub(crate) mod products;
pub(crate) mod sha256;
pub(crate) mod sort;
pub(crate) mod sqlite;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod threads;
pub(crate) mod vectors;
pub(crate) mod video;
pub(crate) mod x87;
pub(crate) mod zstd;

#[cfg(test)]
mod tests;
