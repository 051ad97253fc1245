//! Memory seen through windows, by mappings: what `mappings` runs on in a machine.
//!
//! | asked | calls |
//! |---|---|
//! | memory | `memfd_create`, `ftruncate`; a window each by `mmap` |
//! | place | `mmap` of one page over what is there |
//! | sealed | `mprotect`, twice |
//! | forget | `madvise` with `MADV_DONTNEED` |
//! | punch | `fallocate` with `FALLOC_FL_PUNCH_HOLE` |
//! | child | `fork`, which makes all private pages copy on write |
//!
//! The last window is advised to be of huge pages, which the kernel splits when one is forgotten.
//! Invariants: each window is one reserved range of as many pages as the memory has, from its making
//! to its drop; a page of it is always mapped and may be read, and may be written to but within
//! `look_sealed`. Bytes are copied to and from it by pointers only, so that no reference to memory that is
//! mapped twice ever exists.
#![expect(unsafe_code, reason = "memory that is mapped has no safe form")]

use crate::system::{bind, of_errno, of_io, work_in_child};
use computation::system::{COPYING, Fault, INVALID, OWN, Page, Slot, Space, WINDOWS, Work};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap,
};
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::Barrier;
use std::thread;

const PAGE_BYTES: usize = size_of::<Page>();

/// A reserved range of addresses, unmapped when it is dropped.
#[derive(Debug)]
struct Window {
    start: *mut c_void,
    bytes: usize,
}

// SAFETY: it is an address range of the process, which any thread may use; whoever writes to it has
// the space for itself.
unsafe impl Send for Window {}
// SAFETY: as above; through a shared reference it is only read.
unsafe impl Sync for Window {}

impl Window {
    fn new(window: usize, memory: &OwnedFd, pages: usize) -> Result<Self, Fault> {
        let bytes = pages * PAGE_BYTES;
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a range that nothing else uses.
        let mapped = unsafe {
            match window {
                OWN => mmap_anonymous(ptr::null_mut(), bytes, writable, MapFlags::PRIVATE),
                _ => mmap(ptr::null_mut(), bytes, writable, flags(window), memory, 0),
            }
        };
        let start = mapped.map_err(of_errno)?;
        if window == OWN {
            // SAFETY: the range is ours, and the advice changes no byte of it. A kernel without
            // huge pages does not take it.
            unsafe { madvise(start, bytes, Advice::LinuxHugepage) }.ok();
        }
        Ok(Self { start, bytes })
    }

    /// The address of a page of it.
    fn page(&self, index: usize) -> Result<*mut c_void, Fault> {
        let offset = index.checked_mul(PAGE_BYTES).ok_or(INVALID)?;
        if offset >= self.bytes {
            return Err(INVALID);
        }
        Ok(self.start.wrapping_byte_add(offset))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and nothing refers to it any more.
        unsafe { munmap(self.start, self.bytes) }.ok();
    }
}

const fn flags(window: usize) -> MapFlags {
    match window {
        COPYING => MapFlags::PRIVATE,
        _ => MapFlags::SHARED,
    }
}

/// Reads a page that is mapped.
fn read(page: *const c_void, into: &mut Page) {
    // SAFETY: callers give a page of a window, which may be read; the bytes are elsewhere.
    unsafe { ptr::copy_nonoverlapping(page.cast(), into.as_mut_ptr(), PAGE_BYTES) };
}

/// The memory, and its windows.
#[derive(Debug)]
pub(crate) struct Mapped {
    memory: OwnedFd,
    pages: usize,
    windows: Vec<Window>,
}

impl Mapped {
    /// Memory of so many pages, all zero.
    pub(crate) fn new(pages: usize) -> Result<Self, Fault> {
        let memory = memfd_create("space", MemfdFlags::CLOEXEC).map_err(of_errno)?;
        ftruncate(&memory, (pages * PAGE_BYTES) as u64).map_err(of_errno)?;
        let windows = (0..WINDOWS).map(|window| Window::new(window, &memory, pages));
        let windows = windows.collect::<Result<_, _>>()?;
        Ok(Self {
            memory,
            pages,
            windows,
        })
    }

    fn page(&self, slot: Slot) -> Result<*mut c_void, Fault> {
        let window = self.windows.get(slot.window).ok_or(INVALID)?;
        window.page(slot.index)
    }
}

impl Space for Mapped {
    fn place(&mut self, slot: Slot, page: usize) -> Result<(), Fault> {
        let at = self.page(slot)?;
        if page >= self.pages || slot.window == OWN {
            return Err(INVALID);
        }
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        let (flags, offset) = (flags(slot.window) | MapFlags::FIXED, page * PAGE_BYTES);
        // SAFETY: the page is one of our own window, which this replaces as a whole.
        let placed = unsafe { mmap(at, PAGE_BYTES, writable, flags, &self.memory, offset as u64) };
        placed.map(|_| ()).map_err(of_errno)
    }

    fn place_seen(&mut self, slot: Slot, page: usize, seen: [&mut Page; 2]) -> Result<(), Fault> {
        let [before, after] = seen;
        let at = self.page(slot)?.expose_provenance();
        let allowed = sched_getaffinity(None).map_err(of_errno)?;
        let turn = Barrier::new(2);
        let placed = thread::scope(|scope| {
            let onlooker = thread::Builder::new().spawn_scoped(scope, || {
                bind(1, &allowed);
                read(ptr::with_exposed_provenance(at), before);
                turn.wait();
                turn.wait();
                read(ptr::with_exposed_provenance(at), after);
            });
            let onlooker = onlooker.map_err(of_io)?;
            bind(0, &allowed);
            turn.wait();
            let placed = self.place(slot, page);
            turn.wait();
            onlooker.join().map_err(|_| Fault(0))?;
            placed
        });
        sched_setaffinity(None, &allowed).map_err(of_errno)?;
        placed
    }

    fn look(&self, slot: Slot, into: &mut Page) -> Result<(), Fault> {
        read(self.page(slot)?, into);
        Ok(())
    }

    fn exchange(&mut self, slot: Slot, bytes: &mut Page) -> Result<(), Fault> {
        let at = self.page(slot)?;
        let put = *bytes;
        read(at, bytes);
        // SAFETY: the page may be written to, and nobody else uses the space meanwhile.
        unsafe { ptr::copy_nonoverlapping(put.as_ptr(), at.cast(), PAGE_BYTES) };
        Ok(())
    }

    fn look_sealed(&mut self, slot: Slot, into: &mut Page) -> Result<(), Fault> {
        let at = self.page(slot)?;
        let leave = |leave| {
            // SAFETY: the page is one of our own window, and may always be read.
            unsafe { mprotect(at, PAGE_BYTES, leave) }.map_err(of_errno)
        };
        leave(MprotectFlags::READ)?;
        read(at, into);
        leave(MprotectFlags::READ | MprotectFlags::WRITE)
    }

    fn forget(&mut self, slot: Slot) -> Result<(), Fault> {
        let at = self.page(slot)?;
        // SAFETY: the page is one of our own window; that its bytes go is what is asked for.
        unsafe { madvise(at, PAGE_BYTES, Advice::LinuxDontNeed) }.map_err(of_errno)
    }

    fn punch(&mut self, page: usize) -> Result<(), Fault> {
        if page >= self.pages {
            return Err(INVALID);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let offset = (page * PAGE_BYTES) as u64;
        fallocate(&self.memory, flags, offset, PAGE_BYTES as u64).map_err(of_errno)
    }

    fn in_child(&mut self, slot: Slot, into: &mut Page, work: Work) -> Result<(), Fault> {
        if slot.window != COPYING && slot.window != OWN {
            return Err(INVALID);
        }
        let at = self.page(slot)?;
        work_in_child(into, |bytes| {
            // SAFETY: the page is private, and the child has one thread: nobody else sees or
            // changes it while the reference lives.
            let page = unsafe { std::slice::from_raw_parts_mut(at.cast::<u8>(), PAGE_BYTES) };
            work(page);
            bytes.copy_from_slice(page);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Linux;
    use computation::system::{Model, System};
    use std::path::Path;

    const PAGES: usize = 4;

    /// The same, asked of Linux and of the model, shows the same in every slot.
    fn check(ask: impl Fn(&mut dyn Space)) {
        let mut linux = Linux::new(Path::new("/nowhere")).space(PAGES).unwrap();
        let mut model = Model::default().space(PAGES).unwrap();
        for space in [&mut linux, &mut model] {
            for page in 0..PAGES {
                let mut bytes = [page as u8 + 1; PAGE_BYTES];
                space.exchange(at(0, page), &mut bytes).unwrap();
                assert_eq!(bytes, [0; PAGE_BYTES]);
            }
            ask(space.as_mut());
        }
        for (window, index) in (0..WINDOWS).flat_map(|w| (0..PAGES).map(move |i| (w, i))) {
            let mut shown = [[9; PAGE_BYTES]; 2];
            linux.look(at(window, index), &mut shown[0]).unwrap();
            model.look(at(window, index), &mut shown[1]).unwrap();
            assert!(shown[0] == shown[1], "window {window}, slot {index}");
        }
    }

    const fn at(window: usize, index: usize) -> Slot {
        Slot { window, index }
    }

    fn put(space: &mut dyn Space, slot: Slot, value: u8) {
        space.exchange(slot, &mut [value; PAGE_BYTES]).unwrap();
    }

    #[test]
    fn linux_shows_what_the_model_shows() {
        check(|_| {});
        check(|space| {
            space.place(at(1, 0), 3).unwrap();
            put(space, at(1, 0), 77);
            space.punch(1).unwrap();
        });
        // A copy stays, whatever becomes of the page; what is no copy yet follows it.
        check(|space| {
            put(space, at(COPYING, 2), 50);
            put(space, at(2, 2), 60);
            put(space, at(2, 3), 61);
            space.punch(2).unwrap();
            put(space, at(OWN, 1), 51);
        });
        check(|space| {
            for window in [COPYING, OWN] {
                put(space, at(window, 2), 50);
                space.forget(at(window, 2)).unwrap();
            }
            space.forget(at(0, 1)).unwrap();
            put(space, at(COPYING, 3), 50);
            space.place(at(COPYING, 3), 0).unwrap();
        });
    }

    #[test]
    fn onlookers_children_and_sealed_slots_see_what_the_model_says() {
        check(|space| {
            let mut seen = [[0; PAGE_BYTES]; 2];
            let [before, after] = &mut seen;
            space.place_seen(at(1, 2), 0, [before, after]).unwrap();
            assert_eq!(seen, [[3; PAGE_BYTES], [1; PAGE_BYTES]]);
            let mut into = [0; PAGE_BYTES];
            space.look_sealed(at(1, 2), &mut into).unwrap();
            assert_eq!(into, [1; PAGE_BYTES]);
            put(space, at(1, 2), 8);
            for window in [COPYING, OWN] {
                put(space, at(window, 1), 5);
                let more = |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte += 1);
                space.in_child(at(window, 1), &mut into, more).unwrap();
                assert_eq!(into, [6; PAGE_BYTES]);
            }
        });
    }

    #[test]
    fn what_there_is_not_is_refused() {
        check(|space| {
            let nothing = [at(WINDOWS, 0), at(0, PAGES), at(1, usize::MAX)];
            for slot in nothing {
                assert_eq!(space.look(slot, &mut [0; PAGE_BYTES]), Err(INVALID));
                assert_eq!(space.place(slot, 0), Err(INVALID));
            }
            assert_eq!(space.place(at(OWN, 0), 0), Err(INVALID));
            assert_eq!(space.place(at(0, 0), PAGES), Err(INVALID));
            assert_eq!(space.punch(PAGES), Err(INVALID));
            let child = space.in_child(at(0, 0), &mut [0; PAGE_BYTES], |_| {});
            assert_eq!(child, Err(INVALID));
        });
        let mut linux = Linux::new(Path::new("/nowhere"));
        assert_eq!(linux.space(0).err(), Some(INVALID));
    }

    #[test]
    fn the_whole_computation_comes_to_the_golden_digest() {
        let descriptor = computation::find("mappings").unwrap();
        let golden = computation::golden::native(descriptor, 5, 4);
        let linux = || Box::new(Linux::new(Path::new("/nowhere"))) as Box<dyn System>;
        let mut kernel = descriptor.start_on(5, linux);
        (0..4).for_each(|_| kernel.step());
        assert_eq!(kernel.digest(), golden.digest.0);
        assert!(kernel.metrics().iter().all(|(_, value)| *value == 0.0));
    }
}
