//! Classes of integer instructions on a block of 32 bytes, each beside the same in plain code.
//!
//! | class | instructions, where present |
//! |---|---|
//! | dot products | VPMADDWD, VPMADDUBSW, VPSADBW |
//! | permutes | VPSHUFB, VPERMD |
//! | products | VPMULLD, VPMULUDQ, VPMULHW |
//! | shifts and packs | VPSLLVD, VPSRAVD, VPACKUSWB |
//! | fields | GF2P8MULB |
//! | bits | PDEP, PEXT, MULX, POPCNT, LZCNT, TZCNT, MOVBE |
//!
//! The plain code is written from the manuals' pseudo-code, by lanes, and shares nothing with the
//! instructions.

/// Words of a block.
pub(crate) const WORDS: usize = 4;

/// Two operands and what comes of them: 32 bytes each.
pub(crate) type Block = [u64; WORDS];

/// A class of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    MultiplyAddWords,
    MultiplyAddBytes,
    SumOfDifferences,
    ShuffleBytes,
    PermuteWords,
    MultiplyLow,
    MultiplyLong,
    MultiplyHigh,
    ShiftLeft,
    ShiftRightSigned,
    PackUnsigned,
    FieldMultiply,
    DepositBits,
    ExtractBits,
    MultiplyBothHalves,
    CountBits,
    SwapBytes,
}

impl Class {
    pub(crate) const ALL: [Self; 17] = [
        Self::MultiplyAddWords,
        Self::MultiplyAddBytes,
        Self::SumOfDifferences,
        Self::ShuffleBytes,
        Self::PermuteWords,
        Self::MultiplyLow,
        Self::MultiplyLong,
        Self::MultiplyHigh,
        Self::ShiftLeft,
        Self::ShiftRightSigned,
        Self::PackUnsigned,
        Self::FieldMultiply,
        Self::DepositBits,
        Self::ExtractBits,
        Self::MultiplyBothHalves,
        Self::CountBits,
        Self::SwapBytes,
    ];
}

/// What the processor's instruction comes to; the plain code's result where it has none.
pub(crate) fn execute(class: Class, a: &Block, b: &Block) -> Block {
    by_instruction(class, a, b).unwrap_or_else(|| plain(class, a, b))
}

#[cfg(not(target_arch = "x86_64"))]
fn by_instruction(_class: Class, _a: &Block, _b: &Block) -> Option<Block> {
    None
}

#[cfg(target_arch = "x86_64")]
fn by_instruction(class: Class, a: &Block, b: &Block) -> Option<Block> {
    let scalar = matches!(
        class,
        Class::DepositBits
            | Class::ExtractBits
            | Class::MultiplyBothHalves
            | Class::CountBits
            | Class::SwapBytes
    );
    if scalar {
        let has = std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("popcnt")
            && std::is_x86_feature_detected!("lzcnt")
            && std::is_x86_feature_detected!("movbe");
        // SAFETY: the processor has what the function is compiled for.
        return has.then(|| unsafe { bits(class, a, b) });
    }
    if class == Class::FieldMultiply {
        let has = std::is_x86_feature_detected!("gfni") && std::is_x86_feature_detected!("avx");
        // SAFETY: as above.
        return has.then(|| unsafe { field(a, b) });
    }
    // SAFETY: as above.
    std::is_x86_feature_detected!("avx2").then(|| unsafe { vector(class, a, b) })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi1,bmi2,popcnt,lzcnt,movbe")]
fn bits(class: Class, a: &Block, b: &Block) -> Block {
    use std::arch::x86_64::{_mulx_u64, _pdep_u64, _pext_u64};
    std::array::from_fn(|lane| {
        let (a, b) = (a[lane], b[lane]);
        match class {
            Class::DepositBits => _pdep_u64(a, b),
            Class::ExtractBits => _pext_u64(a, b),
            Class::MultiplyBothHalves => {
                let mut high = 0;
                let low = _mulx_u64(a, b, &mut high);
                low ^ high.rotate_left(1)
            }
            Class::CountBits => counts(a, b),
            _ => load_swapped(&[a ^ b]),
        }
    })
}

/// MOVBE: a load in the other byte order.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "movbe")]
fn load_swapped(word: &[u64; 1]) -> u64 {
    let swapped;
    // SAFETY: reads the eight bytes of the array.
    unsafe {
        std::arch::asm!(
            "movbe {swapped}, qword ptr [{word}]",
            swapped = out(reg) swapped,
            word = in(reg) word.as_ptr(),
            options(nostack, readonly, preserves_flags),
        );
    }
    swapped
}

/// POPCNT, LZCNT and TZCNT where the function around is compiled for them.
#[inline(always)]
const fn counts(a: u64, b: u64) -> u64 {
    (a.count_ones() as u64) << 32
        | (b.leading_zeros() as u64) << 16
        | (a ^ b).trailing_zeros() as u64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "gfni,avx")]
fn field(a: &Block, b: &Block) -> Block {
    use std::arch::x86_64::{_mm256_gf2p8mul_epi8, _mm256_loadu_si256, _mm256_storeu_si256};
    let mut result = [0; WORDS];
    // SAFETY: 32 bytes are read and written, which the blocks have.
    unsafe {
        let (a, b) = (
            _mm256_loadu_si256(a.as_ptr().cast()),
            _mm256_loadu_si256(b.as_ptr().cast()),
        );
        _mm256_storeu_si256(result.as_mut_ptr().cast(), _mm256_gf2p8mul_epi8(a, b));
    }
    result
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn vector(class: Class, a: &Block, b: &Block) -> Block {
    use std::arch::x86_64 as arch;
    let mut result = [0; WORDS];
    // SAFETY: 32 bytes are read, which the blocks have.
    let (a, b) = unsafe {
        (
            arch::_mm256_loadu_si256(a.as_ptr().cast()),
            arch::_mm256_loadu_si256(b.as_ptr().cast()),
        )
    };
    let value = match class {
        Class::MultiplyAddWords => arch::_mm256_madd_epi16(a, b),
        Class::MultiplyAddBytes => arch::_mm256_maddubs_epi16(a, b),
        Class::SumOfDifferences => arch::_mm256_sad_epu8(a, b),
        Class::ShuffleBytes => arch::_mm256_shuffle_epi8(a, b),
        Class::PermuteWords => arch::_mm256_permutevar8x32_epi32(a, b),
        Class::MultiplyLow => arch::_mm256_mullo_epi32(a, b),
        Class::MultiplyLong => arch::_mm256_mul_epu32(a, b),
        Class::MultiplyHigh => arch::_mm256_mulhi_epi16(a, b),
        Class::ShiftLeft => arch::_mm256_sllv_epi32(a, b),
        Class::ShiftRightSigned => arch::_mm256_srav_epi32(a, b),
        _ => arch::_mm256_packus_epi16(a, b),
    };
    // SAFETY: 32 bytes are written, which the block has.
    unsafe { arch::_mm256_storeu_si256(result.as_mut_ptr().cast(), value) }
    result
}

/// The same in plain code.
pub(crate) fn plain(class: Class, a: &Block, b: &Block) -> Block {
    match class {
        Class::MultiplyAddWords => by_32(a, b, |a, b| {
            let product =
                |shift: u32| i32::from((a >> shift) as i16) * i32::from((b >> shift) as i16);
            product(0).wrapping_add(product(16)) as u32
        }),
        Class::MultiplyAddBytes => by_16(a, b, |a, b| {
            let product =
                |shift: u32| i32::from((a >> shift) as u8) * i32::from((b >> shift) as i8);
            let sum = product(0) + product(8);
            sum.clamp(i16::MIN.into(), i16::MAX.into()) as u16
        }),
        Class::SumOfDifferences => std::array::from_fn(|lane| {
            let (a, b) = (a[lane].to_le_bytes(), b[lane].to_le_bytes());
            a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(b))).sum()
        }),
        Class::ShuffleBytes => {
            let (table, chosen) = (bytes(a), bytes(b));
            of_bytes(std::array::from_fn(|at| match chosen[at] {
                128.. => 0,
                index => table[at / 16 * 16 + usize::from(index % 16)],
            }))
        }
        Class::PermuteWords => {
            let (table, chosen) = (words(a), words(b));
            of_words(chosen.map(|index| table[index as usize % table.len()]))
        }
        Class::MultiplyLow => by_32(a, b, u32::wrapping_mul),
        Class::MultiplyLong => {
            std::array::from_fn(|lane| (a[lane] & 0xffff_ffff) * (b[lane] & 0xffff_ffff))
        }
        Class::MultiplyHigh => by_16(a, b, |a, b| {
            ((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16
        }),
        Class::ShiftLeft => by_32(a, b, |a, b| a.checked_shl(b).unwrap_or(0)),
        Class::ShiftRightSigned => by_32(a, b, |a, b| ((a as i32) >> b.min(31)) as u32),
        Class::PackUnsigned => packed(a, b),
        Class::FieldMultiply => {
            let (a, b) = (bytes(a), bytes(b));
            of_bytes(std::array::from_fn(|at| field_product(a[at], b[at])))
        }
        Class::DepositBits => each(a, b, deposited),
        Class::ExtractBits => each(a, b, extracted),
        Class::MultiplyBothHalves => each(a, b, |a, b| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ ((product >> 64) as u64).rotate_left(1)
        }),
        Class::CountBits => each(a, b, |a, b| {
            let ones = (0..64).filter(|bit| a >> bit & 1 == 1).count() as u64;
            let leading = (0..64).rev().take_while(|bit| b >> bit & 1 == 0).count() as u64;
            let trailing = (0..64).take_while(|bit| (a ^ b) >> bit & 1 == 0).count() as u64;
            ones << 32 | leading << 16 | trailing
        }),
        Class::SwapBytes => each(a, b, |a, b| {
            let mut bytes = (a ^ b).to_le_bytes();
            bytes.reverse();
            u64::from_le_bytes(bytes)
        }),
    }
}

fn each(a: &Block, b: &Block, of: impl Fn(u64, u64) -> u64) -> Block {
    std::array::from_fn(|lane| of(a[lane], b[lane]))
}

fn by_32(a: &Block, b: &Block, of: impl Fn(u32, u32) -> u32) -> Block {
    let (a, b) = (words(a), words(b));
    of_words(std::array::from_fn(|lane| of(a[lane], b[lane])))
}

fn by_16(a: &Block, b: &Block, of: impl Fn(u16, u16) -> u16) -> Block {
    each(a, b, |a, b| {
        (0..4).fold(0, |all, lane| {
            let result = of((a >> (16 * lane)) as u16, (b >> (16 * lane)) as u16);
            all | u64::from(result) << (16 * lane)
        })
    })
}

fn words(block: &Block) -> [u32; 2 * WORDS] {
    std::array::from_fn(|lane| (block[lane / 2] >> (32 * (lane % 2))) as u32)
}

fn of_words(words: [u32; 2 * WORDS]) -> Block {
    std::array::from_fn(|lane| u64::from(words[2 * lane + 1]) << 32 | u64::from(words[2 * lane]))
}

fn bytes(block: &Block) -> [u8; 8 * WORDS] {
    std::array::from_fn(|at| (block[at / 8] >> (8 * (at % 8))) as u8)
}

fn of_bytes(bytes: [u8; 8 * WORDS]) -> Block {
    std::array::from_fn(|lane| {
        (0..8).fold(0, |word, at| {
            word | u64::from(bytes[8 * lane + at]) << (8 * at)
        })
    })
}

/// Signed 16-bit numbers as bytes, saturated: of each half first those of `a`, then those of `b`.
fn packed(a: &Block, b: &Block) -> Block {
    let byte = |word: u64, lane: usize| {
        let value = (word >> (16 * lane)) as i16;
        u64::from(value.clamp(0, 255) as u8)
    };
    let pair = |from: &Block, half: usize| {
        (0..8).fold(0, |all, lane| {
            all | byte(from[2 * half + lane / 4], lane % 4) << (8 * lane)
        })
    };
    [pair(a, 0), pair(b, 0), pair(a, 1), pair(b, 1)]
}

/// The product in GF(2⁸) modulo x⁸ + x⁴ + x³ + x + 1.
fn field_product(a: u8, b: u8) -> u8 {
    const POLYNOMIAL: u8 = 0x1b;
    let mut product = 0;
    let mut shifted = a;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        let carries = shifted & 0x80 != 0;
        shifted = shifted << 1 ^ if carries { POLYNOMIAL } else { 0 };
    }
    product
}

/// The low bits, one after the other, to where the mask has ones.
fn deposited(mut value: u64, mask: u64) -> u64 {
    let mut result = 0;
    for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
        result |= (value & 1) << bit;
        value >>= 1;
    }
    result
}

/// The bits where the mask has ones, together.
fn extracted(value: u64, mask: u64) -> u64 {
    let chosen = (0..64).filter(|bit| mask >> bit & 1 == 1);
    chosen
        .enumerate()
        .fold(0, |all, (place, bit)| all | (value >> bit & 1) << place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn instructions_do_what_the_manuals_say(a: Block, b: Block) {
            for class in Class::ALL {
                prop_assert_eq!(execute(class, &a, &b), plain(class, &a, &b), "{:?}", class);
            }
        }
    }

    /// Known values, so that not both can be wrong alike.
    #[test]
    fn plain_code_gives_known_values() {
        let block = |word: u64| [word; WORDS];
        let of = |class, a, b| plain(class, &block(a), &block(b))[0];
        // FIPS 197, section 4.2: {57} · {83} = {c1}.
        assert_eq!(of(Class::FieldMultiply, 0x57, 0x83), 0xc1);
        assert_eq!(of(Class::DepositBits, 0b101, 0b1011_0000), 0b1001_0000);
        assert_eq!(of(Class::ExtractBits, 0b1001_0000, 0b1011_0000), 0b101);
        assert_eq!(of(Class::SumOfDifferences, 0x0102, 0x0300), 4);
        assert_eq!(
            of(Class::SwapBytes, 0x0102_0304_0506_0708, 0),
            0x0807_0605_0403_0201
        );
        assert_eq!(of(Class::MultiplyAddWords, 0x0002_0003, 0x0005_0007), 31);
        assert_eq!(of(Class::MultiplyHigh, 0x4000, 0x4000), 0x1000);
        assert_eq!(of(Class::CountBits, 7, 1), 3 << 32 | 63 << 16 | 1);
    }
}
