//! Blocks of disks, from where they lie.
//!
//! | module | holds |
//! |---|---|
//! | [`direct`] | [`DirectFile`]: a file or device read past the page cache |
//! | [`nbd`] | [`nbd::Export`]: a disk that a hypervisor exports by the network block protocol |
//! | [`new_file`] | [`NewFile`]: a file that is there whole or not at all |
//! | [`users`](mod@users) | who else has a file or device open |
//!
//! The first two are a [`disk::ReadAt`], so that whatever reads disks reads them. Nothing here writes to a
//! disk that is there.

pub mod direct;
pub mod nbd;
pub mod new_file;
pub mod users;

pub use direct::DirectFile;
pub use new_file::NewFile;
pub use users::{User, users};
