//! Fused multiply-add over whole slices: the widest vectors that the processor has, or one by one.
//!
//! The result is rounded once, as IEEE 754 says, so that every way comes to the same bits.

/// `value = value · factor + addend`, in f64.
pub(crate) fn multiply_add(values: &mut [f64], factors: &[f64], addends: &[f64]) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has both extensions; the function's body is safe code.
            return unsafe { multiply_add_512(values, factors, addends) };
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { multiply_add_256(values, factors, addends) };
        }
    }
    each(values, factors, addends);
}

/// The same in f32.
pub(crate) fn multiply_add_short(values: &mut [f32], factors: &[f32], addends: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has both extensions; the function's body is safe code.
            return unsafe { multiply_add_short_512(values, factors, addends) };
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { multiply_add_short_256(values, factors, addends) };
        }
    }
    each_short(values, factors, addends);
}

#[inline(always)]
fn each(values: &mut [f64], factors: &[f64], addends: &[f64]) {
    for ((value, factor), addend) in values.iter_mut().zip(factors).zip(addends) {
        *value = value.mul_add(*factor, *addend);
    }
}

#[inline(always)]
fn each_short(values: &mut [f32], factors: &[f32], addends: &[f32]) {
    for ((value, factor), addend) in values.iter_mut().zip(factors).zip(addends) {
        *value = value.mul_add(*factor, *addend);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn multiply_add_512(values: &mut [f64], factors: &[f64], addends: &[f64]) {
    each(values, factors, addends);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_add_256(values: &mut [f64], factors: &[f64], addends: &[f64]) {
    each(values, factors, addends);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn multiply_add_short_512(values: &mut [f32], factors: &[f32], addends: &[f32]) {
    each_short(values, factors, addends);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_add_short_256(values: &mut [f32], factors: &[f32], addends: &[f32]) {
    each_short(values, factors, addends);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operand::{near_f32, near_f64};
    use proptest::prelude::*;

    proptest! {
        /// The C library's and the compiler's one by one, against whatever the processor has.
        #[test]
        fn every_way_comes_to_the_same_bits(words: Vec<[u64; 3]>) {
            let column = |of: usize| words.iter().map(|row| near_f64(row[of])).collect::<Vec<_>>();
            let (mut wide, factors, addends) = (column(0), column(1), column(2));
            let mut single = wide.clone();
            multiply_add(&mut wide, &factors, &addends);
            each(&mut single, &factors, &addends);
            prop_assert_eq!(wide, single);
            let column = |of: usize| words.iter().map(|row| near_f32(row[of])).collect::<Vec<_>>();
            let (mut wide, factors, addends) = (column(0), column(1), column(2));
            let mut single = wide.clone();
            multiply_add_short(&mut wide, &factors, &addends);
            each_short(&mut single, &factors, &addends);
            prop_assert_eq!(wide, single);
        }
    }

    /// 2⁻⁶⁰ would be lost if the product were rounded first.
    #[test]
    fn the_product_is_not_rounded() {
        let small = 2.0_f64.powi(-30);
        let mut values = [1.0 + small; 9];
        multiply_add(&mut values, &[1.0 - small; 9], &[-1.0; 9]);
        assert_eq!(values, [-small * small; 9]);
    }
}
