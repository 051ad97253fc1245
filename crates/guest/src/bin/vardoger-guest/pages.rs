//! Pages of memory that stay where they are, so that the host can find them.
#![expect(
    unsafe_code,
    reason = "mapping memory and reading what the host wrote into it"
)]

use crate::error::GuestError;
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::ptr::{self, NonNull};
use std::slice;

/// A mapping of this process, freed when dropped.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// Reserves address space; a page takes memory when it is first touched.
    pub(crate) fn reserve(bytes: usize) -> Result<Self, GuestError> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let failed = |source| GuestError::Memory {
            attempt: "reserve",
            bytes,
            source,
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, flags) };
        let base = NonNull::new(base.map_err(failed)?.cast())
            .expect("the kernel maps nothing at address 0 unless asked to");
        Ok(Self { base, bytes })
    }

    /// Maps the content of a file in memory, so that its pages can be found; not empty.
    pub(crate) fn of_file(file: &File, bytes: usize) -> Result<Self, GuestError> {
        let failed = |source| GuestError::Memory {
            attempt: "map",
            bytes,
            source,
        };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0) };
        let base = NonNull::new(base.map_err(failed)?.cast())
            .expect("the kernel maps nothing at address 0 unless asked to");
        Ok(Self { base, bytes })
    }

    /// Makes the first bytes stay in memory.
    pub(crate) fn lock(&self, bytes: usize) -> Result<(), GuestError> {
        let bytes = bytes.min(self.bytes);
        // SAFETY: the range lies within this mapping.
        let locked = unsafe { mlock(self.base.as_ptr().cast(), bytes) };
        locked.map_err(|source| GuestError::Memory {
            attempt: "lock",
            bytes,
            source,
        })
    }

    /// The virtual address of the first byte.
    pub(crate) fn address(&self) -> usize {
        self.base.as_ptr() as usize
    }

    /// How many bytes it spans.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory, for this process alone: the host reads and writes it only at stops.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable, writable, zeroed by the kernel, and borrowed exclusively
        // with `self`.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }

    /// A copy of the memory as it is now, also where the host changed it behind the compiler's
    /// back.
    pub(crate) fn read_volatile(&self) -> Vec<u8> {
        let byte = |offset| {
            // SAFETY: the offset lies within this mapping.
            unsafe { self.base.add(offset).read_volatile() }
        };
        (0..self.bytes).map(byte).collect()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it any more.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "unmapping our own mapping cannot fail");
    }
}
