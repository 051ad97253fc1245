//! Ways to copy bytes and to fill them: the library's, string instructions, vectors of each width,
//! and stores around the cache.

/// A way to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The C library's, which chooses among its own.
    Library,
    /// REP MOVSB.
    StringBytes,
    /// REP MOVSQ, and MOVSB for the rest.
    StringWords,
    /// 16 bytes at a time.
    Vector128,
    /// 32 bytes at a time, where there is AVX.
    Vector256,
    /// 64 bytes at a time, where there is AVX-512.
    Vector512,
    /// MOVNTI, word by word.
    AroundCache,
    /// From the line that was flushed before, with the next one fetched ahead.
    Flushed,
}

impl Way {
    pub(crate) const ALL: [Self; 8] = [
        Self::Library,
        Self::StringBytes,
        Self::StringWords,
        Self::Vector128,
        Self::Vector256,
        Self::Vector512,
        Self::AroundCache,
        Self::Flushed,
    ];
}

/// Copies as many bytes as the shorter of both has. Where the processor lacks what a way needs, the
/// library copies.
#[cfg(target_arch = "x86_64")]
pub(crate) fn copy(way: Way, from: &[u8], to: &mut [u8]) {
    let length = from.len().min(to.len());
    let (from, to) = (&from[..length], &mut to[..length]);
    match way {
        Way::StringBytes => string_bytes(from, to),
        Way::StringWords => string_words(from, to),
        Way::Vector128 => vector_128(from, to),
        Way::Vector256 if std::is_x86_feature_detected!("avx") => {
            // SAFETY: the processor has AVX.
            unsafe { vector_256(from, to) }
        }
        Way::Vector512 if std::is_x86_feature_detected!("avx512f") => {
            // SAFETY: the processor has AVX-512.
            unsafe { vector_512(from, to) }
        }
        Way::AroundCache => around_cache(from, to),
        Way::Flushed => flushed(from, to),
        Way::Library | Way::Vector256 | Way::Vector512 => to.copy_from_slice(from),
    }
}

/// Elsewhere the library copies.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn copy(_way: Way, from: &[u8], to: &mut [u8]) {
    let length = from.len().min(to.len());
    to[..length].copy_from_slice(&from[..length]);
}

/// Fills by REP STOSB.
pub(crate) fn fill(bytes: &mut [u8], value: u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: writes as many bytes as the slice has, from its beginning on; the direction flag is
    // clear on entry.
    unsafe {
        std::arch::asm!(
            "rep stosb",
            inout("rcx") bytes.len() => _,
            inout("rdi") bytes.as_mut_ptr() => _,
            in("al") value,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    bytes.fill(value);
}

#[cfg(target_arch = "x86_64")]
fn string_bytes(from: &[u8], to: &mut [u8]) {
    // SAFETY: both have the same length, and cannot overlap, since one is borrowed mutably.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") from.len() => _,
            inout("rsi") from.as_ptr() => _,
            inout("rdi") to.as_mut_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(target_arch = "x86_64")]
fn string_words(from: &[u8], to: &mut [u8]) {
    let words = from.len() / size_of::<u64>();
    let (head, rest) = from.split_at(words * size_of::<u64>());
    let (to_head, to_rest) = to.split_at_mut(head.len());
    // SAFETY: moves so many whole words, which both heads hold.
    unsafe {
        std::arch::asm!(
            "rep movsq",
            inout("rcx") words => _,
            inout("rsi") head.as_ptr() => _,
            inout("rdi") to_head.as_mut_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
    string_bytes(rest, to_rest);
}

#[cfg(target_arch = "x86_64")]
fn vector_128(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm_storeu_si128};
    let (from, rest) = from.as_chunks::<16>();
    let (to, to_rest) = to.as_chunks_mut::<16>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: 16 bytes are read and written, which both arrays have; every x86-64 processor
        // has SSE2.
        unsafe {
            _mm_storeu_si128(
                to.as_mut_ptr().cast(),
                _mm_loadu_si128(from.as_ptr().cast()),
            );
        }
    }
    string_bytes(rest, to_rest);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
fn vector_256(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm256_storeu_si256};
    let (from, rest) = from.as_chunks::<32>();
    let (to, to_rest) = to.as_chunks_mut::<32>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: 32 bytes are read and written, which both arrays have.
        unsafe {
            _mm256_storeu_si256(
                to.as_mut_ptr().cast(),
                _mm256_loadu_si256(from.as_ptr().cast()),
            );
        }
    }
    string_bytes(rest, to_rest);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn vector_512(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_storeu_si512};
    let (from, rest) = from.as_chunks::<64>();
    let (to, to_rest) = to.as_chunks_mut::<64>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: 64 bytes are read and written, which both arrays have.
        unsafe {
            _mm512_storeu_si512(
                to.as_mut_ptr().cast(),
                _mm512_loadu_si512(from.as_ptr().cast()),
            );
        }
    }
    string_bytes(rest, to_rest);
}

#[cfg(target_arch = "x86_64")]
fn around_cache(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{_mm_sfence, _mm_stream_si64};
    let (from, rest) = from.as_chunks::<8>();
    let (to, to_rest) = to.as_chunks_mut::<8>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: 8 bytes are written, which the array has; MOVNTI asks for no alignment.
        unsafe { _mm_stream_si64(to.as_mut_ptr().cast(), i64::from_le_bytes(*from)) }
    }
    // Such stores are seen in order again only after a fence.
    // SAFETY: every x86-64 processor has it.
    unsafe { _mm_sfence() }
    string_bytes(rest, to_rest);
}

#[cfg(target_arch = "x86_64")]
fn flushed(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_clflush, _mm_mfence, _mm_prefetch};
    /// Bytes of a cache line.
    const LINE: usize = 64;
    for line in from.chunks(LINE) {
        // SAFETY: an address of the slice; a flush changes nothing that can be read.
        unsafe { _mm_clflush(line.as_ptr()) }
    }
    // SAFETY: every x86-64 processor has it.
    unsafe { _mm_mfence() }
    let ahead = from.chunks(LINE).skip(1).chain([&[][..]]);
    for ((from, ahead), to) in from.chunks(LINE).zip(ahead).zip(to.chunks_mut(LINE)) {
        // SAFETY: a hint, that may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.as_ptr().cast()) }
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_way_copies_all_bytes_and_no_other(
            from in proptest::collection::vec(any::<u8>(), 0..700),
            before in 0_usize..70,
            after in 0_usize..70,
        ) {
            for way in Way::ALL {
                let mut room = vec![0xa5; before + from.len() + after];
                copy(way, &from, &mut room[before..before + from.len()]);
                prop_assert_eq!(&room[before..before + from.len()], &from[..]);
                prop_assert!(room[..before].iter().all(|byte| *byte == 0xa5));
                prop_assert!(room[before + from.len()..].iter().all(|byte| *byte == 0xa5));
                fill(&mut room[before..before + from.len()], 0x5a);
                prop_assert_eq!(room.iter().filter(|byte| **byte == 0x5a).count(), from.len());
            }
        }
    }
}
