//! What the `kernel`, `threads` and `mappings` computations ask of an operating system, and a model
//! of one that works.
//!
//! An operating system is trusted to hand over bytes as they are: through pipes, files, processes
//! and threads. So a correct one is easy to state without any: the [`Model`] moves bytes within
//! memory. The guest's program implements [`System`] by system calls; both must come to the same
//! digest, and the model's is the golden one.

mod space;

pub use space::{COPYING, INVALID, OWN, Page, SHARED, Slot, Space, WINDOWS};

use space::ModelSpace;
use std::collections::BTreeMap;

/// A pure change of bytes in place, done by a child or a thread. It must not allocate: a forked
/// child may not, as another thread could hold the allocator's lock.
pub type Work = fn(&mut [u8]);

/// What a thread does while another does something else.
pub type Task<'a> = &'a mut (dyn FnMut() + Send);

/// A system call failed, or came to something else than it should: the error number, or 0 where
/// there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(pub i32);

/// The paths through an operating system. No buffer is longer than [`BUFFER_BYTES_MAX`].
pub trait System {
    /// Writes the bytes to a new file, and renames it to the file of this slot.
    ///
    /// # Errors
    /// The system's; the file may be there or not.
    fn store(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Fault>;

    /// Reads back what was stored last.
    ///
    /// # Errors
    /// The system's, or the file has another length.
    fn load(&mut self, slot: u32, bytes: &mut [u8]) -> Result<(), Fault>;

    /// Writes the bytes into a pipe, and replaces them with what comes out.
    ///
    /// # Errors
    /// The system's, or fewer bytes come out.
    fn through_pipe(&mut self, bytes: &mut [u8]) -> Result<(), Fault>;

    /// Lets a child process do the work on its copy, replaces the bytes with what it sends back,
    /// and waits for its end.
    ///
    /// # Errors
    /// The system's, fewer bytes come back, or the child ends in another way than it should.
    fn in_child(&mut self, bytes: &mut [u8], work: Work) -> Result<(), Fault>;

    /// Lets two threads do the work in turn, so many times in all.
    ///
    /// # Errors
    /// The system's; the work may be done in part.
    fn in_turns(&mut self, bytes: &mut [u8], work: Work, turns: u32) -> Result<(), Fault>;

    /// Does both at the same time, in two threads, on two processors where there are two. The second
    /// may wait for the first, never the first for the second: a model does one after the other.
    ///
    /// # Errors
    /// The system's; neither may have been done, or both.
    fn together(&mut self, tasks: [Task<'_>; 2]) -> Result<(), Fault>;

    /// Memory of so many pages, seen through windows.
    ///
    /// # Errors
    /// The system's, or there are none or more than [`SPACE_PAGES_MAX`] pages.
    fn space(&mut self, pages: usize) -> Result<Box<dyn Space>, Fault>;
}

/// The most pages of a space: with five windows of them, each slot a mapping of its own, it stays
/// far below the number of mappings that Linux grants a process, which is 65,530.
pub const SPACE_PAGES_MAX: usize = 4096;

/// The longest buffer: what a pipe holds, so that one process can fill and then empty it.
pub const BUFFER_BYTES_MAX: usize = 64 << 10;

/// An operating system that works, in memory.
#[derive(Debug, Default)]
pub struct Model {
    files: BTreeMap<u32, Vec<u8>>,
}

impl System for Model {
    fn store(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.files.insert(slot, bytes.to_vec());
        Ok(())
    }

    fn load(&mut self, slot: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let file = self.files.get(&slot).ok_or(Fault(0))?;
        if file.len() != bytes.len() {
            return Err(Fault(0));
        }
        bytes.copy_from_slice(file);
        Ok(())
    }

    fn through_pipe(&mut self, _bytes: &mut [u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn in_child(&mut self, bytes: &mut [u8], work: Work) -> Result<(), Fault> {
        work(bytes);
        Ok(())
    }

    fn in_turns(&mut self, bytes: &mut [u8], work: Work, turns: u32) -> Result<(), Fault> {
        for _ in 0..turns {
            work(bytes);
        }
        Ok(())
    }

    fn together(&mut self, tasks: [Task<'_>; 2]) -> Result<(), Fault> {
        tasks.into_iter().for_each(|task| task());
        Ok(())
    }

    fn space(&mut self, pages: usize) -> Result<Box<dyn Space>, Fault> {
        if !(1..=SPACE_PAGES_MAX).contains(&pages) {
            return Err(INVALID);
        }
        Ok(Box::new(ModelSpace::new(pages)))
    }
}
