//! The user's disk: found, mounted, and at the end flushed and held still.
//!
//! ```text
//! modules ─► /dev/vda ─► each partition: what is it? ─► the first with a system in it, at /root
//!   … the command runs …
//! all written, file system frozen, disk flushed: nothing on its way when the machine stops
//! ```
//!
//! Everything on the disk is a stranger's: it is looked at by the kernel of a machine that is thrown
//! away, and what is told of it is bounded.

mod probe;

use crate::error::GuestError;
use guest::disk::{DIRECTORY, DISK_GROUP};
use probe::Kind;
use rustix::fs::{Mode, OFlags, fsync, open, sync};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::finit_module;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::Path;

/// Where the disk's system is mounted.
pub(crate) const ROOT: &str = "/root";
/// The disk.
const DISK: &str = "vda";
/// The most partitions that are looked at.
const MAX_PARTITIONS: usize = 128;
/// Subvolumes of btrfs in which distributions put their systems.
const SUBVOLUMES: [&str; 3] = ["@", "@rootfs", "root"];
/// What there is where a system is.
const SYSTEM_PATHS: [&str; 2] = ["bin", "usr/bin"];
/// File systems of the kernel's own and in memory that a system expects.
const OWN_MOUNTS: [(&str, &str); 4] = [
    ("proc", "proc"),
    ("sysfs", "sys"),
    ("devtmpfs", "dev"),
    ("tmpfs", "run"),
];
/// Freezes a file system: `_IOWR('X', 119, int)` of linux/fs.h.
const FREEZE: rustix::ioctl::Opcode = 0xc004_5877;

/// The disk's system, mounted.
#[derive(Debug)]
pub(crate) struct System {
    /// What it was found on, in words.
    pub(crate) told: String,
    root: rustix::fd::OwnedFd,
}

/// Finds the disk's system and mounts it.
pub(crate) fn mount_system() -> Result<System, GuestError> {
    load(DISK_GROUP)?;
    fs::create_dir_all(ROOT).ok();
    let mut seen = Vec::new();
    for name in devices() {
        let kind = probe::kind(&Path::new("/dev").join(&name));
        match mount_one(&name, kind)? {
            Ok(told) => {
                mount_own()?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = open(ROOT, flags, Mode::empty());
                let root = root.map_err(|error| GuestError::Flush(error.into()))?;
                return Ok(System { told, root });
            }
            Err(why) => seen.push(format!("{name}: {why}")),
        }
    }
    Err(GuestError::NoSystem(seen.join("; ")))
}

impl System {
    /// Brings everything to the disk and lets nothing more be written.
    pub(crate) fn settle(&self) -> Result<(), GuestError> {
        sync();
        // A file system that cannot be frozen has at least written everything.
        freeze(&self.root).ok();
        let disk = File::open(Path::new("/dev").join(DISK)).map_err(GuestError::Flush)?;
        fsync(&disk).map_err(|error| GuestError::Flush(error.into()))
    }
}

/// Mounts one device if there is a system on it; else says what there is.
fn mount_one(name: &str, kind: Kind) -> Result<Result<String, String>, GuestError> {
    let (kernel_name, group) = match kind {
        Kind::Ext => ("ext4", None),
        Kind::Xfs => ("xfs", Some("xfs")),
        Kind::Btrfs => ("btrfs", Some("btrfs")),
        other => return Ok(Err(other.told().to_owned())),
    };
    if let Some(group) = group {
        load(group)?;
    }
    let options: Vec<String> = match kind {
        Kind::Btrfs => SUBVOLUMES.map(|name| format!("subvol={name}")).into(),
        _ => Vec::new(),
    };
    let device = format!("/dev/{name}");
    let mut why = String::new();
    for options in [String::new()].into_iter().chain(options) {
        let text = CString::new(options.as_str()).unwrap_or_default();
        match mount(
            device.as_str(),
            ROOT,
            kernel_name,
            MountFlags::empty(),
            text.as_c_str(),
        ) {
            Err(error) if why.is_empty() => why = format!("{kernel_name}, not mounted: {error}"),
            Err(_) => {}
            Ok(()) if has_system() => return Ok(Ok(format!("{kernel_name} on {name}"))),
            Ok(()) => {
                why = format!("{kernel_name} without /bin and /usr/bin");
                unmount(ROOT, UnmountFlags::empty()).map_err(mounting(ROOT))?;
            }
        }
    }
    Ok(Err(why))
}

fn has_system() -> bool {
    let exists = |path: &&str| fs::symlink_metadata(Path::new(ROOT).join(*path)).is_ok();
    SYSTEM_PATHS.iter().any(exists)
}

/// What a system expects besides its own files.
fn mount_own() -> Result<(), GuestError> {
    for (kind, below) in OWN_MOUNTS {
        let target = Path::new(ROOT).join(below);
        fs::create_dir_all(&target).ok();
        mount(kind, &target, kind, MountFlags::empty(), None).map_err(mounting(below))?;
    }
    Ok(())
}

fn mounting(target: &'static str) -> impl Fn(Errno) -> GuestError {
    move |source| GuestError::Mount { target, source }
}

/// The disk's partitions in their order, or the disk itself where it has none.
fn devices() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/block")
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut partitions: Vec<u32> = names
        .filter_map(|name| name.strip_prefix(DISK)?.parse().ok())
        .collect();
    partitions.sort_unstable();
    if partitions.is_empty() {
        return vec![DISK.to_owned()];
    }
    let partitions = partitions.into_iter().take(MAX_PARTITIONS);
    partitions.map(|number| format!("{DISK}{number}")).collect()
}

/// Loads a group of modules. A group that is not there has nothing that is needed.
fn load(group: &str) -> Result<(), GuestError> {
    let order = fs::read_to_string(Path::new(DIRECTORY).join(group)).unwrap_or_default();
    for name in order.lines() {
        let failed = |source| GuestError::Module {
            name: name.to_owned(),
            source,
        };
        let file = File::open(Path::new(DIRECTORY).join(format!("{name}.ko"))).map_err(failed)?;
        match finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(())
}

/// Has a file system write everything and take nothing more.
fn freeze(root: &rustix::fd::OwnedFd) -> Result<(), Errno> {
    #![expect(unsafe_code, reason = "this ioctl has no safe form")]
    // SAFETY: the request takes no argument that it reads or writes.
    unsafe { rustix::ioctl::ioctl(root, rustix::ioctl::NoArg::<FREEZE>::new()) }
}
