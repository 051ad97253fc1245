//! What a guest finds that has a disk: modules of the kernel, in groups that are loaded when they
//! are needed.
//!
//! ```text
//! /modules/disk     names, in the order in which they are loaded: what leads to the disk
//! /modules/xfs      the same for a file system, beyond what the group above holds
//! /modules/btrfs
//! /modules/NAME.ko
//! ```
//!
//! The disk's own modules are loaded after the snapshot, so that nothing of the disk is in it: one
//! machine serves all disks. ext2, ext3 and ext4 are part of the kernel.

use crate::modules::{Module, ModuleError, Modules};
use std::path::Path;

/// Where the groups and modules are.
pub const DIRECTORY: &str = "/modules";

/// What leads to the disk.
pub const DISK_GROUP: &str = "disk";

/// The groups, and what each asks for.
const GROUPS: [(&str, &[&str]); 3] = [
    (DISK_GROUP, &["virtio_pci", "virtio_blk"]),
    ("xfs", &["xfs"]),
    ("btrfs", &["btrfs"]),
];

/// A file for the initramfs: its path and its content.
pub type GuestFile = (String, Vec<u8>);

/// The files that a guest with a disk finds, out of a directory of the kernel's modules.
///
/// # Errors
/// A module that is needed is not there.
pub fn files(modules: &Path) -> Result<Vec<GuestFile>, ModuleError> {
    let mut modules = Modules::of(modules)?;
    let mut files = Vec::new();
    for (group, asked) in GROUPS {
        let chosen = modules.choose_all(asked.iter().copied())?;
        let names: Vec<&str> = chosen.iter().map(|module| module.name.as_str()).collect();
        let order = names.join("\n");
        files.push((format!("{DIRECTORY}/{group}"), order.into_bytes()));
        let file = |Module { name, content }| (format!("{DIRECTORY}/{name}.ko"), content);
        files.extend(chosen.into_iter().map(file));
    }
    Ok(files)
}
