//! The 4 × 4 integer transform of H.264, its quantisation, and both backwards.
//!
//! Formulas and tables: ITU-T H.264 (8.5.12); the forward direction, which the standard leaves to
//! encoders, as in Malvar et al., *Low-Complexity Transform and Quantization in H.264/AVC* (2003).

/// A block of residuals or of coefficients, row by row.
pub(super) type Block = [i32; 16];

/// The order in which coefficients are written: from low frequencies to high ones.
pub(super) const ZIGZAG: [usize; 16] = [0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15];

/// Factors of quantisation by the parameter modulo 6, for coefficients where row and column are
/// even, where both are odd, and for the others.
const FORWARD: [[i32; 3]; 6] = [
    [13_107, 5243, 8066],
    [11_916, 4660, 7490],
    [10_082, 4194, 6554],
    [9362, 3647, 5825],
    [8192, 3355, 5243],
    [7282, 2893, 4559],
];
const BACKWARD: [[i32; 3]; 6] = [
    [10, 16, 13],
    [11, 18, 14],
    [13, 20, 16],
    [14, 23, 18],
    [16, 25, 20],
    [18, 29, 23],
];

/// Which of three factors a coefficient takes.
const fn kind(at: usize) -> usize {
    match (at / 4 % 2, at % 2) {
        (0, 0) => 0,
        (1, 1) => 1,
        _ => 2,
    }
}

fn both_ways(block: &mut Block, line: fn([i32; 4]) -> [i32; 4]) {
    for row in block.as_chunks_mut().0 {
        *row = line(*row);
    }
    for column in 0..4 {
        let values = line(std::array::from_fn(|row| block[row * 4 + column]));
        for (row, value) in values.into_iter().enumerate() {
            block[row * 4 + column] = value;
        }
    }
}

/// Residuals to coefficients.
pub(super) fn forward(block: &mut Block) {
    both_ways(block, |[a, b, c, d]| {
        let (sum, difference) = ([a + d, b + c], [a - d, b - c]);
        [
            sum[0] + sum[1],
            2 * difference[0] + difference[1],
            sum[0] - sum[1],
            difference[0] - 2 * difference[1],
        ]
    });
}

/// Coefficients, scaled by 64, to residuals. Wrong ones may be of any size: sums wrap.
pub(super) fn backward(block: &mut Block) {
    both_ways(block, |[a, b, c, d]| {
        let (even, odd) = (
            [a.wrapping_add(c), a.wrapping_sub(c)],
            [(b >> 1).wrapping_sub(d), b.wrapping_add(d >> 1)],
        );
        [
            even[0].wrapping_add(odd[1]),
            even[1].wrapping_add(odd[0]),
            even[1].wrapping_sub(odd[0]),
            even[0].wrapping_sub(odd[1]),
        ]
    });
    for value in block {
        *value = value.wrapping_add(32) >> 6;
    }
}

/// Coefficients to levels; what is below a step's sixth rounds to none, as for predicted blocks.
pub(super) fn quantise(block: &mut Block, parameter: u32) {
    let shift = 15 + parameter / 6;
    let rounding = (1 << shift) / 6;
    for (at, value) in block.iter_mut().enumerate() {
        let factor = FORWARD[parameter as usize % 6][kind(at)];
        let level = (value.abs() * factor + rounding) >> shift;
        *value = level * value.signum();
    }
}

/// Levels to coefficients, scaled by 64.
pub(super) fn scale(block: &mut Block, parameter: u32) {
    for (at, value) in block.iter_mut().enumerate() {
        let factor = BACKWARD[parameter as usize % 6][kind(at)];
        *value = value.wrapping_mul(factor).wrapping_shl(parameter / 6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_level_block_has_one_coefficient_and_the_zigzag_names_each_once() {
        let mut block = [7; 16];
        forward(&mut block);
        assert_eq!(block[0], 16 * 7);
        assert!(block[1..].iter().all(|value| *value == 0));
        let mut order = ZIGZAG;
        order.sort_unstable();
        assert_eq!(order, std::array::from_fn(|at| at));
    }

    proptest! {
        #[test]
        fn a_block_comes_back_within_a_step(residuals: [i16; 16], parameter in 0_u32..40) {
            let block = residuals.map(|value| i32::from(value % 256));
            let mut coded = block;
            forward(&mut coded);
            quantise(&mut coded, parameter);
            scale(&mut coded, parameter);
            backward(&mut coded);
            // The step doubles with every 6; it is 0.625 at 0. Four coefficients' errors add up.
            let bound = 2 + (3 << (parameter / 6));
            for (before, after) in block.iter().zip(coded) {
                prop_assert!((before - after).abs() <= bound, "{before} {after}");
            }
        }

        #[test]
        fn any_levels_are_taken(mut levels: [i32; 16], parameter in 0_u32..52) {
            scale(&mut levels, parameter);
            backward(&mut levels);
        }
    }
}
