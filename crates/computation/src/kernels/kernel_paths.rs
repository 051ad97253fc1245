//! `kernel`: bytes on their way through the guest's kernel.
//!
//! ```text
//! step i:  buffer = load( file [ i mod 32 ] )                 16 KiB of 512 KiB, in files
//!          state  = SHA-256( state ‖ buffer );  buffer ^= keystream( state )
//!          buffer through a pipe
//!          buffer to a forked child, which masks it and sends it back; wait
//!          buffer to two threads, which mask it in turn, handing over by futex
//!          state  = SHA-256( state ‖ buffer ‖ faults )
//!          store( file [ i mod 32 ], buffer ): write, rename
//! ```
//!
//! The working set is the kernel's own memory: its page cache. A wrong bit in a file lives until the
//! file is read; one in the kernel's structures may do anything, nothing included: hence medium. A
//! system call that fails is a result: its error number enters the state.
//!
//! The operating system is a [`System`]; the golden digest is that of one that works.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher, linked};
use crate::random::Xoshiro256;
use crate::system::{Fault, System};
use sha2::Digest as _;
use std::cell::RefCell;

const NAME: &str = "kernel";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "bytes through files, pipes, forked children and threads of the guest's kernel",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::Kernel],
    units: &[
        Unit::SystemCalls,
        Unit::Processes,
        Unit::ContextSwitches,
        Unit::Locks,
        Unit::PageCache,
    ],
    data_types: &[DataType::U64],
    algorithms: &[Algorithm::SystemCalls, Algorithm::Fork, Algorithm::Handover],
    extensions: &[],
    portable: true,
    instructions_per_step: 872_000,
    emulation_weight: 3.9,
    default_budget_s: 1.0,
    minimum_steps: FILES,
    start: Start::On(KernelPaths::start),
};

/// Files in the working set; a smaller run would not read back what it wrote.
pub(crate) const FILES: u64 = 32;
/// 16 KiB: a pipe's default is four times that.
const BUFFER_BYTES: usize = 4 * model::PAGE_BYTES;
/// Hand-overs between two threads in a step.
const TURNS: u32 = 8;

type Buffer = [u8; BUFFER_BYTES];

pub(crate) struct KernelPaths {
    /// Borrowed mutably by the digest too, which reads all files.
    system: RefCell<Box<dyn System>>,
    buffer: Box<Buffer>,
    state: [u8; DIGEST_BYTES],
    faults: u64,
    steps_done: u64,
}

impl KernelPaths {
    pub(crate) fn start(seed: u64, system: Box<dyn System>) -> Box<dyn Kernel> {
        Box::new(Self::new(seed, system))
    }

    fn new(seed: u64, system: Box<dyn System>) -> Self {
        let mut paths = Self {
            system: RefCell::new(system),
            buffer: Box::new([0; BUFFER_BYTES]),
            state: [0; DIGEST_BYTES],
            faults: 0,
            steps_done: 0,
        };
        let mut stream = Xoshiro256::from_seed(seed);
        for slot in 0..FILES {
            stream.mask(&mut paths.buffer[..]);
            paths.go(|system, buffer| system.store(slot as u32, buffer));
        }
        paths
    }

    /// Sends the buffer on a way. A fault is counted, and enters the state.
    fn go(&mut self, way: impl FnOnce(&mut dyn System, &mut [u8]) -> Result<(), Fault>) {
        let outcome = way(self.system.get_mut().as_mut(), &mut self.buffer[..]);
        if let Err(Fault(number)) = outcome {
            self.faults += 1;
            self.link(&number.to_le_bytes());
        }
    }

    fn link(&mut self, bytes: &[u8]) {
        self.state = linked(&self.state, bytes);
    }

    fn link_buffer(&mut self) {
        self.state = linked(&self.state, &self.buffer[..]);
    }
}

impl Kernel for KernelPaths {
    fn step(&mut self) {
        let slot = (self.steps_done % FILES) as u32;
        self.go(|system, buffer| system.load(slot, buffer));
        self.link_buffer();
        Xoshiro256::from_digest(&self.state).mask(&mut self.buffer[..]);
        self.go(|system, buffer| system.through_pipe(buffer));
        self.go(|system, buffer| system.in_child(buffer, stir));
        self.go(|system, buffer| system.in_turns(buffer, stir, TURNS));
        self.link_buffer();
        self.go(|system, buffer| system.store(slot, buffer));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.state);
        all.update(self.faults.to_le_bytes());
        let mut buffer = vec![0; BUFFER_BYTES];
        for slot in 0..FILES {
            let loaded = self.system.borrow_mut().load(slot as u32, &mut buffer);
            all.update(loaded.err().map_or(-1, |fault| fault.0).to_le_bytes());
            all.update(&buffer);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let steps = self.steps_done as f64;
        vec![
            ("faults".to_owned(), self.faults as f64),
            ("forks".to_owned(), steps),
            ("turns".to_owned(), steps * f64::from(TURNS)),
        ]
    }
}

/// What children and threads do: every word is changed by a stream that its neighbour before seeds,
/// so that no word can be left out or done twice unnoticed.
fn stir(bytes: &mut [u8]) {
    let mut carry = 0x9e37_79b9_7f4a_7c15_u64;
    for word in bytes.as_chunks_mut().0 {
        carry = (u64::from_le_bytes(*word) ^ carry)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .rotate_left(31);
        *word = carry.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;
    use crate::system::{Model, Space, Task, Work};

    /// A system with one fault.
    struct Faulty {
        healthy: Model,
        pipes_left: u32,
    }

    impl System for Faulty {
        fn store(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Fault> {
            self.healthy.store(slot, bytes)
        }
        fn load(&mut self, slot: u32, bytes: &mut [u8]) -> Result<(), Fault> {
            self.healthy.load(slot, bytes)
        }
        fn through_pipe(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
            self.pipes_left = self.pipes_left.wrapping_sub(1);
            match self.pipes_left {
                0 => Err(Fault(32)),
                _ => self.healthy.through_pipe(bytes),
            }
        }
        fn in_child(&mut self, bytes: &mut [u8], work: Work) -> Result<(), Fault> {
            self.healthy.in_child(bytes, work)
        }
        fn in_turns(&mut self, bytes: &mut [u8], work: Work, turns: u32) -> Result<(), Fault> {
            self.healthy.in_turns(bytes, work, turns)
        }
        fn together(&mut self, tasks: [Task<'_>; 2]) -> Result<(), Fault> {
            self.healthy.together(tasks)
        }
        fn space(&mut self, pages: usize) -> Result<Box<dyn Space>, Fault> {
            self.healthy.space(pages)
        }
    }

    fn healthy() -> KernelPaths {
        KernelPaths::new(1, Box::new(Model::default()))
    }

    #[test]
    fn a_flipped_bit_in_a_file_changes_the_digest() {
        for (slot, byte, bit) in [(0, 0, 0), (15, 9_999, 4), (31, BUFFER_BYTES - 1, 7)] {
            check_flip(FILES, healthy, |paths| {
                let mut bytes = vec![0; BUFFER_BYTES];
                let system = paths.system.get_mut();
                system.load(slot, &mut bytes).unwrap();
                bytes[byte] ^= 1 << bit;
                system.store(slot, &bytes).unwrap();
            });
        }
    }

    #[test]
    fn a_system_call_that_fails_is_a_result() {
        let mut good = healthy();
        let faulty = Faulty {
            healthy: Model::default(),
            pipes_left: 3,
        };
        let mut bad = KernelPaths::new(1, Box::new(faulty));
        for _ in 0..4 {
            good.step();
            bad.step();
        }
        assert_eq!((good.faults, bad.faults), (0, 1));
        assert_ne!(good.digest(), bad.digest());
    }

    #[test]
    fn every_bit_is_stirred_on() {
        let mut base = [0x5a; 64];
        stir(&mut base);
        for bit in 0..512 {
            let mut flipped = [0x5a; 64];
            flipped[bit / 8] ^= 1 << (bit % 8);
            stir(&mut flipped);
            assert_ne!(flipped[56..], base[56..], "bit {bit}");
        }
    }
}
