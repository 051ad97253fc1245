//! Blocks of disks, from where they lie.
//!
//! | module | holds |
//! |---|---|
//! | [`direct`] | [`DirectFile`]: a file or device read past the page cache |
//! | [`nbd`] | [`nbd::Export`]: a disk that a hypervisor exports by the network block protocol |
//!
//! Both are a [`disk::ReadAt`], so that whatever reads disks reads them. Nothing here writes to a
//! disk.

pub mod direct;
pub mod nbd;

pub use direct::DirectFile;
