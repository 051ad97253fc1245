//! `aes`: AES-256-GCM over a working set that is sealed in turn, each seal opened again.
//!
//! ```text
//! step i:  chunk    = seal( key, nonce i, associated data = opened, chunk )     4 KiB of 256 KiB
//!          opened   = open( key, nonce i, same associated data, chunk, tag )
//!          key      = SHA-256( key ‖ tag ‖ failures )
//! ```
//!
//! The chunk stays sealed and is the plain text of its next turn, 64 steps later. The tag depends
//! on every bit of the sealed chunk and of what the step before opened, and the key on every tag, so
//! that a wrong bit in the cipher, in the tag or in either buffer changes all that follows. A seal
//! that does not open is counted, and leaves `opened` as it was two steps before: a result like any
//! other.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{BytePage, Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use aes_gcm::{Aes256Gcm, KeyInit};
use sha2::{Digest as _, Sha256};

const NAME: &str = "aes";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "AES-256-GCM chain over 256 KiB, every seal opened again",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuCrypto],
    units: &[Unit::Aes, Unit::CarrylessMultiply, Unit::LoadStore],
    data_types: &[DataType::U8, DataType::U128],
    algorithms: &[Algorithm::Aes256Gcm],
    extensions: &["aes", "pclmulqdq"],
    portable: true,
    instructions_per_step: 185_000,
    emulation_weight: 3.8,
    default_budget_s: 1.0,
    minimum_steps: CHUNKS,
    start: Start::Alone(SealedChain::start),
};

/// Chunks in the working set: beyond a first-level cache.
pub(crate) const CHUNKS: u64 = 64;
const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

pub(crate) struct SealedChain {
    working_set: Vec<BytePage>,
    /// What the last step opened, and room for what the next one will.
    opened: Vec<BytePage>,
    key: [u8; DIGEST_BYTES],
    tag: [u8; TAG_BYTES],
    /// Seals that did not open, and chunks that could not be sealed.
    failures: u64,
    steps_done: u64,
}

impl SealedChain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut working_set = vec![PageAligned([0; model::PAGE_BYTES]); CHUNKS as usize];
        for page in &mut working_set {
            stream.mask(&mut page.0);
        }
        let mut key = [0; DIGEST_BYTES];
        stream.mask(&mut key);
        Self {
            working_set,
            opened: vec![PageAligned([0; model::PAGE_BYTES]); 2],
            key,
            tag: [0; TAG_BYTES],
            failures: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for SealedChain {
    fn step(&mut self) {
        let cipher = Aes256Gcm::new(&self.key.into());
        let nonce = nonce(self.steps_done);
        let chunk = &mut self.working_set[(self.steps_done % CHUNKS) as usize].0;
        let (last, next) = self.opened.split_at_mut(1);
        let (last, next) = (&mut last[0].0, &mut next[0].0);
        match cipher.encrypt_inout_detached(&nonce, last, chunk.as_mut_slice().into()) {
            Ok(tag) => self.tag = tag.into(),
            Err(_) => self.failures += 1,
        }
        let tag = Tag::<Aes256Gcm>::from(self.tag);
        let opened = InOutBuf::new(chunk.as_slice(), next.as_mut_slice())
            .map(|buffer| cipher.decrypt_inout_detached(&nonce, last, buffer, &tag));
        if !matches!(opened, Ok(Ok(()))) {
            self.failures += 1;
        }
        self.opened.swap(0, 1);
        self.key = link(&self.key, &self.tag, self.failures);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.key);
        all.update(self.tag);
        all.update(self.failures.to_le_bytes());
        for page in self.working_set.iter().chain(&self.opened) {
            all.update(page.0);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let sealed = self.steps_done as f64 * model::PAGE_BYTES as f64;
        vec![
            ("authentication_failures".to_owned(), self.failures as f64),
            ("sealed_bytes".to_owned(), sealed),
        ]
    }
}

/// Each step has a nonce of its own, as the mode demands.
fn nonce(step: u64) -> Nonce<Aes256Gcm> {
    let mut bytes = [0; NONCE_BYTES];
    bytes[..size_of::<u64>()].copy_from_slice(&step.to_le_bytes());
    bytes.into()
}

/// The key of the next step.
fn link(key: &[u8], tag: &[u8], failures: u64) -> [u8; DIGEST_BYTES] {
    let mut link = Sha256::new();
    link.update(key);
    link.update(tag);
    link.update(failures.to_le_bytes());
    link.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn every_seal_opens_to_what_was_sealed() {
        let mut chain = SealedChain::new(3);
        for step in 0..CHUNKS + 8 {
            let plain = chain.working_set[(step % CHUNKS) as usize].0;
            chain.step();
            assert_eq!(chain.opened[0].0, plain, "step {step}");
        }
        assert_eq!(chain.failures, 0);
    }

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        let start = || SealedChain::new(1);
        for page in [0, 17, 63] {
            let flip = |chain: &mut SealedChain| chain.working_set[page].0[1234] ^= 1 << 5;
            check_flip(CHUNKS, start, flip);
        }
        check_flip(CHUNKS, start, |chain| chain.opened[0].0[4095] ^= 1);
        check_flip(CHUNKS, start, |chain| chain.key[31] ^= 0x80);
    }

    #[test]
    fn a_published_vector_holds() {
        // Test case 14 of McGrew and Viega, "The Galois/Counter Mode of Operation": key, nonce and
        // plain text of zeros.
        let cipher = Aes256Gcm::new(&[0; 32].into());
        let mut block = [0; 16];
        let tag = cipher.encrypt_inout_detached(&nonce(0), &[], block.as_mut_slice().into());
        let expected_block = 0xcea7_403d_4d60_6b6e_074e_c5d3_baf3_9d18_u128.to_be_bytes();
        let expected_tag = 0xd0d1_c8a7_9999_6bf0_265b_98b5_d48a_b919_u128.to_be_bytes();
        assert_eq!(block, expected_block);
        assert_eq!(<[u8; TAG_BYTES]>::from(tag.unwrap()), expected_tag);
    }
}
