//! Names of files: from a `dentry` up to the root of its file system, and of an open file on to
//! where that is mounted.
//!
//! A cached page knows its file and not by which mount it was opened, so its path is one on its own
//! file system. Mounts count as they are, also where a process has another root directory.

use crate::kernel::GuestKernel;
use crate::layout::FileLayout;

/// Directories in one another that are followed.
const MAX_DEPTH: usize = 64;

/// The longest name of a directory's entry, in bytes: the kernel's own limit.
const MAX_NAME_BYTES: usize = 255;

/// The longest path that is given, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The path of an open file, through the mounts above it as far as the kernel describes them.
pub(crate) fn path_of_file(kernel: &GuestKernel<'_>, file: u64) -> Option<String> {
    let layout = kernel.layouts().file.as_ref().ok()?;
    let dentry = kernel.u64(file.wrapping_add(layout.dentry))?;
    path_of_dentry(kernel, layout, dentry, Mount::of_file(kernel, file))
}

/// The path, or else the number, of the file whose content an `address_space` caches.
pub(crate) fn name_of_cached(kernel: &GuestKernel<'_>, address_space: u64) -> Option<String> {
    let layout = kernel.layouts().file.as_ref().ok()?;
    name_of_inode(kernel, kernel.u64(address_space.wrapping_add(layout.host))?)
}

/// The path that a `dentry` ends on its own file system.
pub(crate) fn path_of(kernel: &GuestKernel<'_>, dentry: u64) -> Option<String> {
    let layout = kernel.layouts().file.as_ref().ok()?;
    path_of_dentry(kernel, layout, dentry, None)
}

/// The path, or else the number, of an `inode`.
pub(crate) fn name_of_inode(kernel: &GuestKernel<'_>, inode: u64) -> Option<String> {
    let layout = kernel.layouts().file.as_ref().ok()?;
    let number = kernel.u64(inode.wrapping_add(layout.i_ino))?;
    let alias = kernel.u64(inode.wrapping_add(layout.i_dentry))?;
    let path = (alias != 0)
        .then(|| path_of_dentry(kernel, layout, alias.wrapping_sub(layout.d_alias), None))
        .flatten();
    Some(path.unwrap_or_else(|| format!("inode {number}")))
}

/// A file system at its place: a `mount` of the kernel's.
#[derive(Debug, Clone, Copy)]
struct Mount {
    address: u64,
    /// The directory that is its root.
    root: u64,
    parent: u64,
    /// The directory of the parent that it covers.
    mountpoint: u64,
}

impl Mount {
    fn of_file(kernel: &GuestKernel<'_>, file: u64) -> Option<Self> {
        let layout = kernel.layouts().mount.as_ref().ok()?;
        let public = kernel.u64(file.wrapping_add(layout.of_file))?;
        Self::at(kernel, public.wrapping_sub(layout.public))
    }

    fn at(kernel: &GuestKernel<'_>, address: u64) -> Option<Self> {
        let layout = kernel.layouts().mount.as_ref().ok()?;
        let word = |member: u64| kernel.u64(address.wrapping_add(member));
        Some(Self {
            address,
            root: word(layout.root)?,
            parent: word(layout.parent)?,
            mountpoint: word(layout.mountpoint)?,
        })
    }

    /// The mount that it lies in; none where it is the first.
    fn above(&self, kernel: &GuestKernel<'_>) -> Option<Self> {
        (self.parent != self.address)
            .then(|| Self::at(kernel, self.parent))
            .flatten()
    }
}

/// The path from a file up to the root of its file system, and on from where that is mounted.
fn path_of_dentry(
    kernel: &GuestKernel<'_>,
    layout: &FileLayout,
    dentry: u64,
    mut mount: Option<Mount>,
) -> Option<String> {
    let mut at = dentry;
    let mut path = String::new();
    for _ in 0..MAX_DEPTH {
        if let Some(here) = mount.filter(|here| here.root == at)
            && let Some(above) = here.above(kernel)
        {
            at = here.mountpoint;
            mount = Some(above);
            continue;
        }
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
