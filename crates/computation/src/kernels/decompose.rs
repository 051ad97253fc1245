//! `decompose`: singular values by Jacobi rotations, Cholesky decompositions, and a sparse system by
//! conjugate gradients, in f64 and f32.
//!
//! ```text
//! step:  A = near numbers from keystream( running ), 16 × 16, once in f64 and once in f32
//!        A·V = U·S    three sweeps of one-sided rotations over all pairs of columns
//!        G = Aᵀ·A + 16·I;  G = L·Lᵀ
//!        M·x = b      M sparse: a grid of 16 × 16 points, each tied to its neighbours; 24 rounds
//!        running = SHA-256( running ‖ A·V and V ‖ L ‖ x and its residual )
//! ```
//!
//! Divisions and square roots among products and sums. They are exactly defined, their order is
//! fixed, and nothing is fused: the result is bit-equal everywhere. Sweeps and rounds are counted,
//! not tested for convergence, so that no branch depends on the last bit of a value.

mod float;

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::random::Xoshiro256;
use float::{Float, GRID, Grid, N, Square};
use sha2::{Digest as _, Sha256};

const NAME: &str = "decompose";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "singular values, Cholesky decompositions and a sparse solution, in f64 and f32",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[
        Unit::FloatDivide,
        Unit::FloatMultiply,
        Unit::FloatAdd,
        Unit::LoadStore,
    ],
    data_types: &[DataType::F64, DataType::F32],
    algorithms: &[
        Algorithm::SingularValues,
        Algorithm::JacobiRotations,
        Algorithm::Cholesky,
        Algorithm::SparseSolve,
    ],
    extensions: &["sse2"],
    portable: true,
    instructions_per_step: 1_650_000,
    emulation_weight: 1.5,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Decompositions::start),
};

/// A matrix and a right-hand side of one type, and what they last came to.
struct Problem<F> {
    matrix: Square<F>,
    vectors: Square<F>,
    factor: Square<F>,
    right: Grid<F>,
    solution: Grid<F>,
}

impl<F: Float> Problem<F> {
    fn new(stream: &mut Xoshiro256) -> Self {
        let (square, grid) = ([[F::ONE; N]; N], [[F::ONE; GRID]; GRID]);
        let mut problem = Self {
            matrix: square,
            vectors: square,
            factor: square,
            right: grid,
            solution: grid,
        };
        problem.refresh(stream);
        problem
    }

    /// Near numbers that depend on all that the last step came to.
    fn refresh(&mut self, stream: &mut Xoshiro256) {
        let values = self.matrix.as_flattened_mut().iter_mut();
        for value in values.chain(self.right.as_flattened_mut()) {
            *value = F::near(value.word() ^ stream.next_word());
        }
    }

    fn advance(&mut self, link: &mut Sha256) {
        self.absorb(link);
        self.factor = float::cholesky(&float::gram(&self.matrix));
        self.vectors = float::rotate(&mut self.matrix);
        self.solution = float::conjugate_gradients(&self.right);
        self.absorb(link);
    }

    fn absorb(&self, hasher: &mut Sha256) {
        let squares = [&self.matrix, &self.vectors, &self.factor];
        let grids = [&self.right, &self.solution];
        let squares = squares.iter().flat_map(|square| square.as_flattened());
        for value in squares.chain(grids.iter().flat_map(|grid| grid.as_flattened())) {
            hasher.update(value.word().to_le_bytes());
        }
    }
}

pub(crate) struct Decompositions {
    double: Problem<f64>,
    single: Problem<f32>,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl Decompositions {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        Self {
            double: Problem::new(&mut stream),
            single: Problem::new(&mut stream),
            running: [0; DIGEST_BYTES],
            steps_done: 0,
        }
    }
}

impl Kernel for Decompositions {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        self.double.advance(&mut link);
        self.single.advance(&mut link);
        self.running = link.finalize().into();
        let mut stream = Xoshiro256::from_digest(&self.running);
        self.double.refresh(&mut stream);
        self.single.refresh(&mut stream);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        self.double.absorb(&mut all);
        self.single.absorb(&mut all);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("decompositions".to_owned(), (self.steps_done * 4) as f64)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_anything_changes_the_digest() {
        let start = || Decompositions::new(1);
        let flip = |value: &mut f64| *value = f64::from_bits(value.to_bits() ^ 1);
        check_flip(4, start, |all| flip(&mut all.double.matrix[3][4]));
        check_flip(4, start, |all| flip(&mut all.double.vectors[15][0]));
        check_flip(4, start, |all| flip(&mut all.double.factor[9][2]));
        check_flip(4, start, |all| flip(&mut all.double.right[7][7]));
        check_flip(4, start, |all| flip(&mut all.double.solution[0][15]));
        check_flip(4, start, |all| {
            let value = &mut all.single.matrix[1][1];
            *value = f32::from_bits(value.to_bits() ^ 1);
        });
    }
}
