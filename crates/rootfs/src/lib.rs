//! A container's root file system, made into the image of a disk that a machine can be given.
//!
//! ```text
//! directory ────────────────────────────────────────────┐
//! tar (plain, gzip, xz, zstd) ─► unpacked ──────────────┤
//! image archive (OCI layout, `docker save`, `podman     ├─► mke2fs -d ─► ext4 in a nameless file
//!   save`), or the directory of an OCI layout           │
//!        ─► manifest ─► layers, each over the last ─────┘
//! ```
//!
//! Archives are not trusted: nothing is written outside of a directory of our own, whatever names and
//! links say; layers are held against their digests; entries and bytes are bounded. Devices, sockets
//! and pipes are left out: the machine brings its own. Nothing of an archive is run on the host.

mod archive;
mod container;
mod error;
mod filesystem;
mod layer;

pub use error::RootfsError;
pub use filesystem::FilesystemImage;

use std::fs;
use std::path::Path;

/// Makes the image of a disk that holds a root file system: of a directory, a tar archive, or a
/// container's image as an archive or an OCI layout. Working files are made in `scratch`, and are gone
/// when this returns; the image itself is there for as long as what is returned.
///
/// # Errors
/// The source cannot be read, is none of these, or is damaged; there is no room, or no `mke2fs`.
pub fn image_of(source: &Path, scratch: &Path) -> Result<FilesystemImage, RootfsError> {
    let metadata = fs::metadata(source).map_err(RootfsError::io("read", source))?;
    if metadata.is_dir() {
        if !container::is_layout(source) {
            return filesystem::make(source, scratch);
        }
        let tree = working_directory(scratch)?;
        container::unpack(source, tree.path())?;
        return filesystem::make(tree.path(), scratch);
    }
    if !metadata.is_file() {
        return Err(RootfsError::NotARootfs {
            path: source.to_path_buf(),
        });
    }
    let tree = working_directory(scratch)?;
    if archive::holds_container(source)? {
        let unpacked = working_directory(scratch)?;
        archive::unpack_container(source, unpacked.path())?;
        container::unpack(unpacked.path(), tree.path())?;
    } else {
        archive::unpack(source, tree.path())?;
    }
    filesystem::make(tree.path(), scratch)
}

fn working_directory(scratch: &Path) -> Result<tempfile::TempDir, RootfsError> {
    tempfile::Builder::new()
        .prefix("vardoger-rootfs-")
        .tempdir_in(scratch)
        .map_err(RootfsError::io("make a directory in", scratch))
}
