//! `sha256`: a chain of SHA-256 over a working set that the chain itself rewrites.
//!
//! ```text
//! step i:  chunk  = working set [ i mod 64 ]            64 KiB of 4 MiB
//!          state  = SHA-256( state ‖ chunk )
//!          chunk ^= keystream( state )
//! ```
//!
//! A flipped bit in the state changes all that follows; one in the working set changes the chunk's
//! next hash, hence every later state and chunk. A chunk is visited every 64 steps, and the whole
//! working set enters the digest, so nothing is masked.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{BytePage, Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "sha256";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "SHA-256 chain over 4 MiB that rewrites its own working set",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuCrypto, Target::CpuInteger],
    units: &[
        Unit::Sha,
        Unit::IntegerArithmetic,
        Unit::Shift,
        Unit::LoadStore,
    ],
    data_types: &[DataType::U32, DataType::U64],
    algorithms: &[Algorithm::Sha256],
    extensions: &["sha", "ssse3", "sse4.1"],
    portable: true,
    instructions_per_step: 388_000,
    emulation_weight: 8.0,
    default_budget_s: 1.0,
    minimum_steps: CHUNKS,
    start: Start::Alone(Sha256Chain::start),
};

/// Chunks in the working set: enough that it does not fit a second-level cache of old.
pub(crate) const CHUNKS: u64 = 64;
/// 64 KiB: long enough that the hash, not the chain around it, is what is exercised.
const CHUNK_PAGES: usize = 16;

pub(crate) struct Sha256Chain {
    working_set: Vec<BytePage>,
    state: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl Sha256Chain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut chain = Self {
            working_set: vec![PageAligned([0; model::PAGE_BYTES]); CHUNKS as usize * CHUNK_PAGES],
            state: [0; DIGEST_BYTES],
            steps_done: 0,
        };
        mask(&mut chain.working_set, &mut stream);
        chain
    }
}

impl Kernel for Sha256Chain {
    fn step(&mut self) {
        let first = (self.steps_done % CHUNKS) as usize * CHUNK_PAGES;
        let chunk = &mut self.working_set[first..first + CHUNK_PAGES];
        let mut link = Sha256::new();
        link.update(self.state);
        for page in chunk.iter() {
            link.update(page.0);
        }
        self.state = link.finalize().into();
        mask(chunk, &mut Xoshiro256::from_digest(&self.state));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.state);
        for page in &self.working_set {
            all.update(page.0);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let hashed = self.steps_done as f64 * (CHUNK_PAGES * model::PAGE_BYTES) as f64;
        vec![("hashed_bytes".to_owned(), hashed)]
    }
}

/// XORs pages with a keystream.
fn mask(pages: &mut [BytePage], stream: &mut Xoshiro256) {
    for page in pages {
        stream.mask(&mut page.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        let start = || Sha256Chain::new(1);
        for (page, byte, bit) in [(0, 0, 0), (500, 2000, 4), (1023, 4095, 7)] {
            let flip = |chain: &mut Sha256Chain| chain.working_set[page].0[byte] ^= 1 << bit;
            check_flip(8, start, flip);
        }
        check_flip(8, start, |chain| chain.state[31] ^= 0x80);
    }
}
