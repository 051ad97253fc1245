//! `fused`: chains of fused multiply-add in f64 and f32, over vectors and one by one.
//!
//! ```text
//! step:  running = SHA-256( running ‖ x, y and z )
//!        32 rounds over 1024 lanes of each width:
//!          x = x · y + z            rounded once
//!          fold <- every bit;  x = its mantissa, near 1 again;  z = z of the next lane
//!        one chain of 256 scalar operations, each on the result of the last
//!        running = SHA-256( running ‖ folds ‖ the scalar chain )
//!        y, z   ^= keystream( running )
//! ```
//!
//! The operation is exactly defined, so that the widest vectors, scalar instructions and plain code
//! come to the same bits. Where the processor lacks it, the C library's plain code computes it.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::machine::fused::{multiply_add, multiply_add_short};
use crate::operand::{near_f32, near_f64};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "fused";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "chains of fused multiply-add in f64 and f32, over vectors and one by one",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[Unit::FusedMultiplyAdd, Unit::FloatVector],
    data_types: &[DataType::F64, DataType::F32],
    algorithms: &[Algorithm::FusedChain],
    extensions: &["avx", "avx2", "avx512f", "fma"],
    portable: true,
    instructions_per_step: 1_600_000,
    emulation_weight: 2.45,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(FusedChains::start),
};

const LANES: usize = 1024;
const ROUNDS: usize = 32;
const SCALAR_ROUNDS: u64 = 256;

type Wide = PageAligned<[f64; LANES]>;
type Short = PageAligned<[f32; LANES]>;

pub(crate) struct FusedChains {
    /// Values, factors, addends.
    wide: [Vec<Wide>; 3],
    short: [Vec<Short>; 3],
    scalar: f64,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl FusedChains {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut chains = Self {
            wide: [(); 3].map(|()| vec![PageAligned([1.0; LANES])]),
            short: [(); 3].map(|()| vec![PageAligned([1.0; LANES])]),
            scalar: near_f64(stream.next_word()),
            running: [0; DIGEST_BYTES],
            steps_done: 0,
        };
        chains.refresh(0..3, &mut stream);
        chains
    }

    /// New values, factors or addends, which depend on the ones before.
    fn refresh(&mut self, which: std::ops::Range<usize>, stream: &mut Xoshiro256) {
        for column in which {
            for value in &mut self.wide[column][0].0 {
                *value = near_f64(value.to_bits() ^ stream.next_word());
            }
            for value in &mut self.short[column][0].0 {
                *value = near_f32(u64::from(value.to_bits()) ^ stream.next_word());
            }
        }
    }

    /// All operands.
    fn absorb(&self, hasher: &mut Sha256) {
        hasher.update(self.scalar.to_le_bytes());
        for page in self.wide.iter().flatten() {
            hasher.update(page.0.map(f64::to_le_bytes).as_flattened());
        }
        for page in self.short.iter().flatten() {
            hasher.update(page.0.map(f32::to_le_bytes).as_flattened());
        }
    }

    fn round(&mut self, mut fold: u64) -> u64 {
        let [values, factors, addends] = &mut self.wide;
        multiply_add(&mut values[0].0, &factors[0].0, &addends[0].0);
        for value in &mut values[0].0 {
            fold = fold_in(fold, value.to_bits());
            *value = near_f64(value.to_bits());
        }
        addends[0].0.rotate_left(1);
        let [values, factors, addends] = &mut self.short;
        multiply_add_short(&mut values[0].0, &factors[0].0, &addends[0].0);
        for value in &mut values[0].0 {
            fold = fold_in(fold, value.to_bits().into());
            *value = near_f32(u64::from(value.to_bits()) ^ fold << 32);
        }
        addends[0].0.rotate_left(1);
        fold
    }
}

impl Kernel for FusedChains {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        // Rounding may drop a low bit that went wrong while it waited: it is taken in before.
        self.absorb(&mut link);
        let fold = (0..ROUNDS).fold(0, |fold, _| self.round(fold));
        link.update(fold.to_le_bytes());
        for round in 0..SCALAR_ROUNDS {
            let factor = near_f64(fold.wrapping_mul(2 * round + 1));
            let mut next = [self.scalar];
            multiply_add(&mut next, &[factor], &[0.25]);
            link.update(next[0].to_le_bytes());
            self.scalar = near_f64(next[0].to_bits());
        }
        self.running = link.finalize().into();
        self.refresh(1..3, &mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        self.absorb(&mut all);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let fused = self.steps_done * (2 * (LANES * ROUNDS) as u64 + SCALAR_ROUNDS);
        vec![("fused_operations".to_owned(), fused as f64)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_any_operand_changes_the_digest() {
        let start = || FusedChains::new(1);
        for column in 0..3 {
            for (lane, bit) in [(0, 0), (511, 20), (1023, 22)] {
                check_flip(4, start, |chains| {
                    let value = &mut chains.wide[column][0].0[lane];
                    *value = f64::from_bits(value.to_bits() ^ 1 << bit);
                });
                check_flip(4, start, |chains| {
                    let value = &mut chains.short[column][0].0[lane];
                    *value = f32::from_bits(value.to_bits() ^ 1 << bit);
                });
            }
        }
        check_flip(4, start, |chains| chains.scalar = -chains.scalar);
    }
}
