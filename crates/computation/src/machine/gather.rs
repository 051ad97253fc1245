//! Indexed loads: one by one, or by VPGATHER where the processor has it.

/// Words that are loaded at once.
pub(crate) const LANES: usize = 8;

/// `table[ index mod size ]` for each index, where size is the greatest power of two that the table
/// holds; zeros of an empty table.
pub(crate) fn gather(table: &[u64], indices: &[u32; LANES]) -> [u64; LANES] {
    let Some(power) = table.len().checked_ilog2().filter(|power| *power < 32) else {
        return [0; LANES];
    };
    let mask = u32::MAX.checked_shr(32 - power).unwrap_or(0);
    let places = indices.map(|index| index & mask);
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the mask is below the table's length and has at most 31
        // bits, so every place is one of the table, and a positive 32-bit integer.
        return unsafe { by_vector(table, &places) };
    }
    one_by_one(table, &places)
}

/// The same, one by one: what a gather is held against.
pub(crate) fn one_by_one(table: &[u64], places: &[u32; LANES]) -> [u64; LANES] {
    places.map(|place| table.get(place as usize).copied().unwrap_or_default())
}

/// # Safety
/// Each place is below the table's length, and not above `i32::MAX`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn by_vector(table: &[u64], places: &[u32; LANES]) -> [u64; LANES] {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_i32gather_epi64, _mm256_storeu_si256};
    let mut found = [0; LANES];
    let halves = places
        .as_chunks::<4>()
        .0
        .iter()
        .zip(found.as_chunks_mut::<4>().0);
    for (places, found) in halves {
        // SAFETY: four 32-bit places are read, four words written, which the arrays hold; the
        // words between are inside the table, as the caller promises.
        unsafe {
            let places = _mm_loadu_si128(places.as_ptr().cast());
            let words = _mm256_i32gather_epi64::<8>(table.as_ptr().cast(), places);
            _mm256_storeu_si256(found.as_mut_ptr().cast(), words);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_come_from_where_they_were_asked(indices: [u32; LANES], size in 0_u32..12) {
            let table: Vec<u64> = (0..1_u64 << size).map(|index| index * 3 + 1).collect();
            let found = gather(&table, &indices);
            for (index, found) in indices.iter().zip(found) {
                let place = u64::from(*index) % (1 << size);
                prop_assert_eq!(found, place * 3 + 1);
            }
        }

        /// Whatever the length, nothing beyond the table is read.
        #[test]
        fn no_length_leads_beyond(indices: [u32; LANES], length in 0_usize..70) {
            let table = vec![7; length];
            let found = gather(&table, &indices);
            prop_assert!(found.iter().all(|word| *word == 7 || length == 0));
        }
    }
}
