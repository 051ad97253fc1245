//! `elementary`: chains of elementary functions in f64 and f32, by one library in portable code.
//!
//! ```text
//! step:  for each of 256 lanes: each of 18 functions of f64 and 6 of f32, of what came before
//!          fold <- every bit of every result
//!          x     = the fold's mantissa, near 1 again
//!        running = SHA-256( running ‖ folds )
//! ```
//!
//! The library computes with plain additions, multiplications, divisions and its own tables, in one
//! order, so that results are bit-equal everywhere. Square roots and divisions are the processor's.
//! Arguments are near 1, and scaled by up to 2^40 where a function reduces its argument.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::operand::{near_f32, near_f64};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "elementary";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "chains of 24 elementary functions in f64 and f32, every bit folded",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[
        Unit::Transcendental,
        Unit::FloatDivide,
        Unit::FloatConvert,
        Unit::FloatMultiply,
        Unit::FloatAdd,
    ],
    data_types: &[DataType::F64, DataType::F32],
    algorithms: &[Algorithm::Elementary],
    extensions: &["sse2"],
    portable: true,
    instructions_per_step: 1_250_000,
    emulation_weight: 1.9,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(FunctionChains::start),
};

const LANES: usize = 256;
/// What brings an argument into the range in which it must be reduced.
const FAR: f64 = (1_u64 << 40) as f64;

pub(crate) struct FunctionChains {
    values: Vec<PageAligned<[f64; 2 * LANES]>>,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl FunctionChains {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut values = vec![PageAligned([0.0; 2 * LANES])];
        values[0].0.fill_with(|| near_f64(stream.next_word()));
        Self {
            values,
            running: [0; DIGEST_BYTES],
            steps_done: 0,
        }
    }
}

impl Kernel for FunctionChains {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        for pair in self.values[0].0.as_chunks_mut::<2>().0 {
            let fold = functions_short(functions(*pair), *pair);
            link.update(fold.to_le_bytes());
            *pair = [
                near_f64(fold),
                near_f64(fold.rotate_left(32) ^ pair[0].to_bits()),
            ];
        }
        self.running = link.finalize().into();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.values[0].0.map(f64::to_le_bytes).as_flattened());
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let evaluated = (self.steps_done * (24 * LANES) as u64) as f64;
        vec![("functions_evaluated".to_owned(), evaluated)]
    }
}

/// The fold of all functions of f64. Their arguments are finite, and so are their results.
fn functions([x, y]: [f64; 2]) -> u64 {
    let (far, magnitude) = (x * FAR, x.abs());
    let results = [
        libm::sin(far),
        libm::cos(far),
        libm::tan(y),
        libm::asin(y * 0.5),
        libm::acos(x * 0.5),
        libm::atan2(x, y),
        libm::sinh(x),
        libm::cosh(y),
        libm::tanh(x),
        libm::exp(y),
        libm::exp2(x * 8.0),
        libm::expm1(x),
        libm::log(magnitude),
        libm::log2(magnitude),
        libm::pow(magnitude, y * 16.0),
        libm::cbrt(far),
        libm::hypot(x, y) / (magnitude + 1.0),
        magnitude.sqrt(),
    ];
    results
        .iter()
        .fold(0, |fold, result| fold_in(fold, result.to_bits()))
}

/// The same of f32, from a fold on.
fn functions_short(fold: u64, [x, y]: [f64; 2]) -> u64 {
    let (x, y) = (near_f32(x.to_bits()), near_f32(y.to_bits() ^ fold));
    let results = [
        libm::sinf(x * 1024.0),
        libm::expf(y),
        libm::logf(x.abs()),
        libm::powf(x.abs(), y),
        x.abs().sqrt() / y,
        libm::atanf(y),
    ];
    results.iter().fold(fold, |fold, result| {
        fold_in(fold, u64::from(result.to_bits()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_any_lane_changes_the_digest() {
        for (lane, bit) in [(0, 0), (255, 30), (511, 51)] {
            check_flip(
                4,
                || FunctionChains::new(1),
                |chains| {
                    let value = &mut chains.values[0].0[lane];
                    *value = f64::from_bits(value.to_bits() ^ 1 << bit);
                },
            );
        }
    }

    /// Identities that hold within a few units in the last place: the functions are these.
    #[test]
    fn the_functions_are_what_they_are_called() {
        for word in 0..64_u64 {
            let x = near_f64(word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-14 * (1.0 + a.abs());
            let (sine, cosine) = (libm::sin(x), libm::cos(x));
            assert!(close(sine * sine + cosine * cosine, 1.0));
            assert!(close(libm::log(libm::exp(x)), x));
            assert!(close(libm::cbrt(x).powi(3), x));
            assert!(close(libm::pow(x.abs(), 0.5), x.abs().sqrt()));
            assert!(close(libm::tan(x), sine / cosine));
        }
    }

    #[test]
    fn results_are_finite_all_along() {
        let mut chains = FunctionChains::new(3);
        for _ in 0..16 {
            chains.step();
            assert!(chains.values[0].0.iter().all(|value| value.is_finite()));
        }
    }
}
