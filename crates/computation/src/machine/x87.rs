//! 80-bit floats by the x87 unit, and rounding modes of it and of the vector unit.
//!
//! Only operations whose results the manuals define to the bit: arithmetic, square root, remainder,
//! rounding, splitting, decimal. The unit's sines and logarithms differ among processors, and
//! among emulators.

/// An 80-bit float as it lies in memory.
pub(crate) type Extended = [u8; 10];

/// Rounding modes, in the encoding that both units share.
pub(crate) const ROUNDINGS: u16 = 4;
/// Precisions of the x87 unit: 24, 53 and 64 bits, in its encoding.
pub(crate) const PRECISIONS: [u16; 3] = [0, 2, FULL];
/// The precision of 64 bits.
pub(crate) const FULL: u16 = 3;
/// Which results of [`operations`] the precision does not touch: remainder, and rounding to an
/// integer.
pub(crate) const UNROUNDED: [usize; 2] = [2, 3];
/// Results of [`operations`].
pub(crate) const RESULTS: usize = 8;

/// Whether there is such a unit at all.
pub(crate) const IS_PRESENT: bool = cfg!(target_arch = "x86_64");

/// The control word: all exceptions masked.
const fn control(precision: u16, rounding: u16) -> u16 {
    0x3f | (precision & 3) << 8 | (rounding & 3) << 10
}

/// So many rounds of the logistic map, x = r · x · ( 1 - x ).
#[cfg(target_arch = "x86_64")]
pub(crate) fn logistic(x: &mut Extended, r: &Extended, precision: u16, rounding: u16, rounds: u32) {
    let control = control(precision, rounding);
    let mut saved = 0_u16;
    // SAFETY: reads and writes the ten bytes of both numbers and two control words; the stack of the
    // unit, empty on entry as the ABI says, is empty again, and its control word is put back.
    unsafe {
        std::arch::asm!(
            "fnstcw word ptr [{saved}]",
            "fldcw word ptr [{control}]",
            "fld tbyte ptr [{r}]",
            "fld tbyte ptr [{x}]",
            "test {rounds:e}, {rounds:e}",
            "jz 3f",
            "2:",
            "fld1",
            "fsub st, st(1)",
            "fmulp st(1), st",
            "fmul st, st(1)",
            "dec {rounds:e}",
            "jnz 2b",
            "3:",
            "fstp tbyte ptr [{x}]",
            "fstp st(0)",
            "fldcw word ptr [{saved}]",
            saved = in(reg) &raw mut saved,
            control = in(reg) &raw const control,
            r = in(reg) r.as_ptr(),
            x = in(reg) x.as_mut_ptr(),
            rounds = inout(reg) rounds => _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack),
        );
    }
}

/// x ÷ y, √|x|, the remainder of x by y, x rounded to an integer, x split into significand and
/// exponent, x as a 64-bit integer, and an integer as decimal digits.
#[cfg(target_arch = "x86_64")]
pub(crate) fn operations(
    x: &Extended,
    y: &Extended,
    whole: i64,
    precision: u16,
    rounding: u16,
) -> [Extended; RESULTS] {
    let control = control(precision, rounding);
    let mut saved = 0_u16;
    let mut results = [[0; 10]; RESULTS];
    // SAFETY: reads both numbers, the integer and two control words, writes eight times ten bytes,
    // which the results have; the unit's stack and control word are as before.
    unsafe {
        std::arch::asm!(
            "fnstcw word ptr [{saved}]",
            "fldcw word ptr [{control}]",
            "fld tbyte ptr [{x}]",
            "fld tbyte ptr [{y}]",
            "fdivp st(1), st",
            "fstp tbyte ptr [{results}]",
            "fld tbyte ptr [{x}]",
            "fabs",
            "fsqrt",
            "fstp tbyte ptr [{results} + 10]",
            "fld tbyte ptr [{y}]",
            "fld tbyte ptr [{x}]",
            "fprem",
            "fstp tbyte ptr [{results} + 20]",
            "fstp st(0)",
            "fld tbyte ptr [{x}]",
            "frndint",
            "fstp tbyte ptr [{results} + 30]",
            "fld tbyte ptr [{x}]",
            "fxtract",
            "fstp tbyte ptr [{results} + 40]",
            "fstp tbyte ptr [{results} + 50]",
            "fld tbyte ptr [{x}]",
            "fistp qword ptr [{results} + 60]",
            "fild qword ptr [{whole}]",
            "fbstp tbyte ptr [{results} + 70]",
            "fldcw word ptr [{saved}]",
            saved = in(reg) &raw mut saved,
            control = in(reg) &raw const control,
            x = in(reg) x.as_ptr(),
            y = in(reg) y.as_ptr(),
            whole = in(reg) &raw const whole,
            results = in(reg) results.as_mut_ptr(),
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack),
        );
    }
    results
}

/// The sum, product, quotient and root of two pairs of f64 in the vector unit, under a rounding mode.
#[cfg(target_arch = "x86_64")]
pub(crate) fn rounded(x: [f64; 2], y: [f64; 2], rounding: u16) -> [[f64; 2]; 4] {
    /// All exceptions masked, nothing flushed to zero.
    const MASKED: u32 = 0x1f80;
    let control = MASKED | u32::from(rounding & 3) << 13;
    let mut saved = 0_u32;
    let mut results = [[0.0_f64; 2]; 4];
    // SAFETY: reads both pairs and two control words, writes four pairs; the unit's control word is
    // put back before anything else is computed. Unaligned moves are used throughout.
    unsafe {
        std::arch::asm!(
            "stmxcsr dword ptr [{saved}]",
            "ldmxcsr dword ptr [{control}]",
            "movupd {a}, xmmword ptr [{x}]",
            "movupd {b}, xmmword ptr [{y}]",
            "movapd {c}, {a}",
            "addpd {c}, {b}",
            "movupd xmmword ptr [{results}], {c}",
            "movapd {c}, {a}",
            "mulpd {c}, {b}",
            "movupd xmmword ptr [{results} + 16], {c}",
            "movapd {c}, {a}",
            "divpd {c}, {b}",
            "movupd xmmword ptr [{results} + 32], {c}",
            "mulpd {a}, {a}",
            "sqrtpd {c}, {a}",
            "movupd xmmword ptr [{results} + 48], {c}",
            "ldmxcsr dword ptr [{saved}]",
            saved = in(reg) &raw mut saved,
            control = in(reg) &raw const control,
            x = in(reg) x.as_ptr(),
            y = in(reg) y.as_ptr(),
            results = in(reg) results.as_mut_ptr(),
            a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
    results
}

/// Nothing, where there is no such unit: the numbers stay as they are.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn logistic(
    _x: &mut Extended,
    _r: &Extended,
    _precision: u16,
    _rounding: u16,
    _rounds: u32,
) {
}

/// Nothing, where there is no such unit.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn operations(
    _x: &Extended,
    _y: &Extended,
    _whole: i64,
    _precision: u16,
    _rounding: u16,
) -> [Extended; RESULTS] {
    [[0; 10]; RESULTS]
}

/// Nothing, where there is no such unit.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn rounded(_x: [f64; 2], _y: [f64; 2], _rounding: u16) -> [[f64; 2]; 4] {
    [[0.0; 2]; 4]
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    const NEAREST: u16 = 0;
    const DOWN: u16 = 1;
    const UP: u16 = 2;
    const DOUBLE: u16 = 2;

    /// An f64 as an 80-bit float: its mantissa with the leading one, its exponent by another bias.
    fn extended(value: f64) -> Extended {
        let bits = value.to_bits();
        let mantissa = 1 << 63 | (bits & ((1 << 52) - 1)) << 11;
        let exponent = (bits >> 52 & 0x7ff) as u16 + (16_383 - 1023);
        let sign = ((bits >> 63) as u16) << 15;
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&u64::to_le_bytes(mantissa));
        bytes[8..].copy_from_slice(&(exponent | sign).to_le_bytes());
        bytes
    }

    #[test]
    fn in_double_precision_it_computes_as_the_other_unit_does() {
        for (x, y) in [(0.1, 0.7), (123.456, -3.25), (1.0 / 3.0, 0.9)] {
            let results = operations(&extended(x), &extended(y), 1_234_567, DOUBLE, NEAREST);
            assert_eq!(results[0], extended(x / y));
            assert_eq!(results[1], extended(x.sqrt()));
            assert_eq!(results[2], extended(x % y));
            let integer = i64::from_le_bytes(results[6][..8].try_into().unwrap());
            assert_eq!(integer, x.round_ties_even() as i64);
            assert_eq!(results[7], [0x67, 0x45, 0x23, 0x01, 0, 0, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn the_map_is_the_logistic_one() {
        let mut x = extended(0.3);
        logistic(&mut x, &extended(3.9), DOUBLE, NEAREST, 100);
        let mut expected = 0.3_f64;
        for _ in 0..100 {
            expected = (1.0 - expected) * expected * 3.9;
        }
        assert_eq!(x, extended(expected));
        logistic(&mut x, &extended(3.9), DOUBLE, NEAREST, 0);
        assert_eq!(x, extended(expected));
    }

    #[test]
    fn rounding_goes_where_it_is_told_and_only_there() {
        let [_, _, [down, _], _] = rounded([1.0; 2], [3.0; 2], DOWN);
        let [_, _, [up, _], _] = rounded([1.0; 2], [3.0; 2], UP);
        assert_eq!(up.to_bits(), down.to_bits() + 1);
        let [sum, product, _, root] = rounded([2.5, -1.5], [4.0, 8.0], NEAREST);
        assert_eq!(
            (sum, product, root),
            ([6.5, 6.5], [10.0, -12.0], [2.5, 1.5])
        );
        let third = std::hint::black_box(1.0) / std::hint::black_box(3.0);
        assert_eq!(third, down);
    }
}
