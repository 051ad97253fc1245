//! Names of files: from a `dentry` up to the root of its file system.
//!
//! Where a file system is mounted is not looked at, so a path is one on its own file system.

use crate::kernel::GuestKernel;
use crate::layout::FileLayout;

/// Directories in one another that are followed.
const MAX_DEPTH: usize = 64;

/// The longest name of a directory's entry, in bytes: the kernel's own limit.
const MAX_NAME_BYTES: usize = 255;

/// The longest path that is given, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The path of an open file.
pub(crate) fn path_of_file(kernel: &GuestKernel<'_>, file: u64) -> Option<String> {
    let layout = kernel.layouts().file.as_ref().ok()?;
    path_of_dentry(
        kernel,
        layout,
        kernel.u64(file.wrapping_add(layout.dentry))?,
    )
}

/// The path, or else the number, of the file whose content an `address_space` caches.
pub(crate) fn name_of_cached(kernel: &GuestKernel<'_>, address_space: u64) -> Option<String> {
    let layout = kernel.layouts().file.as_ref().ok()?;
    let inode = kernel.u64(address_space.wrapping_add(layout.host))?;
    let number = kernel.u64(inode.wrapping_add(layout.i_ino))?;
    let alias = kernel.u64(inode.wrapping_add(layout.i_dentry))?;
    let path = (alias != 0)
        .then(|| path_of_dentry(kernel, layout, alias.wrapping_sub(layout.d_alias)))
        .flatten();
    Some(path.unwrap_or_else(|| format!("inode {number}")))
}

fn path_of_dentry(kernel: &GuestKernel<'_>, layout: &FileLayout, dentry: u64) -> Option<String> {
    let mut at = dentry;
    let mut path = String::new();
    for _ in 0..MAX_DEPTH {
        let name = kernel.u64(at.wrapping_add(layout.d_name))?;
        let name = kernel.text(name, MAX_NAME_BYTES)?;
        let parent = kernel.u64(at.wrapping_add(layout.d_parent))?;
        let is_root = parent == at || parent == 0;
        if is_root && (name == "/" || name.is_empty()) {
            break;
        }
        path = if is_root {
            format!("{name}{path}")
        } else {
            format!("/{name}{path}")
        };
        if is_root || path.len() > MAX_PATH_BYTES {
            break;
        }
        at = parent;
    }
    if path.is_empty() {
        path.push('/');
    }
    path.truncate(MAX_PATH_BYTES);
    Some(path)
}
