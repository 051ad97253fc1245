//! `stream`: the four kernels of STREAM over three arrays of f64, every word folded.
//!
//! ```text
//! step:  c = a                copy            3 × 512 KiB
//!        b = s · c            scale
//!        c = a + b            add
//!        a = b + s · c        triad: a product, then a sum, never fused
//!        fold <- every word of a, b and c, before and after;  running = SHA-256( running ‖ fold )
//!        a    = its mantissas, near 1 again, masked by keystream( running )
//! ```
//!
//! In the manner of McCalpin's STREAM, but with operands of high entropy and exact results: there a
//! sum of errors is compared with a tolerance. What it moves per second is the run's statistical
//! metric of steps per second times the bytes of a step.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::operand::near_f64;
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "stream";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "copy, scale, add and triad over three f64 arrays of 512 KiB, in the manner of STREAM",
    sensitivity: Sensitivity::High,
    targets: &[Target::Memory, Target::CpuFpu],
    units: &[
        Unit::LoadStore,
        Unit::FloatAdd,
        Unit::FloatMultiply,
        Unit::FloatVector,
    ],
    data_types: &[DataType::F64],
    algorithms: &[Algorithm::StreamBenchmark],
    extensions: &["sse2"],
    portable: true,
    instructions_per_step: 4_200_000,
    emulation_weight: 1.7,
    default_budget_s: 1.0,
    minimum_steps: 2,
    start: Start::Alone(Arrays::start),
};

const WORDS_PER_PAGE: usize = model::PAGE_BYTES / size_of::<f64>();
const PAGES: usize = 128;
/// Bytes that the four kernels read and write, by the benchmark's own count: 2 + 2 + 3 + 3 arrays.
const MOVED_BYTES: usize = 10 * PAGES * model::PAGE_BYTES;
/// STREAM's own factor.
const SCALAR: f64 = 3.0;

type Array = Vec<PageAligned<[f64; WORDS_PER_PAGE]>>;

pub(crate) struct Arrays {
    a: Array,
    b: Array,
    c: Array,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl Arrays {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let zero = || vec![PageAligned([0.0; WORDS_PER_PAGE]); PAGES];
        let mut arrays = Self {
            a: zero(),
            b: zero(),
            c: zero(),
            running: [0; DIGEST_BYTES],
            steps_done: 0,
        };
        refresh(&mut arrays.a, &mut Xoshiro256::from_seed(seed));
        arrays
    }

    /// The four kernels.
    fn pass(&mut self) {
        for (to, from) in self.c.iter_mut().zip(&self.a) {
            to.0.copy_from_slice(&from.0);
        }
        for (to, from) in self.b.iter_mut().zip(&self.c) {
            for (to, from) in to.0.iter_mut().zip(&from.0) {
                *to = SCALAR * from;
            }
        }
        for ((to, one), other) in self.c.iter_mut().zip(&self.a).zip(&self.b) {
            for ((to, one), other) in to.0.iter_mut().zip(&one.0).zip(&other.0) {
                *to = one + other;
            }
        }
        for ((to, one), other) in self.a.iter_mut().zip(&self.b).zip(&self.c) {
            for ((to, one), other) in to.0.iter_mut().zip(&one.0).zip(&other.0) {
                *to = one + SCALAR * other;
            }
        }
    }

    fn words(&self) -> impl Iterator<Item = &f64> {
        let pages = self.a.iter().chain(&self.b).chain(&self.c);
        pages.flat_map(|page| &page.0)
    }
}

impl Kernel for Arrays {
    fn step(&mut self) {
        // What the last step left, while it waits, is alive too.
        let waiting = self
            .words()
            .fold(0, |fold, word| fold_in(fold, word.to_bits()));
        self.pass();
        let fold = self
            .words()
            .fold(0, |fold, word| fold_in(fold, word.to_bits()));
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(waiting.to_le_bytes());
        link.update(fold.to_le_bytes());
        self.running = link.finalize().into();
        refresh(&mut self.a, &mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        for page in self.a.iter().chain(&self.b).chain(&self.c) {
            all.update(page.0.map(f64::to_le_bytes).as_flattened());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let moved = (self.steps_done * MOVED_BYTES as u64) as f64;
        vec![("moved_bytes".to_owned(), moved)]
    }
}

/// Near 1 again, with mantissas that depend on what they were.
fn refresh(array: &mut Array, stream: &mut Xoshiro256) {
    for word in array.iter_mut().flat_map(|page| &mut page.0) {
        *word = near_f64(word.to_bits() ^ stream.next_word());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    /// a' = 3a + 3·( a + 3a ), each operation rounded by itself.
    #[test]
    fn a_pass_is_what_the_four_kernels_say() {
        let mut arrays = Arrays::new(5);
        let before = arrays.a[77].0[13];
        arrays.pass();
        let scaled = SCALAR * before;
        let sum = before + scaled;
        assert_eq!(arrays.b[77].0[13], scaled);
        assert_eq!(arrays.c[77].0[13], sum);
        assert_eq!(arrays.a[77].0[13], scaled + SCALAR * sum);
    }

    #[test]
    fn a_flipped_bit_in_the_chain_changes_the_digest() {
        for (page, word, bit) in [(0, 0, 0), (64, 100, 30), (127, 511, 51)] {
            check_flip(
                2,
                || Arrays::new(1),
                |arrays| {
                    let value = &mut arrays.a[page].0[word];
                    *value = f64::from_bits(value.to_bits() ^ 1 << bit);
                },
            );
            check_flip(
                2,
                || Arrays::new(1),
                |arrays| {
                    let value = &mut arrays.c[page].0[word];
                    *value = f64::from_bits(value.to_bits() ^ 1 << bit);
                },
            );
        }
    }
}
