//! The decompositions themselves, for f64 and f32 alike.

use crate::operand::{near_f32, near_f64};
use std::ops::{Add, Div, Mul, Sub};

/// Rows and columns of a dense matrix.
pub(super) const N: usize = 16;
/// Points of the grid in one direction.
pub(super) const GRID: usize = 16;
/// Sweeps over all pairs of columns: columns of 16 are orthogonal to some digits then.
const SWEEPS: usize = 3;
/// Rounds of conjugate gradients: the residual is small then, and not yet nothing but rounding.
const ROUNDS: usize = 24;

pub(super) type Square<F> = [[F; N]; N];
pub(super) type Grid<F> = [[F; GRID]; GRID];

/// What is asked of a type of floating-point numbers. Every operation is rounded by itself.
pub(super) trait Float:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    /// What is added to the diagonal, as a power of two: exact.
    const DIAGONAL: Self;
    fn near(word: u64) -> Self;
    fn word(self) -> u64;
    fn root(self) -> Self;
    fn size(self) -> Self;
}

macro_rules! float {
    ($type:ty, $near:path) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const DIAGONAL: Self = 16.0;
            fn near(word: u64) -> Self {
                $near(word)
            }
            fn word(self) -> u64 {
                self.to_bits().into()
            }
            fn root(self) -> Self {
                self.sqrt()
            }
            fn size(self) -> Self {
                self.abs()
            }
        }
    };
}

float!(f64, near_f64);
float!(f32, near_f32);

/// Aᵀ·A + 16·I: symmetric, and far from singular.
pub(super) fn gram<F: Float>(matrix: &Square<F>) -> Square<F> {
    let mut gram = [[F::ZERO; N]; N];
    for (i, line) in gram.iter_mut().enumerate() {
        for (j, sum) in line.iter_mut().enumerate() {
            let first = if i == j { F::DIAGONAL } else { F::ZERO };
            *sum = matrix.iter().fold(first, |sum, row| sum + row[i] * row[j]);
        }
    }
    gram
}

/// L, with L·Lᵀ the matrix.
pub(super) fn cholesky<F: Float>(matrix: &Square<F>) -> Square<F> {
    let mut lower = [[F::ZERO; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let sum = (0..j).fold(matrix[i][j], |sum, k| sum - lower[i][k] * lower[j][k]);
            lower[i][j] = if i == j {
                sum.root()
            } else {
                sum / lower[j][j]
            };
        }
    }
    lower
}

/// One-sided Jacobi rotations (Hestenes): leaves U·S in place of A, and returns V.
pub(super) fn rotate<F: Float>(matrix: &mut Square<F>) -> Square<F> {
    let mut vectors = [[F::ZERO; N]; N];
    for (index, row) in vectors.iter_mut().enumerate() {
        row[index] = F::ONE;
    }
    for _ in 0..SWEEPS {
        for p in 0..N - 1 {
            for q in p + 1..N {
                let (cosine, sine) = rotation(matrix, p, q);
                turn(matrix, p, q, cosine, sine);
                turn(&mut vectors, p, q, cosine, sine);
            }
        }
    }
    vectors
}

/// The rotation that makes two columns orthogonal.
fn rotation<F: Float>(matrix: &Square<F>, p: usize, q: usize) -> (F, F) {
    let start = (F::ZERO, F::ZERO, F::ZERO);
    let (one, other, both) = matrix.iter().fold(start, |(one, other, both), row| {
        (
            one + row[p] * row[p],
            other + row[q] * row[q],
            both + row[p] * row[q],
        )
    });
    if both == F::ZERO {
        return (F::ONE, F::ZERO);
    }
    let slope = (other - one) / (both + both);
    let tangent = F::ONE / (slope.size() + (F::ONE + slope * slope).root());
    let tangent = if slope < F::ZERO {
        F::ZERO - tangent
    } else {
        tangent
    };
    let cosine = F::ONE / (F::ONE + tangent * tangent).root();
    (cosine, cosine * tangent)
}

fn turn<F: Float>(matrix: &mut Square<F>, p: usize, q: usize, cosine: F, sine: F) {
    for row in matrix {
        let (one, other) = (row[p], row[q]);
        row[p] = cosine * one - sine * other;
        row[q] = sine * one + cosine * other;
    }
}

/// The matrix of the grid times a vector: five times a point less its neighbours.
fn tie<F: Float>(values: &Grid<F>) -> Grid<F> {
    let mut tied = *values;
    let five = F::ONE + F::ONE + F::ONE + F::ONE + F::ONE;
    let at = |i: usize, j: usize| {
        values
            .get(i)
            .and_then(|row| row.get(j))
            .copied()
            .unwrap_or(F::ZERO)
    };
    for (i, row) in tied.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let above = at(i.wrapping_sub(1), j) + at(i + 1, j);
            let beside = at(i, j.wrapping_sub(1)) + at(i, j + 1);
            *value = five * *value - above - beside;
        }
    }
    tied
}

/// x with M·x = b, by a fixed number of rounds (Hestenes and Stiefel).
pub(super) fn conjugate_gradients<F: Float>(right: &Grid<F>) -> Grid<F> {
    let mut solution = [[F::ZERO; GRID]; GRID];
    let (mut residual, mut direction) = (*right, *right);
    let mut square = dot(&residual, &residual);
    for _ in 0..ROUNDS {
        let tied = tie(&direction);
        let step = square / dot(&direction, &tied);
        add(&mut solution, step, &direction);
        add(&mut residual, F::ZERO - step, &tied);
        let next = dot(&residual, &residual);
        let share = next / square;
        square = next;
        for (to, from) in flat_mut(&mut direction).zip(residual.as_flattened()) {
            *to = *from + share * *to;
        }
    }
    solution
}

fn dot<F: Float>(one: &Grid<F>, other: &Grid<F>) -> F {
    let pairs = one.as_flattened().iter().zip(other.as_flattened());
    pairs.fold(F::ZERO, |sum, (a, b)| sum + *a * *b)
}

fn add<F: Float>(to: &mut Grid<F>, factor: F, values: &Grid<F>) {
    for (to, value) in flat_mut(to).zip(values.as_flattened()) {
        *to = *to + factor * *value;
    }
}

fn flat_mut<F>(grid: &mut Grid<F>) -> impl Iterator<Item = &mut F> {
    grid.as_flattened_mut().iter_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Xoshiro256;

    fn matrix(seed: u64) -> Square<f64> {
        let mut stream = Xoshiro256::from_seed(seed);
        [[(); N]; N].map(|row| row.map(|()| near_f64(stream.next_word())))
    }

    #[test]
    fn the_factor_times_itself_is_the_matrix() {
        let gram = gram(&matrix(1));
        let lower = cholesky(&gram);
        for i in 0..N {
            for j in 0..N {
                let product: f64 = (0..N).map(|k| lower[i][k] * lower[j][k]).sum();
                assert!((product - gram[i][j]).abs() < 1e-12, "{i} {j}");
            }
        }
    }

    #[test]
    fn rotated_columns_are_near_orthogonal_and_of_the_same_matrix() {
        let original = matrix(2);
        let mut rotated = original;
        let vectors = rotate(&mut rotated);
        let column = |m: &Square<f64>, p: usize, q: usize| -> f64 {
            m.iter().map(|row| row[p] * row[q]).sum()
        };
        let (mut before, mut after) = (0.0, 0.0);
        for p in 0..N {
            assert!((column(&vectors, p, p) - 1.0).abs() < 1e-12);
            for q in 0..p {
                before += column(&original, p, q).powi(2);
                after += column(&rotated, p, q).powi(2);
                assert!(column(&vectors, p, q).abs() < 1e-12);
            }
            for (row, line) in original.iter().zip(&rotated) {
                let product: f64 = (0..N).map(|k| row[k] * vectors[k][p]).sum();
                assert!((product - line[p]).abs() < 1e-12);
            }
        }
        assert!(after < before * 1e-3, "{before} to {after}");
    }

    #[test]
    fn the_sparse_solution_solves() {
        let mut stream = Xoshiro256::from_seed(3);
        let right = [[(); GRID]; GRID].map(|row| row.map(|()| near_f64(stream.next_word())));
        let solution = conjugate_gradients(&right);
        let tied = tie(&solution);
        for (value, wanted) in tied.as_flattened().iter().zip(right.as_flattened()) {
            assert!((value - wanted).abs() < 1e-5);
        }
    }
}
