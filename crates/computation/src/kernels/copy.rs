//! `copy`: every way to copy bytes and to fill them, from anywhere to anywhere.
//!
//! ```text
//! step:  64 times, a way in an order that is drawn:
//!          a stretch of 0 to 12,287 bytes, from any byte of the source to any byte of the target
//!          a fill of 0 to 511 bytes anywhere in the target
//!        the same on a shadow, byte by byte in plain code: bytes that differ are counted, those of
//!        stretches' ends apart
//!        running = SHA-256( running ‖ target ‖ counts );  source ^= keystream( running )
//! ```
//!
//! Stretches begin and end within words, lines and pages. A way that stops short leaves old bytes at
//! the end of a stretch; one that goes too far changes bytes beyond: both differ from the shadow.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::machine::copy::{Way, copy, fill};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "copy";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "eight ways to copy and one to fill, misaligned and across pages, held against plain code",
    sensitivity: Sensitivity::High,
    targets: &[Target::Memory],
    units: &[
        Unit::StringMove,
        Unit::NonTemporal,
        Unit::Misaligned,
        Unit::CacheFlush,
        Unit::Prefetch,
        Unit::LoadStore,
    ],
    data_types: &[DataType::Bytes],
    algorithms: &[Algorithm::CopyMatrix],
    extensions: &["avx", "avx512f", "erms", "fsrm", "sse2"],
    portable: true,
    instructions_per_step: 1_250_000,
    emulation_weight: 2.88,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Copies::start),
};

const ROOM_BYTES: usize = 16 * model::PAGE_BYTES;
const COPIES: usize = 64;
/// Beyond two pages, so that most stretches cross one.
const STRETCH_BYTES_SPAN: usize = 3 * model::PAGE_BYTES;
const FILL_BYTES_SPAN: usize = 512;

type Room = Vec<PageAligned<[u8; ROOM_BYTES]>>;

pub(crate) struct Copies {
    source: Room,
    target: Room,
    shadow: Room,
    running: [u8; DIGEST_BYTES],
    /// Bytes of the target that differed from the shadow after a step.
    differing: u64,
    steps_done: u64,
}

impl Copies {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut source = vec![PageAligned([0; ROOM_BYTES])];
        let mut target = source.clone();
        stream.mask(&mut source[0].0);
        stream.mask(&mut target[0].0);
        Self {
            source,
            shadow: target.clone(),
            target,
            running: [0; DIGEST_BYTES],
            differing: 0,
            steps_done: 0,
        }
    }

    /// One copy and one fill, there and on the shadow.
    fn move_stretch(&mut self, way: Way, stream: &mut Xoshiro256) {
        let draw = stream.next_word() as usize;
        let length = draw % STRETCH_BYTES_SPAN;
        let from = (draw >> 16) % (ROOM_BYTES - length);
        let to = (draw >> 36) % (ROOM_BYTES - length);
        let source = &self.source[0].0[from..from + length];
        copy(way, source, &mut self.target[0].0[to..to + length]);
        for (to, from) in self.shadow[0].0[to..to + length].iter_mut().zip(source) {
            *to = *from;
        }
        let draw = stream.next_word() as usize;
        let (length, value) = (draw % FILL_BYTES_SPAN, (draw >> 16) as u8);
        let at = (draw >> 24) % (ROOM_BYTES - length);
        fill(&mut self.target[0].0[at..at + length], value);
        for byte in &mut self.shadow[0].0[at..at + length] {
            *byte = value;
        }
    }
}

impl Kernel for Copies {
    fn step(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        let mut order = stream.next_word() ^ self.steps_done;
        for _ in 0..COPIES {
            order = order.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            let way = Way::ALL[(order >> 40) as usize % Way::ALL.len()];
            self.move_stretch(way, &mut stream);
        }
        let pairs = self.target[0].0.iter().zip(&self.shadow[0].0);
        self.differing += pairs.filter(|(one, other)| one != other).count() as u64;
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(self.target[0].0);
        link.update(self.differing.to_le_bytes());
        self.running = link.finalize().into();
        Xoshiro256::from_digest(&self.running).mask(&mut self.source[0].0);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.differing.to_le_bytes());
        for room in [&self.source, &self.target, &self.shadow] {
            all.update(room[0].0);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let copies = (self.steps_done * COPIES as u64) as f64;
        vec![
            ("bytes_differing".to_owned(), self.differing as f64),
            ("copies".to_owned(), copies),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn every_way_does_what_plain_code_does() {
        let mut copies = Copies::new(2);
        for _ in 0..32 {
            copies.step();
        }
        assert_eq!(copies.differing, 0);
    }

    /// What is overwritten before it is read is gone from memory, too: most of the target's bytes
    /// live, all of the source's do.
    #[test]
    fn a_flipped_bit_in_the_source_changes_the_digest() {
        for (byte, bit) in [(0, 0), (33_333, 3), (ROOM_BYTES - 1, 7)] {
            check_flip(
                4,
                || Copies::new(1),
                |copies| {
                    copies.source[0].0[byte] ^= 1 << bit;
                },
            );
        }
    }

    #[test]
    fn a_byte_that_was_not_copied_is_counted() {
        let mut copies = Copies::new(1);
        let target = copies.target[0].0;
        copies.step();
        let untouched = |at: &usize| copies.target[0].0[*at] == target[*at];
        let at = (0..ROOM_BYTES).rev().find(untouched).unwrap();
        let mut short = Copies::new(1);
        short.target[0].0[at] ^= 1;
        short.step();
        assert_eq!(short.differing, 1);
    }
}
