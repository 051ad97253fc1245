//! The pvpanic device on the PCI bus, found and mapped through sysfs: no driver is needed.
#![expect(unsafe_code, reason = "mapping a device's memory and writing to it")]

use crate::error::GuestError;
use model::PAGE_BYTES;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

const DEVICES: &str = "/sys/bus/pci/devices";
/// Red Hat's number for QEMU's own devices, and that of pvpanic.
const VENDOR: &str = "0x1b36";
const DEVICE: &str = "0x0011";

/// The event register of the device, mapped for the life of the process.
#[derive(Debug)]
pub(crate) struct PanicDevice(NonNull<u8>);

// SAFETY: the register takes single-byte writes from anywhere; there is no state besides.
unsafe impl Send for PanicDevice {}
// SAFETY: as above.
unsafe impl Sync for PanicDevice {}

impl PanicDevice {
    /// Finds, enables and maps the device.
    pub(crate) fn open() -> Result<Self, GuestError> {
        let failed = |attempt| move |source| GuestError::PanicDevice { attempt, source };
        let directory = find()
            .map_err(failed("find"))?
            .ok_or(GuestError::NoPanicDevice)?;
        fs::write(directory.join("enable"), "1").map_err(failed("enable"))?;
        map(&directory).map(Self).map_err(failed("map"))
    }

    /// Writes to the event register.
    pub(crate) fn write(&self, event: u8) {
        // SAFETY: the pointer is into a mapping of the device that is never removed.
        unsafe { self.0.write_volatile(event) };
    }
}

fn find() -> io::Result<Option<PathBuf>> {
    let mut directories: Vec<PathBuf> = fs::read_dir(DEVICES)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    directories.sort();
    Ok(directories
        .into_iter()
        .find(|directory| is_panic_device(directory)))
}

fn is_panic_device(directory: &Path) -> bool {
    let has = |name, number| {
        let text = fs::read_to_string(directory.join(name));
        text.is_ok_and(|text| text.trim_end() == number)
    };
    has("vendor", VENDOR) && has("device", DEVICE)
}

/// Maps the page of the first memory region; the register is at the region's start, which need
/// not be that of a page.
fn map(directory: &Path) -> io::Result<NonNull<u8>> {
    let offset = region_start(directory)? % PAGE_BYTES as u64;
    let path = directory.join("resource0");
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let base = unsafe {
        mmap(
            ptr::null_mut(),
            PAGE_BYTES,
            access,
            MapFlags::SHARED,
            &file,
            0,
        )
    }?;
    let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
    // SAFETY: the offset is less than a page, and a page is mapped.
    Ok(unsafe { base.add(offset as usize) })
}

/// The physical address of the first region: the first word of the file `resource`.
fn region_start(directory: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(directory.join("resource"))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    model::address::parse_u64(first)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
