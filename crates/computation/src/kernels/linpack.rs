//! `linpack`: a dense system of equations by LU decomposition with partial pivoting, in f64.
//!
//! ```text
//! step:  A, b of near numbers, 64 × 64, from keystream( running )
//!        P·A = L·U       largest pivot of each column; multiply and subtract, never fused
//!        x   = U⁻¹·L⁻¹·P·b
//!        r   = b - A·x   against a copy of A; each component's size is judged, and counted
//!        running = SHA-256( running ‖ L and U ‖ the pivots ‖ x ‖ r ‖ rejected )
//! ```
//!
//! In the manner of Dongarra's LINPACK, but exact: the residual itself is a result, to the last bit.
//! The order of all operations is fixed, so that the result is bit-equal everywhere.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::operand::near_f64;
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "linpack";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "LU decomposition and solution of 64 x 64 f64 systems, in the manner of LINPACK",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[
        Unit::FloatMultiply,
        Unit::FloatAdd,
        Unit::FloatDivide,
        Unit::FloatVector,
        Unit::LoadStore,
    ],
    data_types: &[DataType::F64],
    algorithms: &[Algorithm::LinearSolve, Algorithm::LinpackBenchmark],
    extensions: &["sse2"],
    portable: true,
    instructions_per_step: 2_410_000,
    emulation_weight: 1.2,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Systems::start),
};

/// Rows and columns.
const N: usize = 64;
/// Operations of a solution, by the benchmark's own count: 2/3·n³ + 2·n².
const OPERATIONS: u64 = (2 * N * N * N / 3 + 2 * N * N) as u64;
/// A component of the residual beyond this is no rounding: pivots keep growth small.
const RESIDUAL_MAX: f64 = 1e-9;

type Row = [f64; N];
const ROWS_PER_PAGE: usize = model::PAGE_BYTES / size_of::<Row>();
type Matrix = Vec<PageAligned<[Row; ROWS_PER_PAGE]>>;

pub(crate) struct Systems {
    original: Matrix,
    factors: Matrix,
    right: Row,
    solution: Row,
    pivots: [usize; N],
    running: [u8; DIGEST_BYTES],
    /// Components of residuals that were no rounding.
    rejected: u64,
    steps_done: u64,
}

impl Systems {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let zero = || vec![PageAligned([[0.0; N]; ROWS_PER_PAGE]); N / ROWS_PER_PAGE];
        let mut systems = Self {
            original: zero(),
            factors: zero(),
            right: [0.0; N],
            solution: [0.0; N],
            pivots: [0; N],
            running: [0; DIGEST_BYTES],
            rejected: 0,
            steps_done: 0,
        };
        systems.refresh(&mut Xoshiro256::from_seed(seed));
        systems
    }

    /// The next system: near numbers that depend on the last one and on the stream.
    fn refresh(&mut self, stream: &mut Xoshiro256) {
        for value in rows_mut(&mut self.original)
            .flatten()
            .chain(&mut self.right)
        {
            *value = near_f64(value.to_bits() ^ stream.next_word());
        }
    }
}

impl Kernel for Systems {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        // The factors of the last system, while they wait, are alive too.
        absorb(&mut link, rows(&self.factors).flatten());
        self.factors.clone_from(&self.original);
        decompose(&mut self.factors, &mut self.pivots);
        self.solution = solve(&self.factors, &self.pivots, self.right);
        let residual = residual(&self.original, &self.right, &self.solution);
        // What is not a number is not within the limit either.
        let sound = residual.iter().filter(|value| value.abs() <= RESIDUAL_MAX);
        self.rejected += (N - sound.count()) as u64;
        let results = self.solution.iter().chain(&residual);
        absorb(&mut link, rows(&self.factors).flatten().chain(results));
        for pivot in self.pivots {
            link.update((pivot as u64).to_le_bytes());
        }
        link.update(self.rejected.to_le_bytes());
        self.running = link.finalize().into();
        self.refresh(&mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.rejected.to_le_bytes());
        let matrices = rows(&self.original).chain(rows(&self.factors)).flatten();
        absorb(&mut all, matrices.chain(&self.right).chain(&self.solution));
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            (
                "float_operations".to_owned(),
                (self.steps_done * OPERATIONS) as f64,
            ),
            ("residuals_rejected".to_owned(), self.rejected as f64),
        ]
    }
}

fn rows(matrix: &Matrix) -> impl Iterator<Item = &Row> {
    matrix.iter().flat_map(|page| &page.0)
}

fn rows_mut(matrix: &mut Matrix) -> impl Iterator<Item = &mut Row> {
    matrix.iter_mut().flat_map(|page| &mut page.0)
}

fn row(matrix: &Matrix, index: usize) -> &Row {
    &matrix[index / ROWS_PER_PAGE].0[index % ROWS_PER_PAGE]
}

fn row_mut(matrix: &mut Matrix, index: usize) -> &mut Row {
    &mut matrix[index / ROWS_PER_PAGE].0[index % ROWS_PER_PAGE]
}

fn absorb<'a>(hasher: &mut Sha256, values: impl Iterator<Item = &'a f64>) {
    for value in values {
        hasher.update(value.to_le_bytes());
    }
}

/// L and U in place of A; L's diagonal of ones is not stored.
fn decompose(matrix: &mut Matrix, pivots: &mut [usize; N]) {
    for (column, chosen) in pivots.iter_mut().enumerate() {
        let size = |index: &usize| row(matrix, *index)[column].abs();
        // The first of the largest; a row that is not a number is never chosen but by being first.
        let pivot = (column..N).fold(column, |best, index| {
            if size(&index) > size(&best) {
                index
            } else {
                best
            }
        });
        *chosen = pivot;
        let top = *row(matrix, pivot);
        *row_mut(matrix, pivot) = *row(matrix, column);
        *row_mut(matrix, column) = top;
        for below in column + 1..N {
            let target = row_mut(matrix, below);
            let factor = target[column] / top[column];
            target[column] = factor;
            for (value, above) in target.iter_mut().zip(&top).skip(column + 1) {
                *value -= factor * above;
            }
        }
    }
}

/// Forwards through L, then backwards through U.
fn solve(factors: &Matrix, pivots: &[usize; N], mut values: Row) -> Row {
    for (index, pivot) in pivots.iter().enumerate() {
        values.swap(index, *pivot % N);
    }
    for index in 0..N {
        let lower = row(factors, index);
        let sum = (0..index).fold(values[index], |sum, k| sum - lower[k] * values[k]);
        values[index] = sum;
    }
    for index in (0..N).rev() {
        let upper = row(factors, index);
        let sum = (index + 1..N).fold(values[index], |sum, k| sum - upper[k] * values[k]);
        values[index] = sum / upper[index];
    }
    values
}

/// b - A·x.
fn residual(matrix: &Matrix, right: &Row, solution: &Row) -> Row {
    let mut residual = *right;
    for (value, row) in residual.iter_mut().zip(rows(matrix)) {
        *value = row
            .iter()
            .zip(solution)
            .fold(*value, |sum, (a, x)| sum - a * x);
    }
    residual
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn solutions_solve_their_systems() {
        let mut systems = Systems::new(2);
        for _ in 0..32 {
            systems.step();
        }
        assert_eq!(systems.rejected, 0);
        assert!(
            systems
                .pivots
                .iter()
                .enumerate()
                .any(|(index, pivot)| *pivot != index)
        );
    }

    #[test]
    fn a_flipped_bit_in_matrix_or_factors_changes_the_digest() {
        let start = || Systems::new(1);
        for (index, column, bit) in [(0, 0, 0), (31, 40, 51), (63, 63, 30)] {
            let flip = |matrix: &mut Matrix| {
                let value = &mut row_mut(matrix, index)[column];
                *value = f64::from_bits(value.to_bits() ^ 1 << bit);
            };
            check_flip(4, start, |systems| flip(&mut systems.original));
            check_flip(4, start, |systems| flip(&mut systems.factors));
        }
        check_flip(4, start, |systems| systems.right[9] = -systems.right[9]);
    }

    #[test]
    fn a_singular_system_is_rejected_and_no_panic() {
        let mut systems = Systems::new(1);
        rows_mut(&mut systems.original).for_each(|row| row.fill(0.0));
        systems.step();
        assert_eq!(systems.rejected, N as u64);
    }
}
