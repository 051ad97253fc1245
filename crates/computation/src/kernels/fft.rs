//! `fft`: a chain of f64 Fourier transforms, there and back, every bit folded.
//!
//! ```text
//! step:  data     = FFT( data )                        4096 complex points
//!        fold    <- every word of data
//!        data     = inverse FFT( data ) · 2^-12
//!        fold    <- every word of data
//!        running  = SHA-256( running ‖ fold )
//!        data    ^= keystream( running )               mantissas only: signs and exponents stay
//! ```
//!
//! The algorithm is named, not planned, and scalar: no vector or fused operations, so that the sums
//! are the same on every instruction set. The factors come from the C library's sine and cosine, whose variants for
//! processors with and without fused multiply-add agree for this size, as the shipped digests show
//! on both. Scaling by a power of two is exact. There and back gives the data again but for
//! rounding, so magnitudes stay, and mantissas have high entropy throughout.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher, linked};
use crate::random::Xoshiro256;
use rustfft::algorithm::Radix4;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection};
use sha2::Digest as _;

const NAME: &str = "fft";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "chain of 4096-point f64 Fourier transforms, there and back, every bit folded",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[Unit::FloatMultiply, Unit::FloatAdd, Unit::LoadStore],
    data_types: &[DataType::F64, DataType::ComplexF64],
    algorithms: &[Algorithm::Fourier],
    extensions: &[],
    portable: true,
    instructions_per_step: 1_710_000,
    emulation_weight: 2.2,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(TransformChain::start),
};

/// Points of a transform: 64 KiB, beyond a first-level cache.
const POINTS: usize = 1 << POINTS_LOG2;
const POINTS_LOG2: u32 = 12;
/// What the inverse leaves to be divided by.
const SCALE: f64 = 1.0 / POINTS as f64;

const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
/// The exponent field of a number in [1, 2).
const EXPONENT_OF_ONE: u64 = 1023;
/// Magnitudes of the first data lie in [2^-7, 2): near enough that no addend vanishes in a sum.
const BINADES: u64 = 8;

type Points = PageAligned<[Complex<f64>; POINTS]>;

pub(crate) struct TransformChain {
    data: Vec<Points>,
    scratch: Vec<Complex<f64>>,
    forward: Radix4<f64>,
    inverse: Radix4<f64>,
    fold: u64,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl TransformChain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let forward = Radix4::new(POINTS, FftDirection::Forward);
        let inverse = Radix4::new(POINTS, FftDirection::Inverse);
        let scratch = forward
            .get_inplace_scratch_len()
            .max(inverse.get_inplace_scratch_len());
        let mut data = vec![PageAligned([Complex::new(0.0, 0.0); POINTS])];
        let mut stream = Xoshiro256::from_seed(seed);
        for point in &mut data[0].0 {
            *point = Complex::new(random(&mut stream), random(&mut stream));
        }
        Self {
            data,
            scratch: vec![Complex::new(0.0, 0.0); scratch],
            forward,
            inverse,
            fold: 0,
            running: [0; DIGEST_BYTES],
            steps_done: 0,
        }
    }
}

impl Kernel for TransformChain {
    fn step(&mut self) {
        let data = &mut self.data[0].0;
        self.forward.process_with_scratch(data, &mut self.scratch);
        self.fold = fold_points(self.fold, data);
        self.inverse.process_with_scratch(data, &mut self.scratch);
        for point in data.iter_mut() {
            *point *= SCALE;
        }
        self.fold = fold_points(self.fold, data);
        self.running = linked(&self.running, &self.fold.to_le_bytes());
        refresh(data, &mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.fold.to_le_bytes());
        for point in &self.data[0].0 {
            all.update(point.re.to_le_bytes());
            all.update(point.im.to_le_bytes());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let transforms = self.steps_done as f64 * 2.0;
        vec![("transforms".to_owned(), transforms)]
    }
}

/// A random sign and mantissa, a magnitude over [`BINADES`].
fn random(stream: &mut Xoshiro256) -> f64 {
    let exponent = EXPONENT_OF_ONE - stream.next_word() % BINADES;
    let sign_and_mantissa = stream.next_word() & (1 << 63 | MANTISSA);
    f64::from_bits(sign_and_mantissa | exponent << MANTISSA_BITS)
}

fn fold_points(fold: u64, points: &[Complex<f64>]) -> u64 {
    points.iter().fold(fold, |fold, point| {
        fold_in(fold_in(fold, point.re.to_bits()), point.im.to_bits())
    })
}

/// XORs the mantissas of normal numbers with a keystream. Zeros, infinities and what is not a
/// number stay what they are, and show.
fn refresh(points: &mut [Complex<f64>], stream: &mut Xoshiro256) {
    for point in points {
        for value in [&mut point.re, &mut point.im] {
            let mask = stream.next_word() & MANTISSA;
            if value.is_normal() {
                *value = f64::from_bits(value.to_bits() ^ mask);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn the_transform_of_one_pulse_is_a_wave() {
        let mut chain = TransformChain::new(0);
        let data = &mut chain.data[0].0;
        data.fill(Complex::new(0.0, 0.0));
        data[1] = Complex::new(1.0, 0.0);
        chain.forward.process_with_scratch(data, &mut chain.scratch);
        for (index, point) in data.iter().enumerate() {
            let angle = -std::f64::consts::TAU * index as f64 / POINTS as f64;
            let error = (point - Complex::new(angle.cos(), angle.sin())).norm();
            assert!(error < 1e-15, "point {index}: {error}");
        }
    }

    #[test]
    fn magnitudes_stay_however_long_the_chain_is() {
        let mut chain = TransformChain::new(7);
        for _ in 0..100 {
            chain.step();
        }
        let values = chain.data[0]
            .0
            .iter()
            .flat_map(|point| [point.re, point.im]);
        let normal = values.filter(|value| value.is_normal() && value.abs() < 4.0);
        assert!(normal.count() > 2 * POINTS - 4);
    }

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        // The lowest bit of a mantissa, the highest, an exponent's, the sign.
        for (point, bit) in [(0, 0), (4095, 0), (2048, 51), (77, 53), (1000, 63)] {
            let flip = |chain: &mut TransformChain| {
                let value = &mut chain.data[0].0[point].im;
                *value = f64::from_bits(value.to_bits() ^ 1 << bit);
            };
            check_flip(4, || TransformChain::new(1), flip);
        }
    }
}
