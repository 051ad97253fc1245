//! `hashes`: SHA-1, SHA-384, SHA-512, MD5, BLAKE3 and Adler-32 over stretches that begin and end
//! anywhere.
//!
//! ```text
//! step i:  stretch = 16 KiB and up to 127 bytes, from any byte of block [ i mod 64 ]   2 MiB in all
//!          running = SHA-256( running ‖ each digest of the stretch )
//!          block  ^= keystream( running )
//! ```
//!
//! The beginning of a stretch is not aligned to anything, so that loads cross lines and pages. The
//! hashes choose among their own paths by what the processor has.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

const NAME: &str = "hashes";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "SHA-1, SHA-384, SHA-512, MD5, BLAKE3 and Adler-32 over misaligned stretches of 2 MiB",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuCrypto, Target::CpuInteger],
    units: &[
        Unit::Sha,
        Unit::IntegerArithmetic,
        Unit::Shift,
        Unit::IntegerVector,
        Unit::Misaligned,
        Unit::LoadStore,
    ],
    data_types: &[DataType::U32, DataType::U64, DataType::Bytes],
    algorithms: &[
        Algorithm::Md5,
        Algorithm::Sha1,
        Algorithm::Sha384,
        Algorithm::Sha512,
        Algorithm::Blake3,
        Algorithm::Adler32,
    ],
    extensions: &["sse2", "ssse3", "sse4.1", "sha"],
    portable: true,
    instructions_per_step: 1_640_000,
    emulation_weight: 1.36,
    default_budget_s: 1.0,
    minimum_steps: BLOCKS,
    start: Start::Alone(DigestChain::start),
};

const BLOCKS: u64 = 64;
const BLOCK_BYTES: usize = 8 * model::PAGE_BYTES;
const STRETCH_BYTES: usize = 4 * model::PAGE_BYTES;
/// Beyond a cache line, so that ends lie anywhere in one.
const STRETCH_BYTES_SPAN: u64 = 128;

pub(crate) struct DigestChain {
    blocks: Vec<PageAligned<[u8; BLOCK_BYTES]>>,
    running: [u8; DIGEST_BYTES],
    hashed_bytes: u64,
    steps_done: u64,
}

impl DigestChain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut blocks = vec![PageAligned([0; BLOCK_BYTES]); BLOCKS as usize];
        for block in &mut blocks {
            stream.mask(&mut block.0);
        }
        Self {
            blocks,
            running: [0; DIGEST_BYTES],
            hashed_bytes: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for DigestChain {
    fn step(&mut self) {
        let block = &mut self.blocks[(self.steps_done % BLOCKS) as usize].0;
        let draw = Xoshiro256::from_digest(&self.running).next_word() ^ self.steps_done;
        let length = STRETCH_BYTES + (draw % STRETCH_BYTES_SPAN) as usize;
        let from = (draw >> 32) as usize % (BLOCK_BYTES - length);
        let mut link = Sha256::new();
        link.update(self.running);
        absorb(&mut link, &block[from..from + length]);
        self.running = link.finalize().into();
        Xoshiro256::from_digest(&self.running).mask(block);
        self.hashed_bytes += length as u64;
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        for block in &self.blocks {
            all.update(block.0);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("hashed_bytes".to_owned(), self.hashed_bytes as f64)]
    }
}

/// Every digest of some bytes.
fn absorb(link: &mut Sha256, bytes: &[u8]) {
    link.update(Md5::digest(bytes));
    link.update(Sha1::digest(bytes));
    link.update(Sha384::digest(bytes));
    link.update(Sha512::digest(bytes));
    link.update(blake3::hash(bytes).as_bytes());
    link.update(adler2::adler32_slice(bytes).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::to_hexadecimal;
    use crate::kernels::tests::check_flip;

    /// The published vectors of RFC 1321, FIPS 180 and RFC 1950, and of BLAKE3's own.
    #[test]
    fn the_hashes_are_what_they_are_called() {
        let hexadecimal = |bytes: &[u8]| to_hexadecimal(bytes);
        assert_eq!(
            hexadecimal(&Md5::digest("abc")),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(
            hexadecimal(&Sha1::digest("abc")),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        let sha512 = hexadecimal(&Sha512::digest("abc"));
        assert!(
            sha512.starts_with("ddaf35a193617abacc417349ae204131"),
            "{sha512}"
        );
        let sha384 = hexadecimal(&Sha384::digest("abc"));
        assert!(
            sha384.starts_with("cb00753f45a35e8bb5a03d699ac65007"),
            "{sha384}"
        );
        assert_eq!(adler2::adler32_slice(b"Wikipedia"), 0x11e6_0398);
        let empty = blake3::hash(b"").to_hex();
        assert!(
            empty.starts_with("af1349b9f5f9a1a6a0404dea36dcc949"),
            "{empty}"
        );
    }

    /// A block is masked, not overwritten: a flip that no stretch has read stays in it.
    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        let start = || DigestChain::new(1);
        for byte in [0, 12_345, BLOCK_BYTES - 1] {
            check_flip(BLOCKS, start, |chain| chain.blocks[40].0[byte] ^= 4);
        }
        check_flip(BLOCKS, start, |chain| chain.running[5] ^= 1);
    }

    #[test]
    fn stretches_begin_anywhere() {
        let mut chain = DigestChain::new(3);
        for _ in 0..16 {
            chain.step();
        }
        let least = 16 * STRETCH_BYTES as u64;
        assert!(chain.hashed_bytes > least && !chain.hashed_bytes.is_multiple_of(64));
    }
}
