//! `multiply`: chains of floating multiplications and of nothing else, in f64 and f32.
//!
//! ```text
//! step:  running = SHA-256( running ‖ x and y )
//!        64 rounds over 512 lanes of each width and range:
//!          product = x · y
//!          fold   <- every bit of product
//!          x       = product's mantissa, with a magnitude near 1 again       near lanes
//!          x       = product if it is normal, else another number            wide lanes
//!        running = SHA-256( running ‖ folds )
//!        y      ^= keystream( running )
//! ```
//!
//! A chain multiplies the product again, so that a wrong bit is an operand of all that follows: a
//! multiplier that fails for few operands only is met by long chains. Near lanes keep to [2^-7, 2);
//! wide ones have any exponent, and overflow to infinity and fall to denormal numbers and zero.
//! Multiplication is exactly defined, so that the result is bit-equal everywhere.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::operand::{near_f32, near_f64, wide_f32, wide_f64};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "multiply";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "chains of f64 and f32 multiplications, with operands near 1 and of any magnitude",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[Unit::FloatMultiply, Unit::FloatDenormal],
    data_types: &[DataType::F64, DataType::F32],
    algorithms: &[Algorithm::MultiplyChain],
    extensions: &["sse2"],
    portable: true,
    instructions_per_step: 2_570_000,
    emulation_weight: 0.71,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(MultiplyChains::start),
};

/// Half a page of f64: a chain is long, and all of them stay in the first-level cache.
const LANES: usize = 512;
const ROUNDS: usize = 64;

type Wide = PageAligned<[f64; LANES]>;
type Short = PageAligned<[f32; LANES]>;

pub(crate) struct MultiplyChains {
    /// Values and factors, near 1 and of any magnitude.
    near: [Vec<Wide>; 2],
    wide: [Vec<Wide>; 2],
    near_short: [Vec<Short>; 2],
    wide_short: [Vec<Short>; 2],
    running: [u8; DIGEST_BYTES],
    /// Products of wide lanes that were infinite, denormal or zero.
    extremes: u64,
    steps_done: u64,
}

impl MultiplyChains {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let double = || vec![PageAligned([1.0; LANES])];
        let single = || vec![PageAligned([1.0; LANES])];
        let mut chains = Self {
            near: [double(), double()],
            wide: [double(), double()],
            near_short: [single(), single()],
            wide_short: [single(), single()],
            running: [0; DIGEST_BYTES],
            extremes: 0,
            steps_done: 0,
        };
        let mut stream = Xoshiro256::from_seed(seed);
        chains.refresh(0, &mut stream);
        chains.refresh(1, &mut stream);
        chains
    }

    /// All operands.
    fn absorb(&self, hasher: &mut Sha256) {
        for page in self.near.iter().chain(&self.wide).flatten() {
            hasher.update(page.0.map(f64::to_le_bytes).as_flattened());
        }
        for page in self.near_short.iter().chain(&self.wide_short).flatten() {
            hasher.update(page.0.map(f32::to_le_bytes).as_flattened());
        }
    }

    /// New values (0) or factors (1).
    fn refresh(&mut self, which: usize, stream: &mut Xoshiro256) {
        self.near[which][0]
            .0
            .fill_with(|| near_f64(stream.next_word()));
        self.wide[which][0].0.fill_with(|| {
            let word = stream.next_word();
            wide_f64(word, stream.next_word())
        });
        self.near_short[which][0]
            .0
            .fill_with(|| near_f32(stream.next_word()));
        self.wide_short[which][0]
            .0
            .fill_with(|| wide_f32(stream.next_word()));
    }
}

impl Kernel for MultiplyChains {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        // Rounding may drop a low bit that went wrong while it waited: it is taken in before.
        self.absorb(&mut link);
        let mut folds = [0_u64; 4];
        for _ in 0..ROUNDS {
            folds[0] = near_round(folds[0], &mut self.near);
            folds[1] = wide_round(folds[1], &mut self.wide, &mut self.extremes);
            folds[2] = near_short_round(folds[2], &mut self.near_short);
            folds[3] = wide_short_round(folds[3], &mut self.wide_short, &mut self.extremes);
        }
        link.update(folds.map(u64::to_le_bytes).as_flattened());
        self.running = link.finalize().into();
        self.refresh(1, &mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.extremes.to_le_bytes());
        self.absorb(&mut all);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let products = (self.steps_done * (4 * LANES * ROUNDS) as u64) as f64;
        vec![
            ("extreme_products".to_owned(), self.extremes as f64),
            ("products".to_owned(), products),
        ]
    }
}

fn near_round(mut fold: u64, [values, factors]: &mut [Vec<Wide>; 2]) -> u64 {
    for (value, factor) in values[0].0.iter_mut().zip(&factors[0].0) {
        let product = (*value * factor).to_bits();
        fold = fold_in(fold, product);
        *value = near_f64(product);
    }
    fold
}

fn near_short_round(mut fold: u64, [values, factors]: &mut [Vec<Short>; 2]) -> u64 {
    for (value, factor) in values[0].0.iter_mut().zip(&factors[0].0) {
        let product = u64::from((*value * factor).to_bits());
        fold = fold_in(fold, product);
        *value = near_f32(product);
    }
    fold
}

fn wide_round(mut fold: u64, [values, factors]: &mut [Vec<Wide>; 2], extremes: &mut u64) -> u64 {
    for (value, factor) in values[0].0.iter_mut().zip(&factors[0].0) {
        let product = *value * factor;
        fold = fold_in(fold, product.to_bits());
        let is_normal = product.is_normal();
        *extremes += u64::from(!is_normal);
        *value = if is_normal {
            product
        } else {
            wide_f64(fold, fold >> 41)
        };
    }
    fold
}

fn wide_short_round(
    mut fold: u64,
    [values, factors]: &mut [Vec<Short>; 2],
    extremes: &mut u64,
) -> u64 {
    for (value, factor) in values[0].0.iter_mut().zip(&factors[0].0) {
        let product = *value * factor;
        fold = fold_in(fold, u64::from(product.to_bits()));
        let is_normal = product.is_normal();
        *extremes += u64::from(!is_normal);
        *value = if is_normal { product } else { wide_f32(fold) };
    }
    fold
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_any_lane_changes_the_digest() {
        let start = || MultiplyChains::new(1);
        for (lane, bit) in [(0, 0), (100, 20), (511, 22)] {
            let flip = |bits: u64| bits ^ 1 << bit;
            check_flip(4, start, |chains| {
                let value = &mut chains.near[0][0].0[lane];
                *value = f64::from_bits(flip(value.to_bits()));
            });
            check_flip(4, start, |chains| {
                let value = &mut chains.wide[0][0].0[lane];
                *value = f64::from_bits(flip(value.to_bits()));
            });
            check_flip(4, start, |chains| {
                let value = &mut chains.near_short[0][0].0[lane];
                *value = f32::from_bits(value.to_bits() ^ 1 << bit);
            });
            check_flip(4, start, |chains| {
                let value = &mut chains.wide_short[0][0].0[lane];
                *value = f32::from_bits(value.to_bits() ^ 1 << bit);
            });
        }
    }

    #[test]
    fn wide_lanes_overflow_and_fall_below_and_stay_finite() {
        let mut chains = MultiplyChains::new(2);
        for _ in 0..8 {
            chains.step();
        }
        let products = 8 * 2 * LANES * ROUNDS;
        let share = chains.extremes as f64 / products as f64;
        assert!((0.05..0.6).contains(&share), "{share}");
        let values = chains.wide.iter().chain(&chains.near).flatten();
        assert!(values.flat_map(|page| page.0).all(f64::is_finite));
    }

    /// A multiplier that errs for one mantissa bit of one product shows.
    #[test]
    fn products_are_those_of_exact_integers() {
        for word in [3_u64, 0x0123_4567, 0x00ff_ffff] {
            let (a, b) = (word as f64, 0x00ab_cdef_u64 as f64);
            assert_eq!(a * b, (u128::from(word) * 0x00ab_cdef) as f64);
        }
    }
}
