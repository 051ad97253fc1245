//! What the first process owes the kernel: its file systems, and an end.

use crate::error::GuestError;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use std::fs;

/// Mounts what the kernel shows of itself and of its devices.
pub(crate) fn mount_all() -> Result<(), GuestError> {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(kind, target, kind, MountFlags::empty(), None)
            .map_err(|source| GuestError::Mount { target, source })?;
    }
    // Locked pages must not be moved: the host has their addresses. Where the kernel has no such
    // setting it does not move them.
    fs::write("/proc/sys/vm/compact_unevictable_allowed", "0").ok();
    Ok(())
}

/// Switches the machine off. If it cannot be, the process waits: its end would be a panic of the
/// kernel, which looks like a crash.
pub(crate) fn power_off() -> ! {
    loop {
        reboot(RebootCommand::PowerOff).ok();
        std::thread::yield_now();
    }
}
