//! `products`: chains of matrix products in f32, complex f32 and complex f64, with plain loops.
//!
//! ```text
//! step, in each of the three kinds of numbers:
//!        C       = A · B                  n = 48; multiply, then add, in a fixed order
//!        running = SHA-256( running ‖ C )
//!        A       = C · 2^-k               k brings the largest magnitude into [1, 2)
//!        B      ^= keystream( running )   mantissas only: signs and exponents stay
//! ```
//!
//! As in `matmul`, nothing is fused and sums run in one order, so that results are bit-equal on
//! every instruction set; scaling by a power of two is exact but for what becomes denormal.
//! A complex product is four real ones, a difference and a sum: (ac - bd) + (ad + bc)i.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::operand::{near_f32, near_f64};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "products";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "chains of 48 x 48 matrix products in f32, complex f32 and complex f64",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[Unit::FloatMultiply, Unit::FloatAdd, Unit::FloatVector],
    data_types: &[DataType::F32, DataType::ComplexF32, DataType::ComplexF64],
    algorithms: &[Algorithm::MatrixProduct],
    extensions: &["sse2"],
    portable: true,
    instructions_per_step: 3_450_000,
    emulation_weight: 3.8,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Chains::start),
};

/// Rows and columns.
const N: usize = 48;

/// A real number of either width.
trait Real: Copy {
    const ZERO: Self;
    fn near(word: u64) -> Self;
    fn times(self, other: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    /// The binary exponent, as the field of it says; nothing for what is not finite.
    fn binade(self) -> Option<i32>;
    /// Times 2^-k, in steps that are exact.
    fn halved(self, k: i32) -> Self;
    /// With other bits of the mantissa.
    fn masked(self, word: u64) -> Self;
    fn hash_into(self, hasher: &mut Sha256);
}

macro_rules! real {
    ($real:ty, $bits:ty, $mantissa:literal, $bias:literal, $near:path) => {
        impl Real for $real {
            const ZERO: Self = 0.0;
            fn near(word: u64) -> Self {
                $near(word)
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn minus(self, other: Self) -> Self {
                self - other
            }
            fn binade(self) -> Option<i32> {
                let field = (self.to_bits() >> $mantissa) as i32 & (2 * $bias + 1);
                (field != 2 * $bias + 1).then_some(field - $bias)
            }
            fn halved(self, k: i32) -> Self {
                // The factor's own exponent must be that of a normal number.
                let field = ($bias - k).clamp(1, 2 * $bias) as $bits;
                self * Self::from_bits(field << $mantissa)
            }
            fn masked(self, word: u64) -> Self {
                let mantissa: $bits = (1 << $mantissa) - 1;
                Self::from_bits(self.to_bits() ^ (word as $bits & mantissa))
            }
            fn hash_into(self, hasher: &mut Sha256) {
                hasher.update(self.to_le_bytes());
            }
        }
    };
}
real!(f32, u32, 23, 127, near_f32);
real!(f64, u64, 52, 1023, near_f64);

/// A matrix, each part of its numbers by itself: the imaginary one has no rows where they are real.
struct Matrix<T> {
    real: Vec<PageAligned<[[T; N]; N]>>,
    imaginary: Vec<PageAligned<[[T; N]; N]>>,
}

impl<T: Real> Matrix<T> {
    fn random(kind: Kind, stream: &mut Xoshiro256) -> Self {
        let mut part = || {
            let mut part = PageAligned([[T::ZERO; N]; N]);
            for value in part.0.as_flattened_mut() {
                *value = T::near(stream.next_word());
            }
            vec![part]
        };
        Self {
            real: part(),
            imaginary: match kind {
                Kind::Real => Vec::new(),
                Kind::Complex => part(),
            },
        }
    }

    fn parts(&self) -> impl Iterator<Item = &[[T; N]; N]> {
        self.real.iter().chain(&self.imaginary).map(|part| &part.0)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut [[T; N]; N]> {
        let parts = self.real.iter_mut().chain(&mut self.imaginary);
        parts.map(|part| &mut part.0)
    }

    fn hash_into(&self, hasher: &mut Sha256) {
        for value in self.parts().flat_map(|part| part.as_flattened()) {
            value.hash_into(hasher);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Real,
    Complex,
}

/// A chain in one kind of numbers.
struct Chain<T> {
    a: Matrix<T>,
    b: Matrix<T>,
    c: Matrix<T>,
}

impl<T: Real> Chain<T> {
    fn new(kind: Kind, stream: &mut Xoshiro256) -> Self {
        let mut matrix = || Matrix::random(kind, stream);
        Self {
            a: matrix(),
            b: matrix(),
            c: matrix(),
        }
    }

    /// C = A · B. Each element is the sum over k, from the first to the last.
    fn multiply(&mut self) {
        for part in self.c.parts_mut() {
            part.as_flattened_mut().fill(T::ZERO);
        }
        let (a, b, c) = (&self.a, &self.b, &mut self.c);
        let [real_a, real_b] = [a, b].map(|matrix| &matrix.real[0].0);
        let real_c = &mut c.real[0].0;
        let parts = (a.imaginary.first(), b.imaginary.first());
        let (Some(imaginary_a), Some(imaginary_b)) = parts else {
            for (row, k) in pairs() {
                add_row(&mut real_c[row], real_a[row][k], &real_b[k]);
            }
            return;
        };
        let (imaginary_a, imaginary_b) = (&imaginary_a.0, &imaginary_b.0);
        let imaginary_c = &mut c.imaginary[0].0;
        for (row, k) in pairs() {
            let factor = (real_a[row][k], imaginary_a[row][k]);
            let sums = real_c[row].iter_mut().zip(&mut imaginary_c[row]);
            let values = real_b[k].iter().zip(&imaginary_b[k]);
            for ((real, imaginary), (x, y)) in sums.zip(values) {
                *real = real.plus(factor.0.times(*x).minus(factor.1.times(*y)));
                *imaginary = imaginary.plus(factor.0.times(*y).plus(factor.1.times(*x)));
            }
        }
    }

    /// A product; gives what it was divided by, as a power of two.
    fn step(&mut self, running: &mut [u8; DIGEST_BYTES]) -> i32 {
        self.multiply();
        let mut link = Sha256::new();
        link.update(*running);
        self.c.hash_into(&mut link);
        *running = link.finalize().into();
        let values = self.c.parts().flat_map(|part| part.as_flattened());
        let largest = values.filter_map(|value| value.binade()).max().unwrap_or(0);
        for (scaled, values) in self.a.parts_mut().zip(self.c.parts()) {
            let pairs = scaled.as_flattened_mut().iter_mut();
            for (scaled, value) in pairs.zip(values.as_flattened()) {
                *scaled = value.halved(largest);
            }
        }
        let mut stream = Xoshiro256::from_digest(running);
        for value in self.b.parts_mut().flat_map(|part| part.as_flattened_mut()) {
            *value = value.masked(stream.next_word());
        }
        largest
    }

    fn hash_into(&self, hasher: &mut Sha256) {
        for matrix in [&self.a, &self.b, &self.c] {
            matrix.hash_into(hasher);
        }
    }
}

/// Rows of A with their columns, in the order in which sums run.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..N).flat_map(|row| (0..N).map(move |k| (row, k)))
}

fn add_row<T: Real>(sums: &mut [T; N], factor: T, values: &[T; N]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.plus(factor.times(*value));
    }
}

pub(crate) struct Chains {
    single: Chain<f32>,
    complex_single: Chain<f32>,
    complex_double: Chain<f64>,
    running: [u8; DIGEST_BYTES],
    scaled_binades: i64,
    steps_done: u64,
}

impl Chains {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        Self {
            single: Chain::new(Kind::Real, &mut stream),
            complex_single: Chain::new(Kind::Complex, &mut stream),
            complex_double: Chain::new(Kind::Complex, &mut stream),
            running: [0; DIGEST_BYTES],
            scaled_binades: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for Chains {
    fn step(&mut self) {
        let running = &mut self.running;
        let scaled = [
            self.single.step(running),
            self.complex_single.step(running),
            self.complex_double.step(running),
        ];
        self.scaled_binades += scaled.map(i64::from).iter().sum::<i64>();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.scaled_binades.to_le_bytes());
        self.single.hash_into(&mut all);
        self.complex_single.hash_into(&mut all);
        self.complex_double.hash_into(&mut all);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("scaled_binades".to_owned(), self.scaled_binades as f64)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;
    use rustfft::num_complex::Complex;

    #[test]
    fn complex_products_are_the_textbook_sums() {
        let mut chain = Chains::new(3).complex_double;
        chain.multiply();
        let at = |matrix: &Matrix<f64>, row: usize, column: usize| {
            let [real, imaginary] =
                [&matrix.real, &matrix.imaginary].map(|part| part[0].0[row][column]);
            Complex::new(real, imaginary)
        };
        for (row, column) in pairs() {
            let products = (0..N).map(|k| at(&chain.a, row, k) * at(&chain.b, k, column));
            let sum = products.fold(Complex::new(0.0, 0.0), |sum, product| sum + product);
            assert_eq!(at(&chain.c, row, column), sum);
        }
    }

    #[test]
    fn every_chain_stays_bounded() {
        let mut chains = Chains::new(0);
        for _ in 0..20 {
            chains.step();
            let parts = chains.complex_single.a.parts();
            let largest = parts
                .flatten()
                .flatten()
                .fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!((1.0..2.0).contains(&largest), "{largest}");
            let parts = chains.single.a.parts();
            let largest = parts
                .flatten()
                .flatten()
                .fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!((1.0..2.0).contains(&largest), "{largest}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        let start = || Chains::new(1);
        let single =
            |value: &mut f32, bit: u32| *value = f32::from_bits(value.to_bits() ^ 1 << bit);
        for (row, column, bit) in [(0, 0, 0), (47, 47, 31), (9, 20, 22)] {
            check_flip(4, start, |all| {
                single(&mut all.single.a.real[0].0[row][column], bit);
            });
            check_flip(4, start, |all| {
                single(&mut all.complex_single.b.imaginary[0].0[row][column], bit);
            });
        }
        check_flip(4, start, |all| {
            let value = &mut all.complex_double.a.imaginary[0].0[5][6];
            *value = f64::from_bits(value.to_bits() ^ 1);
        });
    }
}
