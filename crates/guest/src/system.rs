//! The operating system that computations run on: Linux, by system calls.
//!
//! | way | calls |
//! |---|---|
//! | file | `open`, `write`, `rename`, `read` in a directory of the root file system, which is memory |
//! | pipe | `pipe2`, `write`, `read` |
//! | child | `fork`, `write`, `_exit`; `read`, `wait4` |
//! | threads | `clone`, `futex` wait and wake, `sched_setaffinity` |
//! | space | mappings, as in `space` |
//!
//! One thread calls; nothing of it outlives a call but the files. In a guest everything here is a
//! function of what was asked, where there is one processor, time counted in instructions, and no
//! other process.
#![expect(unsafe_code, reason = "fork and _exit have no safe form")]

use crate::space::Mapped;
use computation::system::{
    BUFFER_BYTES_MAX, Fault, INVALID, SPACE_PAGES_MAX, Space, System, Task, Work,
};
use rustix::fs::{Mode, OFlags, open, rename};
use rustix::io::{Errno, read, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{CpuSet, futex, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Linux, with a directory for the computation's files.
#[derive(Debug)]
pub struct Linux {
    directory: PathBuf,
}

impl Linux {
    /// Files go to this directory, which is made at the first need.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn path(&self, slot: u32) -> PathBuf {
        self.directory.join(slot.to_string())
    }
}

impl System for Linux {
    fn store(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Fault> {
        if !self.directory.is_dir() {
            fs::create_dir(&self.directory).map_err(of_io)?;
        }
        let fresh = self.directory.join("fresh");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = open(&fresh, flags, Mode::RUSR | Mode::WUSR).map_err(of_errno)?;
        write_all(&file, bytes).map_err(of_errno)?;
        drop(file);
        rename(&fresh, self.path(slot)).map_err(of_errno)
    }

    fn load(&mut self, slot: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = open(self.path(slot), flags, Mode::empty()).map_err(of_errno)?;
        read_all(&file, bytes)?;
        match read(&file, &mut [0; 1]).map_err(of_errno)? {
            0 => Ok(()),
            _ => Err(Fault(0)),
        }
    }

    fn through_pipe(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        if bytes.len() > BUFFER_BYTES_MAX {
            return Err(of_errno(Errno::TOOBIG));
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(of_errno)?;
        write_all(&writer, bytes).map_err(of_errno)?;
        read_all(&reader, bytes)
    }

    fn in_child(&mut self, bytes: &mut [u8], work: Work) -> Result<(), Fault> {
        work_in_child(bytes, work)
    }

    fn in_turns(&mut self, bytes: &mut [u8], work: Work, turns: u32) -> Result<(), Fault> {
        let next = AtomicU32::new(0);
        let shared = Mutex::new(bytes);
        let take = |first: u32| take_turns(&next, first, turns, || stir(&shared, work));
        thread::scope(|scope| {
            let second = thread::Builder::new();
            let second = second.spawn_scoped(scope, || take(1)).map_err(of_io)?;
            take(0);
            second.join().map_err(|_| Fault(0))
        })
    }

    fn together(&mut self, [first, second]: [Task<'_>; 2]) -> Result<(), Fault> {
        let allowed = sched_getaffinity(None).map_err(of_errno)?;
        let ready = AtomicU32::new(0);
        // They start at the same time, so that which one is first is as open in one run as in
        // another, and what comes of it shows in any.
        let together = || {
            ready.fetch_add(1, Ordering::AcqRel);
            while ready.load(Ordering::Acquire) < 2 {
                thread::yield_now();
            }
        };
        let outcome = thread::scope(|scope| {
            let other = thread::Builder::new();
            let other = other.spawn_scoped(scope, || {
                bind(1, &allowed);
                together();
                second();
            });
            let other = other.map_err(of_io)?;
            bind(0, &allowed);
            together();
            first();
            other.join().map_err(|_| Fault(0))
        });
        sched_setaffinity(None, &allowed).map_err(of_errno)?;
        outcome
    }

    fn space(&mut self, pages: usize) -> Result<Box<dyn Space>, Fault> {
        if !(1..=SPACE_PAGES_MAX).contains(&pages) {
            return Err(INVALID);
        }
        Ok(Box::new(Mapped::new(pages)?))
    }
}

/// Lets a forked child do the work on its copy of the bytes, and takes what it sends back. The work
/// may allocate nothing.
pub(crate) fn work_in_child(bytes: &mut [u8], work: impl FnOnce(&mut [u8])) -> Result<(), Fault> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(of_errno)?;
    // SAFETY: until it ends, the child does only what is allowed in the child of a program with
    // threads: work that allocates nothing, and system calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        work(bytes);
        let code = i32::from(write_all(&writer, bytes).is_err());
        // SAFETY: ends the child at once, without destructors of what belongs to the parent.
        unsafe { libc::_exit(code) }
    }
    let child = Pid::from_raw(child).filter(|_| child > 0);
    let child = child.ok_or_else(|| of_io(io::Error::last_os_error()))?;
    // So that the end of the child is the end of the pipe.
    drop(writer);
    let received = read_all(&reader, bytes);
    let ended = retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    let status = ended.map_err(of_errno)?.map(|(_, status)| status);
    received?;
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        _ => Err(Fault(0)),
    }
}

/// Binds the calling thread to one of the processors that the process may use, by turns.
pub(crate) fn bind(place: usize, allowed: &CpuSet) {
    let cpus = || (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    // Counted, not collected: both threads are here at the same time, and would allocate in any order.
    let count = cpus().count().max(1);
    if let Some(cpu) = cpus().nth(place % count) {
        let mut one = CpuSet::new();
        one.set(cpu);
        // Where it may not choose, it runs where it is put.
        sched_setaffinity(None, &one).ok();
    }
}

/// Does the work whenever it is one's turn: every second one, from the first of one's own.
fn take_turns(next: &AtomicU32, first: u32, turns: u32, work: impl Fn()) {
    for turn in (first..turns).step_by(2) {
        loop {
            let now = next.load(Ordering::Acquire);
            if now == turn {
                break;
            }
            // Woken, interrupted, or no longer needed: the loop looks again.
            futex::wait(next, futex::Flags::PRIVATE, now, None).ok();
        }
        work();
        next.store(turn + 1, Ordering::Release);
        futex::wake(next, futex::Flags::PRIVATE, 1).ok();
    }
}

fn stir(shared: &Mutex<&mut [u8]>, work: Work) {
    match shared.lock() {
        Ok(mut bytes) => work(&mut bytes),
        // The other thread panicked in its work; its bytes are what they are.
        Err(poisoned) => work(&mut poisoned.into_inner()),
    }
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| write(&file, bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Fills the buffer; an early end is a fault without a number.
fn read_all(file: impl AsFd, bytes: &mut [u8]) -> Result<(), Fault> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match retry_on_intr(|| read(&file, &mut *rest)).map_err(of_errno)? {
            0 => return Err(Fault(0)),
            count => filled += count,
        }
    }
    Ok(())
}

pub(crate) fn of_errno(errno: Errno) -> Fault {
    Fault(errno.raw_os_error())
}

pub(crate) fn of_io(error: io::Error) -> Fault {
    Fault(error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use computation::system::Model;

    /// A directory that is gone with the test.
    fn linux() -> (tempfile::TempDir, Linux) {
        let parent = tempfile::tempdir().unwrap();
        let linux = Linux::new(&parent.path().join("files"));
        (parent, linux)
    }

    fn add(bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = byte.wrapping_mul(3).wrapping_add(index as u8);
        }
    }

    /// The same on Linux and in the model.
    fn check(bytes: usize, way: impl Fn(&mut dyn System, &mut [u8]) -> Result<(), Fault>) {
        let (_parent, mut linux) = linux();
        let mut real: Vec<u8> = (0..bytes).map(|index| (index * 7) as u8).collect();
        let mut modelled = real.clone();
        assert_eq!(way(&mut linux, &mut real), Ok(()));
        assert_eq!(way(&mut Model::default(), &mut modelled), Ok(()));
        assert_eq!(real, modelled);
    }

    #[test]
    fn linux_does_what_the_model_says() {
        for bytes in [0, 1, 4096, BUFFER_BYTES_MAX] {
            check(bytes, |system, buffer| system.through_pipe(buffer));
            check(bytes, |system, buffer| system.in_child(buffer, add));
            for turns in [0, 1, 2, 7] {
                check(bytes, |system, buffer| system.in_turns(buffer, add, turns));
            }
            check(bytes, |system, buffer| {
                system.store(3, buffer)?;
                system.store(4, &[])?;
                add(buffer);
                system.load(3, buffer)
            });
        }
    }

    #[test]
    fn the_whole_computation_comes_to_the_golden_digest() {
        let (_parent, mut system) = linux();
        system.load(0, &mut [0]).unwrap_err();
        let descriptor = computation::find("kernel").unwrap();
        let golden = computation::golden::native(descriptor, 5, descriptor.minimum_steps);
        let mut kernel = descriptor.start_on(5, || Box::new(system));
        for _ in 0..descriptor.minimum_steps {
            kernel.step();
        }
        assert_eq!(kernel.digest(), golden.digest.0);
        assert!(kernel.metrics().contains(&("faults".to_owned(), 0.0)));
    }

    #[test]
    fn what_fails_is_a_fault_with_its_number() {
        let mut nowhere = Linux::new(Path::new("/proc/nothing/here"));
        assert_eq!(nowhere.store(0, b"x"), Err(of_errno(Errno::NOENT)));
        assert_eq!(nowhere.load(0, &mut [0]), Err(of_errno(Errno::NOENT)));
        let mut large = vec![0; BUFFER_BYTES_MAX + 1];
        let refused = nowhere.through_pipe(&mut large);
        assert_eq!(refused, Err(of_errno(Errno::TOOBIG)));
    }

    #[test]
    fn a_file_of_another_length_is_a_fault() {
        let (_parent, mut linux) = linux();
        linux.store(0, b"three").unwrap();
        assert_eq!(linux.load(0, &mut [0; 4]), Err(Fault(0)));
        assert_eq!(linux.load(0, &mut [0; 6]), Err(Fault(0)));
        assert_eq!(linux.load(0, &mut [0; 5]), Ok(()));
    }
}
