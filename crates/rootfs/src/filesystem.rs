//! The ext4 file system that a machine is given, made of a directory by `mke2fs`.

use crate::error::RootfsError;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = "mke2fs";

/// Where the tool is for users whose `PATH` has no directories for administrators.
const ADMINISTRATORS: &str = "/usr/sbin:/sbin";

/// Room that a command in the file system has besides what is in it, in bytes.
const FREE_BYTES: u64 = 256 << 20;

/// What a file costs besides its content: an inode, its share of directories and bitmaps.
const FILE_BYTES: u64 = 1 << 10;

const BLOCK_BYTES: u64 = 4 << 10;
const MEBIBYTE: u64 = 1 << 20;

/// The most entries of a tree that are looked at.
const MAX_ENTRIES: u64 = 8 << 20;

/// The same for the same content: its digest is told in reports.
const UUID: &str = "76617264-6f67-4572-8000-726f6f746673";

/// The longest part of the tool's complaint that is passed on.
const COMPLAINT_BYTES: usize = 500;

/// An image without a name, which is gone with this.
#[derive(Debug)]
pub struct FilesystemImage {
    file: File,
}

impl FilesystemImage {
    /// Where this process finds it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path_of(&self.file)
    }
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        file.as_raw_fd()
    ))
}

/// Makes an image of a directory.
pub(crate) fn make(tree: &Path, scratch: &Path) -> Result<FilesystemImage, RootfsError> {
    let size = measure(tree)?;
    if size.entries == 0 {
        return Err(RootfsError::Empty {
            path: tree.to_path_buf(),
        });
    }
    let file =
        tempfile::tempfile_in(scratch).map_err(RootfsError::io("make a file in", scratch))?;
    let image = path_of(&file);
    // Bitmaps, tables and the journal come on top of what the files hold.
    let bytes = size
        .bytes
        .saturating_add(size.bytes / 8)
        .saturating_add(FREE_BYTES);
    let mebibytes = bytes.div_ceil(MEBIBYTE);
    let inodes = size.entries.saturating_mul(2).saturating_add(4096);
    let output = Command::new(PROGRAM)
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-b", "4096"])
        .args(["-U", UUID, "-E"])
        .arg(format!("hash_seed={UUID},root_owner=0:0"))
        .arg("-N")
        .arg(inodes.to_string())
        .arg("-d")
        .args([tree, &image])
        .arg(format!("{mebibytes}M"))
        .env_clear()
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RootfsError::NoTool),
        output => output.map_err(RootfsError::io("start", Path::new(PROGRAM)))?,
    };
    if output.status.success() {
        return Ok(FilesystemImage { file });
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint
        .chars()
        .map(|one| if one == '\n' { ' ' } else { one });
    let complaint = complaint.filter(|one| !one.is_control());
    Err(RootfsError::Tool {
        path: tree.to_path_buf(),
        complaint: complaint.take(COMPLAINT_BYTES).collect(),
    })
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(OsStr::new(":"));
    }
    path.push(ADMINISTRATORS);
    path
}

/// How much is in a tree.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Size {
    entries: u64,
    bytes: u64,
}

/// Adds up a tree, without following links out of it.
fn measure(tree: &Path) -> Result<Size, RootfsError> {
    let mut size = Size::default();
    let mut left = vec![tree.to_path_buf()];
    while let Some(directory) = left.pop() {
        let failed = |error| RootfsError::io("list", &directory)(error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            // Of the entry itself: what a link leads to is not in the tree.
            let metadata = entry.metadata().map_err(RootfsError::io("read", &path))?;
            size.entries += 1;
            if size.entries > MAX_ENTRIES {
                return Err(RootfsError::TooMuch {
                    path: tree.to_path_buf(),
                    limit: format!("{MAX_ENTRIES} files"),
                });
            }
            let content = metadata.len().next_multiple_of(BLOCK_BYTES);
            size.bytes = size
                .bytes
                .saturating_add(content)
                .saturating_add(FILE_BYTES);
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_an_image_and_an_empty_one_does_not() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = tempfile::tempdir().unwrap();
        assert!(matches!(
            make(tree.path(), scratch.path()),
            Err(RootfsError::Empty { .. })
        ));
        fs::create_dir(tree.path().join("etc")).unwrap();
        fs::write(tree.path().join("etc/hostname"), "double\n").unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.path().join("link")).unwrap();
        let image = make(tree.path(), scratch.path()).unwrap();
        let metadata = fs::metadata(image.path()).unwrap();
        assert!(metadata.len() > FREE_BYTES);
        let listed = Command::new("debugfs")
            .args(["-R", "cat /etc/hostname"])
            .arg(image.path())
            .env("PATH", search_path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "double\n");
        // Nothing of ours is left where it was made.
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
