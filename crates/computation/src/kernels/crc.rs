//! `crc`: two cyclic redundancy checks, each by two implementations that share no code.
//!
//! ```text
//! step i:  chunk  = working set [ i mod 64 ]                 64 KiB of 4 MiB
//!          a, b   = CRC-32 of chunk  by carry-less multiplication, and by table
//!          c, d   = CRC-32C of chunk by the CRC32 instruction, and by table
//!          state  = SHA-256( state ‖ a ‖ b ‖ c ‖ d ‖ mismatches )
//!          chunk ^= keystream( state )
//! ```
//!
//! The fast implementations use those units where the processor has them, and tables of their own
//! where not. A check differs for every change of up to 32 neighbouring bits, so a wrong bit in a
//! chunk always shows; one in an implementation makes a pair differ, which is counted.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc};
use sha2::{Digest as _, Sha256};

const NAME: &str = "crc";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "CRC-32 and CRC-32C over 4 MiB, each by two implementations held against each other",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuInteger],
    units: &[Unit::Crc32, Unit::CarrylessMultiply, Unit::TableLookup],
    data_types: &[DataType::U32, DataType::U64],
    algorithms: &[Algorithm::Crc32, Algorithm::Crc32c],
    extensions: &["sse4.2", "pclmulqdq"],
    portable: true,
    instructions_per_step: 1_080_000,
    emulation_weight: 1.35,
    default_budget_s: 1.0,
    minimum_steps: CHUNKS,
    start: Start::Alone(CheckedChain::start),
};

/// Chunks in the working set: enough that it does not fit a second-level cache of old.
pub(crate) const CHUNKS: u64 = 64;
/// 64 KiB: long enough that the checks, not the chain around them, are what is exercised.
const CHUNK_BYTES: usize = 16 * model::PAGE_BYTES;

static CRC_32_BY_TABLE: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
static CRC_32C_BY_TABLE: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

pub(crate) struct CheckedChain {
    working_set: Vec<PageAligned<[u8; CHUNK_BYTES]>>,
    state: [u8; DIGEST_BYTES],
    /// Pairs of implementations that did not agree.
    mismatches: u64,
    steps_done: u64,
}

impl CheckedChain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut working_set = vec![PageAligned([0; CHUNK_BYTES]); CHUNKS as usize];
        for chunk in &mut working_set {
            stream.mask(&mut chunk.0);
        }
        Self {
            working_set,
            state: [0; DIGEST_BYTES],
            mismatches: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for CheckedChain {
    fn step(&mut self) {
        let chunk = &mut self.working_set[(self.steps_done % CHUNKS) as usize].0;
        let checks = checks(chunk);
        self.mismatches += mismatches(&checks);
        let mut link = Sha256::new();
        link.update(self.state);
        link.update(checks.map(u32::to_le_bytes).as_flattened());
        link.update(self.mismatches.to_le_bytes());
        self.state = link.finalize().into();
        Xoshiro256::from_digest(&self.state).mask(chunk);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.state);
        all.update(self.mismatches.to_le_bytes());
        for chunk in &self.working_set {
            all.update(chunk.0);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let checked = self.steps_done as f64 * CHUNK_BYTES as f64;
        vec![
            ("checked_bytes".to_owned(), checked),
            ("mismatches".to_owned(), self.mismatches as f64),
        ]
    }
}

/// CRC-32 twice, then CRC-32C twice.
fn checks(bytes: &[u8]) -> [u32; 4] {
    [
        crc32fast::hash(bytes),
        CRC_32_BY_TABLE.checksum(bytes),
        crc32c::crc32c(bytes),
        CRC_32C_BY_TABLE.checksum(bytes),
    ]
}

/// Pairs that do not agree.
fn mismatches(checks: &[u32; 4]) -> u64 {
    let [a, b, c, d] = checks;
    u64::from(a != b) + u64::from(c != d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;
    use proptest::prelude::*;

    #[test]
    fn the_published_check_values_hold() {
        let [a, b, c, d] = checks(b"123456789");
        assert_eq!((a, b), (0xcbf4_3926, 0xcbf4_3926));
        assert_eq!((c, d), (0xe306_9283, 0xe306_9283));
    }

    #[test]
    fn a_pair_that_differs_is_counted() {
        assert_eq!(mismatches(&[1, 1, 2, 2]), 0);
        assert_eq!(mismatches(&[1, 3, 2, 2]), 1);
        assert_eq!(mismatches(&[1, 3, 2, 4]), 2);
    }

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        for (chunk, byte, bit) in [(0, 0, 0), (31, 40_000, 7), (63, CHUNK_BYTES - 1, 3)] {
            let flip = |chain: &mut CheckedChain| chain.working_set[chunk].0[byte] ^= 1 << bit;
            check_flip(CHUNKS, || CheckedChain::new(1), flip);
        }
    }

    proptest! {
        #[test]
        fn implementations_agree(bytes: Vec<u8>) {
            prop_assert_eq!(mismatches(&checks(&bytes)), 0);
        }
    }
}
