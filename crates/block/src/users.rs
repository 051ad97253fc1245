//! Who else has a file or device open.
//!
//! Of other users' processes nothing is told to anybody but root; the locks that QEMU holds on its
//! images are told to all.

use procfs::process::{FDPermissions, FDTarget, Process};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The byte whose lock says that QEMU may write to an image: `RAW_LOCK_PERM_BASE` and the bit of
/// `BLK_PERM_WRITE`, block/file-posix.c.
const QEMU_WRITES: u64 = 101;

/// A process that has it open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number; nothing where only its lock is seen.
    pub pid: Option<i32>,
    /// Its program's name, which the program chose; or what is known of it.
    pub name: String,
    /// Whether it may write.
    pub writes: bool,
}

/// What tells a file or a device from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File { device: u64, inode: u64 },
    Device(u64),
}

impl Node {
    fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            Self::Device(metadata.rdev())
        } else {
            Self::File {
                device: metadata.dev(),
                inode: metadata.ino(),
            }
        }
    }
}

/// The other processes that have this file open, as far as we may see.
///
/// # Errors
/// The file cannot be looked at, or `/proc` is not to be had.
pub fn users(file: &File) -> io::Result<Vec<User>> {
    let node = Node::of(&file.metadata()?);
    let own = std::process::id();
    let processes = procfs::process::all_processes().map_err(io::Error::other)?;
    let mut users: Vec<User> = processes
        .flatten()
        .filter(|process| u32::try_from(process.pid).is_ok_and(|pid| pid != own))
        .filter_map(|process| user(&process, node))
        .collect();
    if users.iter().all(|user| !user.writes) && is_locked_for_writing(node) {
        users.push(User {
            pid: None,
            name: "a QEMU of another user".to_owned(),
            writes: true,
        });
    }
    Ok(users)
}

fn user(process: &Process, node: Node) -> Option<User> {
    let mut found = None;
    for descriptor in process.fd().ok()?.flatten() {
        if !matches!(descriptor.target, FDTarget::Path(_)) {
            continue;
        }
        let path = format!("/proc/{}/fd/{}", process.pid, descriptor.fd);
        let is_it = std::fs::metadata(path).is_ok_and(|there| Node::of(&there) == node);
        if is_it {
            let writes = descriptor.mode().contains(FDPermissions::WRITE);
            found = Some(found.unwrap_or(false) || writes);
        }
    }
    let writes = found?;
    let name = process
        .stat()
        .map_or_else(|_| String::new(), |stat| stat.comm);
    Some(User {
        pid: Some(process.pid),
        name,
        writes,
    })
}

fn is_locked_for_writing(node: Node) -> bool {
    let Node::File { device, inode } = node else {
        return false;
    };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    procfs::locks().is_ok_and(|locks| {
        locks.iter().any(|lock| {
            let there = (lock.devmaj, lock.devmin, lock.inode) == (major, minor, inode);
            let last = lock.offset_last.unwrap_or(u64::MAX);
            // Of the whole file it is another program's lock, and says nothing of writing.
            let ranged = lock.offset_last.is_some();
            there && ranged && lock.offset_first <= QEMU_WRITES && QEMU_WRITES <= last
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn who_reads_and_who_writes_is_told_apart() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(users(file.as_file()).unwrap(), []);
        let mut children = [false, true].map(|writes| {
            let mut options = std::fs::OpenOptions::new();
            let held = options.read(true).write(writes).open(file.path()).unwrap();
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(held)
                .spawn()
                .unwrap()
        });
        let users = users(file.as_file()).unwrap();
        for (child, writes) in children.iter().zip([false, true]) {
            let pid = i32::try_from(child.id()).ok();
            let user = users.iter().find(|user| user.pid == pid).unwrap();
            assert_eq!((user.name.as_str(), user.writes), ("cat", writes));
        }
        assert_eq!(users.len(), 2);
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}
