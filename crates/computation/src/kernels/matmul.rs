//! `matmul`: a chain of f64 matrix products with plain loops.
//!
//! ```text
//! step:  C       = A · B                  n = 128; multiply, then add, in a fixed order
//!        running = SHA-256( running ‖ C )
//!        A       = C · 2^-k               k brings the largest magnitude into [1, 2)
//!        B      ^= keystream( running )   mantissas only: signs and exponents stay
//! ```
//!
//! Multiply and add are two operations, never fused, and each element's sum runs in one order, so
//! the result is bit-equal on every instruction set. Scaling by a power of two is exact, and keeps
//! the chain bounded however long it is. Mantissas of the operands have high entropy throughout;
//! B's magnitudes span 16 binades. A wrong product that is not finite stays so and shows: nothing
//! is clamped.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "matmul";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "chain of 128 x 128 f64 matrix products, every product hashed",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[Unit::FloatMultiply, Unit::FloatAdd, Unit::LoadStore],
    data_types: &[DataType::F64],
    algorithms: &[Algorithm::MatrixProduct],
    extensions: &[],
    portable: true,
    instructions_per_step: 7_680_000,
    emulation_weight: 12.0,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(ProductChain::start),
};

/// Rows and columns. Three matrices of 128 KiB exceed a first-level cache.
const N: usize = 128;
const ROWS_PER_PAGE: usize = model::PAGE_BYTES / (N * size_of::<f64>());

const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
/// The exponent field of a number in [1, 2).
const EXPONENT_OF_ONE: u64 = 1023;
/// The exponent field of infinities and of what is not a number.
const EXPONENT_NOT_FINITE: u64 = 0x7ff;
/// Magnitudes of B lie in [2^-15, 2).
const BINADES: u64 = 16;

type Row = [f64; N];

/// A page-aligned matrix, in row-major order.
struct Matrix(Vec<PageAligned<[Row; ROWS_PER_PAGE]>>);

impl Matrix {
    fn zero() -> Self {
        Self(vec![
            PageAligned([[0.0; N]; ROWS_PER_PAGE]);
            N / ROWS_PER_PAGE
        ])
    }

    /// Random signs and mantissas; magnitudes over [`BINADES`].
    fn random(stream: &mut Xoshiro256) -> Self {
        let mut matrix = Self::zero();
        for value in matrix.rows_mut().flatten() {
            let exponent = EXPONENT_OF_ONE - stream.next_word() % BINADES;
            let sign_and_mantissa = stream.next_word() & (1 << 63 | MANTISSA);
            *value = f64::from_bits(sign_and_mantissa | exponent << MANTISSA_BITS);
        }
        matrix
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.iter().flat_map(|page| &page.0)
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.0.iter_mut().flat_map(|page| &mut page.0)
    }

    fn hash_into(&self, hasher: &mut Sha256) {
        for row in self.rows() {
            hasher.update(row.map(f64::to_le_bytes).as_flattened());
        }
    }
}

pub(crate) struct ProductChain {
    a: Matrix,
    b: Matrix,
    c: Matrix,
    running: [u8; DIGEST_BYTES],
    /// The sum of all k: what the true product was divided by, as a power of two.
    scaled_binades: i64,
    steps_done: u64,
}

impl ProductChain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        let mut stream = Xoshiro256::from_seed(seed);
        Box::new(Self {
            a: Matrix::random(&mut stream),
            b: Matrix::random(&mut stream),
            c: Matrix::zero(),
            running: [0; DIGEST_BYTES],
            scaled_binades: 0,
            steps_done: 0,
        })
    }
}

impl Kernel for ProductChain {
    fn step(&mut self) {
        multiply(&self.a, &self.b, &mut self.c);
        let mut link = Sha256::new();
        link.update(self.running);
        self.c.hash_into(&mut link);
        self.running = link.finalize().into();
        self.scaled_binades += rescale(&self.c, &mut self.a);
        refresh(&mut self.b, &mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.scaled_binades.to_le_bytes());
        for matrix in [&self.a, &self.b, &self.c] {
            matrix.hash_into(&mut all);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("scaled_binades".to_owned(), self.scaled_binades as f64)]
    }
}

/// C = A · B. Each element is the sum over k, from the first to the last.
fn multiply(a: &Matrix, b: &Matrix, c: &mut Matrix) {
    for (row_a, row_c) in a.rows().zip(c.rows_mut()) {
        row_c.fill(0.0);
        for (factor, row_b) in row_a.iter().zip(b.rows()) {
            for (sum, value) in row_c.iter_mut().zip(row_b) {
                *sum += factor * value;
            }
        }
    }
}

/// A = C · 2^-k with the largest finite magnitude brought into [1, 2); returns k.
fn rescale(c: &Matrix, a: &mut Matrix) -> i64 {
    let largest = c
        .rows()
        .flatten()
        .map(|value| value.to_bits() >> MANTISSA_BITS & EXPONENT_NOT_FINITE)
        .filter(|&exponent| exponent != EXPONENT_NOT_FINITE)
        .max()
        .unwrap_or(EXPONENT_OF_ONE)
        // The factor's own exponent must be that of a normal number.
        .clamp(1, 2 * EXPONENT_OF_ONE - 1);
    let factor = f64::from_bits((2 * EXPONENT_OF_ONE - largest) << MANTISSA_BITS);
    for (scaled, value) in a.rows_mut().flatten().zip(c.rows().flatten()) {
        *scaled = value * factor;
    }
    largest as i64 - EXPONENT_OF_ONE as i64
}

/// XORs the mantissas of B with a keystream.
fn refresh(b: &mut Matrix, stream: &mut Xoshiro256) {
    for value in b.rows_mut().flatten() {
        *value = f64::from_bits(value.to_bits() ^ stream.next_word() & MANTISSA);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    fn chain(seed: u64) -> ProductChain {
        let mut stream = Xoshiro256::from_seed(seed);
        ProductChain {
            a: Matrix::random(&mut stream),
            b: Matrix::random(&mut stream),
            c: Matrix::zero(),
            running: [0; DIGEST_BYTES],
            scaled_binades: 0,
            steps_done: 0,
        }
    }

    #[test]
    fn the_product_is_the_textbook_sum() {
        let ProductChain { a, b, mut c, .. } = chain(3);
        multiply(&a, &b, &mut c);
        let columns: Vec<&Row> = b.rows().collect();
        for (row_a, row_c) in a.rows().zip(c.rows()) {
            for j in 0..N {
                let sum = (0..N).fold(0.0, |sum, k| sum + row_a[k] * columns[k][j]);
                assert_eq!(row_c[j].to_bits(), sum.to_bits());
            }
        }
    }

    #[test]
    fn the_chain_stays_bounded() {
        let mut chain = chain(0);
        for _ in 0..20 {
            chain.step();
            let largest = chain
                .a
                .rows()
                .flatten()
                .fold(0.0_f64, |m, v| m.max(v.abs()));
            assert!((1.0..2.0).contains(&largest), "{largest}");
        }
    }

    #[test]
    fn what_is_not_finite_stays_visible() {
        for wrong in [f64::INFINITY, f64::NAN, f64::MAX, f64::MIN_POSITIVE / 4.0] {
            let mut good = chain(1);
            let mut bad = chain(1);
            bad.a.0[7].0[1][9] = wrong;
            good.step();
            bad.step();
            bad.step();
            good.step();
            assert_ne!(good.digest(), bad.digest(), "{wrong}");
        }
    }
    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        for (page, column, bit) in [(0, 0, 0), (31, 127, 51), (9, 64, 53), (20, 1, 63)] {
            let flip = |value: &mut f64| *value = f64::from_bits(value.to_bits() ^ 1 << bit);
            check_flip(
                4,
                || chain(1),
                |chain| flip(&mut chain.a.0[page].0[2][column]),
            );
            check_flip(
                4,
                || chain(1),
                |chain| flip(&mut chain.b.0[page].0[2][column]),
            );
        }
    }
}
